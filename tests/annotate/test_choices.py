"""Questions with options: who reads the options alone does not find the right one; no wrong one is true."""

import re
import time
from collections import Counter

import numpy as np
import pytest

from tvad.annotate.choices import OPTIONS, Draft, with_choices
from tvad.annotate.looks import told_apart
from tvad.answer import LETTERS
from tvad.data.sample import Sample, Track, Video
from tvad.data.video import Clock

FRAMES, FPS = 40, 10.0
RED = {"kind": "person", "upper": "red", "lower": "blue"}


def draft(number, looks, first=8, last=15, frames=range(0, FRAMES, 2), way=(2.0, 0.0)):
    """The first target is anomalous from frame `first` to `last`; ways in pixels a frame."""
    shown = Video(f"v{number}.mp4", FPS, FRAMES, 100, 100)
    tracks = []
    for n, look in enumerate(looks):
        boxes = {
            f: (10 + way[0] * f, 10 + way[1] * f, 19 + way[0] * f, 19 + way[1] * f) for f in range(FRAMES)
        }
        words = [look[k] for k in ("upper", "lower") if k in look]
        said = f"dressed in {' and '.join(words)}" if words else look.get("colour")
        tracks.append(Track(n, look["kind"], boxes, () if n else tuple(range(first, last + 1)), said))
    spans = ((first / FPS, (last + 1) / FPS),)
    sample = Sample(f"v{number}", "x", "train", shown, "anomalous", spans=spans, tracks=tuple(tracks))
    return Draft(sample, dict(enumerate(looks)), frames, Clock.constant(FRAMES, FPS))


def asked(drafts, topic, seed=0):
    """(right option, all options) of each question of a topic."""
    found = [q for s in with_choices(drafts, seed) for q in s.questions if q.topic == topic]
    return [(q.options[LETTERS.index(q.answer)], q.options) for q in found]


def seconds(option):
    return tuple(float(t) for t in re.findall(r"\d+\.\d+", option))


def test_neither_digits_nor_length_nor_place_tell_which_time_is_right():
    rng = np.random.default_rng(0)
    drafts = []
    for n in range(400):
        long = int(rng.integers(1, 6))  # of the frames that were looked at
        first = 2 * int(rng.integers(0, FRAMES // 2 + 1 - long))
        last = first + 2 * (long - 1)
        drafts.append(draft(n, [RED], first, last))
    found = asked(drafts, "when")
    assert len(found) > 200
    ranks = Counter()
    for right, options in found:
        times = [seconds(option) for option in options]
        assert len({round(end - start, 2) for start, end in times}) == 1
        assert all(
            round(start * FPS) % 2 == 0 and start * FPS == pytest.approx(round(start * FPS))
            for start, _ in times
        )
        for one in times:
            for other in times:
                both = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
                whole = one[1] - one[0] + other[1] - other[0] - both
                assert one is other or both / whole <= 0.5 + 1e-6
        assert max(end for _, end in times) <= FRAMES / FPS
        ranks[sorted(times).index(seconds(right))] += 1
    assert max(ranks.values()) - min(ranks.values()) <= 2 and set(ranks) == set(range(OPTIONS))
    ends = [option == right for right, options in found for option in options if seconds(option)[1] == 3.9]
    begins = [option == right for right, options in found for option in options if seconds(option)[0] == 0]
    assert all(0.1 < np.mean(edge) < 0.4 for edge in (ends, begins))


def test_a_time_that_leaves_no_room_or_lies_between_the_frames_is_not_asked():
    assert not asked([draft(0, [RED], 0, 38)], "when")
    assert not asked([draft(0, [RED], 9, 14)], "when")
    assert len(asked([draft(0, [RED], 9, 14, range(FRAMES))], "when")) == 1


@pytest.mark.parametrize(
    ("other", "apart"),
    [
        ({"kind": "person"}, False),
        ({"kind": "person", "upper": "red"}, False),
        ({"kind": "person", "upper": "dark red", "lower": "blue"}, False),
        ({"kind": "person", "carries": "bag"}, False),
        ({"kind": "pedestrian", "upper": "red"}, False),
        ({"kind": "old man"}, False),
        ({"upper": "red"}, False),
        ({"kind": "person", "upper": "blue", "lower": "red"}, True),
        ({"kind": "person", "upper": "green"}, True),
        ({"kind": "car"}, True),
        ({"kind": "bicycle", "colour": "red"}, True),
    ],
)
def test_a_wrong_option_is_never_true_too(other, apart):
    assert told_apart(RED, other) is told_apart(other, RED) is apart
    others = [{"kind": "car", "colour": c} for c in ("red", "blue")]
    drafts = [draft(0, [RED, *others]), draft(1, [other | {"kind": other.get("kind", "person")}])]
    rights = [right for right, _ in asked(drafts, "target")]
    assert ("person, dressed in red and blue" in rights) is apart, "two others and this one, or one too few"


def test_ways_of_which_two_are_true_are_not_asked():
    assert [right for right, _ in asked([draft(0, [RED], way=(2.0, 0.5))], "direction")] == ["to the right"]
    assert not asked([draft(0, [RED], way=(2.0, 1.5))], "direction")
    assert [right for right, _ in asked([draft(0, [RED], way=(0.2, 1.5))], "direction")] == [
        "towards the camera"
    ]


def uneven(pauses, first, last):
    """A sample whose frames appear after these pauses, anomalous from frame `first` to `last`."""
    times = np.cumsum([0.0, *pauses])
    clock = Clock(times, float(times[-1] + pauses[-1]))
    shown = Video("v.mp4", clock.fps, len(clock), 100, 100, clock.end, tuple(times))
    track = Track(0, "person", {first: (1, 1, 9, 9)}, tuple(range(first, last + 1)), "dressed in red")
    end = float(times[last + 1]) if last + 1 < len(times) else clock.end
    spans = ((float(times[first]), end),)
    sample = Sample("v", "x", "train", shown, "anomalous", spans=spans, tracks=(track,))
    return Draft(sample, {0: RED}, range(len(clock)), clock)


@pytest.mark.parametrize("seed", range(20))
def test_where_the_rate_varies_wrong_times_are_as_long_as_the_right_one(seed):
    """A phone's frames come at 30 a second in the light and at 10 in the dark; spans of as many frames were
    up to three times as long."""
    rng = np.random.default_rng(seed)
    pauses = np.repeat(rng.permutation([1 / 30, 0.1, 1 / 15, 0.05]), 60) * rng.uniform(0.95, 1.05, 240)
    first = int(rng.integers(0, 200))
    found = asked([uneven(pauses, first, first + 29)], "when", seed)
    for right, options in found:
        start, end = seconds(right)
        for option in options:
            low, high = seconds(option)
            assert high - low == pytest.approx(end - start, rel=0.1, abs=0.02)
            both = max(0.0, min(end, high) - max(start, low))
            assert option == right or both / (end - start + high - low - both) <= 0.56
    assert len(found) == 1 and len({*found[0][1]}) == OPTIONS


def test_options_are_told_apart_at_any_rate():
    """At 400 frames a second neighbours begin in the same hundredth."""
    drafts = [uneven([1 / 400] * 59, 20 + n, 21 + n) for n in range(20)]
    found = [each for seed in range(20) for each in asked(drafts, "when", seed)]
    assert len(found) == 400 and all(len({*options}) == OPTIONS for _, options in found)


def test_times_of_a_long_video_are_found_in_time():
    """Eight times as many frames cost eight times as much, not 64."""
    spent = []
    for frames in (20_000, 160_000):
        long = uneven([1 / 25] * (frames - 1), frames // 2, frames // 2 + 100)
        begin = time.process_time()
        assert len(asked([long], "when")) == 1
        spent.append(time.process_time() - begin)
    assert spent[1] < 24 * max(spent[0], 0.01)


def test_wrong_targets_of_many_videos_are_found_in_time():
    """Eight times as many videos cost eight times as much, not 64; each has its question."""
    colours = ["red", "blue", "green", "black", "white", "grey", "yellow", "pink", "brown", "orange"]
    rng = np.random.default_rng(0)

    def looks():
        return [
            {"kind": "person", "upper": colours[a], "lower": colours[b]}
            for a, b in rng.integers(10, size=(5, 2))
        ]

    drafts = [draft(n, looks()) for n in range(800)]
    spent = []
    for count in (100, 800):
        begin = time.process_time()
        found = with_choices(drafts[:count], 0)
        spent.append(time.process_time() - begin)
        assert sum(q.topic == "target" for s in found for q in s.questions) > 0.9 * count
    assert spent[1] < 24 * spent[0]
