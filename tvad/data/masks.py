"""Pixel masks of a whole video as one run-length file (.npz): shape (T, H, W) and the lengths of alternating
runs, zeros first. Runs go on over the ends of rows and frames: an empty video is one number."""

import hashlib
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tvad.common.errors import InputError


def encode(masks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Frames (H, W) bool, an array (T, H, W) among them -> (shape, runs). One frame is in memory at a
    time."""
    runs: list[int] = []
    value, length, count, size = False, 0, 0, (0, 0)
    for mask in masks:
        flat, size, count = mask.ravel(), mask.shape, count + 1
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


def decode(shape: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """(shape, runs) -> (T, H, W) bool. Raises ValueError where the runs do not fill the shape."""
    if int(runs.astype(np.int64).sum()) != int(np.prod(shape.astype(np.int64))):
        raise ValueError(
            f"runs cover {int(runs.sum())} pixels, the shape {tuple(int(s) for s in shape)} has another"
            " number"
        )
    values = np.arange(len(runs)) % 2 == 1  # zeros, ones, zeros, …
    return np.repeat(values, runs).reshape(tuple(int(s) for s in shape))


def write(path: str | os.PathLike, masks: Iterable[np.ndarray]) -> None:
    """Write frames (H, W) bool, or an array (T, H, W), through a temporary name."""
    path = Path(path)
    shape, runs = encode(masks)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as out:
        np.savez_compressed(out, shape=shape, runs=runs)
    temporary.replace(path)


def read(path: str | os.PathLike, max_pixels: int = 1 << 31) -> np.ndarray:
    """Read (T, H, W) bool. Raises InputError that names the file."""
    with _opened(path) as (shape, runs):
        # Python integers: in 32 or 64 bits a lying shape could wrap around to a small number of pixels.
        if shape.shape != (3,) or int(np.prod(shape.astype(object))) > max_pixels:
            raise ValueError(f"shape {shape.tolist()} is not (T, H, W) within {max_pixels} pixels")
        return decode(shape, runs)


def fingerprint(path: str | os.PathLike) -> bytes:
    """SHA-256 of a mask, however its file was packed. Raises InputError that names the file."""
    with _opened(path) as arrays:
        numbers = [np.append(len(array), array).astype("<i8") for array in arrays]
        return hashlib.sha256(b"".join(array.tobytes() for array in numbers)).digest()


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(shape, runs) of a file. Raises InputError that names it, also for a ValueError in the block."""
    try:
        with np.load(path, allow_pickle=False) as data:
            yield data["shape"], data["runs"]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such mask file") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a run-length mask file ({error})") from error
