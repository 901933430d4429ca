"""How the server says no: bad input as a status and one line, in JSON below /api/, as a page for browsers and
as text for others."""

import json
import sys
from http import HTTPStatus

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.formparsers import MultiPartException

from leaderboard.intake.archive import FULL
from leaderboard.intake.limited import Interrupted
from leaderboard.intake.objects import Unstored
from leaderboard.intake.uploads import Busy, Conflict, TooLarge, TooSlow
from leaderboard.scoring import faults
from leaderboard.store.queue import Limited
from tvad.common.errors import InputError

STATUS: dict[type[InputError], int] = {
    TooLarge: 413,
    TooSlow: 408,
    Limited: 429,
    Conflict: 409,
    Busy: 503,
    Interrupted: 503,
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}  # of every answer
Refused = (InputError, MultiPartException, HTTPException)  # what a request may be refused by


def refusal(error: Exception) -> HTTPException:
    """What is answered to one of `Refused`."""
    match error:
        case HTTPException():
            return error
        case Conflict():
            return HTTPException(STATUS[Conflict], {"message": str(error), "received": error.received})
        case InputError():
            return HTTPException(STATUS.get(type(error), 422), str(error))
    return HTTPException(422, str(error))


async def refused(request: Request, error: StarletteHTTPException) -> Response:
    """A refusal as its reader wants it."""
    # Not `request.url`, which raises for a host that is none.
    if request.scope["path"].startswith("/api/"):
        body = json.dumps({"detail": error.detail}, allow_nan=False)
        return Response(body, error.status_code, error.headers, media_type="application/json")
    if "text/html" in request.headers.get("accept", ""):
        status = error.status_code
        phrase = HTTPStatus(status).phrase
        page = request.app.state.site.pages.render(
            "error.html", status=status, phrase=phrase, detail=str(error.detail)
        )
        return HTMLResponse(page, status, error.headers)
    return PlainTextResponse(str(error.detail), error.status_code, error.headers)


async def _bad_input(request: Request, error: InputError) -> Response:
    # A page has nothing to send but its address, which its route judges: what is raised there is a fault.
    if not request.scope["path"].startswith("/api/"):
        raise error
    return await refused(request, refusal(error))


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    return await refused(request, HTTPException(422, f"{first['loc'][-1]}: {first['msg']}"[:300]))


def _full() -> HTTPException:
    return HTTPException(507, "the server's disk is full; nothing was taken", {"Retry-After": "600"})


async def _no_room(request: Request, error: OSError) -> Response:
    if error.errno not in FULL:
        raise error
    return await refused(request, _full())


async def _database(request: Request, error: DBAPIError | NoConnection) -> Response:
    if "disk is full" in str(error) or "No space left" in str(error):
        return await refused(request, _full())
    if not faults.unasked(error):
        raise error
    print(f"database: {getattr(error, 'orig', error)}", file=sys.stderr, flush=True)  # for the administrator
    return await refused(request, HTTPException(503, "busy; try again in a moment", {"Retry-After": "5"}))


async def _unstored(request: Request, error: Unstored) -> Response:
    print(f"storage: {error}", file=sys.stderr, flush=True)  # for the administrator
    why = HTTPException(503, "the server's files cannot be reached; try again later", {"Retry-After": "60"})
    return await refused(request, why)


async def _failed(request: Request, error: Exception) -> Response:
    # Outside of all that puts headers on answers; the error itself goes to the log.
    return await refused(request, HTTPException(500, "a fault of this server's", HEADERS))


def install(app: FastAPI) -> None:
    """Let an application refuse so."""
    app.exception_handler(StarletteHTTPException)(refused)  # FastAPI's, and Starlette's for unknown paths
    app.exception_handler(InputError)(_bad_input)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(OSError)(_no_room)
    app.exception_handler(DBAPIError)(_database)
    app.exception_handler(NoConnection)(_database)
    app.exception_handler(Unstored)(_unstored)
    app.exception_handler(Exception)(_failed)
