"""Temporal grounding: IoU of spans in seconds, for one span a video and for several.

Several: the unions' IoU, spans matched one to one, F1 and average precision at IoU thresholds. No scores come
with an answer's spans, so that average precision ranks them in the order in which they are given.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from bench.metrics import finite
from tvad.answer import NONE

Span = tuple[float, float] | Literal["none"] | None
Pairs = Sequence[tuple[float, float]]
Several = Pairs | Literal["none"] | None
THRESHOLDS = (0.3, 0.5, 0.7)
MAP_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)  # THUMOS-14's (Jiang et al., 2014)


def iou(span: Span, reference: Span) -> float:
    """IoU of two spans in seconds; both "none" 1, one of them 0; missing, reversed or empty spans 0.
    Raises ValueError for an edge that is no finite number."""
    if span is None or reference is None:
        return 0.0
    if span == NONE or reference == NONE:
        return float(span == reference)
    (a, b), (c, d) = span, reference
    if not all(map(math.isfinite, (a, b, c, d))):
        raise ValueError(f"spans {list(span)} and {list(reference)}: not finite")
    if not (a < b and c < d):
        return 0.0
    overlap = min(b, d) - max(a, c)
    return max(0.0, overlap) / (max(b, d) - min(a, c)) if overlap > 0 else 0.0


def _compared(spans: Several, references: Several) -> tuple[Pairs, Pairs] | float:
    """Spans and references where both are intervals; else the score: both "none" 1, one of them or nothing
    read 0. Raises ValueError for an edge that is no finite number."""
    if not spans or not references:
        return 0.0
    if isinstance(spans, str) or isinstance(references, str):
        return float(spans == references)
    if not np.isfinite([*spans, *references]).all():
        raise ValueError(f"spans {list(spans)} and {list(references)}: not finite")
    return spans, references


def joined(spans: Pairs) -> list[tuple[float, float]]:
    """Spans in order of time, those that meet or overlap made one."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def union_iou(spans: Several, references: Several) -> float:
    """IoU of all spans together with all references together, in seconds, as VAU-R1's published reward takes
    it (arXiv 2505.23504); of one span and one reference: `iou`. 0 where one of the spans is reversed or
    empty."""
    compared = _compared(spans, references)
    if isinstance(compared, float):
        return compared
    ours, true = compared
    if len(ours) == len(true) == 1:
        return iou(ours[0], true[0])
    if not all(a < b for a, b in [*ours, *true]):
        return 0.0
    ours, true = joined(ours), joined(true)
    overlap, i, j = 0.0, 0, 0
    while i < len(ours) and j < len(true):
        overlap += max(0.0, min(ours[i][1], true[j][1]) - max(ours[i][0], true[j][0]))
        if ours[i][1] <= true[j][1]:
            i += 1
        else:
            j += 1
    length = sum(b - a for a, b in ours) + sum(b - a for a, b in true)
    return overlap / (length - overlap)


def ious(spans: Pairs, references: Pairs) -> np.ndarray:
    """(n, m) IoUs of every span with every reference; 0 for reversed or empty ones."""
    a, b = np.asarray(spans, float).reshape(-1, 2).T[..., None]
    c, d = np.asarray(references, float).reshape(-1, 2).T[:, None]
    overlap = np.minimum(b, d) - np.maximum(a, c)
    real = (overlap > 0) & (a < b) & (c < d)
    return np.where(real, overlap, 0.0) / np.where(real, np.maximum(b, d) - np.minimum(a, c), 1.0)


def _matched(weights: np.ndarray) -> float:
    """Most weight of a one-to-one assignment of rows to columns."""
    from scipy.optimize import linear_sum_assignment  # half a second of import that few commands need

    rows, columns = linear_sum_assignment(weights, maximize=True)
    return float(weights[rows, columns].sum())


def matched_iou(spans: Several, references: Several) -> float:
    """Mean IoU over spans and references matched one to one, at best; what has no partner counts 0: the sum
    over pairs by the larger number of the two."""
    compared = _compared(spans, references)
    if isinstance(compared, float):
        return compared
    ours, true = compared
    return _matched(ious(ours, true)) / max(len(ours), len(true))


def best_iou(spans: Several, references: Several) -> float:
    """IoU of the first span with the reference that it fits best (R@1 of QVHighlights, arXiv 2107.09609)."""
    compared = _compared(spans, references)
    if isinstance(compared, float):
        return compared
    ours, true = compared
    return float(ious(ours[:1], true).max())


def f1(spans: Several, references: Several, threshold: float) -> float:
    """2 TP / (spans + references) of one video, TP the most pairs, one to one, with an IoU of at least
    `threshold` (segmental F1, Lea et al., CVPR 2017, with the best matching in place of a greedy one)."""
    compared = _compared(spans, references)
    if isinstance(compared, float):
        return compared
    ours, true = compared
    hits = _matched((ious(ours, true) >= threshold).astype(float))
    return 2 * hits / (len(ours) + len(true))


def average_precision(spans: Several, references: Several, threshold: float) -> float:
    """Interpolated average precision of one video's spans, the first given ranked first, by ActivityNet's
    evaluation code: each span takes the free reference that it fits best, if their IoU is at least
    `threshold`."""
    compared = _compared(spans, references)
    if isinstance(compared, float):
        return compared
    ours, true = compared
    free = ious(ours, true)
    hits = np.zeros(len(ours))
    for n in range(len(ours)):
        best = int(free[n].argmax())
        if free[n, best] >= threshold:
            hits[n] = 1.0
            free[:, best] = -1.0
    found = hits.cumsum()
    precision = found / np.arange(1, len(ours) + 1)
    # Precision at a recall is the best at it or beyond; it counts where the recall rises.
    return float((np.maximum.accumulate(precision[::-1])[::-1] * hits).sum() / len(true))


def mean_ap(spans: Several, references: Several) -> float:
    """`average_precision`, mean over IoU thresholds of 0.3 to 0.7 (THUMOS-14's). The mean over videos is what
    QVHighlights calls mAP."""
    return float(np.mean([average_precision(spans, references, t) for t in MAP_THRESHOLDS]))


def class_map(
    spans: Pairs,
    labels: Sequence[str | None],
    references: Pairs,
    categories: Sequence[str],
) -> float:
    """`mean_ap` of every class of one video's references by itself, spans and references with a label each;
    mean over the classes."""
    values = []
    for name in dict.fromkeys(categories):
        ours = [span for span, label in zip(spans, labels, strict=True) if label == name]
        true = [span for span, label in zip(references, categories, strict=True) if label == name]
        values.append(mean_ap(ours, true))
    return float(np.mean(values))


def scores(spans: Several, references: Pairs) -> dict[str, float]:
    """Every metric of one anomalous video: {"miou", "r@t", "matched_iou", "best_iou", "f1@t", "map"}."""
    union = union_iou(spans, references)
    return {
        "miou": union,
        **{f"r@{t}": float(union >= t) for t in THRESHOLDS},
        "matched_iou": matched_iou(spans, references),
        "best_iou": best_iou(spans, references),
        **{f"f1@{t}": f1(spans, references, t) for t in THRESHOLDS},
        "map": mean_ap(spans, references),
    }


def summary(ious: np.ndarray) -> dict[str, float]:
    """Mean IoU and recall at 0.3, 0.5, 0.7 over (n,) IoUs of anomalous videos; empty for n = 0."""
    ious = finite("IoUs", ious)
    if len(ious) == 0:
        return {}
    return {"miou": float(ious.mean()), **{f"r@{t}": float((ious >= t).mean()) for t in THRESHOLDS}}
