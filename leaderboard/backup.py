"""A board as one file, made while it runs, and a board out of such a file, on SQLite or PostgreSQL.

    backup.json            version of this form, revision of the tables, size and SHA-256 of every other file
    tables/TABLE.jsonl     rows, as of one moment (`leaderboard.store.dump`)
    files/…                the board's folder: submissions, scored runs, private clips, the secret

What a row names lies in the folder before the row is written and never changes, so rows are read first and
files after them: whatever else is written meanwhile, the rows find theirs.
"""

import hashlib
import json
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import make_url, select

from leaderboard.board.config import DATABASE, Board
from leaderboard.intake import objects
from leaderboard.intake.archive import NAME, PIECE
from leaderboard.intake.objects import Unstored
from leaderboard.scoring.scorer import WORK
from leaderboard.store import Store, dump
from leaderboard.store.database import connect
from leaderboard.store.submissions import named_by
from leaderboard.store.tables import WITHDRAWN, Submission
from tvad.common.errors import InputError
from tvad.common.files import made, parse_json, replacing
from tvad.common.formats import Format

MANIFEST, TABLES, FILES = "backup.json", "tables", "files"
BACKUP = Format("leaderboard backup")
SECRET, PRIVATE = "secret", "private"
MOST_MANIFEST = 1 << 30  # bytes
LOOKS = 3  # at the rows: submissions may be withdrawn, and their files go, while files are copied
PACKED = (".mp4", ".npz", ".zip", ".jpg")  # compressed already
STAGING = ".restore"


def _entries(board: Board) -> Iterator[tuple[Path, str]]:
    """(file, its name below the folder) of what a board keeps: not what has not fully arrived, nor what is
    being scored, nor hidden files (locks), nor the database's own."""
    url = make_url(board.url)
    # One of before the rows were moved to another database lies there still, perhaps.
    databases = {DATABASE, Path(url.database or "").name if url.drivername.startswith("sqlite") else DATABASE}
    own = {f"{name}{end}" for name in databases for end in ("", "-wal", "-shm")}
    for top in sorted(Path(board.folder).iterdir()):
        if top.name.startswith((".", "tmp", WORK)) or top.name in ("incoming", "lost+found"):
            continue
        if top.name in own:
            continue
        if top.is_file():
            yield top, top.name
        for folder, _, names in os.walk(top):
            for name in sorted(names):
                path = Path(folder, name)
                if not name.startswith("."):
                    yield path, path.relative_to(board.folder).as_posix()


def _safe(name: str) -> str:
    """A name inside a backup. Raises InputError for anything but plain names, as in a submission but of any
    depth."""
    if not all(NAME.fullmatch(part) and not part.endswith(".") for part in name.split("/")):
        raise InputError(f"file {name[:100]!r}: a backup holds plain relative names only")
    return name


def _put(out: zipfile.ZipFile, path: Path, name: str) -> dict[str, Any] | None:
    """Add a file; what the manifest says of it, None for one that is gone by now."""
    try:
        source = path.open("rb")
    except FileNotFoundError:
        return None
    with source:
        state = os.fstat(source.fileno())
        if path.is_symlink() or not stat.S_ISREG(state.st_mode):
            raise InputError(f"{path}: is no plain file; a backup holds nothing else")
        entry = zipfile.ZipInfo(_safe(name), (2026, 1, 1, 0, 0, 0))
        entry.external_attr = (stat.S_IFREG | stat.S_IMODE(state.st_mode)) << 16
        entry.compress_type = zipfile.ZIP_STORED if path.suffix in PACKED else zipfile.ZIP_DEFLATED
        digest, size = hashlib.sha256(), 0
        with out.open(entry, "w", force_zip64=True) as target:
            while piece := source.read(PIECE):
                digest.update(piece)
                size += len(piece)
                target.write(piece)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _folders(files: dict[str, Any]) -> set[str]:
    """The folders KIND/HASH of which there are files."""
    return {"/".join(name.split("/")[1:3]) for name in files}


def _from_store(board: Board, archive: zipfile.ZipFile, below: str) -> dict[str, dict[str, Any]]:
    """Add the files of a folder KIND/HASH that lies in the board's object store only; what the manifest says
    of them. Raises InputError."""
    store, found = objects.of(board), {}
    if store is None:
        return {}
    try:
        with store.fetched(*below.split("/")) as folder:
            for path in sorted(folder.rglob("*")) if folder else ():
                name = f"{FILES}/{below}/{path.relative_to(folder).as_posix()}" if folder else ""
                if path.is_file() and (said := _put(archive, path, name)):
                    found[name] = said
    except Unstored as error:
        raise InputError(str(error)) from error
    return found


def backup(board: Board, store: Store, out: Path) -> tuple[dict[str, Any], list[str]]:
    """Write a board to `out`, readable by its owner only: it holds the secret. Returns its manifest, and the
    folders that rows name and that are not there. Raises InputError."""
    if out.resolve().is_relative_to(Path(board.folder).resolve()):
        raise InputError(f"{out}: lies in the board's folder, and the next backup would hold it too")
    made(out.parent)
    with ExitStack() as stack:
        temporary = stack.enter_context(replacing(out))
        # Readable by its owner only from its first byte on.
        opened = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        file = stack.enter_context(os.fdopen(opened, "w+b"))
        rows = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=out.parent, prefix=".tmp")))
        files: dict[str, dict[str, Any]] = {}
        with zipfile.ZipFile(file, "w") as archive:
            board.secret("")  # made where no submission has asked for it yet
            for _ in range(LOOKS):
                with dump.moment(store.engine) as connection:
                    at, named = dump.revision(connection), named_by(connection)
                    for table in dump.tables():
                        with (rows / f"{table.name}.jsonl").open("w", encoding="utf-8") as written:
                            written.writelines(dump.lines(connection, table))
                for path, below in _entries(board):
                    name = f"{FILES}/{below}"
                    if name not in files and (found := _put(archive, path, name)):
                        files[name] = found
                missing = sorted(named - _folders(files))
                for folder in missing:
                    files |= _from_store(board, archive, folder)
                if not (missing := sorted(named - _folders(files))):
                    break
            for table in dump.tables():
                name = f"{TABLES}/{table.name}.jsonl"
                files[name] = _put(archive, rows / f"{table.name}.jsonl", name) or {}
            manifest = {
                **BACKUP.stamp(),
                "made": datetime.now(UTC).isoformat(),
                "revision": at,
                "files": files,
            }
            archive.writestr(MANIFEST, json.dumps(manifest, allow_nan=False))
        file.flush()
        os.fsync(file.fileno())
    return manifest, missing


def _manifest(archive: zipfile.ZipFile) -> dict[str, Any]:
    """What a backup says that it holds, which is all that it holds. Raises InputError."""
    entries = [entry for entry in archive.infolist() if entry.filename != MANIFEST]
    try:
        with archive.open(MANIFEST) as source:
            text = source.read(MOST_MANIFEST + 1)
        if len(text) > MOST_MANIFEST:
            raise InputError(f"{MANIFEST} is too large")
        stated = BACKUP.check(parse_json(text), MANIFEST)
        files, at = stated["files"], stated["revision"]
        wrong = not isinstance(at, str) or any(
            not isinstance(f["bytes"], int) or not isinstance(f["sha256"], str) for f in files.values()
        )
    except InputError:  # of another version
        raise
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{MANIFEST} is missing or cannot be read ({type(error).__name__})") from error
    if wrong or sorted(files) != sorted(entry.filename for entry in entries):
        raise InputError(f"{MANIFEST} does not fit what is there")
    for entry in entries:
        if _safe(entry.filename).split("/")[0] not in (TABLES, FILES):
            raise InputError(f"file {entry.filename[:100]!r} has no place in a backup")
        if not stat.S_ISREG(entry.external_attr >> 16) or entry.flag_bits & 1:
            raise InputError(f"file {entry.filename[:100]!r} is a link, encrypted or no plain file")
    return stated


def _unpack(archive: zipfile.ZipFile, stated: dict[str, Any], folder: Path) -> None:
    """Every file into the empty `folder`. Bytes are counted as they are written, and have the hash that the
    manifest says. Raises InputError."""
    for name, what in stated["files"].items():
        target, digest, left = folder / name, hashlib.sha256(), what["bytes"]
        made(target.parent)
        entry = archive.getinfo(name)
        mode = 0o600 if name == f"{FILES}/{SECRET}" else stat.S_IMODE(entry.external_attr >> 16) & 0o755
        with (
            archive.open(entry) as source,
            os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out,
        ):
            while piece := source.read(PIECE):
                left -= len(piece)
                if left < 0:
                    break
                digest.update(piece)
                out.write(piece)
        if left or digest.hexdigest() != what["sha256"]:
            raise InputError(f"{name[:100]!r} is not what {MANIFEST} says; the backup is damaged")


def _check_empty(board: Board) -> None:
    if (store := objects.of(board)) is not None:
        try:
            if any(store.names(kind) for kind in objects.KINDS):
                raise InputError(f"{board.storage}: is not empty; a backup is restored into a new place only")
        except Unstored as error:
            raise InputError(str(error)) from error
    folder = Path(board.folder)
    if folder.exists() and any(path.name != "lost+found" for path in folder.iterdir()):
        raise InputError(f"{folder}: is not empty; a backup is restored into a new place only")
    url = make_url(board.url)
    if url.drivername.startswith("sqlite") and not Path(url.database or "").exists():
        return  # nothing is made before it is needed
    engine = connect(board.url)
    try:
        with engine.connect() as connection:
            if names := dump.names(connection):
                raise InputError(f"{engine.url.render_as_string()}: holds tables already ({names[0]}, …)")
    finally:
        engine.dispose()


def restore(path: Path, board: Board) -> dict[str, Any]:
    """Fill a board's folder and database, which must be empty, from a backup; returns its manifest. Raises
    InputError; where it fails, nothing of it stays."""
    _check_empty(board)
    folder = made(board.folder)
    staging = folder / STAGING
    staging.mkdir(mode=0o700)
    try:
        with zipfile.ZipFile(path) as archive:
            stated = _manifest(archive)
            _unpack(archive, stated, staging)
        files = made(staging / FILES)
        # Where the database is a file of the folder it is made beside the others and moves with them.
        _fill(replace(board, folder=str(files)), staging / TABLES, stated["revision"], board)
        if (files / PRIVATE).exists():
            (files / PRIVATE).chmod(0o700)
            for split in (files / PRIVATE).iterdir():
                split.chmod(0o700)
        for entry in sorted(files.iterdir()):
            entry.rename(folder / entry.name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be restored ({type(error).__name__}: {error!s:.120})") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return stated


def _stored(board: Board, files: Path) -> None:
    """Put submissions and scored runs into the board's object store, where it has one. Raises InputError, and
    then nothing of them stays there."""
    put: list[tuple[str, str]] = []
    try:
        for kind in objects.KINDS:
            for folder in sorted((files / kind).glob("*")):
                put.append((kind, folder.name))
                objects.keep(board, kind, folder.name, folder)
    except Unstored as error:
        for kind, name in put:
            with suppress(Unstored):  # it is said below that the store fails
                objects.remove(board, kind, name)
        raise InputError(str(error)) from error


def _fill(board: Board, tables: Path, at: str, kept: Board) -> None:
    """The database from its tables' files, in one transaction; what only withdrawn submissions had, and was
    copied before they were withdrawn, goes. kept: the board whose object store gets the rest, within that
    transaction."""
    engine = connect(board.url)
    try:
        with ExitStack() as stack, engine.begin() as connection:
            given = {
                path.stem: stack.enter_context(path.open(encoding="utf-8")) for path in tables.glob("*.jsonl")
            }
            dump.fill(connection, at, given)
            named = named_by(connection)
            gone = select(Submission.hash).where(Submission.state == WITHDRAWN)
            unwanted = {f"submissions/{name}" for name in connection.scalars(gone)}
            unwanted |= {f"scored/{path.name}" for path in Path(board.folder).glob("scored/*")} - named
            for name in unwanted:
                shutil.rmtree(Path(board.folder, name), ignore_errors=True)
            _stored(kept, Path(board.folder))
    finally:
        engine.dispose()
