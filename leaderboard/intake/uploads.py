"""Uploads, at once or in pieces: bounded in size and time, checked, put in their place, queued. A kill at any
moment loses nothing that was acknowledged: files lie in their place before a job names them, and pieces lie
in a file named by the .zip's own hash, whose size says where to continue. Not tus: its servers for Python are
no ASGI, and naming an upload by its hash spares its step of creation and a store of its own."""

import asyncio
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from starlette.requests import Request

from leaderboard.board.config import Board
from leaderboard.intake import GONE, archive, limited, objects, submission, withdrawal
from leaderboard.store import Store
from leaderboard.store.queue import Limited
from leaderboard.store.tables import FAILED
from tvad.common.errors import InputError
from tvad.common.files import file_hash, is_hash, settle

TURNS, WAITING = 2, 10  # submissions that are checked at a time, and with those that wait
SILENCE = 30.0  # seconds that an upload may pause
WHOLE = 1800.0  # seconds that one request may take
KEPT = 86400.0  # seconds that an unfinished upload is kept
RATE, AT_FIRST = 1024, 60.0  # bytes a second that a body brings at least, on average after so many seconds
# Unfinished uploads of an account and of an address, and their bytes together.
OPEN = {"account": (100, 2 << 30), "address": (200, 4 << 30)}
STEP = 1 << 20  # bytes between two looks at those sums


class TooLarge(InputError):
    """More bytes than are taken."""

    def __init__(self, most: int):
        super().__init__(f"more than {most >> 20} MiB" if most >= 1 << 20 else f"more than {most} bytes")


class Busy(InputError):
    """Too many submissions are being checked."""


class TooSlow(InputError):
    """An upload that pauses or lasts too long."""


class Conflict(InputError):
    """A piece that does not continue what has arrived. received: bytes there."""

    def __init__(self, received: int):
        super().__init__(f"{received} bytes have arrived; continue there")
        self.received = received


async def bounded(
    request: Request, most: int, seconds: float = WHOLE, before: int = 0
) -> AsyncGenerator[bytes, None]:
    """The body of a request in pieces, at most `most` bytes with the `before` that earlier requests brought,
    within so many seconds and not slower than `RATE`. Raises TooLarge, TooSlow."""
    stream, size, began = request.stream().__aiter__(), before, time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    piece = await asyncio.wait_for(anext(stream), SILENCE)
                except StopAsyncIteration:
                    return
                size += len(piece)
                if (passed := time.monotonic() - began) > AT_FIRST and size - before < RATE * passed:
                    raise TimeoutError
                if size > most:
                    raise TooLarge(most)
                yield piece
    except TimeoutError as error:
        raise TooSlow("the upload is too slow") from error


def _short(who: str) -> str:
    return hashlib.sha256(who.encode()).hexdigest()[:16]


def _size(path: Path) -> int | None:
    """Bytes of a file; None for one that is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


class Uploads:
    """What arrives at a board: BOARD/incoming, and BOARD/submissions for what has been checked."""

    def __init__(self, board: Board, store: Store):
        self.board, self.store = board, store
        self.incoming = Path(board.folder) / "incoming"
        self.parts = self.incoming / "parts"
        self._turns, self._waiting = threading.BoundedSemaphore(TURNS), threading.BoundedSemaphore(WAITING)
        self.check = limited.checked
        self.parts.mkdir(parents=True, exist_ok=True)
        self.tidy()
        withdrawal.remove(board, store)

    def tidy(self) -> None:
        """Remove what killed servers and clients left behind long ago."""
        for path in (*self.incoming.glob("tmp*"), *self.parts.glob("*/*"), *self.parts.iterdir()):
            try:
                if time.time() - path.stat().st_mtime <= KEPT:
                    continue
                if path.parent == self.parts and path.is_dir():
                    path.rmdir()
                else:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            except FileNotFoundError:  # another process was faster
                continue
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:  # an address's, which has others
                    raise

    def _asked(self) -> dict[str, int | None]:
        """{suite that is taken now: number of its phase}."""
        phases = {name: self.board.phase(name) for name in self.board.taken}
        return {name: None if phase is None else phase.number for name, phase in phases.items()}

    def folder(self) -> tempfile.TemporaryDirectory:
        """A folder of one request, on the disk where submissions lie, so that its files can be renamed
        there."""
        return tempfile.TemporaryDirectory(dir=self.incoming)

    def take(self, account: str, sent: Path, folder: Path) -> submission.Verified:
        """Unpack, check and queue the .zip `sent`, in the request's `folder`. Raises InputError, Limited."""
        unpacked, before = folder / "unpacked", self._asked()
        unpacked.mkdir()
        self.store.may_send(account, self.board.daily)
        # A thread that waits is one that answers nobody: few may.
        if not self._waiting.acquire(blocking=False):
            raise Busy("too many submissions are being checked; try again in a minute")
        try:
            with self._turns:
                found = self.check(sent, unpacked, list(before), self.board.checking)
        except limited.Interrupted:
            raise
        except InputError as error:
            self.store.refuse(account, str(error)[:200])
            raise
        finally:
            self._waiting.release()
        # The files move by the transaction that queues the job: a folder is there before a scorer can see the
        # job, and nobody ever removes one that another sender of the same content may rely on. A kill in
        # between leaves a folder without a job, which the next try finds, named by its content.
        target = self.board.submission(found.hash)
        known = self.store.status(found.hash)
        failed = known is not None and known["state"] == FAILED  # may be queued again, by its files
        if known is None or failed:  # of one that is refused below nothing stays for long
            objects.keep(self.board, "submissions", found.hash, unpacked)
        if failed and not target.is_dir():
            settle(unpacked, target)

        def put() -> None:
            asked = self._asked()
            if any(asked.get(suite, -1) != before[suite] for suite in found.suites):
                raise InputError("the phase that this answers has ended while it was checked")
            settle(unpacked, target)

        self.store.submit(
            account,
            found.hash,
            found.card,
            found.suites,
            put,
            limits=self.board.limits,
            approved=not self.board.moderated,
            daily=self.board.daily,
        )
        return found

    def _part(self, account: str, sha256: str, address: str = "") -> Path:
        """Where the pieces of an upload lie: by account, so that nobody continues another's, in a folder of
        the address that has begun it."""
        if not is_hash(sha256):
            raise InputError("sha256: expected 64 hexadecimal digits")
        name = f"{_short(account)}-{sha256}"
        return next(self.parts.glob(f"*/{name}"), self.parts / _short(address) / name)

    def _check_open(self, part: Path) -> None:
        """Raises Limited for an account or an address with too much that is unfinished."""
        of = {"account": self.parts.glob(f"*/{part.name[:16]}-*"), "address": part.parent.glob("*")}
        for what, others in of.items():
            sizes = [size for other in others if (size := _size(other)) is not None]
            if len(sizes) > OPEN[what][0] or sum(sizes) > OPEN[what][1]:
                raise Limited(
                    f"too many uploads of this {what} are unfinished; finish one first, or wait a day"
                )

    def received(self, account: str, sha256: str) -> int:
        """Bytes of an upload that have arrived. Raises InputError."""
        part = self._part(account, sha256)
        return _size(part) or 0

    async def add(self, account: str, sha256: str, offset: int, request: Request, address: str) -> int:
        """Append a piece at `offset`; returns the bytes that have arrived. Raises Conflict where it does not
        fit, InputError."""
        part = self._part(account, sha256, address)
        if not part.exists():
            self.tidy()
            part.parent.mkdir(exist_ok=True)
        with part.open("ab") as out:
            try:
                # One request appends at a time, in this process and in others; the lock goes with its holder.
                fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Conflict(out.tell()) from error
            arrived = out.seek(0, os.SEEK_END)  # behind what came between opening and locking
            if arrived != offset:  # a piece is sent again after a lost answer, or one was lost
                raise Conflict(arrived)
            try:
                self._check_open(part)  # with this one, so that it holds whoever else begins one now
            except Limited:
                if not arrived:
                    part.unlink(missing_ok=True)
                raise
            looked = arrived
            async for piece in bounded(request, archive.LIMITS.archive, before=offset):
                out.write(piece)
                if out.tell() - looked > STEP:
                    out.flush()
                    looked = out.tell()
                    self._check_open(part)
            return out.tell()

    def finish(self, account: str, sha256: str) -> submission.Verified:
        """Check and queue an upload that has arrived. It stays where nothing was said of its content: the
        account may send no more today, the server is busy, the check was interrupted. Raises InputError."""
        part = self._part(account, sha256)
        try:
            held = part.open("rb")
        except FileNotFoundError:
            raise InputError(GONE) from None
        with held:
            try:
                # Of two requests that finish an upload, as a client sends whose answer was late, one does.
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy("this submission is being checked; ask again in a minute") from None
            if not part.exists():  # the other one has
                raise InputError(GONE)
            return self._finished(account, part, sha256)

    def _finished(self, account: str, part: Path, sha256: str) -> submission.Verified:
        if file_hash(part) != sha256:
            part.unlink(missing_ok=True)
            raise InputError("what has arrived is not what was announced (sha256); send again")
        with self.folder() as folder:
            try:
                found = self.take(account, part, Path(folder))
            except (Limited, Busy, limited.Interrupted):
                raise
            except InputError:
                part.unlink(missing_ok=True)
                raise
        part.unlink(missing_ok=True)
        return found
