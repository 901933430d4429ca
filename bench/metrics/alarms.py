"""What a control room asks of alarms: how many are false, how late they come, how many anomalies go without
one.

An alarm and an anomaly belong together where they overlap by more than an edge; one alarm may stand for
several anomalies and the other way round. False alarms are counted an hour of all that was watched, as NIST's
ActEV has its rate (false alarms a minute of video), not of the normal part alone."""

from collections.abc import Sequence

import numpy as np

from bench.metrics import finite

Spans = Sequence[tuple[float, float]]


def _overlaps(alarms: Spans, spans: Spans) -> np.ndarray:
    """(alarms, spans) bool. Raises ValueError for what does not end after it begins."""
    a, s = (finite("seconds", x).reshape(-1, 2) for x in (alarms, spans))
    for what, rows in (("alarm", a), ("span", s)):
        if (wrong := np.flatnonzero(rows[:, 0] >= rows[:, 1])).size:
            raise ValueError(f"{what} {wrong[0]}: {rows[wrong[0]].tolist()} does not end after it begins")
    return (a[:, :1] < s[:, 1]) & (a[:, 1:] > s[:, 0])


def false_alarms(alarms: Spans, spans: Spans) -> int:
    """How many alarms (seconds) overlap none of the anomalies' spans."""
    return int((~_overlaps(alarms, spans).any(1)).sum())


def per_hour(count: float, seconds: float) -> float | None:
    """So many in so many seconds as a rate; None for no time."""
    return count * 3600 / seconds if seconds > 0 else None


def standing(alarms: Spans, spans: Spans, seconds: float) -> tuple[float, float]:
    """(seconds without an anomaly during which an alarm stands, seconds without an anomaly) of `seconds` that
    were watched. One alarm without end overlaps every anomaly and is never late: this tells it."""
    a, s = (np.clip(np.asarray(x, float).reshape(-1, 2), 0, seconds) for x in (alarms, spans))
    edges = np.unique(np.concatenate([[0.0, seconds], a.ravel(), s.ravel()]))
    middle, long = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    alarmed, lit = (((r[:, :1] <= middle) & (middle < r[:, 1:])).any(0) for r in (a, s))
    return float(long[alarmed & ~lit].sum()), float(long[~lit].sum())


def delays(alarms: Spans, told: Sequence[float], spans: Spans) -> np.ndarray:
    """(spans,) seconds from each anomaly's onset until the first of its alarms was told, `told` (alarms,), at
    least 0: one that stood already is no sooner than the onset. NaN for one that has no alarm."""
    overlap, said = _overlaps(alarms, spans), finite("told", told)
    if len(said) != len(overlap):
        raise ValueError(f"{len(overlap)} alarms, {len(said)} moments at which they were told")
    first = np.min(np.where(overlap, said[:, None], np.inf), 0, initial=np.inf)
    onsets = np.asarray(spans, float).reshape(-1, 2)[:, 0]
    return np.where(np.isfinite(first), np.maximum(first - onsets, 0.0), np.nan)


def summary(found: np.ndarray) -> tuple[float | None, float | None]:
    """(median of the delays of those anomalies that have an alarm, share of those that have none); None where
    there are none to tell of."""
    missed = np.isnan(found)
    median = None if missed.all() else float(np.median(found[~missed]))
    return median, float(missed.mean()) if len(found) else None
