"""Why a try at scoring ended without results: by the submission's own fault, which is final, or by the
host's, after which it is tried again. What is said of either is one of the sentences here: it tells nothing
about labels."""

import errno
from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from leaderboard.intake.objects import Unstored

FAILURE = "the predictions could not be scored"
# What is the host's fault, by kind.
SENTENCES = {
    "disk": "the server's disk is full or cannot be written",
    "database": "the server's database could not be asked",
    "scarce": "the server had no memory, processes or files left",
    "killed": "the scoring process was killed",
    "stopped": "the scorer was stopped",
    "board": "the server could not open the suite",
    "storage": "the server's object store could not be asked",
    "scorer": "a fault of the scorer",
}
# How the scoring process says so: a file might not be written any more. Numbers of sysexits.h.
TOO_LARGE, STATUSES = 70, {72: "board", 74: "disk", 75: "scarce"}
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
SCARCE = {errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE}


class Ended(Exception):
    """A try has ended without results. final: by the submission's own fault."""

    def __init__(self, kind: str, reason: str = "", final: bool = False):
        super().__init__(reason or SENTENCES[kind])
        self.kind, self.final = kind, final


class Unopened(Exception):
    """A suite that cannot be opened: whatever that is, it is not the submission's fault."""


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from: one line for bad input may stand for a full disk."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        seen.append(at)
        yield at
        at = at.__cause__ or at.__context__


def unasked(error: BaseException) -> bool:
    """Whether a database could not be asked: it is locked or away, or every connection is taken. What it says
    of a statement is another matter, which waiting does not mend."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, (OperationalError, InternalError, NoConnection))


def kind_of(error: BaseException) -> str | None:
    """The kind of a host's fault; None where it is none."""
    for one in chain(error):
        if unasked(one):
            return "database"
        if isinstance(one, MemoryError) or (isinstance(one, OSError) and one.errno in SCARCE):
            return "scarce"
        if isinstance(one, OSError) and one.errno in DISK:
            return "disk"
        if isinstance(one, Unstored):
            return "storage"
        if isinstance(one, Unopened):
            return "board"
    return None


def status_of(error: BaseException) -> int:
    """With which status a scoring process ends by an error; 1 for what is the submission's fault."""
    # Its memory has a limit: where there is none left, the limit is reached.
    if any(isinstance(one, MemoryError) or getattr(one, "errno", 0) == errno.ENOMEM for one in chain(error)):
        return TOO_LARGE
    found = kind_of(error)
    return next((status for status, kind in STATUSES.items() if kind == found), 1)
