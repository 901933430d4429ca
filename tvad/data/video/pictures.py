"""A folder or a list of pictures as a video: in natural order ("2.jpg" before "10.jpg"), at a rate or at
times that are given. A rate that is not given is asked for, never guessed."""

import io
import json
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tvad.common.errors import InputError
from tvad.data.video.clock import LONGEST_PAUSE, Clock
from tvad.data.video.file import MOST_PIXELS

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
TIMES = ("times.txt", "times.csv")  # beside the pictures: seconds a line, or a name and its seconds
_PREFIX = "pictures:"

# Its own bound is another; a filter for good, as those for a while are every thread's.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key by which names sort as people count."""
    parts = re.split(r"([0-9]+)", name)
    return [(1, int(p), "") if n % 2 else (0, 0, p.casefold()) for n, p in enumerate(parts)]


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, in natural order."""
    found = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
    return sorted(found, key=lambda p: natural(p.name))


def as_text(
    source: str | Sequence[str], fps: float | None = None, times: Sequence[float] | None = None
) -> str:
    """What `Pictures.named` reads: a folder or a list of pictures with their rate or times, as one string."""
    given = source if isinstance(source, str) else list(source)
    return _PREFIX + json.dumps(
        {"source": given, "fps": fps, "times": None if times is None else list(times)},
        allow_nan=True,
    )


def name_of(text: str) -> str:
    """The folder, or the first picture, of what `as_text` wrote; anything else as it is."""
    if not text.startswith(_PREFIX):
        return text
    source = json.loads(text.removeprefix(_PREFIX))["source"]
    return source if isinstance(source, str) else source[0]


class Pictures:
    """source: a folder, or the pictures' paths in order. fps: frames a second; times: seconds of every
    picture, of which the first one's is taken off; neither: the folder's times.txt or times.csv. `clock`,
    `size` (height, width): as of a `VideoFile`. Raises InputError that names the folder or the picture."""

    def __init__(
        self, source: str | Sequence[str], fps: float | None = None, times: Sequence[float] | None = None
    ):
        if isinstance(source, str):
            self.name, folder = source, Path(source)
            if not folder.is_dir():
                raise InputError(f"{source}: no such folder of pictures")
            self.files = pictures_in(folder)
            beside = [folder / name for name in TIMES if (folder / name).is_file()]
        else:
            self.files, beside = [Path(p) for p in source], []
            self.name = f"{len(self.files)} pictures" + (f" from {self.files[0]}" if self.files else "")
        if not self.files:
            raise InputError(f"{self.name}: no picture in it (expected {', '.join(SUFFIXES)})")
        given = [*beside, *(["times"] if times is not None else []), *(["a rate"] if fps is not None else [])]
        if not given:
            raise InputError(
                f"{self.name}: a clip of pictures needs its rate (fps, frames a second), or {TIMES[0]} beside"
                " them"
            )
        if len(given) > 1:
            raise InputError(f"{self.name}: its times are given twice, by {given[0]} and by {given[1]}")
        if fps is not None:
            if not (math.isfinite(fps) and fps > 0):
                raise InputError(f"{self.name}: fps must be a positive number, found {fps:g}")
            self.clock = Clock.constant(len(self.files), fps)
        else:
            self.clock = self._timed(times if times is not None else _read_times(beside[0], self.files))
        self.size: tuple[int, int] | None = None

    @classmethod
    def named(cls, text: str) -> "Pictures | None":
        """What `as_text` wrote, or a folder that holds its times; None for anything else."""
        if text.startswith(_PREFIX):
            return cls(**json.loads(text.removeprefix(_PREFIX)))
        return cls(text) if os.path.isdir(text) else None

    def _timed(self, times: Sequence[float]) -> Clock:
        if len(times) != len(self.files):
            raise InputError(f"{self.name}: {len(times)} times for {len(self.files)} pictures")
        if len(times) < 2:
            raise InputError(
                f"{self.name}: one picture needs a rate: its time does not say how long it stays"
            )
        seconds = np.array(times, float)
        with np.errstate(invalid="ignore", over="ignore"):
            gaps = np.diff(seconds)
        if (wrong := np.flatnonzero(~np.isfinite(seconds))).size:
            raise InputError(f"{self.name}: time {wrong[0]} is {seconds[wrong[0]]:g} s")
        if (wrong := np.flatnonzero(gaps < 0) + 1).size:
            raise InputError(
                f"{self.name}: time {wrong[0]} is {seconds[wrong[0]]:g} s, after {seconds[wrong[0] - 1]:g} s"
            )
        if not 0 < gaps.max() <= LONGEST_PAUSE:
            raise InputError(
                f"{self.name}: pictures must be more than 0 and at most {LONGEST_PAUSE:g} s apart"
            )
        return Clock(seconds - seconds[0], float(seconds[-1] - seconds[0] + (gaps[-1] or gaps.max())))

    def shown(self) -> Iterator[tuple[float, Callable[[], np.ndarray]]]:
        """(seconds, what reads the picture (H, W, 3) uint8 RGB) of every picture."""
        if self.size is None:
            self.size = _read(self.files[0]).shape[:2]
        for file, seconds in zip(self.files, self.clock.times.tolist(), strict=True):
            yield seconds, partial(self._picture, file)

    def _picture(self, file: Path) -> np.ndarray:
        assert self.size is not None
        image = _read(file)
        if image.shape[:2] != self.size:
            if not self.clock.notes:
                size = f"{image.shape[1]} x {image.shape[0]}"
                note = f"{file.name} has {size} pixels: it is scaled to the first's size"
                self.clock = replace(self.clock, notes=(note,))
            image = cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_AREA)
        return image


def _read(file: Path) -> np.ndarray:
    """A picture, the right way up. Raises InputError that names it."""
    try:
        return unpacked(file.read_bytes(), str(file))
    except OSError as error:
        raise InputError(f"{file}: cannot be opened ({error.strerror})") from error


def unpacked(data: bytes, name: str) -> np.ndarray:
    """A picture file's bytes as (H, W, 3) uint8 RGB, the right way up. Raises InputError that names it; for
    one of too many pixels by its header, before they are decoded: a few kilobytes may stand for gigabytes."""
    try:
        with Image.open(io.BytesIO(data)) as header:
            width, height = header.size
    except Image.DecompressionBombError:
        raise InputError(f"{name}: at most {MOST_PIXELS:,d} pixels in a picture, it has more") from None
    except (OSError, ValueError, EOFError):
        raise InputError(f"{name}: not a picture, or damaged") from None
    if width * height > MOST_PIXELS:
        raise InputError(f"{name}: {width} x {height} pixels, at most {MOST_PIXELS:,d} in a picture")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{name}: not a picture, or damaged")
    return np.ascontiguousarray(image[..., ::-1])


def _read_times(path: Path, files: list[Path]) -> list[float]:
    """Seconds of every picture: a number a line in the pictures' order, or `name, seconds`, once for each; a
    first line that is neither is a heading."""
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    rows = [
        (n, re.split(r"\s*[,;\t]\s*|\s+", line.strip())) for n, line in enumerate(lines, 1) if line.strip()
    ]
    expected = "expected seconds, or a picture's name and its seconds"
    names = {file.name for file in files}
    found: dict[str, float] = {}
    in_order: list[float] = []
    for place, (n, cells) in enumerate(rows):
        try:
            seconds = float(cells[-1])
        except ValueError:
            if place:
                raise InputError(f"{path}:{n}: {expected}") from None
            continue
        if len(cells) > 2 or not math.isfinite(seconds) or (in_order if len(cells) == 2 else found):
            raise InputError(f"{path}:{n}: {expected}")
        if len(cells) == 1:
            in_order.append(seconds)
            continue
        name = cells[0]
        if name in found:
            raise InputError(f"{path}:{n}: {name} has a time already, {found[name]:g} s")
        if name not in names:
            raise InputError(f"{path}:{n}: a time for {name}, which is not among the pictures")
        found[name] = seconds
    if not found:
        return in_order
    if missing := [file.name for file in files if file.name not in found]:
        raise InputError(f"{path}: no time for {missing[0]}")
    return [found[file.name] for file in files]
