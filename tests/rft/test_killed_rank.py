"""GRPO of a published checkpoint on two processes, one of which is killed in the midst of a rollout."""

import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file
from stock_checkpoint import build_stock
from test_run import plain, steps_of
from transformers import AutoModelForImageTextToText

from tvad.__main__ import main as tvad

STEPS, KILLED = 5, 4  # the last checkpoint before it is of step 2: step 3 is done again

pytestmark = pytest.mark.slow


def grpo(checkpoint, scenes, out, killed: int = 0) -> subprocess.CompletedProcess:
    training = {
        "max_steps": STEPS,
        "save_steps": 2,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 16,
        "learning_rate": 1e-3,
    }
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launch, "--", str(ROOT / "tests/rft/killed_rank.py"), str(killed), "--config", "demo"]
    command += [
        "--model",
        str(checkpoint),
        "--data",
        str(scenes),
        "--out",
        str(out),
        "--engine",
        "transformers",
    ]
    command += ['--trains=["model.language_model.*", "lm_head.*"]']
    command += [word for key, value in training.items() for word in (f"--training.{key}", str(value))]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=ROOT, env=environment)


def test_a_run_whose_second_process_was_killed_in_a_rollout_ends_as_an_unbroken_one(scenes, tmp_path):
    backbone, stock = str(build_stock(tmp_path / "backbone")), tmp_path / "stock"
    assert tvad(["start", "--backbone", backbone, "--out", str(stock)]) == 0
    done = grpo(stock, scenes, tmp_path / "whole")
    assert done.returncode == 0, done.stderr[-3000:]

    broken = grpo(stock, scenes, tmp_path / "cut", KILLED)
    assert broken.returncode != 0 and "SIGKILL" in broken.stderr, broken.stderr[-3000:]
    assert [row["step"] for row in steps_of(tmp_path / "cut")] == [1, 2, 3]
    assert not (tmp_path / "cut/model").exists()

    again = grpo(stock, scenes, tmp_path / "cut")
    assert again.returncode == 0, again.stderr[-3000:]
    whole, cut = (plain(steps_of(tmp_path / name)) for name in ("whole", "cut"))
    assert [row["step"] for row in whole] == [1, 2, 3, 4, 5] and whole == cut
    assert any(row["loss"] for row in whole)
    rolled = [(tmp_path / name / "rollouts.jsonl").read_text() for name in ("whole", "cut")]
    assert rolled[0] == rolled[1]
    one, other = (load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "cut"))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    start = AutoModelForImageTextToText.from_pretrained(stock, dtype="auto").state_dict()
    assert any(not torch.equal(value, one[key]) for key, value in start.items() if key in one)
