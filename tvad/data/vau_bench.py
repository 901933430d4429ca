"""Reader of VAU-Bench's annotation files (VAU-R1, arXiv 2505.23504), over the videos of MSAD, UCF-Crime and
ECVA, which are downloaded apart: in and below one folder, as these distribute them. Rows of val.csv name a
video with its data set before it (msad_Assault_1.mp4, ucf_Abuse016_x264.mp4, ecva_17.mp4), which its file has
not; others name the file.

Quirks of the published files: a field that holds -1, nothing or nan (as pandas writes) is missing; start =
end = 0 marks a normal video and a negative time an unknown one; `Correct Option` is a letter or a letter with
the option's text; `Reasoning` is a Python dict literal or Markdown headings. Annotated times are rounded: an
end up to a second after the video's is cut to it.
"""

import ast
import csv
import math
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tvad.answer import NONE
from tvad.common.errors import InputError
from tvad.data.build import build, link
from tvad.data.check import Problem, described
from tvad.data.faults import cut
from tvad.data.questions import ASKED, LETTERS, VAU_BENCH
from tvad.data.readers.files import below, check_head, only
from tvad.data.recipe import file_of, folder_of
from tvad.data.sample import Question, Sample, Video

COLUMNS = (
    "Video Name",
    "Question",
    "Option 1",
    "Option 2",
    "Option 3",
    "Option 4",
    "Correct Option",
    "Key Object",
    "Description",
    "Reasoning",
    "Anomaly Class",
    "Start Time",
    "End Time",
)
SECTIONS = (
    "Specific Anomaly Type",
    "Location",
    "Key Evidence",
    "Detailed Explanation",
    "Cause and Effect",
    "Conclusion",
)
_MARK = re.compile(r"([A-D])(?:[.):]\s*|$)")  # a letter before an option, or alone
_PREFIX = re.compile("^(msad|ucf|ecva)_")
_HEADING = re.compile(r"#{1,6}\s*+(?:\*++\s*+)?(" + "|".join(SECTIONS) + r")\s*+\**+\s*+:?", re.IGNORECASE)


def _text(value: str | None) -> str | None:
    value = (value or "").strip()
    return None if value.lower() in ("", "-1", "-1.0", "nan") else value


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".")


def _letter(cell: str, options: list[str]) -> str:
    """Letter of the right option from "B", "B. text" or the text itself. Where every option begins with a
    letter of its own, these are no part of the texts. Raises ValueError where letter and text are not of one
    option."""
    cell = cell.strip()
    marks = [mark for option in options if (mark := _MARK.match(option.strip()))]
    texts, own = options, [*LETTERS[: len(options)]]
    if len(marks) == len(options):
        texts = [mark.string[mark.end() :] for mark in marks]
        own = [mark.group(1) for mark in marks]
    named = [i for i, option in enumerate(options) if _plain(option) == _plain(cell)]
    match = _MARK.match(cell)
    text = cell[match.end() :] if match else cell
    if match and not (text and len(named) == 1):
        named = [
            i
            for i, letter in enumerate(LETTERS[: len(options)])
            if letter == match.group(1) and (not text or _plain(texts[i]) == _plain(text))
        ]
        # Options in an order of their own have two letters each: only a whole text tells which is meant.
        named = named if own == [*LETTERS[: len(options)]] else []
    if len(named) != 1:
        raise ValueError(f"Correct Option {cell[:60]!r} names no option, or more than one")
    return LETTERS[named[0]]


def reasoning_sections(text: str) -> dict[str, str]:
    """The sections of a rationale, whether a dict literal or Markdown. Empty where it is neither. Never
    evaluates anything."""
    text = text.strip()
    if text.startswith("{") and len(text) < 100_000:
        try:
            data = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return {}
        if isinstance(data, dict):
            return {
                str(k): ", ".join(map(str, v)) if isinstance(v, list) else str(v) for k, v in data.items()
            }
        return {}
    marks = list(_HEADING.finditer(text))
    ends = [m.start() for m in marks[1:]] + [len(text)] * bool(marks)
    names = {s.lower(): s for s in SECTIONS}
    return {
        names[m.group(1).lower()]: text[m.end() : end].strip(" \n:*")
        for m, end in zip(marks, ends, strict=True)
    }


def _seconds(row: dict, column: str) -> float | None:
    """None where it is missing. Raises ValueError for what is no finite number."""
    cell = row[column]
    if _text(cell) is None:
        return None
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{column} is {cell!r}, expected seconds")
    return None if value < 0 else value


def read_row(row: dict, split: str, root: str = "") -> Sample:
    """One row -> Sample. Raises ValueError with the reason where the row cannot be used."""
    name = _text(row["Video Name"])
    if name is None:
        raise ValueError("Video Name is missing")
    if "/" in name or "\\" in name or name.startswith("."):
        raise ValueError(f"Video Name {name!r} is not a plain file name")
    stem = name.removesuffix(".mp4")
    prefix = {"msad": "MSAD", "ucf": "UCF-Crime", "ecva": "ECVA"}.get(stem.split("_")[0].lower())
    start, end = _seconds(row, "Start Time"), _seconds(row, "End Time")
    category = _text(row["Anomaly Class"])
    spans: tuple[tuple[float, float], ...] | None
    if start is None or end is None:
        # What is anomalous at an unknown time is anomalous; without a class, too, nothing is known of it.
        spans, normal = None, None if category is None else category.lower() == "normal"
    else:
        normal = start == end == 0
        if category is not None and (category.lower() == "normal") != normal:
            raise ValueError(f"Anomaly Class {category!r} contradicts times {start:g}, {end:g}")
        if not normal and start >= end:
            raise ValueError(f"Start Time {start:g} is not before End Time {end:g}")
        spans = () if normal else ((start, end),)
    if normal:
        spans = ()
    rationale = _text(row["Reasoning"])
    questions = []
    options = [_text(row[f"Option {i}"]) for i in range(1, 5)]
    if (question := _text(row["Question"])) is not None and (
        correct := _text(row["Correct Option"])
    ) is not None:
        given = [option for option in options if option is not None]
        if len(given) != 4:
            raise ValueError(f"{4 - len(given)} of four options are missing")
        questions.append(Question("mcq", question, _letter(correct, given), tuple(given), "event", rationale))
    if spans is not None:
        questions.append(
            Question(
                "temporal",
                VAU_BENCH["temporal"],
                "Normal" if normal else "Anomaly",
                None,
                "when",
                rationale,
                spans or NONE,
            )
        )
    if normal or category is not None:
        named = "Normal" if normal else str(category)
        questions.append(
            Question(
                "classification",
                VAU_BENCH["classification"],
                named,
                None,
                "class",
                rationale,
            )
        )
    if normal is not None:
        answer = "No" if normal else "Yes"
        questions.append(Question("judgement", ASKED["judgement"], answer, None, "judgement", rationale))
    return Sample(
        id=stem,
        source=f"vau-bench/{prefix}" if prefix else "vau-bench",
        split=split,
        video=Video(f"videos/{stem}.mp4"),
        label=None if normal is None else "normal" if normal else "anomalous",
        categories=("Normal",) if normal else (category,) if category else (),
        spans=spans,
        questions=tuple(questions),
        description=_text(row["Description"]),
        rationale=rationale,
        key_object=_text(row["Key Object"]),
        root=root,
    )


def with_file(sample: Sample, path: Path) -> Sample:
    """The sample with what its video file `path` is; an end that was rounded to after the file's is cut.
    Raises InputError that names the sample for a file that cannot be read and for times that it has not."""
    try:
        found, _ = described(path, sample.video.path)
    except InputError as error:
        raise InputError(f"{sample.id}: {error}") from error
    whole, duration = replace(sample, video=found), found.duration or 0.0
    if sample.spans:
        ((start, end),) = sample.spans
        if (new := cut(start, end, duration)) != end:
            spans = ((start, new),)
            asked = (replace(q, spans=spans) if q.spans == sample.spans else q for q in sample.questions)
            whole = replace(whole, spans=spans, questions=tuple(asked))
    if wrong := whole.problems():
        raise InputError(f"{sample.id}: {wrong[0]}")
    return whole


def is_table(source: str) -> bool:
    """Whether data is a VAU-Bench CSV; a folder may be called so too."""
    return source.endswith(".csv") and not Path(source).is_dir()


def read_csv(
    path: str | os.PathLike, split: str = "test", root: str = ""
) -> tuple[list[Sample], list[Problem]]:
    """All rows of an annotation file: samples, and the refused rows with their reasons. Raises InputError for
    a missing column or a file that is no UTF-8 CSV."""
    path = Path(path)
    samples: list[Sample] = []
    problems: list[Problem] = []
    seen: set[str] = set()
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            check_head(path, reader.fieldnames, COLUMNS)
            for number, row in enumerate(reader, 2):
                where = f"{path.name} row {number}"
                try:
                    if None in row or None in row.values():
                        raise ValueError(
                            f"has {'more' if None in row else 'fewer'} than {len(COLUMNS)} fields"
                        )
                    sample = read_row(row, split, root)
                    if sample.id in seen:
                        raise ValueError(f"Video Name {sample.id!r} appears again")
                    if found := sample.problems():
                        raise ValueError(found[0])
                except ValueError as error:
                    problems.append(Problem(where, str(error)))
                    continue
                seen.add(sample.id)
                samples.append(sample)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a UTF-8 CSV file ({error})") from error
    return samples, problems


def read(
    path: str | os.PathLike, split: str, out: str | os.PathLike, videos: str | os.PathLike | None
) -> tuple[Sequence[Sample], list[Problem], list[str]]:
    """An annotation file as a data set folder `out`, with the videos in and below a folder linked in, or
    without any: the samples, the refused rows with their reasons, and which ends were cut. A killed run
    continues. Raises InputError where no row can be used."""
    samples, problems = read_csv(path, split)
    if not samples:
        first = f"; the first: {problems[0]}" if problems else ""
        raise InputError(f"{path}: no row could be used{first}")
    rows = {sample.id: sample for sample in samples}
    lost: list[str] = []
    files = below(videos) if videos is not None else None

    def make(name: str, folder: Path) -> list[Sample]:
        if files is None:
            return [rows[name]]
        plain = name if name in files else _PREFIX.sub("", name)
        try:
            whole = with_file(rows[name], source := only(files, plain))
        except InputError as error:
            reason = str(error).removeprefix(f"{name}: ")
            lost.append(f"refused {name}: {reason}")
            raise InputError(reason) from error
        link(source, folder / whole.video.path)
        return [whole]

    try:
        options = {"table": file_of(path), "split": split, "videos": folder_of(videos)}
        found, refused = build(out, rows, make, "vau-bench", options)
    except InputError:
        if len(lost) == len(rows):  # the error names the first alone
            print(*map(str, problems), *lost, sep="\n", file=sys.stderr)
        raise
    cuts = [  # of what a killed run has made, too
        f"{sample.id}: end {stated[0][1]:g} s to {sample.spans[0][1]:g} s"
        for sample in found
        if sample.spans and sample.spans != (stated := rows[sample.id].spans or ())
    ]
    return found, problems + refused, cuts
