"""Withdrawn means gone: what a submitter said and sent leaves the board; a row of hash, state and time stays,
so that the same content does not come back. First the row, then the files: a kill in between leaves files
that no page shows, and the next start of a server removes them."""

import shutil
from pathlib import Path

from leaderboard.board.config import Board
from leaderboard.intake import objects
from leaderboard.store import Store

COMPARED = "compared"  # what `leaderboard.scoring.comparing` keeps of pairs


def withdraw(board: Board, store: Store, account: str | None, name_hash: str) -> None:
    """Take a submission off the board, its files too. account None: the administrator. Raises InputError for
    one that is not there or belongs to another account."""
    store.withdraw(account, name_hash)
    remove(board, store, name_hash)


def remove(board: Board, store: Store, name_hash: str | None = None) -> None:
    """Remove the files of a withdrawn submission, or of all."""
    for withdrawn, runs in store.withdrawn(name_hash).items():
        if name_hash is not None:  # of all, the store is looked through now and then (`objects.tidy`)
            objects.remove(board, "submissions", withdrawn)
            for run in runs:
                objects.remove(board, "scored", run)
        for folder in (board.submission(withdrawn), *(board.scored(run) for run in runs)):
            if folder.exists():
                shutil.rmtree(Path(board.folder) / COMPARED, ignore_errors=True)  # found out again when asked
                shutil.rmtree(folder, ignore_errors=True)  # another process may be at it
