"""RBDC and TBDC, the region- and track-based detection criteria (Ramachandra and Jones, Street Scene, WACV
2020).

Conventions of the public program of AED (Georgescu et al., TPAMI 2021): detections one by one by falling
score, ties in the given order; inclusive pixel boxes; a detection that only finds regions found before is
neither a hit nor a false positive; area up to one false positive per frame, the curve kept flat where it ends
earlier. Vectorised: detections and regions meet through a sort by frame.
"""

from typing import Any

import numpy as np

from bench.metrics import finite
from tvad.detections import box_iou


def _pairs(tracks: np.ndarray, detections: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(detection, region) index pairs of the same video and frame: regions sorted by frame, each detection
    meets the run of its own, O((m + n) log n + pairs) in place of m x n."""
    both = np.concatenate([detections[:, :2], tracks[:, [0, 2]]])
    frame = np.unique(both, axis=0, return_inverse=True)[1].ravel()
    of_detection, of_region = frame[: len(detections)], frame[len(detections) :]
    order = np.argsort(of_region, kind="stable")
    first, last = (np.searchsorted(of_region[order], of_detection, side) for side in ("left", "right"))
    counts = last - first
    which = np.repeat(np.arange(len(detections)), counts)
    offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return which, order[first[which] + offset]


def _distinct(tracks: np.ndarray) -> np.ndarray:
    """Rows of a track that repeat a frame: the later box, at the place of the first."""
    keys, first, inverse = np.unique(tracks[:, :3], axis=0, return_index=True, return_inverse=True)
    last = np.zeros(len(keys), int)
    np.maximum.at(last, inverse.ravel(), np.arange(len(tracks)))
    return tracks[last[np.argsort(first)]]


def curves(
    tracks: np.ndarray, detections: np.ndarray, num_frames: int, iou: float = 0.1, track: float = 0.1
) -> dict[str, np.ndarray]:
    """Points after each detection: {"fpr", "rbdr", "tbdr"}, each (m + 1,), starting at 0. Arguments as
    `rbdc_tbdc`. Raises ValueError for a number that is not finite."""
    tracks = _distinct(finite("tracks", tracks).reshape(-1, 7))
    detections = finite("detections", detections).reshape(-1, 7)
    detections = detections[np.argsort(-detections[:, 6], kind="stable")]
    m, n = len(detections), len(tracks)
    which, region = _pairs(tracks, detections)
    matched = box_iou(detections[which, 2:6], tracks[region, 3:7]) >= iou
    which, region = which[matched], region[matched]
    # A detection that overlaps any region is no false positive, also where all of them were found before it.
    false = np.ones(m, bool)
    false[which] = False
    # (n,): the first detection, by falling score, that finds a region; m for never.
    found_at = np.full(n, m)
    np.minimum.at(found_at, region, which)

    ids = np.unique(tracks[:, :2], axis=0, return_inverse=True)[1].ravel()
    length = np.bincount(ids)
    # The smallest k with k / length >= track, by the same division as the reference.
    needed = np.maximum(1, np.ceil(track * length)).astype(int)
    needed = np.where((needed > 1) & ((needed - 1) / np.maximum(length, 1) >= track), needed - 1, needed)
    needed = np.where(needed / np.maximum(length, 1) >= track, needed, needed + 1)
    order = np.lexsort((found_at, ids))
    start = np.cumsum(length) - length
    # The k-th hit of a track decides when it counts as found: its k-th entry in `order`, where hits come
    # sorted.
    reachable = needed <= length
    track_at = np.full(len(length), m)
    track_at[reachable] = found_at[order][start[reachable] + needed[reachable] - 1]

    def cumulative(
        at: np.ndarray, total: int
    ) -> np.ndarray:  # share found by the first k detections, (m + 1,)
        counts = np.bincount(at[at < m], minlength=m)[:m] if m else np.zeros(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.concatenate([[0.0], np.cumsum(counts)]) / np.float64(total)

    return {
        "fpr": np.concatenate([[0.0], np.cumsum(false)]) / num_frames,
        "rbdr": cumulative(found_at, n),
        "tbdr": cumulative(track_at, len(length)),
    }


def area(fpr: np.ndarray, rate: np.ndarray) -> float | None:
    """Area under (fpr, rate) up to fpr = 1, the last value kept up to 1; None where the rate is undefined."""
    if not np.isfinite(rate[-1]):
        return None
    kept = fpr <= 1
    x, y = fpr[kept], rate[kept]
    if x[-1] < 1:
        x, y = np.append(x, 1.0), np.append(y, y[-1])
    return float(np.trapezoid(y, x))


def rbdc_tbdc(
    tracks: Any, detections: Any, num_frames: int, iou: float = 0.1, track: float = 0.1
) -> dict[str, float | None]:
    """{"rbdc", "tbdc"}; None without ground truth.

    tracks (n, 7): video, track, frame, x1, y1, x2, y2; detections (m, 7): video, frame, x1, y1, x2, y2,
    score; inclusive pixels. num_frames: over all videos, those without anomalies included. iou: a region is
    found from this overlap on; track: share of a track's regions that must be found. Raises ValueError for a
    number that is not finite, and for num_frames below 1.
    """
    if not num_frames >= 1:
        raise ValueError(f"num_frames must be at least 1, got {num_frames}")
    detections = finite("detections", detections)
    if len(finite("tracks", tracks).reshape(-1, 7)) == 0:
        return {"rbdc": None, "tbdc": None}
    points = curves(tracks, detections, num_frames, iou, track)
    return {"rbdc": area(points["fpr"], points["rbdr"]), "tbdc": area(points["fpr"], points["tbdr"])}
