"""Accounts, jobs and results, on SQLite and on a real PostgreSQL."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import ROOT
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bench import suite as suites
from bench.models.baseline import Baseline
from bench.run import run
from leaderboard import board as boards
from leaderboard import scoring, submission
from leaderboard.store import ATTEMPTS, Base, Limited, Result, Scored, Store, Submission, connect, now
from leaderboard.submission import Card
from tvad.errors import InputError

CARD = Card("guess", "a lab", "apache-2.0", "none known", ["nothing"])
PLACES = [Path(p) for p in (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), "/usr/local/bin", "/usr/bin")]


def as_postgres():
    """Arguments that run a command as another user than root, which PostgreSQL refuses."""
    if os.getuid():
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid}


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """Address of a PostgreSQL started for the tests."""
    place = next((p for p in PLACES if (p / "initdb").exists() and (p / "pg_ctl").exists()), None)
    if place is None:
        pytest.skip("PostgreSQL is not installed")
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # sockets want short paths, and another user must reach it
    user = as_postgres()
    if user:
        os.chown(folder, user["user"], user["group"])
    data = folder / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "cwd": folder, **user}
    made = subprocess.run([place / "initdb", "-D", data, "-U", "board", "-A", "trust", "-E", "UTF8", "--no-sync"], **quiet)
    if made.returncode:
        pytest.skip(f"PostgreSQL cannot be started here: {made.stderr.decode()[-200:]}")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    subprocess.run([place / "pg_ctl", "-D", data, "-o", options, "-w", "-l", folder / "log", "start"], check=True, **quiet)
    try:
        yield f"postgresql+psycopg://board@/postgres?host={folder}"
    finally:
        subprocess.run([place / "pg_ctl", "-D", data, "-m", "immediate", "stop"], check=False, **quiet)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    url = f"sqlite:///{tmp_path}/board.sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres")
    engine = connect(url)
    Base.metadata.drop_all(engine)
    found = Store(engine)
    found.create_tables()
    yield found
    engine.dispose()


def name(n: int) -> str:
    return f"{n:064x}"


def scored(value: float = 0.5, suite: str = "scenes") -> Scored:
    return Scored(suite, "public", "abc", {"mcq.accuracy": {"value": value, "low": None, "high": None, "n": 3}}, {})


def test_tokens_open_accounts_and_are_kept_nowhere(store):
    token = store.create_account("lab")
    assert store.account_of(token) == "lab" and store.account_of(token + "x") is None and store.account_of("") is None
    with pytest.raises(InputError, match="exists already"):
        store.create_account("lab")
    renewed = store.renew_token("lab")
    assert store.account_of(token) is None and store.account_of(renewed) == "lab"
    assert not any(secret in json.dumps(store.audit(), default=str) for secret in (token, renewed))
    store.disable_account("lab")
    assert store.account_of(renewed) is None
    for call in (store.renew_token, store.disable_account):
        with pytest.raises(InputError, match="no account 'nobody'"):
            call("nobody")


def test_the_same_content_is_queued_once_and_days_are_limited(store):
    store.create_account("lab", daily=2)
    store.create_account("other")
    assert store.submit("lab", name(1), CARD, ["scenes"]) and not store.submit("lab", name(1), CARD, ["scenes"])
    assert not store.submit("other", name(1), CARD, ["scenes"])
    assert store.submit("lab", name(2), CARD, ["scenes"])
    with pytest.raises(Limited, match="2 submissions within a day"):
        store.submit("lab", name(3), CARD, ["scenes"])
    with Session(store.engine) as session, session.begin():
        session.execute(update(Submission).values(created=now() - timedelta(days=2)))
    assert store.submit("lab", name(3), CARD, ["scenes"])


def test_a_job_is_finished_by_the_one_that_holds_it(store):
    store.create_account("lab")
    store.submit("lab", name(1), CARD, ["scenes"])
    slow = store.claim(-1)  # its lease has run out at once: the scorer is taken for dead
    quick = store.claim(60)
    assert slow.hash == quick.hash and store.claim(60) is None
    assert store.finish(quick, [scored(0.7)]) and not store.finish(slow, [scored(0.1)]) and not store.fail(slow, "late")
    row = store.table("scenes")[0]
    assert row["metrics"]["mcq.accuracy"]["value"] == 0.7 and row["card"]["organisation"] == "a lab" and row["account"] == "lab"
    assert store.status(name(1))["state"] == "done" and store.status(name(9)) is None


def test_a_job_that_never_ends_is_given_up(store):
    store.create_account("lab")
    store.submit("lab", name(1), CARD, ["scenes"])
    for _ in range(ATTEMPTS):
        assert store.claim(-1) is not None
    assert store.claim(-1) is None
    assert store.status(name(1))["state"] == "failed" and "did not end" in store.status(name(1))["error"]


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
    assert not store.finish(job, [scored()]) and store.table("scenes") == []
    assert store.status(name(1))["state"] == "withdrawn" and not store.submit("lab", name(1), CARD, ["scenes"])
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
                time.sleep(0.05)
                continue
            idle = 0
            if int(job.hash, 16) % 5 == 0 and job.hash not in died:  # killed in between: the lease runs out
                died.add(job.hash)
                with Session(store.engine) as session, session.begin():
                    session.execute(update(Submission).where(Submission.hash == job.hash).values(lease=now() - timedelta(seconds=1)))
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
    (folder / "board.yaml").write_text(json.dumps({"folder": str(folder), "suites": {"scenes": {"config": str(folder / "suite.yaml")}}}))
    return str(folder / "board.yaml"), boards.read(str(folder / "board.yaml"))


def put(board, tmp_path, which="random") -> submission.Verified:
    """A packed submission in the board's folder."""
    plan = suites.read(board.suites["scenes"].config)
    run(Baseline(which), f"baseline:{which}", plan, tmp_path / which)
    (tmp_path / "card.yaml").write_text("{name: guess, organisation: a lab, licence: mit, contamination: none known, data: [nothing]}")
    found = submission.pack({"scenes": tmp_path / which}, tmp_path / "card.yaml", tmp_path / f"{which}-packed")
    target = board.submission(found.hash)
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(tmp_path / f"{which}-packed", target)
    return found


def test_a_submission_is_scored_in_a_process_of_its_own(store, board, tmp_path):
    config, plan = board
    store.create_account("lab")
    found = put(plan, tmp_path, "oracle")
    store.submit("lab", found.hash, found.card, found.suites)
    assert scoring.work_once(config, plan, store) and not scoring.work_once(config, plan, store)
    row = store.table("scenes")[0]
    assert row["metrics"]["mcq.accuracy"]["value"] == 1.0 and row["metrics"]["mcq.accuracy"]["low"] is not None
    assert row["blind"]["mcq"]["chance"] == 0.25 and len(row["suite_hash"]) == 16


def test_scoring_stops_at_its_limits_and_tells_nothing(store, board, tmp_path):
    config, plan = board
    store.create_account("lab")
    found = put(plan, tmp_path)
    for n, limits in enumerate((boards.Scoring(seconds=0.01), boards.Scoring(gigabytes=0.05))):
        store.submit("lab", found.hash if n == 0 else name(7), found.card, found.suites)
        if n:
            shutil.copytree(plan.submission(found.hash), plan.submission(name(7)), dirs_exist_ok=True)
        tight = boards.Board(plan.folder, plan.suites, scoring=limits)
        assert scoring.work_once(config, tight, store)
    assert "took longer" in store.status(found.hash)["error"] and store.status(name(7))["error"] == scoring.FAILURE


def test_a_killed_scorer_loses_nothing(board, tmp_path):
    config, plan = board
    store = Store(connect(plan.url))
    store.create_tables()
    store.create_account("lab")
    found = put(plan, tmp_path, "prior")
    store.submit("lab", found.hash, found.card, found.suites)
    process = subprocess.Popen([sys.executable, "-m", "leaderboard.scoring", "--config", config], cwd=ROOT)
    while store.status(found.hash)["state"] != "running":
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    with Session(store.engine) as session, session.begin():
        session.execute(update(Submission).values(lease=now() - timedelta(seconds=1)))
    assert subprocess.run([sys.executable, "-m", "leaderboard.scoring", "--config", config, "--once"], cwd=ROOT).returncode == 0
    assert store.status(found.hash)["state"] == "done" and len(store.table("scenes")) == 1


@pytest.mark.parametrize("text", ["../x", "x" * 64, "", "A" * 64, "0" * 63 + "/"])
def test_a_hash_is_a_hash(board, text):
    with pytest.raises(InputError, match="expected a submission's hash"):
        board[1].submission(text)
