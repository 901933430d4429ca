"""Reader of UBnormal (Acsintoae et al., CVPR 2022) as it is distributed.

    ROOT/Scene1/abnormal_scene_1_scenario_1.mp4
    ROOT/Scene1/abnormal_scene_1_scenario_1_annotations/
        abnormal_scene_1_scenario_1_0000_gt.png     map of object ids, 0 background
        abnormal_scene_1_scenario_1_tracks.txt      lines: id, first frame, last frame
    SPLITS/{normal,abnormal}_{training,validation,test}_video_names.txt     the authors' scripts folder

The maps show every object, of normal videos too where their annotations lie beside; tracks list the anomalous
ones and when each misbehaves. Where a corrected `*_new_tracks.txt` lies beside, it is read instead, as the
authors' scripts do. Boxes are the inclusive extent of an id's pixels (the authors' script takes the largest
contour and adds one). Maps know neither kind nor looks: every track is an "object".
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from tvad.common.errors import InputError
from tvad.data import masks
from tvad.data.build import build, grounding_questions, link, spans_of
from tvad.data.check import Problem, described
from tvad.data.dialogue import turns
from tvad.data.readers.files import text_of, whole
from tvad.data.recipe import files_of, folder_of
from tvad.data.sample import Sample, Track

SPLITS = {"train": "training", "val": "validation", "test": "test"}
Corners = tuple[float, float, float, float]  # x1, y1, x2, y2, inclusive pixels
_NAME = re.compile(r"(normal|abnormal)_scene_(\d+)_[A-Za-z0-9_]+")


def split_lists(folder: str | os.PathLike, split: str) -> list[Path]:
    """The lists of a split's videos, normal and abnormal."""
    return [Path(folder, f"{kind}_{SPLITS[split]}_video_names.txt") for kind in ("normal", "abnormal")]


def split_names(folder: str | os.PathLike, split: str) -> list[str]:
    """Video names of a split, normal and abnormal. Raises InputError for an unknown split, a missing list or
    an odd name."""
    if split not in SPLITS:
        raise InputError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    names: list[str] = []
    for path in split_lists(folder, split):
        if not path.is_file():
            raise InputError(f"{path}: no such split list")
        for n, line in enumerate(text_of(path).split("\n"), 1):
            if name := line.strip():
                if not _NAME.fullmatch(name):
                    raise InputError(f"{path}:{n}: {name[:60]!r} is no UBnormal video name")
                names.append(name)
    return names


def read_tracks(path: Path, frames: int) -> list[tuple[int, int, int]]:
    """(object id, first frame, last frame) of every line. Raises InputError that names the line."""
    found = []
    for n, line in enumerate(text_of(path, lossy=True).splitlines(), 1):
        if not line.strip():
            continue
        try:
            track, start, end = map(whole, line.split(","))
        except ValueError:
            raise InputError(
                f"{path}:{n}: expected id, first frame, last frame, found {line[:60]!r}"
            ) from None
        if not (track > 0 and 0 <= start <= end):
            raise InputError(f"{path}:{n}: id must be positive and frames in order, found {line[:60]!r}")
        if end >= frames:
            raise InputError(f"{path}:{n}: frame {end}, but the video has {frames}")
        found.append((track, start, end))
    if not found:
        raise InputError(f"{path}: no track in this file")
    return found


def make_sample(root: Path, name: str, split: str, out: Path) -> Sample:
    """One video as it lies below `root`. Raises InputError that names the file."""
    match = _NAME.fullmatch(name)
    assert match is not None
    folder = root / f"Scene{match.group(2)}"
    source = folder / f"{name}.mp4"
    target = f"videos/{name}.mp4"
    shown, clock = described(source, target)
    frames, width, height = len(clock), shown.width or 0, shown.height or 0
    tracks: tuple[Track, ...] | None
    mask = None
    notes = folder / f"{name}_annotations"
    if match.group(1) == "abnormal":
        listed = notes / f"{name}_new_tracks.txt"
        listed = listed if listed.is_file() else notes / f"{name}_tracks.txt"
        if not listed.is_file():
            raise InputError(f"{listed}: no such track file")
        found = Objects(notes, name, (frames, height, width), read_tracks(listed, frames))
        masks.write(out / f"masks/{name}.npz", found.masks())  # every picture of ids is read once
        mask = f"masks/{name}.npz"
        tracks = found.tracks()
        if not any(track.anomalous for track in tracks):
            raise InputError(f"{notes}: none of the masks shows an object that {listed.name} lists")
    else:
        found = Objects(notes, name, (frames, height, width), [])
        for _ in found.masks():
            pass
        tracks = found.tracks() if found.whole else None  # its objects are not known
    link(source, out / target)
    wrong = [track for track in tracks or () if track.anomalous]
    spans = spans_of((f for t in wrong for f in t.anomalous), clock)
    sample = Sample(
        id=name,
        source="ubnormal",
        split=split,
        video=shown,
        label="anomalous" if wrong else "normal",
        spans=spans,
        tracks=tracks,
        mask=mask,
        questions=grounding_questions(spans, tuple(wrong), clock, width, height),
    )
    return replace(sample, dialogue=turns(sample, "protocol"))


class Objects:
    """The objects of a video's maps of ids, a track each: those that `rows` (id, first frame, last frame)
    call anomalous, one for every row, and all others. Where a frame has no map, nobody knows who else is
    there (`whole` is False), and only what the rows list is kept."""

    def __init__(self, notes: Path, name: str, shape: tuple[int, int, int], rows: list[tuple[int, int, int]]):
        """shape: (T, H, W) of the video."""
        self.notes, self.name, self.shape, self.rows = notes, name, shape, rows
        self.whole = True
        self._boxes: list[dict[int, Corners]] = [{} for _ in rows]  # while it misbehaves, by row
        self._others: dict[int, dict[int, Corners]] = {}  # at all other times, by id

    def masks(self) -> Iterator[np.ndarray]:
        """The anomalous pixels of every frame (H, W) bool, while the boxes are collected. Raises InputError
        that names a map which cannot be read, and one that a row needs and which is not there."""
        for frame in range(self.shape[0]):
            active = [n for n, (_, start, end) in enumerate(self.rows) if start <= frame <= end]
            lit = np.zeros(self.shape[1:], bool)
            if (ids := self._ids(frame, active)) is not None:
                for n in active:
                    shown = ids == self.rows[n][0]
                    if (box := _extent(shown)) is not None:  # an object may be hidden for a while
                        self._boxes[n][frame] = box
                    lit |= shown
                misbehave = {self.rows[n][0] for n in active}
                for number in np.flatnonzero(np.bincount(ids.ravel(), minlength=1)[1:]) + 1:
                    if number not in misbehave and (box := _extent(ids == number)) is not None:
                        self._others.setdefault(int(number), {})[frame] = box
            yield lit

    def _ids(self, frame: int, active: list[int]) -> np.ndarray | None:
        """The map of a frame (H, W), None where there is none and no row needs it."""
        path = self.notes / f"{self.name}_{frame:04d}_gt.png"
        if not path.is_file():
            if active:
                raise InputError(
                    f"{path}: no such mask, but track {self.rows[active[0]][0]} covers frame {frame}"
                )
            self.whole = False
            return None
        ids = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if ids is None:
            raise InputError(f"{path}: not a picture")
        if ids.shape != self.shape[1:]:
            raise InputError(
                f"{path}: {ids.shape[1]} x {ids.shape[0]} pixels, the video has {self.shape[2]} x"
                f" {self.shape[1]}"
            )
        return ids

    def tracks(self) -> tuple[Track, ...]:
        """After `masks`: of the rows in their order, then of everybody else. What an object does before and
        after it misbehaves stands in the first of its rows."""
        others = dict(self._others) if self.whole else {}
        found = []
        for (number, _, _), wrong in zip(self.rows, self._boxes, strict=True):
            boxes = dict(sorted((wrong | others.pop(number, {})).items()))
            found += [Track(number, "object", boxes, tuple(wrong))] if boxes else []
        return (*found, *(Track(number, "object", boxes) for number, boxes in sorted(others.items())))


def _extent(lit: np.ndarray) -> Corners | None:
    """The box of the pixels of (H, W) bool, None where there are none."""
    y, x = np.flatnonzero(lit.any(1)), np.flatnonzero(lit.any(0))
    return (float(x[0]), float(y[0]), float(x[-1]), float(y[-1])) if len(y) else None


def read(
    root: str | os.PathLike, splits: str | os.PathLike, split: str, out: str | os.PathLike
) -> tuple[Sequence[Sample], list[Problem]]:
    """A split as a data set folder `out`: the samples, and the refused videos with their reasons."""
    base = Path(root)
    if not base.is_dir():
        raise InputError(f"{base}: no such folder")
    return build(
        out,
        split_names(splits, split),
        lambda name, folder: [make_sample(base, name, split, folder)],
        f"ubnormal {split}",
        {"root": folder_of(base), "splits": files_of(*split_lists(splits, split))},
    )
