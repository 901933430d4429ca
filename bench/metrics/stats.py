"""Intervals of one run's figures: Wilson's, for as many independent videos as the answers are worth.

Questions of one video share its difficulty, so what counts is the video: every figure is computed again
without each of them (the jackknife), which gives its variance and so the number of independent videos that
would have the same. One rule for means and for what is no mean (areas, F1, BLEU by corpus, RBDC); it was
chosen by simulation (`bench.coverage`, docs/measurements/coverage.md). Where it has not been shown to hold no
interval is given, and `withheld` says why. Two runs: `bench.metrics.paired`.
"""

from dataclasses import dataclass

import numpy as np

from bench.metrics import finite

FEWEST = 4  # videos below which no interval has been shown to hold
RARE = 5  # videos of a class below which a mean over classes has none
UNEVEN = 0.5  # share of the videos that they must be worth, where they hold unlike numbers of questions


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval and the number of items; low and high are None where they cannot be
    had. `note`: in a line, why the value cannot be had, or what was left out; `withheld`: why a value has no
    interval; `oracle`: what the references themselves earn; `ceiling`: the same, where it is less than 1 and
    more is better."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    note: str | None = None
    ceiling: float | None = None
    oracle: float | None = None
    withheld: str | None = None

    def row(self) -> dict:
        own = (
            ("note", self.note),
            ("ceiling", self.ceiling),
            ("oracle", self.oracle),
            ("withheld", self.withheld),
        )
        told = {k: v for k, v in own if v is not None}
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n} | told


def cluster_ids(clusters: np.ndarray) -> np.ndarray:
    """(n,) names of clusters -> their numbers 0, 1, ... in sorted order."""
    return np.unique(np.asarray(clusters), return_inverse=True)[1].ravel()


def cluster_sums(values: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of values in every cluster, clusters in sorted order."""
    ids = cluster_ids(clusters)
    return np.bincount(ids, weights=values), np.bincount(ids).astype(float)


def parts_of(videos: int, most: int, seed: int) -> np.ndarray:
    """(V,) which part each video is left out with: one of its own, or of more than `most` videos one of as
    many parts of nearly equal size, drawn by the seed."""
    numbers = np.arange(videos)
    return numbers if videos <= most else np.random.default_rng([seed, videos]).permutation(videos) % most


def without_parts(rows: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Sums over all videos but those of each part: rows (V, ...), parts (V,) -> (P, ...)."""
    sums = np.zeros((parts.max() + 1, *rows.shape[1:]))
    np.add.at(sums, parts, rows)
    return rows.sum(0) - sums


def evenness(counts: np.ndarray) -> np.ndarray:
    """How many videos of equal size are worth (..., V) of these sizes (Kish, 1965): (sum n)^2 / sum n^2."""
    return counts.sum(-1) ** 2 / (counts**2).sum(-1)


def bounds(
    value: np.ndarray, without: np.ndarray, units: np.ndarray, videos: np.ndarray, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of values (...,) in 0..1 from the values without each video (..., V).

    The number m of independent ones makes value (1 - value) / m the variance: the jackknife's, and that of
    half a pretended video that is all right and half a one that is all wrong (as Jeffreys' prior has half an
    answer each), among `units`: what did not happen in few videos may yet. Where nothing varies m is `units`.
    The interval is the wider of Wilson's (1927), with Student's quantile of `videos` - 1, and Clopper and
    Pearson's (1934), both for m."""
    from scipy.special import betaincinv, stdtrit  # seconds of import that few commands need

    value, count = np.clip(value, 0, 1), without.shape[-1]
    variance = without.var(-1) * (count - 1)
    seen = np.maximum(value * (1 - value), 1e-14)
    pretended = (value**2 + (1 - value) ** 2) / (2 * units**2)
    m = np.where(variance > 1e-14, seen / (variance + pretended), units)
    m = np.maximum(m, np.minimum(units, seen / np.maximum(variance, 1e-14)))
    tail = (1 - level) / 2
    z = -stdtrit(np.maximum(videos - 1, 1), tail)
    half = z / (1 + z * z / m) * np.sqrt(value * (1 - value) / m + z * z / (4 * m * m))
    centre = (value + z * z / (2 * m)) / (1 + z * z / m)
    hits, misses = value * m, (1 - value) * m
    lowest = np.where(hits > 1e-9, betaincinv(np.maximum(hits, 1e-9), misses + 1, tail), 0)
    highest = np.where(misses > 1e-9, betaincinv(hits + 1, np.maximum(misses, 1e-9), 1 - tail), 1)
    return np.maximum(0, np.minimum(centre - half, lowest)), np.minimum(1, np.maximum(centre + half, highest))


def interval_of(
    value: float | None,
    without: np.ndarray,
    count: int,
    units: float | None = None,
    sizes: np.ndarray | None = None,
    level: float = 0.95,
) -> Interval:
    """The interval of a value in 0..1 from the values without each part of the videos (P,), NaN where they
    are undefined. units: how many videos it rests on at most where all questions of a video are alike
    (default: what their number is worth); sizes: how many questions each video holds (V,), by default as many
    as another, and a part is a video."""
    if value is None or np.isnan(value):
        return Interval(None, None, None, count)
    known = without[~np.isnan(without)]
    number = len(without) if sizes is None else len(sizes)
    if len(known) < FEWEST:
        few = "undefined without most videos"
        if len(without) < FEWEST:
            parts = f"{number} videos in {len(without)} parts, fewer than {FEWEST}: resamples"
            few = f"fewer than {FEWEST} videos" if number < FEWEST else parts
        return Interval(value, None, None, count, withheld=few)
    worth = float(number if sizes is None else evenness(sizes))
    if worth < UNEVEN * number:
        uneven = f"{number} videos with unlike numbers of questions, worth {worth:.0f}"
        return Interval(value, None, None, count, withheld=uneven)
    rests = max(1.0, min(worth, len(known) if units is None else units))
    low, high = bounds(np.array(value), known, np.array(rests), np.array(min(worth, len(known))), level)
    return Interval(value, float(low), float(high), count)


def mean_interval(
    values: np.ndarray, clusters: np.ndarray, level: float = 0.95, top: float = 1.0
) -> Interval:
    """Mean of (n,) values in 0..`top` with its interval over clusters (n,): items of one video move together.
    Raises ValueError for a value that is no finite number, or outside."""
    values = finite("values", values)
    if len(values) == 0:
        return Interval(None, None, None, 0)
    if values.min() < -1e-9 or values.max() > top + 1e-9:
        raise ValueError(f"values must be in 0 to {top:g}, found {values.min():g} to {values.max():g}")
    sums, counts = cluster_sums(values / top, clusters)
    if len(sums) < FEWEST:
        return interval_of(float(values.mean()), sums, len(values))
    without = (sums.sum() - sums) / (counts.sum() - counts)
    found = interval_of(float(values.mean()) / top, without, len(values), sizes=counts, level=level)
    if found.low is None or found.high is None:
        return Interval(float(values.mean()), None, None, len(values), withheld=found.withheld)
    return Interval(float(values.mean()), found.low * top, found.high * top, len(values))
