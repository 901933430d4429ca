"""A board and its store, as every command opens them."""

from leaderboard.board import config as boards
from leaderboard.board.config import Board
from leaderboard.store import Store
from leaderboard.store.database import connect
from tvad.common.files import made


def open_board(config: str) -> tuple[Board, Store]:
    """A board by its configuration, its folder made, its tables of this version's form. Raises InputError."""
    board = boards.read(config)
    made(board.folder)
    store = Store(connect(board.url))
    store.migrate()
    return board, store
