import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from bench import models, suite
from bench.compare import compare
from bench.models.base import Completion
from bench.models.baseline import Baseline
from bench.report import write_report
from bench.run import run
from bench.score import score
from tvad.errors import InputError


@pytest.fixture
def plan(scenes):
    path = str(ROOT / "configs/bench/scenes.yaml")
    found = suite.read(path, ["--data", str(scenes), "--resamples", "200"])
    return replace(found, tasks=[t for t in found.tasks if t != "heatmap"])


def test_the_oracle_is_perfect_and_guessing_is_not(plan, tmp_path):
    best = run(Baseline("oracle"), "baseline:oracle", plan, tmp_path / "oracle")
    for name in ("mcq.accuracy", "judgement.accuracy", "temporal.miou", "spatial.miou", "classification.accuracy", "mcq.well_formed"):
        assert best[name].value == 1.0
    assert best["temporal.false_alarm"].value == 0.0
    for which in ("random", "prior", "longest"):
        guess = run(Baseline(which), f"baseline:{which}", plan, tmp_path / which)
        assert guess["mcq.accuracy"].value < 0.8


def test_a_run_leaves_its_files_and_compares_with_another(plan, tmp_path):
    run(Baseline("random"), "baseline:random", plan, tmp_path / "a")
    run(Baseline("oracle"), "baseline:oracle", plan, tmp_path / "b")
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert {"model", "suite", "suite_hash", "versions", "seed", "command"} <= set(record)
    lines = [json.loads(line) for line in (tmp_path / "a" / "samples.jsonl").read_text().splitlines()]
    assert {"id", "task", "prompt_hash", "response", "parsed", "defects", "scores"} <= set(lines[0])
    verdicts = {d.metric: d.verdict for d in compare(tmp_path / "a", tmp_path / "b")}
    assert verdicts["mcq.accuracy"] == "better" and verdicts["temporal.miou"] == "better"
    assert {d.verdict for d in compare(tmp_path / "b", tmp_path / "a")} & {"worse"}


def test_a_lower_false_alarm_rate_is_better(plan, tmp_path):
    run(Baseline("prior"), "baseline:prior", plan, tmp_path / "a")
    run(Baseline("oracle"), "baseline:oracle", plan, tmp_path / "b")
    found = {d.metric: d for d in compare(tmp_path / "a", tmp_path / "b")}["temporal.false_alarm"]
    assert found.change.value < 0 and found.verdict == "better"


class Dying(Baseline):
    """Answers `left` batches, then dies like a killed process."""

    def __init__(self, left):
        super().__init__("random")
        self.left, self.asked = left, []

    def sample(self, requests, sampling):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.asked += [r.item.id for r in requests]
        return super().sample(requests, sampling)


def test_a_killed_run_asks_nothing_twice_and_ends_with_the_same_metrics(plan, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.run.BATCH", 8)
    run(Baseline("random"), "m", plan, tmp_path / "whole")
    first = Dying(3)
    with pytest.raises(KeyboardInterrupt):
        run(first, "m", plan, tmp_path / "part")
    with (tmp_path / "part" / "samples.jsonl").open("a") as out:
        out.write('{"id": "cut by a ki')
    second = Dying(-1)
    run(second, "m", plan, tmp_path / "part")
    assert not set(first.asked) & set(second.asked)
    assert (tmp_path / "whole" / "metrics.json").read_bytes() == (tmp_path / "part" / "metrics.json").read_bytes()


def test_another_model_may_not_go_on_in_the_same_folder(plan, tmp_path):
    run(Baseline("random"), "a", plan, tmp_path)
    with pytest.raises(InputError, match=r"run\.json"):
        run(Baseline("random"), "b", plan, tmp_path)


def test_different_suites_are_not_compared(plan, tmp_path):
    run(Baseline("random"), "m", plan, tmp_path / "a")
    run(Baseline("random"), "m", replace(plan, max_videos=8), tmp_path / "b")
    with pytest.raises(InputError, match="cannot be compared"):
        compare(tmp_path / "a", tmp_path / "b")


def test_hostile_answers_are_scored_as_wrong(plan, tmp_path):
    class Hostile(Baseline):
        def sample(self, requests, sampling):
            texts = ["", "<answer>" * 1000, "\ud800 NaN", "<glue>[nan, inf]</glue>", "<script>alert(1)</script>", "x" * 100_000]
            return [[Completion(texts[i % len(texts)])] for i in range(len(requests))]

    found = run(Hostile("random"), "hostile", plan, tmp_path)
    assert found["spatial.miou"].value == 0.0
    page = write_report(tmp_path).read_text(encoding="utf-8", errors="surrogatepass")
    assert "<script>alert" not in page


def test_heatmaps_are_scored_with_intervals(scenes, tmp_path, checkpoint):
    path = str(ROOT / "configs/bench/scenes.yaml")
    plan = suite.read(path, ["--data", str(scenes), "--tasks", "[heatmap]", "--resamples", "20"])
    found = run(models.load(f"hf:{checkpoint}"), "m", plan, tmp_path)
    assert {f"heatmap.{n}" for n in ("micro_auc", "macro_auc", "pixel_auc", "rbdc", "tbdc")} == set(found)
    assert 0 <= found["heatmap.pixel_auc"].value <= 1
    assert np.load(tmp_path / "heatmaps.npz")[found and "test_00000"].ndim == 3


def test_engines_give_the_same_metrics_at_temperature_zero(scenes, tmp_path, checkpoint, engine):
    path = str(ROOT / "configs/bench/scenes.yaml")
    plan = suite.read(path, ["--data", str(scenes), "--max_videos", "4", "--decode.max_tokens", "12"])
    ours = run(engine, "m", plan, tmp_path / "vllm")
    theirs = run(models.load(f"hf:{checkpoint}"), "m", plan, tmp_path / "hf")
    for name, value in theirs.items():
        assert ours[name].value == pytest.approx(value.value, abs=1e-4), name
    responses = [[json.loads(line)["response"] for line in (tmp_path / k / "samples.jsonl").read_text().splitlines()] for k in ("vllm", "hf")]
    assert responses[0] == responses[1]


def predictions(tmp_path, rows):
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_predictions_are_scored_and_missing_ones_count_as_wrong(plan, tmp_path):
    _, items = suite.load(plan)
    rows = [{"id": i.id, "task": i.task, "response": i.question.solution()} for i in items]
    full = score(predictions(tmp_path, rows), plan, tmp_path / "full")
    assert full["mcq.accuracy"].value == 1.0 and full["mcq.missing"].value == 0.0
    half = score(predictions(tmp_path, rows[::2]), plan, tmp_path / "half")
    assert half["mcq.missing"].value > 0.2 and half["mcq.accuracy"].value < 1.0


@pytest.mark.parametrize(
    ("row", "message"),
    [({"id": "nobody", "task": "mcq", "response": "A"}, "no question of this suite"), ({"id": "x", "task": "mcq"}, "'response' must be text"),
     ([1], "expected an object")],
)  # fmt: skip
def test_bad_predictions_are_named_by_line(plan, tmp_path, row, message):
    with pytest.raises(InputError, match=f"answers.jsonl:1: .*{message}"):
        score(predictions(tmp_path, [row]), plan, tmp_path / "out")


def test_the_report_stands_alone(plan, tmp_path):
    run(Baseline("random"), "m", plan, tmp_path / "a")
    run(Baseline("oracle"), "m", plan, tmp_path / "b")
    page = write_report(tmp_path / "b", tmp_path / "a").read_text()
    assert "src='data:image/jpeg;base64," in page and "http" not in page.replace("http-equiv", "")
    assert "better" in page and "<svg" in page
