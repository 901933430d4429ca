"""Connections of the server: how many an address may have, how long it may take to ask and to read. uvicorn,
whose protocol this is, limits the pause between two requests only; a client that sends its headers byte by
byte, or does not read its answer, would hold a connection for ever. Bodies have limits of their own
(`leaderboard.intake.uploads.bounded`)."""

import ipaddress
from collections import Counter
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from leaderboard.web.access import network

ASKING = 20.0  # seconds until a connection has asked for something
READING = 60.0  # seconds in which a client takes the next 48 KiB of its answer
LOOK = 2.0  # seconds between looks at a connection
ALL = 1000  # connections at a time; further ones are answered by 503


def limited(most: int, proxies: list[str]) -> type[H11Protocol]:
    """uvicorn's protocol for at most `most` connections of an address at a time; those of proxies are as many
    as there are clients."""
    open_now: Counter[str] = Counter()
    trusted = [ipaddress.ip_network(proxy) for proxy in proxies]

    def of(host: str) -> str | None:
        try:
            found = ipaddress.ip_address(host)
        except ValueError:  # a socket of this machine
            return None
        return None if any(found in proxy for proxy in trusted) else network(host)

    class Limited(H11Protocol):
        """A connection."""

        _address: str | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._asked = self._read = self.loop.time()
            self._before: Any = None  # the last request that was seen
            self._address = of(self.client[0]) if self.client else None
            self._timer = self.loop.call_later(LOOK, self._look)
            if self._address is not None:
                open_now[self._address] += 1
                if open_now[self._address] > most:
                    transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            self._timer.cancel()
            if self._address is not None:
                open_now[self._address] -= 1
                if not open_now[self._address]:
                    del open_now[self._address]
            super().connection_lost(exc)

        def resume_writing(self) -> None:
            self._read = self.loop.time()
            super().resume_writing()

        def _look(self) -> None:
            moment = self.loop.time()
            busy = self.cycle is not None and not self.cycle.response_complete
            if busy or self.cycle is not self._before:
                self._asked, self._before = moment, self.cycle
            if not self.transport.get_write_buffer_size():
                self._read = moment
            if moment - self._asked > ASKING or moment - self._read > READING:
                self.transport.abort()
            self._timer = self.loop.call_later(LOOK, self._look)

    return Limited


def options(most: int, proxies: list[str]) -> dict[str, Any]:
    """What uvicorn is to be started with."""
    return {
        "http": limited(most, proxies),
        "ws": "none",
        "loop": "asyncio",
        "limit_concurrency": ALL,
        "timeout_keep_alive": 10,
        "proxy_headers": False,  # `leaderboard.web.app` believes those that the configuration names
    }
