"""What the studies say about a run."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from conftest import SHIPPED
from grpo_runs import run_of

from bench.metrics.stats import Interval
from bench.suite import Item
from rft.studies.common import interval
from rft.studies.demo import reward_difference
from tvad.data import load

SUITE = SimpleNamespace(resamples=20, seed=0)


def run_folder(path, items, right):
    """A benchmark run whose answers are the references for items of the tasks `right`, else nothing."""
    path.mkdir()
    lines = [
        {"id": i.id, "response": i.question.solution() if i.question.kind in right else ""} for i in items
    ]
    (path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_demo_pays_what_the_run_pays(scenes, tmp_path):
    """A task's own rewards and weights count, a reward that needs the engine is left out, and what no reward
    applies to has no place in the mean."""
    items = [
        Item(f"{s.id}-{n}", q.kind, s, q)
        for s in load(scenes)
        for n, q in enumerate(s.questions)
        if q.kind in ("mcq", "spatial", "judgement")
    ]
    own = {"mcq": {"share": 1, "rewards": {"answer": 3.0}}, "spatial": 1}
    run = replace(run_of(scenes, SHIPPED, tmp_path), rewards={"box": 1.0, "evidence": 5.0}, tasks=own)
    before = run_folder(tmp_path / "before", items, ())
    after = run_folder(tmp_path / "after", items, ("mcq", "spatial"))
    found = reward_difference(before, after, items, run, SUITE)
    kinds = [i.question.kind for i in items if i.question.kind != "judgement"]
    assert len(set(kinds)) == 2 and found.before == 0.0
    assert found.after == pytest.approx(sum(3.0 if kind == "mcq" else 1.0 for kind in kinds) / len(kinds))


def test_an_interval_that_cannot_be_had_is_shown_as_missing():
    assert interval(Interval(0.1, None, None, 1)) == "--"
    assert interval(Interval(0.1, -0.1, 0.3, 9)) == "[-0.100, +0.300]"
