"""Pixel masks of a whole video as one run-length file (.npz): shape (T, H, W) and the lengths of alternating
runs, zeros first. Runs go on over the ends of rows and frames: an empty video is one number."""

import hashlib
import math
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tvad.common.errors import InputError

MOST_PIXELS = 1 << 31  # of a video's mask: T x H x W


def encode(masks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Frames (H, W) bool, an array (T, H, W) among them -> (shape, runs). One frame is in memory at a time.
    Raises InputError for more pixels than `opened` reads."""
    runs: list[int] = []
    value, length, count, size = False, 0, 0, (0, 0)
    for mask in masks:
        flat, size, count = mask.ravel(), mask.shape, count + 1
        if count * flat.size > MOST_PIXELS:
            raise InputError(
                f"a mask of more than {MOST_PIXELS} pixels, {count} frames of {size}: cut the video"
            )
        # parts: this frame's runs. The first goes on with the open run of the frame before, unless the value
        # changes at the border, which closes that one (of length 0 where the video begins with ones).
        edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        parts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
        if bool(flat[0]) != value:
            runs.append(length)
            value, length = not value, 0
        parts[0] += length
        runs += parts[:-1]
        value, length = bool(flat[-1]), parts[-1]
    return np.array((count, *size), np.uint32), np.array([*runs, length], np.uint32)


def two_valued(values: np.ndarray, where: str) -> np.ndarray:
    """Other people's masks or labels of frames, bool of the same shape: 0 is normal, anything above is not.
    Raises InputError that names `where` they stand for what is neither, such as NaN, which Python takes for
    true."""
    if values.dtype.kind not in "buif":
        raise InputError(f"{where}: expected numbers, found {values.dtype}")
    # min() of what holds a NaN is NaN.
    if values.dtype.kind in "if" and values.size and not 0 <= values.min() <= values.max() < np.inf:
        raise InputError(f"{where}: expected 0 or 1, found NaN, infinite or negative numbers")
    return values != 0


class Mask:
    """The mask of a video as its runs: `shape` is (T, H, W); frames are unpacked where they are asked for,
    since all of them are gigabytes. Raises ValueError where the runs do not fill the shape."""

    def __init__(self, shape: np.ndarray, runs: np.ndarray):
        self.shape = tuple(int(s) for s in shape)
        self._ends = np.cumsum(runs.astype(np.int64))
        covered = int(self._ends[-1]) if len(runs) else 0
        if covered != math.prod(self.shape):
            raise ValueError(f"runs cover {covered} pixels, the shape {self.shape} has another number")

    def frames(self, first: int, last: int) -> np.ndarray:
        """The frames from `first` to before `last`, (n, H, W) bool."""
        size = self.shape[1] * self.shape[2]
        begin, end = first * size, last * size
        run, after = np.searchsorted(self._ends, (begin, end), side="right")
        ends = np.minimum(self._ends[run : after + 1], end)
        lit = np.arange(run, run + len(ends)) % 2 == 1  # zeros, ones, zeros, …
        return np.repeat(lit, np.diff(ends, prepend=begin)).reshape(last - first, *self.shape[1:])

    def __getitem__(self, frame: int) -> np.ndarray:
        return self.frames(frame, frame + 1)[0]

    def fingerprint(self) -> bytes:
        """SHA-256 of shape and runs."""
        return hashlib.sha256(np.append(self.shape, self._ends).astype("<i8").tobytes()).digest()

    def area(self) -> float | None:
        """Share of the picture that is lit, over the frames in which anything is; None where nothing is."""
        first, last = self._ends[:-1:2], self._ends[1::2]  # of the ones
        first, last = first[: len(last)][last > first[: len(last)]], last[last > first[: len(last)]]
        if not len(first):
            return None
        size = self.shape[1] * self.shape[2]
        change = np.zeros(self.shape[0] + 1, np.int64)
        np.add.at(change, first // size, 1)
        np.add.at(change, (last - 1) // size + 1, -1)
        frames = int((np.cumsum(change)[:-1] > 0).sum())
        return float((last - first).sum()) / (frames * size)

    def lit(self) -> np.ndarray:
        """(T,) bool: the frames that have an anomalous pixel."""
        return np.array([self[n].any() for n in range(self.shape[0])], bool)


def decode(shape: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """(shape, runs) -> (T, H, W) bool. Raises ValueError where the runs do not fill the shape."""
    mask = Mask(shape, runs)
    return mask.frames(0, mask.shape[0])


def write(path: str | os.PathLike, masks: Iterable[np.ndarray]) -> None:
    """Write frames (H, W) bool, or an array (T, H, W), through a temporary name."""
    path = Path(path)
    shape, runs = encode(masks)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as out:
        np.savez_compressed(out, shape=shape, runs=runs)
    temporary.replace(path)


def read(path: str | os.PathLike) -> np.ndarray:
    """Read (T, H, W) bool. Raises InputError that names the file."""
    mask = opened(path)
    return mask.frames(0, mask.shape[0])


def fingerprint(path: str | os.PathLike) -> bytes:
    """SHA-256 of a mask, however its file was packed. Raises InputError that names the file."""
    return opened(path).fingerprint()


def opened(path: str | os.PathLike, max_pixels: int = MOST_PIXELS) -> Mask:
    """A mask file, of which no frame is unpacked yet. Raises InputError that names the file."""
    try:
        with np.load(path, allow_pickle=False) as data:
            shape, runs = data["shape"], data["runs"]
            # Python integers: in 32 or 64 bits a lying shape could wrap around to a small number of pixels.
            if shape.shape != (3,) or int(np.prod(shape.astype(object))) > max_pixels:
                raise ValueError(f"shape {shape.tolist()} is not (T, H, W) within {max_pixels} pixels")
            return Mask(shape, runs)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such mask file") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a run-length mask file ({error})") from error
