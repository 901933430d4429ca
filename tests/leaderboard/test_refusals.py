"""What is refused: by which limit, in which words, and what is left behind. Versions of submissions."""

import json
import sqlite3
import tempfile
from contextlib import ExitStack

import psycopg
import pytest
from anyio import from_thread, to_thread
from board_fixtures import CARD, Place
from fastapi.testclient import TestClient
from sqlalchemy.exc import IntegrityError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnection

from leaderboard.card import read_card
from leaderboard.intake import archive as archives
from leaderboard.intake import submission, uploads
from leaderboard.intake.archive import Limits, unpack
from leaderboard.scoring import faults
from leaderboard.web.app import build_app
from tvad.common.errors import InputError


@pytest.fixture
def place(tmp_path, baseline_runs):
    found = Place(tmp_path, baseline_runs)
    yield found
    found.store.engine.dispose()


def test_an_upload_in_pieces_is_refused_by_the_limit_and_not_by_what_is_left(place, monkeypatch):
    monkeypatch.setattr(archives, "LIMITS", Limits(archive=2 << 20))
    at, first = f"/api/uploads/{'0' * 64}", b"x" * (3 << 19)
    assert place.client.put(f"{at}?offset=0", content=first, headers=place.bearer()).status_code == 200
    refused = place.client.put(f"{at}?offset={len(first)}", content=first, headers=place.bearer())
    assert refused.status_code == 413 and refused.json() == {"detail": "more than 2 MiB"}
    small = place.client.post("/accounts", content=b"n" * 70_000)
    assert small.status_code == 413 and "more than 65536 bytes" in small.text


def test_a_zip_and_its_content_have_limits_of_their_own(place, tmp_path, monkeypatch):
    data = place.packed()
    monkeypatch.setattr(archives, "LIMITS", Limits(archive=len(data), unpacked=1000))
    refused = place.send(data)
    assert refused.status_code == 422 and "unpacks to more than" in refused.json()["detail"]
    monkeypatch.setattr(archives, "LIMITS", Limits(archive=len(data) - 1))
    assert place.send(data).status_code == 413
    monkeypatch.setattr(archives, "LIMITS", Limits(archive=1))
    (tmp_path / "unpacked").mkdir()
    unpack(place.folder / "s.zip", tmp_path / "unpacked")  # on the submitter's machine nothing is sent yet


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (OperationalError("SELECT", {}, sqlite3.OperationalError("database is locked")), True),
        (OperationalError("SELECT", {}, psycopg.errors.LockNotAvailable("due to lock timeout")), True),
        (OperationalError("SELECT", {}, psycopg.OperationalError("Connection refused")), True),
        (InternalError("UPDATE", {}, psycopg.errors.ReadOnlySqlTransaction("cannot execute")), True),
        (ProgrammingError("SELECT", {}, Exception("closed"), connection_invalidated=True), True),
        (NoConnection("QueuePool limit of size 5 overflow 10 reached"), True),
        (ProgrammingError("SELECT secret", {}, psycopg.errors.UndefinedTable("no table")), False),
        (IntegrityError("INSERT secret", {}, sqlite3.IntegrityError("UNIQUE")), False),
    ],
)
def test_a_database_that_is_busy_or_away_is_asked_again_and_a_wrong_statement_is_a_fault(
    place, monkeypatch, capsys, error, waits
):
    def find(*_):
        raise error

    monkeypatch.setattr(place.store, "find", find)
    answer = place.client.get("/api/models?name=a")
    assert answer.status_code == (503 if waits else 500) and "secret" not in answer.text
    assert answer.headers.get("retry-after") == ("5" if waits else None)
    assert (faults.kind_of(error) == "database") == waits, "one rule for requests and the queue"
    assert ("database: " in capsys.readouterr().err) == waits, "the administrator is told"


def test_as_many_connections_as_threads_may_wait_and_readers_do_not(place):
    async def threads() -> float:
        return to_thread.current_default_thread_limiter().total_tokens

    with ExitStack() as waiting:
        portal = waiting.enter_context(from_thread.start_blocking_portal())
        for _ in range(int(portal.call(threads))):
            waiting.enter_context(place.store.engine.connect())
        assert place.client.get("/health").json()["database"]


def test_files_of_refused_forms_are_closed(place, monkeypatch):
    files = []

    class Watched(tempfile.SpooledTemporaryFile):
        def __init__(self, *given, **named):
            super().__init__(*given, **named)
            files.append(self)

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", Watched)
    for data, status in (
        ({"token": "lb_wrong"}, 401),
        ({}, 422),
        ({"token": place.token}, 422),
        ({"other": place.token}, 422),
    ):
        answer = place.client.post("/submit", data=data, files={"file": ("s.zip", b"x")})
        assert answer.status_code == status and 'role="alert"' in answer.text
    sent = place.client.post(
        "/submit",
        data={"token": place.token},
        files={"file": ("s.zip", place.packed())},
        follow_redirects=False,
    )
    assert sent.status_code == 303 and len(files) == 5 and all(file.closed for file in files)


def test_a_refused_form_says_when_to_come_back(place):
    place.board.per_minute = 1
    client = TestClient(build_app(place.board, place.store, place.pages))
    answers = [
        client.post("/submit", data={"token": "lb_wrong"}, files={"file": ("s.zip", b"x")}) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [401, 429]
    assert answers[1].headers["retry-after"] == "60" and "wait a minute" in answers[1].text


def test_a_submission_that_vanishes_meanwhile_is_not_found(place, monkeypatch):
    data = place.packed()
    monkeypatch.setattr(place.store, "status", lambda name_hash: None)
    answer = place.send(data)
    assert answer.status_code == 404 and answer.json() == {"detail": "no such submission"}


def test_a_piece_that_another_request_sent_meanwhile_is_not_sent_twice(place, monkeypatch):
    """Between opening the file of an upload and locking it another request may append to it."""
    at = f"/api/uploads/{'0' * 64}"
    place.client.put(f"{at}?offset=0", content=b"first", headers=place.bearer())
    part = next((place.folder / "board/incoming/parts").glob("*/*"))

    def locked(*_):
        part.write_bytes(b"first and second")

    monkeypatch.setattr(uploads.fcntl, "flock", locked)
    answer = place.client.put(f"{at}?offset=5", content=b" and second", headers=place.bearer())
    assert answer.status_code == 409 and answer.json()["detail"]["received"] == 16
    assert part.read_bytes() == b"first and second"


@pytest.fixture
def packed(tmp_path, baseline_runs):
    (tmp_path / "card.yaml").write_text(json.dumps(CARD))
    return submission.pack(
        {"scenes": baseline_runs / "random"}, tmp_path / "card.yaml", tmp_path / "s"
    ), tmp_path / "s"


def test_a_submission_says_its_version_and_one_without_is_of_the_first(packed):
    found, folder = packed
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest.pop("format"), manifest.pop("version")) == ("submission", 1) and set(manifest) == {
        "files"
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert submission.verify(folder).hash == found.hash, "the same answers are the same submission"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, r"manifest\.json: version 2 of submission is newer"),
        ({"version": "new"}, r"manifest\.json: .*new"),
        ({"format": "checkpoint"}, r"manifest\.json: .*checkpoint"),
        ({"format": "x\n" * 1_000}, r"manifest\.json: format is"),
    ],
)
def test_a_submission_of_another_version_is_refused_in_one_line(packed, change, words):
    _, folder = packed
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(InputError, match=words) as error:
        submission.verify(folder)
    assert "\n" not in str(error.value) and len(str(error.value)) <= 300


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", r"manifest\.json: expected a mapping, found \[\]"),
        ("1", r"manifest\.json: expected a mapping, found 1"),
        *((text, r"manifest\.json cannot be read") for text in ("{}", '{"version": 1}', "[" * 4_000, "x")),
    ],
)
def test_a_manifest_that_is_none_is_one_line(packed, text, words):
    _, folder = packed
    (folder / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=words):
        submission.verify(folder)


def test_an_address_without_a_host_is_no_link():
    with pytest.raises(InputError, match="is no http"):
        read_card(json.dumps(CARD | {"links": ["http://["]}))
