"""What a page shows of answers was made when they were scored, by the process that has limits: a visitor
makes the server read a few lines and send a file."""

import json
import resource
from pathlib import Path

import numpy as np
import pytest
from board_fixtures import Place

from bench import suite as suites
from bench.models.baseline import Baseline
from bench.run import run
from leaderboard.board.config import Board
from leaderboard.scoring import comparing, evidence, scorer

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def folder_of(place, name) -> Path:
    return place.board.scored(place.store.results(name)[0]["folder"])


def test_pictures_are_files_of_the_scored_run_and_the_setting_says_how_many(
    tmp_path, baseline_runs, database
):
    for most in (0, 3, 200):
        folder = tmp_path / str(most)
        folder.mkdir()
        place = Place(folder, baseline_runs, f"sqlite:///{folder}/b.sqlite", scoring={"pictures": most})
        name = place.scored("random")
        run_folder = folder_of(place, name)
        kept = sorted(int(p.stem) for p in run_folder.glob("shown/*.jpg"))
        places = evidence.Answers(run_folder).places
        assert len(kept) == min(most, len(places))
        worst = sorted(range(len(places)), key=lambda n: (places[n].score, n))
        assert kept == sorted(worst[:most])
        page = place.client.get(f"/models/{name}/scenes/samples").text
        assert page.count("<img") == min(most, 12)
        for n in (kept[:1], [n for n in range(len(places)) if n not in kept][:1]):
            for number in n:
                answer = place.client.get(f"/models/{name}/scenes/frames/{number}.jpg")
                assert answer.status_code == (200 if number in kept else 404)
                if number in kept:
                    assert answer.content == (run_folder / f"shown/{number}.jpg").read_bytes()
        place.store.engine.dispose()


def test_a_visitor_decodes_nothing(place, monkeypatch):
    """No clip, no heatmap, no whole run."""
    name = place.scored("random")
    for where in ("read_maps", "read_predictions", "picture", "jpeg", "ClipStore"):
        monkeypatch.setattr(evidence, where, None)
    seen = []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: seen.append(self) or whole(self))
    page = place.client.get(f"/models/{name}/scenes/samples")
    assert page.status_code == 200 and "<img" in page.text
    number = page.text.split("/frames/")[1].split(".jpg")[0]
    assert place.client.get(f"/models/{name}/scenes/frames/{number}.jpg").status_code == 200
    assert not [path for path in seen if path.name == "samples.jsonl"]


def test_a_long_answer_is_not_read_for_a_page(place, monkeypatch):
    name = place.scored("random")
    monkeypatch.setattr(evidence, "MOST_LINE", 10)
    page = place.client.get(f"/models/{name}/scenes/samples").text
    assert "bytes is not shown" in page and page.count("<article") <= 12


def test_a_run_that_has_no_index_is_told_of_not_failed_on(place):
    name = place.scored("random")
    (folder_of(place, name) / evidence.INDEX).unlink()
    answer = place.client.get(f"/models/{name}/scenes/samples")
    assert answer.status_code == 404 and "can be had as a file" in answer.text
    assert "/samples" not in place.client.get(f"/models/{name}").text
    assert place.client.get(f"/api/submissions/{name}/runs/scenes").status_code == 200


def test_a_heatmap_that_decodes_to_a_gigabyte_is_the_childs_to_bear(place):
    """A megabyte of .npz; whoever looks at the model afterwards costs the server nothing."""
    heat = place.folder / "heat"
    run(Baseline("oracle"), "baseline:oracle", suites.read(str(place.runs / "suite.yaml")), heat)
    sample = json.loads((heat / "samples.jsonl").read_text().splitlines()[0])["sample"]
    data = place.packed("oracle")
    name = place.send(data).json()["hash"]
    target = place.board.submission(name) / "scenes"
    (target / "heatmaps").mkdir(exist_ok=True)
    np.savez_compressed(target / "heatmaps/0.npz", heatmap=np.zeros((1100, 1024, 1024), np.uint8))
    assert (target / "heatmaps/0.npz").stat().st_size < 2 << 20
    with (target / "predictions.jsonl").open("a") as out:
        out.write(json.dumps({"id": sample, "task": "heatmap", "heatmap": "heatmaps/0.npz"}) + "\n")
    board = Board(place.board.folder, place.board.suites, scoring=type(place.board.scoring)(gigabytes=1.0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scorer.Scorer(str(place.config), board, place.store).work_once()
    assert place.store.status(name)["state"] in ("done", "failed")
    for path in (f"/models/{name}", f"/models/{name}/scenes/samples", f"/models/{name}/scenes/frames/0.jpg"):
        place.client.get(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


def test_comparisons_are_made_by_a_child_and_kept(place, monkeypatch):
    one, two = place.scored("random"), place.scored("oracle", name="seer")
    at = f"/compare?suite=scenes&m={one}&m={two}"
    first = place.client.get(at).text
    assert '<tr class="better">' in first
    kept = list((Path(place.board.folder) / comparing.COMPARED).glob("*.json"))
    assert len(kept) == 1

    def never(*_, **__):
        raise AssertionError("compared again")

    monkeypatch.setattr(comparing.asyncio, "create_subprocess_exec", never)
    assert place.client.get(at).text == first
    kept[0].unlink()
    monkeypatch.undo()
    # Limits that do not suffice are an answer, and leave nothing.
    monkeypatch.setattr(comparing, "GIGABYTES", 0.05)
    answer = place.client.get(at)
    assert answer.status_code == 503 and "within the limits" in answer.text
    assert not list((Path(place.board.folder) / comparing.COMPARED).iterdir())
    monkeypatch.setattr(comparing, "GIGABYTES", 2.0)
    monkeypatch.setattr(comparing, "SECONDS", 0.01)
    assert "took longer than 0.01 s" in place.client.get(at).text


def test_the_oldest_comparisons_go_first(tmp_path, monkeypatch, database):
    import os

    monkeypatch.setattr(comparing, "KEPT", 3)
    for n in range(5):
        (tmp_path / f"{n}.json").write_text("[]")
        os.utime(tmp_path / f"{n}.json", (1000 + n, 1000 + n))
    comparing.tidy(tmp_path)
    assert sorted(p.stem for p in tmp_path.glob("*.json")) == ["2", "3", "4"]


def test_the_scored_run_that_is_fetched_holds_no_pictures(place):
    import io
    import zipfile

    name = place.scored("random")
    answer = place.client.get(f"/api/submissions/{name}/runs/scenes")
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert "samples.jsonl" in names and not [n for n in names if n.endswith(".jpg")]
