"""Intervals and comparisons: bootstrap over clusters (videos), paired where two runs answer the same
items."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval and the number of items; low and high are None where they cannot be
    had."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def row(self) -> dict:
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


CHUNK = 1 << 16  # draws made at a time: more would leave the processor's cache, fewer would be a loop


def _resampled_means(sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(resamples,) means over clusters drawn with replacement."""
    clusters = len(sums)
    rng = np.random.default_rng([seed, clusters])
    means = np.empty(resamples)
    rows = max(1, CHUNK // clusters)
    for start in range(0, resamples, rows):
        n = min(rows, resamples - start)
        drawn = rng.integers(0, clusters, (n, clusters), dtype=np.int32)
        means[start : start + n] = sums[drawn].sum(1) / counts[drawn].sum(1)
    return means


def mean_interval(
    values: np.ndarray, clusters: np.ndarray, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean of (n,) values with a percentile interval over clusters (n,): items of one video move together."""
    values = np.asarray(values, float)
    if len(values) == 0:
        return Interval(None, None, None, 0)
    sums, counts = cluster_sums(values, clusters)
    if len(sums) < 2:
        return Interval(float(values.mean()), None, None, len(values))
    low, high = np.quantile(
        _resampled_means(sums, counts, resamples, seed), [(1 - level) / 2, (1 + level) / 2]
    )
    return Interval(float(values.mean()), float(low), float(high), len(values))


def interval_of(value: float | None, drawn: np.ndarray | None, count: int, level: float = 0.95) -> Interval:
    """Percentile interval from resampled values; None where the value is undefined or most of the resamples
    are."""
    known = np.zeros(0) if drawn is None else np.asarray(drawn, float)[~np.isnan(np.asarray(drawn, float))]
    if value is not None and np.isnan(value):
        value = None
    if value is None or drawn is None or len(known) < max(2, len(drawn) // 2):
        return Interval(value, None, None, count)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), count)


def share_beyond(
    values: np.ndarray, clusters: np.ndarray, bound: float, resamples: int = 2000, seed: int = 0
) -> float:
    """Bootstrap p-value of "the mean is at least `bound`": share of resampled means that are, never below 1 /
    (resamples + 1)."""
    sums, counts = cluster_sums(np.asarray(values, float), clusters)
    means = _resampled_means(sums, counts, resamples, seed)
    return float((1 + (means >= bound).sum()) / (resamples + 1))


def mcnemar(before: np.ndarray, after: np.ndarray) -> float:
    """Exact two-sided McNemar test of paired right/wrong answers (n,): p-value of as uneven a split of those
    that changed."""
    before, after = np.asarray(before).astype(bool), np.asarray(after).astype(bool)
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    from scipy.stats import binomtest  # seconds of import that few commands need

    return 1.0 if lost + won == 0 else float(binomtest(min(lost, won), lost + won, 0.5).pvalue)


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down adjustment of several p-values, in the given order."""
    order = np.argsort(p_values, kind="stable")
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def cluster_sums(values: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of values in every cluster, clusters in sorted order."""
    ids = np.unique(np.asarray(clusters), return_inverse=True)[1]
    return np.bincount(ids, weights=values), np.bincount(ids).astype(float)


def paired_interval(
    before: np.ndarray,
    after: np.ndarray,
    clusters: np.ndarray,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean of after - before over the same items, with its interval over clusters."""
    return mean_interval(
        np.asarray(after, float) - np.asarray(before, float), clusters, resamples, seed, level
    )
