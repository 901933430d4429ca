"""Frames and masks that a data set distributes as numbered pictures."""

import re
from pathlib import Path

import cv2
import numpy as np

from tvad.common.errors import InputError
from tvad.data.build import link_all
from tvad.data.video import pictures_in

_NUMBER = re.compile(r"\D*(\d+)")


def pictures(folder: Path) -> list[Path]:
    """The pictures of a folder by their numbers, as `in_order` has them; what is no picture, or hidden
    ("._001.tif" of an archive made on a Mac), is passed over. Raises InputError that names the folder or the
    first number that is missing."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of frames")
    found: dict[int, Path] = {}
    for path in pictures_in(folder):
        if (match := _NUMBER.fullmatch(path.stem)) is None:
            raise InputError(f"{path}: a frame's name is its number, such as 001.tif")
        number = int(match.group(1))
        if number in found:
            raise InputError(f"{folder}: frame {number} is there twice, {found[number].name} and {path.name}")
        found[number] = path
    return in_order(folder, found)


def in_order(folder: Path, found: dict[int, Path]) -> list[Path]:
    """Frames by their numbers, which begin with 0 (ShanghaiTech) or 1 (UCSD) and lack none: a frame that is
    missing, also the first, moves the times of all later ones. Raises InputError that names it."""
    if not found:
        raise InputError(f"{folder}: no frames in this folder")
    first = min(1, *found)
    for n in range(first, first + len(found)):
        if n not in found:
            later = found[min(number for number in found if number > n)]
            raise InputError(f"{folder}: frame {n} is missing (found {later.name})")
    return [found[n] for n in sorted(found)]


def put(files: list[Path], folder: Path) -> tuple[int, int]:
    """Link frames into a folder of the data set; returns their height and width. Raises InputError that names
    a picture which cannot be decoded, or has another size than the first."""
    size: tuple[int, int] | None = None
    for path in files:
        image = cv2.imread(str(path))
        if image is None:
            raise InputError(f"{path}: not a picture, or damaged")
        height, width = image.shape[:2]
        if size is not None and (height, width) != size:
            raise InputError(f"{path}: {width} x {height} pixels, the first frame has {size[1]} x {size[0]}")
        size = (height, width)
    assert size is not None
    link_all([(path, path.name) for path in files], folder)
    return size


def mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A mask picture (H, W) bool: lit where it is not black. Raises InputError that names it."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise InputError(f"{path}: not a picture, or damaged")
    if image.shape != size:
        raise InputError(
            f"{path}: {image.shape[1]} x {image.shape[0]} pixels, the video has {size[1]} x {size[0]}"
        )
    return image > 0
