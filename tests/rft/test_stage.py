import json

import pytest
import torch
from conftest import ROOT

from rft.curriculum.data import Branches, ClipCollator, token_targets
from rft.curriculum.stage import LoraSpec, Stage, run
from rft.curriculum.trainer import stage_losses
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.errors import InputError
from tvad.model import TvadForConditionalGeneration, TvadProcessor

PROMPTS = {"normal": ["people walking"], "abnormal": ["an anomaly"]}


@pytest.fixture
def parts(checkpoint):
    return TvadForConditionalGeneration.from_pretrained(checkpoint), TvadProcessor.from_pretrained(checkpoint)


def changed(before, model):
    return {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}


def carry_out(parts, tmp_path, **knobs):
    model, processor = parts
    before = {k: v.clone() for k, v in model.state_dict().items()}
    stage = Stage(**{"name": "x", "steps": 2, "lr": 1e-2, "batch": 2, **knobs})
    trained = run(stage, model, processor, tmp_path, 0, 2.0, 8, PROMPTS, log=lambda text: None)
    return before, trained


def test_stage_1_changes_only_the_heatmap_decoder(parts, scenes, tmp_path):
    before, model = carry_out(parts, tmp_path, data=str(scenes), trains=["model.ahd.*"], kinds=[], text_loss=0.0, heatmap_loss=1.0)
    names = changed(before, model)
    assert names and all(name.startswith("model.ahd.") for name in names) and "model.ahd.text_features" not in names


def test_stage_2_changes_rae_the_three_tokens_and_merged_lora(parts, scenes, tmp_path):
    before, model = carry_out(parts, tmp_path, data=str(scenes), trains=["model.rae.*"], special_tokens=True, lora=LoraSpec(layers=2))
    names = changed(before, model)
    layers = {n for n in names if ".layers." in n}
    assert layers == {f"model.language_model.layers.{i}.self_attn.{p}.weight" for i in (2, 3) for p in ("q_proj", "v_proj")}
    assert all(n.startswith("model.rae.") or n in layers or n.endswith("embed_tokens.weight") for n in names)
    table = model.get_input_embeddings().weight
    moved = (table != before["model.language_model.embed_tokens.weight"]).any(1).nonzero().flatten().tolist()
    config = model.config
    assert set(moved) <= {config.anomaly_start_token_id, config.anomaly_pad_token_id, config.anomaly_end_token_id}


def test_a_finished_stage_is_not_trained_again_and_loads_from_its_folder(parts, scenes, tmp_path):
    _, model = carry_out(parts, tmp_path, data=str(scenes), trains=["*"], steps=1)
    again = run(Stage("x", str(scenes), ["*"], 1, 1e-2), parts[0], parts[1], tmp_path, 0, 2.0, 8, log=lambda text: None)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))
    assert json.loads((tmp_path / "model" / "stage.json").read_text())["stage"]["name"] == "x"


def test_text_only_stage_and_attributes_leave_no_extra_weights(parts, scenes, tmp_path):
    carry_out(parts, tmp_path / "a", data="symbols", trains=["*"])
    _, model = carry_out(parts, tmp_path / "b", data=str(scenes), trains=["model.visual.*"], kinds=[], text_loss=0.0, heatmap_loss=1.0, attributes=True)
    assert not any("attribute" in name for name in model.state_dict())


def test_a_pattern_without_a_match_is_refused(parts, scenes, tmp_path):
    with pytest.raises(InputError, match=r"model\.nose"):
        carry_out(parts, tmp_path, data=str(scenes), trains=["model.nose.*"])


def test_targets_tell_the_truth_about_the_clip(parts, scenes):
    model, processor = parts
    store, sample = ClipStore(2.0, 8), next(s for s in load(scenes) if s.anomalous)
    grid = processor.vision_inputs([store.frames(sample)])["video_grid_thw"][0].tolist()
    targets = token_targets(sample, store, grid)
    assert len(targets["kind"]) == grid[0] * grid[1] * grid[2] // 4
    lit = targets["kind"] > 0
    assert lit.any() and not targets["box"][~lit].isfinite().any()
    boxes = targets["box"][lit]
    assert boxes.isfinite().any() and float(boxes[boxes.isfinite()].max()) <= 1.0


def test_the_loss_of_a_batch_falls_when_it_is_trained_on(parts, scenes):
    model, processor = parts
    batch = ClipCollator(Branches(processor), ClipStore(2.0, 8), None, True, True)(load(scenes)[:2])
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(8):
        total, _ = stage_losses(model, model, batch, 1.0, 1.0, 1.0)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(float(total.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_the_shipped_curriculum_reads():
    from rft.train_stage import Curriculum
    from tvad import config

    path = ROOT / "configs/stage/tiny.yaml"
    plan = config.build(Curriculum, config.read_yaml(path), str(path))
    assert plan.stages[-1].lora is not None and plan.stages[0].data == "symbols"
