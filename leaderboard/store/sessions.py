"""Transactions on a leaderboard's database, and its audit log. Everything that changes is noted in the log by
the same transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from leaderboard.store.database import migrate
from leaderboard.store.tables import Audit, now


def note(session: Session, who: str, action: str, subject: str, detail: str = "") -> None:
    """An entry of the audit log. What others wrote may stand in its detail: no half surrogate, which no
    database takes, no control character, with which a line would look like another's."""
    session.add(Audit(time=now(), who=who, action=action, subject=subject, detail=printable(detail)))


def printable(text: str) -> str:
    """The text with what is not seen written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


LATE = 1000  # newest entries of the log among which one of a lower number may be seen later


class Sessions:
    """What the parts of the store share."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self._reader = engine.execution_options(reads=True)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """A transaction, kept as a whole when the block ends well, else undone as a whole."""
        with Session(self.engine) as session, session.begin():
            yield session

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        """A session that writes nothing: on SQLite it neither waits for writers nor stops them."""
        with Session(self._reader) as session, session.begin():
            yield session

    def migrate(self) -> None:
        """Bring the tables to this version's form. Raises InputError for tables of a newer version."""
        migrate(self.engine)

    def revision(self) -> tuple[int, int]:
        """Another value after every change of what is stored: every change is noted in the audit log. Its
        newest thousand are counted too, because of transactions that end at once the lower number may be seen
        later."""
        with self._reading() as session:
            newest = session.scalar(select(func.max(Audit.id))) or 0
            return newest, session.scalar(select(func.count()).where(Audit.id > newest - LATE)) or 0

    def audit(self, most: int = 100) -> list[dict[str, Any]]:
        """The newest entries of the audit log."""
        with self._reading() as session:
            rows = session.scalars(select(Audit).order_by(Audit.id.desc()).limit(most))
            return [
                {"time": a.time, "who": a.who, "action": a.action, "subject": a.subject, "detail": a.detail}
                for a in rows
            ]
