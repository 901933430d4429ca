"""Reader of ECVA (Du et al., arXiv 2412.07183) as it is distributed.

    ROOT/Video_Annotation.xlsx      or the same saved as .csv; a row a video, columns video_id, A1
                                    Classification, A2 - reason, A2 - result, A3,moment, A3 - description,
                                    A4 - key sentences
    ROOT/**/1.mp4                   videos by their numbers

A moment is "[0005,0011]", minutes and seconds (of 59 at most), and several stand one after the other; an end
in whole seconds that is up to a second behind the video's is cut to it. All videos are anomalous. Heads of
columns differ in their first letter and in what follows the word: "X2 -  result （…）" is A2 - result. Reason
and result become the rationale.

Sources: github.com/Dulpy/ECVA (AnomEval/evaluating_system_v2, whose annotations.xlsx has these columns), and
programs that read the distributed table.
"""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tvad.answer import Span
from tvad.common.errors import InputError
from tvad.data.build import build, link
from tvad.data.check import Problem, described
from tvad.data.faults import cut
from tvad.data.readers.files import below, only
from tvad.data.readers.labels import asked
from tvad.data.recipe import files_of, folder_of
from tvad.data.sample import Sample

TABLE = "Video_Annotation"
FIELDS = ("classification", "reason", "result", "moment", "description")
_HEAD = re.compile(r"[A-Z]\d\s*[-,–]?\s*([a-z]+)", re.IGNORECASE)
_MOMENT = re.compile(r"\[\s*(\d{1,5})\s*[,，]\s*(\d{1,5})\s*\]")
Row = dict[str, str]


def read_table(root: Path) -> dict[str, Row | str]:
    """Video -> its fields, or why its row cannot be used. Raises InputError where there is no table, or none
    with these columns."""
    files = [path for suffix in ("xlsx", "csv") if (path := root / f"{TABLE}.{suffix}").is_file()]
    if len(files) != 1:
        raise InputError(f"{root}: expected {TABLE}.xlsx or {TABLE}.csv, found {len(files)} of them")
    rows = _sheet(files[0]) if files[0].suffix == ".xlsx" else _csv(files[0])
    try:
        head = next(rows, [])
        named = {_field(name): n for n, name in reversed([*enumerate(head)])}
        if missing := [field for field in ("video_id", *FIELDS) if field not in named]:
            raise InputError(f"{files[0]}: no column {missing[0]!r} among {', '.join(head)[:200]}")
        found: dict[str, Row | str] = {}
        for n, cells in enumerate(rows, 2):
            row = {field: cells[at].strip() if at < len(cells) else "" for field, at in named.items()}
            if not (name := row["video_id"].removesuffix(".mp4").removesuffix(".0")):
                if any(row.values()):
                    found[f"{files[0].name}:{n}"] = "no video_id"
                continue
            if name in found:
                found[name] = "its row is there twice"
            elif len(cells) != len(head):  # a comma that is not quoted moves all that follows it
                found[name] = f"its row has {len(cells)} fields, the head {len(head)}"
            else:
                found[name] = row
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{files[0]}: not a UTF-8 CSV file ({error})") from error
    if not found:
        raise InputError(f"{files[0]}: no video in this table")
    return found


def _field(head: str) -> str:
    match = _HEAD.match(head.strip())
    return match.group(1).lower() if match else head.strip().lower()


def _csv(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        yield from csv.reader(lines)


def _sheet(path: Path) -> Iterator[list[str]]:
    """The first sheet's rows as texts. Raises InputError for a damaged file, and without openpyxl."""
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise InputError(
            f"{path}: openpyxl reads it (`pip install tvad[xlsx]`); or save the sheet as {TABLE}.csv"
        ) from error
    try:
        book = load_workbook(path, read_only=True, data_only=True)
        rows: list[Any] = [[*row] for row in book.worksheets[0].iter_rows(values_only=True)]
        book.close()
    except Exception as error:  # whatever a damaged file makes of the reader
        raise InputError(f"{path}: not an Excel file ({str(error)[:80]})") from error
    widest = max((len(row) for row in rows), default=0)  # empty cells at a row's end may not be stored
    for row in rows:
        yield ["" if cell is None else str(cell) for cell in (*row, *[None] * (widest - len(row)))]


def spans_of(moment: str) -> tuple[Span, ...] | None:
    """The spans of a cell in seconds, in order; None where it is empty or -1. Raises InputError for another
    form, and for one that ends before it begins."""
    if moment in ("", "-1", "nan", "[]"):
        return None
    if _MOMENT.sub("", moment).strip(" ,，;、\n[]"):
        raise InputError(f"moment is {moment[:60]!r}, expected [minutes and seconds, …] such as [0005,0011]")
    spans = sorted((_seconds(a), _seconds(b)) for a, b in _MOMENT.findall(moment))
    for start, end in spans:
        if start >= end:
            raise InputError(f"moment {moment[:60]!r} ends at {end:g} s, before it begins at {start:g} s")
    return tuple(spans)


def _seconds(digits: str) -> float:
    """The last two digits are seconds, those before them minutes. Raises InputError for more than 59 seconds:
    nobody knows whether 0075 is 75 s or a slip."""
    if int(digits[-2:]) > 59:
        raise InputError(f"moment {digits} has {digits[-2:]} seconds after its minutes, expected 59 at most")
    return int(digits[:-2] or "0") * 60.0 + int(digits[-2:])


def make_sample(name: str, row: Row, source: Path, split: str, out: Path) -> Sample:
    """One video. Raises InputError with the reason."""
    spans = spans_of(row["moment"])
    shown, _ = described(source, f"videos/{source.name}")
    if spans is not None:
        spans = tuple((start, cut(start, end, shown.duration or 0.0)) for start, end in spans)
    link(source, out / shown.path)
    classes = (row["classification"],) if row["classification"] else ()
    return Sample(
        id=name,
        source="ecva",
        split=split,
        video=shown,
        label="anomalous",
        categories=classes,
        spans=spans,
        description=row["description"] or None,
        rationale="\n".join(filter(None, (row["reason"], row["result"]))) or None,
        questions=asked(True, spans, classes),
    )


def read(
    root: str | os.PathLike, split: str, out: str | os.PathLike
) -> tuple[Sequence[Sample], list[Problem]]:
    """The videos of the table as a data set folder `out`: the samples, and the refused rows with their
    reasons."""
    base = Path(root)
    table, files = read_table(base), below(base)

    def make(name: str, folder: Path) -> list[Sample]:
        if isinstance(row := table[name], str):
            raise InputError(row)
        return [make_sample(name, row, only(files, name), split, folder)]

    told = files_of(*(base / f"{TABLE}.{suffix}" for suffix in ("xlsx", "csv")))
    options = {"root": folder_of(base), "split": split, "table": told}
    found, problems = build(out, table, make, "ecva", options)
    missing = sorted(set(files) - set(table))
    return found, problems + [Problem(name, f"a video without a row in {TABLE}") for name in missing]
