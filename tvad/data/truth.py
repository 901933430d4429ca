"""What is known of every frame of a video: its time, whether it is anomalous, which of its pixels are.

The one rule for metrics, training and cutting: frames come from the mask, else from the spans, else a video
labelled normal has none that is anomalous; anything else is unknown, and unknown is never taken for normal.
"""

from collections.abc import Iterable

import numpy as np

from tvad.common.errors import InputError
from tvad.data import masks
from tvad.data.sample import Sample

ROUNDING = 1e-6  # seconds: a frame's time and a span's edge may be the same number, computed in two ways
NO_FRAMES = "no mask, no spans, not labelled normal"
NO_FRAME_LIT = "labelled anomalous, but its mask or spans hold no frame"
NO_PIXELS = "no mask"
NO_REGIONS = "no track that is anomalous"


def inside(times: np.ndarray, spans: Iterable[tuple[float, float]]) -> np.ndarray:
    """(T,) bool: which of the moments `times` (seconds) lie in one of the spans, start <= t < end."""
    times = np.asarray(times, float)
    found = np.zeros(len(times), bool)
    for start, end in spans:
        found |= (times >= start - ROUNDING) & (times < end - ROUNDING)
    return found


def read_mask(sample: Sample, frames: int, height: int, width: int) -> np.ndarray | None:
    """(T, H, W) bool of a sample's mask file, None where it has none. Raises InputError that names the sample
    where the mask is not of the video's size."""
    mask = open_mask(sample, frames, height, width)
    return None if mask is None else mask.frames(0, frames)


def open_mask(sample: Sample, frames: int, height: int, width: int) -> masks.Mask | None:
    """The same, to be unpacked a frame at a time."""
    if sample.mask is None:
        return None
    mask = masks.opened(sample.path(sample.mask))
    if mask.shape != (frames, height, width):
        raise InputError(
            f"{sample.id}: {sample.mask} has shape {mask.shape}, the video {(frames, height, width)}"
        )
    return mask


def frame_labels(
    sample: Sample, times: np.ndarray, mask: np.ndarray | masks.Mask | None
) -> np.ndarray | None:
    """(T,) int, 1 for an anomalous frame; None where it is not known. times (T,) seconds of the frames; mask
    (T, H, W) bool of the same frames, where there is one."""
    if mask is not None:
        return (mask.lit() if isinstance(mask, masks.Mask) else mask.any((1, 2))).astype(int)
    if sample.spans is not None:
        return inside(times, sample.spans).astype(int)
    return np.zeros(len(times), int) if sample.label == "normal" else None


def _nothing(sample: Sample) -> bool:
    """Whether it is known that nothing in the video is anomalous."""
    return sample.label == "normal" or (sample.label is None and sample.spans == ())


def pixels_known(sample: Sample) -> bool:
    """Whether it is known which pixels are anomalous: from a mask, or because none is. Spans do not say."""
    return sample.mask is not None or _nothing(sample)


def regions_known(sample: Sample) -> bool:
    """Whether it is known where the anomalous objects are: from their tracks, or because there are none."""
    return any(track.anomalous for track in sample.tracks or ()) or _nothing(sample)
