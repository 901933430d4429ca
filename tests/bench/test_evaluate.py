"""The metrics through Hugging Face's `evaluate`, loaded from the local path."""

import numpy as np
import pytest
from conftest import ROOT

from bench.metrics import detection, frame

evaluate = pytest.importorskip("evaluate")


def metric(name, tmp_path):
    return evaluate.load(str(ROOT / "bench/evaluate" / name), cache_dir=str(tmp_path))


def test_rbdc_tbdc(tmp_path):
    tracks = [[0, 0, 0, 0, 0, 9, 9], [0, 0, 1, 0, 0, 9, 9]]
    found = [[0, 0, 0, 0, 9, 9, 0.9], [0, 1, 80, 80, 89, 89, 0.8]]
    ours = metric("rbdc_tbdc", tmp_path).compute(predictions=[found], references=[tracks], num_frames=2)
    assert ours == detection.rbdc_tbdc(tracks, found, 2)


def test_frame_auc(tmp_path):
    labels, scores = [[0, 1, 1], [0, 0, 1]], [[0.1, 0.8, 0.7], [0.6, 0.1, 0.2]]
    ours = metric("frame_auc", tmp_path).compute(predictions=scores, references=labels)
    assert ours == pytest.approx(frame.auc([np.array(x) for x in labels], [np.array(x) for x in scores]))


def test_temporal_grounding_and_choice(tmp_path):
    said = ["<answer>Anomaly</answer><glue>[0, 2]</glue>", "<answer>Normal</answer><glue>none</glue>"]
    wanted = ["<answer>Anomaly</answer><glue>[0, 4]</glue>", "<answer>Normal</answer><glue>none</glue>"]
    found = metric("temporal_grounding", tmp_path).compute(predictions=said, references=wanted)
    assert found == {"miou": 0.5, "false_alarm": 0.0, "r@0.3": 1.0, "r@0.5": 1.0, "r@0.7": 0.0}
    found = metric("mcq_accuracy", tmp_path).compute(
        predictions=["<answer>B</answer>", "no idea"], references=["B", "A"], options=[["a", "b"]] * 2
    )
    assert found == {"accuracy": 0.5, "parse_failure": 0.5}
