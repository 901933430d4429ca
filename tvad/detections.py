"""Heatmap -> detections: threshold, connected components, boxes, tracks. One implementation for inference,
benchmark and model selection."""

from dataclasses import dataclass, field

import cv2
import numpy as np

THRESHOLD = 0.5  # binarisation (arXiv 2511.00524, section 4)
LINK_IOU = 0.1  # boxes of consecutive steps that overlap so much are one object (ibid.)


def boxes_of(heat: np.ndarray, threshold: float = THRESHOLD, min_pixels: int = 4) -> np.ndarray:
    """Detections of one map (H, W) in [0, 1] -> (n, 5): x1, y1, x2, y2 (inclusive pixels of the map) and
    score, its peak.

    Components are 8-connected; those with fewer than `min_pixels` pixels are left out.
    """
    lit = (heat >= threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(lit, connectivity=8)
    found = []
    for label in range(1, count):
        x, y, w, h, area = stats[label]
        if area >= min_pixels:
            peak = heat[y : y + h, x : x + w][labels[y : y + h, x : x + w] == label].max()
            found.append((x, y, x + w - 1, y + h - 1, peak))
    return np.array(found, float).reshape(-1, 5)


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of inclusive pixel boxes, broadcast over the leading dimensions: (..., 4) and (..., 4) -> (...)."""
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0]) + 1
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1]) + 1
    overlap = np.maximum(width, 0) * np.maximum(height, 0)
    areas = [(x[..., 2] - x[..., 0] + 1) * (x[..., 3] - x[..., 1] + 1) for x in (a, b)]
    return overlap / (areas[0] + areas[1] - overlap)


@dataclass
class Path:
    """A detected object over time: step -> (5,) box and score."""

    boxes: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def score(self) -> float:
        return max(float(box[4]) for box in self.boxes.values())


def link(detections: list[np.ndarray], iou: float = LINK_IOU) -> list[Path]:
    """Detections (n, 5) of every step -> objects: a box goes on the object of the step before that it
    overlaps most, at least `iou`, each object and each box used once. Ordered by first step."""
    paths: list[Path] = []
    last: list[int] = []  # objects that the step before showed
    for step, boxes in enumerate(detections):
        taken: dict[int, int] = {}
        if len(boxes) and last:
            # Greedy, best overlap first: (objects, boxes) are few, and an optimal assignment would tear a
            # good pair apart to gain a poor one.
            before = np.stack([paths[i].boxes[step - 1] for i in last])
            overlap = box_iou(before[:, None, :4], boxes[None, :, :4])
            for flat in np.argsort(-overlap, axis=None, kind="stable"):
                a, b = divmod(int(flat), len(boxes))
                if overlap[a, b] < iou:
                    break
                if b not in taken and last[a] not in taken.values():
                    taken[b] = last[a]
        last = []
        for n, box in enumerate(boxes):
            if n not in taken:  # seen for the first time, or again after a step without it
                taken[n] = len(paths)
                paths.append(Path())
            paths[taken[n]].boxes[step] = box
            last.append(taken[n])
    return paths


def objects_of(maps: np.ndarray, height: int, width: int) -> list[Path]:
    """Maps (S, h, w) of a video's steps -> its objects, boxes in pixels of `height` x `width`."""
    return link([detections_of(m, height, width) for m in maps])


def detections_of(heat: np.ndarray, height: int, width: int) -> np.ndarray:
    """A step's map (h, w) -> its detections, as `boxes_of`, in pixels of `height` x `width`. What covers less
    than a 3000th of the picture is noise."""
    least = max(4, height * width // 3000)
    return boxes_of(resize(heat, height, width), min_pixels=least)


def resize(heat: np.ndarray, height: int, width: int) -> np.ndarray:
    """A step's map (h, w) as it is shown, (height, width), bilinear. One at a time: those of a whole video in
    the size of its frames are gigabytes."""
    return cv2.resize(np.asarray(heat, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)


def steps_of(moments: np.ndarray, times: np.ndarray, per_step: int = 2) -> np.ndarray:
    """Which temporal step shows each frame of a video: frames appear at `moments` (N,), steps hold `per_step`
    sampled frames that stand for `times` (T,), both in seconds; nearest in time -> (N,)."""
    count = -(-len(times) // per_step)
    centres = np.array([times[i * per_step : (i + 1) * per_step].mean() for i in range(count)])
    return nearest(centres, moments)


def nearest(centres: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Which of the ascending `centres` is nearest to each of the `moments`, both in seconds."""
    # Voronoi cells on the time axis: an edge halfway between each two centres.
    edges = (centres[1:] + centres[:-1]) / 2
    return np.searchsorted(edges, moments, side="left")
