"""What a cluster is, and how an interval is made."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from bench import suite
from bench.compare import compare
from bench.intervals import odds_metrics
from bench.metrics.paired import cluster_draws
from bench.metrics.stats import interval_of, mean_interval
from bench.models.baseline import Baseline
from bench.run import run


@pytest.fixture
def plan(scenes):
    knobs = ["--data", str(scenes), "--tasks", "[mcq, judgement, dialogue]", "--resamples", "200"]
    return suite.read(str(ROOT / "configs/bench/scenes.yaml"), knobs)


class Knows(Baseline):
    """Gives odds by the item's name, and counts what it is asked; dies after `left` batches."""

    def __init__(self, left=-1):
        super().__init__("oracle")
        self.left, self.asked = left, []

    def odds(self, requests, opening, choices):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.asked += [request.item.id for request in requests]
        return [
            [-float(hash_of(r.item.id + c) % 97) for c in options]
            for r, options in zip(requests, choices, strict=True)
        ]


def hash_of(text):
    return sum(n * ord(c) for n, c in enumerate(text, 1))


def test_a_resample_draws_the_same_however_it_is_cut_into_blocks():
    one = np.concatenate(list(cluster_draws(40_000, 5, 7)))
    rng = np.random.default_rng([7, 40_000, 0])
    assert np.array_equal(one, [rng.integers(0, 40_000, 40_000) for _ in range(5)])


def lines(videos, times):
    rng = np.random.default_rng(0)
    found = []
    for video in range(videos):
        right = float(video % 2)
        score = float(rng.normal(right))
        found += [
            {
                "id": f"{video}#{n}",
                "task": "judgement",
                "sample": f"v{video:03d}",
                "right": right,
                "score": score,
            }
            for n in range(times)
        ]
    return found


def test_ten_equal_questions_a_video_say_no_more_than_one(plan):
    """Whole videos are left out: repeating a question must not narrow the interval of an area."""
    one, ten = odds_metrics(lines(40, 1), plan), odds_metrics(lines(40, 10), plan)
    for name, interval in one.items():
        assert (ten[name].low, ten[name].high) == pytest.approx((interval.low, interval.high))
        assert ten[name].value == pytest.approx(interval.value) and ten[name].n == 400
    alone = odds_metrics([{**line, "sample": "one"} for line in lines(40, 1)], plan)["judgement.roc_auc"]
    assert alone.value == one["judgement.roc_auc"].value and alone.low is alone.high is None
    assert alone.withheld == "fewer than 4 videos"


def test_an_area_with_one_judgement_a_video_leaves_out_a_line_each(plan):
    found, given = odds_metrics(lines(40, 1), plan)["judgement.roc_auc"], lines(40, 1)
    truth, scores = (np.array([line[key] for line in given]) for key in ("right", "score"))
    from bench.metrics.frame import roc_auc

    without = np.array([roc_auc(np.delete(truth, n), np.delete(scores, n)) for n in range(40)])
    wanted = interval_of(roc_auc(truth, scores), without, 40, units=20)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))


def test_odds_go_on_after_a_cut_line_and_after_another(plan, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.asking.BATCH", 8)
    plan = replace(plan, odds=True)
    run(Knows(), "m", plan, tmp_path / "whole")
    asked = []
    for left in (1, 2, -1):  # killed twice, the second time after it went on from a cut line
        model = Knows(left)
        if left >= 0:
            with pytest.raises(KeyboardInterrupt):
                run(model, "m", plan, tmp_path / "part")
            with (tmp_path / "part/odds.jsonl").open("a") as out:
                out.write('{"id": "cut by a ki')
        else:
            run(model, "m", plan, tmp_path / "part")
        asked += model.asked
    assert len(asked) == len(set(asked))
    for name in ("odds.jsonl", "metrics.json", "samples.jsonl"):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_comparison_has_the_metrics_of_its_runs_and_no_others(plan, tmp_path):
    for name in ("oracle", "random"):
        run(Baseline(name), "m", plan, tmp_path / name)
    compared = {d.metric for d in compare(tmp_path / "oracle", tmp_path / "random")}
    metrics = set(json.loads((tmp_path / "oracle/metrics.json").read_text()))
    assert "mcq.well_formed" in compared and "dialogue.well_formed" not in compared
    # What only a whole set has, or needs the questions, is not compared item by item.
    whole = {"balanced_accuracy", "f1", "above_blind"}
    kept = {name for name in metrics if name.partition(".")[2] not in whole}
    assert compared == {name for name in kept if not name.endswith("_corpus")}


def test_attempts_of_a_question_are_one_cluster_with_the_rest_of_its_video(plan, tmp_path):
    """Answers drawn five times widen no evidence: the interval is that of the videos' means."""
    found = run(Baseline("prior"), "m", replace(plan, decode=suite.Decode(n=5, temperature=1.0)), tmp_path)[
        "judgement.accuracy"
    ]
    kept = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    rows = {line["sample"]: line["scores"]["accuracy"] for line in kept if line["task"] == "judgement"}
    once = mean_interval(np.array(list(rows.values())), np.arange(len(rows)))
    assert (found.low, found.high) == pytest.approx((once.low, once.high)) and found.n == 5 * once.n
