"""Tells of changes of state: by a signed POST to an address, and by mail. The address is resolved here, once,
and what it resolves to is connected to: a name that means another address a moment later changes nothing, and
no redirect is followed. Addresses inside (loopback, private networks, a cloud's metadata) are refused unless
the configuration allows them."""

import hmac
import ipaddress
import json
import smtplib
import socket
import sys
import threading
import time
from email.message import EmailMessage
from typing import Any

import httpx

from leaderboard.board.config import Board
from leaderboard.board.credentials import VARIABLES, secret
from leaderboard.store import Store
from leaderboard.store.outbox import Due
from tvad.common.errors import InputError

PATIENCE = 10.0  # seconds that one telling may take to connect, and between two bytes
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # stands for addresses of IPv4, of any kind
RELAYS = ipaddress.ip_network("192.88.99.0/24")  # once of 6to4
PAUSE = 5.0  # seconds between looks


class Untold(Exception):
    """A notice could not be told."""


def address_of(host: str, port: int, inside: bool) -> str:
    """The address to connect to. Raises Untold where one of the name's addresses is not public: which of them
    is taken is then somebody else's choice."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Untold(f"{host} has no address") from error
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    for text in addresses:
        ip: Any = ipaddress.ip_address(text)
        ip = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None) or ip
        own = ip.version == 6 and ip.is_site_local
        if not inside and (
            ip in NAT64 or ip in RELAYS or own or not ip.is_global or ip.is_multicast or ip.is_reserved
        ):
            raise Untold(f"{host} is an address inside ({text})")
    return addresses[0]


def signature(key: str, moment: int, body: bytes) -> str:
    """What the header X-Board-Signature says: the receiver computes the same, and compares the time too."""
    digest = hmac.digest(key.encode(), f"{moment}.".encode() + body, "sha256").hex()
    return f"t={moment},v1={digest}"


class Teller:
    """The ways of a board's configuration. Raises InputError where a secret is missing."""

    def __init__(self, board: Board, store: Store):
        self.board, self.store = board, store
        self.ways = {"webhook": self._post} if board.webhook.url else {}
        self._key = secret("webhook", board.webhook.secret_file)
        if self.ways and not self._key:
            raise InputError(f"webhook: no secret in {VARIABLES['webhook']} or secret_file")
        self._password = secret("mail", board.mail.secret_file)
        if board.mail.to:
            if board.mail.user and not self._password:
                raise InputError(f"mail: user is set, but no password in {VARIABLES['mail']} or secret_file")
            self.ways["mail"] = self._mail

    def _post(self, notice: Due) -> None:
        plan, moment = self.board.webhook, int(time.time())
        url = httpx.URL(plan.url)
        body = json.dumps({"id": notice.id, **notice.content}, allow_nan=False).encode()
        port = url.port or (443 if url.scheme == "https" else 80)
        headers = {
            "Content-Type": "application/json",
            "Host": url.netloc.decode(),
            "X-Board-Event": str(notice.id),
            "X-Board-Signature": signature(self._key or "", moment, body),
        }
        try:
            ip = address_of(url.host, port, plan.inside)
            with (
                httpx.Client(timeout=PATIENCE, follow_redirects=False, trust_env=False) as client,
                client.stream(
                    "POST",
                    url.copy_with(host=ip),
                    content=body,
                    headers=headers,
                    extensions={"sni_hostname": url.host},  # the certificate is the name's, not the number's
                ) as answer,
            ):
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise Untold(f"{type(error).__name__}") from error
        if not 200 <= status < 300:
            raise Untold(f"answered {status}")

    def _mail(self, notice: Due) -> None:
        plan, told = self.board.mail, notice.content
        try:
            mail = EmailMessage()
            mail["Subject"] = f"{self.board.title}: submission {told['hash'][:12]} is {told['state']}"
            mail["From"], mail["To"] = plan.sender, ", ".join(plan.to)
            lines = [f"{told['name']!r} of {told['account']!r} is {told['state']}", told["reason"] or ""]
            lines += [f"{self.board.address}/models/{told['hash']}" if self.board.address else told["hash"]]
            mail.set_content("\n".join(filter(None, lines)))
            with smtplib.SMTP(plan.host, plan.port, timeout=PATIENCE) as server:
                if plan.tls:
                    server.starttls()
                if plan.user:
                    server.login(plan.user, self._password or "")
                server.send_message(mail)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise Untold(f"{type(error).__name__}") from error

    def tell(self) -> int:
        """Tell what is due; returns how many notices."""
        self.store.forget_notices(everything=not self.ways)
        due = self.store.due_notices() if self.ways else []
        for notice in due:
            told, failed = set(), None
            for name, way in self.ways.items():
                if name in notice.told:
                    continue
                try:
                    way(notice)
                    told.add(name)
                except Untold as error:
                    failed = f"{name}: {error}"
            self.store.told(notice, told, failed)
        return len(due)


class Telling:
    """Tells while the block runs."""

    def __init__(self, board: Board, store: Store):
        self._teller, self._ending = Teller(board, store), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                busy = self._teller.tell()
            except Exception as error:  # a database that is locked: later
                print(f"notices wait: {error}", file=sys.stderr, flush=True)
                busy = 0
            if not busy:
                self._ending.wait(PAUSE)

    def __enter__(self) -> "Telling":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(2 * PATIENCE)
