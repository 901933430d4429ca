"""Scores over time: two thresholds, least length, cool-down; smoothing that looks back alone."""

import numpy as np
import pytest

from tvad.common.errors import InputError
from tvad.detections import nearest
from tvad.scores import Hysteresis, Rule, cells, flagged, frames_in, smoothed


def episodes(scores, **rule):
    edges = np.arange(len(scores) + 1, dtype=float)
    return [(e.start, e.end, e.peak, e.peak_at, e.raised) for e in flagged(edges, scores, Rule(**rule))]


def test_a_span_begins_at_one_threshold_and_ends_below_the_other():
    scores = [0.1, 0.6, 0.45, 0.7, 0.39, 0.5, 0.1]
    assert episodes(scores, on=0.5, off=0.4) == [(1, 4, 0.7, 3, 2), (5, 6, 0.5, 5, 6)]
    assert episodes(scores, on=0.5, off=0.3) == [(1, 6, 0.7, 3, 2)]
    assert episodes(scores, on=0.5, off=0.5) == [(1, 2, 0.6, 1, 2), (3, 4, 0.7, 3, 4), (5, 6, 0.5, 5, 6)]
    assert episodes(scores, on=0.8) == []
    assert episodes([0.9, 0.9], on=0.5) == [(0, 2, 0.9, 0, 1)]  # open at the end


def test_what_is_shorter_than_asked_for_is_left_out_and_later_raised():
    scores = [0.6, 0.1, 0.6, 0.6, 0.6, 0.1]
    assert episodes(scores, on=0.5, least=2.0) == [(2, 5, 0.6, 2, 4)]
    assert episodes(scores, on=0.5, least=3.5) == []


def test_a_cool_down_lets_nothing_begin():
    scores = [0.6, 0.1, 0.6, 0.6, 0.6, 0.1]
    assert [e[0] for e in episodes(scores, on=0.5)] == [0, 2]
    assert [e[0] for e in episodes(scores, on=0.5, cooldown=2.0)] == [0, 3]
    assert [e[0] for e in episodes(scores, on=0.5, cooldown=5.0)] == [0]
    # What was too short was no alarm, and is followed by no silence.
    assert [e[0] for e in episodes(scores, on=0.5, least=2.0, cooldown=5.0)] == [2]


def test_events_come_once_each():
    state = Hysteresis(Rule(on=0.5, off=0.4, least=2.0))
    told = [state.feed(n, n + 1, s) for n, s in enumerate([0.6, 0.5, 0.45, 0.1, 0.6])]
    assert [t and t[0] for t in told] == [None, "on", None, "off", None]
    assert state.close() is None and state.open is None


@pytest.mark.parametrize(
    "rule", [{"on": 0.5, "off": 0.6}, {"least": -1}, {"cooldown": -1}, {"on": float("nan")}]
)
def test_a_rule_that_cannot_be_is_refused(rule):
    with pytest.raises(InputError):
        Rule(**rule)


def test_steps_stand_for_the_times_nearest_to_them():
    centres = np.array([0.25, 1.25, 1.75, 4.0])
    edges = cells(centres, 5.0)
    assert edges.tolist() == [0, 0.75, 1.5, 2.875, 5]
    moments = np.array([0.0, 0.7, 0.8, 1.6, 2.8, 2.9, 4.9])
    assert (np.searchsorted(edges, moments, side="right") - 1).tolist() == nearest(centres, moments).tolist()


def test_a_gaussian_however_narrow_leaves_scores_as_they_are():
    scores = np.array([0.1, 0.9])
    assert smoothed(scores, np.array([0.0, 1.0]), 1e-200).tolist() == scores.tolist()


def test_seconds_are_whole_steps_of_frames():
    assert [frames_in(s, 2.0) for s in (4.0, 3.6, 3.4, 0.6, 0.5)] == [8, 8, 6, 2, 0]
    assert [frames_in(s, 2.0) for s in (0.0, -1.0, float("nan"), float("inf"), 1e12)] == [0] * 5


def test_live_smoothing_knows_nothing_of_what_comes():
    times, scores = np.arange(6) / 2, np.array([0.0, 0, 1, 0, 0, 0])
    both, past = smoothed(scores, times, 0.5), smoothed(scores, times, 0.5, past=True)
    assert both[1] > 0.2 < both[3] and past[1] == 0 < past[3]
    for n in range(6):  # the same with what came so far alone
        assert past[n] == pytest.approx(smoothed(scores[: n + 1], times[: n + 1], 0.5, past=True)[-1])
    # Weights 1 and exp(-1/2) of the step and the one before.
    weight = np.exp(-0.5)
    assert smoothed(np.array([1.0, 0]), times[:2], 0.5, past=True)[1] == pytest.approx(weight / (1 + weight))
