"""By which options a folder is made: stated when it is begun, and held against those of whoever goes on with
it, so that no folder mixes what two of them say."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tvad.common.errors import InputError
from tvad.common.files import file_hash
from tvad.data.shards import taken

Recipe = Mapping[str, Any]  # option -> its value, as JSON has it; None as if it were not there
MADE = "made"  # the option that says what makes it
SHOWN, LONGEST = 4, 80  # options that are named, and characters of a value


def folder_of(path: str | os.PathLike | None) -> str | None:
    """A folder that is read, whose content is too much to be hashed."""
    return None if path is None else str(Path(path).resolve())


def file_of(path: str | os.PathLike | None) -> str | None:
    """A file that is read, by name and content. Raises InputError for one that cannot be read."""
    if path is None:
        return None
    try:
        return f"{Path(path).name} (SHA-256 {file_hash(path)[:16]})"
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def files_of(*paths: str | os.PathLike) -> list[str | None]:
    """Annotation files that are found, those that are there, as `file_of` has each."""
    return [file_of(path) for path in paths if Path(path).is_file()]


def set_of(path: str | os.PathLike) -> str | None:
    """A data set that is read, by its folder's name and its rows."""
    rows = taken(Path(path)) or Path(path)
    return file_of(rows) if rows == Path(path) else f"{Path(path).resolve().name}/{file_of(rows)}"


def as_json(recipe: Recipe) -> dict[str, Any]:
    """A recipe as it is read back."""
    return json.loads(json.dumps(recipe, allow_nan=False))


def check(where: str | os.PathLike, stated: Recipe, now: Recipe) -> None:
    """Raises InputError, which says what differs, where a folder was begun by another recipe than it is to be
    gone on with."""
    was, new = dict(_flat(stated)), dict(_flat(as_json(now)))
    found = [
        f"{key} was {_said(was.get(key))}, is {_said(new.get(key))}"
        for key in dict.fromkeys([*was, *new])
        if was.get(key) != new.get(key)
    ]
    if was.get(MADE) != new.get(MADE):  # by something else, which has other options
        found = [one for one in found if one.startswith(f"{MADE} ")]
    if found:
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise InputError(
            f"{where}: begun with another configuration; choose another --out or delete the folder"
            f" ({'; '.join(found[:SHOWN])}{more})"
        )


def _flat(recipe: Recipe, at: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in recipe.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{at}{key}.")
        else:
            yield f"{at}{key}", value


def _said(value: Any) -> str:
    if value is None:
        return "not given"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text if len(text) <= LONGEST else f"…{text[-LONGEST:]}"
