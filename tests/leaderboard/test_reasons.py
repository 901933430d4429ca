"""A board scores by the functions of the benchmark: what cannot be had has no figure there either, the reason
stands on the page of the model, and scores that fit no video are refused."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from bench.pages import environment
from bench.suite import Suite
from leaderboard.board.config import Scoring
from leaderboard.scoring.scorer import score_suite
from leaderboard.store.results import _score_rows
from tvad.common.errors import InputError
from tvad.data import Question, Sample, Video, save, video


@pytest.fixture
def board(tmp_path):
    """What `score_suite` asks of a board, over three clips, of one of which nothing is known."""
    data = tmp_path / "data"
    (data / "videos").mkdir(parents=True)
    video.write(data / "videos/x.mp4", np.full((20, 16, 16, 3), 90, np.uint8), 10.0)
    told = {"label": "anomalous", "spans": ((0.5, 1.0),), "key_object": "smoke, a burning car"}
    asked = Question("judgement", "Is there?", "Yes", rationale="Dense smoke rises.")
    samples = [
        Sample("a", "s", "test", Video("videos/x.mp4"), **told, questions=(asked,)),
        Sample("b", "s", "test", Video("videos/x.mp4"), "normal"),
        Sample("c", "s", "test", Video("videos/x.mp4")),
    ]
    save(samples, data)
    suite = Suite("s", str(data), ["heatmap", "rationale"], resamples=20)
    return SimpleNamespace(
        suites={"s": SimpleNamespace(split="public")},
        suite=lambda name, number: suite,
        table_of=lambda name: name,
        version=lambda name, suite, samples, number: suite.digest(samples),
        secret=lambda purpose: b"secret",
        scoring=Scoring(),
    )


def submitted(tmp_path, stride):
    rows = [
        {"id": name, "task": "heatmap", "frame_scores": [0.1, peak, 0.1, 0.1], "stride": stride}
        for name, peak in zip("abc", (0.9, 0.1, 0.9), strict=True)
    ]
    (tmp_path / "sent/s").mkdir(parents=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "sent/s/predictions.jsonl").write_text(lines)
    return tmp_path / "sent"


def test_a_board_says_what_the_benchmark_says(board, tmp_path):
    found = score_suite(board, "s", 1, submitted(tmp_path, 5), tmp_path / "run").metrics
    assert found["heatmap.micro_auc"]["value"] == 1.0 and found["heatmap.micro_auc"]["n"] == 2
    assert found["heatmap.micro_auc"]["note"].endswith("not labelled normal: c")
    assert found["rationale.names_object"] == {
        "value": 0.0,
        "low": None,
        "high": None,
        "n": 1,
        "ceiling": 0.5,
        "oracle": 0.5,
        "withheld": "fewer than 4 videos",
    }
    page = environment().get_template("metrics.html").render(metrics=found)
    assert "ceiling 0.500" in page and "1 of 3 videos left out" in page
    assert {row["metric"] for row in _score_rows(1, found)} == {
        name for name, metric in found.items() if metric["value"] is not None
    }


def test_a_board_refuses_scores_that_fit_no_video(board, tmp_path):
    words = "4 frame_scores of 2 frames each are for 7 to 9 frames, the video has 20"
    with pytest.raises(InputError, match=words):
        score_suite(board, "s", 1, submitted(tmp_path, 2), tmp_path / "run")
