"""What every route of a server works with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from prometheus_client import CollectorRegistry

from leaderboard.board.config import Board
from leaderboard.board.phases import stamp
from leaderboard.intake.uploads import Uploads
from leaderboard.store import Store
from leaderboard.web.access import Access
from leaderboard.web.oidc import Provider
from leaderboard.web.pages import Pages

PATIENCE = 20.0  # seconds that a request waits for its turn
TURNS = 2  # comparisons at a time


def told(found: Any) -> Any:
    """Data of the store for other programs: its times, however deep they lie, as text that says its zone."""
    if isinstance(found, dict):
        return {key: told(value) for key, value in found.items()}
    if isinstance(found, list):
        return [told(value) for value in found]
    return stamp(found) if isinstance(found, datetime) else found


Short = Annotated[str, Query(max_length=100)]
PageNumber = Annotated[int, Query(ge=1, le=10**6)]


@dataclass
class Site:
    """A board, what it keeps, and what its visitors may do."""

    board: Board
    store: Store
    pages: Pages
    uploads: Uploads
    access: Access
    registry: CollectorRegistry  # what /metrics tells
    provider: Provider | None = None  # of identities
    _turns: asyncio.Semaphore = field(init=False, default_factory=lambda: asyncio.Semaphore(TURNS))

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One's turn for what takes long, waited for without a thread; 503 where it does not come."""
        try:
            await asyncio.wait_for(self._turns.acquire(), PATIENCE)
        except TimeoutError:
            raise HTTPException(503, "busy; try again in a moment", {"Retry-After": "5"}) from None
        try:
            yield
        finally:
            self._turns.release()

    def suite_or_404(self, table: str) -> str:
        """The name of a table that the board has. Raises 404."""
        if table not in self.board.tables:
            raise HTTPException(404, "no such suite")
        return table

    def split_or_404(self, table: str, split: str) -> str:
        """A split that a table has. Raises 404 for an unknown table too."""
        if split not in self.pages.splits(self.suite_or_404(table)):
            raise HTTPException(404, "no such split")
        return split


async def _site(request: Request) -> Site:
    return request.app.state.site


TheSite = Annotated[Site, Depends(_site)]


def page_or_404(text: str | None) -> HTMLResponse:
    """A page. Raises 404 for none."""
    if text is None:
        raise HTTPException(404, "no such page")
    return HTMLResponse(text)
