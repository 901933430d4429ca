"""Opens everything that a data set names and lists every bad row with its reason."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tvad.common.errors import InputError
from tvad.common.quiet import note
from tvad.data import masks, truth, video
from tvad.data.folder import load
from tvad.data.sample import Sample, Video, numbered, read_row, rows_file, rows_version
from tvad.data.shards import Rows, lies_in, rows_of


@dataclass(frozen=True)
class Problem:
    """A bad row: its id or line, and why. `doubt`: the row is used, but its answers may not tell what was
    meant."""

    where: str
    reason: str
    doubt: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


def probe(path: str | os.PathLike) -> tuple[int, float, int, int]:
    """(frames, fps, width, height) by decoding the file; fps is the mean where it varies. Raises InputError
    that names it."""
    clock, height, width = video.inspect(path)
    return len(clock), clock.fps, width, height


def described(path: str | os.PathLike, name: str) -> tuple[Video, video.Clock]:
    """What a sample says of a video file, under the `name` that it has in the data set, and its clock. Raises
    InputError that names the file."""
    clock, height, width = video.inspect(path)
    return _video(name, clock, height, width), clock


def _video(name: str, clock: video.Clock, height: int, width: int) -> Video:
    varying = clock.rate is None
    times = tuple(round(float(t), 6) for t in clock.times) if varying else None
    end = round(clock.end, 6) if varying else None
    return Video(name, clock.fps, len(clock), width, height, end, times)


def opened(sample: Sample) -> tuple[video.Clock, int, int, masks.Mask | None]:
    """(clock, height, width, mask, of which no frame is unpacked yet) of a sample that is to be cut: what it
    says of times and frames that its files have not would be lost, and its clips called normal. Raises
    InputError with the first of what `check_sample` finds; questions, which are asked anew, aside."""
    clock, height, width = video.inspect(sample.clip())
    return clock, height, width, completed(sample, clock, height, width)[1]


def completed(
    sample: Sample, clock: video.Clock, height: int, width: int
) -> tuple[Sample, masks.Mask | None]:
    """A sample with what it does not state of its video, which has this clock and size, and its mask, of
    which no frame is unpacked yet. Raises InputError as `opened`."""
    mask = truth.open_mask(sample, len(clock), height, width)
    found = _video(sample.video.path, clock, height, width)
    if reasons := _reasons(replace(sample, questions=()), found, clock, mask):
        raise InputError(reasons[0])
    return replace(sample, video=filled(sample.video, found)), mask


def filled(stated: Video, found: Video) -> Video:
    """What a sample states of its video, and what was found where it states nothing."""
    told = {field.name: getattr(stated, field.name) for field in fields(stated)}
    return replace(found, **{name: value for name, value in told.items() if value is not None})


def _off_clock(stated: Video, clock: video.Clock) -> Iterator[str]:
    """What a sample states of its video's times that is not so."""
    if stated.times is not None:
        if len(stated.times) != len(clock):
            return  # said of its number of frames
        off = np.abs(np.array(stated.times) - stated.times[0] - clock.times)
        if off.max() > clock.pause / 2:
            frame = int(off.argmax())
            yield (
                f"frame {frame} of {stated.path} appears at {clock.times[frame]:.3f} s, the sample states"
                f" {stated.times[frame]:g}"
            )
        if stated.fps is not None and abs(clock.fps - stated.fps) > 0.01:
            yield f"{stated.path} has {clock.fps:g} fps by its times, the sample states {stated.fps:g}"
    elif stated.fps is not None and clock.rate is None:
        yield (
            f"{stated.path} has a variable frame rate, {clock.pause:.3g} to {clock.longest:.3g} s a frame,"
            f" the sample states {stated.fps:g} fps: state times and seconds, or leave fps out"
        )
    elif stated.fps is not None and abs(clock.fps - stated.fps) > 0.01:
        yield f"{stated.path} has {clock.fps:g} fps, the sample states {stated.fps:g}"
    if stated.seconds is not None and abs(stated.seconds - clock.end) > max(0.05, clock.pause):
        yield f"{stated.path} lasts {clock.end:.2f} s, the sample states {stated.seconds:g}"


def check_sample(sample: Sample, files: bool = True, notes: list[Problem] | None = None) -> list[Problem]:
    """Everything wrong with one sample (`Sample.problems`), else what it leaves in doubt; with `files`, its
    video and mask are opened, so that lengths and sizes count that it does not state. notes: gets what had to
    be assumed of the video."""
    if not files:
        return [Problem(sample.id, reason) for reason in sample.problems()] or doubts_of(sample)
    try:
        found, clock = described(sample.clip(), sample.video.path)
    except InputError as error:
        return [Problem(sample.id, reason) for reason in (*sample.problems(), str(error))]
    if notes is not None:
        told = clock.notes
        if clock.rate is None and sample.video.times is None:
            told += (f"variable frame rate, {clock.pause:.3g} to {clock.longest:.3g} s a frame",)
        notes += [Problem(sample.id, f"{sample.video.path}: {note}") for note in told]
    mask, unread = None, []
    try:
        mask = truth.open_mask(sample, found.frames or 0, found.height or 0, found.width or 0)
    except InputError as error:
        unread = [str(error).removeprefix(f"{sample.id}: ")]
    reasons = _reasons(sample, found, clock, mask) + unread
    return [Problem(sample.id, reason) for reason in reasons] or doubts_of(sample)


def doubts_of(sample: Sample) -> list[Problem]:
    """What a sample without problems leaves in doubt."""
    return [Problem(sample.id, reason, doubt=True) for reason in sample.doubts()]


def _reasons(sample: Sample, found: Video, clock: video.Clock, mask: masks.Mask | None) -> list[str]:
    """What is wrong with a sample, where its video is `found` and its mask is this one."""
    return [
        *replace(sample, video=filled(sample.video, found)).problems(),
        *_differences(sample.video, found),
        *_off_clock(sample.video, clock),
        *_of_mask(sample, mask),
    ]


def _differences(stated: Video, found: Video) -> list[str]:
    reasons = [
        f"{stated.path} has {name} {have}, the sample states {want}"
        for name in ("frames", "width", "height")
        if (want := getattr(stated, name)) is not None and (have := getattr(found, name)) != want
    ]
    return reasons


def _of_mask(sample: Sample, mask: masks.Mask | None) -> list[str]:
    if mask is None:
        return []
    lit = mask.area() is not None
    if lit and sample.label == "normal":
        return [f"{sample.mask} has anomalous pixels in a normal video"]
    if not lit and sample.label == "anomalous":
        return [f"{sample.mask} has no anomalous pixel in an anomalous video"]
    return []


def check(path: str | os.PathLike, files: bool = True, notes: list[Problem] | None = None) -> list[Problem]:
    """All bad rows of a data set folder. Lines that cannot be read are problems, not exceptions; a missing
    file raises InputError. notes: gets what is not wrong and should be known, such as a variable frame
    rate."""
    seen: set[str] = set()
    problems: list[Problem] = []
    for where, row in tqdm(_each(path), unit="clip", desc="check", disable=None):
        if isinstance(row, Problem):
            problems.append(row)
            continue
        if row.id in seen:
            problems.append(Problem(row.id, f"id appears again in {where}"))
        seen.add(row.id)
        problems += check_sample(row, files, notes)
    return problems


def _each(path: str | os.PathLike) -> Iterator[tuple[str, Sample | Problem]]:
    """(where, row) of a data set, one after the other: a sample, or why the row cannot be read."""
    if lies_in(path):
        rows = rows_of(path)
        for n in range(len(rows)):
            where = rows.store.where(n)
            try:
                yield where, rows[n]
            except InputError as error:
                yield where, Problem(Path(where).name, str(error).removeprefix(f"{where}: "))
        return
    file = rows_file(path)
    version = rows_version(file)
    for n, line in numbered(file):
        where = f"{file.name}:{n}"
        try:
            yield f"line {n}", read_row(line, version, str(file.parent), where)
        except InputError as error:
            yield f"line {n}", Problem(where, str(error).removeprefix(f"{where}: "))


def readable(path: str | os.PathLike) -> tuple[Sequence[Sample], list[Problem]]:
    """The good rows of a data set (without opening its files), and what is wrong with the others."""
    problems = [problem for problem in check(path, files=False) if not problem.doubt]
    bad = {problem.where for problem in problems}
    if lies_in(path):
        rows = rows_of(path)
        places = [n for n in range(len(rows)) if not {rows.store.id(n), Path(rows.store.where(n)).name} & bad]
        return Rows(rows.store, np.array(places, np.int64)), problems
    good = (row for _, row in _each(path))
    return [row for row in good if isinstance(row, Sample) and row.id not in bad], problems


def load_checked(path: str | os.PathLike, drop: bool = False) -> Sequence[Sample]:
    """Load a data set, refusing bad rows (without opening its files); rows of shards are refused where they
    are read. With `drop` they are left out and named on stderr."""
    if not drop:
        samples = load(path)
        if isinstance(samples, Rows):
            return Rows(samples.store, samples.numbers, checked=True)
        for sample in samples:
            if found := sample.problems():
                raise InputError(
                    f"{path}: {sample.id}: {found[0]} (`tvad data check {path}` lists all; drop_bad_rows"
                    " leaves them out)"
                )
        return samples
    samples, problems = readable(path)
    for problem in problems:
        note(f"dropped {problem}")
    return samples
