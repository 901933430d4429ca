"""Frame scores from what a model says of sub-clips: reasoning that the prompt has opened is not the answer,
and what cannot be read is no normal video in silence."""

import numpy as np
import pytest

from bench.models.base import Completion
from bench.subclips import SubClips, frame_scores
from tvad.common.errors import InputError
from tvad.data import load

HOW = SubClips(2.0, 1.0, "judgement")


class Says:
    """An engine that says one of `replies` after the other."""

    name, shared = "says", False

    def __init__(self, *replies: str):
        self.replies, self.asked = replies, 0

    def sample(self, requests, sampling):
        found = [
            [Completion(self.replies[(self.asked + n) % len(self.replies)])] for n in range(len(requests))
        ]
        self.asked += len(requests)
        return found


class Opens(Says):
    """Of which the prompt ends inside of reasoning."""

    def rendered(self, request):
        return "<|im_start|>assistant\n<think>"


@pytest.fixture(scope="module")
def sample(scenes):
    return load(scenes)[0]


def test_opened_reasoning_is_not_the_answer(sample):
    thought = "No. Is anything wrong? Not at first.</think><answer>Yes, there is an anomaly.</answer>"
    assert np.all(frame_scores(Opens(thought), sample, 2.0, HOW) == 1)
    with pytest.raises(InputError, match="judgements of sub-clips cannot be read"):
        frame_scores(Opens("No anomaly so far, but I have to look at the"), sample, 2.0, HOW)


def test_what_cannot_be_read_is_told(sample, capsys):
    assert np.all(frame_scores(Says("Yes."), sample, 2.0, HOW) == 1)
    assert np.all(frame_scores(Says("No."), sample, 2.0, HOW) == 0)
    assert capsys.readouterr().err == ""
    engine = Says("Yes.", "<think>I see a man who")
    assert np.all(frame_scores(engine, sample, 2.0, HOW)[:2] == 1)
    said = capsys.readouterr().err
    assert (
        f"{sample.id}: {engine.asked // 2} of {engine.asked} judgements of sub-clips cannot be read" in said
    )
    with pytest.raises(InputError, match=f"{sample.id}: .* judgements of sub-clips cannot be read"):
        frame_scores(Says("<think>I see a man who"), sample, 2.0, HOW)
