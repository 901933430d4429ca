"""A folder that one process writes at a time: a lock that goes with its holder, however that ends. Names of
processes, for what each leaves in a folder of several."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tvad.common.errors import InputError
from tvad.common.files import made

NAME = ".lock"


def own_name() -> str:
    """This process's, also among those of other machines that see a folder."""
    return f"{socket.gethostname()}-{os.getpid()}"


def is_gone(name: str) -> bool:
    """Whether it is the name of a process of this machine that is no more."""
    host, _, number = name.rpartition("-")
    return host == socket.gethostname() and not Path("/proc", number).exists()


@contextmanager
def locked(folder: str | os.PathLike) -> Iterator[None]:
    """Hold the folder, which is made where it is not there. Raises InputError where another process does."""
    file = made(folder) / NAME
    held = _taken(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(held)


def _taken(file: Path) -> int:
    """The locked file's descriptor. The lock is the descriptor's, which programs that this one starts do not
    inherit: it is gone with a kill, whoever is left, and holds within one process, too."""
    while True:
        try:
            held = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise InputError(f"{file.parent}: may not be written ({error.strerror})") from error
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(held, 20).decode(errors="replace").strip()
            os.close(held)
            raise InputError(
                f"{file.parent}: process {holder or '?'} is writing this run; wait for it, or choose another"
                " --out"
            ) from error
        try:  # its last holder may have removed what we had opened
            if os.fstat(held).st_ino == os.stat(file).st_ino:
                os.ftruncate(held, 0)
                os.write(held, f"{os.getpid()}\n".encode())
                return held
        except FileNotFoundError:
            pass
        os.close(held)
