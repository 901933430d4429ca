"""Threads for what would halt the server's event loop: decoding, resizing. A few at a time, some wait, more
are refused."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Busy(Exception):
    """More is asked for than may wait; HTTP's 503, with Retry-After."""


class Pool:
    """`at_once` calls at a time, `waiting` more behind them."""

    def __init__(self, at_once: int, waiting: int):
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="tvad")
        self._room = threading.Semaphore(at_once + waiting)

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """`work(*args)` in a thread. Raises Busy where all places are taken, else what `work` raises."""
        if not self._room.acquire(blocking=False):
            raise Busy("too many videos at once; ask again in a few seconds")
        future = self._threads.submit(work, *args)
        # Of the thread's own future: a client that hangs up cancels the waiting for it, not the work.
        future.add_done_callback(lambda _: self._room.release())
        return await asyncio.wrap_future(future)


# Videos are decoded by FFmpeg, which has threads of its own.
DECODING = Pool(at_once=4, waiting=32)
