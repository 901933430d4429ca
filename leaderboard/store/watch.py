"""What an administrator watches: how much waits and for how long, which scorers are heard of, what has
failed. All of it from the database, so that several servers agree; nothing of it depends on an answer."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, or_, select

from leaderboard.store.queue import ATTEMPTS
from leaderboard.store.sessions import Sessions
from leaderboard.store.tables import QUEUED, RUNNING, Audit, Scorer, Submission, now

SILENCE = 120.0  # seconds without a word of any scorer, while something waits, that are a fault


@dataclass(frozen=True)
class Watched:
    """The queue at a moment. Times are seconds."""

    states: dict[str, int]  # submissions by state
    waits: float | None  # since the oldest queued one was taken; None where none is queued
    heard: datetime | None  # when the last scorer was heard of
    silent: float | None  # for how long none was heard of while something is due; None where nothing is
    scorers: int  # heard of within SILENCE

    @property
    def well(self) -> bool:
        """Whether what is due will be scored, as far as can be seen."""
        return self.silent is None or self.silent <= SILENCE


class Watch(Sessions):
    """Looking at the queue."""

    def watch(self) -> Watched:
        """The queue now."""
        moment = now()
        # In a queued row's `next_try` lies when it is due again, and when it became due.
        due = func.min(func.coalesce(Submission.next_try, Submission.created))
        is_due = or_(
            and_(
                Submission.state == QUEUED, or_(Submission.next_try.is_(None), Submission.next_try <= moment)
            ),
            and_(Submission.state == RUNNING, Submission.lease < moment),
        )
        with self._reading() as session:
            counted = select(Submission.state, func.count()).group_by(Submission.state)
            states = dict(session.execute(counted).tuples().all())
            oldest = session.scalar(select(func.min(Submission.created)).where(Submission.state == QUEUED))
            since = session.scalar(select(due).where(is_due))
            # A sign of life from the future is of a clock that was ahead: it says nothing of now.
            latest = moment + timedelta(seconds=SILENCE)
            seen = list(session.scalars(select(Scorer.seen).where(Scorer.seen <= latest)))
        heard = max(seen, default=None)
        return Watched(
            states=states,
            waits=None if oldest is None else (moment - oldest).total_seconds(),
            heard=heard,
            silent=None if since is None else (moment - (heard or since)).total_seconds(),
            scorers=sum((moment - at).total_seconds() <= SILENCE for at in seen),
        )

    def failures(self) -> Counter[tuple[str, str]]:
        """How often a try has ended without results, by (action, kind): "fail" for good, "retry" to be made
        again."""
        query = (
            select(Audit.action, Audit.detail, func.count())
            .where(Audit.action.in_(("fail", "retry")))
            .group_by(Audit.action, Audit.detail)
        )
        found: Counter[tuple[str, str]] = Counter()
        with self._reading() as session:
            for action, detail, count in session.execute(query).tuples():
                kind, colon, _ = detail.partition(": ")
                found[action, kind if colon else "unknown"] += count  # older versions noted no kind
        return found

    def scoring(self) -> tuple[int, int]:
        """(scored submissions of which it is known how long that took, seconds together)."""
        query = select(func.count(Submission.seconds), func.sum(Submission.seconds))
        with self._reading() as session:
            count, seconds = session.execute(query).one()
        return count, int(seconds or 0)

    def queue(self, most: int = 100) -> list[dict[str, Any]]:
        """Queued and running submissions, oldest first: hash, name, state, created, tries, and of a queued
        one its `next` time and the `reason` why it waits."""
        query = (
            select(Submission)
            .where(Submission.state.in_((QUEUED, RUNNING)))
            .order_by(Submission.created, Submission.hash)
            .limit(most)
        )
        with self._reading() as session:
            rows, found, before = session.scalars(query).all(), [], 0
            for row in rows:
                found.append(
                    {
                        "hash": row.hash,
                        "name": row.name,
                        "state": row.state,
                        "created": row.created,
                        **(waiting(row, before) if row.state == QUEUED else {"tries": row.attempts}),
                    }
                )
                before += row.state == QUEUED
        return found


def waiting(row: Submission, before: int) -> dict[str, Any]:
    """What is said of a queued submission with so many older ones `before` it: reason, next time, tries."""
    return {
        "reason": row.error or f"waits its turn, {before} before it",
        "next": max(row.next_try or row.created, row.created),
        "tries": row.attempts,
        "most_tries": ATTEMPTS,
    }
