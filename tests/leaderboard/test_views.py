"""Tables out of views in memory are what the store has, whichever process changed it."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import delete, event, insert
from sqlalchemy.orm import Session
from test_store import CARD, name, scored

from leaderboard.store import Store, views
from leaderboard.store.database import connect
from leaderboard.store.ranking import ordered
from leaderboard.store.sessions import LATE
from leaderboard.store.standings import Filter
from leaderboard.store.tables import Audit, now

METRICS = ("mcq.accuracy", "judgement.accuracy")
WANTED = (Filter(), Filter(older=True), Filter(words="M3", most=5e9, no_baselines=True, open_weights=True))


def table_of(store, metric, wanted, split="public"):
    found = store.standings("scenes", split, "abc", metric, wanted)
    ranks, order = ordered(found, metric)
    columns = (found.hashes, found.results, found.value, found.low, found.high, found.shown)
    known = [np.nan_to_num(c[order], nan=-1) if c.dtype == float else c[order] for c in columns]
    return ranks.tolist(), *(column.tolist() for column in known)


def finish(store, n, rng, split="public"):
    """Submit and score one, with an interval or without, with one metric or two."""
    card = replace(
        CARD,
        name=f"m{rng.integers(40)}",
        parameters=float(rng.integers(1, 9)) * 1e9 if rng.random() < 0.8 else None,
        open_weights=bool(rng.random() < 0.5),
        baseline=bool(rng.random() < 0.1),
    )
    store.submit("lab", name(n), card, ["scenes"])
    job = store.claim(60)
    metrics = {}
    for metric in METRICS[: 1 + int(rng.random() < 0.8)]:
        value = float(np.round(rng.random(), 2))
        bounds = (value - 0.05, value + 0.05) if rng.random() < 0.8 else (None, None)
        metrics[metric] = {"value": value, "low": bounds[0], "high": bounds[1], "n": 50}
    store.finish(job, [replace(scored(), metrics=metrics, split=split)])


def test_a_view_is_what_a_fresh_process_reads_after_every_change(store, database, monkeypatch):
    store.create_account("lab", daily=10**6)
    rng = np.random.default_rng(0)
    server, before = Store(connect(database)), 0
    for turn in range(14):
        monkeypatch.setattr(views, "MOST_NAMED", 2 if turn > 10 else 500)
        for n in range(before, before + int(rng.integers(0, 4))):
            finish(store, n, rng)
            before = n + 1
        if before and rng.random() < 0.4:
            store.withdraw("lab", name(int(rng.integers(before))))
        fresh = Store(connect(database))
        for metric in METRICS[: 1 + turn % 2]:
            for wanted in WANTED:
                assert table_of(server, metric, wanted) == table_of(fresh, metric, wanted), turn
        fresh.engine.dispose()
    assert len(table_of(server, METRICS[0], WANTED[1])[0]) > 10
    server.engine.dispose()


def test_an_entry_with_a_lower_number_that_is_seen_later_counts(store):
    store.create_account("lab", daily=10**6)
    rng = np.random.default_rng(1)
    finish(store, 0, rng)
    table_of(store, METRICS[0], Filter())
    with Session(store.engine) as session, session.begin():
        at = dict(time=now(), who="x", action="y", subject="z")
        session.execute(insert(Audit), [{"id": 100 + n, **at} for n in range(LATE // 2)])
    table_of(store, METRICS[0], Filter())
    finish(store, 1, rng)  # its entries, as another process's slower transaction would number them
    with Session(store.engine) as session, session.begin():
        session.execute(delete(Audit).where(Audit.subject == name(1)))
        session.execute(insert(Audit), [{"id": 90, **at, "subject": name(1)}])
    assert len(table_of(store, METRICS[0], Filter())[0]) == 2


def test_a_known_column_is_not_read_again(store):
    store.create_account("lab", daily=10**6)
    rng = np.random.default_rng(2)
    for n in range(3):
        finish(store, n, rng)
    table_of(store, METRICS[0], Filter())
    said = []
    event.listen(store.engine, "before_cursor_execute", lambda *a: said.append(a[2]))
    table_of(store, METRICS[0], Filter(words="m"))
    assert said and not any("scores" in text or "FROM results" in text for text in said), said


def test_columns_and_views_that_are_kept_are_bounded(store, monkeypatch):
    store.create_account("lab", daily=10**6)
    finish(store, 0, np.random.default_rng(3))
    monkeypatch.setattr(views, "MOST_COLUMNS", 2)
    monkeypatch.setattr(views, "MOST_VIEWS", 2)
    for n in range(5):
        store.standings("scenes", "public", f"v{n}", METRICS[0], Filter())
        table_of(store, f"x{n}", Filter())
    kept = store._views._kept
    assert len(kept) == 2 and all(len(view.scores) <= 2 for _, view in kept.values())


@pytest.mark.parametrize("words", ["%", "_", "'"])
def test_marks_of_sql_are_words(store, words):
    store.create_account("lab", daily=10**6)
    finish(store, 0, np.random.default_rng(4))
    assert not any(table_of(store, METRICS[0], Filter(words=words))[-1])
