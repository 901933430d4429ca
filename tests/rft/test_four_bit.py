"""A decoder in NF4 while adapters train: what is in four bits, that it learns, and that what is kept is the
start with the adapters added, bit by bit. On the CPU, where bitsandbytes quantises too."""

import json
from types import SimpleNamespace

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from grpo_runs import run_of
from peft import PeftModel
from stage_kills import killed_in_step_4
from stock_checkpoint import build_stock
from torch import nn
from transformers import AutoModelForImageTextToText, AutoProcessor

from rft.common.four_bit import frozen_linear, own_weights, quantise, restore
from rft.common.trainable import LoraSpec, add_lora, select_trainable
from rft.curriculum.config import Data, Losses, Optimiser, Selection, Stage, Texts
from rft.curriculum.stage import run
from rft.grpo import weights
from rft.grpo.config import GrpoRun
from rft.grpo.train import train
from tvad.common.errors import InputError
from tvad.model.start import start_from

EVERYWHERE = LoraSpec(0, 4, 8, 0.0, targets=["model.language_model.layers.*"])


@pytest.fixture
def model(checkpoint):
    model = AutoModelForImageTextToText.from_pretrained(checkpoint)
    select_trainable(model, ["model.rae.*"])
    return model


def stage_of(scenes, **changes):
    return Stage(
        **{
            "name": "words",
            "trains": ["model.rae.*"],
            "data": Data(str(scenes)),
            "texts": Texts(dialogue=True),
            "optimiser": Optimiser(lr=1e-2, steps=4, batch=2),
            "selection": Selection(save_steps=2),
            "lora": EVERYWHERE,
            "load_in_4bit": True,
            **changes,
        }
    )


def test_the_frozen_decoder_alone_is_rounded_and_comes_back_bit_by_bit(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whole, names = own_weights(model), list(frozen_linear(model))
    ids = torch.arange(40)[None]
    with torch.no_grad():
        sure = model(input_ids=ids).logits
        quantise(model, torch.float32)
        rounded = model(input_ids=ids).logits
        layer = model.get_submodule(names[0])
        assert isinstance(layer, Linear4bit) and layer.weight.dtype == torch.uint8
        assert layer.weight.numel() * 2 == whole[f"{names[0]}.weight"].numel()
        near = {
            f"{name}.weight": dequantize_4bit(part.weight.data, part.weight.quant_state)
            for name in names
            if isinstance(part := model.get_submodule(name), Linear4bit)
        }
        assert all(0 < float((near[name] - whole[name]).abs().max()) < 0.06 for name in whole)
        restore(model, near)
        assert torch.allclose(model(input_ids=ids).logits, rounded, atol=1e-4)
    assert len(names) == 4 * 7 and all(name.startswith("model.language_model.layers.") for name in names)
    assert not torch.equal(sure, rounded)
    restore(model, whole)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_an_evaluation_takes_no_gradient_from_the_steps_behind_it(model):
    """bitsandbytes repacks weights for some CPUs when they are evaluated."""
    quantise(model, torch.bfloat16)
    add_lora(model, EVERYWHERE)
    ids = torch.arange(40)[None]
    with torch.no_grad():
        model.eval()(input_ids=ids)
    model.train()(input_ids=ids).logits.float().clamp(-9, 9).sum().backward()
    learned = [p for n, p in model.named_parameters() if "lora_B" in n and ".layers.0." in n]
    assert learned and all(bool(p.grad.any()) for p in learned)


def test_what_comes_back_has_its_adapters_added(model):
    whole = own_weights(model)
    quantise(model, torch.float32)
    tuner = add_lora(model, EVERYWHERE)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    name = "model.language_model.layers.1.mlp.down_proj"
    layer = model.get_submodule(name)
    expected = whole[f"{name}.weight"] + 2.0 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    restore(model, whole)
    model = tuner.merge_and_unload()
    assert torch.allclose(model.get_submodule(name).weight, expected, atol=1e-6)
    assert not any("lora" in name or "quant" in name for name in model.state_dict())


def test_a_stage_trains_over_four_bits_resumes_and_merges_into_the_whole_weights(
    checkpoint, scenes, tmp_path, monkeypatch
):
    def trained(folder):
        parts = start_from(str(checkpoint))
        return run(stage_of(scenes), *parts, tmp_path / folder, 0, 2.0, 8, log=lambda text: None)

    whole = trained("whole").state_dict()
    start = start_from(str(checkpoint))[0].state_dict()
    assert whole.keys() == start.keys() and {v.dtype for v in whole.values()} == {torch.float32}
    moved = {name for name, value in start.items() if not torch.equal(value, whole[name])}
    assert {name for name in moved if "language_model" in name} == {
        name for name in start if "language_model.layers" in name and name.endswith("proj.weight")
    }
    assert not any(name.startswith(("model.visual.", "model.ahd.")) for name in moved)
    # A small step of the adapters, no rounding to four bits.
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    assert torch.linalg.matrix_rank(whole[name] - start[name], atol=1e-4) <= 4

    killed_in_step_4(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        trained("cut")
    monkeypatch.undo()
    again = trained("cut").state_dict()
    assert all(torch.allclose(value, again[name], rtol=0, atol=1e-6) for name, value in whole.items())


def test_a_stock_checkpoint_in_bfloat16_trains_over_four_bits_and_merges_into_its_own_weights(
    scenes, tmp_path
):
    stock = str(build_stock(tmp_path / "stock"))
    stage = stage_of(scenes, optimiser=Optimiser(lr=1e-2, steps=2, batch=2), options={"bf16": True})
    model = run(stage, *start_from(stock), tmp_path / "stage", 0, 2.0, 8, log=lambda text: None)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    after = model.state_dict()
    before = start_from(stock)[0].state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    inner = {n for n in before if "language_model.layers" in n and n.endswith("proj.weight")}
    assert moved & inner and all(name.startswith("model.rae.") for name in moved - inner)
    # The adapters' rank of difference and bfloat16's rounding (2^-9 of a value); NF4's is some 2^-3.5.
    for name in moved & inner:
        beyond = torch.linalg.svdvals(after[name].float() - before[name].float())[EVERYWHERE.r :]
        assert float(beyond.norm() / before[name].float().norm()) < 2**-8, name


def test_grpo_draws_from_the_policy_in_four_bits_and_keeps_the_start_with_its_adapters(
    checkpoint, scenes, tmp_path
):
    plan = run_of(scenes, checkpoint, tmp_path / "run", max_steps=2, beta=0.04)
    plan.trains, plan.lora, plan.load_in_4bit = ["model.rae.*"], EVERYWHERE, True
    trainer = train(plan)
    assert any(isinstance(module, Linear4bit) for module in trainer.core.modules())
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    # The engine and the trainer are one model: their log-probs agree.
    assert all(row["sampler_gap/max"] < 1e-3 for row in rows)
    kept = AutoModelForImageTextToText.from_pretrained(tmp_path / "run/model").state_dict()
    start = AutoModelForImageTextToText.from_pretrained(checkpoint)
    adapted = PeftModel.from_pretrained(start, tmp_path / "run/adapter").merge_and_unload().state_dict()
    assert kept.keys() == adapted.keys()
    assert all(torch.allclose(value, adapted[name], atol=1e-6) for name, value in kept.items())
    assert AutoProcessor.from_pretrained(tmp_path / "run/model") is not None


def test_the_reference_has_in_four_bits_what_the_policy_has(checkpoint):
    plan = GrpoRun("out", str(checkpoint), "data", {}, lora=LoraSpec(1, 4, 8, 0.0), load_in_4bit=True)
    plan.trains = ["model.language_model.layers.0.mlp.*"]
    arguments = SimpleNamespace(bf16=False, deepspeed_plugin=None)
    policy = weights.loaded(plan.model, arguments)
    weights.made_trainable(policy, plan, arguments)
    reference = weights.reference(plan, arguments, policy)
    assert not any(p.requires_grad for p in reference.parameters())
    assert any(isinstance(module, Linear4bit) for module in reference.modules())
    ids = torch.arange(40)[None]
    with torch.no_grad():
        found = [model.eval()(input_ids=ids).logits for model in (policy, reference)]
    assert torch.equal(*found)


def test_four_bits_are_refused_where_they_cannot_be(checkpoint, scenes, tmp_path):
    plan = run_of(scenes, checkpoint, tmp_path / "run")
    plan.load_in_4bit, plan.engine = True, "vllm"
    with pytest.raises(InputError, match=r"set engine: hf; with vllm it was not run"):
        train(plan)
    with pytest.raises(InputError, match="load_in_4bit is for stages of words"):
        stage_of(scenes, losses=Losses(heatmap=1.0)).check()
