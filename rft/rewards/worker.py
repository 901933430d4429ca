"""The process in which rewards are computed (`rft.rewards.bounded` starts it, kills it and starts another):
reads a request a line, answers with a line. What a reward prints goes to stderr."""

import asyncio
import ctypes
import inspect
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from rft.rewards import wire
from rft.rewards.base import needs_of
from rft.rewards.mix import named
from tvad.common.errors import InputError

PARENT_DIED = 1  # PR_SET_PDEATHSIG


def _end_with(parent: int) -> None:
    """Be killed when the run is (Linux): a reward in a loop would outlive it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DIED, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _called(reward: Callable[..., Any], request: dict[str, Any], notes: list[Any]) -> list[float | None]:
    """The values of a reward, one a completion. What it logs by TRL's log_metric and log_extra is noted."""
    columns = request["columns"] | {
        "trainer_state": SimpleNamespace(**request["state"]),
        "log_metric": lambda name, value: notes.append(["log_metric", str(name), float(value)]),
        "log_extra": lambda column, values: notes.append(["log_extra", str(column), list(values)]),
    }
    found = reward(completions=request["completions"], **columns)
    if inspect.isawaitable(found):
        found = asyncio.run(_awaited(found))
    if isinstance(found, (str, bytes, Mapping)):  # iterating gives characters and keys
        raise TypeError(f"returned {type(found).__name__}, expected a list of numbers or None")
    values = [None if value is None or value != value else float(value) for value in found]
    if len(values) != len(request["completions"]):
        raise ValueError(f"returned {len(values)} values for {len(request['completions'])} completions")
    if odd := [value for value in values if value is not None and abs(value) == float("inf")]:
        raise ValueError(f"returned {odd[0]}, expected a finite number or None")
    return values


async def _awaited(found: Any) -> Any:
    return await found


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """{called, needs} of a reward that is only described, else {values, notes}; {refused} for one that cannot
    be had, {raised, trace} where it fails."""
    try:
        reward = named(request["name"])
    except InputError as error:
        return {"refused": str(error)}
    if "completions" not in request:
        called = getattr(reward, "__name__", request["name"].rpartition(":")[2])  # a partial has no name
        return {"called": called, "needs": list(needs_of(reward))}
    notes: list[Any] = []
    try:
        found = {"values": _called(reward, request, notes), "notes": notes}
        wire.dumps(found)  # what it logs must cross too
        return found
    except (Exception, SystemExit) as error:
        first = (
            error.__cause__ or error
        )  # `rft.rewards.base` names the completion around it, the run does too
        return {"raised": f"{type(first).__name__}: {first}", "trace": traceback.format_exc()}


def main(channel: int, parent: int) -> None:
    """Answer requests that come through the socket `channel` until it is closed."""
    _end_with(parent)
    sys.path.insert(0, os.getcwd())  # one's own rewards; after this project's packages have been found
    own = os.getpid()
    with socket.socket(fileno=channel) as link, link.makefile("rb") as requests:
        for line in requests:
            found = answer(wire.loads(line))
            if os.getpid() != own:  # a reward forked: a second answer would be taken for the next request's
                os._exit(0)
            link.sendall(wire.dumps(found))
