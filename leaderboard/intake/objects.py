"""Submissions and scored runs in an object store, by fsspec (key `storage`): an archive each, named by the
hash of its content,

    URL/submissions/HASH.zip, URL/scored/HASH.zip     whole from the moment that they have these names
    URL/arriving/…                                    what is being sent, or was by somebody who died

and the board's folder keeps what was made or asked for on this machine. What comes from the store is read as
what strangers send, its hash is computed anew, and what is not what its name says is not taken."""

import hashlib
import shutil
import stat
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC
from functools import cache
from pathlib import Path
from typing import Any

import fsspec

from leaderboard.board.config import Board
from leaderboard.intake.archive import NAME, PIECE
from leaderboard.intake.submission import content_hash, files_of
from tvad.common.errors import InputError
from tvad.common.files import file_hash, is_hash, made, settle

KINDS = ("submissions", "scored")
ARRIVING = "arriving"
STALE = 86400.0  # seconds after which what arrives, or is named by no row, is nobody's
IN_USE = 3600.0  # seconds since it was asked for, within which a folder stays here
PATIENCE = 30.0  # seconds that who asks waits for others that fetch


class Unstored(Exception):
    """The object store could not be asked, or holds what is not what its name says: a fault of the board's
    surroundings, never of a submission or a visitor."""


def run_hash(run: Path) -> str:
    """The hash that names a scored run: of its files' names and content."""
    files = sorted(path for path in run.rglob("*") if path.is_file())
    listed = "".join(f"{path.relative_to(run).as_posix()} {file_hash(path)}\n" for path in files)
    return hashlib.sha256(listed.encode()).hexdigest()


HASHES: dict[str, Callable[[Path], str]] = {
    "submissions": lambda folder: content_hash(files_of(folder)),
    "scored": run_hash,
}


def _pack(folder: Path, archive: Path) -> None:
    """The files of a folder, stored as they are: what is unpacked is never more than what is sent."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            out.write(path, path.relative_to(folder).as_posix())


def _unpack(archive: Path, folder: Path) -> None:
    """Raises InputError, and what zipfile raises."""
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            parts = entry.filename.split("/")
            if not all(NAME.fullmatch(part) for part in parts) or entry.compress_type != zipfile.ZIP_STORED:
                raise InputError(f"file {entry.filename[:100]!r} is not as archives have it here")
            if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
                raise InputError(f"file {entry.filename[:100]!r} is no plain file")
            target = folder / entry.filename
            made(target.parent)
            with opened.open(entry) as source, target.open("xb") as out:
                shutil.copyfileobj(source, out, PIECE)


class Objects:
    """A board's object store. Raises InputError for an address that fsspec cannot open."""

    def __init__(self, url: str, folder: Path):
        self.url, self.folder = url, folder
        self._turn = threading.Lock()  # one fetch at a time: many may ask for the same
        try:
            self.fs, self.root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise InputError(f"storage: {url}: {' '.join(str(error).split())[:200]}") from error
        # Of other machines' writing, too; nothing here is told from memory.
        self.fs.invalidate_cache()

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """What any file system may raise, as one error; a full disk here stays what it is."""
        try:
            yield
        except (Unstored, InputError):
            raise
        except Exception as error:  # botocore's, gcsfs', the network's
            raise Unstored(
                f"{self.url}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            ) from error

    def _at(self, kind: str, name_hash: str) -> str:
        if kind not in KINDS or not is_hash(name_hash):
            raise InputError("expected a hash, 64 hexadecimal digits")
        return f"{self.root}/{kind}/{name_hash}.zip"

    def put(self, kind: str, name_hash: str, source: Path) -> None:
        """Keep a folder, whatever lies under its name already: sent under another name, looked at, renamed. A
        kill on the way leaves what `tidy` removes. Raises Unstored."""
        at = self._at(kind, name_hash)
        with tempfile.TemporaryDirectory(prefix="tmp-put-", dir=made(self.folder)) as work:
            archive = Path(work) / "a.zip"
            _pack(source, archive)
            with self._asked():
                arriving = f"{self.root}/{ARRIVING}/{name_hash}-{Path(work).name}"
                for place in (arriving, at):
                    self.fs.makedirs(self.fs._parent(place), exist_ok=True)
                try:
                    self.fs.put_file(str(archive), arriving)
                    if self.fs.size(arriving) != archive.stat().st_size:
                        raise Unstored(f"{self.url}: kept other bytes than were sent")
                    self.fs.mv(arriving, at)
                except BaseException:
                    self._gone(arriving)
                    raise

    def _gone(self, place: str) -> None:
        """Remove a file where it is, and can be: otherwise `tidy` does."""
        try:
            self.fs.rm_file(place)
        except Exception:  # not there, or the store is not
            return

    @contextmanager
    def fetched(self, kind: str, name_hash: str) -> Iterator[Path | None]:
        """A folder from the store, for the moment, beside the board's others; None where none is kept. Raises
        Unstored, also for one that is damaged, and for one that others keep from being fetched."""
        at = self._at(kind, name_hash)
        if not self._turn.acquire(timeout=PATIENCE):
            raise Unstored(f"{self.url}: too much is being fetched")
        try:
            with tempfile.TemporaryDirectory(prefix="tmp-get-", dir=made(self.folder)) as work:
                archive, folder = Path(work) / "a.zip", Path(work) / name_hash
                with self._asked():
                    self.fs.invalidate_cache()
                    if kept := self.fs.exists(at):
                        self.fs.get_file(at, str(archive))
                if kept:
                    self._opened(kind, name_hash, archive, folder)
                yield folder if kept else None
        finally:
            self._turn.release()

    def _opened(self, kind: str, name_hash: str, archive: Path, folder: Path) -> None:
        folder.mkdir()
        try:
            _unpack(archive, folder)
            whole = HASHES[kind](folder) == name_hash
        except (InputError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise Unstored(f"{self.url}: {kind}/{name_hash} is damaged ({error!s:.120})") from error
        if not whole:
            raise Unstored(f"{self.url}: {kind}/{name_hash} is not what its name says")
        archive.unlink()

    def names(self, kind: str) -> dict[str, float]:
        """{hash: seconds since it was put there} of what is kept. Raises Unstored."""
        with self._asked():
            self.fs.invalidate_cache()
            folder = f"{self.root}/{kind}"
            if not self.fs.exists(folder):
                return {}
            found = {}
            for place in self.fs.ls(folder, detail=False):
                name = place.rsplit("/", 1)[-1]
                if is_hash(name.removesuffix(".zip")) or kind == ARRIVING:
                    found[name.removesuffix(".zip")] = self._age(place)
            return found

    def _age(self, place: str) -> float:
        try:
            put = self.fs.modified(place)
        except FileNotFoundError:  # another was faster
            return 0.0
        return time.time() - (put if put.tzinfo else put.replace(tzinfo=UTC)).timestamp()

    def remove(self, kind: str, name_hash: str) -> None:
        """Remove what is kept under a hash, where there is any. Raises Unstored."""
        at = self._at(kind, name_hash)
        with self._asked():
            self.fs.invalidate_cache()
            if self.fs.exists(at):
                self.fs.rm_file(at)

    def tidy(self, named: Iterable[str], gone: Iterable[str]) -> None:
        """Send what lies here and is missed there, as of a board that has just got a store; remove what dead
        senders left, what is named by no row for long, and what is `gone`. Both are KIND/HASH. Raises
        Unstored."""
        rows, withdrawn = set(named), set(gone)
        for kind in KINDS:
            kept = self.names(kind)
            for name, age in kept.items():
                row = f"{kind}/{name}"
                if row in withdrawn or (row not in rows and age > STALE):
                    self.remove(kind, name)
            for row in sorted(rows - {f"{kind}/{name}" for name in kept}):
                if row.startswith(f"{kind}/") and (self.folder / row).is_dir():
                    self.put(kind, row.removeprefix(f"{kind}/"), self.folder / row)
        for name, age in self.names(ARRIVING).items():
            if age > STALE:
                self._gone(f"{self.root}/{ARRIVING}/{name}")

    def make_room(self, most: int) -> None:
        """Remove from the board's folder what was asked for longest ago, and is kept in the store, until at
        most so many bytes are left. Raises Unstored."""
        folders: list[tuple[float, int, str, Path]] = []
        for kind in KINDS:
            for folder in (self.folder / kind).glob("*"):
                size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                folders.append((folder.stat().st_mtime, size, kind, folder))
        over = sum(size for _, size, _, _ in folders) - most
        for used, size, kind, folder in sorted(folders):
            if over <= 0 or time.time() - used < IN_USE:
                return
            with self._asked():
                kept = self.fs.exists(self._at(kind, folder.name))
            if kept:
                hidden = folder.with_name(f".{folder.name}")  # at once: nobody sees half of it
                folder.rename(hidden)
                shutil.rmtree(hidden)
                over -= size


@cache
def _objects(url: str, folder: str) -> Objects:
    return Objects(url, Path(folder))


def of(board: Board) -> Objects | None:
    """The object store of a board; None where it has none. Raises InputError."""
    return _objects(board.storage, board.folder) if board.storage else None


def present(board: Board, kind: str, name_hash: str) -> Path:
    """Where a submission or a scored run lies on this machine, fetched where it does not; a path that is not
    there where it is nowhere. Raises Unstored."""
    folder = board.submission(name_hash) if kind == "submissions" else board.scored(name_hash)
    store = of(board)
    if store is None:
        return folder
    if not folder.is_dir():
        with store.fetched(kind, name_hash) as found:
            if found is not None:
                settle(found, folder)
    if folder.is_dir():
        folder.touch()  # asked for now
    return folder


def keep(board: Board, kind: str, name_hash: str, folder: Path) -> None:
    """Put a folder into the board's object store, where it has one. Raises Unstored."""
    if (store := of(board)) is not None:
        store.put(kind, name_hash, folder)


def remove(board: Board, kind: str, name_hash: str) -> None:
    """Remove a folder from the board's object store, where it has one. Raises Unstored."""
    if (store := of(board)) is not None:
        store.remove(kind, name_hash)


def tidy(board: Board, store: Any) -> None:
    """Look after the object store and what of it lies here. store: the board's rows."""
    if (objects := of(board)) is not None:
        withdrawn = store.withdrawn()
        gone = {f"submissions/{name}" for name in withdrawn}
        gone |= {f"scored/{run}" for runs in withdrawn.values() for run in runs}
        objects.tidy(store.named(), gone)
        if board.storage_here:
            objects.make_room(int(board.storage_here * (1 << 30)))
