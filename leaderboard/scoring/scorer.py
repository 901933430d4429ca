"""A scorer: takes one submission after the other from the queue and scores each in a child process with
limits of time and memory. Any number of scorers may run, and be killed at any moment: see
`leaderboard.store.queue`. Whatever a try meets is either the submission's fault or the host's (`faults`); the
scorer goes on after both."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import scipy.special  # noqa: F401  # before a transaction that needs it, in which nobody else writes

from bench import suite as suites
from bench.run_folder import read_lines, read_record
from bench.score import score
from leaderboard.board import config as boards
from leaderboard.board.config import Board
from leaderboard.intake import objects
from leaderboard.intake.limited import KILLS
from leaderboard.intake.submission import PREDICTIONS
from leaderboard.scoring import evidence, faults
from leaderboard.scoring.faults import FAILURE, SENTENCES, Ended
from leaderboard.store import Store, integrity
from leaderboard.store.queue import Job
from leaderboard.store.results import Scored
from tvad.common.errors import InputError
from tvad.common.files import write_whole

RESULTS = "results.json"
WORK = "scoring-"  # how folders begin that children write to
PAUSE = 1.0  # seconds between looks at an empty queue
BEAT = 10.0  # seconds between two signs of life
LEASE = 90.0  # seconds after the last one until another scorer takes the job
LONGEST = 60.0  # seconds that a scorer pauses after an error; doubled from PAUSE on


def score_suite(board: Board, name: str, number: int, folder: Path, out: Path) -> Scored:
    """Score one suite of the submission in `folder` into `out`; number: of the phase that it answers."""
    entry = board.suites[name]
    try:
        suite = board.suite(name, number)
        samples, items = suites.load(suite)
    except Exception as error:
        raise faults.Unopened(name) from error
    score(folder / name / PREDICTIONS, suite, out, (samples, items))
    evidence.anonymous(out, folder.name)
    lines = read_lines(out / "samples.jsonl")
    if entry.split == "public":  # nobody looks at others
        limits = board.scoring
        evidence.show(out, suite, samples, items, folder / name, limits.pictures, limits.blur_outlined)
    record = read_record(out)
    return Scored(
        board.table_of(name),
        entry.split,
        board.version(name, suite, samples, number),
        json.loads((out / "metrics.json").read_text()),
        record["blind"],
        summary=evidence.summary(lines, samples, items) | evidence.slices(out),
        signature=integrity.signature(lines, board.secret("signatures")).hex(),
        videos=len(samples),
        questions=len(items),
    )


def board_now(config: str) -> Board:
    """The board as it is configured now: suites may have come since a scorer was started. Raises Unopened."""
    try:
        return boards.read(config)
    except Exception as error:
        raise faults.Unopened(config) from error


def phases_of(board: Board, job: Job) -> dict[str, int]:
    """{suite that a job's submission answers: number of the phase that it was checked against}. Raises Ended
    where one is over: other clips are asked now."""
    try:
        return {name: board.answered(name, job.sent) for name in sorted(job.suites)}
    except InputError as error:
        raise Ended("phase", str(error), final=True) from error


def child(board: Board, folder: Path, work: Path, phases: dict[str, int]) -> None:
    """The child's part: every suite that the submission answers, with the number of its phase."""
    found = {name: score_suite(board, name, number, folder, work / name) for name, number in phases.items()}
    # Written last and whole: a child that was killed on its way has left no results.
    write_whole(
        work / RESULTS, json.dumps({name: vars(scored) for name, scored in found.items()}, allow_nan=False)
    )


def collected(board: Board, work: Path) -> list[Scored]:
    """What a child has left in `work`; its scored runs move to the board's folder."""
    found = json.loads((work / RESULTS).read_text())
    kept = {name: evidence.keep(work / name, Path(board.folder) / "scored") for name in found}
    for run in kept.values():  # before a result names it
        objects.keep(board, "scored", run, board.scored(run))
    return [replace(Scored(**row), folder=kept[name]) for name, row in found.items()]


def end_with(parent: int) -> None:
    """End this process when its parent, the scorer, has ended: what it does is nobody's any more."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(PAUSE)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def _until_end(process: subprocess.Popen, seconds: float, beat: Callable[[], bool]) -> str | None:
    """What a child says on stderr until it ends; None where the job is not the scorer's any more. Raises
    Ended after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return process.communicate(timeout=max(0.0, min(BEAT, deadline - time.monotonic())))[1]
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise Ended("time", f"scoring took longer than {seconds:g} s", final=True) from None
            if not beat():
                return None


def run_job(config: str, board: Board, job: Job, beat: Callable[[], bool]) -> list[Scored] | None:
    """Score a job in a child process; None where `beat`, called now and then, says that the job is not the
    scorer's any more. Raises Ended, Unopened."""
    phases = json.dumps(phases_of(board_now(config), job), allow_nan=False)
    sent = objects.present(board, "submissions", job.hash)
    with tempfile.TemporaryDirectory(prefix=WORK, dir=board.folder) as work:
        command = [sys.executable, "-m", "leaderboard.scoring", "--config", config]
        command += ["--child", str(sent), "--work", work, "--phases", phases]
        command += ["--gigabytes", str(board.scoring.gigabytes), "--parent", str(os.getpid())]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="backslashreplace"
        )
        try:
            said = _until_end(process, board.scoring.seconds, beat)
        finally:
            process.kill()
            process.wait()
        if said is None:
            return None
        status = process.returncode
        if status:
            # For the administrator; the submitter, who could ask many times, is told one sentence.
            print(f"{job.hash}: status {status}: {said[-2000:]}", file=sys.stderr, flush=True)
        if -status in KILLS:
            raise Ended("killed")
        if status in faults.STATUSES:
            raise Ended(faults.STATUSES[status])
        if status == faults.TOO_LARGE:
            raise Ended("memory", f"scoring took more than {board.scoring.gigabytes:g} GiB", final=True)
        if status:
            raise Ended("predictions", FAILURE, final=True)
        return collected(board, Path(work))


def _insist(call: Callable[[], object]) -> None:
    """A change of state that the database refuses is asked for again, for as long as a job is held: what was
    scored is not lost to a lock. Raises what the database says at last."""
    deadline, pause = time.monotonic() + LEASE, PAUSE
    while True:
        try:
            call()
            return
        except Exception as error:
            if faults.kind_of(error) != "database" or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause *= 2


class Scorer:
    """A scorer: its name, its signs of life, its job. parent: the process that started it, whose end is its
    own; one that is killed cannot say so, but its children are given another parent."""

    def __init__(self, config: str, board: Board, store: Store, parent: int | None = None):
        self.config, self.board, self.store, self.parent = config, board, store, parent
        self.name = f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._beaten = -BEAT

    def beat(self, job: Job | None = None) -> bool:
        """A sign of life, where the last is long past. False where the job is not this scorer's any more."""
        if self.parent is not None and os.getppid() != self.parent:
            raise SystemExit(0)
        if time.monotonic() < self._beaten + BEAT:
            return True
        try:
            held = self.store.beat(self.name, job, LEASE)
        except Exception as error:
            if job is None or faults.kind_of(error) != "database":
                raise
            print(f"{self.name}: {error}", file=sys.stderr, flush=True)
            return True  # the child goes on: a lock passes, and who holds the job is asked at its end
        self._beaten = time.monotonic()
        return held

    def _finish(self, job: Job, results: list[Scored], seconds: float) -> None:
        """Keep results; of what was withdrawn meanwhile nothing stays, its scored runs neither."""
        if not self.store.finish(job, results, seconds) and self.store.withdrawn(job.hash):
            for result in results:
                if result.folder is not None:
                    objects.remove(self.board, "scored", result.folder)
                    shutil.rmtree(self.board.scored(result.folder), ignore_errors=True)

    def work_once(self) -> bool:
        """Score the next submission; False where none waits. Raises what keeps the store from being asked."""
        self.beat()
        job = self.store.claim(LEASE)
        if job is None:
            return False
        try:
            began = time.monotonic()
            results = run_job(self.config, self.board, job, lambda: self.beat(job))
            # Where the claim has passed to another scorer meanwhile nothing is kept, and that is right: it
            # has, or will have, the same results.
            if results is not None:
                _insist(lambda: self._finish(job, results, time.monotonic() - began))
        except Ended as end:
            kind, reason, final = end.kind, str(end), end.final
            if final:
                _insist(lambda: self.store.fail(job, reason, kind))
            else:
                _insist(lambda: self.store.put_back(job, reason, kind))
        except Exception as error:
            traceback.print_exc()
            kind = faults.kind_of(error) or "scorer"
            _insist(lambda: self.store.put_back(job, SENTENCES[kind], kind))
        except BaseException:  # stopped: the next scorer begins at once
            self.store.put_back(job, SENTENCES["stopped"], "stopped", counts=False)
            raise
        return True

    def work(self, once: bool = False) -> None:
        """Score what waits and what comes. once: end when nothing waits. An error is told and, after a pause,
        passed over: a scorer that ended silently would be missed by nobody."""
        tidy(self.board)
        pause = PAUSE
        try:
            while True:
                try:
                    busy, pause = self.work_once(), PAUSE
                except Exception:
                    if once:
                        raise
                    traceback.print_exc()
                    busy, pause = False, min(LONGEST, 2 * pause)
                if not busy:
                    if once:
                        return
                    time.sleep(pause)
        finally:
            self.store.leave(self.name)


def tidy(board: Board) -> None:
    """Remove what killed scorers have left in the board's folder."""
    for path in Path(board.folder).glob(f"{WORK}*"):
        try:
            if time.time() - path.stat().st_mtime > board.scoring.seconds + 3600:
                shutil.rmtree(path)
        except FileNotFoundError:  # another scorer was faster
            continue
