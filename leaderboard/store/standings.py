"""What a table is made of: all results of a version by one metric, and what is shown of the chosen rows."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Select, and_, func, or_, select, true

from leaderboard.card import from_json
from leaderboard.store.sessions import Sessions
from leaderboard.store.tables import DONE, Account, Flag, Result, Score, Submission

NEWEST = 20  # results whose metrics are taken for a version's: all have the same but for what a program adds


@dataclass(frozen=True)
class Filter:
    """Which rows of a table are shown."""

    words: str = ""
    """Part of a name or an organisation."""
    open_weights: bool = False
    """Those with open weights only."""
    uses_video: bool = False
    """Those that look at the video only."""
    no_baselines: bool = False
    """Without baselines."""
    most: float | None = None
    """Those of at most so many parameters only."""
    older: bool = False
    """Submissions too that the same account has replaced by a newer one of the same name."""

    def condition(self) -> ColumnElement[bool]:
        """As a condition on submissions. What is typed in is a value here, never a part of the query."""
        return and_(
            or_(
                Submission.name.icontains(self.words, autoescape=True),
                Submission.organisation.icontains(self.words, autoescape=True),
            )
            if self.words
            else true(),
            Submission.open_weights if self.open_weights else true(),
            Submission.uses_video if self.uses_video else true(),
            ~Submission.baseline if self.no_baselines else true(),
            Submission.parameters <= self.most if self.most is not None else true(),
        )


@dataclass(frozen=True)
class Standings:
    """The results of a table by one metric, (n,) each; low and high are NaN without an interval, as value
    is."""

    results: np.ndarray  # their numbers
    hashes: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    shown: np.ndarray  # whether they pass the filter


def _of_version(suite: str, split: str, version: str) -> ColumnElement[bool]:
    return and_(
        Submission.state == DONE,
        Result.suite == suite,
        Result.split == split,
        Result.suite_hash == version,
    )


class Scoreboard(Sessions):
    """The rows of tables."""

    def _newest(self, column, suite: str, split: str, version: str, most: int) -> list[Any]:
        """A column of the newest results of a version."""
        query: Select = (
            select(column)
            .join(Submission, Submission.hash == Result.submission)
            .where(_of_version(suite, split, version))
            .order_by(Result.id.desc())
            .limit(most)
        )
        with self._reading() as session:
            return list(session.scalars(query))

    def metrics(self, suite: str, split: str, version: str) -> list[str]:
        """Metrics that the newest results of a version have, in their order."""
        newest = self._newest(Result.metrics, suite, split, version, NEWEST)
        return list(
            dict.fromkeys(
                name for text in newest for name, m in json.loads(text).items() if m["value"] is not None
            )
        )

    def blind(self, suite: str, split: str, version: str) -> dict[str, Any]:
        """What blind baselines score on a version, as its newest result records it."""
        newest = self._newest(Result.blind, suite, split, version, 1)
        return json.loads(newest[0]) if newest else {}

    def standings(self, suite: str, split: str, version: str, metric: str, wanted: Filter) -> Standings:
        """All results of a version by one metric, in no order: what ranks are made of. Rows that the filter
        hides are there too, for they count in the ranks of the others."""
        age = func.row_number().over(  # 1: the newest of its name
            partition_by=(Submission.account_id, Submission.name),
            order_by=(Submission.created.desc(), Submission.hash),
        )
        query = (
            select(
                Result.id,
                Submission.hash,
                Score.value,
                Score.low,
                Score.high,
                wanted.condition().label("shown"),
                age.label("age"),
            )
            .join(Submission, Submission.hash == Result.submission)
            .outerjoin(Score, and_(Score.result_id == Result.id, Score.metric == metric))
            .where(_of_version(suite, split, version))
        )
        with self._reading() as session:
            rows = [row for row in session.execute(query).tuples() if wanted.older or row[6] == 1]
        columns = list(zip(*rows, strict=True)) if rows else [()] * 7
        value, low, high = (np.array(column, float) for column in columns[2:5])  # None becomes NaN
        return Standings(
            np.array(columns[0], int), np.array(columns[1], str), value, low, high, np.array(columns[5], bool)
        )

    def rows(self, results: list[int], metrics: list[str]) -> dict[int, dict[str, Any]]:
        """What the table shows of some results: submission, card, whether it is flagged, {metric: {value,
        low, high, n}}."""
        query = (
            select(Result.id, Submission.hash, Submission.card, Submission.created, Account.name)
            .join(Submission, Submission.hash == Result.submission)
            .join(Account, Account.id == Submission.account_id)
            .where(Result.id.in_(results))
        )
        scores = select(Score.result_id, Score.metric, Score.value, Score.low, Score.high, Score.n).where(
            Score.result_id.in_(results), Score.metric.in_(metrics)
        )
        with self._reading() as session:
            found: dict[int, dict[str, Any]] = {
                number: {
                    "hash": name_hash,
                    "account": owner,
                    "card": from_json(card),
                    "created": created,
                    "flagged": False,
                    "metrics": {},
                }
                for number, name_hash, card, created, owner in session.execute(query).tuples()
            }
            for number, metric, value, low, high, n in session.execute(scores).tuples():
                found[number]["metrics"][metric] = {"value": value, "low": low, "high": high, "n": n}
            hashes = [row["hash"] for row in found.values()]
            flagged = set(session.scalars(select(Flag.submission).where(Flag.submission.in_(hashes))))
            for row in found.values():
                row["flagged"] = row["hash"] in flagged
            return found
