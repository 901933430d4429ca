"""An account: what it sees of its own, signing in and out, a new token; what strangers get."""

import json
from datetime import timedelta

import pytest
from board_fixtures import Place
from fastapi.testclient import TestClient

from leaderboard.store import accounts
from leaderboard.store.queue import ATTEMPTS
from leaderboard.web.access import RENEWALS
from leaderboard.web.app import build_app


@pytest.fixture
def place(tmp_path, baseline_runs):
    found = Place(tmp_path, baseline_runs, daily=5)
    yield found
    found.store.engine.dispose()


def browser(place, **options) -> TestClient:
    return TestClient(place.client.app, follow_redirects=False, **options)


def signed_in(place, token=None, **options) -> TestClient:
    client = browser(place, **options)
    answer = client.post("/account/sign-in", data={"token": token or place.token})
    assert answer.status_code == 303 and answer.headers["location"] == "/account"
    return client


def test_an_account_sees_its_own_submissions_their_reasons_and_next_tries_and_nobody_elses(place):
    failing, again, waits = (
        place.send(place.packed(name=name)).json()["hash"] for name in ("<b>bad</b>", "again", "waits")
    )
    foreign = place.send(place.packed(name="foreign"), place.other).json()["hash"]
    place.store.fail(place.store.claim(60), "predictions that cannot be <i>scored</i>")
    place.store.put_back(place.store.claim(60), "the disk was full", "disk")
    rows = place.client.get("/api/account", headers=place.bearer()).json()
    assert rows["account"] == "lab"
    found = {row["hash"]: row for row in rows["submissions"]}
    assert list(found) == [waits, again, failing] and foreign not in found
    assert found[failing]["state"] == "failed" and "scored" in found[failing]["error"]
    assert found[again]["waits"]["reason"] == "the disk was full" and found[again]["waits"]["tries"] == 1
    assert found[again]["waits"]["next"] > found[again]["created"]
    assert found[waits]["waits"]["reason"] == "waits its turn, 1 before it"
    client = signed_in(place)
    page = client.get("/account")
    assert page.headers["cache-control"] == "no-store"
    for words in ("the disk was full", f"1 of {ATTEMPTS} tries made", "&lt;b&gt;bad", "&lt;i&gt;scored"):
        assert words in page.text
    assert "foreign" not in page.text and "<b>bad" not in page.text
    for token in ("", "lb_wrong", place.token[:-1]):
        headers = {"Authorization": f"Bearer {token}"}
        assert place.client.get("/api/account", headers=headers).status_code == 401
        assert place.client.post("/api/account/token", headers=headers).status_code == 401
    assert "foreign" in signed_in(place, place.other).get("/account").text


def test_a_new_token_voids_the_old_one_and_other_browsers_at_once(place):
    here, elsewhere = signed_in(place), signed_in(place)
    page = here.post("/account/token")
    token = page.text.split('id="token">')[1].split("<")[0]
    assert page.headers["cache-control"] == "no-store" and token.startswith("lb_")
    assert token not in here.get("/account").text and "lab" in here.get("/account").text
    assert 'name="token"' in elsewhere.get("/account").text
    assert elsewhere.post("/account/token").status_code == 401
    assert place.client.get("/api/account", headers=place.bearer()).status_code == 401
    assert place.client.get("/api/account", headers=place.bearer(token)).status_code == 200
    renewed = place.client.post("/api/account/token", headers=place.bearer(token)).json()["token"]
    assert place.client.get("/api/account", headers=place.bearer(token)).status_code == 401
    assert [row["who"] for row in place.store.audit() if row["action"] == "renew token"] == ["lab", "lab"]
    assert token not in json.dumps(place.store.audit(), default=str)
    for _ in range(RENEWALS):
        answer = place.client.post("/api/account/token", headers=place.bearer(renewed))
        renewed = answer.json().get("token", renewed)
    assert answer.status_code == 429 and answer.headers["retry-after"]


def test_renewals_are_limited_by_account(place):
    token = place.token
    for _ in range(RENEWALS):
        token = place.client.post("/api/account/token", headers=place.bearer(token)).json()["token"]
    assert place.client.post("/api/account/token", headers=place.bearer(token)).status_code == 429
    client = signed_in(place, token)
    assert client.post("/account/token").status_code == 429, "the page counts with the API"
    assert place.client.post("/api/account/token", headers=place.bearer(place.other)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "null"},
    ],
)
def test_forms_of_other_sites_are_refused(place, headers):
    client = signed_in(place)
    for path in ("/account/token", "/account/sign-out", "/account/sign-in"):
        answer = client.post(path, data={"token": place.other}, headers=headers)
        assert answer.status_code == 403 and "set-cookie" not in answer.headers, path
    assert "lab" in client.get("/account").text and place.store.account_of(place.token) == "lab"


def test_a_cookie_is_out_of_the_reach_of_scripts_and_other_sites_and_ends(place, monkeypatch):
    answer = browser(place).post("/account/sign-in", data={"token": place.token})
    told = answer.headers["set-cookie"].lower()
    assert "httponly" in told and "samesite=lax" in told and "path=/" in told and "max-age=43200" in told
    secure = browser(place, base_url="https://board.example")
    told = secure.post("/account/sign-in", data={"token": place.token}).headers["set-cookie"]
    assert told.startswith("__Host-board=") and "Secure" in told and "domain" not in told.lower()
    assert "set-cookie" not in place.client.get("/suites/scenes").headers
    client = signed_in(place)
    word = client.cookies["board"]
    assert word not in json.dumps(place.store.audit(), default=str)
    assert client.post("/account/sign-out").status_code == 303
    assert 'name="token"' in browser(place, cookies={"board": word}).get("/account").text, (
        "void, not forgotten"
    )
    for forged in ("", "x", word[:-1], "\x00", "é" * 3000, place.token):
        headers = {"cookie": f"board={forged}".encode("latin-1", "replace")}
        assert browser(place).get("/account", headers=headers).text.count("Sign in</button>") == 1
    monkeypatch.setattr(accounts, "SIGNED_IN", timedelta(seconds=-1))
    late = place.store.sign_in("lab")
    assert place.store.signed_in(late) is None
    monkeypatch.undo()
    word = place.store.sign_in("lab")
    place.store.disable_account("lab")
    assert place.store.signed_in(word) is None


@pytest.mark.parametrize(
    "body", [b"", b"token=", b"token=%00%ff", b"token=lb_x", b"&" * 60000, b"a=1&" * 9, b"\xff" * 99]
)
def test_what_is_no_token_signs_nobody_in(place, body):
    answer = browser(place).post("/account/sign-in", content=body)
    assert answer.status_code in (401, 422) and "set-cookie" not in answer.headers
    assert 'role="alert"' in answer.text


def test_tokens_cannot_be_guessed_by_signing_in(place):
    place.board.per_minute = 3
    client = TestClient(build_app(place.board, place.store, place.pages))
    statuses = [client.post("/account/sign-in", data={"token": f"lb_{n}"}).status_code for n in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    assert client.post("/account/sign-in", data={"token": place.token}).status_code == 429
