"""What lies beside the videos of a distribution, read; videos in folders below one, found by their names."""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tvad.common.errors import InputError
from tvad.common.files import parse_json

Files = Mapping[str, list[Path]]


def text_of(path: Path, lossy: bool = False) -> str:
    """The text of a list or table in UTF-8, with or without its mark. lossy: other bytes are read as a sign
    of their own, for lists of which names and numbers alone are used. Raises InputError that names the
    file."""
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace" if lossy else "strict")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def whole(cell: Any) -> int:
    """A whole number, "6.0" as well. Raises ValueError for any other: frame 6.9 is neither 6 nor 7."""
    number = float(cell)
    if not number.is_integer():
        raise ValueError(f"{cell!r:.40} is no whole number")
    return int(number)


def object_of(path: Path) -> dict[str, Any]:
    """The JSON object of a file. Raises InputError that names the file for anything else, and the key where
    one is there twice and tells otherwise the second time."""

    def of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if found.setdefault(name, value) != value:
                raise ValueError(f"{name[:60]!r} is there twice")
        return found

    try:
        found = parse_json(text_of(path), of_pairs)
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read as JSON ({str(error)[:80]})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected an object by video, found {type(found).__name__}")
    return found


def check_head(path: Path, head: Sequence[str] | None, columns: Collection[str]) -> None:
    """Raises InputError that names the file where a table's head lacks one of the columns that are read, or
    has one twice: `csv` would take the last of them."""
    for column in columns:
        if (count := list(head or ()).count(column)) != 1:
            what = f"{count} columns are called" if count else "missing column"
            raise InputError(f"{path}: {what} {column!r}; expected {', '.join(columns)}")


def visible(folder: Path, pattern: str = "*") -> list[Path]:
    """What lies in a folder by a pattern, sorted, hidden files left out: "._a.mp4", which a Mac's archive
    holds beside a.mp4."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def below(root: str | os.PathLike) -> dict[str, list[Path]]:
    """The .mp4 files in and below a folder, by their names without the suffix, also in folders that are links
    (parts of a set on several disks). Raises InputError where there is none."""
    found: dict[str, list[Path]] = {}
    passed = set[str]()
    for folder, inner, names in os.walk(str(root), followlinks=True):
        if (place := os.path.realpath(folder)) in passed:  # a link back to where it lies
            inner.clear()
            continue
        passed.add(place)
        inner.sort()
        for name in sorted(names):
            if name.lower().endswith(".mp4") and not name.startswith("."):
                found.setdefault(Path(name).stem, []).append(Path(folder, name))
    if not found:
        raise InputError(f"{root}: no .mp4 in it or below it")
    return found


def only(files: Files, name: str) -> Path:
    """The video of this name; of copies the first. Raises InputError for a name that is a path, one that is
    not there, and where two of the name differ in size: nobody knows which is meant."""
    if name != Path(name).name or "\\" in name:
        raise InputError(f"{name[:80]!r} is no plain file name")
    if not (found := files.get(name)):
        raise InputError(f"{name}.mp4: not among the videos")
    for other in found[1:]:
        if found[0].stat().st_size != other.stat().st_size:
            raise InputError(f"{found[0]} and {other} have one name and another size")
    return found[0]
