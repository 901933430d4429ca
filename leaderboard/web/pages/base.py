"""What all pages share: the board, its store, its opened suites, and the templates."""

from typing import Any

from bench.pages import STYLE, environment
from bench.suite import Item, Suite
from bench.tasks import lower_is_better
from leaderboard.board.config import Board
from leaderboard.store import Store
from leaderboard.web.pages.filters import FILTERS, TEMPLATES
from leaderboard.web.pages.links import Links
from tvad.data.sample import Sample

FILES = {STYLE: "text/css", TEMPLATES / "board.css": "text/css", TEMPLATES / "icon.svg": "image/svg+xml"}
SIZES = [
    ("", "any size"),
    ("4e9", "4 billion parameters"),
    ("9e9", "9 billion"),
    ("4e10", "40 billion"),
    ("1e11", "100 billion"),
]

Opened = dict[str, tuple[Suite, list[Sample], list[Item]]]  # what `Board.open` returns


def turned(rows: list[Any], page: int, size: int) -> tuple[list[Any], int, int]:
    """(rows of a page, its number, how many there are); a page that does not exist is the nearest one."""
    pages = max(1, -(-len(rows) // size))
    page = min(max(1, page), pages)
    return rows[(page - 1) * size : page * size], page, pages


class Rendering:
    """Templates over a board, its store and its opened suites."""

    def __init__(self, board: Board, store: Store, opened: Opened):
        self.board, self.store, self.opened = board, store, opened
        self.versions: dict[tuple[str, str], str] = {}  # (table, split): what is served now
        for name, (suite, samples, items) in opened.items():
            table, split = board.table_of(name), board.suites[name].split
            self.versions[table, split] = version = suite.digest(samples)
            store.note_version(table, split, version, len(samples), len(items), board.suites[name].note)
        self.environment = environment(TEMPLATES)
        self.environment.filters |= FILTERS
        self.environment.globals |= {"board": board, "lower_is_better": lower_is_better, "sizes": SIZES}

    def render(self, template: str, at: Links | None = None, **values: Any) -> str:
        """A page. at: how its links are written (default: as on the server)."""
        return self.environment.get_template(template).render(
            {"at": at or Links(), "suite": None, "page": "", **values}
        )

    def splits(self, table: str) -> list[str]:
        """The splits that a table has."""
        return [split for split in ("public", "private") if (table, split) in self.versions]
