"""/health and /metrics: for what watches the server. Neither tells anything of an answer or a label."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from leaderboard.store.tables import QUEUED, RUNNING
from leaderboard.web.site import TheSite

router = APIRouter(include_in_schema=False)


@router.get("/health")
def health(site: TheSite) -> JSONResponse:
    """Whether all is well; 503 where the database cannot be asked, or where no scorer has been heard of for a
    while though something waits for one."""
    try:
        watched = site.store.watch()
    except SQLAlchemyError:
        return JSONResponse({"well": False, "database": False}, 503)
    return JSONResponse(
        {
            "well": watched.well,
            "database": True,
            "queued": watched.states.get(QUEUED, 0),
            "running": watched.states.get(RUNNING, 0),
            "oldest_seconds": watched.waits,
            "scorers": watched.scorers,
            "silent_seconds": watched.silent,
        },
        200 if watched.well else 503,
    )


@router.get("/metrics")
def metrics(request: Request, site: TheSite) -> Response:
    """What Prometheus reads, by the token that the board has for it (LEADERBOARD_METRICS_TOKEN)."""
    site.access.may_watch(request)
    return Response(generate_latest(site.registry), media_type=CONTENT_TYPE_LATEST)
