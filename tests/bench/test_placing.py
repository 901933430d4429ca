"""Scores and maps of other lengths than the video's are placed by what their line says, or refused with both
numbers."""

import numpy as np
import pytest

from bench.placing import placed
from tvad.data.video import Frames

# 40 frames at 10 a second, of which 8 are sampled.
CLIP = Frames(np.zeros((8, 4, 4, 3), np.uint8), np.arange(8) / 2, np.arange(0, 40, 5), 10.0, 40)


def runs(steps):
    """Lengths of the runs of equal values, with the values."""
    edges = np.flatnonzero(np.diff(steps)) + 1
    return [(int(part[0]), len(part)) for part in np.split(steps, edges)]


@pytest.mark.parametrize(
    ("count", "row", "expected"),
    [
        (40, {}, [(n, 1) for n in range(40)]),
        (10, {"stride": 4}, [(n, 4) for n in range(10)]),
        (10, {"stride": 4.0}, [(n, 4) for n in range(10)]),
        (3, {"stride": 16}, [(0, 16), (1, 16), (2, 8)]),
        (2, {"stride": 16}, [(0, 16), (1, 16), (-1, 8)]),
        (1, {"stride": 64}, [(0, 40)]),
        (32, {"spread": True}, [(n, 2 if n % 4 == 0 else 1) for n in range(32)]),
        (1, {"spread": True}, [(0, 40)]),
        (4, {"times": [0, 1, 2, 3]}, [(n, 10) for n in range(4)]),
        (3, {"times": [0.5, 1.5, 3.0]}, [(0, 15), (1, 15), (2, 10)]),
        (1, {"times": [0]}, [(0, 40)]),
    ],
)
def test_a_rule_places_scores(count, row, expected):
    assert runs(placed(count, {"frame_scores": [], **row}, CLIP)) == expected


def test_maps_as_a_run_makes_them_need_no_rule_and_frame_scores_do():
    # The nearest in time of the pairs of sampled frames: centres at 0.25, 1.25, 2.25 and 3.25 s.
    assert runs(placed(4, {"heatmap": "x.npz"}, CLIP)) == [(0, 8), (1, 10), (2, 10), (3, 12)]
    with pytest.raises(ValueError, match="4 frame_scores, the video has 40 frames"):
        placed(4, {"frame_scores": []}, CLIP)


@pytest.mark.parametrize(
    ("count", "row", "words"),
    [
        (39, {}, "39 frame_scores, the video has 40 frames"),
        (41, {}, "41 frame_scores, the video has 40 frames"),
        (1, {"stride": 16}, "1 frame_scores of 16 frames each are for 1 to 31 frames, the video has 40"),
        (4, {"stride": 16}, "4 frame_scores of 16 frames each are for 49 to 79 frames, the video has 40"),
        (3, {"stride": 0}, "stride is 0"),
        (3, {"stride": -16}, "stride is -16"),
        (3, {"stride": 7.5}, "stride is 7.5"),
        (3, {"stride": True}, "stride is True"),
        (3, {"stride": float("inf")}, "stride is inf"),
        (3, {"stride": "16"}, "stride is '16'"),
        (3, {"stride": 16, "spread": True}, "stride and spread are two rules"),
        (3, {"spread": "yes"}, "spread is 'yes'"),
        (41, {"spread": True}, "41 frame_scores over 40 frames"),
        (3, {"times": [0, 1]}, "3 frame_scores, but 2 times"),
        (3, {"times": 5}, "times must be a list of seconds"),
        (3, {"times": [0, "1", 2]}, "times must be a list of seconds"),
        (3, {"times": [0, 2, 1]}, "times must rise"),
        (3, {"times": [-1, 0, 1]}, "times must rise, from 0 s"),
        (3, {"times": [0, 1000, 2000]}, "times 0 to 2000 s in steps of at most 1000 s do not cover"),
        (3, {"times": [0, 0.1, 0.2]}, "do not cover the video's 4.00 s"),
        (2, {"times": [3, 3.5]}, "do not cover the video's 4.00 s"),
    ],
)
def test_what_does_not_fit_is_refused(count, row, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        placed(count, {"frame_scores": [], **row}, CLIP)
