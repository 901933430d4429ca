"""Faces in published pictures: everything that a data set's tracks and masks outline is blurred, heads with
the bodies. Not by a detector of faces: the wheel of OpenCV 5 has the class FaceDetectorYN and no model for
it, the cascades of OpenCV 4 are gone. So who is outlined by nothing, a passer-by, stays as filmed, and a clip
in which nothing is outlined is not shown at all."""

import cv2
import numpy as np

from tvad.data import masks
from tvad.data.sample import Sample, Track
from tvad.data.truth import open_mask
from tvad.data.video import Frames

MARGIN = 0.1  # of a box's sides that is added around it
CELLS = 4  # that remain across its shorter side: a head is one of them or less


def _box_at(track: Track, frame: int) -> np.ndarray | None:
    """A track's box in a frame; between two frames that have one, what holds both."""
    before = max((known for known in track.boxes if known <= frame), default=None)
    after = min((known for known in track.boxes if known >= frame), default=None)
    if before is None or after is None:
        return None
    both = np.array([track.boxes[before], track.boxes[after]])
    return np.concatenate([both[:, :2].min(0), both[:, 2:].max(0)])


def _parts(mask: np.ndarray) -> list[np.ndarray]:
    """The boxes of a mask's connected parts (H, W)."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return [np.array([x, y, x + w - 1, y + h - 1]) for x, y, w, h, _ in stats[1:].tolist()]


def is_outlined(sample: Sample) -> bool:
    """Whether anything is outlined in a sample: a mask of a normal clip is empty, and says nothing of its
    people."""
    if any(track.boxes for track in sample.tracks or ()):
        return True
    return sample.mask is not None and bool(masks.opened(sample.path(sample.mask)).lit().any())


def blurred(sample: Sample, frames: Frames) -> np.ndarray:
    """The sampled frames (T, H, W, 3) of a sample, all that is outlined in them blurred."""
    images = frames.images.copy()
    height, width = images.shape[1:3]
    mask = open_mask(sample, frames.total, height, width)
    for image, frame in zip(images, frames.indices.tolist(), strict=True):
        boxes = [box for track in sample.tracks or () if (box := _box_at(track, frame)) is not None]
        for x1, y1, x2, y2 in [*boxes, *(_parts(mask[frame]) if mask is not None else ())]:
            right, down = MARGIN * (x2 + 1 - x1), MARGIN * (y2 + 1 - y1)
            left, top = max(0, int(x1 - right)), max(0, int(y1 - down))
            part = image[top : int(np.ceil(y2 + 1 + down)), left : int(np.ceil(x2 + 1 + right))]
            if part.size:
                part[:] = _coarse(part)
    return images


def _coarse(part: np.ndarray) -> np.ndarray:
    high, wide = part.shape[:2]
    by = max(1.0, min(high, wide) / CELLS)
    size = max(1, round(wide / by)), max(1, round(high / by))
    cells = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(cells, (wide, high), interpolation=cv2.INTER_LINEAR)
