"""Scores queued submissions: one at a time, each in a process of its own with limits of time and memory.

    python -m leaderboard.scoring --config configs/leaderboard/local.yaml          until stopped
    python -m leaderboard.scoring --config configs/leaderboard/local.yaml --once   what waits now

Any number of scorers may run, and be killed at any moment: see `leaderboard.store`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench import suite as suites
from bench.run_folder import read_lines
from leaderboard import board as boards
from leaderboard import evidence, integrity
from leaderboard.board import Board
from leaderboard.store import Job, Scored, Store
from leaderboard.submission import PREDICTIONS
from leaderboard.tables import connect
from tvad.common import cli
from tvad.common.errors import InputError
from tvad.common.files import write_whole

FAILURE = "the predictions could not be scored"
RESULTS = "results.json"


def score_suite(board: Board, name: str, folder: Path, out: Path) -> Scored:
    """Score one suite of the submission in `folder` into `out`."""
    from bench.score import score

    entry, suite = board.suites[name], board.suite(name)
    samples, items = suites.load(suite)
    score(folder / name / PREDICTIONS, suite, out, (samples, items))
    evidence.anonymous(out, folder.name)
    lines = read_lines(out / "samples.jsonl")
    record = json.loads((out / "run.json").read_text())
    return Scored(
        board.table_of(name),
        entry.split,
        record["suite_hash"],
        json.loads((out / "metrics.json").read_text()),
        record["blind"],
        summary=evidence.summary(lines, samples, items),
        signature=integrity.signature(lines, board.secret("signatures")).hex(),
        videos=len(samples),
        questions=len(items),
    )


def run_job(config: str, board: Board, job: Job) -> list[Scored]:
    """Score a job in a child process. Raises InputError with a reason that tells nothing about labels."""
    folder = board.submission(job.hash)
    with tempfile.TemporaryDirectory(dir=board.folder) as work:
        command = [
            sys.executable,
            "-m",
            "leaderboard.scoring",
            "--config",
            config,
            "--child",
            str(folder),
            "--work",
            work,
        ]

        def limit() -> None:
            most = int(board.scoring.gigabytes * (1 << 30))
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=board.scoring.seconds, preexec_fn=limit
            )
        except subprocess.TimeoutExpired as error:
            raise InputError(f"scoring took longer than {board.scoring.seconds:g} s") from error
        if done.returncode or not Path(work, RESULTS).exists():
            print(f"{job.hash}: {done.stderr[-2000:]}", file=sys.stderr)
            raise InputError(FAILURE)
        return collected(board, Path(work))


def collected(board: Board, work: Path) -> list[Scored]:
    """What a child has left in `work`; its scored runs move to the board's folder."""
    found = json.loads((work / RESULTS).read_text())
    return [
        replace(Scored(**row), folder=evidence.keep(work / name, Path(board.folder) / "scored"))
        for name, row in found.items()
    ]


def child(board: Board, folder: Path, work: Path) -> None:
    """The child's part: every suite that the submission answers."""
    names = sorted(path.parent.name for path in folder.glob(f"*/{PREDICTIONS}"))
    found = {name: score_suite(board, name, folder, work / name) for name in names if name in board.suites}
    write_whole(work / RESULTS, json.dumps({name: vars(scored) for name, scored in found.items()}))


def work_once(config: str, board: Board, store: Store) -> bool:
    """Score the next submission; False where none waits."""
    job = store.claim(board.scoring.seconds + 60)
    if job is None:
        return False
    try:
        results = run_job(config, board, job)
    except InputError as error:
        store.fail(job, str(error))
        return True
    store.finish(job, results)
    return True


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m leaderboard.scoring",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True)
    parser.add_argument("--once", action="store_true", help="end when nothing waits")
    parser.add_argument("--parent", type=int, help="end when this process, which started it, has ended")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    known, rest = parser.parse_known_args(arguments)
    board = boards.read(known.config, rest)
    if known.child:
        child(board, Path(known.child), Path(known.work))
        return 0
    board.open()
    store = Store(connect(board.url))
    store.migrate()
    while known.parent is None or os.getppid() == known.parent:
        if not work_once(known.config, board, store):
            if known.once:
                return 0
            time.sleep(1.0)
    return 0


if __name__ == "__main__":
    sys.exit(cli.guard(main))
