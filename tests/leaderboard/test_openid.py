"""Signing in by OpenID Connect, against a provider on the loopback that also lies."""

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from board_fixtures import Place
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from sqlalchemy import delete
from sqlalchemy.orm import Session

from leaderboard.board import config as boards
from leaderboard.board.credentials import VARIABLES
from leaderboard.store import identities
from leaderboard.store.tables import Quota
from leaderboard.web import oidc
from leaderboard.web.access import FORMS
from leaderboard.web.app import build_app
from tvad.common.errors import InputError

HERE = "https://board.example"
KEY, STRANGE = RSAKey.generate_key(2048, auto_kid=True), RSAKey.generate_key(2048, auto_kid=True)
SECRET = "the client's secret, which is long enough for HS256"


def part(data) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


class Provider:
    """A provider; `claims`, `told` and `token` change what it says."""

    def __init__(self):
        self.asked, self.claims, self.told, self.sign, self.status = [], {}, {}, self.signed, 200
        self.before, this = (lambda: None), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(this.keys() if self.path == "/keys" else this.described(), this.status)

            def do_POST(self):
                body = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                this.asked.append((dict(self.headers), {k: v[0] for k, v in body.items()}))
                self.answer(this.token(), 200)

            def answer(self, data, status):
                text = data if isinstance(data, bytes) else json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def described(self):
        paths = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return {"issuer": self.issuer} | {k: f"{self.issuer}/{v}" for k, v in paths.items()} | self.told

    def keys(self):
        return {"keys": [KEY.as_dict(private=False)]}

    def signed(self, claims):
        return jwt.encode({"alg": "RS256", "kid": KEY.kid}, claims, KEY)

    def token(self):
        claims = {"iss": self.issuer, "aud": "board", "sub": "u1", "nonce": self.nonce, "name": "Ada's lab"}
        self.before()
        claims |= {"iat": int(time.time()), "exp": int(time.time()) + 300} | self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        return {"access_token": "a", "token_type": "Bearer", "id_token": self.sign(claims)}


@pytest.fixture
def provider():
    found = Provider()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def place(tmp_path, baseline_runs, provider, monkeypatch):
    monkeypatch.setenv(VARIABLES["oidc"], SECRET)
    plan = {"issuer": provider.issuer, "client": "board", "accounts": True}
    found = Place(tmp_path, baseline_runs, address=HERE, openid=plan)
    yield found
    found.store.engine.dispose()


def browser(place) -> TestClient:
    return TestClient(place.client.app, base_url=HERE, follow_redirects=False)


def begun(client, provider, path="/account/openid") -> dict[str, str]:
    """What the provider is told by the browser that is sent to it."""
    answer = client.get(path)
    assert answer.status_code == 303 and answer.headers["location"].startswith(
        f"{provider.issuer}/authorize?"
    )
    sent = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    provider.nonce = sent["nonce"]
    return sent


def ended(client, state, **query):
    return client.get("/account/callback", params={"code": "c", "state": state} | query)


def patient(place) -> None:
    """Let the next attempts through: how many there may be is tested elsewhere."""
    with Session(place.store.engine) as session, session.begin():
        session.execute(delete(Quota))


def in_as(client) -> str | None:
    page = client.get("/account").text
    return None if 'name="token"' in page else page.split("<h1>")[1].split("</h1>")[0]


def test_somebody_signs_in_and_gets_one_account_for_good(place, provider):
    client = browser(place)
    assert "/account/openid" in client.get("/account").text
    sent = begun(client, provider)
    assert (sent["response_type"], sent["client_id"], sent["code_challenge_method"]) == (
        "code",
        "board",
        "S256",
    )
    assert sent["redirect_uri"] == f"{HERE}/account/callback" and "openid" in sent["scope"].split()
    answer = ended(client, sent["state"], iss=provider.issuer)
    assert answer.status_code == 303 and answer.headers["location"] == "/account"
    headers, body = provider.asked[0]
    digest = hashlib.sha256(body["code_verifier"].encode()).digest()
    assert sent["code_challenge"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), "PKCE"
    assert base64.b64decode(headers["Authorization"].split()[1]).decode().startswith("board:")
    assert in_as(client) == "Adas lab" and SECRET not in answer.headers["location"]
    token = client.post("/account/token").text.split('id="token">')[1].split("<")[0]
    assert place.store.account_of(token) == "Adas lab"
    again = browser(place)
    provider.claims = {"name": "other"}
    ended(again, begun(again, provider)["state"])
    assert in_as(again) == "Adas lab", "known by the subject, whatever it calls itself"


def test_a_name_at_the_provider_opens_no_account_that_is_there(place, provider):
    provider.claims = {"preferred_username": "lab", "sub": "thief"}
    client = browser(place)
    ended(client, begun(client, provider)["state"])
    assert in_as(client) == "lab 2"
    for n, name in enumerate(("<script>", "\u202e\u200b", "", "x" * 5000, {"a": 1}, "__Host-")):
        provider.claims = {"preferred_username": name, "name": None, "sub": f"odd {n}"}
        client = browser(place)
        assert ended(client, begun(client, provider)["state"]).status_code == 303
        assert "<" not in in_as(client) and len(in_as(client)) <= 100


def test_an_account_is_tied_by_who_holds_its_token(place, provider):
    place.board.openid.accounts = False
    client = browser(place)
    refused = ended(client, begun(client, provider)["state"])
    assert refused.status_code == 403 and "no account is known" in refused.text and in_as(client) is None
    client.post("/account/sign-in", data={"token": place.token})
    assert ended(client, begun(client, provider)["state"]).status_code == 303
    fresh = browser(place)
    ended(fresh, begun(fresh, provider)["state"])
    assert in_as(fresh) == "lab"
    other = browser(place)
    other.post("/account/sign-in", data={"token": place.other})
    taken = ended(other, begun(other, provider)["state"])
    assert taken.status_code == 403 and "another account" in taken.text
    place.store.disable_account("lab")
    fresh = browser(place)
    assert ended(fresh, begun(fresh, provider)["state"]).status_code == 403 and in_as(fresh) is None


def test_who_renews_a_leaked_token_is_rid_of_the_thiefs_identity_too(place, provider):
    owner, thief, late = browser(place), browser(place), browser(place)
    provider.claims = {"sub": "owner"}
    owner.post("/account/sign-in", data={"token": place.token})
    ended(owner, begun(owner, provider)["state"])
    assert "<code>owner</code>" in owner.get("/account").text
    for client in (thief, late):
        client.post("/account/sign-in", data={"token": place.token})
    provider.claims = {"sub": "thief"}
    ended(thief, begun(thief, provider)["state"])
    kept = begun(late, provider)["state"]  # an attempt that ends after the renewal
    assert {row["subject"] for row in place.store.identities("lab")} == {"owner", "thief"}
    page = owner.post("/account/token").text
    token = page.split('id="token">')[1].split("<")[0]
    assert [row["subject"] for row in place.store.identities("lab")] == ["owner"]
    assert ended(late, kept).status_code == 403 and in_as(late) is None
    # One that has come back, and is signed out while the provider is asked.
    patient(place)
    late.post("/account/sign-in", data={"token": token})
    kept = begun(late, provider)["state"]
    provider.before = lambda: owner.post("/account/token")
    assert "signed out meanwhile" in ended(late, kept).text
    assert [row["subject"] for row in place.store.identities("lab")] == ["owner"]
    place.board.openid.accounts = False
    fresh = browser(place)
    assert ended(fresh, begun(fresh, provider)["state"]).status_code == 403 and in_as(fresh) is None
    provider.before = lambda: None
    patient(place)
    owner.post("/account/token")  # the browser knows still by which identity it came
    provider.claims = {"sub": "owner"}
    fresh = browser(place)
    ended(fresh, begun(fresh, provider)["state"])
    assert in_as(fresh) == "lab" and place.store.account_of(token) is None
    place.store.renew_token("lab")  # by an administrator, who is told of no browser
    assert place.store.identities("lab") == []


def none(claims):
    return f"{part({'alg': 'none'})}.{part(claims)}."


def by_secret(claims):
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET), algorithms=["HS256"])


def by_public_key(claims):
    text = f"{part({'alg': 'HS256', 'kid': KEY.kid})}.{part(claims)}"
    mac = hmac.digest(KEY.as_pem(private=False), text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def strange(claims):
    return jwt.encode({"alg": "RS256", "kid": KEY.kid}, claims, STRANGE)


def brings_its_key(claims):
    header = {"alg": "RS256", "jwk": STRANGE.as_dict(private=False)}
    return jwt.encode(header, claims, STRANGE)


def changed(claims):
    head, _, name = jwt.encode({"alg": "RS256", "kid": KEY.kid}, claims, KEY).split(".")
    return f"{head}.{part(claims | {'sub': 'u2'})}.{name}"


LIES = {
    "wrong nonce": {"nonce": "x"},
    "no nonce": {"nonce": None},
    "nonce is a list": {"nonce": ["x"]},
    "wrong issuer": {"iss": "https://evil.example"},
    "no issuer": {"iss": None},
    "other audience": {"aud": "another"},
    "no audience": {"aud": None},
    "several audiences, not said for whom": {"aud": ["board", "another"]},
    "made for another": {"aud": ["board", "another"], "azp": "another"},
    "expired": {"exp": 1000},
    "no end": {"exp": None},
    "end is text": {"exp": "never"},
    "from the future": {"iat": 99999999999},
    "not yet": {"nbf": 99999999999},
    "nobody": {"sub": None},
    "empty": {"sub": ""},
    "no text": {"sub": {"a": 1}},
    "too long": {"sub": "x" * 5000},
    "half a character": {"sub": "\ud800"},
    "a control character": {"sub": "a\0"},
}


def test_a_provider_that_lies_signs_nobody_in(place, provider):
    for lie, provider.claims in LIES.items():
        patient(place)
        client = browser(place)
        answer = ended(client, begun(client, provider)["state"])
        assert answer.status_code == 403 and 'role="alert"' in answer.text and in_as(client) is None, lie
    assert len(place.store.accounts()) == 2


ODD = [lambda _: "", lambda _: None, lambda _: "a.b.c", lambda _: {"a": 1}]
TOKENS = [none, by_secret, by_public_key, strange, brings_its_key, changed, *ODD]


def test_a_token_without_the_providers_signature_is_refused(place, provider):
    for n, provider.sign in enumerate(TOKENS):
        patient(place)
        client = browser(place)
        answer = ended(client, begun(client, provider)["state"])
        assert answer.status_code == 403 and in_as(client) is None, n
    state = begun(client, provider)["state"]
    provider.server.shutdown()
    provider.server.server_close()
    assert ended(client, state).status_code == 403, "a provider that is gone"


def test_an_attempt_is_for_one_use_by_its_own_browser_and_in_time(place, provider, monkeypatch):
    client, thief = browser(place), browser(place)
    state = begun(client, provider)["state"]
    nonce = provider.nonce
    begun(thief, provider)
    provider.nonce = nonce
    assert ended(thief, state).status_code == 403 and in_as(thief) is None
    assert ended(client, state).status_code == 403, "spent by the try"
    state = begun(client, provider)["state"]
    cookies = dict(client.cookies)
    assert ended(client, state).status_code == 303
    replay = browser(place)
    replay.cookies.update(cookies)
    assert ended(replay, state).status_code == 403
    for odd in ("", "x", "\u0000", "é" * 500):
        assert ended(client, odd).status_code in (400, 403)
    assert client.get("/account/callback").status_code == 403
    monkeypatch.setattr(identities, "ATTEMPT", -identities.ATTEMPT)
    assert ended(client, begun(browser(place), provider)["state"]).status_code == 403
    assert ended(browser(place), "s", iss="https://evil.example").status_code == 403


def test_a_callback_in_the_name_of_another_provider_is_refused(place, provider):
    client = browser(place)
    answer = ended(client, begun(client, provider)["state"], iss="https://evil.example")
    assert answer.status_code == 403 and not provider.asked, "the code is not shown to anybody"
    answer = client.get(
        "/account/callback", params={"state": begun(client, provider)["state"], "error": "<b>no"}
    )
    assert answer.status_code == 403 and "<b>no" not in answer.text


def test_nothing_leads_elsewhere(place, provider):
    client = browser(place)
    for name in ("next", "return_to", "redirect_uri"):
        sent = begun(client, provider, f"/account/openid?{name}=https://evil.example")
        assert sent["redirect_uri"] == f"{HERE}/account/callback" and "evil" not in str(sent)
    answer = client.get("/account/openid", headers={"host": "evil.example"})
    assert "evil" not in answer.headers.get("location", ""), "the address is the configured one"
    answer = ended(client, begun(client, provider)["state"], next="https://evil.example")
    assert answer.headers["location"] == "/account"


DESCRIPTIONS = [
    {"issuer": "https://evil.example"},
    {"token_endpoint": "http://evil.example/token"},
    {"authorization_endpoint": "javascript:alert(1)"},
    {"jwks_uri": "file:///etc/passwd"},
    {"jwks_uri": None},
    {"jwks_uri": "http://["},
]
BROKEN = [b"", b"[]", b"x" * (oidc.MOST + 1), b"[" * 100_000, b"\xff"]


def test_a_description_that_is_broken_or_not_the_issuers_is_not_used(place, provider, monkeypatch):
    client = browser(place)
    for provider.told in DESCRIPTIONS:
        answer = client.get("/account/openid")
        assert answer.status_code == 502 and "location" not in answer.headers, provider.told
    for described in BROKEN:
        monkeypatch.setattr(provider, "described", lambda described=described: described)
        assert client.get("/account/openid").status_code == 502, described[:10]
    provider.status = 302
    assert client.get("/account/openid").status_code == 502


class Silent:
    """A provider that takes connections and never answers; `asked`: how many."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.issuer, self.asked = f"http://127.0.0.1:{self.socket.getsockname()[1]}", 0
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self):
        held = []
        with suppress(OSError):  # closed
            while True:
                held.append(self.socket.accept())
                self.asked += 1


def test_a_provider_that_never_answers_holds_few_threads_and_is_left_alone_for_a_while(
    place, provider, monkeypatch
):
    silent = Silent()
    monkeypatch.setattr(oidc, "PATIENCE", 3.0)
    monkeypatch.setattr(oidc, "WAIT", 0.2)
    place.board.openid.issuer = silent.issuer
    found = oidc.Provider(place.board.openid, HERE)

    def ask(_):
        began = time.monotonic()
        with pytest.raises(oidc.Refused):
            found.request("s", "n", "v")
        return time.monotonic() - began

    with ThreadPoolExecutor(12) as threads:
        spent = sorted(threads.map(ask, range(12)))
    assert spent[-2] < 2.0 < spent[-1] and silent.asked == 1, "one waits for it, the others are sent away"
    assert ask(0) < 0.5 and silent.asked == 1, "what has failed is not asked again at once"
    monkeypatch.setattr(oidc, "QUIET", 0.0)
    ask(0)
    assert silent.asked == 2
    silent.socket.close()


def test_attempts_from_an_address_are_limited(place, provider):
    client = browser(place)
    statuses = [client.get("/account/openid").status_code for _ in range(FORMS + 1)]
    assert statuses == [303] * FORMS + [429]


def test_new_keys_of_the_provider_are_fetched_but_not_for_every_lie(place, provider, monkeypatch):
    client = browser(place)
    ended(client, begun(client, provider)["state"])
    asked = []
    monkeypatch.setattr(
        provider, "keys", lambda: asked.append(1) or {"keys": [STRANGE.as_dict(private=False)]}
    )
    provider.sign = lambda claims: jwt.encode({"alg": "RS256", "kid": STRANGE.kid}, claims, STRANGE)
    assert ended(client, begun(client, provider)["state"]).status_code == 403 and not asked
    monkeypatch.setattr(oidc, "AGAIN", 0.0)
    assert ended(client, begun(client, provider)["state"]).status_code == 303 and asked


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"issuer": "https://id.example"}, "client"),
        ({"client": "board"}, "issuer"),
        ({"accounts": True}, "issuer"),
        ({"issuer": "https://id.example", "client": "b", "secret": "x"}, "secret"),
    ],
)
def test_a_plan_that_lacks_something_is_refused(tmp_path, plan, words):
    text = {"folder": str(tmp_path), "suites": {"s": {"config": "x"}}, "address": HERE, "openid": plan}
    (tmp_path / "b.yaml").write_text(json.dumps(text))
    with pytest.raises(InputError, match=words):
        boards.read(str(tmp_path / "b.yaml"))


def test_the_secret_is_in_one_place_only(tmp_path, monkeypatch):
    plan = boards.OpenID("https://id.example", "board", str(tmp_path / "none"))
    with pytest.raises(InputError, match="cannot be read"):
        oidc.Provider(plan, HERE)
    (tmp_path / "none").write_text("x")
    assert oidc.Provider(plan, HERE)._secret == "x"
    monkeypatch.setenv(VARIABLES["oidc"], "y")
    with pytest.raises(InputError, match="both"):
        oidc.Provider(plan, HERE)
    for issuer in ("http://id.example", "ftp://id.example", "id.example"):
        with pytest.raises(InputError, match="https"):
            oidc.Provider(boards.OpenID(issuer, "board"), HERE)


def test_without_a_provider_there_is_no_way_in(tmp_path, baseline_runs):
    place = Place(tmp_path, baseline_runs)
    assert place.client.get("/account/openid").status_code == 404
    assert place.client.get("/account/callback?state=x&code=y").status_code == 404
    assert "/account/openid" not in place.client.get("/account").text
    assert build_app(place.board, place.store, place.pages).state.site.provider is None
    place.store.engine.dispose()
