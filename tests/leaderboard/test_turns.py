"""A phase turns once, whoever turns it at the same moment, and what answers it is scored on it."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from board_fixtures import ON_SQLITE_FIRST, Place
from conftest import ROOT

from leaderboard import commands
from leaderboard.__main__ import main
from leaderboard.board import config as boards
from leaderboard.intake import submission
from leaderboard.scoring import scorer
from leaderboard.store.standings import UNANSWERED
from tvad.common.errors import InputError

RENDER = {"setting": "core", "clips": 4, "normal": 0.5, "max_crowd": 1}
TURN = """
import sys, time
from pathlib import Path
from leaderboard.store.opening import open_board
from leaderboard.web.pages import Pages
board, store = open_board(sys.argv[1])
pages = Pages(board, store, board.open())
Path(sys.argv[2]).touch()
while not Path(sys.argv[3]).exists():
    time.sleep(0.001)
print(board.turn(store.waits))
pages.adopt(board.open())
"""


def split(folder, runs, database=None, **settings) -> Place:
    suite = str(runs / "suite.yaml")
    hidden = {"config": suite, "split": "private", "table": "scenes", "render": RENDER}
    return Place(folder, runs, database, suites={"scenes": {"config": suite}, "hidden": hidden}, **settings)


@ON_SQLITE_FIRST
def test_servers_that_turn_a_phase_at_once_turn_it_once(tmp_path, baseline_runs, database):
    place = split(tmp_path, baseline_runs, database)
    version = place.pages.versions["scenes", "private"]
    go = tmp_path / "go"
    words = [sys.executable, "-c", TURN, str(place.config)]
    servers = [
        subprocess.Popen(
            [*words, str(tmp_path / f"ready{n}"), str(go)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for n in range(3)
    ]
    while not all((tmp_path / f"ready{n}").exists() or s.poll() for n, s in enumerate(servers)):
        pass
    place.board.book("hidden").close()
    go.touch()
    said = [server.communicate(timeout=60)[0].strip() for server in servers]
    assert [server.returncode for server in servers] == [0, 0, 0]
    assert sorted(said) == ["['hidden']", "[]", "[]"]
    phases = place.board.book("hidden").phases()
    assert [phase.number for phase in phases] == [1, 2] and phases[0].ended and not phases[1].ended
    ends = [row for row in place.store.audit() if row["action"] == "phase ended"]
    assert [row["detail"] for row in ends] == [version]
    assert [v["ended"] is not None for v in place.store.versions("scenes", "private")] == [False, True]


def test_what_is_checked_while_its_phase_ends_is_not_scored_on_the_next(tmp_path, baseline_runs, monkeypatch):
    place = split(tmp_path, baseline_runs)
    uploads = place.client.app.state.site.uploads
    data, check = place.packed("random"), uploads.check

    def slow(*given):
        place.board.book("hidden").close()
        assert place.board.turn(place.store.waits) == ["hidden"]
        found = check(*given)
        return submission.Verified(found.hash, found.card, ["scenes", "hidden"], [], 0)

    monkeypatch.setattr(uploads, "check", slow)
    answer = place.send(data)
    assert answer.status_code == 422 and "has ended while it was checked" in answer.json()["detail"]
    assert not place.store.queue() and not list((place.folder / "board").glob("submissions/*"))
    monkeypatch.setattr(uploads, "check", check)
    assert place.send(data).status_code == 202
    place.store.engine.dispose()


def test_what_answers_a_phase_is_not_scored_on_the_next(tmp_path, baseline_runs):
    place = split(tmp_path, baseline_runs)
    check = place.client.app.state.site.uploads.check

    def both(*given):
        found = check(*given)
        return submission.Verified(found.hash, found.card, ["scenes", "hidden"], [], 0)

    place.client.app.state.site.uploads.check = both
    name = place.send(place.packed("random")).json()["hash"]
    place.store.fail(place.store.claim(60), "no reason")
    admin = ["admin", "requeue", name, "--config", str(place.config)]
    assert main(admin) == 0, "while its phase lasts"
    place.store.fail(place.store.claim(60), "no reason")
    said = "hidden: the phase that this answers has ended"
    for retired in (False, True):
        if retired:
            place.board.suites["hidden"].retired = "2026-01-31"
        place.board.book("hidden").close()
        assert place.board.turn(place.store.waits) == ["hidden"]
        with pytest.raises(InputError, match=said):
            main(admin)
        place.store.requeue(name)  # while a phase was about to end
        assert scorer.Scorer(str(place.config), place.board, place.store).work_once()
        found = place.store.status(name)
        assert (found["state"], found["error"]) == ("failed", said) and not place.store.results(name)
    assert [phase.ended is None for phase in place.board.book("hidden").phases()] == [False, False]
    place.store.engine.dispose()


def test_a_suite_that_came_after_a_scorer_was_started_is_scored(tmp_path, baseline_runs):
    place = Place(tmp_path, baseline_runs)
    before = boards.read(str(place.config))
    before.suites = {"other": before.suites["scenes"]}
    name = place.send(place.packed("random")).json()["hash"]
    assert scorer.Scorer(str(place.config), before, place.store).work_once()
    assert place.store.status(name)["state"] == "done"
    place.store.engine.dispose()


def test_a_server_knows_which_phase_it_has_opened(tmp_path, baseline_runs):
    """Another server turns between opening and adopting."""
    place = split(tmp_path, baseline_runs)
    opened = place.board.open()
    place.board.book("hidden").close()
    assert place.board.turn(place.store.waits) == ["hidden"]
    place.pages.adopt(opened)
    assert place.pages.phases == {"hidden": 1} != place.pages.asked()
    first, second = place.board.book("hidden").phases()
    assert len(first.versions) == 1 and not second.versions, "nothing of the first counts as the second's"
    commands._turn_phases(place.board, place.store, place.pages)
    assert place.pages.phases == {"hidden": 2} == place.pages.asked()
    first, second = place.board.book("hidden").phases()
    assert len(second.versions) == 1 and not first.versions.keys() & second.versions.keys()
    assert place.pages.versions["scenes", "private"] in second.versions.values()
    place.store.engine.dispose()


def test_a_perfect_public_only_submission_says_why_it_has_no_place(tmp_path, baseline_runs):
    place = split(tmp_path, baseline_runs)
    best = place.scored("oracle", name="best")
    [row] = place.client.get("/api/tables/scenes").json()["models"]
    assert row["rank"] is None and row["unranked"] == UNANSWERED
    assert f"No rank in the table: {UNANSWERED}." in place.client.get(f"/models/{best}").text
    badge = f"/models/{best}/scenes/badge.svg"
    assert "1.000, no rank<" in place.client.get(badge).text
    # A private split that is retired can be answered by nobody any more.
    place.board.suites["hidden"].retired = str(datetime.now(UTC).date() - timedelta(days=1))
    later = place.scored("random", name="later")
    rows = place.client.get("/api/tables/scenes").json()["models"]
    assert {row["hash"]: row["rank"] is not None for row in rows} == {best: True, later: True}
    assert "rank 1 of 2" in place.client.get(badge).text
    assert "No rank in the table" not in place.client.get(f"/models/{later}").text
    place.store.engine.dispose()
    (tmp_path / "open").mkdir()
    plain = Place(tmp_path / "open", baseline_runs)
    best = plain.scored("oracle", name="best")
    [row] = plain.client.get("/api/tables/scenes").json()["models"]
    assert (row["rank"], row["unranked"]) == (1, None)
    assert "No rank in the table" not in plain.client.get(f"/models/{best}").text
    plain.store.engine.dispose()
