"""Intervals and comparisons: bootstrap over clusters (videos), paired where two runs answer the same items."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval and the number of items; low and high are None where they cannot be had."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def row(self) -> dict:
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def _weights(clusters: int, resamples: int, seed: int) -> np.ndarray:
    """(resamples, clusters): how often each cluster was drawn."""
    rng = np.random.default_rng([seed, clusters])
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(np.float64)


def mean_interval(values: np.ndarray, clusters: np.ndarray, resamples: int = 2000, seed: int = 0, level: float = 0.95) -> Interval:
    """Mean of (n,) values with a percentile interval over clusters (n,): items of one video move together."""
    values = np.asarray(values, float)
    if len(values) == 0:
        return Interval(None, None, None, 0)
    sums, counts = cluster_sums(values, clusters)
    if len(sums) < 2:
        return Interval(float(values.mean()), None, None, len(values))
    weights = _weights(len(sums), resamples, seed)
    means = (weights @ sums) / (weights @ counts)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high), len(values))


def cluster_sums(values: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of values in every cluster, clusters in sorted order."""
    ids = np.unique(np.asarray(clusters), return_inverse=True)[1]
    return np.bincount(ids, weights=values), np.bincount(ids).astype(float)


def paired_interval(
    before: np.ndarray, after: np.ndarray, clusters: np.ndarray, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean of after - before over the same items, with its interval over clusters."""
    return mean_interval(np.asarray(after, float) - np.asarray(before, float), clusters, resamples, seed, level)


def resampled(statistic, videos: int, resamples: int, seed: int, level: float = 0.95) -> tuple[float | None, float | None]:
    """Percentile interval of `statistic(indices)` over resampled videos; undefined resamples (None) are left out."""
    rng = np.random.default_rng([seed, videos, 1])
    found = [statistic(rng.integers(0, videos, videos)) for _ in range(resamples)]
    values = [v for v in found if v is not None]
    if len(values) < max(2, resamples // 2):
        return None, None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
