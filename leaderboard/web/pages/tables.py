"""The table of a suite, as a page and as data."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from bench import blind as blinds
from leaderboard.board.config import Board
from leaderboard.board.phases import stamp
from leaderboard.board.published import PUBLISHED
from leaderboard.store import Store, ranking
from leaderboard.store.disclosure import PRIVATE
from leaderboard.store.standings import UNANSWERED, Filter
from leaderboard.web.pages.base import SIZES, Opened, Rendering, turned
from leaderboard.web.pages.filters import scores
from leaderboard.web.pages.links import Links

ROWS = 100  # a page
MOST_COLUMNS = 12
MOST_KEPT = 64  # orders of tables, and pages' rows, that are kept between requests

Order = tuple[np.ndarray, int]  # (n, 2) rank and result of what is shown, and of how many
Revision = tuple[int, int]
Found = TypeVar("Found")


def _blind_rows(blind: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """(name, {metric: value}) of every blind baseline, from {task: its record}."""
    baselines: dict[str, dict[str, float]] = {}
    for task, row in blind.items():
        for name, value in row["baselines"].items():
            baselines.setdefault(name, {})[f"{task}.accuracy"] = value
    return list(baselines.items())


def _warned(blind: dict[str, Any]) -> dict[str, str]:
    """{metric: what it must be read with}."""
    return {f"{task}.accuracy": text for task, row in blind.items() for text in blinds.warnings({task: row})}


def _asked(wanted: Filter) -> dict[str, str]:
    """A filter as the form's fields."""
    return {
        "q": wanted.words,
        "most": next((text for text, _ in SIZES if text and float(text) == wanted.most), ""),
        "open": "1" if wanted.open_weights else "",
        "video": "1" if wanted.uses_video else "",
        "no_baselines": "1" if wanted.no_baselines else "",
        "older": "1" if wanted.older else "",
    }


def _unranked(row: dict[str, Any], sort: str) -> str:
    """Why a row has no rank."""
    metric = row["metrics"].get(sort)
    if metric is None or metric["value"] is None:
        return f"it has no {sort or 'figures'} to be shown"
    if None in (metric["low"], metric["high"]):
        return "its score has no interval"
    return UNANSWERED


class TablePages(Rendering):
    """Pages of suites."""

    def __init__(self, board: Board, store: Store, opened: Opened):
        super().__init__(board, store, opened)
        self._lock = threading.Lock()  # requests are answered by many threads
        self._kept: tuple[Any, dict[Any, Any]] = (
            None,
            {},
        )  # the store's revision, what was found at that time

    def _once(self, revision: Revision, key: Any, find: Callable[[], Found]) -> Found:
        """What is found for a key, kept until something changes. The revision has been asked first: what is
        read after it may be newer, never older."""
        with self._lock:
            if self._kept[0] != revision:
                self._kept = (revision, {})
            kept = self._kept[1]
            if key in kept:
                kept[key] = kept.pop(key)  # the last that was asked for
                return kept[key]
        found = find()  # not under the lock: two threads may do the same work, none waits for the other
        with self._lock:
            if self._kept[1] is kept:
                kept[key] = found
                while len(kept) > MOST_KEPT:
                    kept.pop(next(iter(kept)))
        return found

    def _metrics(self, revision: Revision, table: str, split: str, version: str) -> list[str]:
        """The metrics of a version."""
        return self._once(
            revision,
            ("metrics", table, split, version),
            lambda: self.store.metrics(table, split, version),
        )

    def _ranked(
        self, revision: Revision, table: str, split: str, version: str, sort: str, wanted: Filter
    ) -> Order:
        """What a filter shows from best to worst."""

        ranked_by = self.ranked_by(table, split)  # another one where a suite has retired, by the clock alone

        def find() -> Order:
            standings = self.store.standings(table, split, version, sort, wanted, *ranked_by)
            ranks, order = ranking.ordered(standings, sort)
            keep = standings.shown[order]
            return np.column_stack([ranks[keep], standings.results[order][keep]]), len(order)

        return self._once(revision, (table, split, version, sort, wanted, ranked_by), find)

    def place_of(self, table: str, split: str, sort: str, number: int) -> tuple[int | None, int]:
        """(rank of a result in the table that is shown, 0 for one without; None where it does not stand
        there, how many have one)."""
        version = self.shown_version(table, split)
        ranked, _ = self._ranked(self.store.revision(), table, split, version, sort, Filter())
        found = np.flatnonzero(ranked[:, 1] == number)
        rank = int(ranked[found[0], 0]) if len(found) else None
        return rank, int(np.count_nonzero(ranked[:, 0]))

    def _rows(
        self, revision: Revision, of: tuple[str, str, str], part: np.ndarray, columns: list[str], sort: str
    ) -> list[Any]:
        """(rank, row) of a page of the table of a suite, split and version, each row with its cells."""

        def find() -> dict[int, dict[str, Any]]:
            numbers = part[:, 1].tolist()
            figures = self.store.figures(*of, numbers, columns)
            return {
                number: {**row, "cells": scores(figures[number], columns, sort)}
                for number, row in self.store.rows(numbers, []).items()
            }

        rows = self._once(revision, (part[:, 1].tobytes(), *columns, sort), find)
        return [(rank, rows[result]) for rank, result in part.tolist() if result in rows]

    def shown_version(self, table: str, split: str) -> str:
        """The version whose table is shown where none is asked for: what is served now; of a private split
        the one whose phase ended last, where there is one, for the current one shows nothing yet."""
        return (self.store.ended(table) if split == PRIVATE else None) or self.versions[table, split]

    def columns(self, table: str, split: str) -> list[str]:
        """The metrics that the current version's table shows."""
        version = self.shown_version(table, split)
        return ranking.columns(self._metrics(self.store.revision(), table, split, version))

    def table(
        self,
        table: str,
        split: str = "public",
        version: str = "",
        sort: str = "",
        chosen: list[str] | None = None,
        wanted: Filter | None = None,
        page: int = 1,
        at: Links | None = None,
    ) -> tuple[str, int]:
        """A page of a suite's table, and how many pages there are. What is unknown among version, sort and
        chosen columns is passed over."""
        wanted, current = wanted or Filter(), self.shown_version(table, split)
        if not version or version not in [known["hash"] for known in self.store.versions(table, split)]:
            version = current
        revision = self.store.revision()
        metrics = self._metrics(revision, table, split, version)
        columns = [name for name in metrics if name in (chosen or ())][:MOST_COLUMNS]
        columns = columns or ranking.columns(metrics)
        sort = sort if sort in metrics else (columns[0] if columns else "")
        if sort in columns:  # what the rows are ordered by stands beside their names, on a phone too
            columns = [sort, *(name for name in columns if name != sort)]
        shown, total = self._ranked(revision, table, split, version, sort, wanted)
        part, page, pages = turned(shown, page, ROWS)
        blind = self.store.blind(table, split, version)
        name = self.board.suite_in(table, split)
        entry = self.board.suites[name] if name else None
        text = self.render(
            "table.html",
            at,
            suite=table,
            split=split,
            splits=self.splits(table),
            version=version,
            old=version != current,
            retired=self.board.retired(name) if name else None,
            told=self._told(table, split, version),
            sort=sort,
            columns=columns,
            metrics=metrics,
            rows=self._rows(revision, (table, split, version), part, columns, sort),
            shown=len(shown),
            total=total,
            page_number=page,
            pages=pages,
            query={
                "split": split if split != "public" else "",
                "version": version if version != current else "",
                **_asked(wanted),
                "col": columns if chosen else [],
            },
            filtered=wanted != Filter(),
            warnings=_warned(blind),
            blind=_blind_rows(blind),
            inputs=name if entry and entry.render else None,
            published=[part for part in PUBLISHED if entry and part["what"] in entry.published],
        )
        return text, pages

    def _told(self, table: str, split: str, version: str) -> str:
        """What a reader of a table with a private split has to know of its figures and ranks."""
        if PRIVATE not in self.splits(table):
            return ""
        if split != PRIVATE:
            _, until = self.ranked_by(table, split)
            later = (
                f"; those sent since {until:%Y-%m-%d}, when it was asked no more, need not" if until else ""
            )
            return (
                f"Only models that answer the private split too, nearly all of it, have a rank here{later}."
            )
        if self.store.held(table, split, version):
            ends = self.store.until(table, version)
            when = f" on {ends:%Y-%m-%d}" if ends else ""
            return f"Scored; figures and ranks are shown when this phase ends{when}, in no order until then."
        return "A phase that has ended: of each model the newest submission, rounded as its interval allows."

    def data(self, table: str, split: str, sort: str, limit: int, offset: int) -> dict[str, Any]:
        """A part of a table as plain data."""
        version = self.shown_version(table, split)
        metrics = self.store.metrics(table, split, version)
        sort = sort if sort in metrics else next(iter(ranking.columns(metrics)), "")
        ranked, total = self._ranked(self.store.revision(), table, split, version, sort, Filter())
        part = ranked[offset : offset + limit].tolist()
        rows = self.store.rows([result for _, result in part], metrics)
        return {
            "suite": table,
            "split": split,
            "version": version,
            "sort": sort,
            "total": total,
            "models": [
                {
                    "rank": rank or None,
                    "unranked": None if rank else _unranked(rows[result], sort),
                    **rows[result],
                    "created": stamp(rows[result]["created"]),
                }
                for rank, result in part
                if result in rows  # not withdrawn meanwhile
            ],
        }

    def changelog(self, table: str, at: Links | None = None) -> str:
        """Versions of a suite."""
        versions = [(split, self.store.versions(table, split)) for split in self.splits(table)]
        return self.render("versions.html", at, suite=table, versions=versions, current=self.versions)
