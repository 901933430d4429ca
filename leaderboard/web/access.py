"""Who asks, and how often they may: counted in the database (`leaderboard.store.quotas`), for all servers of
a board together."""

import hmac
import ipaddress
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException, Request

from leaderboard.board.config import Board
from leaderboard.board.credentials import secret
from leaderboard.store import Store
from leaderboard.store.accounts import Identified
from leaderboard.store.queue import Limited

RENEWALS = 5  # new tokens of an account a day
FORMS = 20  # forms that an address may send a minute: they are read before their token is known
# Forms with a file that are read at a time, of an address and of all: each may fill half a GiB of disk before
# its token is known.
FILES, ALL_FILES = 2, 8
MINUTE, DAY = 60.0, 86400.0


def address(request: Request) -> str:
    """Where a request comes from (`network`)."""
    return network(request.client.host if request.client else "unknown")


def network(host: str) -> str:
    """What counts as one address: of IPv6 the network that one household or machine has (/64)."""
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


def _bearer(request: Request) -> str:
    """The token in a request's header; empty for none."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token if kind.lower() == "bearer" else ""


class Access:
    """What a board's visitors may do, by account and by address."""

    def __init__(self, board: Board, store: Store):
        self.board, self.store = board, store
        self._files: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._metrics = secret("metrics")

    def _may_guess(self, request: Request) -> None:
        """Wrong tokens cost an address, before anything is asked: none can be guessed at speed. Raises
        429."""
        if not self.store.is_left("wrong tokens", address(request), self.board.per_minute, MINUTE):
            raise _wait("wrong tokens from this address")

    def _wrong(self, request: Request) -> HTTPException:
        """Count a wrong token."""
        self.store.spend("wrong tokens", address(request), self.board.per_minute, MINUTE)
        return HTTPException(401, "a valid token is needed: Authorization: Bearer …")

    def authenticated(self, request: Request, token: str) -> str:
        """The account of a token. Raises 401, and 429 for an address or an account that asks too much."""
        self._may_guess(request)  # right tokens cost an address nothing: many people may share one
        account = self.store.account_of(token) if token else None
        if account is None:
            raise self._wrong(request)
        self._request(account)
        return account

    def may_watch(self, request: Request) -> None:
        """Whether this is who may see the metrics, by a token of its own. Raises 404 where the board has
        none, 401 and 429 for others."""
        if self._metrics is None:
            raise HTTPException(404, "no such page")
        self._may_guess(request)
        if not hmac.compare_digest(_bearer(request).encode(), self._metrics.encode()):
            raise self._wrong(request)

    def _request(self, account: str) -> None:
        if not self.store.spend("requests", account, self.board.per_minute, MINUTE):
            raise _wait("requests of this account")

    def bearer(self, request: Request) -> str:
        """The account of the token in a request's header. Raises as `authenticated` does."""
        return self.authenticated(request, _bearer(request))

    def may_begin(self, request: Request) -> None:
        """Limit attempts to sign in by a provider as forms are: each makes the server ask and write. Raises
        429."""
        if not self.store.spend("forms", address(request), FORMS, MINUTE):
            raise _wait("attempts from this address")

    def browser(self, request: Request) -> str | None:
        """The account that a browser is signed in as; None for none. Raises 429 for one that asks too
        much."""
        word = request.cookies.get(cookie(request))
        account = self.store.signed_in(word) if word else None
        if account is not None:
            self._request(account)
        return account

    def new_token(self, account: str, keep: Identified | None = None) -> str:
        """A new token in place of an account's old one; of its identities `keep` stays. Raises 429."""
        if not self.store.spend("renewals", account, RENEWALS, DAY):
            raise HTTPException(
                429, f"the token was renewed {RENEWALS} times within a day", {"Retry-After": "86400"}
            )
        return self.store.renew_token(account, account, keep)

    def own_form(self, request: Request) -> None:
        """Refuse a form that another site's page sends. Raises 403, and 429 for an address that sends many.

        A visitor's browser would act from the visitor's address and, where signed in, as the visitor (whose
        cookie is not sent with other sites' forms either: SameSite). Browsers say where a form comes from
        (Sec-Fetch-Site; older ones Origin only), and pages cannot make them lie; what is no browser need not
        say anything."""
        said, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        # Where a browser says it, no address is compared: a proxy may give the server another Host.
        own = said in ("same-origin", "none") if said else origin in (None, *self._origins(request))
        if not own:
            raise HTTPException(403, "forms are taken from this site's own pages only")
        if not self.store.spend("forms", address(request), FORMS, MINUTE):
            raise _wait("forms from this address")

    def _origins(self, request: Request) -> list[str]:
        """What an older browser may call this site."""
        host = request.headers.get("host")
        return [f"{scheme}://{host}" for scheme in ("http", "https")] + [self.board.address]

    def new_account(self, request: Request) -> None:
        """Count an account that an address makes. Raises Limited."""
        if not self.store.spend("accounts", address(request), self.board.open_accounts, DAY):
            raise Limited("as many accounts as this address may make in a day have been made")

    @contextmanager
    def file(self, request: Request) -> Iterator[None]:
        """A form with a file, while it is read. Raises 503 where too many are."""
        where = address(request)
        with self._lock:
            if self._files[where] >= FILES or self._files.total() >= ALL_FILES:
                raise HTTPException(503, "too many forms are being read; try again", {"Retry-After": "30"})
            self._files[where] += 1
        try:
            yield
        finally:
            with self._lock:
                self._files[where] -= 1
                if not self._files[where]:
                    del self._files[where]
