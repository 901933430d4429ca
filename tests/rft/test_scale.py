"""Several processes on the CPU, by gloo."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, SHIPPED
from test_logged_pictures import logged

from tvad.model import TvadForConditionalGeneration

SCRIPT = str(ROOT / "tests/rft/scale_run.py")


TOKENS = 547  # two groups of a process fill a pass or not, by a token or two


def losses(command: list[str], checkpoint, scenes, out, batch: int, features) -> dict:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, SCRIPT, str(checkpoint), str(scenes), str(out), str(batch), str(features), str(TOKENS)],
        capture_output=True,
        text=True,
        timeout=500,
        env=environment,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((out / "losses.json").read_text())


@pytest.fixture(scope="module")
def alone(scenes, tmp_path_factory):
    """(what three steps of 16 completions in one process gave, folder of its features)"""
    folder = tmp_path_factory.mktemp("alone")
    features = folder / "features"
    return losses([sys.executable], SHIPPED, scenes, folder, 16, features), features


def sharded(folder: Path) -> Path:
    """The shipped ZeRO-3, but with every weight sharded: by default DeepSpeed leaves those of fewer than
    100,000 values whole, which here are nearly all."""
    shipped = yaml.safe_load((ROOT / "configs/accelerate/zero3.yaml").read_text())
    plan = shipped["deepspeed_config"]
    zero = {"stage": plan["zero_stage"], "stage3_param_persistence_threshold": 0}
    zero |= {"stage3_gather_16bit_weights_on_model_save": plan["zero3_save_16bit_model"]}
    auto = dict.fromkeys(
        ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"), "auto"
    )
    own = folder / "zero3.json"
    own.write_text(json.dumps(auto | {"zero_optimization": zero, "gradient_clipping": "auto"}))
    settings = {k: v for k, v in shipped.items() if k != "mixed_precision"}
    settings["deepspeed_config"] = {"deepspeed_config_file": str(own), "zero3_init_flag": False}
    (folder / "zero3.yaml").write_text(yaml.safe_dump(settings))
    return folder / "zero3.yaml"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp", "zero2", "zero3"])
def test_two_processes_train_as_one(how, alone, scenes, tmp_path):
    """Though one needs more passes than the other, and one lacks the features of a clip."""
    alone, known = alone
    features = shutil.copytree(known, tmp_path / "features")
    sorted(features.rglob("*.safetensors"))[0].unlink()
    if how != "ddp" and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("DeepSpeed is not installed")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    if how != "ddp":
        launch = [
            sys.executable,
            "-m",
            "accelerate.commands.launch",
            "--config_file",
            str(sharded(tmp_path) if how == "zero3" else ROOT / f"configs/accelerate/{how}.yaml"),
            "--num_processes",
            "2",
            "--mixed_precision",
            "no",
        ]
    found = losses(launch, SHIPPED, scenes, tmp_path, 8, features)
    one, other = found["passes"]
    assert any(a[0] != b[0] for a, b in zip(one, other, strict=True)), "processes need the same: no test"
    assert [a[1] for a in one] == [b[1] for b in other]
    assert found["misses"][0] != found["misses"][1], "processes lack the same: no test"
    if how == "zero3":  # every call of the head is a common affair
        assert {*found["parts"][0], *found["parts"][1]} == {None}
    else:
        assert found["parts"][0] != found["parts"][1] and max(found["parts"][0]) > 1, "no test"
    assert found["processes"] == 2 and alone["processes"] == 1
    assert found["synced"] == 4, "for every step's rollout, and for the evaluation behind the last"
    for one, two in zip(alone["rows"], found["rows"], strict=True):
        assert two["reward"] == pytest.approx(one["reward"], abs=1e-6)
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-4)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-3)
        assert two["sampler_gap/max"] == pytest.approx(one["sampler_gap/max"], rel=1e-3)
    assert any(row["loss"] for row in alone["rows"])
    seen = [logged(folder) for folder in (known.parent, tmp_path)]
    assert len(seen[0]) == len(seen[1]) == 16  # completions and their clips' pictures, of both processes
    for (text, picture), (other, its) in zip(*seen, strict=True):
        assert text == other and np.array_equal(picture, its)
    measured = [
        json.loads((folder / "evaluations/step-3/metrics.json").read_text())
        for folder in (known.parent, tmp_path)
    ]
    assert measured[0] == measured[1] and measured[0]["mcq.accuracy"]["n"] > 1
    trained = TvadForConditionalGeneration.from_pretrained(tmp_path / "model")
    assert not torch.equal(
        trained.lm_head.weight, TvadForConditionalGeneration.from_pretrained(SHIPPED).lm_head.weight
    )
