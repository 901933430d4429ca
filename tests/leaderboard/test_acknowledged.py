"""Acknowledged is scored, whoever sends the same at the same moment; daily limits hold under races."""

import hashlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from board_fixtures import ON_SQLITE_FIRST, Place

from leaderboard.card import Card
from leaderboard.client import Client
from leaderboard.intake import limited
from leaderboard.store.queue import Limited

SENT = 19


def at_once(*calls):
    """Results of calls that begin at the same moment; an error is its result."""
    start = threading.Barrier(len(calls))

    def run(call):
        start.wait()
        try:
            return call()
        except Limited as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@ON_SQLITE_FIRST
def test_what_is_acknowledged_is_scored_while_an_account_over_its_limit_sends_the_same(
    tmp_path, baseline_runs, database
):
    place = Place(tmp_path, baseline_runs, database, per_minute=10_000)
    place.store.create_account("many", 1000)
    place.store.create_account("spent", 0)
    uploads = place.client.app.state.site.uploads
    acknowledged = []
    for n in range(SENT):
        place.packed(name=f"model {n}")
        sent = (place.folder / "s.zip").rename(place.folder / f"{n}.zip")

        def take(account, sent=sent):
            with uploads.folder() as folder:
                return uploads.take(account, sent, Path(folder)).hash

        # More of those that are refused than of the one that is taken: any of them would take its folder.
        results = at_once(*[lambda: take("spent")] * 3, lambda: take("many"))
        acknowledged += [result for result in results if isinstance(result, str)]
    assert len(set(acknowledged)) == SENT
    place.score()
    assert {place.store.status(name)["state"] for name in acknowledged} == {"done"}
    place.store.engine.dispose()


@pytest.mark.parametrize("senders", [12])
def test_a_daily_limit_holds_when_all_is_sent_at_once(store, senders):
    store.create_account("eager", 5)
    card = Card("m", "x", "mit", "none", ["d"])
    results = at_once(
        *[lambda n=n: store.submit("eager", f"{n:064x}", card, ["scenes"]) for n in range(senders)]
    )
    assert results.count(True) == 5 and sum(isinstance(r, Limited) for r in results) == senders - 5


def test_what_is_refused_puts_no_files_and_what_cannot_be_put_is_not_queued(store):
    store.create_account("spent", 0)
    store.create_account("eager", 5)
    card, put = Card("m", "x", "mit", "none", ["d"]), []
    with pytest.raises(Limited):
        store.submit("spent", "0" * 64, card, ["scenes"], lambda: put.append(1))
    assert not put

    def full():
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.submit("eager", "0" * 64, card, ["scenes"], full)
    assert store.status("0" * 64) is None and store.submit("eager", "0" * 64, card, ["scenes"])


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("what", ["busy", "interrupted"])
def test_what_says_nothing_of_an_upload_leaves_its_pieces(
    tmp_path, baseline_runs, database, monkeypatch, what
):
    """Too many at once, or a check that somebody killed: the same upload is taken a moment later."""
    place = Place(tmp_path, baseline_runs, database, limited=True)
    data, uploads = place.packed(), place.client.app.state.site.uploads
    at, header = f"/api/uploads/{hashlib.sha256(data).hexdigest()}", place.bearer()
    assert place.client.put(f"{at}?offset=0", content=data, headers=header).json()["received"] == len(data)
    with monkeypatch.context() as then:
        if what == "busy":
            then.setattr(uploads, "_waiting", threading.BoundedSemaphore(1))
            uploads._waiting.acquire()
        else:
            killed = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
            run = subprocess.run
            then.setattr(limited.subprocess, "run", lambda _, **given: run(killed, **given))
        answer = place.client.post(at, headers=header)
        assert answer.status_code == 503, answer.text
    assert place.client.get(at, headers=header).json()["received"] == len(data)
    assert place.client.post(at, headers=header).status_code == 202
    assert place.client.post(at, headers=header).json()["detail"] == "no such upload"
    place.store.engine.dispose()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_client_whose_pieces_a_server_has_lost_sends_them_again(
    tmp_path, baseline_runs, database, monkeypatch
):
    place = Place(tmp_path, baseline_runs, database)
    place.packed()
    lost = []

    def through(request):
        if request.method == "POST" and not lost:
            lost.extend(path.unlink() for path in (tmp_path / "board/incoming/parts").glob("*/*"))
        answer = place.client.request(
            request.method, request.url.raw_path.decode(), content=request.content, headers=request.headers
        )
        return httpx.Response(answer.status_code, content=answer.content)

    client = Client("http://board", place.token)
    client.http = httpx.Client(
        base_url="http://board",
        transport=httpx.MockTransport(through),
        headers={"Authorization": f"Bearer {place.token}"},
    )
    found = client.send(tmp_path / "s.zip")
    assert lost and place.store.status(found["hash"])["state"] == "queued"
    place.store.engine.dispose()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_of_two_requests_that_finish_an_upload_one_does_and_the_other_costs_nothing(
    tmp_path, baseline_runs, database, monkeypatch
):
    """A client whose first request's answer came too late for it asks again while the check runs."""
    place = Place(tmp_path, baseline_runs, database)
    data, uploads = place.packed(), place.client.app.state.site.uploads
    at, header = f"/api/uploads/{hashlib.sha256(data).hexdigest()}", place.bearer()
    place.client.put(f"{at}?offset=0", content=data, headers=header)
    check, begun, go = uploads.check, threading.Event(), threading.Event()

    def slow(*given):
        begun.set()
        go.wait(30)
        return check(*given)

    monkeypatch.setattr(uploads, "check", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(place.client.post, at, headers=header)
        assert begun.wait(30)
        second = place.client.post(at, headers=header)
        go.set()
        assert first.result().status_code == 202
    assert second.status_code == 503 and "is being checked" in second.json()["detail"]
    assert place.client.post(at, headers=header).json()["detail"] == "no such upload"
    assert not [row for row in place.store.audit() if row["action"] == "refuse"]
    place.store.engine.dispose()
