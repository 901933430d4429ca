"""What the host does to a submission is made good, what it does itself is told at once, and both are seen."""

import errno
import html
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from leaderboard.__main__ import main
from leaderboard.board import config as boards
from leaderboard.board import phases
from leaderboard.scoring import faults, scorer
from leaderboard.scoring.supervisor import Supervised
from leaderboard.store import Store
from leaderboard.store.database import connect
from leaderboard.store.queue import ATTEMPTS, DELAYS
from leaderboard.store.tables import Scorer, Submission, now
from leaderboard.store.watch import SILENCE
from leaderboard.web.app import build_app
from tvad.common.errors import InputError
from tvad.common.files import made


@pytest.fixture
def sent(place):
    """(board, hash) of a queued submission."""
    return place, place.send(place.packed()).json()["hash"]


def status(place, name):
    return place.client.get(f"/api/submissions/{name}").json()


def instead(monkeypatch, script: str) -> None:
    """Let a scoring process be a Python script."""
    real = subprocess.Popen

    def started(command, **options):
        return real([sys.executable, "-c", script], **options)

    monkeypatch.setattr(scorer.subprocess, "Popen", started)


def once(place) -> bool:
    return scorer.Scorer(str(place.config), place.board, place.store).work_once()


@pytest.mark.parametrize(
    "script, kind",
    [
        ("import os; os.kill(os.getpid(), 9)", "killed"),
        ("import sys; sys.exit(74)", "disk"),
        ("import sys; sys.exit(75)", "scarce"),
        ("import sys; sys.exit(72)", "board"),
        ("pass", "scorer"),  # ends well and has left nothing
    ],
)
def test_what_the_host_does_is_tried_again_and_told(sent, monkeypatch, script, kind):
    place, name = sent
    with monkeypatch.context() as patched:
        instead(patched, script)
        assert once(place) and not once(place), "not at once again"
    found = status(place, name)
    assert found["state"] == "queued" and found["error"] is None
    assert found["waits"]["reason"] == faults.SENTENCES[kind] and found["waits"]["tries"] == 1
    assert found["waits"]["next"] > found["created"]
    page = html.unescape(place.client.get(f"/models/{name}").text)
    assert faults.SENTENCES[kind] in page and f"1 of {ATTEMPTS} tries made, next try 20" in page
    assert place.store.failures() == {("retry", kind): 1}
    place.store.requeue(name)
    place.score()
    assert status(place, name)["state"] == "done"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "script, kind, said",
    [
        ("import sys; sys.exit(70)", "memory", "scoring took more than 8 GiB"),
        ("raise ValueError('label of v7 is Yes')", "predictions", faults.FAILURE),
        ("import os; os.abort()", "predictions", faults.FAILURE),
        ("import time; time.sleep(60)", "time", "scoring took longer than 1 s"),
    ],
)
def test_what_is_its_own_fault_fails_at_once(sent, monkeypatch, script, kind, said):
    place, name = sent
    if kind == "time":
        place.board.scoring = boards.Scoring(seconds=1.0)
    instead(monkeypatch, script)
    assert once(place)
    found = status(place, name)
    assert (found["state"], found["error"], found["waits"]) == ("failed", said, None)
    assert place.store.failures() == {("fail", kind): 1}


def test_tries_are_bounded_and_come_later_each_time(sent):
    place, name = sent
    for n, delay in enumerate((*DELAYS, None)):
        job = place.store.claim(60)
        assert job.hash == name and place.store.put_back(job, "no space", "disk")
        found = place.store.status(name)
        if delay is None:
            assert found["state"] == "failed" and found["error"] == f"given up after {n + 1} tries: no space"
            continue
        assert found["state"] == "queued" and place.store.claim(60) is None
        assert abs((found["waits"]["next"] - now()).total_seconds() - delay) < 5
        with Session(place.store.engine) as session, session.begin():
            session.execute(update(Submission).values(next_try=now()))
    assert main(["admin", "requeue", name, "--config", str(place.config)]) == 0
    found = place.store.status(name)
    assert found["state"] == "queued" and found["error"] is None and found["waits"]["tries"] == 0
    place.score()
    for which, words in ((name, "is done; only a failed or a queued one"), ("0" * 64, "files of 0000")):
        with pytest.raises(InputError, match=words):
            main(["admin", "requeue", which, "--config", str(place.config)])


def test_every_queued_row_has_a_reason_and_a_time(place, capsys):
    names = [place.send(place.packed(which, name=which)).json()["hash"] for which in ("random", "prior")]
    assert [status(place, name)["waits"]["reason"] for name in names] == [
        "waits its turn, 0 before it",
        "waits its turn, 1 before it",
    ]
    place.store.put_back(place.store.claim(60), "the disk is full", "disk")
    rows = place.store.queue()
    assert [(row["hash"], row["tries"]) for row in rows] == [(names[0], 1), (names[1], 0)]
    assert rows[0]["reason"] == "the disk is full" and rows[0]["next"] > now() >= rows[1]["next"]
    main(["admin", "queue", "--config", str(place.config)])
    said = capsys.readouterr().out
    assert "2 queued; the oldest waits for" in said and "0 scorers" in said
    assert all(name in said for name in names) and "the disk is full" in said


def test_a_full_disk_behind_a_line_for_bad_input_is_a_full_disk(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.mkdir", full)
    with pytest.raises(InputError) as caught:
        made(tmp_path / "x")
    assert faults.kind_of(caught.value) == "disk" and faults.status_of(caught.value) == 74
    assert faults.kind_of(InputError("line 7: no such task")) is None
    assert faults.status_of(MemoryError()) == faults.TOO_LARGE, "a scoring process has a limit"
    assert faults.kind_of(MemoryError()) == "scarce", "a scorer has none"
    try:
        try:
            raise MemoryError
        except MemoryError as error:
            raise faults.Unopened("scenes") from error
    except faults.Unopened as error:
        assert faults.status_of(error) == faults.TOO_LARGE


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_lock_at_the_end_costs_no_result(sent, monkeypatch):
    """The database refuses twice when the results are there: they are kept at the third time."""
    place, name = sent
    real, refused = place.store.finish, []

    def finish(*given):
        if len(refused) < 2:
            refused.append(given)
            raise OperationalError("UPDATE", {}, Exception("database is locked"))
        return real(*given)

    monkeypatch.setattr(scorer, "PAUSE", 0.01)
    monkeypatch.setattr(scorer, "run_job", lambda *_: [])
    monkeypatch.setattr(place.store, "finish", finish)
    assert once(place) and len(refused) == 2 and status(place, name)["state"] == "done"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_another_process_that_holds_the_lock_is_waited_for_and_told(sent, tmp_path):
    place, name = sent
    impatient = Store(connect(f"{place.board.url}?timeout=0.2"))
    job = place.store.claim(60)
    holder = connect(place.board.url)
    with holder.connect() as connection:
        connection.execute(text("SELECT 1"))  # BEGIN IMMEDIATE
        with pytest.raises(OperationalError, match="locked") as caught:
            impatient.finish(job, [])
        assert faults.kind_of(caught.value) == "database"
        assert place.client.get("/health").status_code == 200, "who only reads does not wait"
        connection.rollback()
    assert impatient.finish(job, []) and status(place, name)["state"] == "done"
    for engine in (impatient.engine, holder):
        engine.dispose()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_scorer_outlives_what_it_meets(sent, monkeypatch, capsys):
    place, name = sent
    one, calls = scorer.Scorer(str(place.config), place.board, place.store), []
    real = place.store.claim

    def claim(seconds):
        calls.append(seconds)
        if len(calls) == 1:
            raise OperationalError("SELECT", {}, Exception("database is locked"))
        if len(calls) == 2:
            raise RuntimeError("what nobody has thought of")
        if len(calls) == 5:
            raise SystemExit(143)
        return real(seconds)

    monkeypatch.setattr(scorer, "PAUSE", 0.01)
    monkeypatch.setattr(place.store, "claim", claim)
    monkeypatch.setattr(scorer, "run_job", lambda *_: [])
    with pytest.raises(SystemExit):
        one.work()
    said = capsys.readouterr().err
    assert "database is locked" in said and "what nobody has thought of" in said
    assert status(place, name)["state"] == "done" and place.store.watch().scorers == 0, "it has left"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_scorer_that_is_stopped_gives_its_job_back(sent, monkeypatch):
    place, name = sent
    real = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGUSR1))
    instead(monkeypatch, "import time; time.sleep(60)")
    before = signal.signal(signal.SIGUSR1, lambda *_: sys.exit(143))
    try:
        real.start()
        with pytest.raises(SystemExit):
            once(place)
    finally:
        signal.signal(signal.SIGUSR1, before)
    waits = status(place, name)["waits"]
    assert waits["reason"] == faults.SENTENCES["stopped"] and waits["tries"] == 0
    assert place.store.claim(60).hash == name, "at once"


def test_a_beat_keeps_a_job_and_a_withdrawal_ends_it(sent, monkeypatch):
    place, name = sent
    job = place.store.claim(-1)
    assert place.store.beat("one", job, 60) and place.store.claim(60) is None, "kept from the others"
    place.store.withdraw(None, name)
    assert not place.store.beat("one", job, 60)
    with Session(place.store.engine) as session, session.begin():
        session.execute(text("UPDATE submissions SET state = 'queued'"))
    instead(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(scorer, "BEAT", 0.2)
    threading.Timer(0.5, place.store.withdraw, (None, name)).start()
    began = time.monotonic()
    assert once(place) and time.monotonic() - began < 20, "its process is ended"
    assert status(place, name)["state"] == "withdrawn"


TOKEN = {"Authorization": "Bearer of the scraper"}


@pytest.fixture
def watched(monkeypatch):
    """Metrics are open to who has TOKEN."""
    monkeypatch.setenv("LEADERBOARD_METRICS_TOKEN", "of the scraper")


def test_health_and_metrics_see_silence(watched, sent):
    place, _ = sent
    found = place.client.get("/health")
    assert found.status_code == 200 and found.json()["queued"] == 1 and found.json()["scorers"] == 0
    place.store.beat("one")
    with Session(place.store.engine) as session, session.begin():
        session.execute(text("UPDATE scorers SET seen = :at"), {"at": now() - timedelta(seconds=2 * SILENCE)})
    found = place.client.get("/health")
    assert found.status_code == 503 and found.json()["silent_seconds"] > SILENCE
    lines = place.client.get("/metrics", headers=TOKEN).text.splitlines()
    assert 'leaderboard_submissions{state="queued"} 1.0' in lines and "leaderboard_scorers 0.0" in lines
    place.store.beat("two")
    assert place.client.get("/health").status_code == 200
    job = place.store.claim(60)
    place.store.finish(job, [], 12.3)
    place.client.get("/suites/scenes")
    place.client.get("/nobody/knows/this")
    told = place.client.get("/metrics", headers=TOKEN).text
    lines = told.splitlines()
    assert "leaderboard_scoring_seconds_total 20.0" in lines and "leaderboard_scored_total 1.0" in lines
    assert 'leaderboard_submissions{state="done"} 1.0' in lines and "leaderboard_scorers 1.0" in lines
    assert 'http_requests_total{handler="/suites/{suite}",method="GET",status="2xx"} 1.0' in lines
    assert "/nobody" not in told and job.hash not in told and "random" not in told


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_clock_that_was_ahead_hides_no_silence(place, monkeypatch):
    place.scored("random")  # a queue that works
    moment = [datetime(2026, 1, 31)]
    monkeypatch.setattr(phases, "clock", lambda: moment[0])
    place.store.beat("ahead")
    moment[0] = datetime(2026, 1, 1)
    place.send(place.packed("oracle"))
    moment[0] += timedelta(minutes=5)
    found = place.store.watch()
    assert not found.well and found.scorers == 0 and found.silent == 300
    place.store.beat("new")
    assert place.store.watch().well and place.store.watch().scorers == 1
    with place.store.engine.begin() as connection:
        assert connection.scalars(select(Scorer.name)).all() == ["new"]


def test_health_says_that_the_database_is_gone(watched, place, monkeypatch):
    def gone():
        raise OperationalError("SELECT", {}, Exception("/var/lib/secret/place: unable to open database file"))

    monkeypatch.setattr(place.store, "watch", gone)
    found = place.client.get("/health")
    assert found.status_code == 503 and found.json() == {"well": False, "database": False}
    assert "leaderboard_database_up 0.0" in place.client.get("/metrics", headers=TOKEN).text


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_metrics_are_closed_but_to_who_has_their_token(place, monkeypatch):
    assert place.client.get("/metrics").status_code == 404, "a board without a token has none"
    assert place.client.get("/metrics", headers=place.bearer()).status_code == 404
    monkeypatch.setenv("LEADERBOARD_METRICS_TOKEN", "of the scraper")
    place.board.per_minute = 4
    client = TestClient(build_app(place.board, place.store, place.pages))
    forged = {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
    for headers in ({}, forged, place.bearer(), {"Authorization": "Bearer of the scraper\u00e9".encode()}):
        answer = client.get("/metrics", headers=headers)
        assert answer.status_code == 401 and "leaderboard_" not in answer.text
    assert client.get("/metrics", headers=TOKEN).status_code == 429, "guesses are counted"
    other = TestClient(client.app, client=("9.9.9.9", 1))
    assert "leaderboard_scorers" in other.get("/metrics", headers=TOKEN).text


def test_who_ends_is_started_again(tmp_path, monkeypatch, capfd):
    """A scorer that dies at once is begun again, later each time; none is left behind."""
    monkeypatch.setattr("leaderboard.scoring.supervisor.FIRST", 0.05)
    file = tmp_path / "starts"
    script = f"import os, time; open({str(file)!r}, 'a').write(f'{{os.getpid()}}\\n'); "
    script += f"time.sleep(60 if len(open({str(file)!r}).readlines()) > 2 else 0)"
    with Supervised([sys.executable, "-c", script]) as kept:
        deadline = time.monotonic() + 30
        while not file.exists() or len(file.read_text().splitlines()) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert kept.process.poll() is not None, "ended with the block"
    said = capfd.readouterr().err
    assert "ended (status 0); it starts again in 0.05 s" in said and "again in 0.1 s" in said


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended may wait for somebody to ask for its status."""
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_scoring_process_ends_with_its_scorer(tmp_path):
    """Killed scorers leave nobody behind who works for them."""
    script = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c',"
        " 'import os, time; from leaderboard.scoring.scorer import end_with; end_with(os.getppid());"
        " print(os.getpid(), flush=True); time.sleep(60)']); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.1)
