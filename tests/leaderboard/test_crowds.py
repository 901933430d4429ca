"""Limits that hold: of connections, slow clients, many requests, unfinished uploads, quotas of several
servers."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvicorn
from board_fixtures import Place
from conftest import free_port
from fastapi.testclient import TestClient

from leaderboard.__main__ import main
from leaderboard.board.config import Checking
from leaderboard.intake import limited, uploads
from leaderboard.store import Store
from leaderboard.store import quotas as counted
from leaderboard.store.database import connect
from leaderboard.web import access, connections
from leaderboard.web.app import build_app
from tvad.common.errors import InputError


@pytest.fixture
def place(tmp_path, baseline_runs):
    found = Place(tmp_path, baseline_runs)
    yield found
    found.store.engine.dispose()


class Serving:
    """An application behind a real server, in a thread."""

    def __init__(self, app, most=100, proxies=()):
        self.port = free_port()
        options = connections.options(most, list(proxies))
        self.server = uvicorn.Server(uvicorn.Config(app, port=self.port, log_level="error", **options))
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(20)

    def connect(self) -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self.port))
        opened.settimeout(20)
        return opened


def ended(opened: socket.socket) -> bool:
    """Whether the other side has ended a connection, by now or within the socket's time."""
    try:
        while opened.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


async def large(scope, receive, send):
    """An answer larger than all buffers."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(256):
            await send({"type": "http.response.body", "body": b"x" * (1 << 18), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def test_who_asks_or_reads_slowly_is_cut_off(monkeypatch):
    monkeypatch.setattr(connections, "ASKING", 0.6)
    monkeypatch.setattr(connections, "READING", 1.0)
    monkeypatch.setattr(connections, "LOOK", 0.1)
    with Serving(large) as server:
        silent, headers, again, reader = (server.connect() for _ in range(4))
        headers.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        began, cut = time.monotonic(), None
        while cut is None and time.monotonic() - began < 10:
            time.sleep(0.1)
            try:
                headers.sendall(b"X")
            except ConnectionError:
                cut = time.monotonic() - began
        assert cut is not None and ended(silent)
        reader.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(2.5)  # reads nothing meanwhile
        got = 0
        try:
            while piece := reader.recv(1 << 20):
                got += len(piece)
        except ConnectionError:
            pass
        assert got < 64 << 20, "the answer was not waited with"
        assert len(httpx.get(f"http://127.0.0.1:{server.port}/").content) == 64 << 20, "who reads has all"
        again.close()


def test_an_address_has_so_many_connections_and_proxies_more():
    with Serving(large, most=3) as server:
        first = [server.connect() for _ in range(3)]
        time.sleep(0.2)
        assert ended(server.connect()), "a fourth one"
        first.pop().close()
        time.sleep(0.2)
        fourth = server.connect()
        fourth.settimeout(0.5)
        assert not ended(fourth)
        for opened in (*first, fourth):
            opened.close()
    with Serving(large, most=1, proxies=["127.0.0.0/8"]) as server:
        opened = [server.connect() for _ in range(3)]
        opened[-1].settimeout(0.5)
        assert not ended(opened[-1])


def test_a_slow_body_is_cut_off_while_others_are_answered(place, monkeypatch):
    monkeypatch.setattr(uploads, "AT_FIRST", 0.5)
    monkeypatch.setattr(uploads, "RATE", 1 << 20)

    with Serving(place.client.app) as server, server.connect() as slow:
        url, at = f"http://127.0.0.1:{server.port}", f"/api/uploads/{'0' * 64}?offset=0"
        head = (
            f"PUT {at} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\nAuthorization: Bearer {place.token}\r\n"
        )
        slow.sendall(f"{head}\r\n".encode())
        for _ in range(30):
            time.sleep(0.05)
            slow.sendall(b"x")
        assert slow.recv(99).startswith(b"HTTP/1.1 408")
        fast = httpx.put(
            f"{url}/api/uploads/{'1' * 64}?offset=0", content=b"x" * 9, headers=place.bearer(), timeout=20
        )
        assert fast.status_code == 200


def test_anonymous_requests_cannot_take_all_threads(place, monkeypatch):
    leave = threading.Event()

    def slow(*_):
        leave.wait(30)
        return {"suite_hash": "a"}, {"suite_hash": "b"}

    monkeypatch.setattr(place.pages, "two", slow)
    monkeypatch.setattr(place.pages, "compare", lambda *_: "compared")
    at = f"/compare?suite=scenes&m={'a' * 64}&m={'b' * 64}"
    with Serving(place.client.app) as server, ThreadPoolExecutor(44) as pool:
        url = f"http://127.0.0.1:{server.port}"

        def ask(n):  # from two addresses
            transport = httpx.HTTPTransport(local_address=f"127.0.0.{1 + n % 2}")
            with httpx.Client(transport=transport, timeout=60) as client:
                return client.get(url + at).status_code

        codes = [pool.submit(ask, n) for n in range(44)]
        time.sleep(2)
        elsewhere = httpx.HTTPTransport(local_address="127.0.0.3")
        with httpx.Client(transport=elsewhere, timeout=15) as client:
            began = time.monotonic()
            assert client.get(f"{url}/suites/scenes").status_code == 200
            assert client.get(f"{url}/health").status_code == 200
            assert time.monotonic() - began < 10
        leave.set()
        codes = [code.result() for code in codes]
    assert codes.count(200) == 2 * place.board.at_once and codes.count(429) == 12
    place.board.at_once = 0
    assert place.client.get("/suites/scenes").status_code == 429, "of the configuration"
    for header in (place.bearer(), {"authorization": "x"}, {"authorization": "Bearer " + "0" * 64}):
        assert place.client.get("/suites/scenes", headers=header).status_code == 429, "it reads no token"
    assert place.client.get("/api/account", headers=place.bearer()).status_code == 200
    assert place.client.get("/api/account", headers={"authorization": "x"}).status_code == 401


def test_unfinished_uploads_of_an_account_and_of_an_address_are_bounded(place, monkeypatch):
    place.board.per_minute = 10**6
    piece = b"x" * (3 << 19)

    def put(n, account, at=place.client, data=b"x"):
        answer = at.put(f"/api/uploads/{n:064x}?offset=0", content=data, headers=place.bearer(account))
        return answer.status_code

    monkeypatch.setattr(uploads, "OPEN", {"account": (2, 1 << 30), "address": (3, 1 << 30)})
    assert [put(n, place.token) for n in range(3)] == [200, 200, 429]
    assert [put(n, place.other) for n in range(2)] == [200, 429], "the address has three"
    away = TestClient(place.client.app, client=("9.9.9.9", 1))
    assert put(1, place.other, away) == 200
    monkeypatch.setattr(uploads, "OPEN", {"account": (9, 2 << 20), "address": (9, 1 << 30)})
    assert [put(n, place.token, data=piece) for n in (7, 8)] == [200, 429]
    assert place.client.get(f"/api/uploads/{8:064x}", headers=place.bearer()).json()["received"] <= 2 << 20
    parts = place.folder / "board/incoming/parts"
    monkeypatch.setattr(uploads, "KEPT", -1.0)
    for _ in range(2):  # files, then the folders of their addresses
        place.client.app.state.site.uploads.tidy()
    assert not list(parts.iterdir())


def test_a_full_disk_while_a_piece_arrives_counts_for_nobody(place):
    held = place.client.app.state.site.uploads
    part = held._part("lab", "0" * 64, "testclient")
    part.parent.mkdir()
    part.symlink_to("/dev/full")
    answer = place.client.put(f"/api/uploads/{'0' * 64}?offset=0", content=b"x" * 99, headers=place.bearer())
    assert answer.status_code == 507 and "disk is full" in answer.json()["detail"]
    assert answer.headers["content-security-policy"] and answer.headers["retry-after"]
    assert not [row for row in place.store.audit() if row["action"] == "refuse"]


def test_forms_with_files_are_few_at_a_time(place, monkeypatch):
    form = {"data": {"token": place.token}, "files": {"file": ("s.zip", b"x")}}
    assert place.client.post("/submit", **form).status_code == 422
    for name in ("FILES", "ALL_FILES"):
        with monkeypatch.context() as patched:
            patched.setattr(access, name, 0)
            refused = place.client.post("/submit", **form)
        assert refused.status_code == 503 and refused.headers["retry-after"] == "30"
    assert place.client.post("/submit", **form).status_code == 422, "one that has ended is not counted"


def test_a_quota_holds_when_all_ask_at_once_through_several_servers(store, database, monkeypatch):
    others = [store, Store(connect(database))]
    start = threading.Barrier(24)

    def spend(n):
        start.wait()
        return others[n % 2].spend("x", "somebody", 5, 60)

    with ThreadPoolExecutor(24) as pool:
        assert sum(pool.map(spend, range(24))) == 5
    assert store.spend("x", "another", 1, 60) and store.spend("y", "somebody", 1, 60)
    assert not store.spend("x", "nobody", 0, 60)
    assert not others[1].is_left("x", "somebody", 5, 60) and others[1].is_left("x", "somebody", 6, 60)
    later = time.time() + 61
    monkeypatch.setattr(counted.time, "time", lambda: later)
    store.sweep_quotas()
    assert store.spend("x", "somebody", 5, 60) and store.is_left("x", "somebody", 2, 60)
    others[1].engine.dispose()


def test_two_servers_of_a_board_count_together(place):
    place.board.per_minute = 4
    servers = [TestClient(build_app(place.board, place.store, place.pages)) for _ in range(2)]
    codes = [
        servers[n % 2].get(f"/api/uploads/{'0' * 64}", headers=place.bearer()).status_code for n in range(6)
    ]
    assert codes == [200] * 4 + [429] * 2


@pytest.mark.parametrize(
    "name", ["a\u200bb", "\u202eevil", "a\x00", " a", "a  b", "a ", "l\u0430b", "x" * 101, ""]
)
def test_accounts_of_the_command_line_are_named_as_those_of_the_form(place, name):
    with pytest.raises(InputError, match="a name takes") as error:
        main(["account", name, "--config", str(place.config)])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["LAB", "l.a-b", "lab"])
def test_a_name_that_is_taken_for_another_is_refused(place, name):
    with pytest.raises(InputError, match="'lab' exists already"):
        main(["account", name, "--config", str(place.config)])
    answer = place.client.post("/accounts", data={"name": name})
    assert answer.status_code == 422 and "exists already" in answer.text


def test_the_command_checks_in_a_child_with_limits(place, monkeypatch, capsys):
    place.packed()
    assert main(["verify", str(place.folder / "s.zip")]) == 0 and "guess" in capsys.readouterr().out
    monkeypatch.setattr(limited, "Checking", lambda: Checking(seconds=0.05))
    for submission in (place.folder / "s.zip", place.folder):
        with pytest.raises(InputError, match=r"longer than 0\.05 s"):
            main(["verify", str(submission)])
