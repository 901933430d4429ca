"""The table of a suite: which columns, which order, who shares a rank. Where intervals overlap the difference
may be chance, so the rank is shared; the order within a rank is by value."""

import numpy as np

from bench.tasks import PRIMARIES, lower_is_better
from leaderboard.store.standings import Standings


def columns(metrics: list[str]) -> list[str]:
    """The primary metrics among those of a suite, in the order of the tasks."""
    return [name for name in PRIMARIES if name in metrics]


def ordered(standings: Standings, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """(ranks, places in `standings`) from best to worst, (n,) each; those without the metric last. A rank is
    1 + the number of models whose interval lies wholly on the better side of this one's: models whose
    intervals overlap with the leader's share its rank. One without an interval, which
    might share any, has rank 0, stands where its value puts it and takes no part in others' ranks. What does
    not count (`Standings.counted`) has rank 0 too, and stands below what does."""
    values, lows, highs = standings.value, standings.low, standings.high
    if lower_is_better(metric):
        values, lows, highs = -values, -highs, -lows
    counted = np.ones(len(values), bool) if standings.counted is None else standings.counted
    known = np.isfinite(values)
    # For every model the lows above its own high, counted in a sorted list: n log n, not n².
    ranked = known & counted & np.isfinite(lows) & np.isfinite(highs)
    above = ranked.sum() - np.searchsorted(np.sort(lows[ranked]), highs, side="right")
    ranks = np.where(ranked, 1 + above, 0)
    # Stable: equal ones stay in the order of their hashes.
    order = np.lexsort((np.where(known, -values, 0.0), ~known, ~counted))
    return ranks[order], order
