"""LoRA on the layers that patterns name: which ones, that each learns, and that what is kept is merged."""

import pytest
import torch
from grpo_runs import run_of
from peft import PeftModel
from safetensors.torch import load_file
from stock_checkpoint import TINY, build_stock
from torch import nn
from transformers import AutoModelForImageTextToText, AutoProcessor, Qwen2_5_VLForConditionalGeneration

from rft.common.trainable import LoraSpec, add_lora, lora_modules, select_trainable
from rft.curriculum.config import Data, Optimiser, Stage, Texts
from rft.curriculum.stage import run
from rft.grpo.config import Features
from rft.grpo.train import train
from tvad.common.errors import InputError
from tvad.model.start import start_from

PATTERNS = ["model.language_model.layers.*", "model.visual.blocks.*", "model.visual.merger.*"]


@pytest.fixture(params=["checkpoint", "checkpoint_qwen3"])
def folder(request):
    return request.getfixturevalue(request.param)


def linear(model, prefixes):
    return {n for n, m in model.named_modules() if isinstance(m, nn.Linear) and n.startswith(prefixes)}


def test_patterns_name_all_linear_layers_and_stand_beside_the_last_ones(folder):
    model = AutoModelForImageTextToText.from_pretrained(folder)
    select_trainable(model, ["model.rae.*"])
    parts = tuple(pattern.removesuffix("*") for pattern in PATTERNS)
    everything = linear(model, parts)
    assert len({name.split(".")[-1] for name in everything}) > 8
    assert set(lora_modules(model, LoraSpec(0, targets=PATTERNS))) == everything
    merger = set(lora_modules(model, LoraSpec(2, targets=["model.visual.merger.*"])))
    last = {f"model.language_model.layers.{n}.self_attn.{m}" for n in (2, 3) for m in ("q_proj", "v_proj")}
    assert merger == last | linear(model, ("model.visual.merger.",))
    # What trains as a whole needs no adapter.
    assert not any(name.startswith("model.rae") for name in lora_modules(model, LoraSpec(0, targets=["*"])))


@pytest.mark.parametrize(
    "spec, words",
    [
        (
            LoraSpec(0, targets=["model.visual.heads.*"]),
            r"no linear layer matches 'model\.visual\.heads\.\*'",
        ),
        (LoraSpec(0), "nothing to adapt"),
        (LoraSpec(0, targets=["model.rae.*"]), "nothing to adapt"),
        (LoraSpec(99), "lora: layers is 99, the model has"),
    ],
)
def test_what_adapts_nothing_is_refused(spec, words, checkpoint):
    model = AutoModelForImageTextToText.from_pretrained(checkpoint)
    select_trainable(model, ["model.rae.*"])
    with pytest.raises(InputError, match=words):
        add_lora(model, spec)


def test_a_head_that_is_tied_to_the_embedding_is_refused(tmp_path):
    """As Qwen2.5-VL-3B is published: an adapter on the head, merged, would be in the embedding too."""
    stock = build_stock(tmp_path / "stock", TINY)
    backbone = Qwen2_5_VLForConditionalGeneration.from_pretrained(stock, dtype="auto")
    backbone.config.tie_word_embeddings = backbone.config.text_config.tie_word_embeddings = True
    backbone.lm_head.weight = backbone.get_input_embeddings().weight
    backbone.save_pretrained(stock)
    model, _ = start_from(str(stock))
    assert model.lm_head.weight is model.get_input_embeddings().weight
    select_trainable(model, ["model.rae.*"])
    for pattern in ("*", "lm_head"):
        with pytest.raises(InputError, match=r"lm_head has the embedding's weight \(tie_word_embeddings\)"):
            lora_modules(model, LoraSpec(0, targets=[pattern]))
    assert lora_modules(model, LoraSpec(0, targets=["model.*"]))


def test_a_stage_trains_every_layer_that_is_named_and_merges_it(folder, scenes, tmp_path):
    parts = AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    before = {name: value.clone() for name, value in parts[0].state_dict().items()}
    stage = Stage(
        "x",
        ["model.rae.*"],
        Data(str(scenes)),
        texts=Texts(dialogue=True),
        optimiser=Optimiser(lr=1e-2, steps=2, batch=2),
        lora=LoraSpec(0, r=4, dropout=0.0, targets=PATTERNS),
    )
    model = run(stage, *parts, tmp_path, 0, 2.0, 8, log=lambda text: None)
    after = AutoModelForImageTextToText.from_pretrained(tmp_path / "model").state_dict()
    assert before.keys() == after.keys() and not any("lora" in name for name in after)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    named = linear(model, tuple(pattern.removesuffix("*") for pattern in PATTERNS))
    adapted = {name for name in moved if not name.startswith("model.rae.")}
    # Not the last block's: AHD is frozen and RAE alone reads it, the text reads the merger.
    assert adapted == {f"{name}.weight" for name in named}


def test_a_run_adapts_the_tower_and_keeps_no_features_of_it(checkpoint, scenes, tmp_path):
    plan = run_of(scenes, checkpoint, tmp_path / "run", max_steps=1)
    plan.trains, plan.lora = ["model.rae.*"], LoraSpec(0, 4, 8, 0.0, targets=["model.visual.blocks.*"])
    plan.features = Features(str(tmp_path / "features"))
    with pytest.raises(InputError, match=r"leave it out of `trains` and of `lora\.targets`"):
        train(plan)
    plan.features = None
    trainer = train(plan)
    start = AutoModelForImageTextToText.from_pretrained(checkpoint)
    adapted = linear(start, ("model.visual.blocks.",))
    names = [n for n in load_file(tmp_path / "run/adapter/adapter_model.safetensors") if "lora_A" in n]
    assert {n.removeprefix("base_model.model.").removesuffix(".lora_A.weight") for n in names} == adapted
    again = PeftModel.from_pretrained(start, tmp_path / "run/adapter")
    assert set(again.base_model.targeted_module_names) == adapted
    start = AutoModelForImageTextToText.from_pretrained(checkpoint)
    with torch.no_grad():  # as if it had learned a lot
        for name, parameter in trainer.core.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.1)
    found, expected = dict(trainer.weights()), dict(start.engine_weights())  # as rollout engines get them
    assert found.keys() == expected.keys()
    moved = {name for name, value in expected.items() if not torch.equal(value, found[name])}
    assert {f"{name}.weight" for name in adapted} <= moved
    assert all(name.startswith(("model.visual.blocks.", "model.rae.")) for name in moved)
