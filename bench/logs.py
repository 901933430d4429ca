"""Answers in the logs of other tools, as rows of predictions for `bench score`.

A line belongs to the question that it names: by our id where the log was made from our export, else by its
video and, where the video is asked more than once, by the question's words. Options in another order, another
question, a video that is not asked: the line is left out with its reason, never counted for a neighbour.
"""

import ast
import csv
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from bench.suite import Item
from bench.tasks import TASKS
from tvad.answer.letters import same_text
from tvad.common.errors import InputError
from tvad.common.files import parse_json
from tvad.data.check import Problem

ZSTANDARD = 93  # a zip's method
UNPACKING = (struct.error, zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error)
MOST = 256 << 20  # bytes of a log that is read as a whole
MOST_SAMPLE = 16 << 20  # … of one sample in an archive, unpacked
MOST_LINE = 4 << 20  # … of a line
NAMES = ("video", "Video Name", "video_name", "video_path", "video_id", "videoID", "vid", "path", "file_name")
QUESTIONS = ("question", "Question", "query", "problem")
OPTIONS = ("options", "candidates", "choices")
COLUMNS = tuple("ABCDEFGHIJ")
FAILED = "Failed to obtain answer via API"  # VLMEvalKit's `fail_msg`, in place of an answer
# LongVideoBench's and NExT-QA's columns in lmms-eval, and their like.
NUMBERED = [
    tuple(f"{stem}{n}" for n in range(start, start + 10))
    for stem in ("option", "option_", "a", "choice", "choice_", "candidate")
    for start in (0, 1)
]
# VAU-R1's inference scripts write one file a task, named by its column.
VAU_R1 = {
    "QA answer": "mcq",
    "CLS answer": "classification",
    "Temporal Grounding": "temporal",
    "Analysis": "rationale",
}


@dataclass(frozen=True)
class Row:
    """An answer in a log. number: of its line or sample; id: ours, where the log has it."""

    number: int
    response: str | None
    id: str | None = None
    video: str | None = None
    question: str | None = None
    options: tuple[str, ...] | None = None


def _text(row: dict, names: Iterable[str]) -> str | None:
    return next((row[n] for n in names if isinstance(row.get(n), str) and row[n].strip()), None)


def _inner(row: dict, key: str) -> dict:
    found = row.get(key)
    return found if isinstance(found, dict) else {}


def _options(row: dict) -> tuple[str, ...] | None:
    """From a list, a list as text (JSON's or Python's), or columns A, B, …; None where there are none, ()
    where they cannot be read."""
    for name in OPTIONS:
        found = row.get(name)
        if isinstance(found, str) and found.lstrip().startswith("["):
            try:
                found = ast.literal_eval(found.strip()) if len(found) < 100_000 else ()
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                found = ()
        if isinstance(found, (list, tuple)):
            return tuple(found) if all(isinstance(option, str) for option in found) else ()
        if found is not None and found != "":
            return ()
    for columns in (COLUMNS, *NUMBERED):
        told = [row.get(name) for name in columns]
        given = [o for o in told if isinstance(o, str) and o.strip() and o != "nan"]
        if len(given) > 1:
            return tuple(given)
    # Others that are numbered may hold them, in whatever order.
    texts = [name for name, value in row.items() if isinstance(name, str) and isinstance(value, str)]
    stems = [name.rstrip("0123456789") for name in texts if name[-1:].isdecimal()]
    return () if len(stems) > len({*stems}) else None


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST:
            raise InputError(f"{path}: more than {MOST >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def bounded_lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Lines; None for one of more than MOST_LINE bytes, which is passed over without being held."""
    while line := file.readline(MOST_LINE + 1):
        if len(line) <= MOST_LINE:
            yield line
            continue
        while not line.endswith(b"\n") and (line := file.readline(MOST_LINE)):
            pass
        yield None


def _objects(path: Path, problems: list[Problem]) -> Iterator[tuple[int, dict]]:
    """Numbered objects of a file of JSON lines; what is none goes to `problems`."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    with file:
        for n, line in enumerate(bounded_lines(file), 1):
            if line is not None and not line.strip():
                continue
            try:
                if line is None:
                    raise ValueError(f"more than {MOST_LINE} bytes")
                row = parse_json(line)
                if not isinstance(row, dict):
                    raise ValueError("not an object")
            except (ValueError, RecursionError) as error:
                problems.append(Problem(f"{path}:{n}", f"not a JSON object ({error})"))
            else:
                yield n, row


def _table(path: Path) -> Iterator[tuple[int, dict]]:
    """Numbered rows of a CSV, TSV, JSON or Excel file with a header."""
    if path.suffix == ".json":
        try:
            rows = parse_json(_read(path))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: not JSON ({error})") from error
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InputError(f"{path}: expected a list of objects")
    elif path.suffix in (".xlsx", ".xls"):
        try:
            import pandas

            rows = pandas.read_excel(io.BytesIO(_read(path)), dtype=str).to_dict("records")
        except ImportError as error:
            raise InputError(f"{path}: Excel files need openpyxl; or save it as .tsv") from error
        except (ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: not an Excel file ({error})") from error
    else:
        try:
            text = _read(path).decode("utf-8-sig")
            rows = list(
                csv.DictReader(
                    io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ","
                )
            )
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path}: not a UTF-8 table ({error})") from error
    yield from enumerate(rows, 2)


def _lmms_eval(path: Path, problems: list[Problem]) -> Iterator[Row]:
    """samples_*.jsonl: "doc" is the data set's row without its media, which the command of 0.7.2 leaves out;
    the answer stands in filtered_resps or in resps, by version."""
    for n, row in _objects(path, problems):
        doc, said, several = _inner(row, "doc"), None, 1
        for key in ("filtered_resps", "resps", "response"):
            value, several = row.get(key), 1
            while isinstance(value, list) and value:
                several, value = max(several, len(value)), value[0]
            if isinstance(value, str):
                said = value
                break
        if several > 1:
            problems.append(Problem(f"{path}:{n}", f"{several} answers: the first one counts"))
        asked = _text(doc, QUESTIONS) or _text(row, ("input",))
        name = _text(doc, ("tvad_id",)) or _text(row, ("tvad_id",))
        yield Row(n, said, name, _text(doc, NAMES), asked, _options(doc))


def _vlmevalkit(path: Path, problems: list[Problem]) -> Iterator[Row]:
    """Tables of predictions: a row a question, its answer in "prediction"."""
    for n, row in _objects(path, problems) if path.suffix == ".jsonl" else _table(path):
        said = row.get("prediction")
        yield Row(
            n,
            said if isinstance(said, str) and FAILED not in said else None,
            _text(row, ("tvad_id",)),
            _text(row, NAMES),
            _text(row, QUESTIONS),
            _options(row),
        )


def _vau_r1(path: Path, problems: list[Problem]) -> Iterator[Row]:
    """Result files of VAU-R1's scripts: "Video Name", the answer's column. Their analysis is a rationale and
    nothing else, so it gets the marks that say so."""
    for n, row in _table(path):
        column = next((c for c in VAU_R1 if isinstance(row.get(c), str)), None)
        said = row[column] if column else None
        if column == "Analysis":
            said = f"<think>{said}</think>"
        yield Row(n, said, video=_text(row, ("Video Name",)))


def _inspect(path: Path, problems: list[Problem]) -> Iterator[Row]:
    """Inspect's logs: one JSON object, or the archive .eval with a file a sample; numbered by sample."""
    for n, sample in enumerate(_inspect_samples(path), 1):
        if not isinstance(sample, dict):
            problems.append(Problem(f"{path}:{n}", "not an object"))
            continue
        if sample.get("epoch", 1) != 1:
            problems.append(
                Problem(f"{path}:{n}", f"epoch {sample['epoch']!r}: the first one's answer counts")
            )
            continue
        more, said = _inner(sample, "metadata"), _inner(sample, "output").get("completion")
        given = sample.get("input")
        if isinstance(given, list):
            parts = [m.get("content") for m in given if isinstance(m, dict) and m.get("role") == "user"]
            texts = [
                p.get("text") for part in parts if isinstance(part, list) for p in part if isinstance(p, dict)
            ]
            given = "\n".join(t for t in [*parts, *texts] if isinstance(t, str))
        name = sample.get("id")
        yield Row(
            n,
            said if isinstance(said, str) else None,
            name if isinstance(name, str) else None,
            _text(more, NAMES),
            given if isinstance(given, str) and given else None,
            _options(sample),
        )


def _unpacked(packed: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """At most MOST_SAMPLE bytes, whatever the archive says of them. Inspect packs with Zstandard, which
    zipfile knows from Python 3.14 on. Raises ValueError for more."""
    if entry.compress_type != ZSTANDARD:
        with packed.open(entry) as plain:
            found = plain.read(MOST_SAMPLE + 1)
    else:
        import pyarrow

        file = cast(BinaryIO, packed.fp)
        file.seek(entry.header_offset)
        name, extra = struct.unpack("<26x2H", file.read(30))  # lengths at the end of a file's own header
        file.seek(name + extra, io.SEEK_CUR)
        raw = io.BytesIO(file.read(min(entry.compress_size, MOST_SAMPLE)))
        with pyarrow.CompressedInputStream(raw, "zstd") as stream:
            found = stream.read(MOST_SAMPLE + 1)
    if len(found) > MOST_SAMPLE:
        raise ValueError(f"{entry.filename[:80]}: more than {MOST_SAMPLE >> 20} MiB")
    return found


def _inspect_samples(path: Path) -> Iterator[Any]:
    try:
        if not zipfile.is_zipfile(path):
            log = parse_json(_read(path))
            yield from (log.get("samples") or []) if isinstance(log, dict) else []
            return
        with zipfile.ZipFile(path) as packed:
            for entry in packed.infolist():
                if entry.filename.startswith("samples/") and entry.filename.endswith(".json"):
                    yield parse_json(_unpacked(packed, entry))
    except (OSError, ValueError, RecursionError, *UNPACKING) as error:
        raise InputError(f"{path}: not an Inspect log ({error})") from error


Reader = Callable[[Path, list[Problem]], Iterator[Row]]
FORMATS: dict[str, Reader] = {
    "lmms-eval": _lmms_eval,
    "vlmevalkit": _vlmevalkit,
    "inspect": _inspect,
    "vau-r1": _vau_r1,
}


def task_of(log: str | Path, form: str, task: str | None) -> str:
    """The task that a log answers: as told, or by VAU-R1's column. Raises InputError where neither says."""
    if form not in FORMATS:
        raise InputError(f"unknown format {form!r}; known: {', '.join(FORMATS)}")
    if form == "vau-r1":
        _, first = next(_table(Path(log)), (0, {}))
        told = next((VAU_R1[name] for name in VAU_R1 if name in first), None)
        if told is None:
            raise InputError(f"{log}: no column of {', '.join(VAU_R1)}")
        if task not in (None, told):
            raise InputError(f"{log}: answers {told} by its column, not {task}")
        task = told
    if task not in TASKS:
        raise InputError(f"--task: {task!r} is none of {', '.join(TASKS)}")
    return task


def _words(text: str) -> str:
    return " ".join(text.split()).casefold()


def _stem(name: str) -> str:
    """A video's name without folder and ending; dots inside stay."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    stem, dot, ending = last.rpartition(".")
    return stem if dot and ending.isalnum() and len(ending) <= 4 and not ending.isdigit() else last


def _parts(name: str) -> list[str]:
    """A name's folders from the inside out."""
    return name.replace("\\", "/").split("/")[-2::-1]


def _may_be(item: Item, name: str) -> bool:
    """Whether a log's name may be that video's, both without ending. A video that is called by more than its
    file's name (normal_01 of normal/01.mp4) is told from others by its folders, as far as both sides say."""
    own = item.sample.video.path
    if item.sample.id == _stem(own):
        return True
    return all(a == b for a, b in zip(_parts(name), _parts(own), strict=False))


class _Asked:
    """The questions of a task, by id and by video."""

    def __init__(self, items: list[Item]):
        self.items = {item.id: item for item in items}
        self.of_video: dict[str, list[Item]] = {}
        for item in items:
            for name in {item.sample.id, _stem(item.sample.video.path)}:
                self.of_video.setdefault(name, []).append(item)

    def found(self, row: Row) -> Item:
        """The question of a row. Raises ValueError with the reason where it is none or more than one."""
        if row.id is not None and row.id in self.items:
            candidates = [self.items[row.id]]
        elif row.video is None and row.id is None:
            raise ValueError("names no video, and is no question that `bench handout` has written")
        else:
            name = row.video if row.video is not None else str(row.id)
            candidates = self.of_video.get(name) or [
                item for item in self.of_video.get(_stem(name), []) if _may_be(item, name)
            ]
            if not candidates:
                raise ValueError(f"{name[:80]!r} is no video of this suite's task")
            if len(of := {item.sample.id for item in candidates}) > 1:
                raise ValueError(f"{name[:80]!r} may be {' or '.join(sorted(of)[:3])}")
        if row.question is not None:
            candidates = _by_words(row.question, candidates)
            if not candidates:
                raise ValueError(f"its question {row.question[:80]!r} is not asked of that video")
        if row.options == () and any(item.question.options for item in candidates):
            raise ValueError("its options cannot be read, so neither can their order")
        if row.options is not None and any(item.question.options for item in candidates):
            candidates = [item for item in candidates if _same_options(row.options, item.question.options)]
            if not candidates:
                raise ValueError("its options are others, or in another order")
        if len(candidates) > 1:
            raise ValueError(
                f"{len(candidates)} questions are asked of that video, and it does not say which"
            )
        return candidates[0]


def _by_words(said: str, items: list[Item]) -> list[Item]:
    """Items whose question is what was asked, or else stands in it, the longest of those."""
    said = _words(said)
    texts = {item.id: _words(item.question.text) for item in items}
    inside = {name: text for name, text in texts.items() if text in said}
    longest = max((len(text) for text in inside.values()), default=0)
    return [item for item in items if len(inside.get(item.id, "")) == longest and item.id in inside]


def _same_options(theirs: tuple[str, ...], ours: tuple[str, ...] | None) -> bool:
    return (
        ours is not None
        and len(theirs) == len(ours)
        and all(
            same_text(_bare(a, n)) == same_text(b) for n, (a, b) in enumerate(zip(theirs, ours, strict=True))
        )
    )


def _bare(option: str, place: int) -> str:
    """An option without the letter that some logs write before it."""
    head, text = option.strip()[:3], option.strip()
    for mark in (f"{COLUMNS[place]}.", f"{COLUMNS[place]})", f"({COLUMNS[place]})"):
        if head.startswith(mark):
            return text[len(mark) :].strip()
    return text


def rows_of(
    log: str | Path, items: list[Item], task: str, form: str, problems: list[Problem]
) -> Iterator[tuple[int, dict]]:
    """Numbered rows of predictions (id, task, response); what belongs to no question goes to `problems`.
    Raises InputError for a log that cannot be read."""
    asked = _Asked([item for item in items if item.task == task])
    for row in FORMATS[form](Path(log), problems):
        try:
            item = asked.found(row)
            if row.response is None:
                raise ValueError("holds no answer")
        except ValueError as error:
            problems.append(Problem(f"{log}:{row.number}", str(error)))
        else:
            yield row.number, {"id": item.id, "task": task, "response": row.response}
