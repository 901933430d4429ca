"""Reader of CUHK Avenue (Lu, Shi and Jia, ICCV 2013) as it is distributed, in two archives.

    ROOT/training_videos/01.avi … 16.avi                     normal videos, 25 frames a second
    ROOT/testing_videos/01.avi … 21.avi
    MASKS/testing_label_mask/1_label.mat … 21_label.mat      volLabel: a cell a frame, (H, W) 0 or 1

ROOT is "Avenue Dataset", MASKS "ground_truth_demo". The masks decide what is anomalous; their connected
components are linked to tracks of an "object".
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tvad.common.errors import InputError
from tvad.data import masks
from tvad.data.build import build, grounding_questions, link, spans_of
from tvad.data.check import Problem, described
from tvad.data.components import tracks_of
from tvad.data.dialogue import turns
from tvad.data.readers.files import visible
from tvad.data.recipe import folder_of
from tvad.data.sample import Sample


def volume(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """The masks of a video, (T, H, W) bool. Raises InputError that names the file."""
    from scipy.io import loadmat

    if not path.is_file():
        raise InputError(f"{path}: no such mask")
    try:
        cells = loadmat(path)["volLabel"].ravel()
        frames = [np.asarray(cell) for cell in cells]
    except Exception as error:  # whatever a damaged file makes of the reader
        raise InputError(f"{path}: not a MATLAB file with volLabel ({str(error)[:80]})") from error
    if len(frames) != shape[0]:
        raise InputError(f"{path}: masks of {len(frames)} frames, the video has {shape[0]}")
    for n, frame in enumerate(frames):
        if frame.shape != shape[1:]:
            raise InputError(f"{path}: frame {n + 1} has shape {frame.shape}, the video {shape[1:]}")
    return np.stack([masks.two_valued(frame, f"{path}: frame {n}") for n, frame in enumerate(frames, 1)])


def make_sample(root: Path, labels: Path | None, name: str, split: str, out: Path) -> Sample:
    """One video. Raises InputError that names the file."""
    source = root / ("testing_videos" if split == "test" else "training_videos") / f"{name}.avi"
    shown, clock = described(source, f"videos/{name}.avi")
    height, width = shown.height or 0, shown.width or 0
    mask, tracks = None, None
    wrong: list[int] = []
    if labels is not None:
        lit = volume(labels / f"{int(name)}_label.mat", (len(clock), height, width))
        mask = f"masks/{name}.npz"
        masks.write(out / mask, lit)
        tracks, wrong = tracks_of(lit), np.flatnonzero(lit.any((1, 2))).tolist()
    link(source, out / shown.path)
    spans = spans_of(wrong, clock)
    sample = Sample(
        id=f"{split}_{name}",
        source="avenue",
        split=split,
        video=shown,
        label="anomalous" if wrong else "normal",
        spans=spans,
        tracks=tracks,
        mask=mask,
        questions=grounding_questions(spans, tracks or (), clock, width, height),
    )
    return replace(sample, dialogue=turns(sample, "protocol"))


def read(
    root: str | os.PathLike, split: str, out: str | os.PathLike, labels: str | os.PathLike | None = None
) -> tuple[Sequence[Sample], list[Problem]]:
    """A split as a data set folder `out`: the samples, and the refused videos with their reasons. labels: of
    the test videos; the folder MASKS or its testing_label_mask."""
    base, where = Path(root), None
    if split not in ("train", "test"):
        raise InputError(f"split is {split!r}, expected train or test")
    if (split == "test") != (labels is not None):
        raise InputError(
            "labels: the folder ground_truth_demo is needed for the test videos"
            if split == "test"
            else "labels: training videos are normal and have none"
        )
    if labels is not None:
        where = Path(labels)
        where = below if (below := where / "testing_label_mask").is_dir() else where
        if not where.is_dir():
            raise InputError(f"{where}: no such folder of masks")
    folder = base / ("testing_videos" if split == "test" else "training_videos")
    names = [p.stem for p in visible(folder, "*.avi") if p.stem.isdecimal()]
    if not names:
        raise InputError(f"{folder}: no videos such as 01.avi")
    found, problems = build(
        out,
        names,
        lambda n, at: [make_sample(base, where, n, split, at)],
        f"avenue {split}",
        {"root": folder_of(base), "labels": folder_of(where)},
    )
    numbers = {int(name) for name in names}
    for path in visible(where, "*_label.mat") if where is not None else ():
        number = path.stem.removesuffix("_label")
        if number.isdecimal() and int(number) not in numbers:
            problems.append(Problem(f"test_{int(number):02d}", f"{path.name} is there, but no video of it"))
    return found, problems
