"""/submit and /accounts: the two forms, for who has a browser only."""

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartParser

from leaderboard.intake import archive
from leaderboard.intake.submission import Verified
from leaderboard.intake.uploads import bounded
from leaderboard.store.accounts import check_name
from leaderboard.web.refusals import Refused, refusal
from leaderboard.web.site import Site, TheSite
from tvad.common.errors import InputError

FORM = 1 << 16  # bytes of a form beside its file
FORM_SECONDS = 30.0  # that the form without a file may take

router = APIRouter()


def _page(request: Request, site: Site, **values: Any) -> str:
    return site.pages.submit(str(request.base_url).rstrip("/"), **values)


def _refused(request: Request, site: Site, error: Exception) -> HTMLResponse:
    """The page once more, saying why."""
    refused = refusal(error)
    return HTMLResponse(
        _page(request, site, error=str(refused.detail)), refused.status_code, headers=refused.headers
    )


@router.get("/submit", include_in_schema=False)
def how(request: Request, site: TheSite) -> HTMLResponse:
    """How to submit."""
    return HTMLResponse(_page(request, site))


async def _sent(request: Request, site: Site, form: FormData) -> Verified:
    """Take the submission of a form."""
    file, token = form.get("file"), form.get("token")
    if not isinstance(file, UploadFile) or not isinstance(token, str):
        raise InputError("token and file are needed")
    account = await run_in_threadpool(site.access.authenticated, request, token)
    with site.uploads.folder() as folder:
        sent = Path(folder, "submission.zip")
        with sent.open("wb") as out:
            await run_in_threadpool(shutil.copyfileobj, file.file, out)
        return await run_in_threadpool(site.uploads.take, account, sent, Path(folder))


@router.post("/submit", include_in_schema=False)
async def submit_form(request: Request, site: TheSite) -> Response:
    """Send a submission."""
    await run_in_threadpool(site.access.own_form, request)
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise HTTPException(415, "expected a form with a file")
    # FastAPI's own form parameters would read the whole body, of any size, before anything is refused.
    body = bounded(request, archive.LIMITS.archive + FORM)
    parser = MultiPartParser(request.headers, body, max_files=1, max_fields=1, max_part_size=FORM)
    try:
        with site.access.file(request):
            try:
                form = await parser.parse()
            except UnicodeError as error:  # a charset that is none ("undefined")
                raise InputError("the form's charset cannot be read") from error
            try:
                found = await _sent(request, site, form)
            finally:
                await form.close()
    except Refused as error:
        return _refused(request, site, error)
    return RedirectResponse(f"/models/{found.hash}", 303)


async def fields(request: Request) -> dict[str, str]:
    """The fields of a form without a file. Raises InputError."""
    body = b"".join([piece async for piece in bounded(request, FORM, FORM_SECONDS)])
    try:
        found = parse_qs(body.decode("ascii", "replace"), max_num_fields=4)
    except ValueError as error:
        raise InputError("too many fields") from error
    return {name: values[0].strip() for name, values in found.items()}


@router.post("/accounts", include_in_schema=False)
async def make_account(request: Request, site: TheSite) -> HTMLResponse:
    """Make an account; its token stands on the page, this once."""
    await run_in_threadpool(site.access.own_form, request)
    if not site.board.open_accounts:
        raise HTTPException(404, "the administrator makes accounts here")
    try:
        name = (await fields(request)).get("name", "")
        check_name(name)
        await run_in_threadpool(site.access.new_account, request)
        token = await run_in_threadpool(site.store.create_account, name)
    except InputError as error:
        return _refused(request, site, error)
    page = _page(request, site, token=token, account=name)
    return HTMLResponse(page, 201, headers={"Cache-Control": "no-store"})
