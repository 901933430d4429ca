"""The shipped 7B stage files, unchanged but for paths and steps, from a checkpoint in the published layout
with bfloat16 weights: through evaluation, selection, all stages and the merge."""

import json
import subprocess
import sys

import pytest
import torch
import yaml
from conftest import ROOT
from stock_checkpoint import build_stock
from transformers import AutoModelForImageTextToText, AutoProcessor

from bench.models.hf import HfModel
from tvad.data import load
from tvad.data.dataset import ClipStore

SHIPPED = ("tvad-7b-ubnormal", "tvad-7b-shanghaitech")


def on_this_machine(name: str, start, data, out):
    """A shipped stage file with other paths, two steps a stage, an evaluation of four clips after each."""
    spec = yaml.safe_load((ROOT / f"configs/stage/{name}.yaml").read_text())
    spec |= {"start": str(start), "out": str(out / name)}
    for stage in spec["stages"]:
        stage["data"] |= {"train": str(data), "validation": str(data), "validation_clips": 4}
        del stage["optimiser"]["epochs"]
        stage["optimiser"]["steps"], stage["selection"]["save_steps"] = 2, 1
    path = out / f"{name}.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return build_stock(tmp_path_factory.mktemp("stock"))


@pytest.mark.parametrize("name", [SHIPPED[0], pytest.param(SHIPPED[1], marks=pytest.mark.slow)])
def test_the_shipped_7b_files_train_a_stock_checkpoint_to_the_end(name, stock, scenes, tmp_path):
    path = on_this_machine(name, stock, scenes, tmp_path)
    # A process of its own: the files ask for loaders with workers.
    command = [sys.executable, "-m", "rft.train_stage", "--config", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "evaluated on 4 clips (" in done.stdout
    for number, stage in enumerate(("ahd", "rae-a", "rae-b")):
        record = json.loads((tmp_path / name / f"{number}-{stage}/model/stage.json").read_text())
        steps = [row["step"] for row in record["history"] if "eval_loss" in row]
        assert record["best"] is not None and steps == [1, 2]
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / name / "model", dtype="auto")
    processor = AutoProcessor.from_pretrained(tmp_path / name / "model")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert not any("lora" in key or "special_rows" in key for key in model.state_dict())
    assert model.config.text_prompts["abnormal"] and bool(model.model.ahd.text_features.any())
    maps = HfModel(model.eval(), processor).heatmaps([ClipStore(2.0, 8).frames(load(scenes)[0])])
    assert maps is not None and ((maps[0] >= 0) & (maps[0] <= 1)).all()
    # What no stage trains is the stock checkpoint's, bit by bit.
    before = AutoModelForImageTextToText.from_pretrained(stock, dtype="auto").state_dict()
    after = model.state_dict()
    moved = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert moved and all(
        key.endswith(("q_proj.weight", "v_proj.weight", "embed_tokens.weight")) for key in moved
    )


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_decoder_reads_what_a_tower_of_another_type_gives(kind, checkpoint, scenes):
    """While AHD trains it is float32 behind a bfloat16 tower, in rollouts and evaluations too."""
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.bfloat16).eval()
    processor, clips = AutoProcessor.from_pretrained(checkpoint), [ClipStore(2.0, 8).frames(load(scenes)[0])]
    expected = HfModel(model, processor).heatmaps(clips)
    model.model.ahd.to(kind)
    found = HfModel(model, processor).heatmaps(clips)
    assert abs(found[0] - expected[0]).max() < 0.03
