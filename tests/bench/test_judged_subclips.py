"""Frame scores from what a model says of sub-clips: reasoning that the prompt has opened is not the answer,
and what cannot be read is no normal video in silence."""

import numpy as np
import pytest

from bench.models.base import Completion
from bench.subclips import SubClips, frame_scores
from tvad.common.errors import InputError
from tvad.data import load, video
from tvad.data.sample import Sample, Video

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


class Shows(Says):
    """`shown`: when each sub-clip begins, and its frames."""

    def sample(self, requests, sampling):
        self.shown = getattr(self, "shown", [])
        self.shown += [(float(r.frames.moments[0]), len(r.frames.images)) for r in requests]
        return super().sample(requests, sampling)


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


def test_seconds_are_seconds_of_a_video_that_is_slower_than_the_rate(tmp_path):
    """16 seconds at 1 frame a second: at a rate of 8, sub-clips of 4 s are 4 frames, not 32."""
    video.write(tmp_path / "a.mp4", np.zeros((16, 32, 32, 3), np.uint8), 1)
    slow = Sample("a", "made", "test", Video("a.mp4"), label="normal", root=str(tmp_path))
    engine = Shows("No.")
    frame_scores(engine, slow, 8.0, SubClips(4.0, 2.0, "judgement"))
    assert engine.shown == [(float(n), 4) for n in range(0, 13, 2)]
    engine = Shows("No.")
    frame_scores(engine, slow, 8.0, SubClips(0.5, 0.5, "judgement"))  # a step at least
    assert engine.shown == [(float(n), 2) for n in range(0, 16, 2)]


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
