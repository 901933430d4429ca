"""Reader of ShanghaiTech Campus (Liu et al., CVPR 2018) as it is distributed.

    ROOT/training/videos/01_001.avi                      normal videos
    ROOT/testing/frames/01_0014/000.jpg …                a folder of frames a video, 24 frames a second
    ROOT/testing/test_frame_mask/01_0014.npy             (T,) 0 or 1
    ROOT/testing/test_pixel_mask/01_0014.npy             (T, H, W) 0 or 1
    TRACKS/01_0014.txt                                   optional (Georgescu et al., TPAMI 2021):
                                                         track, frame, x1, y1, x2, y2

Frames become an mp4 in the data set. The masks decide what is anomalous; tracks add the boxes of what is, and
nobody's else: the people beside it, and those of normal videos, have none.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from tvad.common.errors import InputError
from tvad.data import masks, video
from tvad.data.build import build, grounding_questions, in_picture, link, spans_of
from tvad.data.check import Problem, described
from tvad.data.dialogue import turns
from tvad.data.readers import numbered
from tvad.data.readers.files import text_of, visible, whole
from tvad.data.recipe import folder_of
from tvad.data.sample import Sample, Track, Video

FPS = 24.0
_FRAME = re.compile(r"(\d+)\.(?:jpg|jpeg|png)", re.IGNORECASE)


def read_tracks(path: Path, frames: int, width: int, height: int) -> tuple[Track, ...]:
    """Anomaly tracks of one video. Raises InputError that names the line."""
    boxes: dict[int, dict[int, tuple[float, float, float, float]]] = {}
    for n, line in enumerate(text_of(path, lossy=True).splitlines(), 1):
        if not line.strip():
            continue
        try:
            cells = line.split(",")
            track, frame = whole(cells[0]), whole(cells[1])
            x1, y1, x2, y2 = box = [float(cell) for cell in cells[2:]]
        except (ValueError, IndexError):
            raise InputError(
                f"{path}:{n}: expected track, frame, x1, y1, x2, y2, found {line[:60]!r}"
            ) from None
        if not 0 <= frame < frames:
            raise InputError(f"{path}:{n}: frame {frame}, but the video has {frames}")
        if not (0 <= x1 <= x2 <= width and 0 <= y1 <= y2 <= height):
            told = ", ".join(f"{edge:g}" for edge in box)
            raise InputError(f"{path}:{n}: box [{told}] does not lie in {width} x {height} pixels")
        cut = x1, y1, min(x2, width - 1.0), min(y2, height - 1.0)
        if boxes.setdefault(track, {}).setdefault(frame, cut) != cut:
            raise InputError(f"{path}:{n}: track {track} has another box in frame {frame}, above")
    return tuple(
        Track(i, "object", dict(sorted(b.items())), tuple(sorted(b))) for i, b in sorted(boxes.items())
    )


def _frames(folder: Path) -> list[Path]:
    """Frame files in order. Raises InputError where a number is missing, or there twice."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _FRAME.fullmatch(path.name)
        if match and (other := found.setdefault(int(match.group(1)), path)) is not path:
            raise InputError(f"{folder}: one frame is there twice, {other.name} and {path.name}")
    return numbered.in_order(folder, found)


def _array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A mask file (memory-mapped). Raises InputError for a missing file, an unreadable one and a wrong
    shape."""
    if not path.is_file():
        raise InputError(f"{path}: no such mask")
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a .npy array ({str(error).splitlines()[0]})") from error
    if data.shape != shape:
        raise InputError(
            f"{path}: shape {data.shape}, expected {shape}"
            f" (frames{', height, width' if len(shape) == 3 else ''})"
        )
    return data


def make_test_sample(root: Path, name: str, out: Path, tracks_folder: Path | None) -> Sample:
    """One test video. Raises InputError that names the file."""
    files = _frames(root / "testing" / "frames" / name)
    first = cv2.imread(str(files[0]))
    if first is None:
        raise InputError(f"{files[0]}: not a picture")
    height, width = first.shape[:2]
    labels = _array(root / "testing" / "test_frame_mask" / f"{name}.npy", (len(files),))
    labels = masks.two_valued(labels, f"test_frame_mask/{name}.npy")
    pixels = _array(root / "testing" / "test_pixel_mask" / f"{name}.npy", (len(files), height, width))
    # H.264 needs even sizes: an odd last row or column of pictures and masks is left out.
    even = (height - height % 2, width - width % 2)

    def images():
        for path in files:
            image = cv2.imread(str(path))
            if image is None or image.shape[:2] != (height, width):
                raise InputError(f"{path}: not a picture of {width} x {height} pixels")
            yield image[..., ::-1]

    def lit(frame: int) -> np.ndarray:
        return masks.two_valued(pixels[frame], f"test_pixel_mask/{name}.npy: frame {frame}")

    shown = np.array([bool(lit(i).any()) for i in range(len(files))])
    if wrong := np.flatnonzero(shown & ~labels).tolist():
        raise InputError(
            f"{root / 'testing' / 'test_frame_mask' / name}.npy: frame {wrong[0]} is normal, but its pixel"
            " mask is not empty"
        )
    if labels.any() and not shown.any():
        raise InputError(
            f"{root / 'testing' / 'test_pixel_mask' / name}.npy: nothing is lit, but {labels.sum()} frames"
            " are anomalous"
        )
    tracks: tuple[Track, ...] | None = None
    if tracks_folder is not None and labels.any():
        path = tracks_folder / f"{name}.txt"
        if not path.is_file():
            raise InputError(f"{path}: no such track file, but the video has anomalous frames")
        tracks = tuple(in_picture(read_tracks(path, len(files), width, height), even[1], even[0]))
    video.write(out / f"videos/{name}.mp4", images(), FPS)
    masks.write(out / f"masks/{name}.npz", (lit(i)[: even[0], : even[1]] for i in range(len(files))))
    spans = spans_of(np.flatnonzero(labels).tolist(), FPS)
    sample = Sample(
        id=name,
        source="shanghaitech",
        split="test",
        video=Video(f"videos/{name}.mp4", FPS, len(files), even[1], even[0]),
        label="anomalous" if labels.any() else "normal",
        spans=spans,
        tracks=tracks,
        mask=f"masks/{name}.npz",
        questions=grounding_questions(spans, tracks or (), FPS, even[1], even[0]),
    )
    return replace(sample, dialogue=turns(sample, "protocol"))


def make_train_sample(root: Path, name: str, out: Path) -> Sample:
    """One training video; all are normal."""
    source = root / "training" / "videos" / f"{name}.avi"
    shown, clock = described(source, f"videos/{name}.avi")
    link(source, out / shown.path)
    sample = Sample(
        id=name,
        source="shanghaitech",
        split="train",
        video=shown,
        label="normal",
        spans=(),
        questions=grounding_questions((), (), clock, shown.width or 0, shown.height or 0),
    )
    return replace(sample, dialogue=turns(sample, "protocol"))


def read(
    root: str | os.PathLike, split: str, out: str | os.PathLike, tracks: str | os.PathLike | None = None
) -> tuple[Sequence[Sample], list[Problem]]:
    """A split as a data set folder `out`: the samples, and the refused videos with their reasons."""
    base = Path(root)
    if split == "train":
        names = [p.stem for p in visible(base / "training" / "videos", "*.avi")]
    elif split == "test":
        names = [p.name for p in visible(base / "testing" / "frames") if p.is_dir()]
    else:
        raise InputError(f"split is {split!r}, expected train or test")
    if not names:
        raise InputError(
            f"{base}: no {'training/videos/*.avi' if split == 'train' else 'testing/frames/*'} below it"
        )

    def make(name: str, folder: Path) -> list[Sample]:
        if split == "train":
            return [make_train_sample(base, name, folder)]
        return [make_test_sample(base, name, folder, Path(tracks) if tracks else None)]

    options = {"root": folder_of(base), "tracks": folder_of(tracks)}
    found, problems = build(out, names, make, f"shanghaitech {split}", options)
    if split == "test":
        told = [
            path
            for part in (base / "testing" / "test_frame_mask", base / "testing" / "test_pixel_mask")
            for path in visible(part, "*.npy")
        ]
        told += visible(Path(tracks), "*.txt") if tracks else []
        problems += [
            Problem(path.stem, f"{path.parent.name}/{path.name} is there, but no frames of it")
            for path in told
            if path.stem not in names
        ]
    return found, problems
