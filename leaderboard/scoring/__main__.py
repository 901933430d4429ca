"""Scores queued submissions: one at a time, each in a process of its own with limits of time and memory.

python -m leaderboard.scoring --config configs/leaderboard/local.yaml          until stopped
python -m leaderboard.scoring --config configs/leaderboard/local.yaml --once   what waits now
"""

import json
import signal
import sys
import traceback
from pathlib import Path

from leaderboard.board import config as boards
from leaderboard.intake.limited import limit
from leaderboard.scoring import faults, scorer
from leaderboard.store import Store
from leaderboard.store.database import connect
from tvad.common import cli
from tvad.common.files import made


def score(
    config: str,
    once: bool = False,
    parent: int | None = None,
    child: str | None = None,
    work: str | None = None,
    phases: str = "{}",
    gigabytes: float = 8.0,
) -> int:
    """Score what is queued.

    Args:
        config: YAML file of the board, or the name of a shipped one.
        once: End when nothing waits.
        parent: End when this process, which started it, has ended.
        child: Folder of one submission; with it, only this one is scored, by a process that has limits.
        work: Folder that the child writes to.
        phases: Suites that the submission answers and the numbers of their phases, JSON.
        gigabytes: What the child may take of address space, in GiB.
    """
    if child and work:
        if parent is not None:
            scorer.end_with(parent)
        limit(gigabytes)
        try:
            scorer.child(scorer.board_now(config), Path(child), Path(work), json.loads(phases))
        except Exception as error:
            traceback.print_exc()
            return faults.status_of(error)
        return 0
    # In order: the job that it holds goes back to the queue.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    board = boards.read(config)
    made(board.folder)  # it may be the first to be started
    board.open()
    store = Store(connect(board.url))
    store.migrate()
    scorer.Scorer(config, board, store, parent).work(once)
    return 0


def main(arguments: list[str] | None = None) -> int:
    return cli.run("python -m leaderboard.scoring", score, __doc__ or "", arguments)


if __name__ == "__main__":
    sys.exit(cli.guard(main))
