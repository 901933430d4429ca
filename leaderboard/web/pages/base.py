"""What all pages share: the board, its store, its opened suites, and the templates."""

from datetime import datetime
from typing import Any, TypeVar

import numpy as np

from bench.pages import STYLE, environment
from bench.tasks import lower_is_better
from leaderboard.board.config import Board
from leaderboard.board.config import Opened as Opened
from leaderboard.store import Store
from leaderboard.store.disclosure import PRIVATE
from leaderboard.web.pages.filters import FILTERS, TEMPLATES
from leaderboard.web.pages.links import Links

FILES = {STYLE: "text/css", TEMPLATES / "board.css": "text/css", TEMPLATES / "icon.svg": "image/svg+xml"}
SIZES = [
    ("", "any size"),
    ("4e9", "4 billion parameters"),
    ("9e9", "9 billion"),
    ("4e10", "40 billion"),
    ("1e11", "100 billion"),
]

Rows = TypeVar("Rows", list[Any], np.ndarray)


def turned(rows: Rows, page: int, size: int) -> tuple[Rows, int, int]:
    """(rows of a page, its number, how many there are); a page that does not exist is the nearest one."""
    pages = max(1, -(-len(rows) // size))
    page = min(max(1, page), pages)
    return rows[(page - 1) * size : page * size], page, pages


class Rendering:
    """Templates over a board, its store and its opened suites."""

    def __init__(self, board: Board, store: Store, opened: Opened):
        self.board, self.store = board, store
        self.adopt(opened)
        self.environment = environment(TEMPLATES)
        self.environment.filters |= FILTERS
        self.environment.globals |= {"board": board, "lower_is_better": lower_is_better, "sizes": SIZES}

    def render(self, template: str, at: Links | None = None, **values: Any) -> str:
        """A page. at: how its links are written (default: as on the server)."""
        return self.environment.get_template(template).render(
            {"at": at or Links(), "suite": None, "page": "", **values}
        )

    def adopt(self, opened: Opened) -> None:
        """Serve what `Board.open` has opened, and show what the phases that have ended kept back."""
        self.phases = opened.phases
        versions: dict[tuple[str, str], str] = {}  # (table, split): what is served now
        for name, (suite, samples, items) in opened.items():
            table, split = self.board.table_of(name), self.board.suites[name].split
            number = opened.phases.get(name) or 1
            versions[table, split] = version = self.board.version(name, suite, samples, number)
            note = self.board.suites[name].note
            self.store.note_version(table, split, version, len(samples), len(items), note)
            if split == PRIVATE:
                self.store.plan_end(table, version, self.board.book(name).phases()[number - 1].end)
        for name, entry in self.board.suites.items():
            if entry.split == PRIVATE:
                table = self.board.table_of(name)
                self.store.release(table, self.board.spent(name))
                if name not in opened and (last := self.store.ended(table)):
                    versions[table, PRIVATE] = last  # retired: its last phase stays to be seen
        self.opened, self.versions = opened, versions

    def asked(self) -> dict[str, int | None]:
        """{private split: number of the phase that is asked now}."""
        phases = {name: self.board.phase(name) for name in self.board.limits}
        return {name: None if phase is None else phase.number for name, phase in phases.items()}

    def ranked_by(self, table: str, split: str) -> tuple[bool, datetime | None]:
        """(whether a rank in a table needs an answer to its private split; until when it was so, of a split
        for which nothing is taken any more)."""
        if split == PRIVATE or PRIVATE not in self.splits(table):
            return False, None
        own = [name for name in self.board.limits if self.board.table_of(name) == table]
        ends = [self.board.taken_until(name) for name in own]
        return True, max((end for end in ends if end is not None), default=None) if all(ends) else None

    def splits(self, table: str) -> list[str]:
        """The splits that a table has."""
        return [split for split in ("public", "private") if (table, split) in self.versions]
