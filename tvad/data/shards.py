"""Large data sets: the rows of `samples.jsonl` in Parquet shards (`shards/` beside `videos/` and `masks/`),
read where they are asked for instead of being held. Videos and masks stay files: everything that decodes
takes paths, and a clip is then read and replaced by itself.

A shard has the columns `id` and `row`, the sample's JSON form as a text, so that nothing is lost of it and
`datasets` streams and shuffles it as any Parquet. `shards.json` names the shards with rows, bytes and
SHA-256; it comes last, and without it nothing is there. A killed packing goes on from its last whole shard.
"""

import hashlib
import json
import os
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from tqdm import tqdm

from tvad.common.errors import InputError
from tvad.common.files import file_hash, is_hash, made, parse_json, replacing, write_whole
from tvad.common.formats import Format
from tvad.data import sample as schema
from tvad.data.sample import Sample

RECORD, FOLDER, BEGUN = "shards.json", "shards", "shards.partial.jsonl"
SHARDS = Format("tvad-shards")
ROWS = 4096  # of a shard
# Of a row group, which is read and unpacked whole for any of its rows: about a megabyte of generated scenes'.
GROUP = 64
GROUPS = 8  # row groups kept unpacked
MANY = 10_000  # rows from which on a data set is written as shards: held, they take hundreds of megabytes


class Rows(Sequence[Sample]):
    """The samples of a data set in shards, or some of them in an order, each made of its row where it is
    asked for. `numbers`: which rows; None: all. A row that is bad raises InputError where it is read, with
    `checked` also one with `Sample.problems`."""

    def __init__(self, store: "Store", numbers: np.ndarray | None = None, checked: bool = False):
        self.store, self.numbers, self.checked = store, numbers, checked

    def __len__(self) -> int:
        return self.store.count if self.numbers is None else len(self.numbers)

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice) -> "Rows": ...
    def __getitem__(self, place: int | slice) -> "Sample | Rows":
        if isinstance(place, slice):
            return self.chosen(np.arange(len(self))[place])
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        return self.store.sample(place if self.numbers is None else int(self.numbers[place]), self.checked)

    def chosen(self, places: Sequence[int] | np.ndarray) -> "Rows":
        """These places of it, in this order."""
        places = np.asarray(places, np.int64)
        numbers = places if self.numbers is None else self.numbers[places]
        return Rows(self.store, numbers, self.checked)

    def ids(self) -> Iterator[str]:
        """The names of the samples, without the rest of their rows."""
        for place in range(len(self)):
            yield self.store.id(place if self.numbers is None else int(self.numbers[place]))


def chosen(samples: Sequence[Sample], places: Sequence[int] | np.ndarray) -> Sequence[Sample]:
    """These places of the samples, in this order, read again where they are in shards."""
    return samples.chosen(places) if isinstance(samples, Rows) else [samples[n] for n in places]


def ids_of(samples: Sequence[Sample]) -> Iterator[str]:
    """The samples' names, of shards without reading the rest."""
    return samples.ids() if isinstance(samples, Rows) else (sample.id for sample in samples)


class Store:
    """The shards of a folder, whole by their checksums. Raises InputError, which names the shard, for one
    that is missing, damaged or another than `shards.json` states, and for an id that is there twice."""

    def __init__(self, folder: str | os.PathLike, stated: dict[str, Any] | None = None):
        self.folder = Path(folder)
        stated = stated or _record(self.folder)
        self.version = stated["rows_version"]
        self.files = [self.folder / shard["file"] for shard in stated["shards"]]
        self._open: OrderedDict[int, Any] = OrderedDict()
        self._kept: OrderedDict[tuple[int, int, str], list[str]] = OrderedDict()
        self._lock = threading.RLock()
        first, groups = [0], []
        for n, (file, shard) in enumerate(zip(self.files, stated["shards"], strict=True)):
            _verify(file, shard)
            about = self._parquet(n).metadata
            if about.num_rows != shard["rows"]:
                raise InputError(f"{file}: {about.num_rows} rows, {RECORD} states {shard['rows']}")
            for group in range(about.num_row_groups):
                first.append(first[-1] + about.row_group(group).num_rows)
                groups.append((n, group))
        self._first = np.array(first, np.int64)
        self._groups = np.array(groups, np.int32).reshape(-1, 2)
        self.count = first[-1]
        self._refuse_twice()

    def __getstate__(self) -> dict[str, Any]:
        """For a loader's worker: what is open stays behind."""
        return self.__dict__ | {"_open": OrderedDict(), "_kept": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())

    def _parquet(self, shard: int) -> Any:
        import pyarrow as pa
        from pyarrow import parquet

        if shard not in self._open:
            try:
                found = parquet.ParquetFile(self.files[shard])
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{self.files[shard]}: no readable Parquet ({_line(error)})") from error
            for name in ("id", "row"):
                place = found.schema_arrow.get_field_index(name)
                if place < 0 or not _is_text(found.schema_arrow.field(place).type):
                    raise InputError(f"{self.files[shard]}: no column {name!r} of texts")
            self._open[shard] = found
            if len(self._open) > GROUPS:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(shard)
        return self._open[shard]

    def _texts(self, at: int, column: str) -> list[str]:
        """The texts of a column in a row group."""
        import pyarrow as pa

        shard, group = self._groups[at].tolist()
        with self._lock:
            if (key := (shard, group, column)) not in self._kept:
                try:
                    table = self._parquet(shard).read_row_group(group, columns=[column], use_threads=False)
                except (pa.ArrowException, OSError) as error:
                    raise InputError(
                        f"{self.files[shard]}: row group {group} cannot be read ({_line(error)})"
                    ) from error
                texts = table.column(column).to_pylist()
                if None in texts:
                    raise InputError(f"{self.files[shard]}: row group {group} has a row without {column}")
                self._kept[key] = texts
                if len(self._kept) > GROUPS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    def _find(self, number: int) -> tuple[int, int]:
        """The row group of a row, and the row's place in it."""
        at = int(np.searchsorted(self._first, number, "right")) - 1
        return at, number - int(self._first[at])

    def where(self, number: int) -> str:
        """Names a row: its shard, and its number there from 1 on."""
        shard = self._groups[self._find(number)[0], 0]
        begin = self._first[int(np.searchsorted(self._groups[:, 0], shard))]
        return f"{self.files[shard]}:{number - int(begin) + 1}"

    def id(self, number: int) -> str:
        at, place = self._find(number)
        return self._texts(at, "id")[place]

    def sample(self, number: int, checked: bool = False) -> Sample:
        at, place = self._find(number)
        row, name = self._texts(at, "row")[place], self._texts(at, "id")[place]
        found = schema.read_row(row.encode(), self.version, str(self.folder), self.where(number))
        if _spelt(found.id) != name:
            raise InputError(f"{self.where(number)}: id {found.id!r} in the row, {name!r} beside it")
        if checked and (wrong := found.problems()):
            raise InputError(
                f"{self.folder}: {found.id}: {wrong[0]} (`tvad data check {self.folder}` lists all;"
                " drop_bad_rows leaves them out)"
            )
        return found

    def _refuse_twice(self) -> None:
        """By eight bytes of a hash each, and the names themselves only where two of these are the same."""
        found = array("Q")
        for at in range(len(self._groups)):
            for name in self._texts(at, "id"):
                digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
                found.append(int.from_bytes(digest, "little"))
        marks = np.frombuffer(found, np.uint64)
        order = np.argsort(marks, kind="stable")
        for place in np.flatnonzero(marks[order[1:]] == marks[order[:-1]]):
            a, b = int(order[place]), int(order[place + 1])
            if self.id(a) == self.id(b):
                raise InputError(f"{self.where(b)}: id {self.id(b)!r} appears twice")


def _spelt(name: str) -> str:
    """A name as Arrow's texts can hold it: half a surrogate pair is no UTF-8."""
    return name.encode(errors="backslashreplace").decode()


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def _record(folder: Path) -> dict[str, Any]:
    """What shards.json states, checked: names of files below `shards/`, numbers, hashes."""
    path = folder / RECORD
    try:
        stated = parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({_line(error)})") from error
    SHARDS.version_of(stated, str(path))
    schema.DATASET.version_of({"version": stated.get("rows_version")}, f"{path}: rows_version")
    shards = stated.get("shards")
    if not isinstance(shards, list) or not shards:
        raise InputError(f"{path}: shards is {shards!r:.60}, expected a list of shards")
    for n, shard in enumerate(shards):
        whole = isinstance(shard, dict) and all(
            isinstance(shard.get(key), int) and shard[key] > 0 for key in ("rows", "bytes")
        )
        if not whole or not is_hash(str(shard.get("sha256"))):
            raise InputError(f"{path}: shards[{n}]: expected file, rows, bytes and sha256")
        if shard.get("file") != (expected := _name(n)):
            raise InputError(f"{path}: shards[{n}]: file is {shard.get('file')!r:.80}, expected {expected!r}")
    return stated


def _name(number: int) -> str:
    return f"{FOLDER}/{number:05d}.parquet"


def _verify(file: Path, shard: dict[str, Any]) -> None:
    if not file.is_file():
        raise InputError(f"{file}: missing; {RECORD} names it")
    if (size := file.stat().st_size) != shard["bytes"]:
        raise InputError(f"{file}: {size} bytes, {RECORD} states {shard['bytes']}: damaged, or another file")
    if (found := file_hash(file)) != shard["sha256"]:
        stated = shard["sha256"]
        raise InputError(
            f"{file}: SHA-256 {found[:16]}…, {RECORD} states {stated[:16]}…: damaged, or another file"
        )


def lies_in(folder: str | os.PathLike) -> bool:
    """Whether a data set's folder holds shards. Raises InputError where it holds rows in both forms."""
    folder = Path(folder)
    if not (folder / RECORD).is_file():
        return False
    if (folder / schema.SAMPLES).exists():
        raise InputError(
            f"{folder}: holds {schema.SAMPLES} and {RECORD}; `tvad data shards {folder}` ends a packing that"
            " was interrupted"
        )
    return True


def taken(folder: Path) -> Path | None:
    """The file that says that a data set lies in a folder already."""
    return next((folder / name for name in (schema.SAMPLES, RECORD) if (folder / name).exists()), None)


def rows_of(folder: str | os.PathLike, checked: bool = False) -> Rows:
    """The samples of a folder that `lies_in` shards. Raises InputError."""
    return Rows(Store(folder), None, checked)


def pack(folder: str | os.PathLike) -> Rows:
    """Write the samples.jsonl of a data set as shards, which take its place; a killed packing goes on. Raises
    InputError for a row that cannot be read, and where the file has changed since packing began: nothing is
    lost of it."""
    folder = Path(folder)
    if not (folder / schema.SAMPLES).exists() and (folder / RECORD).exists():
        return rows_of(folder)
    source, begun = schema.rows_file(folder), folder / BEGUN
    of = file_hash(source)
    if not (folder / RECORD).exists():
        shards = _packed(folder, source, of)
        record = SHARDS.stamp() | {"rows_version": schema.DATASET.version, "of": of, "shards": shards}
        Store(folder, record)  # whole, and no id twice
        write_whole(folder / RECORD, json.dumps(record, indent=1, allow_nan=False) + "\n")
    elif _record(folder).get("of") != of:
        raise InputError(f"{folder}: {schema.SAMPLES} and {RECORD} hold different data; remove one of them")
    begun.unlink(missing_ok=True)
    source.unlink()
    return rows_of(folder)


def _packed(folder: Path, source: Path, of: str) -> list[dict[str, Any]]:
    """The shards of a samples.jsonl, whose hash is `of`: those that the log of a killed packing names, and
    the others."""
    version, begun = schema.rows_version(source), folder / BEGUN
    done = _logged(begun, of)
    made(folder / FOLDER)
    write_whole(begun, "".join(json.dumps(line, allow_nan=False) + "\n" for line in ({"of": of}, *done)))
    line = sum(shard["lines"] for shard in done)
    with (
        source.open("rb") as lines,
        begun.open("a", encoding="utf-8") as log,
        tqdm(unit="clip", desc="shards", disable=None, initial=sum(shard["rows"] for shard in done)) as bar,
    ):
        lines.seek(done[-1]["end"] if done else 0)
        while True:
            ids, rows, before = list[str](), list[str](), line
            while len(rows) < ROWS and (text := lines.readline()):
                line += 1
                if text.strip():
                    sample = schema.read_row(text, version, str(folder), f"{source}:{line}")
                    ids.append(sample.id)
                    rows.append(schema.to_line(schema.to_json(sample), ascii_only=True).rstrip("\n"))
            if not rows:
                break
            file = folder / _name(len(done))
            _write(file, ids, rows)
            facts = {"file": _name(len(done)), "rows": len(rows), "bytes": file.stat().st_size}
            done.append(facts | {"sha256": file_hash(file), "end": lines.tell(), "lines": line - before})
            log.write(json.dumps(done[-1], allow_nan=False) + "\n")
            log.flush()
            bar.update(len(rows))
    if not done:
        raise InputError(f"{source}: no sample in it")
    return [{key: shard[key] for key in ("file", "rows", "bytes", "sha256")} for shard in done]


def _logged(begun: Path, of: str) -> list[dict[str, Any]]:
    """The whole shards that a killed packing of the same file has left, up to the first that is not."""
    lines = begun.read_text(encoding="utf-8").splitlines(True) if begun.exists() else []
    rows = [parse_json(line) for line in lines if line.endswith("\n")]
    if not rows or rows[0] != {"of": of}:
        return []
    found = []
    for shard in rows[1:]:
        try:
            _verify(begun.parent / shard["file"], shard)
        except InputError:
            break
        found.append(shard)
    return found


def _write(file: Path, ids: list[str], rows: list[str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    with replacing(file) as temporary:
        parquet.write_table(
            pa.table({"id": pa.array(map(_spelt, ids), pa.string()), "row": pa.array(rows, pa.string())}),
            temporary,
            row_group_size=GROUP,
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
        )
