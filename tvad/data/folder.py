"""The folder of a data set, read and written: `samples.jsonl`, or shards where it is large
(`tvad.data.shards`). Whoever reads samples reads them here, and does not know which of the two it was."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tvad.common.errors import InputError
from tvad.common.files import made
from tvad.data.sample import (
    SAMPLES,
    Sample,
    numbered,
    read_row,
    rows_file,
    rows_version,
    to_json,
    to_line,
    write_header,
)
from tvad.data.shards import MANY, RECORD, lies_in, pack, rows_of


def is_data_set(folder: str | os.PathLike) -> bool:
    """Whether a folder holds a data set that `load` reads."""
    return (Path(folder) / SAMPLES).is_file() or lies_in(folder)


def load(path: str | os.PathLike) -> Sequence[Sample]:
    """The samples of a data set folder (or of its samples.jsonl); of shards each is read where it is asked
    for. Raises InputError that names the file, the line and the key."""
    if lies_in(path):
        return rows_of(path)
    file = rows_file(path)
    version = rows_version(file)
    samples, seen = [], set()
    for n, line in numbered(file):
        sample = read_row(line, version, str(file.parent), f"{file}:{n}")
        if sample.id in seen:
            raise InputError(f"{file}:{n}: id {sample.id!r} appears twice")
        seen.add(sample.id)
        samples.append(sample)
    return samples


def save(samples: Iterable[Sample], folder: str | os.PathLike) -> Path:
    """Write samples into `folder`, to a temporary name first, then renamed, and their version beside them;
    more than MANY as shards. Returns the file that says what there is. Raises InputError that names the
    sample for a number that JSON has not."""
    return write_lines((to_line(to_json(sample)) for sample in samples), made(folder))


def write_lines(lines: Iterable[str], folder: Path) -> Path:
    """`save` of lines that are written out already."""
    file, count = folder / SAMPLES, 0
    temporary = file.with_suffix(".tmp")
    try:
        # Half of a surrogate pair is spelt \\udXXX: JSON reads it back as it was.
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as out:
            for line in lines:
                out.write(line)
                count += 1
    except InputError:
        temporary.unlink()
        raise
    write_header(folder)
    temporary.replace(file)
    if count <= MANY:
        return file
    pack(folder)
    return folder / RECORD
