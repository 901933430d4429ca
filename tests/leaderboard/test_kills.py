"""Fifty clients at once, while the server and the scorer are killed in between: everything accepted is scored
once, nothing is lost."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from board_fixtures import Place
from conftest import ROOT, free_port, until_up
from sqlalchemy import select
from sqlalchemy.orm import Session

from leaderboard.client import Client
from leaderboard.intake import limited
from leaderboard.store.tables import Audit, Result, Submission

CLIENTS = 50


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_fifty_clients_and_kills(tmp_path, baseline_runs, database):
    place = Place(
        tmp_path,
        baseline_runs,
        database,
        daily=1000,
        per_minute=100_000,
        scoring={"seconds": 90, "gigabytes": 8},
    )
    place.store.create_account("crowd", 1000)
    token = place.store.renew_token("crowd")
    archives = []
    for n in range(CLIENTS):
        place.packed("random", name=f"model {n}")
        archives.append((place.folder / "s.zip").rename(place.folder / f"{n}.zip"))
    port, log = free_port(), tmp_path / "server.txt"
    url = f"http://127.0.0.1:{port}"

    def serve():
        with log.open("a") as out:
            call = [
                sys.executable,
                "-m",
                "leaderboard",
                "serve",
                "--config",
                str(place.config),
                "--port",
                str(port),
                "--no-scorer",
            ]
            process = subprocess.Popen(call, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
        until_up(process, url, log)
        return process

    def scorer():
        return subprocess.Popen(
            [sys.executable, "-m", "leaderboard.scoring", "--config", str(place.config)],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )

    accepted, failures = [], []

    def send(path):
        try:
            client = Client(url, token, tries=40, first=40, pause=0.2)
            for _ in range(2):  # every client sends twice
                accepted.append(client.send(path)["hash"])
        except BaseException as error:
            failures.append(error)

    server, scorers = serve(), [scorer(), scorer()]
    threads = [threading.Thread(target=send, args=(path,)) for path in archives]
    draw = random.Random(0)
    try:
        for thread in threads:
            thread.start()
        for _ in range(4):
            time.sleep(draw.uniform(1.0, 3.0))
            server.send_signal(signal.SIGKILL)
            server.wait()
            which = draw.randrange(2)
            scorers[which].send_signal(signal.SIGKILL)
            scorers[which].wait()
            server, scorers[which] = serve(), scorer()
        for thread in threads:
            thread.join(300)
        assert not failures, failures
        deadline = time.monotonic() + 900
        while any(place.store.status(name)["state"] in ("queued", "running") for name in set(accepted)):
            assert time.monotonic() < deadline, Counter(
                place.store.status(name)["state"] for name in set(accepted)
            )
            time.sleep(1)
    finally:
        for process in (server, *scorers):
            process.kill()
            process.wait()
    expected = set()
    for path in archives:
        expected.add(limited.look(path).hash)
    assert len(expected) == CLIENTS and Counter(accepted) == dict.fromkeys(expected, 2)
    with Session(place.store.engine) as session:
        assert set(session.scalars(select(Submission.hash))) == expected, "nothing lost, nothing else"
        assert Counter(session.scalars(select(Result.submission))) == dict.fromkeys(expected, 1)
        done = Counter(session.scalars(select(Audit.subject).where(Audit.action == "done")))
        assert done == dict.fromkeys(expected, 1), "each scored exactly once"
    assert len({json.dumps(place.store.results(name)[0]["metrics"]) for name in expected}) == 1
    place.store.engine.dispose()
