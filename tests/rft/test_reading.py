"""The key `reading` of a reinforcement run: what it says to the rewards, a suite's says to the metrics."""

from dataclasses import replace

import pytest
from conftest import SHIPPED
from datasets import Dataset
from grpo_runs import run_of

from bench.answers import score_item
from bench.suite import Item, Suite, reader_of
from rft.grpo import mixture
from rft.grpo.config import GrpoRun, check, settings_of
from rft.grpo.record import _comparable
from rft.grpo.train import prompts_of
from rft.rewards import REWARDS
from tvad.answer import Box
from tvad.common import config
from tvad.common.errors import InputError
from tvad.data.sample import Question, Sample, Video

OPTIONS = ("A man steals a bicycle", "A man falls down", "A car hits a pedestrian", "Two people fight")
QUESTIONS = (
    Question("mcq", "What happens?", "B", OPTIONS, topic="event"),
    Question("spatial", "Where?", "man", boxes=(Box((100.0, 200.0, 300.0, 400.0)),)),
    Question("classification", "Which class?", "RoadAccidents"),
)
SAMPLE = Sample(
    "v", "made", "train", Video("v.mp4", 10.0, 100, 640, 360), "anomalous", questions=QUESTIONS, root="/data"
)
OTHER = replace(SAMPLE, id="w", video=Video("w.mp4", 10.0, 100, 1280, 720))


def both(told: dict, kind: str, text: str, tmp_path, scenes, sample=SAMPLE) -> tuple[float, float]:
    """(what a run with this `reading` pays for an answer, what a suite with it counts)."""
    run = run_of(scenes, SHIPPED, tmp_path, per_device_train_batch_size=4)
    run = replace(
        run,
        reading=config.build(GrpoRun, {"out": "o", "model": str(SHIPPED), "data": "d", "tasks": {kind: 1}}
                             | {"reading": told}, "run").reading,
        rewards={"box" if kind == "spatial" else "answer": 1.0},
    )  # fmt: skip
    check(run)
    rows = prompts_of(run, [SAMPLE, OTHER], mixture.tasks_of({kind: 1}), settings_of(run, [1.0]))
    kept = [row for row in Dataset.from_list(rows) if row["sample_id"] == sample.id]
    columns = {key: [value] for key, value in kept[0].items() if key != "prompt"}
    paid = REWARDS["box" if kind == "spatial" else "answer"]([text], **columns)[0]
    suite = config.build(Suite, {"name": "s", "data": "d", "tasks": [kind], "reading": told}, "suite")
    question = next(q for q in sample.questions if q.kind == kind)
    item = Item("v#0", kind, sample, question, reading=reader_of(suite, [SAMPLE, OTHER])(sample))
    return paid, score_item(item, text)["scores"]["miou" if kind == "spatial" else "accuracy"]


CRASH = {"classes": {"RoadAccidents": ["pile-up"], "Fire": []}}


@pytest.mark.parametrize(
    ("told", "kind", "text", "paid", "without"),
    [
        ({"reasoning": [["<musing>", "</musing>"]]}, "mcq", "<musing>Answer: A</musing>B", 1, 0),
        ({"opened": True}, "mcq", "The answer is B.", 0, 1),
        ({"opened": True}, "mcq", "The answer is A.</think>B", 1, 1),
        ({"boxes": "pixels"}, "spatial", "<answer>man</answer><box>[64, 72, 192, 144]</box>", 1, 0),
        ({"boxes": "pixels", "picture": [320, 180]}, "spatial", "<box>[32, 36, 96, 72]</box>", 1, 0),
        ({"boxes": "permille_yx"}, "spatial", "<box>[200, 100, 400, 300]</box>", 1, 1 / 7),
        ({"boxes": "unit"}, "spatial", "<box>[0.1, 0.2, 0.3, 0.4]</box>", 1, 0),
        ({"boxes": "percent"}, "spatial", "<box>[10, 20, 30, 40]</box>", 1, 0),
        ({"boxes": "loc"}, "spatial", "<loc0205><loc0102><loc0410><loc0307>", 1, 0),
        (CRASH, "classification", "A pile-up.", 1, 0),
        (CRASH, "classification", "Not a pile-up.", 0, 0),
    ],
)
def test_each_option_has_the_effect_on_the_reward_that_a_suites_has_on_the_metric(
    told, kind, text, paid, without, tmp_path, scenes
):
    for reading, wanted in ((told, paid), ({}, without)):
        reward, metric = both(reading, kind, text, tmp_path, scenes)
        assert reward == metric == pytest.approx(wanted, abs=0.01)


def test_pixels_are_of_each_videos_own_picture(tmp_path, scenes):
    for sample, box in ((SAMPLE, [64, 72, 192, 144]), (OTHER, [128, 144, 384, 288])):
        assert both({"boxes": "pixels"}, "spatial", f"<box>{box}</box>", tmp_path, scenes, sample) == (1, 1)
    run = run_of(scenes, SHIPPED, tmp_path, per_device_train_batch_size=4)
    told = replace(run.reading, boxes="pixels")
    unknown = replace(SAMPLE, video=Video("v.mp4"))
    with pytest.raises(InputError, match=r"the size of 'v' is not known; set reading\.picture"):
        prompts_of(
            replace(run, reading=told, rewards={"box": 1.0}),
            [unknown],
            mixture.tasks_of({"spatial": 1}),
            settings_of(run, [1.0]),
        )


def test_a_picture_that_no_box_is_about_is_refused(tmp_path, scenes):
    run = run_of(scenes, SHIPPED, tmp_path)
    with pytest.raises(InputError, match=r"reading\.picture: of boxes in pixels"):
        check(replace(run, reading=replace(run.reading, picture=[640, 360])))


def test_classes_have_moved_and_a_record_that_has_them_is_read(tmp_path):
    plan = {"out": "o", "model": str(SHIPPED), "data": "d", "tasks": {"mcq": 1}}
    with pytest.raises(InputError, match=r"'classes' is now 'reading\.classes'"):
        config.build(GrpoRun, plan | {"classes": {"Fire": ["blaze"]}}, "run")
    now = plan | {"reading": {"classes": {"Fire": ["blaze"]}}}
    built = config.build(GrpoRun, now, "run").reading
    told = {name: getattr(built, name) for name in ("reasoning", "opened", "boxes", "picture", "classes")}
    assert _comparable(plan | {"classes": {"Fire": ["blaze"]}}, None, set()) == _comparable(
        plan | {"reading": told}, None, set()
    )
    assert _comparable(plan | {"classes": {}}, None, set()) == _comparable(plan, None, set())
