"""The reference answers earn the most of every metric: 1, or the ceiling that stands beside it; an answer
without looking earns chance."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT, shared

from bench import suite
from bench.metrics.detection import rbdc_tbdc
from bench.metrics.objects import heads, share_named
from bench.models.base import Completion
from bench.models.baseline import Baseline
from bench.report import write_report
from bench.run import run
from bench.score import score
from bench.tasks import TASKS, lower_is_better, rationale
from tvad.answer import Answer, Box
from tvad.data import Question, Sample, load, masks, save
from tvad.data.sample import DIALOGUE_TURN
from tvad.data.vau_bench import read_csv


class Says(Baseline):
    def __init__(self, text):
        self.text = text

    def sample(self, requests, sampling):
        return [[Completion(self.text)] for _ in requests]


def plan_of(data, tasks):
    given = ["--data", str(data), "--tasks", f"[{', '.join(tasks)}]", "--resamples", "20"]
    return replace(suite.read(str(ROOT / "configs/bench/scenes.yaml"), given), topics=None)


def assert_most(found):
    """Every metric of a run of the references is the best that there is. (How it is written is no truth: a
    reference without a rationale is not well formed.)"""
    for name, metric in found.items():
        if name.endswith(("above_blind", "well_formed")):
            continue
        if metric.value is None:
            assert metric.note.startswith("cannot be had"), name
            continue
        if lower_is_better(name):
            assert metric.value == 0.0, name
        else:
            assert metric.value == pytest.approx(1.0 if metric.ceiling is None else metric.ceiling), name
            assert metric.ceiling is None or metric.ceiling < 1


def test_the_references_earn_the_most_of_every_task(scenes, tmp_path):
    found = run(Baseline("oracle"), "oracle", plan_of(scenes, TASKS), tmp_path)
    assert_most(found)
    assert {name.partition(".")[0] for name in found} == set(TASKS)


def test_a_ceiling_stands_beside_what_cannot_reach_1(scenes, tmp_path):
    """A rationale of two words that names neither its key object nor its own option alone. Times off the
    hundredth and boxes off the thousandth count as they are written, a reply of one word by that word: of
    them a reference has all."""
    video = load(scenes)[0].video
    asked = (
        Question("temporal", "When?", "Anomaly", spans=((1 / 3, 2 / 3),)),
        Question("spatial", "Where?", "man", boxes=(Box((100.4, 100.4, 110.4, 110.4)),)),
        Question("mcq", "What?", "B", ("smoke", "running"), "event", "Dense smoke."),
    )
    told = Sample(
        "x",
        "s",
        "test",
        video,
        "anomalous",
        spans=((1 / 3, 2 / 3),),
        questions=asked,
        key_object="burning car, fence",
        dialogue=(("What is the target?", "Smoke"),),
    )
    save([told], tmp_path / "data")
    (tmp_path / "data/videos").mkdir()
    (tmp_path / "data" / video.path).write_bytes((scenes / video.path).read_bytes())
    plan = plan_of(tmp_path / "data", ["temporal", "spatial", "rationale", DIALOGUE_TURN])
    found = run(Baseline("oracle"), "oracle", plan, tmp_path / "run")
    assert_most(found)
    assert found["dialogue.yes_no"].note == "cannot be had: no question's reference has it"
    short = {name for name, metric in found.items() if metric.ceiling is not None}
    assert short == {"rationale.names_object", "rationale.consistent"}
    assert found["temporal.miou"].oracle == found["spatial.miou"].oracle == 1.0
    kept = json.loads((tmp_path / "run/metrics.json").read_text())
    assert kept["rationale.names_object"]["ceiling"] == 0.0 and "ceiling" not in kept["rationale.rouge_l"]
    assert kept["rationale.rouge_l"]["oracle"] == pytest.approx(1.0)
    assert "ceiling" in write_report(tmp_path / "run").read_text()


def test_maps_that_are_the_masks_earn_the_most(scenes, tmp_path):
    rows = []
    for sample in load(scenes):
        lit = masks.read(sample.path(sample.mask))
        np.savez_compressed(tmp_path / f"{sample.id}.npz", heatmap=lit.astype(np.float16))
        rows.append({"id": sample.id, "task": "heatmap", "heatmap": f"{sample.id}.npz"})
    path = tmp_path / "maps.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, rejected = score(path, plan_of(scenes, ["heatmap"]), tmp_path / "run")
    assert not rejected
    for name, metric in found.items():
        if metric.value is None:  # a class whose videos are anomalous throughout
            assert name.startswith("heatmap.ano_auc:") and "no frame is normal" in metric.note
        elif not name.endswith(("rbdc", "tbdc", "missing")):  # a mask's component may be no whole region
            assert metric.value == 1.0, name
    box = np.array([[0, 0, f, 10, 10, 19, 19] for f in range(5)], float)
    as_found = np.column_stack([box[:, [0, 2]], box[:, 3:], np.ones(5)])
    assert rbdc_tbdc(box, as_found, 40) == {"rbdc": 1.0, "tbdc": 1.0}


def test_an_answer_without_looking_earns_chance(scenes, tmp_path):
    plan = plan_of(scenes, ["mcq_circular", "judgement"])
    letter = run(Says("<think>t</think><answer>A</answer>"), "a", plan, tmp_path / "a")
    assert letter["mcq_circular.accuracy"].value == pytest.approx(0.25)
    assert letter["mcq_circular.circular_accuracy"].value == 0.0
    for word in ("Yes", "No"):
        said = run(Says(f"<think>t</think><answer>{word}</answer>"), word, plan, tmp_path / word)
        assert said["judgement.balanced_accuracy"].value == 0.5
    flat, lit, frames = [], 0, 0
    for sample in load(scenes):
        flat.append({"id": sample.id, "task": "heatmap", "frame_scores": [0.3] * sample.video.frames})
        lit += int(masks.read(sample.path(sample.mask)).any((1, 2)).sum())
        frames += sample.video.frames
    path = tmp_path / "flat.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in flat))
    found, _ = score(path, plan_of(scenes, ["heatmap"]), tmp_path / "flat")
    assert found["heatmap.micro_auc"].value == 0.5 and found["heatmap.ano_auc"].value == 0.5
    assert found["heatmap.micro_ap"].value == pytest.approx(lit / frames)


@pytest.mark.parametrize(
    ("text", "phrase", "share"),
    [
        ("A man in a blue shirt is pushed; a bystander walks away.", "man in blue shirt, bystander", 1.0),
        ("A man falls suddenly near the gate.", "The man's sudden fall", 1.0),
        ("Two police officers run in.", "police officers", 1.0),
        ("A man draws a knife.", "knife", 1.0),
        ("A man runs.", "man in blue shirt, bystander", 0.5),
        ("A woman runs.", "The man's sudden fall", 0.0),
        ("Cars collide.", "a car and a bicycle", 0.5),
        ("An officer with a weapon-like object", "weapons", 1.0),
        ("He paces back and forth, a young man.", "Man pacing back and forth", 1.0),
        ("The building burns.", "brick building", 1.0),
        ("一名男子手持刀具", "刀", 1.0),
        ("一名男子", "刀", 0.0),
        ("", "knife", 0.0),
        ("Anything", " - ", None),
    ],
)
def test_the_parts_of_a_key_object_are_looked_for_one_by_one(text, phrase, share):
    assert share_named(text, phrase) == share


def test_a_key_object_is_read_in_linear_time():
    assert len(heads("man in " * 100_000)) == 1
    assert share_named("in " * 200_000, "a, " * 100_000) is None


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("test_msad.csv", 0.371, 0.98), ("test_ucf_crime.csv", 0.614, 0.947), ("val.csv", 0.591, 0.944)],
)
def test_vau_benchs_own_rationales_name_their_key_objects(name, before, after):
    """before: the whole cell looked for as one string. Of another video's rationale they find a fifth."""
    samples, _ = read_csv(shared(f"data/vau_bench/{name}"))
    told = [s for s in samples if s.key_object and s.rationale]
    cells = [re.compile(rf"(?<!\w){re.escape(s.key_object.lower())}s?(?!\w)") for s in told]
    whole = [cell.search(s.rationale.lower()) is not None for cell, s in zip(cells, told, strict=True)]
    question = Question("judgement", "?", "Yes")
    parts = [
        rationale.score(Answer(s.rationale, "Yes"), replace(question, rationale=s.rationale), s)[
            "names_object"
        ]
        for s in told[:200]
    ]
    assert np.mean(whole) == pytest.approx(before, abs=5e-4)
    shares = [share_named(s.rationale, s.key_object) for s in told]
    assert np.mean(shares) == pytest.approx(after, abs=5e-4) and parts == shares[:200]
    order = np.random.default_rng(0).permutation(len(told))
    others = [share_named(told[n].rationale, s.key_object) for n, s in zip(order, told, strict=True)]
    assert np.mean(others) < 0.25
    assert rationale.score(Answer("", "Yes"), question, told[0])["names_object"] == 0.0
