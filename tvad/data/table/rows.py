"""A table's file as rows: CSV by any separator, JSON Lines or a list of objects, Parquet; told by content.

Cells are as they stand in the file: text of a CSV, values of the others. Nothing is evaluated; a file, a row
and a cell have bounds, and an encoding is never guessed in silence.
"""

import codecs
import csv
import decimal
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tvad.common.errors import InputError
from tvad.data.check import Problem

MOST_FILE = 256 << 20  # bytes, unpacked
MOST_ROWS = 1_000_000
MOST_COLUMNS = 1000
SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
NO_TABLES = {
    b"PK\x03\x04": "a workbook or zip file; save the sheet as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an old workbook; save the sheet as CSV UTF-8",
    b"\x1f\x8b": "compressed; unpack it first",
    b"BZh": "compressed; unpack it first",
    b"\xfd7zX": "compressed; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed; unpack it first",
    b"SQLite format 3": "a database; write its table as CSV",
}
SAMPLE = 1 << 18  # characters by which separators are compared
_Known = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Row:
    """`where` names it as the file does; `cells`: column -> value, where there is one."""

    where: str
    cells: dict[str, Any]


@dataclass
class Rows:
    """A table's file. `form`: how it was read, in words; `comma`: decimals are written with a comma (a
    semicolon separates); `refused`: rows that are none; `hint`: where the header may stand else."""

    path: Path
    form: str
    columns: list[str]
    rows: list[Row]
    comma: bool = False
    refused: list[Problem] = field(default_factory=list)
    hint: str = ""


def read_rows(path: str | os.PathLike, known: _Known, encoding: str | None = None) -> Rows:
    """Read a table's file; `known` says whether a column's name is one that somebody awaits, by which
    separators are told apart. Raises InputError for a file that is no table."""
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; expected a CSV, TSV, JSONL or Parquet file")
        if path.stat().st_size > MOST_FILE:
            raise InputError(f"{path}: {path.stat().st_size} bytes, at most {MOST_FILE}")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if data.startswith(b"PAR1"):
        return _parquet(path, data)
    for magic, what in NO_TABLES.items():
        if data.startswith(magic):
            raise InputError(f"{path}: is {what}")
    text, form = _decoded(path, data, encoding)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path}: a zero character in line {line}; expected text")
    if not text.strip():
        raise InputError(f"{path}: is empty")
    if path.suffix.lower() in (".json", ".jsonl", ".ndjson") or re.match(r"\s*(?:\[\s*)?\{", text):
        found = _json(path, text, form)
    else:
        found = _csv(path, text, form, known)
    if not found.rows and not found.refused:
        raise InputError(f"{path}: has no rows")
    return found


def _decoded(path: Path, data: bytes, encoding: str | None) -> tuple[str, str]:
    """(text, name of the encoding). Raises InputError that names the line."""
    name, label = encoding, encoding
    if name is None:
        for bom, codec, known in BOMS:
            if data.startswith(bom):
                name, label = codec, known
                break
        else:
            head = data[:4096]
            zeros = head[1::2].count(0), head[::2].count(0)
            if max(zeros) * 4 > len(head):  # every other byte of Latin letters, the second or the first
                name = "utf-16-le" if zeros[0] > zeros[1] else "utf-16-be"
                label = f"{name.upper()} (by its zero bytes, there is no mark)"
            else:
                name, label = "utf-8", "UTF-8"
    try:
        return data.decode(str(name)), str(label)
    except LookupError as error:
        raise InputError(f"--encoding: {name!r:.40} is no encoding of text") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "it may be cp1252, as older spreadsheets write: save it as CSV UTF-8, or say --encoding cp1252"
        raise InputError(
            f"{path}: byte 0x{data[error.start]:02X} in line {line} is no {label}"
            + (f"; {hint}" if encoding is None else "")
        ) from error
    except UnicodeError as error:
        raise InputError(f"{path}: is no {label} ({error})") from error


def separator_of(text: str, known: _Known) -> str:
    """The separator by which the first line gives most columns that are known; then by which most of the
    first rows have as many fields as it; then by which there are most."""
    best, most = ",", (-1, -1.0, -1)
    for sign in SEPARATORS:
        records = [r for _, r, _ in _records(text[:SAMPLE], sign, 50) if r]
        if not records:
            continue
        head = records[0]
        alike = sum(len(record) == len(head) for record in records) / len(records)
        score = (sum(known(cell) for cell in head), alike if len(head) > 1 else 0.0, len(head))
        if score > most:
            best, most = sign, score
    return best


def _records(
    text: str, sign: str, most: int | None = None
) -> Iterator[tuple[int, list[str] | None, str | None]]:
    """(line in which it ends, fields, None) of every record, (line, None, what is wrong) of a broken one."""
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=sign, strict=True, skipinitialspace=False)
    before, count = csv.field_size_limit(MOST_FILE), 0
    try:
        while most is None or count < most:
            count += 1
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, None, str(error)
            else:
                yield reader.line_num, record, None
    finally:
        csv.field_size_limit(before)


def _csv(path: Path, text: str, form: str, known: _Known) -> Rows:
    offset, sign = 0, None
    if text[:4].lower() == "sep=" and text[4:5] in SEPARATORS and text[5:6] in ("\r", "\n"):
        sign, (_, text) = text[4], text.split("\n", 1) if "\n" in text else ("", "")
        offset = 1
    sign = sign or separator_of(text, known)
    columns: list[str] = []
    found = Rows(path, f"separated by {SEPARATORS[sign]}, {form}", columns, [], sign == ";")
    ended = 0
    for number, (line, record, wrong) in enumerate(_records(text, sign), 1):
        # A spreadsheet counts records, an editor lines: both are named where they differ.
        first, ended = ended + 1 + offset, line
        where = f"{path.name} row {number}" + (f" (line {first})" if first != number else "")
        if number > MOST_ROWS:
            raise InputError(f"{path}: more than {MOST_ROWS} rows")
        if wrong is not None:
            if not columns:
                raise InputError(f"{path}: the line of column names cannot be read ({wrong})")
            reason = "a quote is opened and never closed" if "end of data" in wrong else wrong
            found.refused.append(Problem(where, f"{reason}; expected quotes inside quotes to be doubled"))
            continue
        cells = [cell.strip("\ufeff") for cell in record or ()]
        if not any(cell.strip() for cell in cells):
            continue
        if not columns:
            while cells and not cells[-1].strip():
                cells.pop()
            columns += _named(path, cells)
            continue
        if number <= 20 and not found.hint and sum(map(known, cells)) >= 2 > sum(map(known, columns)):
            found.hint = f"; the header may stand further down: row {number} looks like one"
        if len(cells) < len(columns) or any(cell.strip() for cell in cells[len(columns) :]):
            found.refused.append(
                Problem(where, f"has {len(cells)} fields; expected {len(columns)}, as there are columns")
            )
            continue
        found.rows.append(Row(where, dict(zip(columns, cells, strict=False))))  # empty ones may follow
    return found


def _named(path: Path, cells: list[str]) -> list[str]:
    """Names of the columns; one without a name is called by its number. Raises InputError for one that
    appears twice."""
    if len(cells) > MOST_COLUMNS:
        raise InputError(f"{path}: {len(cells)} columns, at most {MOST_COLUMNS}")
    names = [cell.strip() or f"column {n}" for n, cell in enumerate(cells, 1)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path}: column {twice[0]!r:.60} appears twice; rename one")
    return names


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(n for n in names if names.count(n) > 1)!r:.60} appears twice")
    return found


def _json(path: Path, text: str, form: str) -> Rows:
    """JSON Lines, or one list of objects. Keys of any row are columns."""
    found = Rows(path, f"JSON Lines, {form}", [], [])
    columns: dict[str, None] = {}
    entries: Iterator[tuple[str, Any]]
    if text.lstrip().startswith("["):
        try:
            data = json.loads(text, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: not JSON ({str(error)[:100]})") from error
        found.form = f"a JSON list, {form}"
        entries = ((f"{path.name} entry {n}", entry) for n, entry in enumerate(data, 1))
    else:
        lines = ((n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip())
        entries = ((f"{path.name} line {n}", _entry(line)) for n, line in lines)
    for n, (where, entry) in enumerate(entries, 1):
        if n > MOST_ROWS:
            raise InputError(f"{path}: more than {MOST_ROWS} rows")
        if not isinstance(entry, dict):
            reason = str(entry) if isinstance(entry, ValueError) else f"is a {type(entry).__name__}"
            found.refused.append(Problem(where, f"{reason}; expected a JSON object a row"))
            continue
        columns |= dict.fromkeys(entry)
        if len(columns) > MOST_COLUMNS:
            raise InputError(f"{path}: more than {MOST_COLUMNS} different keys")
        found.rows.append(Row(where, entry))
    if not found.rows:
        raise InputError(
            f"{path}: no row is a JSON object" + (f" ({found.refused[0]})" if found.refused else "")
        )
    found.columns = list(columns)
    return found


def _entry(line: str) -> Any:
    """A line's value, or the ValueError that it is none."""
    try:
        return json.loads(line, object_pairs_hook=_once)
    except ValueError as error:
        return ValueError(f"not JSON ({str(error)[:100]})")
    except RecursionError:
        return ValueError("nested too deeply")


def _plain(value: Any) -> Any:
    """A value of Parquet with decimals, also those inside of it, as the numbers that they are."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, decimal.Decimal):
        return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    return float(value) if isinstance(value, np.floating) else value  # of half precision


def _parquet(path: Path, data: bytes) -> Rows:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
        meta = file.metadata
        size = sum(meta.row_group(n).total_byte_size for n in range(meta.num_row_groups))
        if size > MOST_FILE or meta.num_rows > MOST_ROWS:
            raise InputError(
                f"{path}: {meta.num_rows} rows of {size} bytes unpacked, at most {MOST_ROWS} and {MOST_FILE}"
            )
        found = Rows(path, "Parquet", _named(path, list(file.schema_arrow.names)), [])
        # Equal cells are stored once: a batch holds at most so many as come to the bound if all are the
        # biggest that its column has room for.
        groups = [meta.row_group(n) for n in range(meta.num_row_groups)]
        chunks = [g.column(n).total_uncompressed_size for g in groups for n in range(g.num_columns)]
        held, batch_size = 0, max(1, min(1000, MOST_FILE // max(chunks, default=1)))
        for batch in file.iter_batches(batch_size=batch_size):
            held += batch.nbytes
            if held > MOST_FILE:
                raise InputError(f"{path}: more than {MOST_FILE} bytes unpacked")
            for cells in map(_plain, batch.to_pylist()):
                found.rows.append(Row(f"{path.name} row {len(found.rows) + 1}", cells))
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a Parquet file ({str(error).splitlines()[0][:100]})") from error
    return found
