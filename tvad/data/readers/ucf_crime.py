"""Reader of UCF-Crime (Sultani, Chen and Shah, CVPR 2018) as it is distributed, and of UCA's captions (Yuan
et al., CVPR 2024).

    ROOT/**/Abuse/Abuse001_x264.mp4             Anomaly-Videos-Part-1 … 4, a folder a class
    ROOT/**/Normal_Videos_003_x264.mp4          Training-Normal-Videos-Part-1, Testing_Normal_Videos_Anomaly
    LIST                                        the split: Temporal_Anomaly_Annotation_for_Testing_Videos.txt,
                                                lines of name, class, start, end, start, end in frames, -1 for
                                                none; or Anomaly_Train.txt, lines of CLASS/NAME
    CAPTIONS                                    optional: UCFCrime_Train.json, UCFCrime_Val.json,
                                                UCFCrime_Test.json: {name: {"duration", "timestamps":
                                                [[start, end], …] in seconds, "sentences": […]}}

The same file lies in several folders of the distribution: the first by name is taken, and copies of another
size are refused. Frames count from 0 on, and a span's last frame is taken as anomalous (ours: nothing says).
Captions become the description, a line each: "0.0 to 12.5 s: a man …"; none goes beyond the video.
"""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvad.common.errors import InputError
from tvad.data.build import build, link, spans_of
from tvad.data.captions import Caption, captions_of, within
from tvad.data.captions import told as words_of
from tvad.data.check import Problem, described
from tvad.data.readers.files import below, object_of, only, text_of
from tvad.data.readers.labels import asked, frame_spans
from tvad.data.recipe import file_of, files_of, folder_of
from tvad.data.sample import Sample

NORMAL = "Normal"
ROUNDED = 0.1  # seconds: UCA's times have one digit
CAPTIONS = ("UCFCrime_Train.json", "UCFCrime_Val.json", "UCFCrime_Test.json")
_CLASS = re.compile(r"([A-Za-z]+?)(?:_Videos)?_?\d+")


@dataclass(frozen=True)
class Row:
    """A video of a split. spans: (first, last) frame; None where they are not annotated."""

    name: str
    category: str
    spans: list[tuple[int, int]] | None


def rows_of(path: Path) -> list[Row]:
    """The videos that a list names. Raises InputError that names the line."""
    found: dict[str, Row] = {}
    for n, line in enumerate(text_of(path, lossy=True).splitlines(), 1):
        cells = line.split()
        if not cells:
            continue
        try:
            row = _row(cells)
        except ValueError:
            raise InputError(
                f"{path}:{n}: expected name, class and pairs of frames, or CLASS/NAME, found {line[:60]!r}"
            ) from None
        if row.name in found:
            raise InputError(f"{path}:{n}: {row.name} is there twice")
        found[row.name] = row
    if not found:
        raise InputError(f"{path}: no video in this file")
    return list(found.values())


def _row(cells: list[str]) -> Row:
    name = Path(cells[0]).name
    if not name.endswith(".mp4"):
        raise ValueError
    if len(cells) == 1:
        match = _CLASS.match(name)
        if match is None:
            raise ValueError
        category = match.group(1)
        return Row(name.removesuffix(".mp4"), category, [] if category == NORMAL else None)
    numbers = [int(cell) for cell in cells[2:]]
    if len(numbers) % 2 or not numbers:
        raise ValueError
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    if any((first < 0) != (last < 0) or first > last for first, last in pairs):
        raise ValueError
    spans = [pair for pair in pairs if pair[0] >= 0]
    if (cells[1] == NORMAL) == bool(spans):
        raise ValueError
    return Row(name.removesuffix(".mp4"), cells[1], spans)


def read_captions(folder: Path) -> dict[str, str]:
    """Video -> its captions in lines; a sentence without words is left out, and said. Raises InputError that
    names file and video, also where two files tell otherwise of one."""
    found: dict[str, str] = {}
    there = [folder / name for name in CAPTIONS if (folder / name).is_file()]
    if not there:
        raise InputError(f"{folder}: none of {', '.join(CAPTIONS)}")
    for path in there:
        for name, row in object_of(path).items():
            try:
                lines = list(_lines(row))
            except (KeyError, TypeError, ValueError, OverflowError):
                raise InputError(
                    f"{path}: {name[:60]}: expected as many timestamps, pairs of seconds, as sentences"
                ) from None
            for number, line in enumerate(lines, 1):
                if line is None:
                    print(f"captions: {name[:60]}: sentence {number} is empty and left out", file=sys.stderr)
            told = "\n".join(line for line in lines if line is not None)
            if found.setdefault(name, told) != told:
                raise InputError(f"{path}: {name[:60]}: another file tells otherwise of it")
    return found


def _lines(row: dict[str, Any]) -> Iterator[str | None]:
    """A caption a sentence; None for one without words."""
    for (start, end), sentence in zip(row["timestamps"], row["sentences"], strict=True):
        if not (isinstance(sentence, str) and 0 <= float(start) <= float(end) < float("inf")):
            raise ValueError
        words = " ".join(sentence.split())
        yield str(Caption(float(start), float(end), words)) if words else None


def _cut(told: str, end: float, name: str) -> str | None:
    """Captions of a video that ends then: what is said of later seconds is cut or left out, and said."""
    given = captions_of(told)
    kept = within(given, 0.0, end)
    if lost := len(given) - len(kept):
        print(
            f"captions: {name}: {lost} begin after the video's {end:.1f} s and are left out", file=sys.stderr
        )
    if cut := sum(c.start < end and c.end > end + ROUNDED for c in given):
        print(f"captions: {name}: {cut} end after the video's {end:.1f} s and are cut", file=sys.stderr)
    return words_of(kept)


def make_sample(row: Row, source: Path, split: str, captions: dict[str, str], out: Path) -> Sample:
    """One video. Raises InputError that names the file."""
    shown, clock = described(source, f"videos/{source.name}")
    link(source, out / shown.path)
    spans = None
    if row.spans is not None:
        spans = spans_of(frame_spans(row.spans, len(clock), row.name), clock)
    classes = () if row.category == NORMAL else (row.category,)
    return Sample(
        id=row.name,
        source="ucf_crime",
        split=split,
        video=shown,
        label="anomalous" if classes else "normal",
        categories=classes,
        spans=spans,
        description=_cut(captions.get(row.name, ""), clock.end, row.name),
        questions=asked(bool(classes), spans, classes),
    )


def read(
    root: str | os.PathLike,
    listed: str | os.PathLike,
    split: str,
    out: str | os.PathLike,
    captions: str | os.PathLike | None = None,
) -> tuple[Sequence[Sample], list[Problem]]:
    """The videos of a list as a data set folder `out`: the samples, and the refused videos with their
    reasons."""
    files = below(root)
    rows = {row.name: row for row in rows_of(Path(listed))}
    words = read_captions(Path(captions)) if captions is not None else {}

    def make(name: str, folder: Path) -> list[Sample]:
        if name not in files:
            raise InputError(f"{name}.mp4: listed, but not below {root}")
        return [make_sample(rows[name], only(files, name), split, words, folder)]

    if captions is not None:
        _say_unmatched(sorted(set(words) - set(rows)), len(words), "captions name no video of the list")
        _say_unmatched(sorted(set(rows) - set(words)), len(rows), "videos of the list have no captions")
    told = None if captions is None else files_of(*(Path(captions, name) for name in CAPTIONS))
    options = {"root": folder_of(root), "listed": file_of(listed), "captions": told}
    return build(out, rows, make, f"ucf-crime {split}", options)


def _say_unmatched(names: list[str], count: int, what: str) -> None:
    """UCA's files are of all splits, so that these are no fault; a wrong folder or name shows in them."""
    if names:
        print(f"captions: {len(names)} of {count} {what}, the first {names[0]}", file=sys.stderr)
