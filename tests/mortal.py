"""A process of a leaderboard that kills itself (SIGKILL) at random points of everything that changes state:
before every statement, before and after every commit, before files are written, moved or removed. A point,
and a change, in which fewer have died is likelier. `tests/killing.py` starts it.

python tests/mortal.py LOG SEED MOST leaderboard serve --config board.yaml
"""

import os
import random
import runpy
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from leaderboard.store import queue

RATE = 0.15  # chance to die where nobody has died yet, and
STARTING, AT_START = {"migrate", "open_board", "start", "serve", "score"}, 0.02  # before anything is served
# What a submission, its scoring and an administrator change. Half of the deaths are kept for these: what
# every start and every request do comes first and would take all.
CHANGES = {"submit", "claim", "beat", "finish", "fail", "put_back", "requeue", "withdraw"}
KINDS = 8  # of changes in which one dies, at least
STORE, CODE = f"{os.sep}leaderboard{os.sep}store{os.sep}", f"{os.sep}leaderboard{os.sep}"
WRITES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}
HERE = threading.local()


def _frames():
    frame = sys._getframe(2)
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def _change() -> str:
    """The outermost method of the store that is at work, else the innermost function of the leaderboard,
    behind its module: an upload's `finish` is not a job's."""
    outer = inner = ""
    for code in _frames():
        if STORE in code.co_filename and not code.co_name.startswith(("_", "<")):
            outer = code.co_name
        if CODE in code.co_filename and not inner and not code.co_name.startswith(("_", "<")):
            inner = f"{Path(code.co_filename).stem} {code.co_name}"
    return outer or inner or "start"


class Mortal:
    """log: a line "change, point" for everyone who died, of all processes. most: dead, after which no more
    die."""

    def __init__(self, log: Path, seed: int, most: int):
        self.log, self.most = log, most
        self.random = random.Random(f"{seed} {os.getpid()}")
        event.listen(Engine, "before_cursor_execute", self.statement)
        event.listen(Engine, "commit", self.commit)
        event.listen(Session, "after_commit", self.committed)
        sys.addaudithook(self.audit)

    def statement(self, connection, cursor, statement, *_) -> None:
        if not connection.get_execution_options().get("reads"):
            self.perhaps(f"before {statement.split()[0].lower()}")

    def commit(self, connection) -> None:
        if not connection.get_execution_options().get("reads"):
            self.perhaps("before the commit")

    def committed(self, session) -> None:
        if not session.get_bind().get_execution_options().get("reads"):
            self.perhaps("after the commit")

    def audit(self, name: str, arguments: tuple) -> None:
        if name in WRITES or (name == "open" and arguments[1] and set(str(arguments[1])) & set("wax+")):
            self.perhaps("before " + {"open": "a file is written"}.get(name, name))

    def perhaps(self, point: str) -> None:
        """Die, or not. The log is asked while nothing else of this thread is."""
        if getattr(HERE, "asked", False):
            return
        HERE.asked = True
        try:
            line = f"{_change()}\t{point}"
            dead = self.log.read_text().splitlines() if self.log.exists() else []
            change = line.split("\t")[0]
            rate = AT_START if change.split()[-1] in STARTING else RATE
            # What is done all the time, at every start, before anything is sent, is not all there is.
            died = Counter(other.split("\t")[0] for other in dead)
            many = len(dead) >= self.most or died[change] >= self.most // KINDS
            if change not in CHANGES:
                others = sum(count for other, count in died.items() if other not in CHANGES)
                many = many or others >= self.most // 2
            if not many and self.random.random() < rate / (1 + Counter(dead)[line]) ** 2:
                with self.log.open("a") as out:
                    out.write(line + "\n")
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            HERE.asked = False


def main(log: str, seed: str, most: str, module: str, *arguments: str) -> None:
    # Tries follow each other at once and are as many as are needed: what is looked at is that none is lost.
    queue.DELAYS = (0.2,) * 1000
    queue.ATTEMPTS = len(queue.DELAYS) + 1
    if module == "leaderboard.scoring":
        from leaderboard.scoring import scorer

        scorer.PAUSE, scorer.BEAT, scorer.LEASE = 0.2, 0.3, 5.0
    Mortal(Path(log), int(seed), int(most))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
