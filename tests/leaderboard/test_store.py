"""Accounts, jobs and results, on SQLite and on a real PostgreSQL."""

import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from board_fixtures import ON_SQLITE_FIRST, Place, rows_of
from conftest import ROOT
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from bench import suite as suites
from bench.models.baseline import Baseline
from bench.run import run
from leaderboard.__main__ import main
from leaderboard.board import config as boards
from leaderboard.card import Card
from leaderboard.intake import submission
from leaderboard.scoring import scorer
from leaderboard.store import Store, integrity
from leaderboard.store.database import MIGRATIONS, connect
from leaderboard.store.queue import ATTEMPTS, LOST, Limited
from leaderboard.store.ranking import ordered
from leaderboard.store.results import Scored
from leaderboard.store.standings import Filter
from leaderboard.store.tables import Account, Base, Result, Score, Submission, now
from tvad.common.errors import InputError

CARD = Card("guess", "a lab", "apache-2.0", "none known", ["nothing"])


def name(n: int) -> str:
    return f"{n:064x}"


def scored(value: float = 0.5, suite: str = "scenes") -> Scored:
    return Scored(
        suite, "public", "abc", {"mcq.accuracy": {"value": value, "low": None, "high": None, "n": 3}}, {}
    )


def test_tokens_open_accounts_and_are_kept_nowhere(store):
    token = store.create_account("lab")
    assert (
        store.account_of(token) == "lab"
        and store.account_of(token + "x") is None
        and store.account_of("") is None
    )
    with pytest.raises(InputError, match="exists already"):
        store.create_account("lab")
    renewed = store.renew_token("lab")
    assert store.account_of(token) is None and store.account_of(renewed) == "lab"
    assert not any(secret in json.dumps(store.audit(), default=str) for secret in (token, renewed))
    store.disable_account("lab")
    assert store.account_of(renewed) is None
    with pytest.raises(InputError, match="is disabled"):
        store.renew_token("lab")
    store.enable_account("lab")
    assert store.account_of(renewed) == "lab"
    for call in (store.renew_token, store.disable_account, store.enable_account):
        with pytest.raises(InputError, match="no account 'nobody'"):
            call("nobody")


@pytest.mark.parametrize("called", ["admin", "Admin", "ad.min", "scorer", "server", "SERVER"])
def test_nobody_is_called_as_who_acts_for_the_board(store, called):
    with pytest.raises(InputError, match="board's own"):
        store.create_account(called)
    store.create_account(f"{called} of mine")


def test_an_account_of_an_earlier_version_that_is_called_so_is_warned_of(tmp_path, baseline_runs, capsys):
    place = Place(tmp_path, baseline_runs)
    with Session(place.store.engine) as session, session.begin():
        session.add(Account(name="Admin", token_hash="x", created=now()))
    assert main(["admin", "audit", "--config", str(place.config)]) == 0
    assert "'Admin' may be the account" in capsys.readouterr().err


def test_the_same_content_is_queued_once_and_days_are_limited(store):
    store.create_account("lab", daily=2)
    store.create_account("other")
    assert store.submit("lab", name(1), CARD, ["scenes"]) and not store.submit(
        "lab", name(1), CARD, ["scenes"]
    )
    assert not store.submit("other", name(1), CARD, ["scenes"])
    assert store.submit("lab", name(2), CARD, ["scenes"])
    with pytest.raises(Limited, match="2 submissions within a day"):
        store.submit("lab", name(3), CARD, ["scenes"])
    with Session(store.engine) as session, session.begin():
        session.execute(update(Submission).values(created=now() - timedelta(days=2)))
    assert store.submit("lab", name(3), CARD, ["scenes"])


def wait(store) -> None:
    """Let the time come of what is tried again later."""
    with Session(store.engine) as session, session.begin():
        session.execute(update(Submission).values(next_try=None))


def test_a_job_is_finished_by_the_one_that_holds_it(store):
    store.create_account("lab")
    store.submit("lab", name(1), CARD, ["scenes"])
    slow = store.claim(-1)  # its lease has run out at once: the scorer is taken for dead
    assert store.claim(60) is None, "it waits a little"
    wait(store)
    quick = store.claim(60)
    assert slow.hash == quick.hash and store.claim(60) is None
    assert (
        store.finish(quick, [scored(0.7)])
        and not store.finish(slow, [scored(0.1)])
        and not store.fail(slow, "late")
    )
    row = rows_of(store)[0]
    assert (
        row["metrics"]["mcq.accuracy"]["value"] == 0.7
        and row["card"]["organisation"] == "a lab"
        and row["account"] == "lab"
    )
    assert store.status(name(1))["state"] == "done" and store.status(name(9)) is None


def test_a_job_that_never_ends_is_given_up(store):
    store.create_account("lab")
    store.submit("lab", name(1), CARD, ["scenes"])
    for _ in range(ATTEMPTS):
        assert store.claim(-1) is not None and store.claim(-1) is None
        wait(store)
    found = store.status(name(1))
    assert found["state"] == "failed" and found["error"].startswith(f"given up after {ATTEMPTS} tries: ")


def test_withdrawal_leaves_a_tombstone(store):
    for who in ("lab", "other"):
        store.create_account(who)
    store.submit("lab", name(1), CARD, ["scenes"])
    job = store.claim(60)
    words = set()
    for account, which in (("other", name(1)), ("lab", name(2))):
        with pytest.raises(InputError) as error:
            store.withdraw(account, which)
        words.add(str(error.value).replace(which, ""))
    assert len(words) == 1, "who does not own it learns nothing"
    store.withdraw("lab", name(1))
    assert not store.finish(job, [scored()]) and rows_of(store) == []
    assert store.status(name(1))["state"] == "withdrawn" and not store.submit(
        "lab", name(1), CARD, ["scenes"]
    )
    assert [entry["action"] for entry in store.audit()][:2] == ["withdraw", "submit"]


def test_many_at_once_are_queued_once_and_scored_once(store):
    store.create_account("lab", daily=1000)
    accepted, finished, failures = [], [], []

    def guarded(call):
        try:
            call()
        except BaseException as error:
            failures.append(error)

    def send():
        accepted.extend(store.submit("lab", name(n), CARD, ["scenes"]) for n in range(50))

    def work():
        idle = 0
        while idle < 40:
            if (job := store.claim(30)) is None:
                idle += 1
                wait(store)
                time.sleep(0.05)
                continue
            idle = 0
            if int(job.hash, 16) % 5 == 0 and job.hash not in died:  # killed in between: the lease runs out
                died.add(job.hash)
                with Session(store.engine) as session, session.begin():
                    session.execute(
                        update(Submission)
                        .where(Submission.hash == job.hash)
                        .values(lease=now() - timedelta(seconds=1))
                    )
                continue
            if store.finish(job, [scored()]):
                finished.append(job.hash)

    died: set[str] = set()
    threads = [threading.Thread(target=guarded, args=(call,)) for call in (*[send] * 6, *[work] * 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and sum(accepted) == 50 and len(accepted) == 300
    assert sorted(finished) == [name(n) for n in range(50)] and len(died) == 10
    with Session(store.engine) as session:
        assert len(session.scalars(select(Result)).all()) == 50


@pytest.fixture(scope="module")
def board(scenes, tmp_path_factory):
    """(configuration file, board) with one suite over the generated clips."""
    folder = tmp_path_factory.mktemp("board")
    suite = {"name": "scenes", "data": str(scenes), "tasks": ["mcq", "judgement"], "resamples": 50}
    (folder / "suite.yaml").write_text(json.dumps(suite))
    (folder / "board.yaml").write_text(
        json.dumps({"folder": str(folder), "suites": {"scenes": {"config": str(folder / "suite.yaml")}}})
    )
    return str(folder / "board.yaml"), boards.read(str(folder / "board.yaml"))


def put(board, tmp_path, which="random") -> submission.Verified:
    """A packed submission in the board's folder."""
    plan = suites.read(board.suites["scenes"].config)
    run(Baseline(which), f"baseline:{which}", plan, tmp_path / which)
    (tmp_path / "card.yaml").write_text(
        "{name: guess, organisation: a lab, licence: mit, contamination: none known, data: [nothing]}"
    )
    found = submission.pack(
        {"scenes": tmp_path / which}, tmp_path / "card.yaml", tmp_path / f"{which}-packed"
    )
    target = board.submission(found.hash)
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(tmp_path / f"{which}-packed", target)
    return found


@ON_SQLITE_FIRST
def test_a_submission_is_scored_in_a_process_of_its_own(store, board, tmp_path):
    config, plan = board
    store.create_account("lab")
    found = put(plan, tmp_path, "oracle")
    store.submit("lab", found.hash, found.card, found.suites)
    one = scorer.Scorer(config, plan, store)
    assert one.work_once() and not one.work_once()
    row = rows_of(store)[0]
    assert (
        row["metrics"]["mcq.accuracy"]["value"] == 1.0 and row["metrics"]["mcq.accuracy"]["low"] is not None
    )
    result = store.results(found.hash)[0]
    assert result["blind"]["mcq"]["chance"] == 0.25 and len(result["suite_hash"]) == 16
    kept = plan.scored(result["folder"])
    assert json.loads((kept / "metrics.json").read_text()) == result["metrics"], "the scored run is kept"
    assert (
        plan.folder not in (kept / "run.json").read_text()
        and "submission:" + found.hash in (kept / "run.json").read_text()
    )
    given, right = result["summary"]["answers"]["judgement"]["Yes"]
    assert given == right > 0 and set(result["summary"]["by_class"]) == {"mcq", "judgement"}


def test_scoring_stops_at_its_limits_and_tells_nothing(store, board, tmp_path):
    config, plan = board
    store.create_account("lab")
    found = put(plan, tmp_path)
    for n, limits in enumerate((boards.Scoring(seconds=0.01), boards.Scoring(gigabytes=0.05))):
        store.submit("lab", found.hash if n == 0 else name(7), found.card, found.suites)
        if n:
            shutil.copytree(plan.submission(found.hash), plan.submission(name(7)), dirs_exist_ok=True)
        tight = boards.Board(plan.folder, plan.suites, scoring=limits)
        assert scorer.Scorer(config, tight, store).work_once()
    assert "took longer than 0.01 s" in store.status(found.hash)["error"] and store.status(name(7))[
        "error"
    ] in ("scoring took more than 0.05 GiB", scorer.FAILURE)


def test_a_killed_scorer_loses_nothing(board, tmp_path):
    config, plan = board
    store = Store(connect(plan.url))
    store.migrate()
    store.create_account("lab")
    found = put(plan, tmp_path, "prior")
    store.submit("lab", found.hash, found.card, found.suites)
    # One that holds the job until it is killed: a quick one might be done between two looks at its state.
    holding = (
        "import sys, time; from leaderboard.scoring import __main__, scorer;"
        " scorer.run_job = lambda *job: time.sleep(600); __main__.main(['--config', sys.argv[1]])"
    )
    process = subprocess.Popen([sys.executable, "-c", holding, config], cwd=ROOT)
    deadline = time.monotonic() + 120
    while store.status(found.hash)["state"] != "running":
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    with Session(store.engine) as session, session.begin():
        session.execute(update(Submission).values(lease=now() - timedelta(seconds=1)))
    assert store.claim(60) is None and store.status(found.hash)["waits"]["reason"] == LOST
    wait(store)
    assert (
        subprocess.run(
            [sys.executable, "-m", "leaderboard.scoring", "--config", config, "--once"], cwd=ROOT, timeout=300
        ).returncode
        == 0
    )
    assert store.status(found.hash)["state"] == "done" and len(rows_of(store)) == 1


@pytest.mark.parametrize("text", ["../x", "x" * 64, "", "A" * 64, "0" * 63 + "/"])
def test_a_hash_is_a_hash(board, text):
    with pytest.raises(InputError, match="expected a hash"):
        board[1].submission(text)


def test_tables_of_before_are_migrated_with_their_content(database):
    engine = connect(database)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(text("DROP TABLE alembic_version"))  # the first tables were made without it
        day = now().isoformat(" ")
        card = json.dumps(
            {k: v for k, v in vars(CARD).items() if k != "baseline"}
            | {"parameters": 7e9, "open_weights": True}
        )
        metrics = json.dumps(
            {
                "mcq.accuracy": {"value": 0.5, "low": None, "high": None, "n": 3},
                "mcq.x": {"value": None, "low": None, "high": None, "n": 0},
            }
        )
        connection.execute(text("INSERT INTO accounts VALUES (1, 'lab', 'h', 5, false, :day)"), {"day": day})
        connection.execute(
            text(
                "INSERT INTO submissions VALUES (:h, 1, 'guess', :card, '[]', 'done', 1, NULL, NULL, NULL,"
                " :day, :day)"
            ),
            {"h": name(1), "card": card, "day": day},
        )
        connection.execute(
            text("INSERT INTO results VALUES (1, :h, 'scenes', 'public', 'abc', :m, '{}')"),
            {"h": name(1), "m": metrics},
        )
    store = Store(engine)
    store.migrate()
    store.migrate()
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        assert connection.scalar(text("SELECT daily FROM accounts")) is None, "the board's of today"
        row = connection.execute(text("SELECT parameters, open_weights, baseline FROM submissions")).one()
    assert row[0] == 7e9 and row[1] and not row[2]
    found = store.standings("scenes", "public", "abc", "mcq.accuracy", Filter(open_weights=True))
    assert found.value.tolist() == [0.5] and found.shown.all()
    assert np.isnan(found.low).all() and np.isnan(found.high).all(), "it had its value for bounds"
    assert store.status(name(1))["card"]["baseline"] is False
    engine.dispose()


def test_tables_of_a_newer_program_are_refused(database):
    engine = connect(database)
    store = Store(engine)
    store.migrate()
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(InputError, match="another version of this program"):
        store.migrate()
    engine.dispose()


def finished(
    store, n: int, value: float, *, account="lab", version="abc", signature=None, split="public", **card
) -> str:
    """A finished submission with one metric."""
    store.submit(account, name(n), replace(CARD, **{"name": f"m{n}", **card}), ["scenes"])
    job = store.claim(60)
    metric = {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 50}
    store.finish(
        job,
        [
            replace(
                scored(),
                suite_hash=version,
                split=split,
                metrics={"mcq.accuracy": metric},
                signature=signature,
            )
        ],
    )
    return job.hash


def test_a_model_without_an_interval_has_no_rank_and_takes_none_from_others(store):
    store.create_account("lab")
    best, sole, last = (finished(store, n, value) for n, value in ((1, 0.9), (2, 0.7), (3, 0.5)))
    with Session(store.engine) as session, session.begin():
        session.execute(update(Score).where(Score.value == 0.7).values(low=None, high=None))
    found = store.standings("scenes", "public", "abc", "mcq.accuracy", Filter())
    ranks, order = ordered(found, "mcq.accuracy")
    assert found.hashes[order].tolist() == [best, sole, last] and ranks.tolist() == [1, 0, 2]
    row = next(row for row in rows_of(store) if row["hash"] == sole)
    assert row["metrics"]["mcq.accuracy"]["low"] is None


def standing(store, **wanted) -> list[str]:
    found = store.standings("scenes", "public", "abc", "mcq.accuracy", Filter(**wanted))
    return sorted(found.hashes[found.shown].tolist())


def test_tables_are_filtered(store):
    store.create_account("lab")
    big = finished(store, 1, 0.5, parameters=7e10, open_weights=True, organisation="Big_Lab")
    small = finished(store, 2, 0.6, parameters=3e9, uses_video=False)
    chance = finished(store, 3, 0.2, baseline=True)
    finished(store, 4, 0.9, version="old")
    first = finished(store, 5, 0.7, name="again")
    second = finished(store, 6, 0.6, name="again")
    assert standing(store) == sorted([big, small, chance, second]) and standing(store, older=True) == sorted(
        [big, small, chance, first, second]
    )
    assert (
        standing(store, open_weights=True) == [big]
        and standing(store, most=4e9) == [small]
        and small not in standing(store, uses_video=True)
    )
    assert chance not in standing(store, no_baselines=True)
    assert (
        standing(store, words="g_l") == [big]
        and standing(store, words="%") == []
        and standing(store, words="' OR 1=1 --") == []
    )
    assert [row["hash"] for row in store.history("lab", "again")] == [first, second]
    assert (
        [row["hash"] for row in store.find("again")] == [second]
        and store.find(first[:7]) == []
        and [row["hash"] for row in store.find(f"{5:064x}")] == [first]
    )
    store.withdraw(None, second)
    assert first in standing(store), "the one that it had replaced stands again"
    assert [v["models"] for v in store.versions("scenes")] == [1, 4]


def words(*values: int) -> str:
    return np.array(values, "<u4").tobytes().hex()


def test_near_duplicates_are_flagged_where_mistakes_are_shared(store):
    for account in ("lab", "other"):
        store.create_account(account)
    rng = np.random.default_rng(0)
    model = rng.integers(0, 2**31, 100) * 2 + (rng.random(100) < 0.6)
    copied = model.copy()
    copied[:5] = rng.integers(0, 2**31, 5) * 2
    perfect = rng.integers(0, 2**31, 100) * 2 + 1
    alike = perfect.copy()
    alike[:8] = rng.integers(0, 2**31, 8) * 2  # right answers are alike, the mistakes are its own
    one = finished(store, 1, 0.6, signature=words(*model))
    two = finished(store, 2, 0.6, account="other", signature=words(*copied))
    finished(store, 3, 0.6, name="m1", signature=words(*model))  # the same account's next try
    four, five = (
        finished(store, 4, 1.0, signature=words(*perfect)),
        finished(store, 5, 0.9, signature=words(*alike)),
    )
    flags = store.flags(two)
    assert [(f["kind"], f["other"], f["name"]) for f in flags if f["other"] == one] == [
        (integrity.NEAR_DUPLICATE, one, "m1")
    ]
    assert "95% of 100" in flags[0]["detail"] and store.flags(one) == [], "who came first is not flagged"
    assert store.flags(four) == store.flags(five) == []


def test_what_only_public_labels_bear_out_is_flagged(store):
    store.create_account("lab")
    kinds = []

    def metrics(value):
        return {"mcq.accuracy": {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 100}}

    for n, (public, private, flagged) in enumerate(
        ((0.9, 0.5, True), (0.6, 0.55, False), (0.5, 0.9, False), (0.62, 0.5, False))
    ):
        store.submit("lab", name(n), CARD, ["scenes"])
        store.finish(
            store.claim(60),
            [
                replace(scored(), metrics=metrics(public)),
                replace(scored(), split="private", metrics=metrics(private)),
            ],
        )
        assert store.flags(name(n)) == [], "it rests on private labels"
        kinds.append([integrity.TOO_GOOD] * flagged)
    store.release("scenes", ["abc"])
    assert [[f["kind"] for f in store.flags(name(n))] for n in range(4)] == kinds


def test_signatures_depend_on_answers_their_truth_and_the_secret():
    def lines(text="A", right=1.0):
        return [
            {"id": f"v{n}", "task": "mcq", "response": f"{text}{n}".strip(), "scores": {"accuracy": right}}
            for n in range(300)
        ]

    one = integrity.signature(lines(), b"s")
    assert len(one) == 4 * integrity.SAMPLED and one == integrity.signature(lines(" a"), b"s")
    assert one != integrity.signature(lines(), b"t") and one != integrity.signature(lines("B"), b"s")
    assert {w & 1 for w in np.frombuffer(integrity.signature(lines(right=0.0), b"s"), "<u4")} == {0}


def test_secrets_are_made_once_and_read_by_nobody_else(tmp_path):
    board = boards.Board(str(tmp_path), {})
    assert board.secret("a") == board.secret("a") != board.secret("b")
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0 and [p.name for p in tmp_path.iterdir()] == [
        "secret"
    ]
