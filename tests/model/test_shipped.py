import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file

from bench.models.hf import HfModel
from bench.suite import read
from bench.tasks import heatmap
from rft.curriculum.config import Losses, Texts
from rft.curriculum.data import Branches, ClipCollator
from rft.curriculum.losses import stage_losses
from tvad.data.dataset import ClipStore
from tvad.data.scenes.dataset import ScenesConfig, generate
from tvad.model.packing import Packed
from tvad.model.start import start_from


@pytest.mark.parametrize(
    "name, setting, crowd, suite",
    [
        pytest.param("tvad-tiny", "core", 2, "scenes", marks=pytest.mark.slow),
        pytest.param("tvad-tiny-closed", "closed", 12, "closed", marks=pytest.mark.slow),
    ],
)
def test_heatmaps_of_the_shipped_checkpoints_reach_their_bars(name, setting, crowd, suite, tmp_path):
    """The closed-set test split on which docs/measurements.md reports: micro frame AUC at least 0.90, pixel
    AUC at least 0.95."""
    plan = read(str(ROOT / f"configs/bench/{suite}.yaml"))
    samples = generate(
        ScenesConfig(split="test", setting=setting, clips=300, normal=0.35, max_crowd=crowd),
        tmp_path,
        workers=2,
    )
    store = ClipStore(plan.rate, plan.max_frames)
    clips = [store.frames(sample) for sample in samples]
    maps = HfModel.open(str(ROOT / "assets" / name)).heatmaps(clips)
    found = heatmap.statistics(
        [heatmap.VideoScores(s, m, f) for s, m, f in zip(samples, maps, clips, strict=True)]
    )
    assert found["micro_auc"] >= 0.90 and found["pixel_auc"] >= 0.95


@pytest.mark.parametrize(
    "name, setting, crowd, store",
    [
        ("tvad-tiny", "core", 2, ClipStore(2.0, 8)),
        ("tvad-tiny-closed", "closed", 12, ClipStore(4.0, 16)),
    ],
)
def test_shipped_words_were_learned_with_the_mask_in_force(
    name, setting, crowd, store, tmp_path, monkeypatch
):
    """A model that had learned while every token saw every other would be the better so: eager attention once
    added the mask's True and False to its scores."""
    plan = ScenesConfig(split="test", setting=setting, clips=8, normal=0.35, max_crowd=crowd)
    model, processor = start_from(str(ROOT / "assets" / name), attention="eager")
    collator = ClipCollator(Branches(processor), store, Texts(dialogue=True, form="stored"))
    batch, found = collator(generate(plan, tmp_path)), []
    for mask in (Packed.attention_mask, lambda packed, decoder: packed.allowed()):
        monkeypatch.setattr(Packed, "attention_mask", mask)
        with torch.no_grad():
            found.append(float(stage_losses(model.eval(), model, batch, Losses())[1]["text_loss"]))
    assert found[0] < 0.5 * found[1]


def test_shipped_checkpoints_are_small_and_hold_no_read_outs():
    for folder in sorted((ROOT / "assets").iterdir()):
        weights = folder / "model.safetensors"
        assert weights.stat().st_size < 12e6 and not any("heads" in key for key in load_file(weights))
