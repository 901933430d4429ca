"""Clips for training: decoded once, sampled at the model's rate, kept in memory as uint8 up to a bound."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from tvad.data import truth, video
from tvad.data.sample import Sample

if TYPE_CHECKING:
    import torch


class ClipStore:
    """Sampled frames and masks of samples, decoded on first use and kept while both fit in `max_bytes`.

    `rate`: frames a second given to the model; `max_frames`: at most so many.
    """

    def __init__(self, rate: float, max_frames: int, max_bytes: int = 6 << 30):
        self.rate, self.max_frames, self.free = rate, max_frames, max_bytes
        self._frames: dict[str, video.Frames] = {}
        self._masks: dict[str, np.ndarray] = {}
        self._coming: Prefetch | None = None

    def prefetch(self, keys: Iterable[str], workers: int = 2, ahead: int = 64) -> None:
        """Decode the files `keys` in the background in this order, by `workers` threads, at most `ahead` of
        them before they are loaded."""
        self._coming = Prefetch(self, keys, workers, ahead)

    def stop_prefetch(self) -> None:
        """Give up what is still to be decoded."""
        if self._coming is not None:
            self._coming.stop()
            self._coming = None

    def frames(self, sample: Sample) -> video.Frames:
        return self.load(sample.clip())

    def load(self, key: str) -> video.Frames:
        """Sampled frames of a clip: a file's path, or whatever `Sample.clip` gives."""
        if (found := self._frames.get(key)) is None:
            waiting = self._coming.take(key) if self._coming is not None else None
            found = waiting.result() if waiting is not None else self.decode(key)
            # First come, first kept: what no longer fits is decoded at every use, nothing is thrown out.
            if found.images.nbytes <= self.free:
                self.free -= found.images.nbytes
                self._frames[key] = found
        return found

    def decode(self, key: str) -> video.Frames:
        return video.decode(key, self.rate, self.max_frames)

    def mask(self, sample: Sample) -> torch.Tensor | None:
        """(T, H, W) bool at the sampled frames; all False for a normal sample without a file, None where it
        is not known which pixels are anomalous. Raises InputError for a mask of another size than the
        video's."""
        import torch  # the benchmark and the leaderboard read clips without it

        frames = self.frames(sample)
        if not truth.pixels_known(sample):
            return None
        # Data sets that are mixed may have clips of one name.
        if (found := self._masks.get(key := f"{sample.root}\n{sample.id}")) is None:
            # Bits along the rows, an eighth of bool: (T, H, ceil(W / 8)).
            whole = truth.read_mask(sample, frames.total, *frames.images.shape[1:3])
            if whole is None:
                return torch.zeros(frames.images.shape[:3], dtype=torch.bool)
            found = np.packbits(whole[frames.indices], axis=-1)
            if found.nbytes <= self.free:
                self.free -= found.nbytes
                self._masks[key] = found
        return torch.from_numpy(np.unpackbits(found, axis=-1, count=frames.images.shape[2]).astype(bool))


class Prefetch:
    """Decoding ahead of use: FFmpeg's threads run beside Python's. A file that cannot be decoded raises where
    it is loaded."""

    def __init__(self, store: ClipStore, keys: Iterable[str], workers: int, ahead: int):
        self._store, self._keys, self._ahead = store, iter(keys), ahead
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._lock = threading.Lock()
        self._waiting: dict[str, Future[video.Frames]] = {}
        with self._lock:
            self._fill()

    def _fill(self) -> None:
        for key in self._keys:
            if key not in self._waiting and key not in self._store._frames:
                self._waiting[key] = self._pool.submit(self._store.decode, key)
            if len(self._waiting) >= self._ahead:
                return

    def take(self, key: str) -> Future[video.Frames] | None:
        """The clip that is being decoded, and the next ones are begun; None where it is not."""
        with self._lock:
            found = self._waiting.pop(key, None)
            self._fill()
        return found

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
