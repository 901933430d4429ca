"""Where alarms are told: lines of JSON in a file or on standard output, a POST of each to an address. None of
them ever holds up the reading: an address has a thread and a bounded queue of its own."""

import asyncio
import os
import queue
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

import httpx

from tvad.common.errors import InputError
from tvad.common.files import json_text, made, parse_json

WAITING = 1000  # alarms that wait to be told at most; of more the oldest are dropped, and counted
TRIES = 4
PAUSES = (0.5, 2.0, 8.0)  # seconds between tries
AGAIN = (408, 425, 429)  # and from 500 on
STANDARD = "-"
LONGEST = 1 << 20  # bytes of a line at most


class Sink(Protocol):
    """Tells alarms; `counts`: what became of them."""

    counts: dict[str, int]

    def tell(self, alarm: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


def _for(encoding: str | None, text: str) -> str:
    """What of a text a terminal cannot show, spelt as JSON reads it back."""
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return json_text(parse_json(text), "an alarm") + "\n"
    return text


class Lines:
    """A line of JSON an alarm, appended to a file, or on standard output for "-". A line is written at once
    or not at all: what a kill left of one is taken off by the next run. Raises InputError for what cannot be
    written, and for a file that ends in something else."""

    def __init__(self, path: str):
        self.counts = {"written": 0, "failed": 0}
        self._path = path
        if path == STANDARD:
            return
        try:
            made(os.path.dirname(path) or ".")
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._mend()
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from error

    def _mend(self) -> None:
        """Let the file end with a whole line. Raises InputError where its end is no part of an alarm: nothing
        of somebody else's is taken off."""
        size = os.fstat(self._file).st_size
        tail = os.pread(self._file, min(size, LONGEST), max(0, size - LONGEST))
        tail = tail[tail.rfind(b"\n") + 1 :]
        if not tail:
            return
        if not tail.startswith(b"{") or len(tail) == LONGEST:
            os.close(self._file)
            raise InputError(f"{self._path}: its last line is no alarm; choose another file")
        try:
            parse_json(tail.decode())
        except ValueError:
            os.ftruncate(self._file, size - len(tail))
        else:  # whole, as an editor leaves it
            self._write(b"\n")

    def _write(self, text: bytes) -> None:
        """All of it, or nothing: a disk that fills up takes a part and says so at the next."""
        size, left = os.fstat(self._file).st_size, text
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            if len(left) < len(text):
                os.ftruncate(self._file, size)
            raise

    def tell(self, alarm: dict[str, Any]) -> None:
        text = json_text(alarm, "an alarm", ensure_ascii=False) + "\n"
        try:
            if self._path == STANDARD:
                sys.stdout.write(_for(sys.stdout.encoding, text))
                sys.stdout.flush()
            else:
                self._write(text.encode("utf-8", "backslashreplace"))
        except OSError as error:  # a full disk ends no watch
            self.counts["failed"] += 1
            print(f"{self._path}: an alarm could not be written ({error.strerror})", file=sys.stderr)
        else:
            self.counts["written"] += 1

    def close(self) -> None:
        if self._path != STANDARD:
            os.close(self._file)


class Webhook:
    """A POST of JSON an alarm, tried TRIES times, in order; which address is the user's own choice, no
    redirect is followed, and nothing of the answer but its status is read. patience: seconds of a try."""

    def __init__(self, address: str, patience: float = 5.0, pauses: Sequence[float] = PAUSES):
        try:
            url = httpx.URL(address)
        except (httpx.InvalidURL, ValueError) as error:
            raise InputError(f"--webhook {address}: is no address ({error})") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise InputError(f"--webhook {address}: expected http:// or https:// and a host")
        self.counts = {"told": 0, "tries": 0, "failed": 0, "dropped": 0}
        self._url, self._patience, self._pauses = url, patience, pauses
        self._name = f"{url.scheme}://{url.host}"  # the rest may be a secret
        self._waiting: queue.Queue[dict[str, Any]] = queue.Queue(WAITING)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def tell(self, alarm: dict[str, Any]) -> None:
        while True:
            try:
                return self._waiting.put_nowait(alarm)
            except queue.Full:
                try:
                    self._waiting.get_nowait()
                    self.counts["dropped"] += 1
                except queue.Empty:
                    pass

    def close(self) -> None:
        """Tell what waits, for as long as one try may take; what is left is dropped, and counted."""
        deadline = time.monotonic() + self._patience
        while self._waiting.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.02)
        self._ending.set()
        self._thread.join(self._patience)
        while not self._waiting.empty():
            self._waiting.get_nowait()
            self.counts["dropped"] += 1

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            # A connection a try: one that is kept may have been closed at its other end.
            client = httpx.AsyncClient(
                timeout=self._patience,
                follow_redirects=False,
                trust_env=False,
                limits=httpx.Limits(max_keepalive_connections=0),
            )
            while not self._ending.is_set():
                try:
                    alarm = self._waiting.get(timeout=0.1)
                except queue.Empty:
                    continue
                try:
                    self._post(runner, client, alarm)
                finally:
                    self._waiting.task_done()
            runner.run(client.aclose())

    async def _status(self, client: httpx.AsyncClient, alarm: dict[str, Any]) -> int:
        """Of one try, which takes `patience` in all: httpx's own limits begin anew with each byte."""
        async with (
            asyncio.timeout(self._patience),
            client.stream("POST", self._url, json=alarm) as answer,
        ):
            return answer.status_code

    def _post(self, runner: asyncio.Runner, client: httpx.AsyncClient, alarm: dict[str, Any]) -> None:
        why = ""
        for n in range(TRIES):
            self.counts["tries"] += 1
            try:
                status = runner.run(self._status(client, alarm))
                if 200 <= status < 300:
                    self.counts["told"] += 1
                    return
                why = f"answered {status}"
                if status < 500 and status not in AGAIN:
                    break
            except (httpx.HTTPError, OSError, ValueError) as error:
                why = type(error).__name__
            if n == TRIES - 1 or self._ending.wait(self._pauses[min(n, len(self._pauses) - 1)]):
                break
        self.counts["failed"] += 1
        print(f"{self._name}: alarm {alarm['number']} was not told ({why})", file=sys.stderr, flush=True)
