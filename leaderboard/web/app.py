"""The server, put together: an API to submit and read, and pages rendered here. No script runs in a page; a
cookie is set for who signs in, and for nobody else."""

from fastapi import FastAPI, Request

from leaderboard.board.config import Board
from leaderboard.intake.uploads import Uploads
from leaderboard.store import Store
from leaderboard.web import gauges, refusals
from leaderboard.web.access import Access
from leaderboard.web.pages import Pages
from leaderboard.web.routes import account, fixed, forms, models, submissions, tables, watch
from leaderboard.web.site import Site

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def build_app(board: Board, store: Store, pages: Pages | None = None) -> FastAPI:
    """The application over a board and its store. Raises InputError where a suite cannot be opened."""
    app = FastAPI(title=board.title, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    pages = pages or Pages(board, store, board.open())
    registry = gauges.install(app, store)
    app.state.site = Site(board, store, pages, Uploads(board, store), Access(board, store), registry)
    for resource in (submissions, models, tables, forms, account, fixed, watch):
        app.include_router(resource.router)
    refusals.install(app)

    @app.middleware("http")
    async def guarded(request: Request, call_next):
        answer = await call_next(request)
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    return app
