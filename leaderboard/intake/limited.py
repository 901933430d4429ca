"""A process that reads what strangers send has limits: set here, for scoring and for checking alike."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from leaderboard.board.config import Checking
from leaderboard.card import Card
from leaderboard.intake import archive, submission
from tvad.common.errors import InputError
from tvad.data.check import Problem

# What somebody sends, or the kernel where memory or a file's disk has run out; other signals, a process has
# brought on itself.
KILLS = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGBUS}


class Interrupted(InputError):
    """Checking was ended from outside: it says nothing of the submission."""


def limit(gigabytes: float, seconds: float | None = None) -> None:
    """Leave this process so many GiB of address space, and seconds of a core. The child calls it before it
    reads anything of the submission's: a limit set between fork and exec may wait for ever for a lock that
    another thread of its parent held, and no time limit ends that."""
    most = int(gigabytes * (1 << 30))
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold labels
    if seconds is not None:
        # SIGXCPU at the first; the second is SIGKILL, as of somebody else.
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 6))


def look(path: Path) -> submission.Verified:
    """Verify a submission on its submitter's machine, a folder or a .zip, within the limits that a server has
    by default. Raises InputError."""
    if path.is_dir():
        return checked(None, path, None, Checking())
    if not path.is_file():
        raise InputError(f"{path}: no such submission; expected a folder or a .zip")
    with tempfile.TemporaryDirectory() as folder:
        return checked(path, Path(folder), None, Checking())


def checked(
    sent: Path | None, unpacked: Path, known: list[str] | None, limits: Checking
) -> submission.Verified:
    """Unpack a .zip (None: that is done) and verify it in a child process (`leaderboard.intake.__main__`; it
    starts in a second). known: suites that are taken, None for any. Raises InputError, Interrupted, and
    OSError for a full disk."""
    given = {
        "archive": None if sent is None else str(sent),
        "folder": str(unpacked),
        "known": known,
        "sizes": asdict(archive.LIMITS),
        "gigabytes": limits.gigabytes,
        "seconds": limits.seconds,
    }
    one_thread = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}  # threads take space
    try:
        done = subprocess.run(
            [sys.executable, "-m", "leaderboard.intake"],
            input=json.dumps(given, allow_nan=False),
            capture_output=True,
            text=True,
            timeout=limits.seconds,
            env=os.environ | one_thread,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"checking took longer than {limits.seconds:g} s") from error
    if -done.returncode in KILLS:
        raise Interrupted("checking was interrupted; send again")
    if done.returncode:
        print(f"{sent or unpacked}: {done.stderr[-2000:]}", file=sys.stderr)  # for the administrator
        raise InputError("the submission could not be checked within the limits of time and memory")
    found = json.loads(done.stdout)
    if "full" in found:
        raise OSError(found["full"], os.strerror(found["full"]))
    if "refused" in found:
        raise InputError(found["refused"])
    return submission.Verified(
        found["hash"],
        Card(**found["card"]),
        found["suites"],
        [Problem(*problem) for problem in found["rejected"]],
        found["rejected_lines"],
    )
