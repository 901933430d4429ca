"""/models, /compare and /api/models: scored models, their answers and pictures, two of them side by side."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response

from leaderboard.scoring import comparing
from leaderboard.web.site import PageNumber, Short, TheSite, page_or_404, told
from tvad.common.errors import InputError

FullName = Annotated[str, Query(max_length=201)]  # an owner, a slash and a name

router = APIRouter()


@router.get("/api/models")
def find(site: TheSite, name: FullName) -> list[dict[str, Any]]:
    """Scored submissions that a hash, its beginning, OWNER/NAME or a name means, newest first; several are an
    ambiguity."""
    return told(site.store.find(name))


@router.get("/models/{name_hash}", include_in_schema=False)
def model(site: TheSite, name_hash: str) -> HTMLResponse:
    """A model's page."""
    return page_or_404(site.pages.model(name_hash))


@router.get("/models/{name_hash}/{suite}/samples", include_in_schema=False)
def samples(
    site: TheSite,
    name_hash: str,
    suite: str,
    task: Short = "",
    kind: Short = "",
    order: str = "worst",
    page: PageNumber = 1,
) -> HTMLResponse:
    """A model's answers, one by one."""
    try:
        return page_or_404(site.pages.samples(name_hash, site.suite_or_404(suite), task, kind, order, page))
    except InputError as error:  # too many to be shown
        raise HTTPException(404, str(error)) from error


@router.get("/models/{name_hash}/{suite}/frames/{place}.jpg", include_in_schema=False)
def frames(site: TheSite, name_hash: str, suite: str, place: int) -> Response:
    """The picture of an answer, a file that was made when it was scored. It never changes, but may be
    withdrawn."""
    found = site.pages.frames(name_hash, site.suite_or_404(suite), place)
    if found is None:
        raise HTTPException(404, "no such picture")
    return Response(found.read_bytes(), media_type="image/jpeg", headers={"Cache-Control": "max-age=600"})


@router.get("/models/{name_hash}/{suite}/badge.svg", include_in_schema=False)
def badge(site: TheSite, name_hash: str, suite: str) -> Response:
    """A model's place in a table: the one thing here that other sites may show."""
    found = site.pages.badge(name_hash, site.suite_or_404(suite))
    if found is None:
        raise HTTPException(404, "no such result")
    headers = {"Cache-Control": "max-age=300", "Cross-Origin-Resource-Policy": "cross-origin"}
    return Response(found, media_type="image/svg+xml", headers=headers)


@router.get("/compare", include_in_schema=False)
async def compare(
    site: TheSite, suite: Short = "", m: Annotated[list[str] | None, Query(max_length=10)] = None
) -> HTMLResponse:
    """Two models, question by question."""
    models = m or []
    if len(models) != 2 or len(set(models)) != 2:
        raise HTTPException(400, "mark two models")
    both = await run_in_threadpool(site.pages.two, site.suite_or_404(suite), models)
    if both is None:
        raise HTTPException(404, "no such page")
    before, after = both
    rows = None  # of different versions: not the same questions
    if before["suite_hash"] == after["suite_hash"]:
        try:
            async with site.turn():
                rows = await comparing.differences(site.board, before["run"], after["run"])
        except InputError as error:
            raise HTTPException(503, str(error)) from error
    return HTMLResponse(await run_in_threadpool(site.pages.compare, suite, before, after, rows))
