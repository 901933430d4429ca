"""Tasks beyond the plain question: every rotation, the rationale, the video without its anomaly; styles of
asking."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT, shared

from bench import suite
from bench.metrics import choice
from bench.metrics.objects import share_named
from bench.metrics.text import rouge_l
from bench.models.base import Completion
from bench.models.baseline import Baseline
from bench.run import run
from bench.run_folder import read_maps, write_maps
from bench.suite import Decode, Suite
from bench.tasks import (
    NAMES,
    PRIMARIES,
    TASKS,
    faithfulness,
    heatmap,
    lower_is_better,
    rationale,
)
from bench.tasks.mcq_circular import rotations
from tvad.answer import Answer
from tvad.common.errors import InputError
from tvad.data import load, video
from tvad.data.sample import Question, Sample, Video
from tvad.prompts import asked, question_text


def plan_of(scenes, tasks, **changes):
    found = suite.read(
        str(ROOT / "configs/bench/scenes.yaml"),
        ["--data", str(scenes), "--tasks", tasks, "--resamples", "50"],
    )
    return replace(found, **changes)


class Says(Baseline):
    """Answers every request by a function of it."""

    def __init__(self, say):
        self.say = say

    def sample(self, requests, sampling):
        return [[Completion(self.say(request))] for request in requests]


def test_a_model_that_likes_a_letter_is_right_under_no_full_circle(scenes, tmp_path):
    plan = plan_of(scenes, "[mcq, mcq_circular]", topics=["event"])
    liked = run(Says(lambda r: "<think>t</think><answer>B</answer>"), "b", plan, tmp_path / "b")
    assert (
        liked["mcq_circular.accuracy"].value == pytest.approx(0.25)
        and liked["mcq_circular.circular_accuracy"].value == 0.0
    )
    oracle = run(Baseline("oracle"), "o", plan, tmp_path / "o")
    assert (
        oracle["mcq_circular.circular_accuracy"].value == 1.0
        and oracle["mcq_circular.circular_accuracy"].n == 16
    )
    assert oracle["mcq_circular.accuracy"].n == 64


def test_rotations_keep_the_right_text():
    question = Question("mcq", "?", "C", ("a", "b", "c", "d"))
    found = rotations(question)
    assert (
        [q.options["ABCD".index(q.answer)] for q in found] == ["c"] * 4
        and len({q.answer for q in found}) == 4
        and found[0] == question
    )


def test_rationales_are_compared_and_checked(scenes, tmp_path):
    plan = plan_of(scenes, "[rationale]")
    oracle = run(Baseline("oracle"), "o", plan, tmp_path / "o")
    assert (
        oracle["rationale.rouge_l"].value == 1.0
        and oracle["rationale.bleu4"].value > 0.9
        and oracle["rationale.consistent"].value == 1.0
    )
    silent = run(Says(lambda r: "<answer>A</answer>"), "s", plan, tmp_path / "s")
    assert (
        silent["rationale.bleu4"].value == 0.0
        and silent["rationale.parse_failure"].value == 1.0
        and silent["rationale.names_object"].value == 0.0
    )


def test_a_rationale_that_contradicts_its_answer_is_inconsistent():
    question = Question("mcq", "?", "A", ("running", "cycling", "fire", "nothing unusual"))
    judge = lambda think, letter: rationale.consistent(think, Answer(think, letter), question)  # noqa: E731
    assert (
        judge("Someone is cycling.", "B") == 1.0
        and judge("Someone is cycling.", "C") == 0.0
        and judge("Hm.", "A") is None
    )
    assert judge("No fire, no cycling: running.", "A") == 1.0
    assert share_named("Two cars collide", "car") == 1.0 and share_named("carry on", "car") == 0.0


def test_rouge_by_hand():
    assert (
        rouge_l("a b c d", "a c d e") == pytest.approx(0.75)
        and rouge_l("", "a") == 0.0
        and rouge_l("A b", "a B") == 1.0
    )


def test_the_masked_video_lacks_its_anomaly_and_nothing_else(scenes, tmp_path):
    plan = plan_of(scenes, "[judgement, faithfulness]")
    seen = {}

    def look(request):
        seen[request.item.id] = request.frames.images
        return "<think>t</think><answer>Yes</answer>"

    found = run(Says(look), "yes", plan, tmp_path)
    assert found["faithfulness.changes"].value == 0.0
    for sample in (s for s in load(scenes) if s.anomalous):
        clip = video.decode(sample.path(sample.video.path), 2.0, 8)
        hidden = np.array([any(a <= t < b for a, b in sample.spans) for t in clip.times])
        shown = seen[f"{sample.id}!"]
        assert np.array_equal(shown[~hidden], clip.images[~hidden]) and hidden.any()
        assert all(np.ptp(frame.reshape(-1, 3), axis=0).max() == 0 for frame in shown[hidden])
    assert faithfulness.score(Answer(None, "No"), None, None) == {"changes": 1.0, "parse_failure": 0.0}


def test_vau_r1s_style_is_one_user_turn_with_the_text_first():
    question = Question("mcq", "What happens?", "A", ("running", "fire"))
    (turn,) = asked(question, "vau_r1", "clip.mp4")
    assert turn["role"] == "user" and [p["type"] for p in turn["content"]] == ["text", "video"]
    text = turn["content"][0]["text"]
    assert '"What happens?"' in text and "B. fire" in text and "<think>" in text and "<answer>" in text
    assert "<think>" not in asked(question, "vau_r1_no_think")[0]["content"][0]["text"]
    assert (
        "[-1.0, -1.0]"
        in asked(Question("temporal", "When?", "Normal", None, spans="none"), "vau_r1")[0]["content"][0][
            "text"
        ]
    )
    assert (
        "Food Safety" in asked(Question("classification", "Which?", "x"), "vau_r1")[0]["content"][0]["text"]
    )
    assert asked(question, "tvad")[0]["role"] == "system"


def test_styles_and_parse_rules_are_part_of_the_suite(scenes, tmp_path):
    plain, styled = (
        plan_of(scenes, "[temporal]"),
        plan_of(scenes, "[temporal]", prompt="vau_r1", parse="vau_r1"),
    )
    samples, _ = suite.load(plain)
    assert plain.digest(samples) != styled.digest(samples)
    found = run(
        Says(lambda r: "<answer>Anomaly</answer> [0, 99]"), "m", styled, tmp_path / "a"
    )  # the published rules read any bracket
    assert found["temporal.parse_failure"].value == 0.0
    with pytest.raises(InputError, match="unknown style 'rhyme'"):
        suite.read(str(ROOT / "configs/bench/scenes.yaml"), ["--prompt", "rhyme"])


@pytest.mark.parametrize("path", sorted((ROOT / "configs/bench").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_suite_reads(path):
    assert suite.read(str(path)).tasks or path.stem == "own"  # which asks what the data can answer


def test_the_text_only_baseline_learns_from_a_train_split(tmp_path):
    csv = str(shared("data/vau_bench/val.csv"))
    from tvad.data import save
    from tvad.data.vau_bench import read_csv

    samples, _ = read_csv(str(shared("data/vau_bench/test_msad.csv")))
    (tmp_path / "data").mkdir()
    save(samples[:5], tmp_path / "data")
    found = Baseline(f"text={csv}")
    from bench.models.base import Request, Sampling

    clip = video.Frames(np.zeros((2, 8, 8, 3), np.uint8), np.arange(2) / 2, np.arange(2), 2.0, 2)
    items = [suite.Item(s.id, "mcq", s, next(q for q in s.questions if q.kind == "mcq")) for s in samples[:5]]
    texts = [c[0].text for c in found.sample([Request([], clip, i) for i in items], Sampling())]
    assert all("<answer>" in t for t in texts)
    for bad in ("text", "text=", "prior=x", "luck"):
        with pytest.raises(InputError):
            Baseline(bad)


def test_a_task_says_all_of_itself(scenes, tmp_path):
    """Every task is in the documents; what it calls its metrics exists; and by each metric's stated direction
    the reference is at least as good as an answer without a word, so a metric of which less is better was not
    forgotten."""
    plan = plan_of(scenes, f"[{', '.join(TASKS)}]", topics=None)
    best = run(Baseline("oracle"), "o", plan, tmp_path / "best")
    worst = run(Says(lambda r: ""), "s", plan, tmp_path / "worst")
    rows = (ROOT / "docs/benchmark.md").read_text(encoding="utf-8").splitlines()
    for name in NAMES:
        assert any(row.startswith(f"| `{name}` |") for row in rows), name
    for name, task in TASKS.items():
        found = {metric.partition(".")[2] for metric in best if metric.startswith(f"{name}.")}
        assert {task.PRIMARY, *task.LOWER, *task.BINARY} <= found, name
        assert f"{name}.{task.PRIMARY}" in PRIMARIES and not lower_is_better(f"{name}.{task.PRIMARY}")
        for metric in best.keys() & worst.keys() & {f"{name}.{metric}" for metric in found}:
            a, b = best[metric].value, worst[metric].value
            assert a <= b if lower_is_better(metric) else a >= b, metric
        for metric in task.BINARY:
            kept = [json.loads(line) for line in (tmp_path / "worst/samples.jsonl").read_text().splitlines()]
            scores = {line["scores"].get(metric, 0.0) for line in kept if line["task"] == name}
            assert scores <= {0.0, 1.0}
    assert lower_is_better("heatmap.missing") and lower_is_better("mcq.missing")
    assert {f"heatmap.{metric}" for metric in heatmap.PRIMARIES} <= set(PRIMARIES)


def test_questions_may_have_as_many_options_as_there_are_letters():
    question = Question("mcq", "Which?", "J", tuple(f"thing {n}" for n in range(10)))
    text = question_text(question)
    assert "A. thing 0" in text and text.endswith("J. thing 9")
    more = replace(question, options=(*question.options, "thing 10"))
    with pytest.raises(ValueError, match="11 options, at most 10"):
        question_text(more)
    sample = Sample("x", "s", "test", Video("v.mp4"), "normal", questions=(question, more))
    assert sample.problems() == ["question 1: 11 options, at most 10"]
    assert choice.letter("The answer is J.", question.options) == "J"
    assert [q.answer for q in rotations(question)] == list("JIHGFEDCBA")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"resamples": 0}, "resamples is 0, expected 1 or more"),
        ({"max_videos": 0}, "max_videos is 0"),
        ({"rate": float("nan")}, "must be positive"),
        ({"decode": Decode(max_tokens=0)}, "decode.max_tokens is 0"),
        ({"decode": Decode(temperature=float("nan"))}, "decode.temperature is nan"),
        ({"decode": Decode(n=4)}, "temperature 0 gives the same answer each time"),
    ],
)
def test_values_that_no_run_can_have_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        Suite("x", "data", ["mcq"], **given)


def test_a_video_may_have_any_name(tmp_path):
    """np.savez takes names as keywords, of which it keeps some for itself."""
    maps = {name: np.full((1, 2, 2), n, np.float16) for n, name in enumerate(("file", "allow_pickle", "a/b"))}
    write_maps(tmp_path / "heatmaps.npz", maps)
    found = read_maps(tmp_path / "heatmaps.npz")
    assert list(found) == list(maps) and all((found[n] == maps[n]).all() for n in maps)
