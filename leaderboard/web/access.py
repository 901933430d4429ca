"""Who asks, and how often they may. All of it is kept in the server's memory: it begins anew with the server,
and behind a proxy all clients are one address (limit there)."""

import ipaddress
import threading
import time
from collections import deque

from fastapi import HTTPException, Request

from leaderboard.board.config import Board
from leaderboard.store import Store

RENEWALS = 5  # new tokens of an account a day
FORMS = 20  # forms that an address may send a minute: they are read before their token is known
MINUTE, DAY = 60.0, 86400.0


class Limiter:
    """At most `most` events of a key within the last `seconds`."""

    def __init__(self, most: int, seconds: float, keys: int = 100_000):
        self.most, self.seconds, self.keys = most, seconds, keys
        self._events: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def allow(self, key: str, count: bool = True) -> bool:
        """Whether an event may happen now; it is counted if `count`."""
        moment = time.monotonic()
        with self._lock:
            if len(self._events) > self.keys:  # addresses are many: those that are quiet again are forgotten
                self._events = {k: v for k, v in self._events.items() if v and v[-1] > moment - self.seconds}
            events = self._events.setdefault(key, deque())
            while events and events[0] <= moment - self.seconds:
                events.popleft()
            if len(events) >= self.most:
                return False
            if count:
                events.append(moment)
            return True


def address(request: Request) -> str:
    """Where a request comes from: of IPv6 the network that one household or machine has (/64)."""
    host = request.client.host if request.client else "unknown"
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host[:100]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found), 64), strict=False))
    return host


def cookie(request: Request) -> str:
    """What the cookie of a browser that is signed in is called. Under TLS no other host, nor a page without
    TLS, can set one of this name."""
    return "__Host-board" if request.url.scheme == "https" else "board"


def _wait(what: str) -> HTTPException:
    return HTTPException(429, f"too many {what}; wait a minute", {"Retry-After": "60"})


class Access:
    """What a board's visitors may do, by account and by address."""

    def __init__(self, board: Board, store: Store):
        self.store = store
        self.accounts = Limiter(board.open_accounts, DAY)  # made by an address
        self.renewals = Limiter(RENEWALS, DAY)  # of an account's token
        self._requests = Limiter(board.per_minute, MINUTE)  # of an account
        self._wrong_tokens = Limiter(board.per_minute, MINUTE)  # of an address
        self._forms = Limiter(FORMS, MINUTE)  # of an address

    def authenticated(self, request: Request, token: str) -> str:
        """The account of a token. Raises 401, and 429 for an address or an account that asks too much."""
        # Right tokens cost an address nothing: many people may share one. Wrong ones do, before the store is
        # asked, so that tokens cannot be guessed at speed.
        if not self._wrong_tokens.allow(address(request), count=False):
            raise _wait("wrong tokens from this address")
        account = self.store.account_of(token) if token else None
        if account is None:
            self._wrong_tokens.allow(address(request))
            raise HTTPException(401, "a valid token is needed: Authorization: Bearer …")
        if not self._requests.allow(account):
            raise _wait("requests of this account")
        return account

    def bearer(self, request: Request) -> str:
        """The account of the token in a request's header. Raises as `authenticated` does."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return self.authenticated(request, token if kind.lower() == "bearer" else "")

    def may_begin(self, request: Request) -> None:
        """Limit attempts to sign in by a provider as forms are: each makes the server ask and write. Raises
        429."""
        if not self._forms.allow(address(request)):
            raise _wait("attempts from this address")

    def browser(self, request: Request) -> str | None:
        """The account that a browser is signed in as; None for none. Raises 429 for one that asks too
        much."""
        word = request.cookies.get(cookie(request))
        account = self.store.signed_in(word) if word else None
        if account is not None and not self._requests.allow(account):
            raise _wait("requests of this account")
        return account

    def new_token(self, account: str) -> str:
        """A new token in place of an account's old one. Raises 429."""
        if not self.renewals.allow(account):
            raise HTTPException(
                429, f"the token was renewed {RENEWALS} times within a day", {"Retry-After": "86400"}
            )
        return self.store.renew_token(account, account)

    def own_form(self, request: Request) -> None:
        """Refuse a form that another site's page sends. Raises 403, and 429 for an address that sends many.

        A visitor's browser would act from the visitor's address and, where signed in, as the visitor (whose
        cookie is not sent with other sites' forms either: SameSite). Browsers say where a form comes from
        (Sec-Fetch-Site; older ones Origin only), and pages cannot make them lie; what is no browser need not
        say anything."""
        origin = request.headers.get("origin")
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") or (
            origin is not None and origin.partition("://")[2] != request.headers.get("host")
        ):
            raise HTTPException(403, "forms are taken from this site's own pages only")
        if not self._forms.allow(address(request)):
            raise _wait("forms from this address")
