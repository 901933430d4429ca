"""bfloat16 as TRL means it: what trains is float32 under autocast, what is frozen stays as it is, and engines
and checkpoints get the policy in the type of its start."""

import json
from dataclasses import replace

import pytest
import torch
from grpo_runs import run_of
from grpo_scripted import Scripted, moved
from safetensors.torch import load_file
from stock_checkpoint import TINY, build_stock

from rft.common.trainable import LoraSpec
from rft.grpo.train import train
from rft.grpo.video_grpo import VideoGRPOTrainer
from tvad.__main__ import main


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A bfloat16 checkpoint, as the published ones are."""
    folder = tmp_path_factory.mktemp("bf16")
    build_stock(folder / "stock", TINY)
    assert main(["start", "--backbone", str(folder / "stock"), "--out", str(folder / "start")]) == 0
    return folder / "start"


def small(scenes, start, out, trains, lora=None, **training):
    plan = {"bf16": True, "learning_rate": 1e-6, "lr_scheduler_type": "constant", "warmup_steps": 0}
    plan |= {"weight_decay": 0.0, "save_strategy": "no", "max_grad_norm": 0.0, "num_iterations": 20}
    run = run_of(scenes, start, out, **plan | training)
    return replace(run, trains=trains, lora=lora, topics=None, tasks={"judgement": 1})


def test_a_constant_gradient_at_1e_6_moves_every_weight(scenes, start, tmp_path, monkeypatch):
    def constant(self, model, inputs):
        return sum(p.sum() for p in model.parameters() if p.requires_grad)

    monkeypatch.setattr(VideoGRPOTrainer, "_compute_loss", constant)
    before = load_file(start / "model.safetensors")
    trainer = train(small(scenes, start, tmp_path, ["*"], max_steps=20), Scripted())
    after = dict(trainer.core.named_parameters())
    assert {p.dtype for p in after.values()} == {torch.float32}
    shares = moved({n: p.float() for n, p in before.items() if n in after}, after)
    assert len(shares) > 50 and min(shares.values()) == 1.0
    kept = load_file(tmp_path / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in kept.values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, LoraSpec(1, 4, 8, 0.0)], ids=["plain", "lora"])
def test_what_is_frozen_stays_bit_for_bit_and_engines_get_what_is_saved(scenes, start, tmp_path, lora):
    engine = Scripted()
    run = small(scenes, start, tmp_path, ["model.rae.*"], lora, learning_rate=1e-3, num_iterations=1)
    trainer = train(replace(run, rewards={"grpo_scripted:odd": 1.0}), engine)
    assert engine.synced == 2  # before each of two steps
    trains = {p.dtype for p in trainer.core.parameters() if p.requires_grad}
    assert trains == {torch.float32}
    before = load_file(start / "model.safetensors")
    kept = load_file(tmp_path / "model" / "model.safetensors")
    shares = moved(before, {name: kept[name] for name in before})
    learned = {name for name, share in shares.items() if share}
    adapted = {
        name
        for name in before
        if lora
        and name.endswith(("layers.1.self_attn.q_proj.weight", "layers.1.self_attn.v_proj.weight"))
        and "language_model" in name
    }
    assert adapted <= learned <= adapted | {name for name in before if "rae" in name}
    assert learned and {tensor.dtype for tensor in kept.values()} == {torch.bfloat16}
    base = {n.replace(".base_layer", ""): p for n, p in trainer.core.named_parameters()}
    for name in set(before) & set(base):
        assert "rae" in name or torch.equal(base[name].cpu(), before[name]), name
    trainer.state.global_step += 1
    trainer.sync_weights()
    assert all(torch.equal(engine.weights[name], kept[name]) for name in kept if name in engine.weights)


def test_sampler_and_trainer_agree_under_autocast_and_the_reference_begins_as_the_policy(
    scenes, start, tmp_path
):
    run = small(scenes, start, tmp_path, ["model.language_model.*"], num_iterations=1, beta=0.1, max_steps=1)
    trainer = train(run)
    (row,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert row["sampler_gap/mean"] < 0.03 and row["kl"] == 0.0
    assert {p.dtype for p in trainer.ref_model.model.visual.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in trainer.ref_model.model.language_model.parameters()} == {torch.float32}


def test_without_bf16_everything_is_float32(scenes, start, tmp_path):
    trainer = train(small(scenes, start, tmp_path, ["model.rae.*"], bf16=False, max_steps=1), Scripted())
    assert {p.dtype for p in trainer.core.parameters()} == {torch.float32}
    assert {t.dtype for t in load_file(tmp_path / "model/model.safetensors").values()} == {torch.float32}
