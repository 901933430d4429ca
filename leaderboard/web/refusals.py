"""How the server says no: bad input as a status and one line, in JSON below /api/ and as text elsewhere."""

import json

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.formparsers import MultiPartException

from leaderboard.intake.uploads import Conflict, TooLarge, TooSlow
from leaderboard.store.queue import Limited
from tvad.common.errors import InputError

STATUS: dict[type[InputError], int] = {TooLarge: 413, TooSlow: 408, Limited: 429, Conflict: 409}
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


async def _http(request: Request, error: StarletteHTTPException) -> Response:
    if request.url.path.startswith("/api/"):
        body = json.dumps({"detail": error.detail}, allow_nan=False)
        return Response(body, error.status_code, error.headers, media_type="application/json")
    return PlainTextResponse(str(error.detail), error.status_code, error.headers)


async def _bad_input(request: Request, error: InputError) -> Response:
    # A page has nothing to send but its address, which its route judges: what is raised there is a fault.
    if not request.url.path.startswith("/api/"):
        raise error
    return await _http(request, refusal(error))


def install(app: FastAPI) -> None:
    """Let an application refuse so."""
    app.exception_handler(StarletteHTTPException)(_http)  # FastAPI's, and Starlette's for unknown paths
    app.exception_handler(InputError)(_bad_input)
