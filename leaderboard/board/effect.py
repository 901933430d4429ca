"""Settings that would be accepted and do nothing are refused: who wrote them relies on them."""

from typing import Any

from leaderboard.board.phases import Phases
from leaderboard.board.published import PUBLISHED
from tvad.common.errors import InputError

LEAST = {"daily": 0, "per_minute": 1, "connections": 1, "at_once": 0, "open_accounts": 0}


def check(board: Any, path: str) -> None:
    """Raises InputError that names the file and the key. board: a `leaderboard.board.config.Board`."""
    for key, least in LEAST.items():
        if (value := getattr(board, key)) < least:
            raise InputError(f"{path}: {key} is {value}, expected {least} or more")
    if board.webhook != type(board.webhook)() and not board.webhook.url:
        raise InputError(f"{path}: webhook: url is missing")
    for name, suite in board.suites.items():
        if why := _of_suite(board, name, suite):
            raise InputError(f"{path}: suites: {name}: {why}")


def _of_suite(board: Any, name: str, suite: Any) -> str | None:
    """What of a suite's settings would do nothing, and why."""
    if suite.split == "public" and suite.phases != Phases():
        return "phases are of a private split, but split is 'public'"
    if suite.render is not None and suite.phases.following:
        return "phases: following means nothing beside render, which makes the clips of every phase"
    titles = [part["what"] for part in PUBLISHED]
    if unknown := [title for title in suite.published if title not in titles]:
        return f"published: no part is called {unknown[0]!r}, expected one of {', '.join(map(repr, titles))}"
    table = board.table_of(name)
    if table not in board.suites and [board.table_of(other) for other in board.suites].count(table) == 1:
        return f"table is {table!r}, but no suite is called so and no other stands there"
    return None
