"""What is given out of results on private labels: the one place that decides. Tables, pages, data, flags and
the static export read through it.

While the phase of a version lasts (`leaderboard.board.phases`): that it is scored, and when it is shown.
Afterwards: of the submission that stands (the newest of an account's name) the leading metric of every task,
rounded to what its interval supports; no class, no count of answers, no scored run. A version that no phase
has ended is never shown, so that what is unknown stays hidden."""

import json
import math
import re
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from bench.tasks import PRIMARIES
from leaderboard.board.phases import Phases, now
from leaderboard.store.sessions import Sessions, note
from leaderboard.store.tables import DONE, QUEUED, RUNNING, Account, Flag, Result, Submission, SuiteVersion

PRIVATE = "private"


def step(half: float) -> float:
    """The rounding that half an interval supports: the largest of 0.01, 0.02, 0.05, 0.1, … not above it, and
    never a finer one than 0.01."""
    power = 10 ** math.floor(math.log10(max(half, 0.01)) + 1e-9)
    return max(0.01, max(k * power for k in (1, 2, 5) if k * power <= max(half, power) + 1e-12))


def rounded(metrics: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The leading metrics of private labels, each to the step of its interval, bounds outwards. One without
    an interval is left out: nothing says to what it may be rounded."""
    found = {}
    for name in PRIMARIES:
        m = metrics.get(name)
        if m is None or None in (m["value"], m["low"], m["high"]):
            continue
        by = step((m["high"] - m["low"]) / 2)
        found[name] = {
            "value": round(round(m["value"] / by) * by, 4),
            "low": round(math.floor(m["low"] / by + 1e-9) * by, 4),
            "high": round(min(1.0, math.ceil(m["high"] / by - 1e-9) * by), 4),
            "n": None,
        }
    return found


def family(name: str) -> str:
    """A model's name without digits, marks and case."""
    return re.sub(r"[\W\d_]+", "", name.casefold())


def visible() -> ColumnElement[bool]:
    """The condition on flags that may be shown: what rests on private labels waits for its phase's end."""
    ended = (
        select(SuiteVersion.id)
        .where(
            SuiteVersion.suite == Flag.suite,
            SuiteVersion.split == PRIVATE,
            SuiteVersion.hash == Flag.version,
            SuiteVersion.ended.is_not(None),
        )
        .exists()
    )
    return or_(Flag.split != PRIVATE, ended)


def stands() -> ColumnElement[bool]:
    """The condition on submissions: none of the same account and name is newer, of those that are scored on
    the same version."""
    later, its = aliased(Submission), aliased(Result)
    # Nested, not joined: SQLite, which knows no sizes, would begin with all results of the version.
    answers = (
        select(its.id)
        .where(
            its.submission == later.hash,
            its.suite == Result.suite,
            its.split == Result.split,
            its.suite_hash == Result.suite_hash,
        )
        .correlate(later, Result)
    )
    newer = (
        select(later.hash)
        .where(
            later.state == DONE,
            later.account_id == Submission.account_id,
            later.name == Submission.name,
            or_(
                later.created > Submission.created,
                and_(later.created == Submission.created, later.hash < Submission.hash),
            ),
            answers.exists(),
        )
        .exists()
    )
    return ~newer


def _answers(suite: str) -> ColumnElement[bool]:
    """The condition on submissions: they answer a suite."""
    return Submission.suites.contains(json.dumps(suite, allow_nan=False), autoescape=True)


def within_life(session: Session, account: Account, name: str, suites: list[str], limits: dict[str, Phases]):
    """Why an account may not answer a private split once more; None where it may. limits: of the board's
    private splits. To be asked in the transaction that queues the submission."""
    for suite in suites:
        if (most := limits.get(suite)) is None:
            continue
        sent = list(
            session.scalars(
                select(Submission.name).where(
                    Submission.account_id == account.id,
                    _answers(suite),
                )
            )
        )
        alike = sum(family(other) == family(name) for other in sent)
        for count, limit, of in ((len(sent), most.account, "account"), (alike, most.family, "model family")):
            if count >= limit:
                return f"{suite} has been answered {count} times by this {of}, as often as it may in its life"
    return None


class Disclosure(Sessions):
    """Phases of private versions, as the store knows them."""

    def plan_end(self, suite: str, version: str, ends: datetime) -> None:
        """Remember when the phase of a private version is to end."""
        with self._session() as session:
            of = (SuiteVersion.suite == suite, SuiteVersion.split == PRIVATE, SuiteVersion.hash == version)
            session.execute(update(SuiteVersion).where(*of).values(ends=ends))

    def waits(self, suite: str) -> bool:
        """Whether a submission that answers a suite is to be scored still."""
        query = select(func.count()).where(
            Submission.state.in_((QUEUED, RUNNING)),
            _answers(suite),
        )
        with self._reading() as session:
            return bool(session.scalar(query))

    def release(self, suite: str, versions: list[str]) -> int:
        """Show the results of private versions whose phase has ended; returns of how many that is news."""
        with self._session() as session:
            running = (
                select(SuiteVersion)
                .where(
                    SuiteVersion.suite == suite,
                    SuiteVersion.split == PRIVATE,
                    SuiteVersion.hash.in_(versions),
                    SuiteVersion.ended.is_(None),
                )
                .with_for_update()  # of two servers at the same moment one ends it
            )
            waiting = session.scalars(running).all()
            for row in waiting:
                row.ended = now()
                note(session, "server", "phase ended", suite, row.hash)
            return len(waiting)

    def held(self, suite: str, split: str, version: str) -> bool:
        """Whether a version's figures are kept back."""
        with self._reading() as session:
            return self._kept_back(session, suite, split, version)

    @staticmethod
    def _kept_back(session: Session, suite: str, split: str, version: str) -> bool:
        ended = select(func.count()).where(
            SuiteVersion.suite == suite,
            SuiteVersion.split == split,
            SuiteVersion.hash == version,
            SuiteVersion.ended.is_not(None),
        )
        return split == PRIVATE and not session.scalar(ended)

    @staticmethod
    def _until(session: Session, suite: str, version: str) -> datetime | None:
        return session.scalar(
            select(SuiteVersion.ends).where(
                SuiteVersion.suite == suite, SuiteVersion.split == PRIVATE, SuiteVersion.hash == version
            )
        )

    def until(self, suite: str, version: str) -> datetime | None:
        """When the phase of a private version is to end, where that is known."""
        with self._reading() as session:
            return self._until(session, suite, version)

    def ended(self, suite: str) -> str | None:
        """The private version whose phase ended last; None before the first end."""
        query = (
            select(SuiteVersion.hash)
            .where(
                SuiteVersion.suite == suite, SuiteVersion.split == PRIVATE, SuiteVersion.ended.is_not(None)
            )
            .order_by(SuiteVersion.ended.desc(), SuiteVersion.id.desc())
        )
        with self._reading() as session:
            return session.scalar(query)

    def disclosed(self, session: Session, result: dict[str, Any], standing: bool) -> dict[str, Any]:
        """A result as it is given out. A private one: nothing but that it is scored while its phase lasts, or
        where another submission stands; afterwards rounded."""
        if result["split"] != PRIVATE:
            return {**result, "held": None}
        kept = {key: result[key] for key in ("suite", "split", "suite_hash")}
        bare = {**kept, "blind": {}, "folder": None, "summary": {}}
        if self._kept_back(session, result["suite"], PRIVATE, result["suite_hash"]):
            ends = self._until(session, result["suite"], result["suite_hash"])
            when = f" on {ends:%Y-%m-%d}" if ends else ""
            return {**bare, "metrics": {}, "held": f"Scored; shown when the phase ends{when}."}
        if not standing:
            return {**bare, "metrics": {}, "held": "Scored; a newer submission of this name is shown."}
        return {**bare, "metrics": rounded(result["metrics"]), "held": None}
