"""Two runs on the same videos: the difference's interval, and whether there is one at all.

A figure's share of every video (Tukey's pseudo-values, 1958; of a mean close to the video's own) makes one
rule do for means and for what is no mean. Near the ends hardly any video changes, and those that do say
little of those that might: two pretended videos, one gaining and one losing as much as the largest change,
are added (Bonett and Price, 2012), and where fewer than CHANGED videos changed no interval is given. The test
turns the signs of whole videos (Fisher, 1935), and is exact where they are few. Chosen by simulation, as
`bench.metrics.stats`.
"""

from collections.abc import Iterator

import numpy as np

from bench.metrics import finite
from bench.metrics.stats import FEWEST, UNEVEN, Interval, cluster_sums, evenness

CHANGED = 6  # videos that must have changed: of fewer, no turning of signs is rarer than 0.05
EXACT = 14  # changed videos up to which all turnings are counted
CHUNK = 1 << 16  # numbers drawn at a time: more would leave the processor's cache, fewer would be a loop


def pseudo_values(value: np.ndarray, without: np.ndarray) -> np.ndarray:
    """V value - (V - 1) value without v: values (...,), (..., V) -> (..., V)."""
    count = without.shape[-1]
    return count * np.asarray(value)[..., None] - (count - 1) * without


def change_bounds(
    shares: np.ndarray, videos: np.ndarray, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(low, high, standard error) of changes from every video's share of them, (..., V); Student's quantile
    of `videos` - 1."""
    from scipy.special import stdtrit

    most = np.abs(shares).max(-1, keepdims=True)
    every = np.concatenate([shares, most, -most], -1)
    error = every.std(-1, ddof=1) / np.sqrt(every.shape[-1])
    half = -stdtrit(np.maximum(videos - 1, 1), (1 - level) / 2) * error
    centre = every.mean(-1)
    return centre - half, centre + half, error


def change_of(
    value: float | None,
    shares: np.ndarray,
    changed: int,
    count: int,
    videos: float | None = None,
    level: float = 0.95,
) -> Interval:
    """The interval of a change from every video's share of it (P,), NaN where undefined, of which `changed`
    videos changed at all; videos: what their number is worth (default P)."""
    if value is None:
        return Interval(None, None, None, count)
    shares = shares[~np.isnan(shares)]
    videos = len(shares) if videos is None else videos
    why = None
    if len(shares) < FEWEST:
        why = f"fewer than {FEWEST} videos"
    elif changed < CHANGED:
        why = f"fewer than {CHANGED} videos changed"
    elif videos < UNEVEN * len(shares):
        why = f"{len(shares)} videos with unlike numbers of questions, worth {videos:.0f}"
    if why:
        return Interval(value, None, None, count, withheld=why)
    low, high, _ = change_bounds(shares, np.array(videos), level)
    return Interval(value, float(low), float(high), count)


def change_interval(values: np.ndarray, clusters: np.ndarray, level: float = 0.95) -> Interval:
    """Mean of (n,) differences with its interval over clusters (n,). Raises ValueError for a value that is no
    finite number."""
    values = finite("values", values)
    if len(values) == 0:
        return Interval(None, None, None, 0)
    sums, counts = cluster_sums(values, clusters)
    mean = float(values.mean())
    if len(sums) < FEWEST:
        return change_of(mean, sums, 0, len(values))
    shares = pseudo_values(np.array(mean), (sums.sum() - sums) / (counts.sum() - counts))
    return change_of(mean, shares, int((sums != 0).sum()), len(values), float(evenness(counts)), level)


def paired_interval(
    before: np.ndarray, after: np.ndarray, clusters: np.ndarray, level: float = 0.95
) -> Interval:
    """Mean of after - before over the same items, with its interval over clusters."""
    return change_interval(np.asarray(after, float) - np.asarray(before, float), clusters, level)


def sign_flip(shares: np.ndarray, turnings: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of "no video's change is likelier one way than the other": how many of all turnings
    of the signs of (V,) changes have a sum as far from 0. All are counted where at most EXACT changes are not
    0, else `turnings` are drawn, of which the p-value is never 0 (Phipson and Smyth, 2010)."""
    some = finite("changes", shares)
    some = some[some != 0]
    least = abs(some.sum()) - 1e-9 * np.abs(some).sum()
    if len(some) <= EXACT:
        sums = np.zeros(1)
        for change in some:
            sums = np.concatenate([sums - change, sums + change])
        return float((np.abs(sums) >= least).mean())
    rng, as_far = np.random.default_rng([seed, len(some)]), 0
    rows = max(1, CHUNK // len(some))
    for start in range(0, turnings, rows):
        signs = rng.integers(0, 2, (min(rows, turnings - start), len(some)), dtype=np.int8)
        as_far += int((np.abs((2.0 * signs - 1) @ some) >= least).sum())
    return (1 + as_far) / (1 + turnings)


def cluster_draws(clusters: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Numbers of the clusters drawn in each of `resamples` resamples, in blocks (rows, clusters): as many as
    there are, with replacement. The same seed and number of clusters give the same draws, however they are
    cut into blocks."""
    rng = np.random.default_rng([seed, clusters, 0])
    rows = max(1, CHUNK // clusters)
    for start in range(0, resamples, rows):
        yield rng.integers(0, clusters, (min(rows, resamples - start), clusters), dtype=np.int32)


def share_beyond(
    values: np.ndarray, clusters: np.ndarray, bound: float, resamples: int = 2000, seed: int = 0
) -> float:
    """Bootstrap p-value of "the mean is at least `bound`": (1 + resampled means that are) / (1 + resamples),
    never 0 (Davison and Hinkley, 1997, chapter 4). A mean is the sum over the drawn clusters by the number of
    values in them, which differs from draw to draw (a ratio, not a mean of means)."""
    sums, counts = cluster_sums(finite("values", values), clusters)
    blocks = cluster_draws(len(sums), resamples, seed)
    reached = sum(int((sums[drawn].sum(1) / counts[drawn].sum(1) >= bound).sum()) for drawn in blocks)
    return (1 + reached) / (resamples + 1)


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down adjustment (1979) of several p-values, in the given order: the i-th smallest of k
    times k - i + 1, never below one before it."""
    order = np.argsort(finite("p-values", p_values), kind="stable")
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted
