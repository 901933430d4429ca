"""The leaderboard's server: an API to submit and read, and pages rendered here. No script runs in a page, no
cookie is set."""

import io
import json
import re
import shutil
import threading
import time
import zipfile
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from leaderboard import private, submission
from leaderboard.board import Board
from leaderboard.pages import FILES, SIZES, Pages
from leaderboard.store import Filter, Limited, Store
from leaderboard.uploads import Conflict, TooLarge, TooSlow, Uploads, bounded
from tvad.common.errors import InputError

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
ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
STATUS = {TooLarge: 413, TooSlow: 408, Limited: 429, Conflict: 409}
FORM = 1 << 16  # bytes of a form beside its file
FORMS = 20  # forms that an address may send a minute: they are read before their token is known
PATIENCE = 20.0  # seconds
MOST_ROWS = 1000
Short = Annotated[str, Query(max_length=100)]


class Limiter:
    """At most `most` events of a key within `seconds`."""

    def __init__(self, most: int, seconds: float, keys: int = 100_000):
        self.most, self.seconds, self.keys = most, seconds, keys
        self._events: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def allow(self, key: str, count: bool = True) -> bool:
        """Whether an event may happen now; it is counted if `count`."""
        moment = time.monotonic()
        with self._lock:
            if len(self._events) > self.keys:
                self._events = {k: v for k, v in self._events.items() if v and v[-1] > moment - self.seconds}
            events = self._events.setdefault(key, deque())
            while events and events[0] <= moment - self.seconds:
                events.popleft()
            if len(events) >= self.most:
                return False
            if count:
                events.append(moment)
            return True


def _refusal(error: InputError) -> HTTPException:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 422)
    return HTTPException(
        status,
        {"message": str(error), "received": error.received} if isinstance(error, Conflict) else str(error),
    )


def _zipped(folder: Path) -> Iterator[bytes]:
    """The files of a folder as a .zip, in pieces."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.pieces: list[bytes] = []

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.pieces.append(bytes(data))
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            with (
                path.open("rb") as source,
                archive.open(zipfile.ZipInfo(path.name, (2026, 1, 1, 0, 0, 0)), "w", force_zip64=True) as out,
            ):
                while piece := source.read(1 << 20):
                    out.write(piece)
                    yield from pipe.pieces
                    pipe.pieces.clear()
    yield from pipe.pieces


def build_app(board: Board, store: Store, pages: Pages | None = None) -> FastAPI:
    """The application over a board and its store. Raises InputError where a suite cannot be opened."""
    app = FastAPI(title=board.title, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    pages = pages or Pages(board, store, board.open())
    uploads = Uploads(board, store)
    tries, busy, wrong = (
        Limiter(board.open_accounts, 86400),
        Limiter(board.per_minute, 60),
        Limiter(board.per_minute, 60),
    )
    forms = Limiter(FORMS, 60)
    working = threading.BoundedSemaphore(2)  # comparisons and pictures at a time

    @contextmanager
    def turn() -> Iterator[None]:
        """One's turn for what takes long; 503 where it does not come, so that waiting requests cannot hold up
        all others."""
        if not working.acquire(timeout=PATIENCE):
            raise HTTPException(503, "busy; try again in a moment", {"Retry-After": "5"})
        try:
            yield
        finally:
            working.release()

    def html(text: str | None, status: int = 200, **headers: str) -> HTMLResponse:
        if text is None:
            raise HTTPException(404, "no such page")
        return HTMLResponse(text, status, headers=headers)

    def known(table: str) -> str:
        if table not in board.tables:
            raise HTTPException(404, "no such suite")
        return table

    @app.middleware("http")
    async def guarded(request: Request, call_next):
        answer = await call_next(request)
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    def address(request: Request) -> str:
        return request.client.host if request.client else "unknown"

    def named(request: Request, token: str) -> str:
        """The account of a token. Raises 401, and 429 for an address or an account that asks too much."""
        if not wrong.allow(address(request), count=False):
            raise HTTPException(
                429, "too many wrong tokens from this address; wait a minute", {"Retry-After": "60"}
            )
        account = store.account_of(token) if token else None
        if account is None:
            wrong.allow(address(request))
            raise HTTPException(401, "a valid token is needed: Authorization: Bearer …")
        if not busy.allow(account):
            raise HTTPException(
                429, "too many requests of this account; wait a minute", {"Retry-After": "60"}
            )
        return account

    def account_of(request: Request) -> str:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return named(request, token if kind.lower() == "bearer" else "")

    def taken(found: submission.Verified) -> dict[str, Any]:
        status = store.status(found.hash)
        assert status is not None
        rejected = [str(problem)[:300] for problem in found.rejected[:100]]
        return {
            "hash": found.hash,
            "state": status["state"],
            "url": f"/models/{found.hash}",
            "rejected_lines": len(found.rejected),
            "rejected": rejected,
        }

    @app.post("/api/submissions", status_code=202)
    async def submit(request: Request) -> dict[str, Any]:
        """Send a submission at once, the .zip as body. Needs a token. Sending the same content again changes
        nothing and gives its state."""
        account = await run_in_threadpool(account_of, request)
        with uploads.folder() as folder:
            archive = Path(folder, "submission.zip")
            try:
                with archive.open("wb") as out:
                    async for piece in bounded(request, submission.LIMITS.total):
                        out.write(piece)
                return taken(await run_in_threadpool(uploads.take, account, archive, Path(folder)))
            except InputError as error:
                raise _refusal(error) from error

    @app.get("/api/uploads/{sha256}")
    def received(request: Request, sha256: str) -> dict[str, int]:
        """How many bytes of an upload in pieces have arrived; it is named by the SHA-256 of the .zip. Needs a
        token."""
        try:
            return {"received": uploads.received(account_of(request), sha256)}
        except InputError as error:
            raise _refusal(error) from error

    @app.put("/api/uploads/{sha256}")
    async def add(request: Request, sha256: str, offset: Annotated[int, Query(ge=0)]) -> dict[str, int]:
        """Send the bytes of the .zip from `offset` on; 409 says where to continue. Needs a token."""
        account = await run_in_threadpool(account_of, request)
        try:
            return {"received": await uploads.add(account, sha256, offset, request)}
        except InputError as error:
            raise _refusal(error) from error

    @app.post("/api/uploads/{sha256}", status_code=202)
    def finish(request: Request, sha256: str) -> dict[str, Any]:
        """Submit what has arrived in pieces. Needs a token."""
        try:
            return taken(uploads.finish(account_of(request), sha256))
        except InputError as error:
            raise _refusal(error) from error

    @app.get("/api/submissions/{name_hash}")
    def state(name_hash: str) -> dict[str, Any]:
        """State and card of a submission."""
        found = store.status(name_hash)
        if found is None:
            raise HTTPException(404, "no such submission")
        return found

    @app.delete("/api/submissions/{name_hash}")
    def withdraw(request: Request, name_hash: str) -> dict[str, str]:
        """Withdraw one's own submission; a tombstone stays. Needs a token."""
        try:
            store.withdraw(account_of(request), name_hash)
        except InputError as error:
            raise HTTPException(404, "no such submission of this account") from error
        return {"state": "withdrawn"}

    @app.get("/api/submissions/{name_hash}/runs/{suite}")
    def scored_run(name_hash: str, suite: str) -> StreamingResponse:
        """The scored run on public labels, as .zip: what `bench compare` and `bench report` open."""
        result = pages.result(name_hash, known(suite))
        if result is None:
            raise HTTPException(404, "no such run")
        headers = {"Content-Disposition": f'attachment; filename="{name_hash[:12]}-{suite}.zip"'}
        return StreamingResponse(_zipped(result["run"]), media_type="application/zip", headers=headers)

    @app.get("/api/models")
    def find(name: Short) -> list[str]:
        """Hashes of the scored submissions of this name, or whose hash begins so, newest first."""
        return store.find(name)

    @app.get("/api/tables/{suite}")
    def as_data(
        suite: str,
        split: str = "public",
        sort: Short = "",
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> dict[str, Any]:
        """Scored models of a suite's current version from the best on, with rank, card and metrics."""
        if split not in pages.splits(known(suite)):
            raise HTTPException(404, "no such split")
        return pages.data(suite, split, sort, limit, offset)

    @app.get("/", include_in_schema=False)
    def start() -> RedirectResponse:
        return RedirectResponse(f"/suites/{board.tables[0]}")

    for file, kind in FILES.items():
        content = Response(file.read_bytes(), media_type=kind, headers={"Cache-Control": "max-age=3600"})
        app.add_api_route(
            f"/{file.name}", lambda content=content: content, include_in_schema=False, response_model=None
        )

    @app.get("/suites/{suite}", include_in_schema=False)
    def table(
        suite: str,
        split: Short = "",
        version: Short = "",
        q: Short = "",
        sort: Short = "",
        most: Short = "",
        open: Short = "",
        video: Short = "",
        no_baselines: Short = "",
        older: Short = "",
        col: Annotated[list[str] | None, Query(max_length=100)] = None,
        page: Annotated[int, Query(ge=1, le=10**6)] = 1,
    ) -> HTMLResponse:
        split = split or "public"
        if split not in pages.splits(known(suite)):
            raise HTTPException(404, "no such split")
        limit = float(most) if most in dict(SIZES) and most else None
        wanted = Filter(q, bool(open), bool(video), bool(no_baselines), limit, bool(older))
        return html(pages.table(suite, split, version, sort, col, wanted, page)[0])

    @app.get("/suites/{suite}/versions", include_in_schema=False)
    def changelog(suite: str) -> HTMLResponse:
        return html(pages.changelog(known(suite)))

    @app.get("/suites/{suite}/inputs.zip", include_in_schema=False)
    def inputs(suite: str) -> FileResponse:
        if suite not in board.suites or board.suites[suite].render is None:
            raise HTTPException(404, "no such suite")
        return FileResponse(
            board.private(suite) / private.INPUTS, media_type="application/zip", filename=f"{suite}.zip"
        )

    @app.get("/models/{name_hash}", include_in_schema=False)
    def model(name_hash: str) -> HTMLResponse:
        return html(pages.model(name_hash))

    @app.get("/models/{name_hash}/{suite}/samples", include_in_schema=False)
    def samples(
        name_hash: str,
        suite: str,
        task: Short = "",
        kind: Short = "",
        order: str = "worst",
        page: Annotated[int, Query(ge=1, le=10**6)] = 1,
    ) -> HTMLResponse:
        try:
            return html(pages.samples(name_hash, known(suite), task, kind, order, page))
        except InputError as error:
            raise HTTPException(404, str(error)) from error

    @app.get("/models/{name_hash}/{suite}/frames/{place}.jpg", include_in_schema=False)
    def frames(name_hash: str, suite: str, place: int) -> Response:
        with turn():
            found = pages.frames(name_hash, known(suite), place)
        if found is None:
            raise HTTPException(404, "no such picture")
        return Response(found, media_type="image/jpeg", headers={"Cache-Control": "max-age=86400"})

    @app.get("/compare", include_in_schema=False)
    def compare(
        suite: Short = "", m: Annotated[list[str] | None, Query(max_length=10)] = None
    ) -> HTMLResponse:
        if len(m or ()) != 2 or len(set(m or ())) != 2:
            raise HTTPException(400, "mark two models")
        with turn():
            return html(pages.compare(known(suite), m or []))

    @app.get("/published", include_in_schema=False)
    def published() -> HTMLResponse:
        return html(pages.published())

    @app.get("/api", include_in_schema=False)
    def api() -> HTMLResponse:
        return html(pages.api(app.openapi()))

    def own_page(request: Request) -> None:
        """Refuse a form that another site's page sends."""
        origin = request.headers.get("origin")
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") or (
            origin is not None and urlsplit(origin).netloc != request.headers.get("host")
        ):
            raise HTTPException(403, "forms are taken from this site's own pages only")
        if not forms.allow(address(request)):
            raise HTTPException(429, "too many forms from this address; wait a minute", {"Retry-After": "60"})

    def base(request: Request) -> str:
        return str(request.base_url).rstrip("/")

    @app.get("/submit", include_in_schema=False)
    def how(request: Request) -> HTMLResponse:
        return html(pages.submit(base(request)))

    @app.post("/submit", include_in_schema=False)
    async def submit_form(request: Request) -> Response:
        own_page(request)
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise HTTPException(415, "expected a form with a file")
        try:
            parser = MultiPartParser(
                request.headers,
                bounded(request, submission.LIMITS.total + FORM),
                max_files=1,
                max_fields=1,
                max_part_size=FORM,
            )
            form = await parser.parse()
            file, token = form.get("file"), form.get("token")
            if not isinstance(file, UploadFile) or not isinstance(token, str):
                raise InputError("token and file are needed")
            account = await run_in_threadpool(named, request, token)
            with uploads.folder() as folder, closing(file.file):
                archive = Path(folder, "submission.zip")
                with archive.open("wb") as out:
                    await run_in_threadpool(shutil.copyfileobj, file.file, out)
                found = await run_in_threadpool(uploads.take, account, archive, Path(folder))
        except (InputError, MultiPartException, HTTPException) as error:
            refused = (
                _refusal(error)
                if isinstance(error, InputError)
                else error
                if isinstance(error, HTTPException)
                else HTTPException(422, str(error))
            )
            return html(pages.submit(base(request), error=str(refused.detail)), refused.status_code)
        return RedirectResponse(f"/models/{found.hash}", 303)

    @app.post("/accounts", include_in_schema=False)
    async def make_account(request: Request) -> HTMLResponse:
        own_page(request)
        if not board.open_accounts:
            raise HTTPException(404, "the administrator makes accounts here")
        try:
            body = b"".join([piece async for piece in bounded(request, FORM, 30)])
            name = parse_qs(body.decode("ascii", "replace"), max_num_fields=4).get("name", [""])[0].strip()
            if not ACCOUNT.fullmatch(name):
                raise InputError("a name takes letters, digits, spaces, '.', '_' and '-', at most 100")
            if not tries.allow(address(request)):
                raise Limited("as many accounts as this address may make in a day have been made")
            token = await run_in_threadpool(store.create_account, name, board.daily)
        except InputError as error:
            return html(pages.submit(base(request), error=str(error)), _refusal(error).status_code)
        return html(
            pages.submit(base(request), token=token, account=name), 201, **{"Cache-Control": "no-store"}
        )

    @app.exception_handler(StarletteHTTPException)  # FastAPI's, and what Starlette raises for unknown paths
    async def refused(request: Request, error: StarletteHTTPException) -> Response:
        if request.url.path.startswith("/api/"):
            return Response(
                json.dumps({"detail": error.detail}),
                error.status_code,
                error.headers,
                media_type="application/json",
            )
        return PlainTextResponse(str(error.detail), error.status_code, error.headers)

    return app
