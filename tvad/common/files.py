"""Files and folders that are whole or absent; JSON without numbers that JSON has not."""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tvad.common.errors import InputError

_LONG = re.compile("[0-9]{309}")  # no whole number of fewer digits is beyond a float


def parse_json(text: str | bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """JSON as its standard has it; pairs: makes an object of its keys and values (default: a dict). Raises
    ValueError, also for NaN and Infinity, which Python would read, and for what is nested too deep for it."""
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=pairs)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def parse_measures(text: str) -> Any:
    """`parse_json` of what is measured with. Raises ValueError also for a whole number beyond any float."""
    found = parse_json(text)
    if _LONG.search(text):
        json.loads(text, parse_int=_measure)
    return found


def _measure(text: str) -> int:
    try:
        float(number := int(text))
    except OverflowError as error:
        raise ValueError(f"a number of {len(text)} digits, which measures nothing") from error
    return number


def json_text(data: Any, where: str, **options: Any) -> str:
    """`json.dumps` with `options`. Raises InputError, naming `where` it was to stand, for a number that JSON
    has not."""
    try:
        return json.dumps(data, allow_nan=False, **options)
    except ValueError as error:
        raise InputError(f"{where}: a number is NaN or infinite, which JSON has not") from error


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def write_whole(path: str | os.PathLike, text: str) -> Path:
    """Write UTF-8 text to a temporary name beside `path`, whose folder is made, then rename; returns the
    path. The name is this call's own: where several processes write one file, the last one's stays. Half of a
    surrogate pair is spelt \\udXXX, which JSON reads back as it was."""
    path = Path(path)
    temporary = made(path.parent) / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary name beside `path`, of its kind and this call's own, which takes its place when the block
    ends well, and goes when it does not."""
    temporary = Path(path).with_name(f".tmp.{secrets.token_hex(4)}.{Path(path).name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def whole_lines(path: str | os.PathLike) -> bytes:
    """The lines of a file that is appended to; the half of one that a kill left at its end is taken away."""
    data = Path(path).read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return whole


def made(folder: str | os.PathLike) -> Path:
    """The folder, made where it is not there. Raises InputError where it cannot be: a file is there."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: no folder can be made there ({error.strerror})") from error
    return folder


def check_folder(folder: str | os.PathLike) -> None:
    """Raises InputError where `made` would: something else is there, or it may not be written. Makes nothing,
    so that a command can ask before its work."""
    place = Path(folder).absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        raise InputError(f"{folder}: no folder can be made there ({place} is no folder)")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: no folder can be made there ({place} may not be written)")


def check_file(file: str | os.PathLike) -> None:
    """Raises InputError where no file can be written: a folder is there, or its own cannot be made."""
    if os.path.isdir(file):
        raise InputError(f"{file}: is a folder, expected a file to write")
    check_folder(Path(file).parent)


@contextmanager
def whole_folder(target: str | os.PathLike) -> Iterator[Path]:
    """A new empty folder beside `target`, which takes its place, whatever was there, when the block ends
    well, and goes when it does not."""
    target = Path(target)
    temporary = target.with_name(target.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    made(temporary)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    # No system call exchanges folders everywhere: a kill between these two leaves the new one, whole, as
    # .tmp.
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)


def settle(folder: Path, target: Path) -> None:
    """Move a folder to the place that its content names; where that is taken, the same content lies there
    already and nothing moves."""
    made(target.parent)
    try:
        folder.rename(target)
    except OSError:
        if not target.exists():
            raise


def is_hash(text: str) -> bool:
    """Whether this is a SHA-256 in hexadecimal, as `file_hash` gives it."""
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def file_hash(path: str | os.PathLike) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
