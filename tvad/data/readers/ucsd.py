"""Reader of UCSD Ped1 and Ped2 (Mahadevan et al., CVPR 2010; "UCSD Anomaly Detection Dataset v1p2") as it is
distributed.

    ROOT/Train/Train001/001.tif …           normal videos, a folder of frames each, 10 frames a second
    ROOT/Test/Test001/001.tif …
    ROOT/Test/Test001_gt/001.bmp …          masks, a picture a frame, lit where anomalous; of some of Ped1
    ROOT/Test/UCSDped2.m                    the anomalous frames of every test video, in order, from 1 on
    TRACKS                                  optional: {"video", "track", "class", "appearance",
                                            "boxes": [[frame from 1 on, x, y, w, h], …]} a line

ROOT is the folder UCSDped1 or UCSDped2. A training video may be a file (Train001.mp4) instead of a folder.
Frames are linked as they are. The masks decide what is anomalous where they are there, else the list does,
and then nobody knows where. TRACKS name classes, the one of most frames first; without, the masks' connected
components are linked to tracks of an "object", and nobody knows its class.
"""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tvad.common.errors import InputError
from tvad.common.files import parse_json
from tvad.data import faults, masks
from tvad.data.build import build, class_questions, classes_of, grounding_questions, link, spans_of
from tvad.data.check import Problem, described
from tvad.data.components import tracks_of
from tvad.data.dialogue import turns
from tvad.data.readers import numbered
from tvad.data.readers.files import text_of, visible, whole
from tvad.data.recipe import file_of, folder_of
from tvad.data.sample import Sample, Track, Video
from tvad.data.video import SUFFIXES

FPS = 10.0  # of both cameras, by the data set's page
_ROW = re.compile(r"gt_frame\s*=\s*\[([^\]]*)\]")
_RANGE = re.compile(r"(\d{1,9})(?::(\d{1,9}))?")


def anomalous_frames(path: Path) -> list[list[int]]:
    """The anomalous frames of every test video, from 0 on, out of the data set's MATLAB file. Raises
    InputError that names the line."""
    found = []
    for n, line in enumerate(text_of(path, lossy=True).splitlines(), 1):
        if (row := _ROW.search(line.partition("%")[0])) is None:
            continue
        frames: list[int] = []
        for part in re.split(r"[\s,;]+", re.sub(r"\s*:\s*", ":", row.group(1).strip())):
            given = _RANGE.fullmatch(part)
            first, last = (int(given.group(1)), int(given.group(2) or given.group(1))) if given else (0, 0)
            if not 1 <= first <= last or last > 10**6:
                raise InputError(f"{path}:{n}: expected frames as [61:180], found {row.group(0)[:60]!r}")
            frames += range(first - 1, last)
        found.append(frames)
    if not found:
        raise InputError(f"{path}: no line such as TestVideoFile{{end+1}}.gt_frame = [61:180];")
    return found


def read_tracks(path: Path) -> dict[str, list[Track]]:
    """Tracks by video. Raises InputError that names the line."""
    found: dict[str, list[Track]] = {}
    seen: dict[tuple[str, int], dict[int, tuple[float, float, float, float]]] = {}
    for n, line in enumerate(text_of(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
            boxes = [
                (whole(f) - 1, (float(x), float(y), float(x + w - 1), float(y + h - 1)))
                for f, x, y, w, h in row["boxes"]
            ]
            if not boxes or min(boxes)[0] < 0 or any(faults.of_box(box) for _, box in boxes):
                raise ValueError
            if faults.of_kind(row["class"]) or not isinstance(row["video"], str):
                raise ValueError
            frames = tuple(dict(boxes))
            track = Track(whole(row["track"]), row["class"], dict(boxes), frames, row.get("appearance"))
            name = row["video"]
        except (KeyError, TypeError, ValueError, OverflowError):
            raise InputError(
                f"{path}:{n}: expected video, track, class, boxes of [frame, x, y, w, h], found {line[:60]!r}"
            ) from None
        own = seen.setdefault((name, track.id), {})
        for frame, box in boxes:
            if own.setdefault(frame, box) != box:
                raise InputError(
                    f"{path}:{n}: {name}, track {track.id}: frame {frame + 1} has another box before"
                )
        found.setdefault(name, []).append(track)
    return found


class _Masks:
    """The masks of a test video, one at a time."""

    def __init__(self, folder: Path, frames: int, size: tuple[int, int]):
        self.files, self.size = numbered.pictures(folder), size
        if len(self.files) != frames:
            raise InputError(f"{folder}: {len(self.files)} masks for {frames} frames")

    def __iter__(self) -> Iterator[np.ndarray]:
        return (numbered.mask(path, self.size) for path in self.files)


def make_test_sample(
    root: Path, name: str, listed: list[int], out: Path, tracks: dict[str, list[Track]] | None
) -> Sample:
    """One test video. Raises InputError that names the file."""
    files = numbered.pictures(root / "Test" / name)
    height, width = numbered.put(files, out / "videos" / name)
    if listed and listed[-1] >= len(files):
        raise InputError(
            f"{root / 'Test' / name}: {len(files)} frames, but frame {listed[-1] + 1} is listed as anomalous"
        )
    mask, found = None, None
    wrong = sorted(set(listed))
    if (folder := root / "Test" / f"{name}_gt").is_dir():
        lit = _Masks(folder, len(files), (height, width))
        mask = f"masks/{name}.npz"
        masks.write(out / mask, lit)
        shown = np.flatnonzero(masks.opened(out / mask).lit()).tolist()
        _say_others(name, "list and masks", set(shown) ^ set(wrong))
        if wrong and not shown:
            raise InputError(f"{folder}: nothing is lit, but {len(wrong)} frames are listed as anomalous")
        wrong = shown
        found = tracks_of(lit) if tracks is None else None
    if tracks is not None:
        found = tuple(tracks.get(name, ()))
        if wrong and not found:
            raise InputError(f"tracks: none of {name}, which has anomalous frames")
        for track in found:
            if max(track.boxes) >= len(files):
                raise InputError(
                    f"tracks: {name}, track {track.id}: frame {max(track.boxes) + 1} of {len(files)}"
                )
        if mask is not None:
            _say_others(name, "tracks and masks", {f for track in found for f in track.boxes} ^ set(wrong))
    spans, classes = spans_of(wrong, FPS), () if tracks is None else classes_of(found or ())
    sample = Sample(
        id=name,
        source=root.name.lower(),
        split="test",
        video=Video(f"videos/{name}", FPS, len(files), width, height),
        label="anomalous" if wrong else "normal",
        categories=classes,
        spans=spans,
        tracks=found,
        mask=mask,
        questions=(*grounding_questions(spans, found or (), FPS, width, height), *class_questions(classes)),
    )
    return replace(sample, dialogue=turns(sample, "protocol"))


def _say_others(name: str, what: str, frames: set[int]) -> None:
    if frames:
        print(
            f"{name}: {what} differ in {len(frames)} frames, the first {min(frames) + 1};"
            " the masks are followed",
            file=sys.stderr,
        )


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def make_train_sample(root: Path, name: str, out: Path) -> Sample:
    """One training video; all are normal."""
    source = root / "Train" / name
    if source.is_dir():
        files = numbered.pictures(source)
        height, width = numbered.put(files, out / "videos" / name)
        shown = Video(f"videos/{name}", FPS, len(files), width, height)
    else:
        file, *others = [path for path in visible(source.parent, f"{name}.*") if _is_video(path)]
        if others:
            raise InputError(f"{source}: is there twice, {file.name} and {others[0].name}")
        shown, _ = described(file, f"videos/{file.name}")
        link(file, out / shown.path)
    sample = Sample(
        id=name,
        source=root.name.lower(),
        split="train",
        video=shown,
        label="normal",
        spans=(),
        questions=grounding_questions((), (), FPS, shown.width or 0, shown.height or 0),
    )
    return replace(sample, dialogue=turns(sample, "protocol"))


def read(
    root: str | os.PathLike, split: str, out: str | os.PathLike, tracks: str | os.PathLike | None = None
) -> tuple[Sequence[Sample], list[Problem]]:
    """A split as a data set folder `out`: the samples, and the refused videos with their reasons. Raises
    InputError where nothing lies in this layout."""
    base = Path(root)
    if split not in ("train", "test"):
        raise InputError(f"split is {split!r}, expected train or test")
    part = base / split.capitalize()
    if not part.is_dir():
        raise InputError(f"{part}: no such folder; expected the folder UCSDped1 or UCSDped2")
    if split == "train":
        if tracks is not None:
            raise InputError("tracks: training videos are normal and have none")
        given = [p for p in part.iterdir() if p.is_dir() or _is_video(p)]
        names = sorted({p.stem for p in given if re.fullmatch(r"Train\d+(\.\w+)?", p.name)})
        return build(
            out,
            names,
            lambda n, folder: [make_train_sample(base, n, folder)],
            "ucsd train",
            {"root": folder_of(base)},
        )
    names = sorted(p.name for p in part.iterdir() if p.is_dir() and re.fullmatch(r"Test\d+", p.name))
    lists = visible(part, "*.m")
    if len(lists) != 1:
        raise InputError(f"{part}: expected one list of anomalous frames (UCSDped2.m), found {len(lists)}")
    rows = anomalous_frames(lists[0])
    if len(rows) != len(names):
        raise InputError(f"{lists[0]}: {len(rows)} lines for {len(names)} test videos")
    by_video = dict(zip(names, rows, strict=True))
    known = read_tracks(Path(tracks)) if tracks is not None else None
    found, problems = build(
        out,
        names,
        lambda n, folder: [make_test_sample(base, n, by_video[n], folder, known)],
        "ucsd test",
        {"root": folder_of(base), "list": file_of(lists[0]), "tracks": file_of(tracks)},
    )
    missing = sorted(set(known or ()) - set(names))
    return found, problems + [Problem(name, "in the tracks, but not among the videos") for name in missing]
