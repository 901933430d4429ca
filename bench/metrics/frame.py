"""Frame and pixel ROC-AUC, average precision. Protocols: UBnormal's scripts (Acsintoae et al., CVPR 2022) and
AED (Georgescu et al., TPAMI 2021)."""

from dataclasses import dataclass

import numpy as np

from bench.metrics import finite


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """labels (n,) as bool, scores (n,) as float. Raises ValueError for anything but 0 and 1, for a score that
    is no finite number, and for another number of them."""
    labels, scores = np.asarray(labels), finite("scores", scores)
    if labels.shape != scores.shape:
        raise ValueError(f"{labels.size} labels, {scores.size} scores")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1, found {labels[~np.isin(labels, (0, 1))][0]!s}")
    return labels.astype(bool), scores


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Area under the ROC curve by ranks, ties at half; None unless both classes occur. labels (n,) in {0, 1},
    scores (n,) on any scale. Raises ValueError for others."""
    labels, scores = _checked(labels, scores)
    positives = int(labels.sum())
    negatives = labels.size - positives
    if positives == 0 or negatives == 0:
        return None
    # Mann-Whitney: (rank sum of the positives - P (P + 1) / 2) / (P N), ranks from 1, ties at their mean
    # rank.
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def area(negative: np.ndarray, positive: np.ndarray) -> float | None:
    """ROC-AUC from how many negatives and positives have each score, (b,) each by rising score; None unless
    both classes occur."""
    n, p = float(negative.sum()), float(positive.sum())
    if n == 0 or p == 0:
        return None
    # P(positive > negative) + P(tie) / 2, as the ranks of `roc_auc`:
    # sum_b pos_b (neg_<b + neg_b / 2) / (P N). Equal scores are ties.
    below = np.cumsum(negative) - negative / 2
    return float(positive @ below / (n * p))


def precision(negative: np.ndarray, positive: np.ndarray) -> float | None:
    """Average precision from the same counts; None unless both classes occur: of positives alone it would be
    1, whatever was scored."""
    p = float(positive.sum())
    if p == 0 or not negative.any():
        return None
    hits = positive[::-1]  # from the highest score down
    found, seen = np.cumsum(hits), np.cumsum(negative[::-1])
    some = hits > 0
    return float(hits[some] @ (found[some] / (found[some] + seen[some])) / p)


@dataclass(frozen=True)
class Ranked:
    """Frames of several videos by rising score: the areas of any drawn videos then cost no sorting. Each row
    stands for `count` frames of one video with one score and label."""

    video: np.ndarray  # (r,) number of the video
    label: np.ndarray  # (r,) bool
    count: np.ndarray  # (r,)
    starts: np.ndarray  # (b,) the first row of every different score

    @classmethod
    def of(
        cls,
        labels: list[np.ndarray],
        scores: list[np.ndarray],
        numbers: np.ndarray,
        counts: list[np.ndarray] | None = None,
    ) -> "Ranked":
        """Lists of (T,) arrays, one a video, and the videos' numbers; counts: how often each entry is there,
        by default once. Raises ValueError as `roc_auc`."""
        if not any(map(len, labels)):
            none = np.zeros(0, int)
            return cls(none, none.astype(bool), none, none)
        pairs = [_checked(y, s) for y, s in zip(labels, scores, strict=True)]
        video = np.repeat(numbers, [len(y) for y, _ in pairs])
        label = np.concatenate([y for y, _ in pairs])
        _, place = np.unique(np.concatenate([s for _, s in pairs]), return_inverse=True)
        most = int(video.max()) + 1
        rows, where = np.unique((place.ravel() * most + video) * 2 + label, return_inverse=True)
        count = np.bincount(where.ravel(), None if counts is None else np.concatenate(counts))
        return cls(rows // 2 % most, rows % 2 == 1, count, _starts(rows // 2 // most))

    def only(self, chosen: np.ndarray) -> "Ranked":
        """The rows of the videos that are `chosen`, (V,) bool."""
        kept = chosen[self.video]
        place = np.zeros(len(kept), int)
        place[self.starts] = 1
        return Ranked(self.video[kept], self.label[kept], self.count[kept], _starts(np.cumsum(place)[kept]))

    def counts(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many negatives and positives have each score, rising, where video v counts `weights[v]`
        times: what `area` and `precision` take."""
        every = self.count * weights[self.video]
        positive = every * self.label
        negative = every - positive
        if len(self.starts) == len(every):  # no ties
            return negative, positive
        return np.add.reduceat(negative, self.starts), np.add.reduceat(positive, self.starts)


def condensed(scores: np.ndarray, counts: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Many scores (n,), each there `counts` times, as at most `parts` (scores, counts), rising: all of them
    where so few differ, else the middle one of each of `parts` equal shares, so that no rank moves by more
    than about one share. Of scores only their order and ties count, as in an AUC: any strictly rising map of
    them maps what comes out and changes nothing else."""
    some = counts > 0
    values, place = np.unique(scores[some], return_inverse=True)
    mass = np.bincount(place.ravel(), counts[some], len(values))
    if len(values) <= parts:
        return values, mass
    ends = np.cumsum(mass)
    starts = _starts(np.floor((ends - mass / 2) * (parts / ends[-1])))
    shares = np.add.reduceat(mass, starts)
    return values[np.searchsorted(ends, np.cumsum(shares) - shares / 2)], shares


class Condensed:
    """Scores that come in pieces, as at most `parts` of them: each piece is `condensed`, 64 of them become
    one, 64 of those one again: few are held, and none is condensed more than a few times."""

    def __init__(self, parts: int):
        self.parts = parts
        self._levels: list[list[np.ndarray]] = []

    def add(self, scores: np.ndarray, counts: np.ndarray, level: int = 0) -> None:
        """scores (n,), each there `counts` times."""
        if level == len(self._levels):
            self._levels.append([])
        held = self._levels[level]
        held.append(np.stack(condensed(scores, counts, self.parts)))
        if len(held) == 64:
            scores, counts = np.concatenate(held, 1)
            self.add(scores, counts, level + 1)
            held.clear()

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """(scores, counts), rising."""
        held = [piece for level in self._levels for piece in level]
        scores, counts = np.concatenate([np.zeros((2, 0)), *held], 1)
        return condensed(scores, counts, self.parts)


def _starts(place: np.ndarray) -> np.ndarray:
    """Where a new value begins in a rising row of them."""
    return np.flatnonzero(np.diff(place, prepend=place[:1] - 1)) if len(place) else place


def roc_curve(labels: np.ndarray, scores: np.ndarray, points: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates, each (<= points + 1,), from (0, 0) to (1, 1); empty unless both classes
    occur."""
    labels, scores = _checked(labels, scores)
    if labels.all() or not labels.any():
        return np.zeros(0), np.zeros(0)
    order = np.argsort(-scores, kind="stable")
    hits, ordered = labels[order], scores[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))  # ties enter together
    found = np.cumsum(hits)[last]
    rates = np.stack([(last + 1 - found) / (~labels).sum(), found / labels.sum()])
    rates = np.concatenate([np.zeros((2, 1)), rates], 1)
    shown = np.unique(np.linspace(0, rates.shape[1] - 1, points + 1).round().astype(int))
    return rates[0, shown], rates[1, shown]


def padded_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """AUC of one video (T,) after a virtual normal frame of score 0 and an anomalous one of score 1, as
    UBnormal's published protocol has it. A video of one class, too, has a value then, near 1 by construction;
    with scores beyond 0..1 the two frames are no extremes."""
    return roc_auc(np.concatenate([[0], labels, [1]]), np.concatenate([[0.0], scores, [1.0]])) or 0.0


def auc(labels: list[np.ndarray], scores: list[np.ndarray], padded: bool = True) -> dict[str, float | None]:
    """Micro (all frames in one ROC) and macro (mean of per-video AUCs) over lists of (T,) arrays, one a
    video.

    padded: every video's own AUC is `padded_auc`; otherwise one-class videos have no AUC and are left out.
    None where undefined. The published protocol gives 1 to a set without an anomalous frame and takes scores
    on any scale, and so does this; `bench.tasks.heatmap` prints no macro AUC then. Raises ValueError as
    `roc_auc`.
    """
    if not labels:
        return {"micro": None, "macro": None}
    micro = roc_auc(np.concatenate(labels), np.concatenate(scores))
    one = padded_auc if padded else roc_auc
    values = [value for y, s in zip(labels, scores, strict=True) if (value := one(y, s)) is not None]
    return {"micro": micro, "macro": float(np.mean(values)) if values else None}


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Average precision (step-wise area); None without positives. Raises ValueError as `roc_auc`."""
    labels, scores = _checked(labels, scores)
    if not labels.any():
        return None
    order = np.argsort(-scores, kind="stable")
    hits, ordered = labels[order], scores[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))  # ties enter together
    found = np.cumsum(hits)[last]
    precision, recall = found / (last + 1), found / labels.sum()
    return float(np.sum(np.diff(np.concatenate([[0.0], recall])) * precision))
