"""What a submitter's machine does: send a submission in pieces, wait for it, fetch scored runs."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

from leaderboard.intake import GONE, limited
from leaderboard.intake.archive import unpack
from tvad.common.errors import InputError
from tvad.common.files import file_hash

PIECE = 8 << 20
TRIES = 8


class Client:
    """A leaderboard by its address. Requests that the network or a dying server lost are made again, up to
    `tries` times; up to `first` times before it has answered at all, for its address may be wrong. pause:
    seconds before the second try, doubled before every other."""

    def __init__(
        self, url: str, token: str | None = None, tries: int = TRIES, first: int = 3, pause: float = 0.5
    ):
        self.url, self.tries, self.pause = url.rstrip("/"), tries, pause
        self._tries_now = first
        self.http = httpx.Client(
            base_url=self.url, timeout=120.0, headers={"Authorization": f"Bearer {token}"} if token else {}
        )

    def call(self, method: str, path: str, **given: Any) -> httpx.Response:
        """An answer below 500. Raises InputError where there is none after all tries."""
        for turn in range(self._tries_now):
            if turn:
                time.sleep(min(30.0, self.pause * 2 ** (turn - 1)))
            try:
                answer = self.http.request(method, path, **given)
            except httpx.TransportError as error:
                last = type(error).__name__
                continue
            self._tries_now = self.tries
            if answer.status_code < 500:
                return answer
            last = f"status {answer.status_code}: {' '.join(answer.text.split())[:300]}"
        raise InputError(
            f"{self.url} cannot be reached ({last}); send again: what has arrived is kept, nothing is scored"
            " twice"
        )

    def data(self, method: str, path: str, **given: Any) -> Any:
        """The JSON of an answer. Raises InputError with the server's reason for a refusal."""
        return self._data(self.call(method, path, **given))

    def _data(self, answer: httpx.Response) -> Any:
        if answer.status_code >= 400:
            raise InputError(
                f"{self.url} answered {answer.status_code}: {' '.join(answer.text.split())[:300]}"
            )
        try:
            return answer.json()
        except ValueError as error:
            raise InputError(f"{self.url} does not answer as a leaderboard does") from error

    def send(self, path: Path) -> dict[str, Any]:
        """Send a .zip, from where an earlier try ended; returns what the server says of it. Raises
        InputError."""
        at = f"/api/uploads/{file_hash(path)}"
        for _ in range(self.tries):
            self._bring(path, at)
            answer = self.call("POST", at)
            if answer.status_code != 422 or GONE not in answer.text:
                return self._data(answer)
            # A lost answer: it was taken, or what had arrived was lost with a server.
            if (found := self._sent_before(path)) is not None:
                return found
        raise InputError(f"{self.url} loses what is sent; send again later")

    def _bring(self, path: Path, at: str) -> None:
        """The pieces that have not arrived."""
        size = path.stat().st_size
        with (
            path.open("rb") as file,
            tqdm(total=size, unit="B", unit_scale=True, desc="send", disable=None) as bar,
        ):
            received = self.data("GET", at)["received"]
            while received < size:
                file.seek(received)
                bar.update(received - bar.n)
                answer = self.call("PUT", at, params={"offset": received}, content=file.read(PIECE))
                if answer.status_code == 409:  # an earlier piece has arrived after all, or still arrives
                    time.sleep(self.pause)
                    received = self.data("GET", at)["received"]
                    continue
                received = self._data(answer)["received"]
            bar.update(size - bar.n)

    def _sent_before(self, path: Path) -> dict[str, Any] | None:
        """The state of what was sent before; None where the server does not know it."""
        found = limited.look(path)
        answer = self.call("GET", f"/api/submissions/{found.hash}")
        if answer.status_code == 404:
            return None
        return {
            **self._data(answer),
            "url": f"/models/{found.hash}",
            "rejected_lines": found.rejected_lines,
            "rejected": [str(problem) for problem in found.rejected],
        }

    def wait(self, name_hash: str, seconds: float = 1.0) -> dict[str, Any]:
        """Until a submission is scored, withdrawn or has failed; asked every so many seconds."""
        while True:
            found = self.data("GET", f"/api/submissions/{name_hash}")
            if found["state"] not in ("queued", "running"):
                return found
            time.sleep(seconds)

    def find(self, named: str) -> str:
        """The hash of the scored submission that a hash, its beginning, OWNER/NAME or a name means
        (`leaderboard.store.submissions`). Raises InputError for none, and for a text that means several."""
        found = self.data("GET", "/api/models", params={"name": named})
        if not found:
            raise InputError(
                f"{self.url}: no scored submission is called {named!r} or has a hash that begins so (what"
                " looks like a hash is one: such a name, and one with a /, is written OWNER/NAME)"
            )
        if len(found) > 1:
            several = ", ".join(f"{row['account']}/{row['name']} ({row['hash'][:12]})" for row in found[:5])
            raise InputError(f"{self.url}: {named!r} may be any of {several}; write OWNER/NAME or the hash")
        return found[0]["hash"]

    @contextmanager
    def scored_run(self, name: str, suite: str) -> Iterator[Path]:
        """The scored run of a submission on a suite's public labels, in a folder for the moment. Raises
        InputError."""
        name_hash = self.find(name)
        answer = self.call("GET", f"/api/submissions/{name_hash}/runs/{suite}")
        if answer.status_code != 200:
            raise InputError(f"{self.url}: {name} has no scored run on {suite!r}")
        with tempfile.TemporaryDirectory() as folder:
            archive, run = Path(folder, "run.zip"), Path(folder, name_hash[:12])
            archive.write_bytes(answer.content)
            run.mkdir()
            unpack(archive, run)
            yield run
