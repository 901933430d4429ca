"""A submission's model is run again by the board, and what that shows stands beside what was sent."""

import json

import pytest
from board_fixtures import CARD, Place

from bench.run_folder import read_lines
from bench.tasks import PRIMARIES
from leaderboard.__main__ import main
from leaderboard.card import Card, is_runnable, read_card
from leaderboard.scoring import rerunning
from tvad.common.errors import InputError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def told(place, name) -> list[dict]:
    return place.client.get(f"/api/submissions/{name}").json()["reruns"]


@pytest.mark.slow
def test_an_honest_submission_is_verified_and_another_differs(place, capsys):
    honest = place.scored("prior", name="honest", model="baseline:prior")
    liar = place.scored("oracle", name="liar", model="baseline:random")
    words = ["--config", str(place.config)]
    capsys.readouterr()
    assert main(["admin", "rerun", honest, *words]) == 0
    said = capsys.readouterr().out
    assert said.startswith("scenes: verified; ") and "answers say the same" in said
    assert main(["admin", "rerun", liar, *words]) == 1
    said = capsys.readouterr().out
    assert said.startswith("scenes: differs; ") and "sent 1.000" in said

    [row] = told(place, honest)
    assert (
        row["verdict"] == "verified" and row["model"] == "baseline:prior" and row["version"] == place.version
    )
    assert row["answers"]["same"] == row["answers"]["of"] > 20
    assert all(m["within"] and m["again"] == pytest.approx(m["value"]) for m in row["metrics"].values())
    [row] = told(place, liar)
    assert row["verdict"] == "differs" and row["answers"]["same"] < row["answers"]["of"]
    wrong = row["metrics"]["mcq.accuracy"]
    assert wrong["value"] == 1.0 and wrong["again"] < wrong["low"] and not wrong["within"]
    page, other = (place.client.get(f"/models/{name}").text for name in (honest, liar))
    assert "Run again by the board on scenes: verified" in page and "baseline:prior" in page
    assert "Run again by the board on scenes: differs" in other
    table = place.client.get("/suites/scenes").text
    assert table.count("run again ✓") == 1 and table.count("differs when run again") == 1
    rows = {r["hash"]: r["rerun"] for r in place.client.get("/api/tables/scenes").json()["models"]}
    assert rows == {honest: "verified", liar: "differs"}
    log = [r for r in place.store.audit() if r["action"] == "rerun"]
    assert [(r["subject"], r["detail"].split(": ")[1]) for r in log] == [
        (liar, "differs"),
        (honest, "verified"),
    ]
    assert not list((place.folder / "board").glob("tmp-*"))

    place.client.delete(f"/api/submissions/{honest}", headers=place.bearer())
    assert told(place, honest) == [] and "Run again" not in place.client.get(f"/models/{honest}").text
    with pytest.raises(InputError, match="no scored submission"):
        main(["admin", "rerun", honest, *words])


@pytest.mark.parametrize(
    "model",
    [
        "hf:/etc/passwd",
        "hf:owner/name",
        "hf:owner/name@main",
        f"hf:../name@{COMMIT}",
        f"hf:owner/name@{COMMIT}/../x",
        f"openai:name@{COMMIT}",
        "baseline:text=/etc",
        "baseline:",
        f"hf:owner/name@{COMMIT.upper()}",
        f"hf:o w/name@{COMMIT}",
        "vllm:--help",
        f"hf:-x/name@{COMMIT}",
        f"hf:owner/name@{COMMIT}\n",
        f"hf:оwner/name@{COMMIT}",
    ],
)
def test_cards_name_a_model_that_is_the_same_for_everybody_or_none(model):
    assert not is_runnable(model)
    with pytest.raises(InputError, match=r"model|control"):
        read_card(json.dumps(CARD | {"model": model}))
    for good in (f"hf:owner/na.me-1@{COMMIT}", f"vllm:o/n@{COMMIT}", "baseline:oracle"):
        assert read_card(json.dumps(CARD | {"model": good})).model == good


@pytest.mark.slow
def test_what_cannot_be_run_again_is_one_line(tmp_path, baseline_runs, monkeypatch):
    place = Place(tmp_path, baseline_runs, daily=50)
    words = ["--config", str(place.config)]
    plain = place.scored("random", name="plain")
    waits = place.send(place.packed("prior", name="waits", model="baseline:prior")).json()["hash"]
    cases = {
        plain: "names no model that can be run",
        waits: "no scored submission",
        "0" * 64: "no scored submission",
        "x": "no scored submission",
    }
    for name, said in cases.items():
        with pytest.raises(InputError, match=said) as caught:
            main(["admin", "rerun", name, *words])
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="name the submission's hash"):
        main(["admin", "rerun", *words])
    place.score()
    for model, said in (
        (f"hf:owner/name@{COMMIT}", "no such folder, nor "),
        ("baseline:nosuch", "unknown"),
    ):
        name = place.scored("random", name=model, model=model)
        with pytest.raises(InputError, match=said) as caught:
            main(["admin", "rerun", name, *words])
        assert "\n" not in str(caught.value) and told(place, name) == []
    place.board.rerun.seconds = 0.01
    with pytest.raises(InputError, match=r"longer than 0\.01 s"):
        rerunning.rerun(place.board, place.store, waits)
    place.board.rerun.seconds, place.board.rerun.gigabytes = 60, 0.05
    with pytest.raises(InputError, match="admin rerun: baseline:prior"):
        rerunning.rerun(place.board, place.store, waits)
    monkeypatch.setattr(type(place.board), "version", lambda *_: "another")
    with pytest.raises(InputError, match="current version"):
        rerunning.rerun(place.board, place.store, waits)
    assert not [row for row in place.store.audit() if row["action"] == "rerun"]
    place.store.engine.dispose()


def test_a_private_split_is_not_asked_again(tmp_path, baseline_runs):
    place = Place(tmp_path, baseline_runs)
    name = place.scored("prior", model="baseline:prior")
    place.board.suites["scenes"].split = "private"
    with pytest.raises(InputError, match="no result on public labels"):
        rerunning.rerun(place.board, place.store, name)
    assert place.store.reruns(name) == []
    place.store.engine.dispose()


def test_a_score_within_the_interval_is_enough_and_a_missing_one_is_not(baseline_runs):
    run = baseline_runs / "random"
    metrics = {"mcq.accuracy": {"value": 0.9, "low": 0.0, "high": 1.0, "n": 9}}
    verified, detail = rerunning.compared(run, run, metrics)
    assert verified and detail["answers"]["same"] == len(read_lines(run / "samples.jsonl"))
    metrics["mcq.accuracy"] |= {"low": 0.89, "high": 0.91}
    assert not rerunning.compared(run, run, metrics)[0]
    metrics["mcq.accuracy"] |= {"low": None, "high": None}
    assert not rerunning.compared(run, run, metrics)[0], "without an interval it has to be the same"
    lacking = {"value": 0.9, "low": 0.0, "high": 1.0, "n": 9}
    name = next(name for name in PRIMARIES if name.startswith("heatmap."))
    assert not rerunning.compared(run, run, {name: lacking})[0]
    assert not rerunning.compared(run, run, {})[0], "nothing was borne out"
    assert Card.__dataclass_fields__["model"].default == ""
