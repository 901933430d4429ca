"""Targets that are seen for hours, data sets of many videos: what it costs grows with what there is."""

import time

import pytest

from tvad.annotate import refine
from tvad.annotate.schema import Seen
from tvad.annotate.timelines import Timeline, joined
from tvad.data.sample import Track

BOX = (10.0, 10.0, 30.0, 60.0)


def seconds(work):
    begin = time.process_time()
    work()
    return time.process_time() - begin


def parked(count):
    looks = ({"kind": "car", "colour": "red"}, {"kind": "vehicle", "colour": "red"}, {"kind": "car"})
    return [(f, [Seen(BOX, looks[f % 3], "parked")]) for f in range(count)]


def test_a_car_that_is_parked_for_hours_is_joined_in_time():
    """Eight times as many frames cost eight times as much, not 64."""
    frames = {count: parked(count) for count in (500, 4000)}
    joined(frames[500], 30.0)
    short, long = (min(seconds(lambda n=n: joined(frames[n], 30.0)) for _ in range(3)) for n in frames)
    assert long < 24 * short


def test_looks_are_those_of_all_sightings_while_they_are_joined():
    """Far away a target must look the same: as most of its sightings say, not the last one."""
    frames = parked(9)
    frames[8] = (8, [Seen(BOX, {"kind": "car", "colour": "blue"})])
    away = (10.0, 61.0, 30.0, 111.0)  # beside where it was, over no pixel of it
    red, blue = ({"kind": "car", "colour": colour} for colour in ("red", "blue"))
    (one,) = joined([*frames, (9, [Seen(away, red)])], 30.0)
    assert one.look == {"kind": "car", "colour": "red"} and len(one.seen) == 10
    assert len(joined([*frames, (9, [Seen(away, blue)]), (10, [Seen(away, blue)])], 30.0)) == 2


@pytest.mark.parametrize("parts", [1, 3])
def test_a_masks_object_of_many_frames_is_taken_over_in_time(parts):
    def masked(count):
        boxes = dict.fromkeys(range(count), BOX)
        timeline = Timeline(0, {})
        refine._masked(timeline, [Track(n, "x", boxes, tuple(boxes)) for n in range(parts)])
        assert timeline.anomalous == tuple(range(count)) and timeline.masked

    masked(100)
    assert seconds(lambda: masked(40_000)) < 24 * seconds(lambda: masked(5_000))
