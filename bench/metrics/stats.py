"""Intervals and comparisons: bootstrap over clusters (videos), paired where two runs answer the same items.

A percentile interval (Efron, 1979) of a statistic over clusters drawn with replacement: questions of one
video share its difficulty, so the video is what is drawn and its questions move together. `cluster_draws`
alone decides what is drawn; whatever has an interval in this project goes through it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.metrics import finite

# What draws from a stream of its own: two statistics of one suite and seed are not drawn alike by accident.
MEANS, HEATMAPS, LABELS, ODDS, TEXTS = range(5)
CHUNK = 1 << 16  # numbers drawn at a time: more would leave the processor's cache, fewer would be a loop


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval and the number of items; low and high are None where they cannot be
    had. `note`: in a line, why the value cannot be had, or what was left out; `oracle`: what the references
    themselves earn; `ceiling`: the same, where it is less than 1 and more is better."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    note: str | None = None
    ceiling: float | None = None
    oracle: float | None = None

    def row(self) -> dict:
        own = (("note", self.note), ("ceiling", self.ceiling), ("oracle", self.oracle))
        told = {k: v for k, v in own if v is not None}
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n} | told


def cluster_draws(clusters: int, resamples: int, seed: int, stream: int = MEANS) -> Iterator[np.ndarray]:
    """Numbers of the clusters drawn in each of `resamples` resamples, in blocks (rows, clusters): as many as
    there are, with replacement. The same seed, number of clusters and stream give the same draws, however
    they are cut into blocks, so that two runs on the same videos are resampled alike."""
    rng = np.random.default_rng([seed, clusters, stream])
    rows = max(1, CHUNK // clusters)
    for start in range(0, resamples, rows):
        yield rng.integers(0, clusters, (min(rows, resamples - start), clusters), dtype=np.int32)


def cluster_ids(clusters: np.ndarray) -> np.ndarray:
    """(n,) names of clusters -> their numbers 0, 1, ... in sorted order."""
    return np.unique(np.asarray(clusters), return_inverse=True)[1].ravel()


def cluster_sums(values: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of values in every cluster, clusters in sorted order."""
    ids = cluster_ids(clusters)
    return np.bincount(ids, weights=values), np.bincount(ids).astype(float)


def _resampled_means(sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(resamples,) means: the sum over the drawn clusters by the number of values in them, which differs from
    draw to draw (a ratio, not a mean of means)."""
    blocks = cluster_draws(len(sums), resamples, seed)
    return np.concatenate([sums[drawn].sum(1) / counts[drawn].sum(1) for drawn in blocks])


def mean_interval(
    values: np.ndarray, clusters: np.ndarray, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean of (n,) values with a percentile interval over clusters (n,): items of one video move together.
    Raises ValueError for a value that is no finite number."""
    values = finite("values", values)
    if len(values) == 0:
        return Interval(None, None, None, 0)
    sums, counts = cluster_sums(values, clusters)
    drawn = None if len(sums) < 2 else _resampled_means(sums, counts, resamples, seed)
    return interval_of(float(values.mean()), drawn, len(values), level)


def interval_of(value: float | None, drawn: np.ndarray | None, count: int, level: float = 0.95) -> Interval:
    """Percentile interval from resampled values (resamples,), NaN where the statistic is undefined; no bounds
    where the value is undefined, most of the resamples are, or there are none (`drawn` None: one cluster)."""
    if value is None or np.isnan(value):
        return Interval(None, None, None, count)
    values = np.zeros(0) if drawn is None else np.asarray(drawn, float)
    known = values[~np.isnan(values)]
    if len(known) < max(2, len(values) // 2):
        return Interval(value, None, None, count)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), count)


def share_beyond(
    values: np.ndarray, clusters: np.ndarray, bound: float, resamples: int = 2000, seed: int = 0
) -> float:
    """Bootstrap p-value of "the mean is at least `bound`": (1 + resampled means that are) / (1 + resamples),
    never 0 (Davison and Hinkley, 1997, chapter 4)."""
    sums, counts = cluster_sums(finite("values", values), clusters)
    means = _resampled_means(sums, counts, resamples, seed)
    return float((1 + (means >= bound).sum()) / (resamples + 1))


def mcnemar(before: np.ndarray, after: np.ndarray) -> float:
    """Exact two-sided McNemar test of paired right/wrong answers (n,): p-value of as uneven a split of those
    that changed."""
    before, after = finite("before", before).astype(bool), finite("after", after).astype(bool)
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    from scipy.stats import binomtest  # seconds of import that few commands need

    return 1.0 if lost + won == 0 else float(binomtest(min(lost, won), lost + won, 0.5).pvalue)


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down adjustment (1979) of several p-values, in the given order: the i-th smallest of k
    times k - i + 1, never below one before it."""
    order = np.argsort(finite("p-values", p_values), kind="stable")
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


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
