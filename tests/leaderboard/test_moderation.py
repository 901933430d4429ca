"""What waits for an administrator is shown to nobody; organisations are claims until they are verified;
suites retire."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta

import pytest
from board_fixtures import Place

from leaderboard.__main__ import main
from leaderboard.board import config as boards
from leaderboard.board import phases
from leaderboard.build import build
from leaderboard.store.moderation import speaks_for
from tvad.common.errors import InputError

SPAM = "Buy <b>pills</b> at once"


@pytest.fixture
def place(tmp_path, baseline_runs):
    found = Place(tmp_path, baseline_runs, moderated=True, daily=20)
    yield found
    found.store.engine.dispose()


def seen(place, name_hash, tmp_path=None) -> str:
    """Everything that a stranger gets to see."""
    paths = ["/suites/scenes", "/suites/scenes?older=1", "/api/tables/scenes", "/suites/scenes/table.csv"]
    paths += [
        f"/models/{name_hash}",
        f"/api/submissions/{name_hash}",
        f"/models/{name_hash}/scenes/badge.svg",
    ]
    paths += [f"/models/{name_hash}/scenes/samples", f"/api/submissions/{name_hash}/runs/scenes"]
    paths += [f"/api/models?name={name_hash[:12]}", f"/api/models?name={SPAM}"]
    paths += [f"/models/{name_hash}/scenes/frames/0.jpg", f"/compare?suite=scenes&m={name_hash}&m={'0' * 64}"]
    return "\n".join(place.client.get(path).text for path in paths)


def test_nothing_of_a_submission_is_shown_before_it_is_approved(place, tmp_path):
    name = place.send(place.packed("oracle", name=SPAM, organisation=SPAM, description=SPAM)).json()["hash"]
    lottery = {"name": "Lottery pills", "organisation": "Lottery"}
    later = place.send(place.packed("random", **lottery)).json()["hash"]
    for state in ("queued", "review"):
        assert place.client.get(f"/api/submissions/{name}").json()["state"] == state
        for name_hash in (name, later):
            assert "pills" not in seen(place, name_hash) and "1.000" not in seen(place, name_hash)
        assert "pills" in json.dumps(place.client.get("/api/account", headers=place.bearer()).json())
        place.score()
    build(place.board, place.store, tmp_path / "site")
    assert not any(b"pills" in path.read_bytes() for path in (tmp_path / "site").rglob("*.html"))
    assert not (tmp_path / f"site/models/{name}.html").exists()
    assert [row["hash"] for row in place.store.pending()] == [name, later]
    place.store.approve(name)
    assert "pills" in seen(place, name) and "Buy <b>" not in place.client.get(f"/models/{name}").text
    page = place.client.get(f"/models/{name}").text
    assert later not in page, "its history holds no other that waits"
    place.store.reject(later, "advertising")
    assert "Lottery" not in seen(place, later)
    rows = place.client.get("/api/account", headers=place.bearer()).json()["submissions"]
    assert {r["hash"]: r["error"] for r in rows}[later] == "rejected by the administrator: advertising"
    for name_hash in (name, later, "0" * 64, "x", ""):
        for decide in (place.store.approve, place.store.reject):
            with pytest.raises(InputError, match="does not wait"):
                decide(name_hash)
    assert [row["action"] for row in place.store.audit()[:2]] == ["reject", "approve"]


def test_one_that_is_rejected_while_it_is_scored_stays_so(place):
    name = place.send(place.packed(name=SPAM)).json()["hash"]
    job = place.store.claim(60)
    place.store.reject(name)
    assert not place.store.finish(job, []) and place.store.status(name)["state"] == "failed"
    assert place.send(place.packed(name=SPAM)).json()["state"] == "failed", "sent again it stays rejected"
    early = place.send(place.packed("oracle", name="early")).json()["hash"]
    place.store.approve(early)
    place.score()
    assert place.client.get(f"/api/submissions/{early}").json()["state"] == "done"


def test_copies_among_what_waits_are_flagged(place):
    first = place.send(place.packed("random", name="one")).json()["hash"]
    second = place.send(place.packed("random", name="two"), place.other).json()["hash"]
    place.score()
    assert place.store.flags(second) and not place.store.flags(first)


def test_the_administrators_commands(place, capsys):
    name = place.send(place.packed(name=SPAM)).json()["hash"]
    config = ["--config", str(place.config)]
    capsys.readouterr()
    assert main(["admin", "pending", *config]) == 0 and name in capsys.readouterr().out
    assert main(["admin", "approve", name, *config]) == 0
    assert main(["admin", "verify", "lab", "--organisation", "a lab", *config]) == 0
    capsys.readouterr()
    assert main(["admin", "pending", *config]) == 0 and name not in capsys.readouterr().out
    for words in (
        ["approve", name],
        ["reject"],
        ["verify", "nobody", "--organisation", "x"],
        ["verify", "lab"],
        ["approve", name, "--reason", "x"],
        ["audit", "--organisation", "x"],
        ["verify", "lab", "--organisation", "x" * 101],
    ):
        with pytest.raises((InputError, SystemExit)) as error:
            raise SystemExit(main(["admin", *words, *config]))
        assert error.type is InputError or error.value.code, words


def test_what_was_rejected_is_not_scored_again(place):
    place.board.moderated = True
    for scored in (False, True):
        name = place.send(place.packed(name=f"model {scored}")).json()["hash"]
        if scored:
            place.score()
        place.store.reject(name, "advertising")
        with pytest.raises(InputError, match="was rejected, which stays"):
            place.store.requeue(name)
        assert place.store.status(name)["state"] == "failed" and not place.store.pending()


def test_an_organisation_is_a_claim_until_its_account_is_verified(place):
    place.store.verify_organisation("lab", "A  Lab")
    mine = place.send(place.packed("random", name="mine")).json()["hash"]
    theirs = place.send(place.packed("oracle", name="theirs"), place.other).json()["hash"]
    place.score()
    for name in (mine, theirs):
        place.store.approve(name)
    rows = {r["hash"]: r["verified"] for r in place.client.get("/api/tables/scenes").json()["models"]}
    assert rows == {mine: True, theirs: False}, "another's claim of it stays a claim"
    page = place.client.get("/suites/scenes").text
    assert page.count("✓ verified") == 1 and page.count("(claimed)") == 1
    assert "(verified)" in place.client.get(f"/models/{mine}").text
    assert "claimed, not verified" in place.client.get(f"/models/{theirs}").text
    table = csv.DictReader(io.StringIO(place.client.get("/suites/scenes/table.csv").text))
    assert {row["hash"]: row["organisation_verified"] for row in table} == {mine: "True", theirs: "False"}
    place.store.verify_organisation("lab", "")
    assert not place.store.status(mine)["verified"]


def test_organisations_are_compared_as_they_are_read():
    assert speaks_for("ＡＣＭＥ  lab", "acme Lab") and not speaks_for("", "")
    for other in ("acme\u200blab", "аcme lab", "acme", "acme lab inc"):
        assert not speaks_for(other, "acme lab")


def test_a_suite_retires_by_the_clock_of_the_board(tmp_path, baseline_runs, monkeypatch):
    scenes = {"config": str(baseline_runs / "suite.yaml"), "retired": "2031-05-31"}
    place = Place(tmp_path, baseline_runs, suites={"scenes": scenes})
    for moment, since in ((datetime(2031, 5, 31, 23, 59), None), (datetime(2031, 6, 1), "2031-05-31")):
        monkeypatch.setattr(phases, "clock", lambda moment=moment: moment)
        assert place.board.retired("scenes") == since and place.board.taken == ([] if since else ["scenes"])
    assert place.board.taken_until("scenes") == datetime(2031, 6, 1)
    place.store.engine.dispose()


def test_a_retired_suite_takes_nothing_and_says_so(tmp_path, baseline_runs):
    today = datetime.now(UTC).date()
    scenes = {"config": str(baseline_runs / "suite.yaml")}
    place = Place(tmp_path, baseline_runs, suites={"scenes": scenes | {"retired": str(today)}})
    scored = place.scored("random")
    waits = place.send(place.packed("prior")).json()["hash"]
    place.board.suites["scenes"].retired = str(today - timedelta(days=1))
    refused = place.send(place.packed("oracle"))
    assert refused.status_code == 422 and "not taken here" in refused.json()["detail"]
    place.score()
    page = place.client.get("/suites/scenes?older=1").text
    assert f"Retired {today - timedelta(days=1)}" in page and scored in page
    assert place.store.status(waits)["state"] == "done", "what was taken is scored"
    assert "taken here: none" in place.client.get("/submit").text
    place.store.engine.dispose()


@pytest.mark.parametrize("day", ["soon", "2026-13-01", "31.5.2026", "2026-05-31T10:00"])
def test_a_day_that_is_none_is_refused(tmp_path, day):
    plan = {"folder": str(tmp_path), "suites": {"s": {"config": "x", "retired": day}}}
    (tmp_path / "b.yaml").write_text(json.dumps(plan))
    with pytest.raises(InputError, match="retired"):
        boards.read(str(tmp_path / "b.yaml"))
    assert date.fromisoformat("2026-05-31")
