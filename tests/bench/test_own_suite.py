"""A suite that names no tasks asks what the data can answer, and says so."""

import json
from dataclasses import replace

import pytest

from bench import suite
from bench.__main__ import main
from bench.audit import audit
from bench.models.baseline import Baseline
from bench.run import run
from bench.score import score
from leaderboard.board.private import labelled
from tvad.common.cli import guard
from tvad.common.errors import InputError
from tvad.data import load, save


def own(data, *more):
    return suite.read("own", ["--data", str(data), "--resamples", "100", *more])


def test_it_asks_what_the_data_holds_and_no_more(scenes, tmp_path):
    plan = own(scenes)
    samples, items = suite.load(plan)
    assert plan.tasks is None
    assert suite.tasks_of(plan, samples) == [
        *("mcq", "judgement", "classification", "temporal", "spatial", "rationale", "dialogue", "heatmap")
    ]
    assert {item.task for item in items} == set(suite.tasks_of(plan, samples)) - {"heatmap"}
    bare = [replace(s, questions=(), dialogue=None, mask=None, spans=None, tracks=None) for s in load(scenes)]
    asked = [replace(s, questions=t.questions[:1], root="") for s, t in zip(bare, load(scenes), strict=True)]
    save(asked, tmp_path)
    kinds = {s.questions[0].kind for s in asked}
    found = suite.tasks_of(own(tmp_path), suite.load(own(tmp_path))[0])
    assert {task for task in found if task != "rationale"} == kinds
    save([replace(s, root="") for s in bare], tmp_path)
    with pytest.raises(InputError, match="no reference that a task could ask for"):
        suite.load(own(tmp_path))


def test_naming_tasks_is_as_before_and_any_suite_may_leave_them_out(scenes, tmp_path):
    named = suite.read("scenes", ["--data", str(scenes)])
    assert named.tasks and suite.tasks_of(named, []) == named.tasks
    for nothing in ("null", "[]"):
        left = suite.read("scenes", ["--data", str(scenes), "--tasks", nothing])
        assert "dialogue" in suite.tasks_of(left, suite.load(left)[0])
    with pytest.raises(InputError, match="no question of kind 'dialogue'"):
        save([replace(s, dialogue=None, root="") for s in load(scenes)], tmp_path)
        suite.load(own(tmp_path, "--tasks", "[dialogue]"))
    assert set(labelled(own(scenes), scenes).tasks) >= {"mcq", "judgement", "heatmap"}


class Blind(Baseline):
    """Counts which clips it is shown for heatmaps, of which it has none."""

    shown = 0

    def heatmaps(self, frames):
        self.shown += len(frames)


def test_what_was_asked_is_in_the_record_and_the_run_goes_on(scenes, tmp_path):
    plan, model = own(scenes, "--max_videos", "4"), Blind("oracle")
    metrics = run(model, "baseline:oracle", plan, tmp_path / "run")
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["tasks_from"] == "data" and "dialogue" in record["suite"]["tasks"]
    assert metrics["mcq.accuracy"].value == metrics["temporal.miou"].value == 1.0
    assert model.shown == 0  # no clip is decoded for maps that a model has not
    assert run(model, "baseline:oracle", plan, tmp_path / "run") == metrics
    named = replace(plan, tasks=record["suite"]["tasks"])
    run(model, "baseline:oracle", named, tmp_path / "named")
    other = json.loads((tmp_path / "named/run.json").read_text())
    assert other["tasks_from"] == "suite" and other["suite_hash"] == record["suite_hash"]


def test_answers_made_elsewhere_and_the_audit(scenes, tmp_path):
    plan = own(scenes)
    _, items = suite.load(plan)
    lines = [{"id": i.id, "task": i.task, "response": i.question.solution()} for i in items]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    metrics, rejected = score(tmp_path / "answers.jsonl", plan, tmp_path / "scored")
    assert not rejected and metrics["mcq.accuracy"].value == 1.0
    assert json.loads((tmp_path / "scored/run.json").read_text())["tasks_from"] == "data"
    assert audit(str(scenes)).questions == sum(item.task == "mcq" for item in items)


def test_the_first_line_says_it_and_the_report_is_there(scenes, tmp_path, capsys):
    command = [
        "run",
        "--model",
        "baseline:random",
        "--suite",
        "own",
        "--data",
        str(scenes),
        "--max-videos",
        "3",
    ]
    assert guard(main, [*command, "--out", str(tmp_path / "run")]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("suite own asks what") and "mcq, judgement" in first and "mcq_circular" in first
    assert last == str(tmp_path / "run/report.html") and (tmp_path / "run/report.html").is_file()
    named = [*command, "--tasks", "[mcq]", "--out", str(tmp_path / "mcq")]
    assert guard(main, named) == 0 and "asks what" not in capsys.readouterr().out
