"""The page of `tvad annotate review`: what verification left open, a form a target; every decision is a line
of the audit trail before it is answered. For one person, on this machine unless other names are stated: it
answers to no other name than these and its own address, and takes only forms that it gave out."""

import re
import secrets
import signal
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware

from tvad.annotate.engine import check_reviewed, rows_in
from tvad.annotate.review import DECISIONS, append, decisions_in, trail_in
from tvad.annotate.schema import LOOKS, look_of, word
from tvad.common.errors import InputError
from tvad.common.text import whole
from tvad.data import video
from tvad.data.sample import from_json
from tvad.pages import environment
from tvad.pictures import RED, fit, jpeg, outline

HERE = Path(__file__).parent
PAGE = 20  # targets on a page
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def waiting(rows: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """(number of the row, target) of all that a person should look at: contradicted, or dropped."""
    try:
        return [(n, t) for n, row in enumerate(rows) for t in row["targets"] if t["reasons"]]
    except (KeyError, TypeError) as error:
        raise InputError(f"not rows of `tvad annotate run` ({error!r})") from error


def application(out: Path, reviewer: str, hosts: list[str]) -> FastAPI:
    """The page of a folder of `tvad annotate run`. Raises InputError for what is none."""
    check_reviewed(out)
    rows = rows_in(out)
    found = waiting(rows)
    decisions_in(out)
    token = secrets.token_urlsafe(24)
    template = environment(HERE).get_template("review.html")
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)

    @app.middleware("http")
    async def headed(request: Request, call_next):
        answer = await call_next(request)
        answer.headers.update(HEADERS)
        return answer

    def target(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        if not 0 <= number < len(found):
            raise HTTPException(404, "no such target")
        n, one = found[number]
        return rows[n], one

    @app.get("/", response_class=HTMLResponse)
    def listed(page: int = 0) -> str:
        pages = max(1, -(-len(found) // PAGE))
        page = min(max(0, page), pages - 1)
        decided = decisions_in(out)
        shown = []
        for n, (row, one) in [*enumerate(found)][page * PAGE : (page + 1) * PAGE]:
            made = decided.get(rows[row]["id"], {}).get(one["id"])
            said = {"look": one["look"] | one["dropped_words"], "action": one["action"]}
            # What a person wrote stands in the fields, to be edited further.
            words = made if made and made["decision"] == "edit" else said
            shown.append(
                {
                    "number": n,
                    "video": rows[row]["id"],
                    "target": one,
                    "look": words["look"],
                    "action": words["action"],
                    "decision": made,
                }
            )
        done = sum(one["id"] in decided.get(rows[row]["id"], {}) for row, one in found)
        return template.render(
            shown=shown, page=page, pages=pages, token=token, fields=LOOKS, total=len(found), done=done
        )

    @app.get("/picture/{number}")
    def picture(number: int) -> Response:
        row, one = target(number)
        frames = [int(f) for f in one["boxes"]] or one["anomalous"]  # what could not be read has no box
        if not frames:
            raise HTTPException(404, "no frame of this target")
        frame = frames[len(frames) // 2]
        try:
            sample = from_json(row["sample"], str(out), row["id"])
            with video.Reader(sample.clip()) as reader:
                image = next((image for index, image in reader.frames() if index == frame), None)
        except InputError as error:
            raise HTTPException(404, "the video cannot be read") from error
        if image is None:
            raise HTTPException(404, "no such frame")
        larger = fit(image)
        scale = larger.shape[1] / image.shape[1], larger.shape[0] / image.shape[0]
        boxes = [one["boxes"][str(frame)]] if one["boxes"] else []
        return Response(jpeg(outline(larger, boxes, RED, scale), 88), media_type="image/jpeg")

    @app.post("/decide")
    async def decide(
        request: Request,
        number: Annotated[int, Form()],
        decision: Annotated[str, Form()],
        given: Annotated[str, Form()],
    ) -> RedirectResponse:
        if not secrets.compare_digest(given.encode(), token.encode()):
            raise HTTPException(403, "not a form of this page")
        if decision not in DECISIONS:
            raise HTTPException(400, f"expected one of {', '.join(DECISIONS)}")
        row, one = target(number)
        if decision == "edit" and not one["boxes"]:
            raise HTTPException(400, "no words without a place: accept or reject it")
        before = {"look": one["look"] | one["dropped_words"], "action": one["action"]}
        after: dict[str, Any] = before if decision == "accept" else {"look": {}, "action": None}
        if decision == "edit":
            form = await request.form()
            if not all(isinstance(form.get(name, ""), str) for name in (*LOOKS, "action")):
                raise HTTPException(400, "expected words, not files")
            after = {"look": look_of(form), "action": word(form.get("action"))}
        line = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "reviewer": reviewer,
            "id": row["id"],
        }
        line |= {
            "target": one["id"],
            "decision": decision,
            "reasons": one["reasons"],
            "before": before,
            **after,
        }
        append(out, line)
        return RedirectResponse(f"/?page={number // PAGE}#t{number}", 303)

    return app


def _every(host: str) -> bool:
    """Whether a host stands for all addresses of this machine, however it is written (0, 0x0, nothing)."""
    try:
        return not host or socket.inet_aton(host) == bytes(4)
    except OSError:
        return False


def answers_to(host: str, names: Sequence[str]) -> list[str]:
    """The names that the page answers to: its own address, this machine's, and those that it is given. Raises
    InputError for what is none, and for an address of all of a machine's without names: the page would answer
    to nobody but this machine."""
    for name in names:
        if not _HOST.fullmatch(name):
            raise InputError(
                f"--names {name!r:.80}: expected names of hosts or IPv4 addresses, without ports"
            )
    if ":" in host:
        raise InputError(f"--host {host}: an IPv6 address; listen on a name or an IPv4 address")
    if not names and _every(host):
        raise InputError(
            f"--host {host!r}: all addresses of this machine; state with --names as which the page is opened"
            " (--names reviews.example 192.0.2.7)"
        )
    return sorted({host, "127.0.0.1", "localhost", *names})


def serve(out: Path, reviewer: str, host: str, port: int, names: Sequence[str] = ()) -> int:
    """Serve until asked to end; the number of decisions in the trail. names: to which it answers, beside its
    own address."""
    import uvicorn

    app = application(out, whole(reviewer), answers_to(host, names))
    # uvicorn ends in order and then raises the signal once more: what is decided must still be written.
    former = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        uvicorn.run(app, host=host, port=port, log_level="warning")
    finally:
        signal.signal(signal.SIGTERM, former)
    return len(trail_in(out))
