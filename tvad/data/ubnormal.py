"""Reader of UBnormal (Acsintoae et al., CVPR 2022) as it is distributed.

    ROOT/Scene1/abnormal_scene_1_scenario_1.mp4
    ROOT/Scene1/abnormal_scene_1_scenario_1_annotations/
        abnormal_scene_1_scenario_1_0000_gt.png     map of object ids, 0 background
        abnormal_scene_1_scenario_1_tracks.txt      lines: id, first frame, last frame
    SPLITS/{normal,abnormal}_{training,validation,test}_video_names.txt     the authors' scripts folder

Tracks list the anomalous objects and when each misbehaves. Where a corrected `*_new_tracks.txt` lies beside,
it is read instead, as the authors' scripts do. Boxes are the inclusive extent of an id's pixels (the authors'
script takes the largest contour and adds one).
"""

import os
import re
from pathlib import Path

import cv2
import numpy as np

from tvad.common.errors import InputError
from tvad.data import masks
from tvad.data.build import build, grounding_questions, link, spans_of
from tvad.data.check import Problem, described
from tvad.data.sample import Sample, Track

SPLITS = {"train": "training", "val": "validation", "test": "test"}
_NAME = re.compile(r"(normal|abnormal)_scene_(\d+)_[A-Za-z0-9_]+")


def split_names(folder: str | os.PathLike, split: str) -> list[str]:
    """Video names of a split, normal and abnormal. Raises InputError for an unknown split, a missing list or
    an odd name."""
    if split not in SPLITS:
        raise InputError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    names: list[str] = []
    for kind in ("normal", "abnormal"):
        path = Path(folder, f"{kind}_{SPLITS[split]}_video_names.txt")
        if not path.is_file():
            raise InputError(f"{path}: no such split list")
        for n, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if name := line.strip():
                if not _NAME.fullmatch(name):
                    raise InputError(f"{path}:{n}: {name[:60]!r} is no UBnormal video name")
                names.append(name)
    return names


def read_tracks(path: Path, frames: int) -> list[tuple[int, int, int]]:
    """(object id, first frame, last frame) of every line. Raises InputError that names the line."""
    found = []
    for n, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            track, start, end = (int(float(cell)) for cell in line.split(","))
        except (ValueError, OverflowError):
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
    tracks: tuple[Track, ...] = ()
    mask = None
    if match.group(1) == "abnormal":
        notes = folder / f"{name}_annotations"
        listed = notes / f"{name}_new_tracks.txt"
        listed = listed if listed.is_file() else notes / f"{name}_tracks.txt"
        if not listed.is_file():
            raise InputError(f"{listed}: no such track file")
        rows = read_tracks(listed, frames)
        boxes: list[dict[int, tuple[float, float, float, float]]] = [{} for _ in rows]

        # Fills `boxes` while `masks.write` takes the frames: every picture of ids is read once.
        def frame_masks():
            for frame in range(frames):
                lit = np.zeros((height, width), bool)
                active = [i for i, (_, start, end) in enumerate(rows) if start <= frame <= end]
                if active:
                    path = notes / f"{name}_{frame:04d}_gt.png"
                    if not path.is_file():
                        raise InputError(
                            f"{path}: no such mask, but track {rows[active[0]][0]} covers frame {frame}"
                        )
                    ids = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
                    if ids is None:
                        raise InputError(f"{path}: not a picture")
                    if ids.shape != (height, width):
                        raise InputError(
                            f"{path}: {ids.shape[1]} x {ids.shape[0]} pixels, the video has {width} x"
                            f" {height}"
                        )
                    for i in active:
                        shown = ids == rows[i][0]
                        y, x = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
                        if len(y):  # an object may be hidden for a while
                            boxes[i][frame] = (float(x[0]), float(y[0]), float(x[-1]), float(y[-1]))
                        lit |= shown
                yield lit

        masks.write(out / f"masks/{name}.npz", frame_masks())
        mask = f"masks/{name}.npz"
        tracks = tuple(Track(i, "object", b, tuple(b)) for i, b in enumerate(boxes) if b)
        if not tracks:
            raise InputError(f"{notes}: none of the masks shows an object that {listed.name} lists")
    link(source, out / target)
    spans = spans_of((f for t in tracks for f in t.anomalous), clock)
    return Sample(
        id=name,
        source="ubnormal",
        split=split,
        video=shown,
        label="anomalous" if tracks else "normal",
        spans=spans,
        tracks=tracks,
        mask=mask,
        questions=grounding_questions(spans, tracks, clock, width, height),
    )


def read(
    root: str | os.PathLike, splits: str | os.PathLike, split: str, out: str | os.PathLike
) -> tuple[list[Sample], list[Problem]]:
    """A split as a data set folder `out`: the samples, and the refused videos with their reasons."""
    base = Path(root)
    if not base.is_dir():
        raise InputError(f"{base}: no such folder")
    return build(
        out,
        split_names(splits, split),
        lambda name, folder: [make_sample(base, name, split, folder)],
        f"ubnormal {split}",
    )
