"""A scorer: takes one submission after the other from the queue and scores each in a child process with
limits of time and memory. Any number of scorers may run, and be killed at any moment: see
`leaderboard.store.queue`."""

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
from bench.run_folder import read_lines, read_record
from bench.score import score
from leaderboard.board.config import Board
from leaderboard.intake.submission import PREDICTIONS
from leaderboard.scoring import evidence
from leaderboard.store import Store, integrity
from leaderboard.store.queue import Job
from leaderboard.store.results import Scored
from tvad.common.errors import InputError
from tvad.common.files import write_whole

FAILURE = "the predictions could not be scored"
RESULTS = "results.json"
SPARE = 60.0  # seconds of a lease beyond the child's limit: to keep what it has left
PAUSE = 1.0  # seconds between looks at an empty queue


def score_suite(board: Board, name: str, folder: Path, out: Path) -> Scored:
    """Score one suite of the submission in `folder` into `out`."""
    entry, suite = board.suites[name], board.suite(name)
    samples, items = suites.load(suite)
    score(folder / name / PREDICTIONS, suite, out, (samples, items))
    evidence.anonymous(out, folder.name)
    lines = read_lines(out / "samples.jsonl")
    record = read_record(out)
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


def limit(gigabytes: float) -> None:
    """Leave this process so many GiB of address space. The child calls it before it reads anything of the
    submission's: a limit set between fork and exec may wait for ever for a lock that another thread of the
    scorer held, and no time limit ends that."""
    most = int(gigabytes * (1 << 30))
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold labels


def child(board: Board, folder: Path, work: Path) -> None:
    """The child's part: every suite that the submission answers."""
    names = sorted(path.parent.name for path in folder.glob(f"*/{PREDICTIONS}"))
    found = {name: score_suite(board, name, folder, work / name) for name in names if name in board.suites}
    # Written last and whole: a child that was killed on its way has left no results.
    write_whole(
        work / RESULTS, json.dumps({name: vars(scored) for name, scored in found.items()}, allow_nan=False)
    )


def collected(board: Board, work: Path) -> list[Scored]:
    """What a child has left in `work`; its scored runs move to the board's folder."""
    found = json.loads((work / RESULTS).read_text())
    return [
        replace(Scored(**row), folder=evidence.keep(work / name, Path(board.folder) / "scored"))
        for name, row in found.items()
    ]


def run_job(config: str, board: Board, job: Job) -> list[Scored]:
    """Score a job in a child process. Raises InputError with a reason that tells nothing about labels."""
    folder = board.submission(job.hash)
    with tempfile.TemporaryDirectory(dir=board.folder) as work:
        command = [sys.executable, "-m", "leaderboard.scoring", "--config", config]
        command += ["--child", str(folder), "--work", work, "--gigabytes", str(board.scoring.gigabytes)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=board.scoring.seconds)
        except subprocess.TimeoutExpired as error:
            raise InputError(f"scoring took longer than {board.scoring.seconds:g} s") from error
        if done.returncode or not Path(work, RESULTS).exists():
            # For the administrator; the submitter, who could ask many times, is told one sentence.
            print(f"{job.hash}: {done.stderr[-2000:]}", file=sys.stderr)
            raise InputError(FAILURE)
        return collected(board, Path(work))


def work_once(config: str, board: Board, store: Store) -> bool:
    """Score the next submission; False where none waits."""
    job = store.claim(board.scoring.seconds + SPARE)
    if job is None:
        return False
    try:
        results = run_job(config, board, job)
    except InputError as error:
        store.fail(job, str(error))
        return True
    # Where the claim has passed to another scorer meanwhile nothing is kept, and that is right: it has, or
    # will have, the same results.
    store.finish(job, results)
    return True


def work(config: str, board: Board, store: Store, once: bool = False, parent: int | None = None) -> None:
    """Score what waits and what comes. once: end when nothing waits. parent: end when this process, which
    started the scorer, has ended; one that is killed cannot say so, but its children are given another
    parent."""
    while parent is None or os.getppid() == parent:
        if not work_once(config, board, store):
            if once:
                return
            time.sleep(PAUSE)
