"""Scores queued submissions: one at a time, each in a process of its own with limits of time and memory.

python -m leaderboard.scoring --config configs/leaderboard/local.yaml          until stopped
python -m leaderboard.scoring --config configs/leaderboard/local.yaml --once   what waits now
"""

import sys
from pathlib import Path

from leaderboard.board import config as boards
from leaderboard.scoring import scorer
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
    gigabytes: float = 8.0,
) -> int:
    """Score what is queued.

    Args:
        config: YAML file of the board, or the name of a shipped one.
        once: End when nothing waits.
        parent: End when this process, which started it, has ended.
        child: Folder of one submission; with it, only this one is scored, by a process that has limits.
        work: Folder that the child writes to.
        gigabytes: What the child may take of address space, in GiB.
    """
    if child and work:
        scorer.limit(gigabytes)
        scorer.child(boards.read(config), Path(child), Path(work))
        return 0
    board = boards.read(config)
    made(board.folder)  # it may be the first to be started
    board.open()
    store = Store(connect(board.url))
    store.migrate()
    scorer.work(config, board, store, once, parent)
    return 0


def main(arguments: list[str] | None = None) -> int:
    return cli.run("python -m leaderboard.scoring", score, __doc__ or "", arguments)


if __name__ == "__main__":
    sys.exit(cli.guard(main))
