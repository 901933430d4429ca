"""Heatmap -> detections: threshold, connected components, boxes. One implementation for inference, benchmark and model selection."""

import cv2
import numpy as np


def boxes_of(heat: np.ndarray, threshold: float = 0.5, min_pixels: int = 4) -> np.ndarray:
    """Detections of one map (H, W) in [0, 1] -> (n, 5): x1, y1, x2, y2 (inclusive pixels of the map) and score, its peak.

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


def resize(heat: np.ndarray, steps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps (T', h, w) -> (len(steps), height, width): bilinear in space, `steps` picks the map of every output frame."""
    big = [cv2.resize(np.asarray(m, np.float32), (width, height), interpolation=cv2.INTER_LINEAR) for m in heat]
    return np.stack(big)[steps]


def steps_of(frames: int, fps: float, times: np.ndarray, per_step: int = 2) -> np.ndarray:
    """Which temporal step shows frame i of a video: steps hold `per_step` sampled frames at `times` (seconds); nearest in time."""
    count = -(-len(times) // per_step)
    centres = np.array([times[i * per_step : (i + 1) * per_step].mean() for i in range(count)])
    moments = np.arange(frames) / fps
    return np.abs(moments[:, None] - centres[None]).argmin(1)
