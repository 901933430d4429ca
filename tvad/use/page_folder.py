"""The web demo's folder, which holds what its visitors give it: gone when the server ends, and where that was
killed, when the next one begins."""

import fcntl
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "tvad-demo-"
LOCK = "lock"  # held by the server whose folder it is, and let go however that ends, also for containers


@contextmanager
def own_folder() -> Iterator[tuple[Path, threading.Event]]:
    """A folder below that of temporary files, locked as this process's own, which goes with the block; and
    what is set when the process is asked to end, which does not end it, from before the folder is there."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup's word stands
            signal.signal(number, lambda *_: stop.set())
    sweep()
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with (folder / "new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / "new").rename(folder / LOCK)  # locked from the moment at which `sweep` can see it
            yield folder, stop


def sweep() -> None:
    """Remove the folders of servers that are gone: of this user's, by name, whose lock nobody holds. What has
    no lock is somebody else's, or just being made."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with os.fdopen(os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
