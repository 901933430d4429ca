"""Scores queued submissions: one at a time, each in a process of its own with limits of time and memory.

python -m leaderboard.scoring --config configs/leaderboard/local.yaml          until stopped
python -m leaderboard.scoring --config configs/leaderboard/local.yaml --once   what waits now
"""

import argparse
import sys
from pathlib import Path

from leaderboard.board import config as boards
from leaderboard.scoring import scorer
from leaderboard.store import Store
from leaderboard.store.database import connect
from tvad.common import cli


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
        scorer.child(board, Path(known.child), Path(known.work))
        return 0
    board.open()
    store = Store(connect(board.url))
    store.migrate()
    scorer.work(known.config, board, store, known.once, known.parent)
    return 0


if __name__ == "__main__":
    sys.exit(cli.guard(main))
