"""How often somebody may do something, counted in the database: all server processes share it, and a
restart forgets nothing. Own code: the stores of `limits` (and so of slowapi) are memory, Redis, Memcached and
MongoDB, none of them SQL, so that a board would need another server beside its database."""

import hashlib
import time
from typing import Any

from sqlalchemy import case, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from leaderboard.store.sessions import Sessions
from leaderboard.store.tables import Quota

INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def _key(what: str, who: str) -> str:
    """Addresses are people's, and stand nowhere as they are."""
    return hashlib.sha256(f"{what}\n{who}".encode()).hexdigest()


class Quotas(Sessions):
    """Windows of time, each begun by its first event; an event that is refused is not counted."""

    def spend(self, what: str, who: str, most: int, seconds: float) -> bool:
        """Count an event; False, and nothing counted, after `most` of them in a window of so many seconds.
        One statement, so that no two events can both be the last."""
        if most < 1:
            return False
        moment = time.time()
        over = Quota.until <= moment
        begun = INSERT[self.engine.dialect.name](Quota).values(
            key=_key(what, who), until=moment + seconds, count=1
        )
        counted = begun.on_conflict_do_update(
            index_elements=[Quota.key],
            set_={
                "until": case((over, moment + seconds), else_=Quota.until),
                "count": case((over, 1), else_=Quota.count + 1),
            },
            where=or_(over, Quota.count < most),
        ).returning(Quota.count)
        with self._session() as session:
            return session.execute(counted).first() is not None

    def is_left(self, what: str, who: str, most: int) -> bool:
        """Whether one more event may happen now."""
        query = select(Quota.count).where(Quota.key == _key(what, who), Quota.until > time.time())
        with self._reading() as session:
            return (session.scalar(query) or 0) < most

    def sweep_quotas(self) -> None:
        """Forget windows that are over."""
        with self._session() as session:
            session.execute(delete(Quota).where(Quota.until <= time.time()))
