"""The server, put together: an API to submit and read, and pages rendered here. No script runs in a page; a
cookie is set for who signs in, and for nobody else."""

from fastapi import FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from leaderboard.board.config import Board
from leaderboard.intake.uploads import Uploads
from leaderboard.store import Store
from leaderboard.web import gauges, refusals
from leaderboard.web.access import Access
from leaderboard.web.guard import Guard
from leaderboard.web.oidc import Provider
from leaderboard.web.pages import Pages
from leaderboard.web.routes import account, fixed, forms, models, openid, submissions, tables, watch
from leaderboard.web.site import Site


def build_app(board: Board, store: Store, pages: Pages | None = None) -> FastAPI:
    """The application over a board and its store. Raises InputError where a suite cannot be opened."""
    app = FastAPI(title=board.title, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    pages = pages or Pages(board, store, board.open())
    registry = gauges.install(app, store)
    provider = Provider(board.openid, board.address) if board.openid.issuer else None
    app.state.site = Site(
        board, store, pages, Uploads(board, store), Access(board, store), registry, provider
    )
    for resource in (submissions, models, tables, forms, account, openid, fixed, watch):
        app.include_router(resource.router)
    refusals.install(app)

    app.add_middleware(Guard, board=board)
    if board.proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=board.proxies)
    return app
