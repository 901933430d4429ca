"""/suites and /api/tables: the table of a suite, its versions, the clips and questions of a private split."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, HTMLResponse, Response

from leaderboard.store.standings import Filter
from leaderboard.web.pages.base import SIZES
from leaderboard.web.pages.downloads import KINDS
from leaderboard.web.site import PageNumber, Short, TheSite

MOST_ROWS = 1000  # an answer of the API

router = APIRouter()


@router.get("/api/tables/{suite}")
def as_data(
    site: TheSite,
    suite: str,
    split: str = "public",
    sort: Short = "",
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """Scored models of a suite's current version from the best on, with rank, card and metrics."""
    return site.pages.data(suite, site.split_or_404(suite, split), sort, limit, offset)


@router.get("/suites/{suite}", include_in_schema=False)
def table(
    site: TheSite,
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
    page: PageNumber = 1,
) -> HTMLResponse:
    """A suite's table, filtered and sorted; the names of the parameters are those of the form's fields."""
    split = site.split_or_404(suite, split or "public")
    limit = float(most) if most in dict(SIZES) and most else None
    wanted = Filter(q, bool(open), bool(video), bool(no_baselines), limit, bool(older))
    return HTMLResponse(site.pages.table(suite, split, version, sort, col, wanted, page)[0])


@router.get("/suites/{suite}/table.{kind}")
async def download(
    site: TheSite, suite: str, kind: Literal["csv", "parquet", "json"], split: Short = ""
) -> Response:
    """A suite's whole table as a file."""
    split = await run_in_threadpool(site.split_or_404, suite, split or "public")
    async with site.turn():
        content = await run_in_threadpool(site.pages.download, suite, split, kind)
    name = f"{suite}-{split}.{kind}"
    return Response(
        content, media_type=KINDS[kind], headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


@router.get("/suites/{suite}/plots", include_in_schema=False)
def plots(site: TheSite, suite: str, split: Short = "", sort: Short = "") -> HTMLResponse:
    """A suite's table as plots."""
    return HTMLResponse(site.pages.plots(suite, site.split_or_404(suite, split or "public"), sort))


@router.get("/suites/{suite}/versions", include_in_schema=False)
def changelog(site: TheSite, suite: str) -> HTMLResponse:
    """What has been served under a suite's name."""
    return HTMLResponse(site.pages.changelog(site.suite_or_404(suite)))


@router.get("/suites/{suite}/inputs.zip", include_in_schema=False)
def inputs(site: TheSite, suite: str) -> FileResponse:
    """What a private split gives out."""
    given = site.board.inputs(suite)
    if given is None:
        raise HTTPException(404, "no such suite")
    return FileResponse(given, media_type="application/zip", filename=f"{suite}.zip")
