"""Withdrawn means gone: from every page, file and byte of the board."""

import json
import tempfile
from pathlib import Path

import pytest
from board_fixtures import Place

from leaderboard.build import build
from leaderboard.intake.uploads import Uploads
from leaderboard.scoring import scorer

WORD = "zanzibarwort"  # of all that a card says


@pytest.fixture
def place(tmp_path, baseline_runs):
    found = Place(tmp_path, baseline_runs)  # its database lies in its folder
    yield found
    found.store.engine.dispose()


def told(**more) -> dict:
    return {
        "organisation": WORD,
        "licence": WORD,
        "contamination": WORD,
        "data": [WORD],
        "links": [f"https://{WORD}.example/paper"],
        "description": WORD,
        **more,
    }


def answers(place, name: str) -> dict[str, str]:
    """What every GET route says, of a model where it names one."""
    found = {}
    for route in place.client.app.routes:
        if "GET" in (getattr(route, "methods", None) or ()):
            path = route.path.replace("{name_hash}", name).replace("{suite}", "scenes")
            path = path.replace("{place}", "0").replace("{sha256}", name)
            for query in ("", f"?q=gone&name=gone&suite=scenes&m={name}&m={'0' * 64}"):
                found[path + query] = place.client.get(path + query, headers=place.bearer()).text
    return found


def holding(folder: Path, word: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and word in path.read_bytes()]


def test_nothing_that_was_withdrawn_is_found_again(place, tmp_path):
    kept = place.scored("oracle", name="kept")
    data = place.packed("random", **told(name="gone"))
    name = place.send(data).json()["hash"]
    place.score()
    runs = [place.board.scored(row["folder"]) for row in place.store.results(name)]
    assert sum(WORD in text for text in answers(place, name).values()) >= 2 and all(r.exists() for r in runs)
    assert place.client.delete(f"/api/submissions/{name}", headers=place.bearer()).status_code == 200

    said = answers(place, name)
    assert not [path for path, text in said.items() if WORD in text]
    assert not place.board.submission(name).exists() and not any(run.exists() for run in runs)
    assert not holding(Path(place.board.folder), WORD.encode()), "files of the database, too"
    page, state = said[f"/models/{name}"], json.loads(said[f"/api/submissions/{name}"])
    assert "Withdrawn" in page and name in page and state["state"] == "withdrawn" and state["finished"]
    assert state["card"] is state["name"] is state["account"] is None
    build(place.board, place.store, tmp_path / "site")
    assert not holding(tmp_path / "site", WORD.encode())
    assert "Withdrawn" in (tmp_path / f"site/models/{name}.html").read_text()

    assert place.send(data).json()["state"] == "withdrawn" and not place.board.submission(name).exists()
    assert place.client.get(f"/models/{kept}/scenes/samples").status_code == 200


def test_what_is_withdrawn_while_it_is_scored_leaves_no_run(place):
    name = place.send(place.packed()).json()["hash"]
    job = place.store.claim(60)
    with tempfile.TemporaryDirectory(dir=place.board.folder) as work:
        scorer.child(place.board, place.board.submission(job.hash), Path(work), {"scenes": 1})
        place.client.delete(f"/api/submissions/{name}", headers=place.bearer())
        results = scorer.collected(place.board, Path(work))
    assert any((Path(place.board.folder) / "scored").iterdir())
    scorer.Scorer(str(place.config), place.board, place.store)._finish(job, results, 1.0)
    assert not any((Path(place.board.folder) / "scored").iterdir())


def test_files_that_a_kill_has_left_go_at_the_next_start(place):
    name = place.scored()
    place.store.withdraw("lab", name)
    assert place.board.submission(name).exists()
    Uploads(place.board, place.store)
    assert not place.board.submission(name).exists()
    assert not any((Path(place.board.folder) / "scored").iterdir())
