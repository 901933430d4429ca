"""What a table is made of: all results of a version by one metric, and what is shown of the chosen rows."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Select, and_, func, literal, or_, select, true
from sqlalchemy.orm import aliased

from leaderboard.card import from_json
from leaderboard.store import disclosure
from leaderboard.store.disclosure import PRIVATE, Disclosure
from leaderboard.store.moderation import speaks_for
from leaderboard.store.tables import DONE, Account, Flag, Result, Score, Submission

LEFT_OUT = 0.1  # share of a private task's questions that may be left unanswered, for a rank
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
    counted: np.ndarray | None = None  # whether they have a rank: all, where None


def _rounded(metric: str, value: float, low: float, high: float) -> tuple[float | None, ...]:
    """A private value with its bounds as `disclosure` gives them out."""
    if np.isnan([value, low, high]).any():
        return None, None, None
    m = disclosure.rounded({metric: {"value": value, "low": low, "high": high}}).get(metric, {})
    return m.get("value"), m.get("low"), m.get("high")


def _of_version(suite: str, split: str, version: str) -> ColumnElement[bool]:
    return and_(
        Submission.state == DONE,
        Result.suite == suite,
        Result.split == split,
        Result.suite_hash == version,
    )


def _answers_private() -> ColumnElement[bool]:
    """The condition on public results: the submission answers the table's private split too, nearly all of
    it. Depends on what was sent only."""
    its, missing = aliased(Result), aliased(Score)
    few = (
        select(missing.result_id)
        .where(missing.result_id == its.id, missing.metric.endswith(".missing"), missing.value > LEFT_OUT)
        .exists()
    )
    return (
        select(its.id)
        .where(its.submission == Submission.hash, its.suite == Result.suite, its.split == PRIVATE, ~few)
        .exists()
    )


class Scoreboard(Disclosure):
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
        if self.held(suite, split, version):
            return []
        newest = map(json.loads, self._newest(Result.metrics, suite, split, version, NEWEST))
        given = map(disclosure.rounded, newest) if split == PRIVATE else newest
        return list(dict.fromkeys(name for of in given for name, m in of.items() if m["value"] is not None))

    def blind(self, suite: str, split: str, version: str) -> dict[str, Any]:
        """What blind baselines score on a version, as its newest result records it; nothing of a private
        one."""
        if split == PRIVATE:
            return {}
        newest = self._newest(Result.blind, suite, split, version, 1)
        return json.loads(newest[0]) if newest else {}

    def standings(
        self, suite: str, split: str, version: str, metric: str, wanted: Filter, private: bool = False
    ) -> Standings:
        """All results of a version by one metric, in no order: what ranks are made of. Rows that the filter
        hides are there too, for they count in the ranks of the others. private: only who answers the table's
        private split too has a rank. Of private labels what may be given out (`disclosure`): no values while
        they are held, and one row a name."""
        kept_back = self.held(suite, split, version)
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
                (_answers_private() if private else literal(True)).label("counted"),
            )
            .join(Submission, Submission.hash == Result.submission)
            .outerjoin(Score, and_(Score.result_id == Result.id, Score.metric == metric))
            .where(_of_version(suite, split, version))
        )
        with self._reading() as session:
            rows = [
                row
                for row in session.execute(query).tuples()
                if (wanted.older and split != PRIVATE) or row[6] == 1
            ]
        columns = list(zip(*rows, strict=True)) if rows else [()] * 8
        value, low, high = (np.array(column, float) for column in columns[2:5])  # None becomes NaN
        if kept_back:
            value, low, high = (np.full(len(value), np.nan) for _ in range(3))
        elif split == PRIVATE:
            given = [_rounded(metric, *row) for row in zip(value, low, high, strict=True)]
            value, low, high = np.array(given, float).reshape(-1, 3).T
        return Standings(
            np.array(columns[0], int),
            np.array(columns[1], str),
            value,
            low,
            high,
            np.array(columns[5], bool),
            np.array(columns[7], bool) & np.array(not kept_back),
        )

    def rows(self, results: list[int], metrics: list[str]) -> dict[int, dict[str, Any]]:
        """What the table shows of some results: submission, card, whether it is flagged, {metric: {value,
        low, high, n}}."""
        query = (
            select(
                Result.id,
                Submission.hash,
                Submission.card,
                Submission.created,
                Account.name,
                Account.organisation,
            )
            .join(Submission, Submission.hash == Result.submission)
            .join(Account, Account.id == Submission.account_id)
            .where(Result.id.in_(results))
        )
        of = select(Result.id, Result.suite, Result.split, Result.suite_hash).where(Result.id.in_(results))
        scores = select(Score.result_id, Score.metric, Score.value, Score.low, Score.high, Score.n).where(
            Score.result_id.in_(results), Score.metric.in_(metrics)
        )
        with self._reading() as session:
            found: dict[int, dict[str, Any]] = {
                number: {
                    "hash": name_hash,
                    "account": owner,
                    "card": from_json(card),
                    "verified": speaks_for(from_json(card)["organisation"], verified),
                    "created": created,
                    "flagged": False,
                    "metrics": {},
                }
                for number, name_hash, card, created, owner, verified in session.execute(query).tuples()
            }
            for number, metric, value, low, high, n in session.execute(scores).tuples():
                found[number]["metrics"][metric] = {"value": value, "low": low, "high": high, "n": n}
            for number, *place in session.execute(of).tuples():
                if place[1] == PRIVATE:
                    kept_back = self._kept_back(session, *place)
                    found[number]["metrics"] = (
                        {} if kept_back else disclosure.rounded(found[number]["metrics"])
                    )
            hashes = [row["hash"] for row in found.values()]
            flagged = set(
                session.scalars(
                    select(Flag.submission).where(Flag.submission.in_(hashes), disclosure.visible())
                )
            )
            for row in found.values():
                row["flagged"] = row["hash"] in flagged
            return found
