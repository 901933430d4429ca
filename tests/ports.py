"""A free port, and waiting for who serves there."""

import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def until_up(process: subprocess.Popen, url: str, log: Path, seconds: float = 240) -> None:
    """Wait until something answers at `url`, whatever it says; fails with the log where the process ends
    first, or after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                return
            time.sleep(0.5)
