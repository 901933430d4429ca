"""What a table says, before any video is opened: its columns settled, its rows read, those of one video
together."""

import os
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from tvad.common.errors import InputError
from tvad.common.files import file_hash
from tvad.data.check import Problem
from tvad.data.table.clips import Clips
from tvad.data.table.columns import Fields, by_name, declared, is_known, said
from tvad.data.table.facts import Clip, Facts, RowReader, clip_of, named, place
from tvad.data.table.rows import Rows, read_rows
from tvad.data.table.settle import abnormal, alone, by_content, settled

_NUMBER = re.compile(r" (?:row|line|entry) (\d+)")


@dataclass
class Understood:
    """A table as it was understood. `clips` by their file; `problems`: rows that are refused; `named`: what
    the cells say -> the file that it names."""

    rows: Rows
    fields: Fields
    files: Clips
    recipe: dict[str, Any]
    clips: dict[str, Clip] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)


def understand(
    table: str | os.PathLike,
    videos: str | os.PathLike,
    columns: Any = None,
    split: str = "test",
    encoding: str | None = None,
    out: str | os.PathLike | None = None,
) -> Understood:
    """Read a table whose videos lie below the folder `videos`. `columns` says which column is which field,
    where their names do not; what lies in `out` is no video of it. Raises InputError where nothing can be
    made of it: it is no table, no column names the videos, questions have no answers."""
    wanted = set(re.findall(r"[^\W_][^{}\[\]:,\"']*", str(columns or "")))
    rows = read_rows(table, lambda name: is_known(name) or name.strip() in wanted, encoding)
    files = Clips(videos, out)
    try:
        fields = settled(by_name(rows.columns, declared(columns or {}, rows.columns)), rows, files)
    except InputError as error:
        raise InputError(f"{table}: {error}{rows.hint}") from None
    recipe: dict[str, Any] = {"table": file_hash(table), "split": split, "encoding": encoding}
    recipe["columns"] = {name: [asdict(column) for column in some] for name, some in fields.items()}
    found = Understood(rows, fields, files, recipe, problems=list(rows.refused))
    groups, broken = _facts(found)
    for file, some in groups.items():
        try:
            if file in broken:
                raise ValueError(
                    f"{place(broken[file])} of the same video is refused, without it its truth is not whole"
                )
            clip = clip_of(file, some)
        except ValueError as error:
            found.problems += [Problem(row.where, row.refused or str(error)) for row in some]
            continue
        found.problems += [Problem(row.where, row.refused) for row in some if row.refused]
        if "category" in fields and clip.label is False:
            clip.categories = ("Normal",)
        if clip.rows:
            found.clips[file] = clip
    found.problems.sort(key=lambda problem: int(_NUMBER.findall(problem.where)[-1]))
    return found


def _facts(found: Understood) -> tuple[dict[str, list[Facts]], dict[str, str]]:
    """The facts of every file's rows, and the files of which a row's truth cannot be read (with that row).
    Raises InputError where not one row names a file."""
    reader = RowReader(
        found.fields, found.rows.comma, abnormal(found.fields, found.rows), alone(found.fields, found.rows)
    )
    groups: dict[str, list[Facts]] = {}
    broken: dict[str, str] = {}
    column = found.fields["video"][0]
    for row in found.rows.rows:
        try:
            name = reader.text(row, "video")
            if name is None:
                raise ValueError(f"{column.name!r} is empty; expected a file below {found.files.root}")
            file = named(column, lambda name=name: found.files.find(name))  # type: ignore[misc]
        except ValueError as error:
            found.problems.append(Problem(row.where, str(error)))
            continue
        found.named[name] = file
        try:
            groups.setdefault(file, []).append(reader.facts(row))
        except ValueError as error:
            found.problems.append(Problem(row.where, str(error)))
            broken[file] = row.where
    if not any(groups) and found.rows.rows:
        other = by_content(found.rows, found.files.names, {column.name})
        hint = f"; did you mean {said(video=other)}?" if other else ""
        raise InputError(
            f"{found.rows.path}: no row names a file below {found.files.root}{hint} (the first:"
            f" {found.problems[0]})"
        )
    return groups, broken
