"""/account and /api/account: what an account has sent and how far that is, a new token; signing in, out."""

from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from leaderboard.store.accounts import SIGNED_IN, Identified
from leaderboard.web.access import cookie
from leaderboard.web.refusals import Refused, refusal
from leaderboard.web.routes.forms import fields
from leaderboard.web.site import Site, TheSite, told

PRIVATE = {"Cache-Control": "no-store"}  # of what only its account may see

router = APIRouter()


def _known(
    request: Request, site: Site, account: str, answer: Response, person: Identified | None = None
) -> Response:
    """An answer with a cookie that cannot be read by scripts and is not sent with other sites' forms."""
    answer.set_cookie(
        cookie(request),
        site.store.sign_in(account, person),
        max_age=int(SIGNED_IN.total_seconds()),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


def let_in(request: Request, site: Site, account: str, person: Identified | None = None) -> Response:
    """Sign a browser in, by an identity where it came by one, and show it its account."""
    return _known(request, site, account, RedirectResponse("/account", 303, PRIVATE), person)


def _page(site: Site, account: str | None, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(site.pages.account(account, **values), status, PRIVATE)


@router.get("/api/account")
def own(request: Request, site: TheSite, answer: Response) -> dict[str, Any]:
    """One's own submissions, newest first, with state, reason and next try. Needs a token."""
    account = site.access.bearer(request)
    answer.headers.update(PRIVATE)
    return {"account": account, "submissions": told(site.store.of_account(account))}


@router.post("/api/account/token")
def renew(request: Request, site: TheSite, answer: Response) -> dict[str, str]:
    """A new token, shown this once; the old one is void at once, and no identity is tied to the account any
    more. Needs a token."""
    account = site.access.bearer(request)
    answer.headers.update(PRIVATE)
    return {"account": account, "token": site.access.new_token(account)}


@router.get("/account", include_in_schema=False)
def page(request: Request, site: TheSite) -> HTMLResponse:
    """One's own submissions, or the form to sign in."""
    return _page(site, site.access.browser(request))


@router.post("/account/sign-in", include_in_schema=False)
async def sign_in(request: Request, site: TheSite) -> Response:
    """Sign in with a token."""
    await run_in_threadpool(site.access.own_form, request)
    try:
        token = (await fields(request)).get("token", "")
        account = await run_in_threadpool(site.access.authenticated, request, token)
    except Refused as error:
        refused = refusal(error)
        answer = _page(site, None, refused.status_code, error=str(refused.detail))
        answer.headers.update(refused.headers or {})
        return answer
    return await run_in_threadpool(let_in, request, site, account)


@router.post("/account/sign-out", include_in_schema=False)
def sign_out(request: Request, site: TheSite) -> Response:
    """Sign out."""
    site.access.own_form(request)
    name = cookie(request)
    if word := request.cookies.get(name):
        site.store.sign_out(word)
    answer = RedirectResponse("/account", 303, PRIVATE)
    answer.delete_cookie(name, secure=request.url.scheme == "https", httponly=True, samesite="lax")
    return answer


@router.post("/account/token", include_in_schema=False)
def renew_form(request: Request, site: TheSite) -> Response:
    """A new token, on the page this once."""
    site.access.own_form(request)
    account = site.access.browser(request)
    if account is None:
        raise HTTPException(401, "sign in first")
    person = site.store.person(request.cookies.get(cookie(request), ""))
    token = site.access.new_token(account, person)
    # With the old token every browser was signed out; this one has just shown whose it is.
    return _known(request, site, account, _page(site, account, token=token), person)
