"""What is the same for everybody: the first page, published figures, the API's description, style sheet and
icon."""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from leaderboard.web.pages.base import FILES
from leaderboard.web.site import TheSite

router = APIRouter(include_in_schema=False)


@router.get("/")
def start(site: TheSite) -> RedirectResponse:
    """The first table."""
    return RedirectResponse(f"/suites/{site.board.tables[0]}")


@router.get("/published")
def published(site: TheSite) -> HTMLResponse:
    """Figures as their authors published them."""
    return HTMLResponse(site.pages.published())


@router.get("/api")
def api(request: Request, site: TheSite) -> HTMLResponse:
    """The API's description, for people."""
    return HTMLResponse(site.pages.api(request.app.openapi()))


def _add_file(path: Path, kind: str) -> None:
    content = Response(path.read_bytes(), media_type=kind, headers={"Cache-Control": "max-age=3600"})

    @router.get(f"/{path.name}", response_model=None)
    def file() -> Response:
        return content


for path, kind in FILES.items():
    _add_file(path, kind)
