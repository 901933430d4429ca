"""Temporal grounding: intersection over union of spans in seconds (mIoU, R@IoU)."""

import math
from typing import Literal

import numpy as np

from bench.metrics import finite
from tvad.answer import NONE

Span = tuple[float, float] | Literal["none"] | None
THRESHOLDS = (0.3, 0.5, 0.7)


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


def summary(ious: np.ndarray) -> dict[str, float]:
    """Mean IoU and recall at 0.3, 0.5, 0.7 over (n,) IoUs of anomalous videos; empty for n = 0."""
    ious = finite("IoUs", ious)
    if len(ious) == 0:
        return {}
    return {"miou": float(ious.mean()), **{f"r@{t}": float((ious >= t).mean()) for t in THRESHOLDS}}
