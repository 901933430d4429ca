"""What goes wrong with a question while a run goes on: it is left unscored with its reason, the others are
asked, no figure counts it, every figure says so, and `bench retry` asks it again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clip_files import write_clip
from test_openai import Endpoint

from bench import suite as suites
from bench.__main__ import main
from bench.compare import compare, pairs
from bench.intervals import table
from bench.models.base import Completion
from bench.models.baseline import Baseline
from bench.models.openai import OpenAiModel
from bench.report import write_report
from bench.run import run
from bench.run_folder import read_all, write_lines
from tvad.common.cli import guard
from tvad.common.errors import InputError
from tvad.data import Question, Sample, Video, save

OPTIONS = ("a car", "a man", "a dog", "nothing")


@pytest.fixture
def data(tmp_path):
    """Six videos of 25 fps mp4s' kind, with two questions and a dialogue each."""
    folder = tmp_path / "data"
    samples = []
    for n in range(6):
        write_clip(folder / f"videos/{n}.mp4", lit=range(3 * n, 3 * n + 20))
        label = "anomalous" if n % 2 else "normal"
        questions = (
            Question("judgement", "Is there an anomaly?", "Yes" if n % 2 else "No"),
            Question("mcq", "What is seen?", "ABCD"[n % 4], OPTIONS),
        )
        dialogue = (("Is there an anomaly?", "No."), ("Why?", "A light goes on and off."))
        video = Video(f"videos/{n}.mp4")
        samples.append(
            Sample(f"v{n}", "s", "test", video, label, questions=questions, dialogue=dialogue, spans=None)
        )
    save(samples, folder)
    return folder


@pytest.fixture
def plan(data):
    return suites.Suite("own", str(data), ["mcq", "mcq_circular", "judgement", "dialogue"], resamples=20)


@pytest.fixture
def endpoint():
    found = Endpoint()
    yield found
    found.server.shutdown()


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def without(folder: Path) -> dict[str, str]:
    return {line["id"]: line["unscored"] for line in lines_of(folder) if "unscored" in line}


def test_videos_that_go_missing_or_are_cut_are_unscored_and_no_figure_counts_them(plan, data, tmp_path):
    whole = run(Baseline("oracle"), "baseline:oracle", plan, tmp_path / "whole")
    (data / "videos/0.mp4").unlink()
    cut = (data / "videos/3.mp4").read_bytes()
    (data / "videos/3.mp4").write_bytes(cut[: len(cut) // 4])
    found = run(Baseline("oracle"), "baseline:oracle", plan, tmp_path / "part")
    assert {name.partition("#")[0].partition("@")[0] for name in without(tmp_path / "part")} == {"v0", "v3"}
    assert all("mp4" in why for name, why in without(tmp_path / "part").items() if "#" in name)
    stored = json.loads((tmp_path / "part/metrics.json").read_text())
    assert found["mcq.accuracy"].value == 1.0 and stored["mcq.accuracy"]["n"] == 4
    assert found["mcq.unscored"].value == pytest.approx(1 / 3) and found["mcq.unscored"].n == 6
    assert "2 of 6 unscored" in stored["mcq.accuracy"]["note"] and "mcq.unscored" not in whole
    page = write_report(tmp_path / "part").read_text()
    assert "questions are unscored, and in no figure" in page


def test_a_dialogue_goes_no_further_than_its_unanswered_turn(plan, data, tmp_path):
    class Silent(Baseline):
        def sample(self, requests, sampling):
            if any(r.item.id == "v2@0" for r in requests):
                raise RuntimeError("CUDA out of memory")
            return super().sample(requests, sampling)

    run(Silent("oracle"), "m", plan, tmp_path / "run")
    found = without(tmp_path / "run")
    assert found == {
        "v2@0": "RuntimeError: CUDA out of memory",
        "v2@1": "an earlier turn of it, v2@0, is without an answer",
    }


def test_a_question_with_an_unscored_rotation_is_not_right_under_all(plan, tmp_path):
    class Picky(Baseline):
        def sample(self, requests, sampling):
            if any(r.item.id == "v0#1~2" for r in requests):
                raise InputError("no")
            return super().sample(requests, sampling)

    found = run(Picky("oracle"), "m", plan, tmp_path / "run")
    assert found["mcq_circular.circular_accuracy"].n == 5 and found["mcq_circular.accuracy"].n == 23


def test_circular_accuracy_without_a_whole_question_stands_with_its_reason(plan, tmp_path):
    class Pickier(Baseline):
        def sample(self, requests, sampling):
            if any(r.item.id.endswith("~2") for r in requests):
                raise InputError("no")
            return super().sample(requests, sampling)

    found = run(Pickier("oracle"), "m", replace(plan, tasks=["mcq_circular"]), tmp_path / "run")
    kept = json.loads((tmp_path / "run/metrics.json").read_text())["mcq_circular.circular_accuracy"]
    assert kept["value"] is None and "cannot be had: a rotation of every question" in kept["note"]
    assert "mcq_circular.circular_accuracy" in table(found) and found["mcq_circular.accuracy"].value == 1


def test_requests_that_fail_are_unscored_and_asked_again_by_retry(endpoint, plan, tmp_path, capsys):
    plan = replace(plan, tasks=["judgement"])
    (tmp_path / "s.yaml").write_text(f"name: own\ndata: {plan.data}\ntasks: [judgement]\nresamples: 20\n")
    said = {"choices": [{"message": {"content": "<answer>No</answer>"}}]}
    endpoint.replies = [
        (200, said),  # the look whether it sees
        (400, {"error": "your prompt has 9000 tokens, 8192 are the most"}),
        (529, b"overloaded"),
        (200, b'{"choices": [{"mess'),
        (200, said),
        (200, b'{"choices"'),
        (200, b'{"choices"'),
        (200, {"choices": []}),
    ]
    endpoint.replies += [(200, said)] * 4
    model = f"openai:m@{endpoint.url}"
    command = ["run", "--model", model, "--suite", str(tmp_path / "s.yaml"), "--concurrency", "1"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 1
    found = without(tmp_path / "run")
    assert list(found) == ["v0#0", "v2#0", "v3#0"]
    assert "answered 400" in found["v0#0"] and "no chat completion" in found["v2#0"]
    assert "3 of 6 questions are unscored" in capsys.readouterr().err
    asked = len(endpoint.seen)
    assert main([*command, "--out", str(tmp_path / "run")]) == 1  # it goes on: nothing is asked again
    assert len(endpoint.seen) == asked
    endpoint.replies = [(200, said)] * 3
    assert main(["retry", str(tmp_path / "run"), "--concurrency", "1"]) == 0
    assert len(endpoint.seen) == asked + 3 and not without(tmp_path / "run")
    endpoint.replies = []
    whole = OpenAiModel(f"m@{endpoint.url}", concurrency=1)
    endpoint.replies = [(200, said)] * 7
    run(whole, model, plan, tmp_path / "whole")
    for name in ("samples.jsonl", "metrics.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_model_that_answers_nothing_ends_the_run_with_its_reason(endpoint, plan, tmp_path):
    endpoint.replies = [(401, b"who are you")] * 20
    with pytest.raises(InputError, match="answered 401: who are you"):
        run(OpenAiModel(f"m@{endpoint.url}", concurrency=1), "m", plan, tmp_path / "run")
    assert not without(tmp_path / "run")  # the same command, with the right key, asks all of them

    class Broken(Baseline):
        def sample(self, requests, sampling):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(Broken("oracle"), "m", replace(plan, tasks=["judgement"]), tmp_path / "broken")


@pytest.mark.parametrize("down", [(401, b"who are you"), (403, b"no credit")])
def test_an_endpoint_that_dies_is_not_asked_to_the_end(endpoint, plan, down, tmp_path):
    """Though it has answered before; what it has not been asked, it is asked when the run goes on."""
    endpoint.replies = [(200, None)] * 3 + [down] * 30  # the first two are the look whether it sees
    model = OpenAiModel(f"m@{endpoint.url}", concurrency=1, retries=0)
    with pytest.raises(InputError, match=f"answered {down[0]}"):
        run(model, "m", plan, tmp_path / "run")
    assert [line["id"] for line in lines_of(tmp_path / "run") if "unscored" in line] == []
    assert 0 < len(lines_of(tmp_path / "run")) < 4 and len(endpoint.replies) > 15
    endpoint.replies = []
    run(model, "m", plan, tmp_path / "run")
    assert len(lines_of(tmp_path / "run")) == len(suites.load(plan)[1]) and not without(tmp_path / "run")


def test_an_answer_goes_before_an_older_part_without_one(plan, tmp_path):
    """As a run of several processes leaves it whose retry was killed."""
    key = {"id": "v0#0", "task": "mcq", "sample": "v0", "prompt_hash": "h"}
    answers = [key | {"attempt": n, "response": "A"} for n in range(2)]
    without = key | {"attempt": 0, "unscored": "HTTP 500"}
    write_lines(tmp_path / "samples.0.jsonl", [without])
    write_lines(tmp_path / "samples.jsonl", answers)
    assert read_all(tmp_path / "samples.jsonl") == answers
    write_lines(tmp_path / "samples.jsonl", [without])
    write_lines(tmp_path / "samples.0.jsonl", answers)
    assert read_all(tmp_path / "samples.jsonl") == answers


def test_a_retry_does_not_say_that_the_suite_named_the_tasks(plan, data, tmp_path, capsys):
    run(Baseline("prior"), "baseline:prior", replace(plan, tasks=None), tmp_path / "run")
    assert main(["retry", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run/run.json").read_text())["tasks_from"] == "data"


def test_comparisons_are_over_what_both_scored_and_a_gate_says_so(plan, data, tmp_path, capsys):
    plan = replace(plan, tasks=["judgement", "mcq"])
    run(Baseline("oracle"), "a", plan, tmp_path / "a")
    (data / "videos/1.mp4").unlink()
    run(Baseline("oracle"), "b", plan, tmp_path / "b")
    shared = pairs(tmp_path / "a", tmp_path / "b")
    assert shared.told.startswith("compared over the 10 questions that both scored; 2 are unscored in ")
    assert {d.change.n for d in compare(tmp_path / "a", tmp_path / "b") if d.metric == "mcq.accuracy"} == {5}
    gate = tmp_path / "gate.yaml"
    gate.write_text("metrics: {mcq.accuracy: 0.5}\n")
    command = ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--gate", str(gate)]
    assert guard(main, command) == 2
    assert "2 are unscored in" in capsys.readouterr().err
    gate.write_text("metrics: {mcq.accuracy: 0.5}\nunscored: 1\n")
    assert main(command) == 0
    gate.write_text("metrics: {mcq.accuracy: 0.5}\nresamples: 0\n")
    with pytest.raises(InputError, match="resamples is 0"):
        main(command)


class Mapping(Baseline):
    """Heatmaps, except of the clip with the number `but`; log-odds that are not finite for one question."""

    def __init__(self, but=()):
        super().__init__("oracle")
        self.but = but

    def heatmaps(self, frames):
        for clip in frames:
            if clip.images.max() and Path(clip.name).stem in self.but:
                raise RuntimeError("too large")
        return [np.full((-(-len(c.images) // 2), 4, 4), 0.5, np.float32) for c in frames]

    def odds(self, requests, opening, choices):
        if len(requests) > 1:
            raise RuntimeError("no batch")
        return [
            [np.nan if r.item.id == "v5#0" else -1.0, *[-2.0] * (len(c) - 1)]
            for r, c in zip(requests, choices, strict=True)
        ]


def test_heatmaps_and_log_odds_likewise(plan, data, tmp_path):
    plan = replace(plan, tasks=["judgement", "heatmap"], odds=True)
    run(Mapping(), "a", plan, tmp_path / "a")
    (data / "videos/2.mp4").unlink()
    found = run(Mapping(("4",)), "b", plan, tmp_path / "b")
    assert found["heatmap.unscored"].value == pytest.approx(2 / 6)
    assert "RuntimeError: too large" in found["heatmap.micro_auc"].note
    assert found["judgement.odds_unscored"].value == pytest.approx(2 / 6)
    assert found["judgement.roc_auc"].n == 4 and "expected finite" in found["judgement.roc_auc"].note
    assert {d.metric for d in compare(tmp_path / "a", tmp_path / "b")} >= {"judgement.accuracy"}


def test_bad_lines_of_a_run_are_named(plan, tmp_path):
    run(Baseline("oracle"), "a", plan, tmp_path / "a")
    file = tmp_path / "a/samples.jsonl"
    whole = file.read_text().splitlines()
    for n, (line, words) in enumerate(
        [
            ("{", "not JSON"),
            ("3", "expected an object, found int"),
            ('{"id": 7}', "no 'id'"),
            ("{}", "no 'id'"),
        ]
    ):
        file.write_text("\n".join([*whole[:4], line, *whole[4:]]) + "\n")
        with pytest.raises(InputError, match=rf"samples\.jsonl:5: .*{words}"):
            run(Baseline("oracle"), "a", plan, tmp_path / "a")
        if n < 2:
            with pytest.raises(InputError, match=r"samples\.jsonl:5: "):
                write_report(tmp_path / "a")


def test_greedy_answers_of_a_batch_that_fails_are_those_of_single_questions(plan, tmp_path):
    class Fragile(Baseline):
        def sample(self, requests, sampling):
            if len(requests) > 1:
                raise RuntimeError("no room")
            return [[Completion("<answer>A</answer>")] for _ in requests]

    found = run(Fragile("oracle"), "m", replace(plan, tasks=["mcq"]), tmp_path / "m")
    assert found["mcq.accuracy"].n == 6 and "mcq.unscored" not in found
