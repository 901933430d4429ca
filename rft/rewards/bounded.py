"""Rewards within bounds of time and text, whoever wrote them: computed in a process that can be killed, which
no loop in C and no regular expression outlasts (a signal handler would wait for them).

One process a run and rank, begun once, and again where it was killed. A completion for which a reward does
not end is found, named, and earns what the configuration says; one for which it raises ends the run."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rft.rewards import wire
from rft.rewards.base import Reward, completion_text, needing, needs_of
from rft.rewards.mix import is_own, named
from tvad.common.errors import InputError

BEGIN = 300.0  # seconds for a process to begin and import somebody's module, torch perhaps
ALONE = 4  # completions that may hang before the others are no longer asked: each has seconds / ALONE
PACKAGE = Path(__file__).resolve().parent.parent
SHOWN = 80  # characters of a completion in a message
RUN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from rft.rewards.worker import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)


class Unfinished(Exception):
    """A request that was not answered: not in time, or its process died. The process is no more."""


class _Process:
    """A process of rewards; `ask` sends a request and waits for its answer."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Any]] = {}  # rewards that it has imported, described
        self.ended = False
        here, there = socket.socketpair()
        # Started as a script, rft/ itself is on the path, and its `rewards` would be found for one's own.
        path = json.dumps([p for p in sys.path if Path(p).resolve() != PACKAGE], allow_nan=False)
        command = [sys.executable, "-c", RUN, path, str(there.fileno()), str(os.getpid())]
        # A session of its own: what a reward has started goes with it, and Ctrl-C is the run's affair.
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=2,
            pass_fds=[there.fileno()],
            start_new_session=True,
        )
        there.close()
        self._link = here

    def ready(self, name: str) -> dict[str, Any]:
        """Begin, and import what a reward needs: its description. Raises Unfinished."""
        if name not in self._known:
            self._known[name] = self.ask({"name": name}, BEGIN)
        return self._known[name]

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to a request. Raises Unfinished; the process is no more then."""
        until = time.monotonic() + seconds
        try:
            self._link.settimeout(seconds)
            self._link.sendall(wire.dumps(request))
            parts: list[bytes] = []
            while not parts or not parts[-1].endswith(b"\n"):
                self._link.settimeout(max(until - time.monotonic(), 1e-3))
                parts.append(self._link.recv(1 << 20))
                if not parts[-1]:
                    raise ConnectionError
            return wire.loads(b"".join(parts))
        except TimeoutError as error:
            self.kill()
            raise Unfinished(f"not done within {seconds:.3g} s") from error
        except OSError as error:
            raise Unfinished(f"its process ended ({self._ending()})") from error

    def _ending(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(5)
        status = self._child.poll()
        self.kill()
        if status is None or status >= 0:
            return f"exit status {status}"
        return signal.Signals(-status).name + (", out of memory?" if status == -signal.SIGKILL else "")

    def kill(self) -> None:
        self.ended = True
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._link.close()


class BoundedRewards:
    """The rewards of a run by name; a context manager.

    seconds: of one reward, for the completions of a rollout in a process; as much again to find the ones at
    fault. characters: of a completion that rewards read. unfinished: what a completion earns of a reward that
    did not end for it, None as where it does not apply. Both are said on stderr and logged by TRL's
    log_metric: `unfinished/REWARD`, completions a rollout; `completions/cut_for_rewards`, their share.
    """

    def __init__(self, seconds: float = 30.0, characters: int = 1 << 17, unfinished: float | None = None):
        self.seconds, self.characters, self.unfinished = seconds, characters, unfinished
        self._process: _Process | None = None
        self._cut_told = -1

    def __enter__(self) -> "BoundedRewards":
        self._process = _Process()  # begins while the model loads
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.kill()

    def named(self, name: str) -> Reward:
        """A reward by its name, computed in the process. Raises InputError for one that cannot be had."""
        if is_own(name):
            called, needs = named(name).__name__, needs_of(named(name))
        else:  # somebody's module is imported there and never here
            try:
                _, about = self._ready(name)
            except Unfinished as error:
                raise InputError(f"rewards: {name!r} cannot be imported: {error}") from error
            if "refused" in about:
                raise InputError(about["refused"])
            called, needs = about["called"], tuple(about["needs"])

        @needing(*needs)
        def reward(completions: Sequence[Any], **columns: Any) -> list[float | None]:
            return self._values(name, called, completions, columns) if len(completions) else []

        reward.__name__ = called
        return reward

    def _ready(self, name: str) -> tuple[_Process, dict[str, Any]]:
        """A process that knows the reward, another one where the last was killed; the reward's description.
        Raises Unfinished."""
        if self._process is None or self._process.ended:
            self._process = _Process()
        return self._process, self._process.ready(name)

    def _values(
        self, name: str, called: str, completions: Sequence[Any], columns: dict[str, Any]
    ) -> list[float | None]:
        log_metric = columns.get("log_metric") or (lambda *_: None)
        log_extra = columns.get("log_extra") or (lambda *_: None)
        state = columns.get("trainer_state")
        request = {
            "name": name,
            "completions": self._cut(completions, getattr(state, "global_step", None), log_metric),
            "columns": {
                k: v for k, v in columns.items() if k not in ("log_metric", "log_extra", "trainer_state")
            },
            "state": {k: v for k, v in vars(state).items() if isinstance(v, wire.PLAIN)} if state else {},
        }
        late: dict[int, str] = {}
        try:
            process, _ = self._ready(name)
            reply = process.ask(request, self.seconds)
        except Unfinished as error:
            reply, late = self._one_by_one(request, str(error))
        if "raised" in reply:
            self._one_by_one(request, reply["raised"], reply["trace"])
        for kind, key, value in reply["notes"]:
            (log_metric if kind == "log_metric" else log_extra)(key, value)
        if late:
            log_metric(f"unfinished/{called}", len(late))
        return reply["values"]

    def _one_by_one(
        self, request: dict[str, Any], why: str, trace: str | None = None
    ) -> tuple[dict[str, Any], dict[int, str]]:
        """What every completion earns alone, and for which ones the reward does not end, with the reason: in
        the limit and what one may take, a new process's beginning not counted. trace: of the error that it
        raised over all of them: raises InputError that names the completion."""
        count, left = len(request["completions"]), self.seconds
        values: list[float | None] = []
        notes: list[Any] = []
        late: dict[int, str] = {}
        for row in range(count):
            value, begun = self.unfinished, time.monotonic()
            alone = request | {
                "completions": [request["completions"][row]],
                "columns": wire.of_rows(request["columns"], [row], count),
            }
            try:
                if left <= 0:
                    raise Unfinished("no time was left to ask for it alone")
                process, _ = self._ready(request["name"])
                begun = time.monotonic()  # a new process has its own time to begin
                reply = process.ask(alone, self.seconds / ALONE)
            except Unfinished as error:
                late[row] = str(error)
            else:
                if "raised" in reply:
                    print(trace or reply["trace"], file=sys.stderr)
                    raise InputError(f"rewards: {self._place(request, row)}: {reply['raised']}")
                value = reply["values"][0]
                notes += [note for note in reply["notes"] if note[0] == "log_metric"]
            left -= time.monotonic() - begun
            values.append(value)
        if trace is not None:
            print(trace, file=sys.stderr)
            raise InputError(
                f"rewards: {request['name']}: {why} (over {count} completions together, over none of them"
                " alone)"
            )
        self._tell(request, why, late)
        return {"values": values, "notes": notes}, late

    def _tell(self, request: dict[str, Any], why: str, late: dict[int, str]) -> None:
        """Say which completions' rewards did not end."""
        step = request["state"].get("global_step")
        head = f"WARNING: {'' if step is None else f'step {step + 1}: '}reward"
        earns = "it does not count" if self.unfinished is None else f"it earns {self.unfinished:g}"
        for row, reason in list(late.items())[:ALONE]:
            tqdm.write(f"{head} {self._place(request, row)}: {reason}; {earns}", file=sys.stderr)
        count = len(request["completions"])
        rest = f"{len(late)} of {count}" if late else f"none of {count}"
        tqdm.write(
            f"{head} {request['name']}: {why} over {count} completions, then asked for each alone:"
            f" unfinished for {rest} (reward_limits.seconds {self.seconds:g})",
            file=sys.stderr,
        )

    def _place(self, request: dict[str, Any], row: int) -> str:
        ids = request["columns"].get("sample_id")
        sample = f" (sample {ids[row]})" if isinstance(ids, (list, tuple)) and row < len(ids) else ""
        text = completion_text(request["completions"][row])
        shown = text[:SHOWN] + ("…" if len(text) > SHOWN else "")
        return f"{request['name']} on completion {row}{sample}, {shown!r}"

    def _cut(self, completions: Sequence[Any], step: int | None, log_metric: Any) -> list[Any]:
        """Completions of at most so many characters."""
        most = self.characters
        long = [n for n, completion in enumerate(completions) if len(completion_text(completion)) > most]
        if not long:
            return list(completions)
        log_metric("completions/cut_for_rewards", len(long) / len(completions))
        if self._cut_told != step or step is None:
            self._cut_told = -1 if step is None else step
            tqdm.write(
                f"WARNING: rewards read the first {most} characters of {len(long)} of {len(completions)}"
                f" completions, the first of them completion {long[0]} (reward_limits.characters)",
                file=sys.stderr,
            )
        found = list(completions)
        for n in long:
            text = completion_text(found[n])[:most]
            found[n] = (
                text if isinstance(found[n], str) else [*found[n][:-1], found[n][-1] | {"content": text}]
            )
        return found
