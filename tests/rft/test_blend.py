"""Weights between those before a stage and those that it trained (`selection.blend`)."""

import json

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from rft.common.trainable import LoraSpec
from rft.curriculum.config import Data, Losses, Optimiser, Selection, Stage, Texts
from rft.curriculum.stage import run
from tvad.common.errors import InputError

PROMPTS = {"normal": ["people walking"], "abnormal": ["an anomaly"]}
STAGES = {
    "heatmaps": dict(
        trains=["model.visual.blocks.*", "model.ahd.*"],
        texts=Texts(kinds=[]),
        losses=Losses(text=0.0, heatmap=1.0),
        text_features=True,
    ),
    "words": dict(trains=["model.rae.*"], special_tokens=True, lora=LoraSpec(layers=2)),
    "in four bits": dict(trains=["model.rae.*"], lora=LoraSpec(layers=2), load_in_4bit=True),
}


def trained(checkpoint, scenes, out, blend, dtype="auto", **groups):
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=dtype)
    before = {name: value.clone() for name, value in model.named_parameters()}
    plan = Optimiser(steps=2, lr=1e-2, batch=2)
    stage = Stage("x", data=Data(str(scenes)), optimiser=plan, selection=Selection(blend=blend), **groups)
    processor = AutoProcessor.from_pretrained(checkpoint)
    found = run(stage, model, processor, out, 0, 2.0, 8, PROMPTS, log=lambda text: None)
    return before, dict(found.named_parameters())


@pytest.mark.parametrize("family", ["checkpoint", "checkpoint_qwen3"])
@pytest.mark.parametrize("stage", STAGES)
def test_weights_go_a_share_of_their_way_and_what_is_frozen_none(stage, family, request, scenes, tmp_path):
    checkpoint = request.getfixturevalue(family)
    before, whole = trained(checkpoint, scenes, tmp_path / "whole", 1.0, **STAGES[stage])
    _, part = trained(checkpoint, scenes, tmp_path / "part", 0.25, **STAGES[stage])
    moved = {name for name in before if not torch.equal(before[name], whole[name])}
    assert moved and moved == {name for name in before if not torch.equal(before[name], part[name])}
    for name in moved:
        torch.testing.assert_close(part[name], torch.lerp(before[name], whole[name], 0.25), rtol=0, atol=1e-6)
    kept = AutoModelForImageTextToText.from_pretrained(tmp_path / "part" / "model")
    assert all(torch.equal(value, part[name]) for name, value in kept.named_parameters())
    record = json.loads((tmp_path / "part" / "model" / "stage.json").read_text())
    assert record["stage"]["selection"]["blend"] == 0.25
    assert "is 0.25 of the way from the start" in (tmp_path / "part" / "report.html").read_text()
    assert "of the way from the start" not in (tmp_path / "whole" / "report.html").read_text()


def test_no_share_beyond_all_and_none(scenes, checkpoint, tmp_path):
    for share in (0.0, 1.5, -1.0, float("nan")):
        with pytest.raises(InputError, match=r"selection\.blend is .* expected a share above 0, to 1"):
            trained(checkpoint, scenes, tmp_path / "x", share, **STAGES["heatmaps"])
