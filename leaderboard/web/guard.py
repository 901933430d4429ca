"""Around every request: addresses that are none are refused before anything reads them, as are too many
requests of one address at a time, and every answer carries the same policy."""

import re
from collections import Counter
from collections.abc import Mapping
from urllib.parse import unquote_plus, urlsplit

from fastapi import HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leaderboard.board.config import Board
from leaderboard.web.access import address
from leaderboard.web.refusals import HEADERS, refused

# In no name or word of ours, and PostgreSQL takes no text with a NUL.
CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
HOST = re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


def is_host(text: str) -> bool:
    """Whether this may stand in an address for a host and its port."""
    try:
        urlsplit(f"//{text}").port  # noqa: B018  raises for a port or an IPv6 address that is none
    except ValueError:
        return False
    return HOST.fullmatch(text) is not None


def _odd(scope: Scope, headers: Mapping[str, str]) -> str | None:
    """What is wrong with the address of a request."""
    if CONTROL.search(scope["path"]) or CONTROL.search(unquote_plus(scope["query_string"].decode("latin-1"))):
        return "the address holds control characters"
    if "host" in headers and not is_host(headers["host"]):
        return "the header Host names no host"
    return None


def _asks_who(request: Request) -> bool:
    """Whether a route reads the token: `Access` counts wrong ones there. Elsewhere one says nothing."""
    path = request.url.path
    own = path == "/api/account" or path.startswith(("/api/account/", "/api/uploads/"))
    return path.startswith("/api/") and (own or request.method not in ("GET", "HEAD"))


class Guard:
    """An application with its answers' headers, which an address may ask `Board.at_once` questions at a time
    without a token. Not `app.middleware`, which holds every answer in a queue."""

    def __init__(self, app: ASGIApp, board: Board):
        self.app, self.board = app, board
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        bare = scope["method"] == "HEAD"  # as GET, without a body
        if bare:
            scope = {**scope, "method": "GET"}

        async def answer(message: Message) -> None:
            if bare and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        if (wrong := _odd(scope, request.headers)) is not None:
            return await (await refused(request, HTTPException(400, wrong)))(scope, receive, answer)
        if "authorization" in request.headers and _asks_who(request):
            return await self.app(scope, receive, answer)
        where = address(request)
        if self._under_way[where] >= self.board.at_once:
            many = HTTPException(429, "too many requests from this address at a time", {"Retry-After": "1"})
            return await (await refused(request, many))(scope, receive, answer)
        self._under_way[where] += 1
        try:
            await self.app(scope, receive, answer)
        finally:
            self._under_way[where] -= 1
            if not self._under_way[where]:
                del self._under_way[where]
