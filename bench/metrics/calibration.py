"""Whether scores are what they seem: calibration of scores in 0..1 as chances of an anomaly, and F1 at a
threshold that was chosen elsewhere.

ECE here is of the positive class over bins of equal width (Naeini et al., AAAI 2015), not of the more likely
class's confidence (Guo et al., ICML 2017); Brier's score is the mean squared difference, half of Brier's own
(1950)."""

from typing import NamedTuple

import numpy as np

from bench.metrics import finite

BINS = 10


class Chosen(NamedTuple):
    """A threshold, and the F1 that it has where it was chosen."""

    threshold: float
    f1: float


def _checked(labels: np.ndarray, scores: np.ndarray, chances: bool) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.asarray(labels), finite("scores", scores)
    if labels.shape != scores.shape or not np.isin(labels, (0, 1)).all():
        raise ValueError(f"{labels.size} labels, which must be 0 or 1, {scores.size} scores")
    if chances and scores.size and (scores.min() < 0 or scores.max() > 1):
        raise ValueError(f"scores must be in 0 to 1, found {scores.min():g} to {scores.max():g}")
    return labels.astype(float), scores


def ece(labels: np.ndarray, scores: np.ndarray, bins: int = BINS) -> float | None:
    """Expected calibration error: over `bins` equal parts of 0..1, the last closed at both ends, the absolute
    difference of the share of positives and the mean score, weighted by how many scores lie there. labels
    (n,) in {0, 1}, scores (n,) in 0..1; None for none. Raises ValueError for others."""
    labels, scores = _checked(labels, scores, True)
    if not len(scores):
        return None
    place = np.minimum((scores * bins).astype(int), bins - 1)
    apart = np.bincount(place, labels - scores, bins)
    return float(np.abs(apart).sum() / len(scores))


def brier(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Mean squared difference of scores in 0..1 and labels; None for none. Raises ValueError as `ece`."""
    labels, scores = _checked(labels, scores, True)
    return float(((scores - labels) ** 2).mean()) if len(scores) else None


def f1_at(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float | None:
    """F1 of calling anomalous what reaches the threshold; None where nothing is anomalous. Scores on any
    scale."""
    labels, scores = _checked(labels, scores, False)
    if not labels.any():
        return None
    called = scores >= threshold
    return float(2 * (called * labels).sum() / (called.sum() + labels.sum()))


def best_f1(labels: np.ndarray, scores: np.ndarray) -> Chosen | None:
    """The threshold among the scores that gives the highest F1, of equals the highest; None where nothing is
    anomalous. To be chosen on a validation set: chosen on the test set it is what nobody has."""
    labels, scores = _checked(labels, scores, False)
    if not labels.any():
        return None
    order = np.argsort(-scores, kind="stable")
    hits, ordered = labels[order], scores[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))  # ties are called together
    values = 2 * np.cumsum(hits)[last] / (last + 1 + labels.sum())
    best = int(values.argmax())
    return Chosen(float(ordered[last][best]), float(values[best]))
