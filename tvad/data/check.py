"""Opens everything that a data set names and lists every bad row with its reason."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import av
from tqdm import tqdm

from tvad.common.errors import InputError
from tvad.data import masks, video
from tvad.data.sample import DATASET, Sample, from_json, load, rows_file, rows_version


@dataclass(frozen=True)
class Problem:
    """A bad row: its id or line, and why."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


def probe(path: Path) -> tuple[int, float, int, int]:
    """(frames, fps, width, height) by decoding the file. Raises InputError that names it."""
    found = video.decode(path, rate=None, max_frames=1)
    height, width = found.images.shape[1:3]
    return found.total, found.fps, width, height


def check_sample(sample: Sample, files: bool = True) -> list[Problem]:
    """Everything wrong with one sample; with `files`, its video and mask are opened."""
    found = [Problem(sample.id, reason) for reason in sample.problems()]
    if not files:
        return found
    try:
        frames, fps, width, height = probe(sample.path(sample.video.path))
        stated = sample.video
        for name, have, want in (
            ("frames", frames, stated.frames),
            ("width", width, stated.width),
            ("height", height, stated.height),
        ):
            if want is not None and have != want:
                found.append(Problem(sample.id, f"{stated.path} has {name} {have}, the sample states {want}"))
        if stated.fps is not None and abs(fps - stated.fps) > 0.01:
            found.append(
                Problem(sample.id, f"{stated.path} has {fps:g} fps, the sample states {stated.fps:g}")
            )
        for start, end in sample.spans or ():
            if end > frames / fps + 1e-3 and stated.duration is None:
                found.append(
                    Problem(sample.id, f"span [{start}, {end}] ends after the video's {frames / fps:.2f} s")
                )
        if sample.mask is not None:
            shape = masks.read(sample.path(sample.mask)).shape
            if shape != (frames, height, width):
                found.append(
                    Problem(
                        sample.id, f"{sample.mask} has shape {shape}, the video {(frames, height, width)}"
                    )
                )
    except InputError as error:
        found.append(Problem(sample.id, str(error)))
    return found


def check(path: str | os.PathLike, files: bool = True) -> list[Problem]:
    """All bad rows of a data set folder. Lines that cannot be read are problems, not exceptions; a missing
    file raises InputError."""
    return _rows(path, files)[1]


def readable(path: str | os.PathLike) -> tuple[list[Sample], list[Problem]]:
    """The good rows of a data set (without opening its files), and what is wrong with the others."""
    samples, problems = _rows(path, files=False)
    bad = {problem.where for problem in problems}
    return [sample for sample in samples if sample.id not in bad], problems


def _rows(path: str | os.PathLike, files: bool) -> tuple[list[Sample], list[Problem]]:
    """Every row that can be parsed, and all problems."""
    file = rows_file(path)
    version = rows_version(file)
    samples: list[Sample] = []
    problems: list[Problem] = []
    seen: set[str] = set()
    lines = file.read_bytes().splitlines()
    for n, line in enumerate(tqdm(lines, unit="clip", desc="check", disable=None), 1):
        try:
            row = DATASET.migrate(json.loads(line), version)
            sample = from_json(row, str(file.parent), f"{file.name}:{n}")
        except (ValueError, RecursionError) as error:
            problems.append(Problem(f"{file.name}:{n}", str(error).removeprefix(f"{file.name}:{n}: ")))
            continue
        if sample.id in seen:
            problems.append(Problem(sample.id, f"id appears again in line {n}"))
        seen.add(sample.id)
        problems += check_sample(sample, files)
        samples.append(sample)
    return samples, problems


def load_checked(path: str | os.PathLike, drop: bool = False) -> list[Sample]:
    """Load a data set, refusing bad rows (without opening its files). With `drop` they are left out and named
    on stderr."""
    if not drop:
        samples = load(path)
        for sample in samples:
            if found := sample.problems():
                raise InputError(
                    f"{path}: {sample.id}: {found[0]} (`tvad data check {path}` lists all; drop_bad_rows"
                    " leaves them out)"
                )
        return samples
    samples, problems = readable(path)
    for problem in problems:
        print(f"dropped {problem}", file=sys.stderr)
    return samples


av.logging.set_level(av.logging.PANIC)
