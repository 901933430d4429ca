"""Clips for training: decoded once, sampled at the model's rate, kept in memory as uint8 up to a bound."""

import numpy as np
import torch

from tvad.data import masks, video
from tvad.data.sample import Sample


class ClipStore:
    """Sampled frames and masks of samples, decoded on first use and kept while they fit in `max_bytes`.

    `rate`: frames a second given to the model; `max_frames`: at most so many.
    """

    def __init__(self, rate: float, max_frames: int, max_bytes: int = 6 << 30):
        self.rate, self.max_frames, self.free = rate, max_frames, max_bytes
        self._frames: dict[str, video.Frames] = {}
        self._masks: dict[str, np.ndarray] = {}

    def frames(self, sample: Sample) -> video.Frames:
        return self.load(str(sample.path(sample.video.path)))

    def load(self, key: str) -> video.Frames:
        """Sampled frames of the file `key`."""
        if (found := self._frames.get(key)) is None:
            found = video.decode(key, self.rate, self.max_frames)
            if found.images.nbytes <= self.free:
                self.free -= found.images.nbytes
                self._frames[key] = found
        return found

    def mask(self, sample: Sample) -> torch.Tensor | None:
        """(T, H, W) bool at the sampled frames; all False for a normal sample without a file, None where unknown."""
        frames = self.frames(sample)
        if sample.mask is None:
            return None if sample.anomalous else torch.zeros(frames.images.shape[:3], dtype=torch.bool)
        if (found := self._masks.get(sample.id)) is None:
            found = np.packbits(masks.read(sample.path(sample.mask))[frames.indices], axis=-1)
            self._masks[sample.id] = found
        return torch.from_numpy(np.unpackbits(found, axis=-1, count=frames.images.shape[2]).astype(bool))
