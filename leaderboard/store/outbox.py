"""What is to be told of submissions' changes of state: rows that the transaction of the change itself writes,
whoever makes it, so that nothing is told that did not happen and nothing that happened is forgotten."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, event, inspect, select, true
from sqlalchemy.orm import Session

from leaderboard.board.phases import stamp
from leaderboard.store.sessions import Sessions, note
from leaderboard.store.tables import QUEUED, RUNNING, Account, Notice, Submission, now

# Seconds until the next try after the first, second, … that has failed; after the last it is given up.
DELAYS = (30, 120, 600, 3600, 21600)
HELD = timedelta(minutes=5)  # that a notice is left to who has taken it
OLDEST = timedelta(days=7)  # of a notice that nobody has told


@dataclass(frozen=True)
class Due:
    """A notice whose time has come."""

    id: int
    content: dict[str, Any]
    told: frozenset[str]  # by which ways it has been told already


@event.listens_for(Session, "before_flush")
def _write(session: Session, *_: Any) -> None:
    """A notice for every submission whose state changes in this transaction; not for the beginning of a try,
    nor for one that goes back to wait."""
    for row in [*session.new, *session.dirty]:
        if not isinstance(row, Submission):
            continue
        changed = inspect(row).attrs.state.history
        if not changed.added or row.state == RUNNING or (row.state == QUEUED and RUNNING in changed.deleted):
            continue
        content: dict[str, Any] = {
            "hash": row.hash,
            "name": row.name,
            "state": row.state,
            "reason": row.error,
        }
        content |= {"account_id": row.account_id, "time": stamp(now())}
        session.add(Notice(content=json.dumps(content, allow_nan=False), due=now(), attempts=0, told=""))


class Outbox(Sessions):
    """Notices to be told."""

    def due_notices(self, most: int = 20) -> list[Due]:
        """Notices whose time has come, oldest first; they are the caller's for `HELD`."""
        moment = now()
        query = select(Notice).where(Notice.due <= moment).order_by(Notice.id).limit(most)
        with self._session() as session:
            found = []
            for row in session.scalars(query.with_for_update(skip_locked=True)).all():
                row.due = moment + HELD
                content = json.loads(row.content)
                account = session.get(Account, content.pop("account_id"))
                content["account"] = account.name if account else None
                found.append(Due(row.id, content, frozenset(filter(None, row.told.split(",")))))
            return found

    def told(self, notice: Due, by: set[str], failed: str | None = None) -> None:
        """A notice has been told by these ways, of all, and is gone; failed: why it has not by all. It is
        tried again, a bounded number of times."""
        with self._session() as session:
            row = session.get(Notice, notice.id, with_for_update=True)
            if row is None:
                return
            row.attempts += 1
            if failed is None or row.attempts > len(DELAYS):
                if failed is not None:
                    note(session, "server", "notice given up", notice.content["hash"], failed[:300])
                session.delete(row)
                return
            row.told = ",".join(sorted(notice.told | by))
            row.due = now() + timedelta(seconds=DELAYS[row.attempts - 1])

    def forget_notices(self, everything: bool) -> None:
        """Remove notices that nobody is to be told of, or that are too old."""
        with self._session() as session:
            session.execute(delete(Notice).where(true() if everything else Notice.due < now() - OLDEST))
