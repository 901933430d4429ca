"""A version's results as columns in memory, so that an order of ten thousand models is found without reading
them again. Results never change and every change of a submission is noted in the audit log, so a view is
brought up to date by reading again what new entries name: each process has its own, none is older than what
was stored when it was asked."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.orm import Session

from leaderboard.store import disclosure
from leaderboard.store.sessions import LATE
from leaderboard.store.tables import DONE, Audit, Result, Score, Submission

MOST_VIEWS = 8  # that are kept, those asked for last
MOST_COLUMNS = 32  # metrics of a view that are kept: 24 bytes a model each
MOST_NAMED = 500  # submissions that are read again one by one; of more, all are

Of = tuple[str, str, str]  # suite, split, version


def of_version(suite: str, split: str, version: str) -> ColumnElement[bool]:
    """The condition on finished results of a version."""
    return and_(
        Submission.state == DONE,
        Result.suite == suite,
        Result.split == split,
        Result.suite_hash == version,
    )


def _given_out(metric: str, value: float, low: float | None, high: float | None) -> tuple[Any, ...]:
    """A private value with its bounds as `disclosure` gives them out."""
    m = disclosure.rounded({metric: {"value": value, "low": low, "high": high}}).get(metric, {})
    return m.get("value"), m.get("low"), m.get("high")


@dataclass(frozen=True)
class View:
    """The results of a version, (n,) each, by the hash of their submission."""

    rows: dict[int, tuple[Any, ...]]  # by number: what the query has
    results: np.ndarray  # their numbers
    by_number: np.ndarray  # the order of these
    hashes: np.ndarray
    newest: np.ndarray  # whether nothing newer of the same account has their name
    created: np.ndarray
    open_weights: np.ndarray
    uses_video: np.ndarray
    baseline: np.ndarray
    parameters: np.ndarray  # NaN: unknown
    counted: np.ndarray  # whether the private split is answered too
    words: list[str]  # name and organisation, casefolded
    scores: dict[str, np.ndarray] = field(default_factory=dict)  # (n, 3) by metric: value, low, high

    def places(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(where results of these numbers stand, which of them do), (m,) each."""
        if not len(self.results):
            return np.zeros(len(numbers), int), np.zeros(len(numbers), bool)
        place = np.searchsorted(self.results, numbers, sorter=self.by_number)
        place = self.by_number[place.clip(max=len(self.results) - 1)]
        return place, self.results[place] == numbers


def _view(rows: dict[int, tuple[Any, ...]]) -> View:
    ordered = sorted(rows.values(), key=lambda row: row[1])
    newest: dict[tuple[int, str], tuple[Any, ...]] = {}
    for row in ordered:  # of two at one moment the lower hash is the newer
        of = (row[2], row[3])
        if of not in newest or row[5] > newest[of][5]:
            newest[of] = row
    results = np.array([row[0] for row in ordered], int)
    return View(
        rows,
        results,
        np.argsort(results),
        np.array([row[1] for row in ordered], str),
        np.array([newest[row[2], row[3]] is row for row in ordered], bool),
        np.array([row[5] for row in ordered], "datetime64[us]"),
        np.array([row[6] for row in ordered], bool),
        np.array([row[7] for row in ordered], bool),
        np.array([row[8] for row in ordered], bool),
        np.array([row[9] for row in ordered], float),
        np.array([row[10] for row in ordered], bool),
        [f"{row[3]}\n{row[4]}".casefold() for row in ordered],
    )


def _placed(column: np.ndarray, view: View, rows: Any) -> np.ndarray:
    """A column with (result, value, low, high) put where the results stand; others are passed over."""
    if len(rows):
        given = np.array(rows, float)  # None becomes NaN
        place, known = view.places(given[:, 0])
        column[place[known]] = given[known, 1:]
    return column


class Views:
    """The views of a store's tables. reading: opens a session that writes nothing; counted: the condition on
    public results that have a rank beside a private split."""

    def __init__(self, reading: Callable[[], Any], counted: Callable[[], ColumnElement[bool]]):
        self._reading, self._counted = reading, counted
        self._lock = threading.Lock()  # requests are answered by many threads
        self._kept: OrderedDict[Of, tuple[set[int], View]] = OrderedDict()  # entries of the log, and the view

    def of(self, of: Of, *metrics: str) -> tuple[View, list[np.ndarray]]:
        """A version as it is stored now, and (n, 3) of each metric: value, low, high as they are given out.
        At most MOST_COLUMNS metrics."""
        with self._lock, self._reading() as session:
            seen, before = self._kept.get(of, (set(), None))
            # The log first: what is read after it may be newer, never older.
            newest = session.scalar(select(func.max(Audit.id))) or 0
            since = min(newest, max(seen, default=newest)) - LATE
            log = dict(
                session.execute(select(Audit.id, Audit.subject).where(Audit.id > since)).tuples().all()
            )
            view = self._renewed(session, of, before, {log[number] for number in log.keys() - seen})
            for metric in metrics:
                if metric not in view.scores:
                    rows = self._scores(session, of, view, metric)
                    view.scores[metric] = _placed(np.full((len(view.results), 3), np.nan), view, rows)
                view.scores[metric] = view.scores.pop(metric)  # the last that was asked for
            while len(view.scores) > MOST_COLUMNS:
                view.scores.pop(next(iter(view.scores)))
            self._kept[of] = (set(log), view)
            self._kept.move_to_end(of)
            while len(self._kept) > MOST_VIEWS:
                self._kept.popitem(last=False)
            return view, [view.scores[metric] for metric in metrics]

    def _renewed(self, session: Session, of: Of, before: View | None, named: set[str]) -> View:
        """A view with the submissions that are named, and may have changed, read again."""
        if before is None or len(named) > MOST_NAMED:
            return _view(self._read(session, of))
        changed = self._read(session, of, named) if named else {}
        left = {number: row for number, row in before.rows.items() if row[1] not in named}
        if not changed and len(left) == len(before.rows):
            return before
        view = _view(left | changed)
        for metric, column in before.scores.items():
            rows = np.column_stack([before.results, column])
            taken = _placed(np.full((len(view.results), 3), np.nan), view, rows)
            fresh = [number for number in changed if number not in before.rows]
            new = self._scores(session, of, view, metric, fresh) if fresh else ()
            view.scores[metric] = _placed(taken, view, new)
        return view

    def _read(self, session: Session, of: Of, named: set[str] | None = None) -> dict[int, tuple[Any, ...]]:
        query: Select = (
            select(
                Result.id,
                Submission.hash,
                Submission.account_id,
                Submission.name,
                Submission.organisation,
                Submission.created,
                Submission.open_weights,
                Submission.uses_video,
                Submission.baseline,
                Submission.parameters,
                self._counted().label("counted"),
            )
            .join(Submission, Submission.hash == Result.submission)
            .where(of_version(*of))
        )
        if named is not None:
            query = query.where(Submission.hash.in_(named))
        return {row[0]: tuple(row) for row in session.execute(query)}

    def _scores(
        self, session: Session, of: Of, view: View, metric: str, only: list[int] | None = None
    ) -> Sequence[tuple[Any, ...]]:
        """(result, value, low, high) of a metric; only: of these results."""
        of_score = Score.__table__.c
        columns = (of_score.result_id, of_score.value, of_score.low, of_score.high)
        query = select(*columns).where(of_score.metric == metric)
        if only is not None:
            query = query.where(of_score.result_id.in_(only))
        elif len(view.results):
            first, last = int(view.results.min()), int(view.results.max())
            query = query.where(of_score.result_id.between(first, last))
        # As the driver has them: numbers need no look at each, and numpy takes ten times as long for a row
        # that is no plain tuple.
        rows = session.connection().execute(query).cursor.fetchall()  # type: ignore[union-attr]
        if of[1] != disclosure.PRIVATE:
            return rows
        return [
            (number, *_given_out(metric, value, low, high))
            for number, value, low, high in rows
            if number in view.rows
        ]
