"""/account/openid and /account/callback: signing in by the provider that the configuration names."""

import re
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from leaderboard.store.accounts import NAME
from leaderboard.store.identities import ATTEMPT
from leaderboard.web import oidc
from leaderboard.web.access import cookie
from leaderboard.web.routes.account import PRIVATE, let_in
from leaderboard.web.site import Site, TheSite
from tvad.common.errors import InputError

Word = Annotated[str | None, Query(max_length=2000)]

router = APIRouter(include_in_schema=False)


def _provider(site: Site) -> oidc.Provider:
    if site.provider is None:
        raise HTTPException(404, "no provider of identities is configured here")
    return site.provider


def _trying(request: Request) -> str:
    """The cookie that ties an attempt to a browser."""
    return f"{cookie(request)}-attempt"


@router.get("/account/openid")
def begin(request: Request, site: TheSite) -> Response:
    """Send the browser to the provider. A link and not a form: a form may lead nowhere but here (policy)."""
    provider = _provider(site)
    site.access.may_begin(request)
    word, nonce, verifier = oidc.words()
    account = site.access.browser(request)
    try:
        state = site.store.begin_attempt(word, nonce, verifier, account)
        answer = RedirectResponse(provider.request(state, nonce, verifier), 303, PRIVATE)
    except oidc.Refused as error:
        raise HTTPException(502, str(error)) from error
    answer.set_cookie(
        _trying(request),
        word,
        max_age=int(ATTEMPT.total_seconds()),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


def _account(site: Site, person: oidc.Person, account: str | None) -> str:
    """The account that a person signs in as: the one that is theirs; else the one that the browser was signed
    in as; else a new one, where anyone may have one. Raises InputError."""
    plan = site.board.openid
    known = site.store.identified(plan.issuer, person.subject)
    if account is not None:
        site.store.identify(account, plan.issuer, person.subject)
        return account
    if known is not None:
        return known
    if not plan.accounts:
        raise InputError("no account is known by this identity: sign in with the account's token first")
    name = re.sub(r"[^A-Za-z0-9 ._-]", "", person.name).strip(" ._-")[:90]
    name = name if NAME.fullmatch(name) else "member"
    return site.store.account_for(plan.issuer, person.subject, name)


@router.get("/account/callback")
def end(
    request: Request,
    site: TheSite,
    state: Word = None,
    code: Word = None,
    iss: Word = None,
) -> Response:
    """The provider sends the browser back. It leads to the account's page and nowhere else."""
    provider = _provider(site)
    site.access.may_begin(request)
    word = request.cookies.get(_trying(request), "")
    begun = site.store.end_attempt(state or "", word)
    try:
        if begun is None:
            raise InputError("this attempt is unknown, used, too old, or another browser's; begin again")
        if not code:
            raise InputError("the provider did not sign you in")
        person = provider.person(code, begun.nonce, begun.verifier, iss)
        # While the provider was asked a new token may have signed this browser out.
        if begun.account is not None and site.access.browser(request) != begun.account:
            raise InputError("this browser was signed out meanwhile; sign in again")
        account = _account(site, person, begun.account)
        if not site.store.enabled(account):
            raise InputError("this account is disabled")
        answer = let_in(request, site, account, (provider.plan.issuer, person.subject))
    except InputError as error:
        answer = HTMLResponse(site.pages.account(None, error=str(error)), 403, PRIVATE)
    answer.delete_cookie(
        _trying(request), secure=request.url.scheme == "https", httponly=True, samesite="lax"
    )
    return answer
