"""What the studies say about a run."""

import json
import shutil
from dataclasses import replace

import pytest
from conftest import ROOT, SHIPPED
from grpo_runs import run_of

from bench.metrics.stats import Interval
from bench.suite import Item
from rft.curriculum.config import Curriculum
from rft.studies import ablation, vanguard
from rft.studies.common import interval
from rft.studies.gain import reward_difference
from tvad.common import config
from tvad.common.errors import InputError
from tvad.data import load
from tvad.model.start import load as load_model


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
    found = reward_difference(before, after, items, run)
    kinds = [i.question.kind for i in items if i.question.kind != "judgement"]
    assert len(set(kinds)) == 2 and found.before == 0.0
    assert found.after == pytest.approx(sum(3.0 if kind == "mcq" else 1.0 for kind in kinds) / len(kinds))


def test_an_interval_that_cannot_be_had_is_shown_as_missing():
    assert interval(Interval(0.1, None, None, 1)) == "--"
    assert interval(Interval(0.1, -0.1, 0.3, 9)) == "[-0.100, +0.300]"


def seven_billion(out):
    file = ROOT / "configs/stage/tvad-7b-ablation.yaml"
    return replace(config.build(ablation.Ablation, config.read_yaml(file), file), out=str(out))


def test_every_variant_of_the_7b_ablation_starts_from_the_published_backbone(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(ablation, "trained", lambda name, plan: trained.append(plan))
    monkeypatch.setattr(ablation, "in_process", lambda *asked: None)
    monkeypatch.setattr(ablation, "write_table", lambda plan: None)
    ablation.run(seven_billion(tmp_path))
    assert [plan.start for plan in trained] == ["models/Qwen2.5-VL-7B-Instruct"] * 4
    assert [{"use_ahd": p.use_ahd, "use_rae": p.use_rae} for p in trained] == [*ablation.VARIANTS.values()]


def test_the_ablations_table_counts_a_variants_parameters(tmp_path):
    plan = seven_billion(tmp_path)
    shutil.copytree(SHIPPED, ablation.folder_of(tmp_path, "T-VAD", 0) / "model")
    parameters = load_model(str(SHIPPED))[0].parameters()
    assert ablation.parameters_of(plan, "T-VAD") == sum(p.numel() for p in parameters)


def test_a_study_of_vanguard_trains_on_the_data_that_it_names():
    plan = config.read(vanguard.Study, "vanguard/zero_shot", [])
    for variant in plan.variants:
        found = vanguard.curriculum_of(plan, variant, 2)
        assert {s.data.train for s in found.stages} == {plan.train}
        assert {s.data.validation for s in found.stages} == {plan.validation}
        assert found.seed == 2 and found.out == f"{plan.out}/{variant}-2"
        own = vanguard.curriculum_of(replace(plan, train=None), variant, 2)
        assert own.stages == config.read(Curriculum, plan.variants[variant], []).stages
        assert {s.data.train for s in own.stages} == {"data/closed/train"}
        assert [s.data.pooled for s in own.stages] == [s.data.pooled for s in found.stages]


def test_a_study_chooses_no_threshold_on_the_videos_that_it_tests(tmp_path, monkeypatch):
    """As `bench threshold` does not: that F1 would be the best one of the test."""
    monkeypatch.setattr(vanguard, "trained", None)
    plan = config.read(vanguard.Study, "vanguard/study", ["--out", str(tmp_path / "out")])
    with pytest.raises(InputError, match=r"tests\.again: data/closed/../closed/val is `validation`"):
        vanguard.run(replace(plan, tests=plan.tests | {"again": "data/closed/../closed/val"}))
    for name in ("tested", "copied"):
        (tmp_path / name).mkdir()
        record = {"model": "hf:m", "suite": {"rate": 2.0}, "suite_hash": name}
        (tmp_path / name / "run.json").write_text(json.dumps(record))
        row = {"id": "a", "file": f"{name}/a.mp4", "digest": "x"}
        (tmp_path / name / "inputs.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match="has the run's own videos"):
        vanguard._measured(tmp_path / "tested", tmp_path / "copied")
