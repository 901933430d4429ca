"""How often somebody may do something, counted in the database: all server processes share it, and a
restart forgets nothing. Own code: the stores of `limits` (and so of slowapi) are memory, Redis, Memcached and
MongoDB, none of them SQL, so that a board would need another server beside its database."""

import hashlib
import json
import time
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from leaderboard.store.sessions import Sessions
from leaderboard.store.tables import Quota

INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
# Events are counted in so many steps of a window, so that a row has a bounded size however many are allowed;
# one counts until its step has wholly left the window: never fewer than there were, for a step too long.
STEPS = 60


def _key(what: str, who: str) -> str:
    """Addresses are people's, and stand nowhere as they are."""
    return hashlib.sha256(f"{what}\n{who}".encode()).hexdigest()


def _within(kept: str, seconds: float) -> tuple[int, dict[int, int]]:
    """(the step that is now, {step: events} of those that the window of so many seconds before now
    touches)."""
    now = int(time.time() / seconds * STEPS)
    return now, {step: count for step, count in json.loads(kept) if step >= now - STEPS}


class Quotas(Sessions):
    """Windows of time that end now, whenever that is; an event that is refused is not counted."""

    def spend(self, what: str, who: str, most: int, seconds: float) -> bool:
        """Count an event; False, and nothing counted, where the last so many seconds hold `most` of them. The
        row is locked by what asks for it, so that no two events can both be the last."""
        if most < 1:
            return False
        key = _key(what, who)
        asked = INSERT[self.engine.dialect.name](Quota).values(
            key=key, until=time.time() + seconds, steps="[]"
        )
        locked = asked.on_conflict_do_update(index_elements=[Quota.key], set_={"key": Quota.key})
        with self._session() as session:
            kept = session.scalars(locked.returning(Quota.steps)).one()
            now, counted = _within(kept, seconds)
            if sum(counted.values()) >= most:
                return False
            counted[now] = counted.get(now, 0) + 1
            row = session.get_one(Quota, key, populate_existing=True)
            row.steps = json.dumps(sorted(counted.items()), allow_nan=False)
            row.until = (now + STEPS + 1) * seconds / STEPS
        return True

    def is_left(self, what: str, who: str, most: int, seconds: float) -> bool:
        """Whether one more event may happen now."""
        query = select(Quota.steps).where(Quota.key == _key(what, who))
        with self._reading() as session:
            kept = session.scalar(query)
        return sum(_within(kept or "[]", seconds)[1].values()) < most

    def sweep_quotas(self) -> None:
        """Forget windows that are over."""
        with self._session() as session:
            session.execute(delete(Quota).where(Quota.until <= time.time()))
