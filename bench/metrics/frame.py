"""Frame and pixel ROC-AUC. Protocols: UBnormal's scripts (Acsintoae et al., CVPR 2022) and AED (Georgescu et
al., TPAMI 2021)."""

import numpy as np


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Area under the ROC curve by ranks, ties at half; None unless both classes occur. labels (n,) in {0, 1},
    scores (n,)."""
    labels = np.asarray(labels).astype(bool)
    positives = int(labels.sum())
    negatives = labels.size - positives
    if positives == 0 or negatives == 0:
        return None
    # Mann-Whitney: (rank sum of the positives - P (P + 1) / 2) / (P N), ranks from 1, ties at their mean
    # rank.
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def roc_curve(labels: np.ndarray, scores: np.ndarray, points: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates, each (<= points + 1,), from (0, 0) to (1, 1); empty unless both classes
    occur."""
    labels = np.asarray(labels).astype(bool)
    if labels.all() or not labels.any():
        return np.zeros(0), np.zeros(0)
    order = np.argsort(-np.asarray(scores), kind="stable")
    hits, ordered = labels[order], np.asarray(scores)[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))  # ties enter together
    found = np.cumsum(hits)[last]
    rates = np.stack([(last + 1 - found) / (~labels).sum(), found / labels.sum()])
    rates = np.concatenate([np.zeros((2, 1)), rates], 1)
    shown = np.unique(np.linspace(0, rates.shape[1] - 1, points + 1).round().astype(int))
    return rates[0, shown], rates[1, shown]


def auc(labels: list[np.ndarray], scores: list[np.ndarray], padded: bool = True) -> dict[str, float | None]:
    """Micro (all frames in one ROC) and macro (mean of per-video AUCs) over lists of (T,) arrays, one a
    video.

    padded: every video gets a virtual normal frame of score 0 and an anomalous one of score 1 before its own
    AUC, as UBnormal's published protocol does; otherwise one-class videos have no AUC and are left out. None
    where undefined.
    """
    if not labels:
        return {"micro": None, "macro": None}
    micro = roc_auc(np.concatenate(labels), np.concatenate(scores))
    values = []
    for y, s in zip(labels, scores, strict=True):
        value = (
            roc_auc(np.concatenate([[0], y, [1]]), np.concatenate([[0.0], s, [1.0]]))
            if padded
            else roc_auc(y, s)
        )
        if value is not None:
            values.append(value)
    return {"micro": micro, "macro": float(np.mean(values)) if values else None}


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Average precision (step-wise area); None without positives."""
    labels = np.asarray(labels).astype(bool)
    if not labels.any():
        return None
    order = np.argsort(-np.asarray(scores), kind="stable")
    hits, ordered = labels[order], np.asarray(scores)[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))  # ties enter together
    found = np.cumsum(hits)[last]
    precision, recall = found / (last + 1), found / labels.sum()
    return float(np.sum(np.diff(np.concatenate([[0.0], recall])) * precision))
