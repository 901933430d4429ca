"""The leaderboard's server: an API to submit and read, and pages rendered here. No script runs in a page."""

import asyncio
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench import blind as blinds
from leaderboard import ranking, submission
from leaderboard.board import Board
from leaderboard.store import DONE, Limited, Store
from tvad.errors import InputError

TEMPLATES = Path(__file__).parent / "templates"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
}  # fmt: skip
SILENCE = 30.0  # seconds that an upload may pause
UPLOAD = 1800.0  # seconds that it may take
SIZES = [("", "any size"), ("4e9", "4 billion parameters"), ("9e9", "9 billion"), ("4e10", "40 billion"), ("1e11", "100 billion")]
PUBLISHED = [{"note": None, **part} for part in yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8"))]
STYLE = (TEMPLATES / "style.css").read_text()


def _count(value: float | None) -> str:
    if value is None:
        return "–"
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def build_app(board: Board, store: Store) -> FastAPI:
    """The application over a board and its store."""
    app = FastAPI(title=board.title, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    pages = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    pages.filters |= {"count": _count, "number": _number}
    tables = list(dict.fromkeys(suite.table or name for name, suite in board.suites.items()))
    incoming = Path(board.folder) / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)

    def page(name: str, status: int = 200, **values: Any) -> HTMLResponse:
        text = pages.get_template(name).render({"board": board, "tables": tables, "suite": None, "page": "", **values})
        return HTMLResponse(text, status)

    @app.middleware("http")
    async def guarded(request: Request, call_next):
        answer = await call_next(request)
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    def account_of(request: Request) -> str:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        account = store.account_of(token) if kind.lower() == "bearer" and token else None
        if account is None:
            raise HTTPException(401, "a valid token is needed: Authorization: Bearer …")
        return account

    @app.post("/api/submissions", status_code=202)
    async def submit(request: Request) -> dict[str, Any]:
        """Send a submission: the .zip as body. Sending the same content again changes nothing and gives its state."""
        account = await run_in_threadpool(account_of, request)
        with tempfile.TemporaryDirectory(dir=incoming) as folder:
            archive = Path(folder, "submission.zip")
            size = 0
            try:
                async with asyncio.timeout(UPLOAD):
                    stream = request.stream().__aiter__()
                    with archive.open("wb") as out:
                        while True:
                            try:
                                chunk = await asyncio.wait_for(anext(stream), SILENCE)
                            except StopAsyncIteration:
                                break
                            size += len(chunk)
                            if size > submission.LIMITS.total:
                                raise HTTPException(413, f"more than {submission.LIMITS.total >> 20} MiB")
                            out.write(chunk)
            except TimeoutError as error:
                raise HTTPException(408, "the upload is too slow") from error
            try:
                found = await run_in_threadpool(_take, board, store, account, archive, Path(folder, "unpacked"))
            except Limited as error:
                raise HTTPException(429, str(error)) from error
            except InputError as error:
                raise HTTPException(422, str(error)) from error
        status = store.status(found.hash)
        assert status is not None
        rejected = [str(problem)[:300] for problem in found.rejected[:100]]
        return {"hash": found.hash, "state": status["state"], "url": f"/models/{found.hash}", "rejected_lines": len(found.rejected), "rejected": rejected}

    @app.get("/api/submissions/{name_hash}")
    def state(name_hash: str) -> dict[str, Any]:
        """State and card of a submission."""
        found = store.status(name_hash)
        if found is None:
            raise HTTPException(404, "no such submission")
        return found

    @app.delete("/api/submissions/{name_hash}")
    def withdraw(request: Request, name_hash: str) -> dict[str, str]:
        """Withdraw one's own submission."""
        try:
            store.withdraw(account_of(request), name_hash)
        except InputError as error:
            raise HTTPException(404, "no such submission of this account") from error
        return {"state": "withdrawn"}

    @app.get("/api/tables/{suite}")
    def as_data(suite: str) -> list[dict[str, Any]]:
        """Every scored model of a suite's public split."""
        if suite not in tables:
            raise HTTPException(404, "no such suite")
        return store.table(suite)

    @app.get("/", include_in_schema=False)
    def start() -> RedirectResponse:
        return RedirectResponse(f"/suites/{tables[0]}")

    @app.get("/style.css", include_in_schema=False)
    def style() -> Response:
        return Response(STYLE, media_type="text/css", headers={"Cache-Control": "max-age=3600"})

    @app.get("/suites/{suite}", include_in_schema=False)
    def table(
        suite: str, q: str = Query("", max_length=100), sort: str = Query("", max_length=100), most: str = Query("", max_length=20), open: str = "",
        video: str = "",
    ) -> HTMLResponse:  # fmt: skip
        if suite not in tables:
            raise HTTPException(404, "no such suite")
        everything = store.table(suite)
        version = everything[0]["suite_hash"] if everything else None
        entries = [entry for entry in everything if entry["suite_hash"] == version]
        names = ranking.columns(entries)
        sort = sort if sort in names else (names[0] if names else "")
        limit = float(most) if most in dict(SIZES) and most else None
        shown = {entry["hash"] for entry in ranking.filtered(entries, q, bool(open), bool(video), limit)}
        rows = [row for row in ranking.ordered(entries, sort) if row.entry["hash"] in shown] if sort else []
        blind = entries[0]["blind"] if entries else {}
        kept = {"q": q, "most": most, "open": open, "video": video}
        links = {name: urlencode({**{k: v for k, v in kept.items() if v}, "sort": name}) for name in names}
        baselines: dict[str, dict[str, float]] = {}
        for task, row in blind.items():
            for name, value in row["baselines"].items():
                baselines.setdefault(name, {})[f"{task}.accuracy"] = value
        return page("table.html", suite=suite, q=q, sort=sort, most=most, open=open, video=video, sizes=SIZES, columns=names, rows=rows, links=links,
                    shown=len(rows), total=len(entries), version=version, warnings=blinds.warnings(blind), blind=list(baselines.items()))  # fmt: skip

    @app.get("/models/{name_hash}", include_in_schema=False)
    def model(name_hash: str) -> HTMLResponse:
        found = store.status(name_hash)
        if found is None:
            raise HTTPException(404, "no such model")
        return page("model.html", model=found, results=store.results(name_hash) if found["state"] == DONE else [])

    @app.get("/published", include_in_schema=False)
    def published() -> HTMLResponse:
        return page("published.html", page="published", parts=PUBLISHED)

    @app.get("/submit", include_in_schema=False)
    def how(request: Request) -> HTMLResponse:
        return page("submit.html", page="submit", suites=list(board.suites), url=str(request.base_url).rstrip("/"))

    @app.exception_handler(404)
    async def missing(request: Request, error):
        detail = getattr(error, "detail", "not found")
        if request.url.path.startswith("/api/"):
            return Response(json.dumps({"detail": detail}), 404, media_type="application/json")
        return PlainTextResponse(str(detail), 404)

    return app


def _take(board: Board, store: Store, account: str, archive: Path, folder: Path) -> submission.Verified:
    """Unpack, check and queue an upload. The files lie in their place before the job exists, so that a kill in between loses nothing."""
    folder.mkdir()
    submission.unpack(archive, folder)
    found = submission.verify(folder, list(board.suites))
    target = board.submission(found.hash)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(target)
        except OSError:  # the same content at the same moment
            if not target.exists():
                raise
    try:
        store.submit(account, found.hash, found.card, found.suites)
    except Limited:
        if store.status(found.hash) is None:
            shutil.rmtree(target, ignore_errors=True)  # refused uploads may not fill the disk
        raise
    return found
