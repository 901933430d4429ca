"""/api/submissions and /api/uploads: sending, asking how far it is, withdrawing, fetching the scored run."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from leaderboard.intake import archive, withdrawal
from leaderboard.intake.submission import Verified
from leaderboard.intake.uploads import bounded
from leaderboard.web.access import address
from leaderboard.web.site import Site, TheSite, told
from leaderboard.web.zipped import zipped
from tvad.common.errors import InputError

router = APIRouter()


def _status_or_404(site: Site, name_hash: str) -> dict[str, Any]:
    found = site.store.status(name_hash)
    if found is None:
        raise HTTPException(404, "no such submission")
    return found


def _receipt(site: Site, found: Verified) -> dict[str, Any]:
    """What a submitter is told of a submission that was taken."""
    return {
        "hash": found.hash,
        "state": _status_or_404(site, found.hash)["state"],
        "url": f"/models/{found.hash}",
        "rejected_lines": found.rejected_lines,
        "rejected": [str(problem)[:300] for problem in found.rejected],
    }


@router.post("/api/submissions", status_code=202)
async def submit(request: Request, site: TheSite) -> dict[str, Any]:
    """Send a submission at once, the .zip as body. Needs a token. Sending the same content again changes
    nothing and gives its state."""
    account = await run_in_threadpool(site.access.bearer, request)
    with site.uploads.folder() as folder:
        sent = Path(folder, "submission.zip")
        with sent.open("wb") as out:
            async for piece in bounded(request, archive.LIMITS.archive):
                out.write(piece)
        found = await run_in_threadpool(site.uploads.take, account, sent, Path(folder))
        return _receipt(site, found)


@router.get("/api/uploads/{sha256}")
def received(request: Request, site: TheSite, sha256: str) -> dict[str, int]:
    """How many bytes of an upload in pieces have arrived; it is named by the SHA-256 of the .zip. Needs a
    token."""
    return {"received": site.uploads.received(site.access.bearer(request), sha256)}


@router.put("/api/uploads/{sha256}")
async def add(
    request: Request, site: TheSite, sha256: str, offset: Annotated[int, Query(ge=0)]
) -> dict[str, int]:
    """Send the bytes of the .zip from `offset` on; 409 says where to continue. Needs a token."""
    account = await run_in_threadpool(site.access.bearer, request)
    return {"received": await site.uploads.add(account, sha256, offset, request, address(request))}


@router.post("/api/uploads/{sha256}", status_code=202)
def finish(request: Request, site: TheSite, sha256: str) -> dict[str, Any]:
    """Submit what has arrived in pieces. Needs a token."""
    return _receipt(site, site.uploads.finish(site.access.bearer(request), sha256))


@router.get("/api/submissions/{name_hash}")
def state(site: TheSite, name_hash: str) -> dict[str, Any]:
    """State and card of a submission, and what came of running its model again."""
    return told({**_status_or_404(site, name_hash), "reruns": site.store.reruns(name_hash)})


@router.delete("/api/submissions/{name_hash}")
def withdraw(request: Request, site: TheSite, name_hash: str) -> dict[str, str]:
    """Withdraw one's own submission: card and files go, a tombstone stays. Needs a token."""
    account = site.access.bearer(request)
    try:
        withdrawal.withdraw(site.board, site.store, account, name_hash)
    except InputError as error:  # in the same words for another's: who does not own it learns nothing
        raise HTTPException(404, "no such submission of this account") from error
    return {"state": "withdrawn"}


@router.get("/api/submissions/{name_hash}/runs/{suite}")
def scored_run(site: TheSite, name_hash: str, suite: str) -> StreamingResponse:
    """The scored run on public labels, as .zip: what `bench compare` and `bench report` open."""
    result = site.pages.result(name_hash, site.suite_or_404(suite))
    if result is None:
        raise HTTPException(404, "no such run")
    headers = {"Content-Disposition": f'attachment; filename="{name_hash[:12]}-{suite}.zip"'}
    return StreamingResponse(zipped(result["run"]), media_type="application/zip", headers=headers)
