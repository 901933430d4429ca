"""Boxes as answers write them, in 0..1000 of the frame's width and height."""

import json
import math
from dataclasses import dataclass

from tvad.answer.script import FULL_WIDTH


@dataclass(frozen=True, slots=True)
class Box:
    """A box in 0..1000 of the frame's width and height, at `t` seconds (None: the moment that the question
    names)."""

    xyxy: tuple[float, float, float, float]
    t: float | None = None


def _box_of(values) -> tuple[float, float, float, float] | None:
    if not isinstance(values, list) or len(values) != 4:
        return None
    if not all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) and abs(v) <= 1e6
        for v in values
    ):
        return None
    x1, y1, x2, y2 = (float(v) for v in values)
    return x1, y1, x2, y2


def read_boxes(text: str) -> tuple[tuple[Box, ...], list[str]]:
    """Content of a box element -> (boxes, defects). Boxes outside 0..1000 or with x2 <= x1 keep their defect
    and are dropped."""
    if len(text) > 20_000:
        return (), ["malformed_box"]
    try:
        data = json.loads(text.translate(FULL_WIDTH).strip())
    except (ValueError, RecursionError):
        return (), ["malformed_box"]
    if isinstance(data, dict):
        data = [data]
    if not isinstance(data, list):
        return (), ["malformed_box"]
    rows = data if data and all(isinstance(row, (dict, list)) for row in data) else [data]
    boxes, defects = [], []
    for row in rows:
        t = row.get("t") if isinstance(row, dict) else None
        xyxy = _box_of(row.get("box") if isinstance(row, dict) else row)
        if xyxy is None or not (
            t is None or (isinstance(t, (int, float)) and not isinstance(t, bool) and math.isfinite(t))
        ):
            defects.append("malformed_box")
        elif min(xyxy) < 0 or max(xyxy) > 1000:
            defects.append("box_outside_frame")
        elif xyxy[2] <= xyxy[0] or xyxy[3] <= xyxy[1]:
            defects.append("reversed_box")
        else:
            boxes.append(Box(xyxy, None if t is None else float(t)))
    return tuple(boxes), defects
