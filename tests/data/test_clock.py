"""When frames are shown, and which frame stands for a moment."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvad.common.errors import InputError
from tvad.data import Sample, Video, masks, video
from tvad.data.build import grounding_questions, spans_of
from tvad.data.check import check_sample, described
from tvad.data.dataset import ClipStore
from tvad.data.narrate import motion
from tvad.data.reclip import clips_of
from tvad.data.sample import Track, from_json, to_json
from tvad.data.video import Clock
from tvad.data.video.clock import NONE, Stamps, joins
from tvad.detections import steps_of

MS = Fraction(1, 1000)
CHANGING = [*range(0, 2000, 100), *range(2000, 12000, 1000)]  # ms: ten a second for 2 s, then one


class Told:
    """A video of numbered pictures at given seconds, for `Reader`."""

    def __init__(self, clock: Clock):
        self.clock, self.name, self.size = clock, "told", (1, 1)

    def shown(self):
        for n, seconds in enumerate(self.clock.times.tolist()):
            yield seconds, lambda n=n: np.full((1, 1, 3), n % 256, np.uint8)


def reader_of(clock: Clock) -> video.Reader:
    reader = video.Reader("told")
    reader._source, reader.name = Told(clock), "told"
    return reader


clocks = st.lists(st.integers(0, 3000), min_size=0, max_size=40).map(
    lambda gaps: Clock.of(np.cumsum([0, *gaps]).tolist(), MS, (), 40)
) | st.builds(
    Clock.constant,
    st.integers(1, 200),
    st.sampled_from([1.0, 5.0, 10.0, 24.0, 25.0, 30000 / 1001, 50.0, 60.0]) | st.floats(0.5, 120),
)
rates = st.sampled_from([0.5, 1.0, 2.0, 3.0, 4.0, 7.0, 8.0, 12.5, 25.0, 30.0]) | st.floats(0.1, 40)


@given(clocks, rates)
@settings(max_examples=300)
def test_frames_that_come_one_by_one_are_those_of_the_whole(clock, rate):
    indices, moments = clock.taken(rate)
    found = list(reader_of(clock).sampled(rate))
    assert [f[0] for f in found] == indices.tolist()
    assert [f[2] for f in found] == pytest.approx(moments.tolist())
    assert [n for n, _ in reader_of(clock).frames(rate)] == indices.tolist()
    assert (np.diff(indices) >= 0).all() and clock.times[indices[0]] == 0 and moments[0] == 0
    thin, _ = clock.taken(rate, 5)
    assert len(thin) == min(5, len(indices)) and set(thin) <= set(indices)


@given(clocks, rates, st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=200)
def test_windows_show_the_moments_that_decoding_takes(clock, rate, size, step):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tvad.data.video.reading.VideoFile", lambda _: Told(clock))
        whole = video.decode("told", rate)
        parts = list(video.windows("told", rate, size, min(size, step)))
    found = [pair for part in parts for pair in zip(part.moments, part.indices, strict=True)]
    shown = {float(moment): int(index) for moment, index in found}
    taken = dict(zip(whole.moments.tolist(), whole.indices.tolist(), strict=True))
    assert shown.items() <= taken.items()
    # A picture that stays is one window, however many moments it stands for.
    assert set(shown.values()) == set(taken.values())
    if clock.rate is not None:
        assert shown == taken


@pytest.mark.parametrize("fps", [1, 5, 10, 12, 24, 25, 30, 50, Fraction(30000, 1001)])
def test_every_length_at_common_rates_is_taken_alike(fps):
    for total in range(1, 80):
        clock = Clock.constant(total, float(fps))
        for rate in (0.5, 1, 2, 3, 4, 5, 7, 8, 10, 16):
            whole = clock.taken(rate)[0].tolist()
            assert [n for n, _ in reader_of(clock).frames(rate)] == whole, (total, rate)


@given(clocks, st.floats(0.1, 40))
def test_a_moments_frame_is_on_screen_or_the_nearest_within_half_a_frame(clock, rate):
    for index, moment in zip(*clock.taken(rate), strict=True):
        on_screen = np.searchsorted(clock.times, moment + 1e-9, side="right") - 1
        near = abs(clock.times[index] - moment) <= clock.pause / 2 + 1e-6
        assert clock.times[index] == clock.times[on_screen] or near


def test_a_frame_that_stays_stands_for_every_moment_until_the_next():
    clock = Clock.of([0, 100, 200, 5000, 5100], MS, (), 100)
    indices, moments = clock.taken(1.0)
    assert indices.tolist() == [0, 2, 2, 2, 2, 3] and moments.tolist() == [0, 1, 2, 3, 4, 5]
    assert clock.rate is None and clock.end == pytest.approx(5.2) and clock.pause == pytest.approx(0.1)
    # Not the future: 4.9 s is nearer to the frame at 5.0 s, which is not yet there.
    assert clock.taken(1 / 4.9)[0].tolist() == [0, 2] and clock.taken(1 / 4.96)[0].tolist() == [0, 3]


def test_sampling_a_changing_rate_goes_by_time():
    clock = Clock.of(CHANGING, MS, (30.0,), 100)
    assert clock.taken(1.0)[0].tolist() == [0, 10, *range(20, 30)]
    assert clock.taken(None)[0].tolist() == list(range(30))
    # Above its own rate: ten a second, and no more.
    assert len(clock.taken(50.0)[0]) == 120 == len(clock.taken(10.0)[0])
    assert clock.fps == pytest.approx(30 / 12) and clock.end == 12.0


@pytest.mark.parametrize("rate", [4, 7.5, 23.976, 24, 25, 30000 / 1001, 30, 60, 240])
def test_a_constant_rate_is_one_in_spite_of_rounded_stamps(rate):
    """Matroska and Flash round to milliseconds: times are those of the rate, as they were before."""
    for count in (1, 2, 3, 500):
        stamps = [round(1000 * n / rate) for n in range(count)]
        clock = Clock.of(stamps, MS, (rate,), round(1000 / rate))
        assert clock.rate == rate and np.array_equal(clock.times, np.arange(count) / rate)
        assert clock.end == count / rate
        for asked in (None, 0.7, 2.0, rate, 1000.0):
            indices, moments = clock.taken(asked, 8)
            assert np.array_equal(indices, video.sample_indices(count, rate, asked, 8))
            assert np.array_equal(moments, indices / rate)


def test_a_tick_that_is_no_small_part_of_a_frame_is_not_rounded_to():
    stamps = [n + (n >= 50) for n in range(100)]  # one frame late, in ticks of a tenth
    clock = Clock.of(stamps, Fraction(1, 10), (9.9, 10.0), 1)
    assert clock.rate is None and clock.times[60] == pytest.approx(6.1)


def test_stamps_that_start_anew_or_fall_back_are_put_right_and_said():
    stamps = Stamps(100, 1000)
    for stamp in (5000, 5100, 5200, 0, 100, 200, 150, None, 400):
        stamps.add(stamp)
    assert stamps.ticks.tolist() == [5000, 5100, 5200, 5300, 5400, 5500, 5500, 5600, 5700]
    assert list(stamps.notes) == ["anew", "back"]


@pytest.mark.parametrize(
    "dts, starts, after",
    [
        ([0, 100, 200, 0, 100, 200, 0, 100], [3, 6], [0, 100, 200, 300, 400, 500, 600, 700]),
        ([5000, 5100, 9000, 9100], [], [5000, 5100, 9000, 9100]),
        ([0, 100, 200, 150, 400, 500], [], [0, 100, 200, 150, 400, 500]),  # one alone
        ([0, 100, NONE, 0, 100], [3], [0, 100, NONE, 200, 300]),
        ([NONE] * 3, [], [NONE] * 3),
        ([0, 1 << 61] * 4, [], [0, 1 << 61] * 4),  # broken
    ],
)
def test_times_of_decoding_that_fall_are_another_recording(dts, starts, after):
    given = np.array(dts)
    found, shift = joins(given, given, np.ones(len(dts), int), 100, 1000)
    assert found.tolist() == starts
    assert np.where(given == NONE, NONE, given + shift).tolist() == after


def test_where_pictures_are_shown_in_another_order_nothing_starts_anew():
    """Stamps of decoding that were made up for B-frames may fall: what falls there is no key frame."""
    pts, dts = np.array([0, 800, 400, 200, 100, 300]), np.array([-100, 0, 400, 200, 100, 300])
    assert not len(joins(pts, dts, np.array([1, 0, 0, 0, 0, 0]), 100, 1000)[0])
    # A second recording of B-frames: what is shown first follows what was shown last.
    twice, key = np.array([0, 300, 100, 200] * 2), np.array([1, 0, 0, 0] * 2)
    starts, shift = joins(twice, np.array([-100, 0, 100, 200] * 2), key, 100, 1000)
    assert starts.tolist() == [4] and sorted(twice + shift) == list(range(0, 800, 100))


def test_days_between_two_frames_are_broken_stamps():
    with pytest.raises(InputError, match="frame 1 stays for 1700000000 s"):
        Clock.of([0, 100, 1_700_000_000_000], MS)
    days = Clock.of(np.cumsum([0, *[33] * 40, *[86_000_000] * 30]).tolist(), MS)
    with pytest.raises(InputError, match="2666001 s at 30 frames a second are 79,980,039 frames"):
        days.taken(30.0)
    with pytest.raises(InputError, match="told: 2666001 s"):
        next(reader_of(days).sampled(30.0))


def test_a_picture_that_stays_for_hours_is_one_window(tmp_path):
    stamps = [0, 500, 1000, *(50_000_000 + 500 * n for n in range(4))]
    images = [np.full((32, 48, 3), 30 * n, np.uint8) for n in range(7)]
    video.write(tmp_path / "night.mp4", images, Clock.of(stamps, MS, (), 500))
    found = list(video.windows(tmp_path / "night.mp4", 2.0, 4, 2))
    assert [w.indices.tolist() for w in found] == [[0, 1, 2, 2], [2, 2, 2, 2], [2, 2, 3, 4], [3, 4, 5, 6]]
    assert found[-1].moments[-1] == 50_001.5 and found[0].total < found[-1].total == 7


def changing(path, count: int = 30) -> None:
    """A file of numbered brightness at `CHANGING`'s times."""
    images = [np.full((32, 48, 3), 8 * n, np.uint8) for n in range(count)]
    video.write(path, images, Clock.of(CHANGING[:count], MS, (), 1000), crf=1)


def test_a_written_clock_is_read_again(tmp_path):
    changing(tmp_path / "v.mp4")
    clip = video.decode(tmp_path / "v.mp4")
    assert clip.times == pytest.approx(np.array(CHANGING) / 1000) and clip.duration == pytest.approx(12.0)
    assert not list(tmp_path.glob(".*"))


def test_spans_questions_and_motion_are_on_the_clock():
    clock = Clock.of(CHANGING, MS, (), 1000)
    assert spans_of([0, 1, 20, 21, 29], clock) == ((0.0, 0.2), (2.0, 4.0), (11.0, 12.0))
    track = Track(0, "person", {f: (0.0, 0.0, 9.0, 9.0) for f in range(20, 25)}, tuple(range(20, 25)))
    where = grounding_questions(((2.0, 7.0),), (track,), clock, 48, 32)[-1]
    assert where.kind == "spatial" and "4.0 s" in where.text
    boxes = {20: (0.0, 0.0, 4.0, 9.0), 25: (24.0, 0.0, 28.0, 9.0)}
    assert motion(boxes, 48, clock.fps, clock.times)["speed"] == pytest.approx(0.1)


def test_masks_and_heatmaps_belong_to_the_frames_of_their_times(tmp_path):
    changing(tmp_path / "v.mp4")
    lit = np.zeros((30, 32, 48), bool)
    lit[22:24] = True  # 4.0 to 6.0 s
    masks.write(tmp_path / "m.npz", lit)
    shown, clock = described(tmp_path / "v.mp4", "v.mp4")
    sample = Sample(
        "v", "s", "t", shown, "anomalous", spans=spans_of([22, 23], clock), mask="m.npz", root=str(tmp_path)
    )
    assert sample.spans == ((4.0, 6.0),) and not check_sample(sample)
    store = ClipStore(1.0, 12)
    clip = store.frames(sample)
    mask = store.mask(sample)
    assert mask is not None and mask.any(1).any(1).tolist() == [4 <= t < 6 for t in clip.times]
    # A heatmap of two frames a step: every frame finds the step of its own time.
    steps = steps_of(clip.clock.times, clip.moments)
    assert steps[22] == steps[23] == 2 and steps[20] == 1 and steps[29] == 5
    short = replace(sample, mask="short.npz")
    masks.write(tmp_path / "short.npz", lit[:-1])
    with pytest.raises(InputError, match=r"short\.npz has shape \(29, 32, 48\), the video \(30, 32, 48\)"):
        ClipStore(1.0, 12).mask(short)


def test_a_sample_states_times_that_are_not_even(tmp_path):
    changing(tmp_path / "v.mp4")
    shown, clock = described(tmp_path / "v.mp4", "v.mp4")
    assert shown.seconds == 12.0 == shown.duration and shown.times == pytest.approx(clock.times)
    sample = Sample("v", "s", "t", shown, "normal", root=str(tmp_path))
    assert from_json(to_json(sample), str(tmp_path)) == sample and not check_sample(sample)
    for wrong, words in (
        (replace(shown, times=tuple(n / 2.5 for n in range(30))), "appears at 2.000 s, the sample states 8"),
        (replace(shown, fps=30.0), "has 2.5 fps by its times, the sample states 30"),
        (replace(shown, seconds=99.0), "lasts 12.00 s, the sample states 99"),
        (replace(shown, times=(1.0, 0.0)), "2 entries for 30 frames"),
        (replace(shown, times=None, seconds=None), "variable frame rate, 0.1 to 1 s a frame"),
        (Video("v.mp4", seconds=float("nan")), "video.seconds is nan"),
    ):
        problems = check_sample(replace(sample, video=wrong))
        assert any(words in p.reason for p in problems), (words, problems)
    even, _ = described(_even(tmp_path), "e.mp4")
    assert even == Video("e.mp4", 10.0, 20, 48, 32)


def _even(folder):
    video.write(folder / "e.mp4", np.zeros((20, 32, 48, 3), np.uint8), 10)
    return folder / "e.mp4"


def test_clips_at_one_frame_a_second_are_cut_by_time(tmp_path):
    changing(tmp_path / "v.mp4")
    shown, _ = described(tmp_path / "v.mp4", "v.mp4")
    track = Track(0, "person", {22: (0.0, 0.0, 9.0, 9.0)}, (22,))
    sample = Sample(
        "v", "s", "t", shown, "anomalous", spans=((4.0, 5.0),), tracks=(track,), root=str(tmp_path)
    )
    for part in ("videos", "masks"):
        (tmp_path / "out" / part).mkdir(parents=True)
    (clip,) = clips_of(sample, tmp_path / "out")
    assert clip.video.frames == 12 and clip.spans == ((4.0, 5.0),) and clip.tracks[0].anomalous == (4,)
    made = video.decode(tmp_path / "out" / clip.video.path)
    assert made.images.mean((1, 2, 3)) == pytest.approx([8 * n for n in (0, 10, *range(20, 30))], abs=6)


def test_extreme_pictures_and_clips_beyond_memory_are_one_line(tmp_path, monkeypatch):
    video.write(tmp_path / "v.mp4", np.zeros((20, 32, 48, 3), np.uint8), 10)
    monkeypatch.setattr("tvad.data.video.reading.MOST_BYTES", 1 << 16)
    with pytest.raises(InputError, match=r"v\.mp4: 20 frames of 48 x 32 pixels take .* take fewer frames"):
        video.decode(tmp_path / "v.mp4")
    assert len(video.decode(tmp_path / "v.mp4", 5.0, 8).images) == 8
    monkeypatch.setattr("tvad.data.video.file.MOST_PIXELS", 1000)
    with pytest.raises(InputError, match=r"v\.mp4: 48 x 32 pixels, at most 1,000 in a picture"):
        video.decode(tmp_path / "v.mp4")
    with pytest.raises(InputError, match=r"n\.mp4: the video cannot be written \(1 x 8 pixels are too few\)"):
        video.write(tmp_path / "n.mp4", np.zeros((2, 8, 1, 3), np.uint8), 10)
    assert not list(tmp_path.glob("*n*mp4"))
