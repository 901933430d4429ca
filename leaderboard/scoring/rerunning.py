"""A submission's model run again by the board: what its card names (`Card.model`) answers the public suites
by `bench run` itself, in a child process with limits of memory and time, and what it says is held against
what was sent. Private splits are not asked: what is shown of a rerun would tell of their labels.

python -m leaderboard.scoring.rerunning GIGABYTES run --model … --suite … --out …
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import suite as suites
from bench.run_folder import ANSWERS, METRICS, read_lines
from bench.tasks import PRIMARIES, UNSCORED
from leaderboard.board.config import Board
from leaderboard.card import is_runnable
from leaderboard.intake import objects
from leaderboard.intake.limited import KILLS, limit
from leaderboard.store import Store
from leaderboard.store.disclosure import PRIVATE
from leaderboard.store.integrity import said
from leaderboard.store.tables import DONE
from tvad.common import cli
from tvad.common.errors import InputError

PREFIX = "tmp-rerun-"  # of folders in the board's: no backup holds them


def _model(store: Store, name_hash: str) -> str:
    """What a submission's card names to be run. Raises InputError."""
    found = store.status(name_hash)
    if found is None or found["state"] != DONE or not found.get("card"):
        raise InputError(f"admin rerun: {name_hash[:64]!r} is no scored submission that is shown")
    model = found["card"]["model"]
    if not is_runnable(model):
        raise InputError(
            f"admin rerun: the card of {found['name']!r} names no model that can be run (key model)"
        )
    return model


def _runs(board: Board, store: Store, name_hash: str) -> list[tuple[str, dict[str, Any]]]:
    """(suite, result) of what can be compared: public, and of the version that is asked now. Raises
    InputError where there is none."""
    found = []
    for result in store.results(name_hash):
        name = board.suite_in(result["suite"], "public")
        if name is None or result["split"] == PRIVATE or result["folder"] is None:
            continue
        suite = board.suite(name)
        if board.version(name, suite, suites.load(suite)[0]) == result["suite_hash"]:
            found.append((name, result))
    if not found:
        raise InputError("admin rerun: it has no result on public labels of a suite's current version")
    return found


def _again(board: Board, model: str, suite: str, out: Path) -> None:
    """`bench run` in a child process. Raises InputError where it ends without a run."""
    words = ["run", "--model", model, "--suite", board.suites[suite].config, "--out", str(out)]
    limits = board.rerun
    command = [sys.executable, "-m", "leaderboard.scoring.rerunning", f"{limits.gigabytes:g}", *words]
    try:
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=limits.seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"admin rerun: {model} took longer than {limits.seconds:g} s on {suite}") from error
    if -done.returncode in KILLS:
        raise InputError(f"admin rerun: {model} was killed on {suite}")
    if done.returncode:
        last = done.stderr.decode(errors="backslashreplace").strip().splitlines()[-1:] or ["no word"]
        raise InputError(f"admin rerun: {model} on {suite}: {last[0][:300]}")


def compared(sent: Path, again: Path, metrics: dict[str, dict[str, Any]]) -> tuple[bool, dict[str, Any]]:
    """(whether a rerun bears out a scored run, with which numbers): every leading metric has the value that
    was scored, or lies within its interval. Answers that say the same are counted beside it."""
    both = [
        {(line["task"], line["id"]): said(line) for line in read_lines(run / ANSWERS) if UNSCORED not in line}
        for run in (sent, again)
    ]
    keys = both[0].keys() | both[1].keys()
    same = sum(both[0].get(key) == both[1].get(key) for key in keys)
    found = json.loads((again / METRICS).read_text())
    held: dict[str, dict[str, Any]] = {}
    for name in PRIMARIES:
        m, value = metrics.get(name), (found.get(name) or {}).get("value")
        if m is None or m["value"] is None:
            continue
        low, high = m["low"], m["high"]
        within = value is not None and (
            abs(value - m["value"]) < 1e-9 or (low is not None and high is not None and low <= value <= high)
        )
        held[name] = {"value": m["value"], "low": low, "high": high, "again": value, "within": within}
    verified = bool(held) and all(m["within"] for m in held.values())
    return verified, {"answers": {"same": same, "of": len(keys)}, "metrics": held}


def rerun(board: Board, store: Store, name_hash: str) -> list[dict[str, Any]]:
    """Run a submission's model again and keep what that shows; returns it, a table each. Raises InputError,
    and then nothing is kept of the tables that have not been compared."""
    model = _model(store, name_hash)
    for name, result in _runs(board, store, name_hash):
        sent = objects.present(board, "scored", result["folder"])
        if not sent.is_dir():
            raise InputError(f"admin rerun: the scored run {result['folder'][:12]} is not there")
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=board.folder) as work:
            _again(board, model, name, Path(work) / "run")
            verified, detail = compared(sent, Path(work) / "run", result["metrics"])
        store.note_rerun(name_hash, result["suite"], result["suite_hash"], model, verified, detail)
    return store.reruns(name_hash)


def main(gigabytes: str, *words: str) -> int:
    from bench.__main__ import main as bench

    limit(float(gigabytes))
    return bench(list(words))


if __name__ == "__main__":
    sys.exit(cli.guard(lambda: main(*sys.argv[1:])))
