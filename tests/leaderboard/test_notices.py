"""Changes of state are told by webhook and mail: what really happened, signed, a bounded number of times, and
to no address inside."""

import asyncio
import hmac
import json
import smtplib
import socket
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from board_fixtures import CARD

from leaderboard import notices
from leaderboard.board import config as boards
from leaderboard.board.config import Board, BoardSuite, Mail, Webhook
from leaderboard.board.credentials import VARIABLES
from leaderboard.card import Card
from leaderboard.notices import Teller, Untold, address_of
from leaderboard.store import outbox
from leaderboard.store.queue import Limited
from leaderboard.store.tables import Notice
from tvad.common.errors import InputError

KEY = "a secret of both"


class Receiver:
    """A server that keeps what it is sent, and answers `status`."""

    def __init__(self):
        self.got, self.status, self.headers = [], 200, {}
        this = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                this.got.append((dict(self.headers), body))
                self.send_response(this.status)
                for name, value in this.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver():
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()


def board(**ways) -> Board:
    return Board("nowhere", {"s": BoardSuite("x")}, title="Board\r\nBcc: x@evil", **ways)


def hook(receiver, **more) -> Webhook:
    return Webhook(f"http://127.0.0.1:{receiver.port}/hook", **({"inside": True} | more))


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(VARIABLES["webhook"], KEY)


def submit(store, name="m", n=0) -> str:
    if not store.accounts():
        store.create_account("lab", 100)
    name_hash = f"{n:064x}"
    store.submit("lab", name_hash, Card(**(CARD | {"name": name})), ["s"])
    return name_hash


def waiting(store) -> int:
    with store._reading() as session:
        return session.query(Notice).count()


def ready(store) -> None:
    """Let every notice be due."""
    with store._session() as session:
        for row in session.query(Notice):
            row.due -= timedelta(days=1)


def test_every_change_is_told_once_in_order_and_signed(store, receiver):
    teller = Teller(board(webhook=hook(receiver)), store)
    name_hash = submit(store, name="<b>\u202e=1")
    store.put_back(store.claim(60), "the disk was full", "disk")
    store.requeue(name_hash)
    store.finish(store.claim(60), [])
    store.withdraw(None, name_hash)
    teller.tell()
    told = [json.loads(body) for _, body in receiver.got]
    assert [(row["state"], row["hash"], row["account"]) for row in told] == [
        (state, name_hash, "lab") for state in ("queued", "done", "withdrawn")
    ]
    assert told[0]["name"] == "<b>\u202e=1" and not teller.tell() and waiting(store) == 0
    for headers, body in receiver.got:
        moment, _, digest = headers["X-Board-Signature"].partition(",v1=")
        text = moment.removeprefix("t=").encode() + b"." + body
        assert hmac.compare_digest(digest, hmac.digest(KEY.encode(), text, "sha256").hex())
        assert headers["Host"] == f"127.0.0.1:{receiver.port}"


def test_what_is_undone_is_not_told(store, receiver):
    submit(store)
    ready(store)

    def fails():
        raise OSError("the disk is full")

    with pytest.raises(OSError):
        store.submit("lab", "f" * 64, Card(**CARD), ["s"], fails)
    store.create_account("poor", 0)
    with pytest.raises(Limited):
        store.submit("poor", "e" * 64, Card(**CARD), ["s"])
    assert waiting(store) == 1
    rejected = submit(store, n=1)
    with store._session() as session:
        session.get(outbox.Submission, rejected).approved = False
    store.reject(rejected, "advertising")
    Teller(board(webhook=hook(receiver)), store).tell()
    assert [json.loads(body)["state"] for _, body in receiver.got] == ["queued", "queued", "failed"]


def test_a_receiver_that_fails_is_asked_a_bounded_number_of_times(store, receiver):
    teller = Teller(board(webhook=hook(receiver)), store)
    submit(store)
    receiver.status = 500
    for _ in range(20):
        ready(store)
        teller.tell()
    assert len(receiver.got) == len(outbox.DELAYS) + 1 and waiting(store) == 0
    assert store.audit(1)[0]["action"] == "notice given up"
    assert len({headers["X-Board-Event"] for headers, _ in receiver.got}) == 1, "the same each time"
    submit(store, n=1)
    teller.tell()
    assert not teller.tell(), "and later each time"


def test_two_that_tell_at_once_tell_two_things(store, receiver):
    for n in range(3):
        submit(store, n=n)
    first = store.due_notices(2)
    second = store.due_notices(2)
    assert len(first) == 2 and len(second) == 1 and not {n.id for n in first} & {n.id for n in second}
    store.told(first[0], {"webhook"})
    store.told(first[0], {"webhook"})
    assert waiting(store) == 2


INSIDE = ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1"]
INSIDE += [
    "::1",
    "::",
    "fe80::1",
    "fd00::1",
    "::ffff:127.0.0.1",
    "::ffff:a00:1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
]
SPELLED = ["2130706433", "0x7f.1", "127.1", "localhost", "017700000001"]


@pytest.mark.parametrize("host", INSIDE + SPELLED)
def test_addresses_inside_are_refused_however_they_are_written(host):
    with pytest.raises(Untold):
        address_of(host, 80, False)


def answers(*addresses):
    given = iter(addresses)

    def resolve(host, port, **_):
        found = next(given)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in found]

    return resolve


def test_a_name_with_an_address_inside_among_others_is_refused(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", answers(["93.184.216.34", "127.0.0.1"]))
    with pytest.raises(Untold, match="inside"):
        address_of("evil.example", 80, False)
    monkeypatch.setattr(socket, "getaddrinfo", answers(["93.184.216.34"]))
    assert address_of("fine.example", 80, False) == "93.184.216.34"


def test_a_name_that_changes_its_mind_is_connected_to_as_it_was_judged(store, receiver, monkeypatch):
    """The first answer is public, any later one is this machine's: nothing may arrive here."""
    resolve, asked = answers(["192.0.2.1"], *[["127.0.0.1"]] * 9), []
    real = socket.create_connection

    def connect(address, *given, **named):
        asked.append(address[0])
        if address[0] == "192.0.2.1":
            raise OSError("no route")
        return real(address, *given, **named)

    monkeypatch.setattr(notices, "address_of", lambda host, port, inside: resolve(host, port)[0][4][0])
    monkeypatch.setattr(socket, "create_connection", connect)
    plan = Webhook(f"http://evil.example:{receiver.port}/")
    submit(store)
    Teller(board(webhook=plan), store).tell()
    assert asked == ["192.0.2.1"] and not receiver.got and waiting(store) == 1


def test_no_redirect_is_followed_and_loopback_is_refused_by_default(store, receiver):
    other = Receiver()
    receiver.status, receiver.headers = 307, {"Location": f"http://127.0.0.1:{other.port}/"}
    submit(store)
    Teller(board(webhook=hook(receiver)), store).tell()
    assert len(receiver.got) == 1 and not other.got and waiting(store) == 1
    ready(store)
    Teller(board(webhook=hook(receiver, inside=False)), store).tell()
    assert len(receiver.got) == 1
    other.server.shutdown()
    other.server.server_close()


class Mailbox(threading.Thread):
    """A mail server that speaks just enough SMTP."""

    def __init__(self):
        super().__init__(daemon=True)
        self.got, self.socket = [], socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        asyncio.run(self.serve())

    async def serve(self):
        server = await asyncio.start_server(self.talk, sock=self.socket)
        async with server:
            await server.serve_forever()

    async def talk(self, reader, writer):
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            if line.upper().startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                self.got.append(await reader.readuntil(b"\r\n.\r\n"))
            writer.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 ok\r\n")
            await writer.drain()


def test_mail_is_sent_and_no_name_adds_a_header(store, receiver):
    box = Mailbox()
    mail = Mail(["admin@board.example"], "board@board.example", "127.0.0.1", box.port)
    plain = board(mail=mail, webhook=hook(receiver))
    plain.title = "Board"
    receiver.status = 500
    teller = Teller(plain, store)
    submit(store, name="x\u2028Bcc: all@evil.example")
    teller.tell()
    ready(store)
    receiver.status = 200
    teller.tell()
    assert len(box.got) == 1 and len(receiver.got) == 2 and waiting(store) == 0, "told by each way once"
    head, _, body = box.got[0].decode().partition("\r\n\r\n")
    assert "Subject: Board: submission 000000000000 is queued" in head and "evil" not in head
    assert "is queued" in body
    submit(store, n=1)
    Teller(board(mail=mail), store).tell()
    assert len(box.got) == 1 and waiting(store) == 1, "a title that would add a header is not sent"
    assert smtplib.SMTP_PORT == 25


def test_without_a_way_nothing_piles_up(store):
    submit(store)
    assert waiting(store) == 1
    Teller(board(), store).tell()
    assert waiting(store) == 0


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"webhook": {"url": "ftp://x"}}, "url"),
        ({"webhook": {"url": "javascript:x"}}, "url"),
        ({"webhook": {"inside": True, "secret_file": "x"}}, r"b\.yaml: webhook: url is missing"),
        ({"daily": -3}, r"b\.yaml: daily is -3, expected 0 or more"),
        ({"per_minute": 0}, r"b\.yaml: per_minute is 0, expected 1 or more"),
        ({"connections": 0}, "connections is 0"),
        ({"at_once": -1}, "at_once is -1"),
        ({"open_accounts": -1}, "open_accounts is -1"),
        ({"mail": {"to": ["a@b"]}}, "sender"),
        ({"mail": {"sender": "a@b"}}, "to"),
    ],
)
def test_a_plan_that_lacks_something_is_refused(tmp_path, plan, words):
    (tmp_path / "b.yaml").write_text(json.dumps({"folder": "x", "suites": {"s": {"config": "x"}}} | plan))
    with pytest.raises(InputError, match=words):
        boards.read(str(tmp_path / "b.yaml"))


def test_a_webhook_without_a_secret_is_refused(store, receiver, monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLES["webhook"])
    with pytest.raises(InputError, match="no secret"):
        Teller(board(webhook=hook(receiver)), store)
    with pytest.raises(InputError, match="cannot be read"):
        Teller(board(webhook=hook(receiver, secret_file=str(tmp_path / "none"))), store)
