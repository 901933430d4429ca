"""Keeps a process running beside the server: one that ends is started again, later each time that it ends
soon."""

import subprocess
import sys
import threading
import time

FIRST, LONGEST = 1.0, 60.0  # seconds before a process is started again; doubled each time
SETTLED = 300.0  # seconds after which a process counts as one that runs
PATIENCE = 30.0  # seconds that a process may take to end


class Supervised:
    """A command that runs while the block does."""

    def __init__(self, command: list[str]):
        self.command = command
        self.process: subprocess.Popen | None = None
        self._ending, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _start(self) -> subprocess.Popen | None:
        """The process, unless the block ends; None too where none can be started now."""
        with self._lock:
            if self._ending.is_set():
                return None
            try:
                self.process = subprocess.Popen(self.command)
            except OSError as error:  # no process or memory left: later, perhaps
                print(f"the scorer cannot be started: {error}", file=sys.stderr, flush=True)
                return None
            return self.process

    def _run(self) -> None:
        pause = FIRST
        while not self._ending.is_set():
            began, process = time.monotonic(), self._start()
            status = process.wait() if process else None
            if self._ending.is_set():
                return
            pause = FIRST if time.monotonic() - began > SETTLED else pause
            print(
                f"the scorer has ended (status {status}); it starts again in {pause:g} s",
                file=sys.stderr,
                flush=True,
            )
            self._ending.wait(pause)
            pause = min(LONGEST, 2 * pause)

    def __enter__(self) -> "Supervised":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        with self._lock:
            self._ending.set()
            if self.process is not None:
                self.process.terminate()
        self._thread.join(PATIENCE)
        if self._thread.is_alive() and self.process is not None:
            self.process.kill()
            self._thread.join(PATIENCE)
