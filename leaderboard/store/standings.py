"""What a table is made of: all results of a version by one metric, and what is shown of the chosen rows."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Engine, Select, and_, select
from sqlalchemy.orm import aliased

from bench.tasks import HEATMAP, MISSING, PRIMARIES
from leaderboard.card import from_json
from leaderboard.store import disclosure
from leaderboard.store.disclosure import PRIVATE, Disclosure
from leaderboard.store.moderation import speaks_for
from leaderboard.store.reruns import rerun_of
from leaderboard.store.tables import DONE, Account, Flag, Result, Score, Submission
from leaderboard.store.views import View, Views, of_version

LEFT_OUT = 0.1  # share of a private task's questions that may be left unanswered, for a rank
NEWEST = 20  # results whose further metrics are taken for a version's: a program's version adds some


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

    def passes(self, view: View) -> np.ndarray:
        """Which rows of a view pass, (n,)."""
        passed = np.ones(len(view.results), bool)
        if self.words:
            passed &= np.array([self.words.casefold() in text for text in view.words], bool)
        if self.open_weights:
            passed &= view.open_weights
        if self.uses_video:
            passed &= view.uses_video
        if self.no_baselines:
            passed &= ~view.baseline
        if self.most is not None:
            passed &= view.parameters <= self.most
        return passed


@dataclass(frozen=True)
class Standings:
    """The results of a table by one metric, (n,) each; low and high are NaN without an interval, as value
    is."""

    results: np.ndarray  # their numbers
    hashes: np.ndarray  # rows stand in their order
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    shown: np.ndarray  # whether they pass the filter
    parameters: np.ndarray  # NaN: unknown
    created: np.ndarray
    baseline: np.ndarray
    counted: np.ndarray | None = None  # whether they have a rank: all, where None


def _answers_private() -> ColumnElement[bool]:
    """The condition on public results: the submission answers the table's private split too, nearly all of
    it. Depends on what was sent only."""
    its, missing = aliased(Result), aliased(Score)
    # A task may be left out of both splits (heatmaps, by who makes none), not of the private one alone.
    here = aliased(Score)
    as_here = (
        select(here.result_id)
        .where(here.result_id == Result.id, here.metric == missing.metric, here.value >= missing.value)
        .correlate(Result, missing)
    )
    few = (
        select(missing.result_id)
        .where(
            missing.result_id == its.id,
            missing.metric.endswith(".missing"),
            missing.value > LEFT_OUT,
            ~and_(missing.metric == f"{HEATMAP}.{MISSING}", as_here.exists()),
        )
        .exists()
    )
    return (
        select(its.id)
        .where(its.submission == Submission.hash, its.suite == Result.suite, its.split == PRIVATE, ~few)
        .exists()
    )


UNANSWERED = "it does not answer the private split too, nearly all of it"  # why a public result has no rank


class Scoreboard(Disclosure):
    """The rows of tables."""

    def __init__(self, engine: Engine):
        super().__init__(engine)
        self._views = Views(self._reading, _answers_private)

    def ranks(self, name_hash: str, suite: str) -> bool:
        """Whether a public result may have a rank in a table with a private split."""
        query = select(Result.id).join(Submission, Submission.hash == Result.submission)
        of = (Result.submission == name_hash, Result.suite == suite, Result.split != PRIVATE)
        with self._reading() as session:
            return session.scalar(query.where(*of, _answers_private())) is not None

    def _newest(self, column, suite: str, split: str, version: str, most: int) -> list[Any]:
        """A column of the newest results of a version."""
        query: Select = (
            select(column)
            .join(Submission, Submission.hash == Result.submission)
            .where(of_version(suite, split, version))
            .order_by(Result.id.desc())
            .limit(most)
        )
        with self._reading() as session:
            return list(session.scalars(query))

    def metrics(self, suite: str, split: str, version: str) -> list[str]:
        """Primary metrics that any result of a version has, and what else the newest ones have, in their
        order."""
        if self.held(suite, split, version):
            return []
        newest = map(json.loads, self._newest(Result.metrics, suite, split, version, NEWEST))
        given = map(disclosure.rounded, newest) if split == PRIVATE else newest
        names = dict.fromkeys(name for of in given for name, m in of.items() if m["value"] is not None)
        names |= dict.fromkeys(
            name for name in PRIMARIES if name not in names and self._has(name, suite, split, version)
        )
        return list(names)

    def _has(self, metric: str, suite: str, split: str, version: str) -> bool:
        """Whether a result of a version has a metric, with the interval without which none is given out of a
        private one."""
        query = (
            select(Score.result_id)
            .join(Result, Result.id == Score.result_id)
            .join(Submission, Submission.hash == Result.submission)
            .where(Score.metric == metric, of_version(suite, split, version))
        )
        if split == PRIVATE:
            query = query.where(Score.low.is_not(None), Score.high.is_not(None))
        with self._reading() as session:
            return session.scalar(query.limit(1)) is not None

    def blind(self, suite: str, split: str, version: str) -> dict[str, Any]:
        """What blind baselines score on a version, as its newest result records it; nothing of a private
        one."""
        if split == PRIVATE:
            return {}
        newest = self._newest(Result.blind, suite, split, version, 1)
        return json.loads(newest[0]) if newest else {}

    def standings(
        self,
        suite: str,
        split: str,
        version: str,
        metric: str,
        wanted: Filter,
        private: bool = False,
        until: datetime | None = None,
    ) -> Standings:
        """All results of a version by one metric, by hash: what ranks are made of. Rows that the filter
        hides are there too, for they count in the ranks of the others. private: only who answers the table's
        private split too has a rank, or was sent after `until`, from when on nothing is taken for it. Of
        private labels what may be given out (`disclosure`): no values while they are held, and one row a
        name."""
        kept_back = self.held(suite, split, version)
        view, (column,) = self._views.of((suite, split, version), metric)
        all_of_them = (wanted.older and split != PRIVATE) or bool(view.newest.all())
        chosen = slice(None) if all_of_them else np.flatnonzero(view.newest)
        value, low, high = (np.full_like(column, np.nan) if kept_back else column)[chosen].T
        counted = view.counted if private else np.ones(len(view.results), bool)
        if until is not None:
            counted = counted | (view.created >= np.datetime64(until))
        return Standings(
            view.results[chosen],
            view.hashes[chosen],
            value,
            low,
            high,
            wanted.passes(view)[chosen],
            view.parameters[chosen],
            view.created[chosen],
            view.baseline[chosen],
            counted[chosen] & (not kept_back),
        )

    def figures(
        self, suite: str, split: str, version: str, results: list[int], metrics: list[str]
    ) -> dict[int, dict[str, dict[str, Any]]]:
        """{result: {metric: {value, low, high}}} of results of a version, as they are given out: nothing
        while they are held. Of columns in memory, where they then are for the order by any of these
        metrics."""
        found: dict[int, dict[str, dict[str, Any]]] = {number: {} for number in results}
        if self.held(suite, split, version):
            return found
        view, columns = self._views.of((suite, split, version), *metrics)
        place, known = view.places(np.array(results, int))
        for metric, column in zip(metrics, columns, strict=True):
            given = column[place]
            given[~known] = np.nan
            for number, (value, low, high) in zip(results, given.tolist(), strict=True):
                if value == value:
                    bounds = {"low": low, "high": high} if low == low else {"low": None, "high": None}
                    found[number][metric] = {"value": value, **bounds}
        return found

    def rows(self, results: list[int], metrics: list[str]) -> dict[int, dict[str, Any]]:
        """What the table shows of some results, of none withdrawn meanwhile: submission, card, whether it is
        flagged, and of these metrics {metric: {value, low, high, n}}."""
        query = (
            select(
                Result.id,
                Submission.hash,
                Submission.card,
                Submission.created,
                Account.name,
                Account.organisation,
                Result.suite,
                Result.split,
                Result.suite_hash,
                select(Flag.id).where(Flag.submission == Submission.hash, disclosure.visible()).exists(),
            )
            .join(Submission, Submission.hash == Result.submission)
            .join(Account, Account.id == Submission.account_id)
            .where(Result.id.in_(results), Submission.state == DONE)
        )
        # Results lie together by their numbers: SQLite would look for every metric of each of them instead.
        of_score = Score.__table__.c
        columns = (of_score[name] for name in ("result_id", "metric", "value", "low", "high", "n"))
        scores = select(*columns).where(of_score.result_id.in_(results), (of_score.metric + "").in_(metrics))
        with self._reading() as session:
            found: dict[int, dict[str, Any]] = {}
            places: dict[int, tuple[str, str, str]] = {}
            for number, name_hash, card, created, owner, verified, *place, flagged in session.execute(query):
                places[number] = (place[0], place[1], place[2])
                stated = from_json(card)
                found[number] = {
                    "hash": name_hash,
                    "account": owner,
                    "card": stated,
                    "verified": speaks_for(stated["organisation"], verified),
                    "created": created,
                    "flagged": flagged,
                    "rerun": None,
                    "metrics": {},
                }
            for number, metric, value, low, high, n in (
                session.connection().execute(scores) if metrics else ()
            ):
                if number in found:
                    found[number]["metrics"][metric] = {"value": value, "low": low, "high": high, "n": n}
            for suite in {of[0] for of in places.values()}:
                again = rerun_of(session, [row["hash"] for row in found.values()], suite)
                for number, of in places.items():
                    if of[0] == suite and of[1] != PRIVATE:
                        found[number]["rerun"] = again.get(found[number]["hash"])
            kept_back = {of: self._kept_back(session, *of) for of in set(places.values()) if of[1] == PRIVATE}
            for number, of in places.items():
                if of[1] == PRIVATE:
                    metrics_of = found[number]["metrics"]
                    found[number]["metrics"] = {} if kept_back[of] else disclosure.rounded(metrics_of)
            return found
