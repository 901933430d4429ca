"""Spatial grounding: intersection over union of boxes, matched by time."""

import math
from collections.abc import Sequence

from tvad.answer import Box

XYXY = tuple[float, float, float, float]


def iou(box: XYXY, reference: XYXY) -> float:
    """IoU of two boxes (x1, y1, x2, y2) in the same unit; 0 for a reversed or empty one. Raises ValueError
    for an edge that is no finite number."""
    if not all(map(math.isfinite, (*box, *reference))):
        raise ValueError(f"boxes {list(box)} and {list(reference)}: not finite")
    width = min(box[2], reference[2]) - max(box[0], reference[0])
    height = min(box[3], reference[3]) - max(box[1], reference[1])
    areas = [max(0.0, b[2] - b[0]) * max(0.0, b[3] - b[1]) for b in (box, reference)]
    if width <= 0 or height <= 0 or min(areas) <= 0:
        return 0.0
    overlap = width * height
    return overlap / (sum(areas) - overlap)


def matched_iou(boxes: Sequence[Box], reference: Sequence[Box], tolerance: float = 0.26) -> float:
    """Mean IoU over the asked moments, matched by time within `tolerance` seconds; a missing box counts 0,
    and every box beyond the asked ones enlarges the denominator."""
    if not reference:
        return float(not boxes)
    left = list(boxes)
    total = 0.0
    for wanted in reference:
        near = [b for b in left if wanted.t is None or b.t is None or abs(b.t - wanted.t) <= tolerance]
        if near:
            best = (
                near[0]
                if wanted.t is None or near[0].t is None
                else min(near, key=lambda b: abs((b.t or 0.0) - (wanted.t or 0.0)))
            )
            left.remove(best)
            total += iou(best.xyxy, wanted.xyxy)
    return total / max(len(reference), len(boxes))


def pointing(box: XYXY, reference: XYXY) -> bool:
    """Does the box's centre lie in the reference (pointing game)? Raises ValueError for an edge that is no
    finite number."""
    if not all(map(math.isfinite, (*box, *reference))):
        raise ValueError(f"boxes {list(box)} and {list(reference)}: not finite")
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return reference[0] <= x <= reference[2] and reference[1] <= y <= reference[3]
