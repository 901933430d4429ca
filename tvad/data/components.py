"""Tracks out of masks that know no identity: connected components, linked over time (ours; T-VAU's authors
link theirs by the Hungarian method on centroids)."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from tvad.data.sample import Track

GAP = 5  # frames for which an object may be hidden and is still the same
LEAST = 4  # pixels: less is a speck of the annotation

Corners = tuple[float, float, float, float]  # inclusive pixels


def boxes_in(lit: np.ndarray) -> list[Corners]:
    """The box of every connected component (8 neighbours) of (H, W) bool, specks left out."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(lit.astype(np.uint8), connectivity=8)
    return [
        (float(x), float(y), float(x + w - 1), float(y + h - 1))
        for x, y, w, h, area in stats[1:].tolist()
        if area >= LEAST
    ]


def overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of inclusive boxes, (n, 4) x (m, 4) -> (n, m)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = np.clip(high - low + 1, 0, None).prod(-1)
    areas = [(b[:, 2:] - b[:, :2] + 1).prod(-1) for b in (one, other)]
    return both / (areas[0][:, None] + areas[1][None] - both)


@dataclass
class Linked:
    """Collects the tracks of a video, frame by frame."""

    tracks: list[dict[int, Corners]] = field(default_factory=list)

    def add(self, frame: int, lit: np.ndarray) -> None:
        """The components of the next frame's mask (H, W): each goes on with the track that it overlaps most,
        of those seen at most GAP frames ago, in the assignment that is best for all together."""
        found = boxes_in(lit)
        if not found:
            return
        open_ = [t for t in self.tracks if frame - max(t) <= GAP]
        taken: set[int] = set()
        if open_:
            shared = overlap(np.array([t[max(t)] for t in open_]), np.array(found))
            for a, b in zip(*linear_sum_assignment(-shared), strict=True):
                if shared[a, b] > 0:
                    open_[a][frame] = found[b]
                    taken.add(int(b))
        self.tracks += [{frame: box} for n, box in enumerate(found) if n not in taken]

    def result(self, kind: str = "object") -> tuple[Track, ...]:
        """All of them anomalous wherever they are seen, numbered in the order of their first frames."""
        return tuple(Track(n, kind, dict(t), tuple(t)) for n, t in enumerate(self.tracks))


def tracks_of(frames: Iterable[np.ndarray], kind: str = "object") -> tuple[Track, ...]:
    """Tracks of a video's masks (H, W) bool."""
    linked = Linked()
    for frame, lit in enumerate(frames):
        linked.add(frame, lit)
    return linked.result(kind)
