"""Signing in by OpenID Connect: the code flow with PKCE. The request and the exchange of the code are
Authlib's, signatures and claims are checked by joserfc. Stated here is what is believed: one issuer, its
own keys, algorithms with a public key only (never `none`, nor one that takes the client's secret for a
key)."""

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import requests
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from leaderboard.board.config import OpenID
from leaderboard.board.credentials import secret
from leaderboard.card import CONTROL
from tvad.common.errors import InputError

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
PATIENCE = 10.0  # seconds for an answer of the provider
MOST = 1 << 20  # bytes of one
FRESH = 3600.0  # seconds that its description and keys are kept
AGAIN = 60.0  # seconds until they are asked for anew where a word does not hold
QUIET = 30.0  # seconds that it is not asked after it could not be
WAIT, ASKING = 1.0, 4  # seconds that one waits for a turn to ask; how many ask for persons at a time
LEEWAY = 60  # seconds that clocks may differ
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
LOCAL = ("127.0.0.1", "::1", "localhost")


class Refused(InputError):
    """The provider's answer is not believed, or there is none."""


@dataclass(frozen=True)
class Person:
    """Whom a provider has identified."""

    subject: str
    name: str


def _trusted(url: Any) -> bool:
    """Whether an address is one that a provider may have: TLS, or this machine."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL)


@contextmanager
def _turn(lock: threading.Semaphore) -> Iterator[None]:
    """One's turn to ask the provider; a thread that waits for it answers nobody. Raises Refused."""
    if not lock.acquire(timeout=WAIT):
        raise Refused("too many ask the provider; try again in a minute")
    try:
        yield
    finally:
        lock.release()


class Provider:
    """A provider of identities, as a board's configuration names it."""

    def __init__(self, plan: OpenID, address: str):
        self.plan, self.back = plan, f"{address}/account/callback"
        if not _trusted(plan.issuer):
            raise InputError(f"openid: issuer is {plan.issuer!r}, expected an https address")
        self._secret = secret("oidc", plan.secret_file)
        self._lock = threading.Semaphore(1)
        self._turns = threading.Semaphore(ASKING)
        self._failed: tuple[float, str] | None = None  # when, why it could not be asked
        self._known: tuple[float, dict[str, Any], dict[str, Any]] | None = None  # when; description, keys

    def _client(self) -> OAuth2Session:
        # Not Authlib's client for httpx: whose errors that raises depends on what else is installed.
        session = OAuth2Session(
            client_id=self.plan.client,
            client_secret=self._secret,
            token_endpoint_auth_method="client_secret_basic" if self._secret else "none",
            redirect_uri=self.back,
            scope="openid profile",
            code_challenge_method="S256",
        )
        session.trust_env = False
        return session

    @staticmethod
    def _fetched(client: httpx.Client, url: str) -> dict[str, Any]:
        with client.stream("GET", url) as answer:
            if answer.status_code != 200:
                raise Refused(f"the provider answers {answer.status_code}")
            body = b""
            for piece in answer.iter_bytes():
                body += piece
                if len(body) > MOST:
                    raise Refused("the provider's answer is too large")
        found = httpx.Response(200, content=body).json()
        if not isinstance(found, dict):
            raise Refused("the provider's answer is no mapping")
        return found

    def _description(self, fresh: float = FRESH) -> tuple[dict[str, Any], dict[str, Any]]:
        """(the provider's description, its keys), not older than `fresh` seconds. Raises Refused."""
        with _turn(self._lock):
            if self._known is not None and time.monotonic() < self._known[0] + fresh:
                return self._known[1:]
            if self._failed is not None and time.monotonic() < self._failed[0] + QUIET:
                raise Refused(self._failed[1])  # a provider that hangs is not waited for by everybody in turn
            try:
                with httpx.Client(timeout=PATIENCE, follow_redirects=False, trust_env=False) as client:
                    issuer = self.plan.issuer
                    told = self._fetched(client, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
                    if told.get("issuer") != issuer:
                        raise Refused("the provider calls itself another")
                    if not all(_trusted(told.get(name)) for name in ENDPOINTS):
                        raise Refused("the provider names addresses without TLS")
                    keys = self._fetched(client, told["jwks_uri"])
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
                why = f"the provider cannot be asked ({type(error).__name__})"
                self._failed = (time.monotonic(), why)
                raise Refused(why) from error
            self._known, self._failed = (time.monotonic(), told, keys), None
            return told, keys

    def request(self, state: str, nonce: str, verifier: str) -> str:
        """Where to send the browser. Raises Refused."""
        told, _ = self._description()
        with self._client() as client:
            url, _ = client.create_authorization_url(
                told["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier
            )
        return url

    def person(self, code: str, nonce: str, verifier: str, issuer: str | None) -> Person:
        """Whom a code stands for. issuer: as the callback names it, where it does. Raises Refused."""
        if issuer is not None and issuer != self.plan.issuer:
            raise Refused("the answer comes from another provider")
        told, _ = self._description()
        try:
            with _turn(self._turns), self._client() as client:
                token = client.fetch_token(
                    told["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=verifier,
                    redirect_uri=self.back,
                    timeout=PATIENCE,
                    allow_redirects=False,
                )
        except (
            OAuthError,
            requests.RequestException,
            RecursionError,
            ValueError,
            AttributeError,
            TypeError,
        ) as error:
            raise Refused(f"the provider gives nothing for this code ({type(error).__name__})") from error
        claims = self._claims(token, nonce)
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= 255 or CONTROL.search(subject):
            raise Refused("the provider names nobody")
        named = claims.get("preferred_username") or claims.get("name")
        return Person(subject, named if isinstance(named, str) else "")

    def _claims(self, token: Any, nonce: str) -> dict[str, Any]:
        """The checked claims of an ID token. Raises Refused."""
        expected = {"iss": self.plan.issuer, "aud": self.plan.client, "nonce": nonce}
        options: dict[str, Any] = {
            name: {"essential": True, "value": value} for name, value in expected.items()
        }
        options |= {name: {"essential": True} for name in ("sub", "exp", "iat")}
        try:
            try:
                claims = self._decoded(token["id_token"], FRESH).claims
            except (JoseError, ValueError):  # its keys may be new; asked for at most once a minute
                claims = self._decoded(token["id_token"], AGAIN).claims
            jwt.JWTClaimsRegistry(leeway=LEEWAY, **options).validate(claims)
        except (JoseError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Refused(f"the provider's word does not hold ({type(error).__name__})") from error
        # Meant for several, it says for whom it was made.
        if claims.get("azp", self.plan.client) != self.plan.client or (
            isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and "azp" not in claims
        ):
            raise Refused("the provider's word is for another")
        return claims

    def _decoded(self, text: Any, fresh: float) -> jwt.Token:
        keys = KeySet.import_key_set({"keys": self._description(fresh)[1]["keys"]})
        return jwt.decode(text, keys, algorithms=ALGORITHMS)


def words() -> tuple[str, str, str]:
    """(word for the browser, nonce, PKCE verifier) of a new attempt."""
    return secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48)
