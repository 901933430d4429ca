"""No span of a window's length holds more events than a window may, wherever it begins."""

import json
import random

from sqlalchemy import text

from leaderboard.store import quotas


def test_no_minute_holds_more_than_a_minute_may_however_it_is_cut(store, monkeypatch):
    """Who waits for the end of a window and begins the next at once has the same."""
    clock = [1_000_000.0]
    monkeypatch.setattr(quotas.time, "time", lambda: clock[0])
    drawn, taken = random.Random(3), []
    for _ in range(400):
        clock[0] += drawn.choice((0.01, 0.3, 1.0, 2.5, 29.9))
        left = store.is_left("x", "somebody", 20, 60)
        assert store.spend("x", "somebody", 20, 60) == left
        taken += [clock[0]] * left
    assert len(taken) > 60, "the window slides on"
    for begin in taken:
        assert sum(begin <= moment < begin + 60 for moment in taken) <= 20
    clock[0] = 2_000_000.0
    for moment in (0.0, 58.9):  # the end of a window that a first event would have begun, then its successor
        clock[0] = 2_000_000.0 + moment
        for _ in range(10 if moment else 1):
            store.spend("y", "somebody", 10, 60)
    clock[0] += 2.0
    assert not sum(store.spend("y", "somebody", 10, 60) for _ in range(10)) > 1
    with store.engine.connect() as connection:
        rows = [json.loads(row) for row in connection.scalars(text("SELECT steps FROM quotas"))]
    assert all(len(row) <= quotas.STEPS + 1 for row in rows), "a row is bounded"


def test_a_row_is_small_however_much_is_allowed(store, monkeypatch):
    for _ in range(300):
        assert store.spend("x", "somebody", 10**9, 86400)
    with store.engine.connect() as connection:
        assert len(connection.scalar(text("SELECT steps FROM quotas"))) < 60
