"""Replies of models that think: drafts in their reasoning are no answer; of several answers none is taken."""

import json

import pytest
from test_strange_teachers import NOBODY, SOMEBODY, Endpoint, films, said  # noqa: F401  a fixture

from tvad.__main__ import main
from tvad.annotate import schema
from tvad.annotate.trajectories import read
from tvad.common.cli import guard
from tvad.data import load

FRAME = json.dumps({"targets": [SOMEBODY]})


@pytest.mark.parametrize(
    "text",
    [
        f"<think>Nobody: {NOBODY}? No, a man.</think>{FRAME}",
        f"Nobody: {NOBODY}? No, a man.</think>\n{FRAME}",
        f"[THINK]{NOBODY}[/THINK]```json\n{FRAME}\n```",
        f"<|channel|>analysis<|message|>{NOBODY}<|end|><|start|>assistant<|channel|>final<|message|>{FRAME}",
        f"Of the set {{a, b}}</think>{FRAME} That is all, {{a}}.",
        f"{FRAME}\n{FRAME}",
        f"{'<think>' + 'x' * (schema.MOST + 1)}</think>{FRAME}",
    ],
)
def test_a_draft_is_no_answer(text):
    (target,) = schema.read_targets(text, 100, 100)
    assert target.unusual


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"<think>{NOBODY}", "no JSON object"),
        (f"For example {NOBODY}. Answer: {FRAME}", "several JSON objects that differ"),
        (f"{FRAME} Wait: {NOBODY}", "several JSON objects that differ"),
        (f"{NOBODY} Wait: {FRAME[:-9]}", "malformed JSON"),
        (f"[{NOBODY}, {FRAME}]", "several JSON objects that differ"),
        ("<think>" + "x" * (1 << 20), "too long"),
    ],
)
def test_of_several_answers_none_is_taken(text, why):
    with pytest.raises(ValueError, match=why):
        schema.read_object(text)


def test_marks_in_a_word_are_words():
    row = {**SOMEBODY, "kind": "man </think> <answer>"}
    (target,) = schema.read_targets(json.dumps({"targets": [row]}), 100, 100)
    assert target.look["kind"] == "man think answer" and target.unusual


def test_a_trajectory_is_read_behind_the_reasoning():
    draft, final = said(False, "normal"), said(True, "Fighting")
    assert read(f"<think>{draft}</think>{final}")["abnormal"]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_that_an_endpoint_has_parted_makes_no_video_normal(films, tmp_path, key):  # noqa: F811
    endpoint = Endpoint()
    message = {key: f"Nobody? {NOBODY} No.", "content": FRAME}
    endpoint.replies = [(200, {"choices": [{"message": message, "finish_reason": "stop"}]})] * 1000
    command = ["annotate", "run", str(films), "--teacher", f"openai:m@{endpoint.url}", "--rate", "1"]
    command += ["--checks", "0", "--out", str(tmp_path / "out")]
    assert guard(main, command) == 0
    assert [s.label for s in load(tmp_path / "out")] == ["anomalous"] * 2
    endpoint.server.shutdown()
