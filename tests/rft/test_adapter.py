"""An adapter on its start is the trained policy, whatever trained beside LoRA."""

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

from rft.common.adapter import adapter_of, save_adapter, trained_modules
from rft.common.trainable import LoraSpec, add_lora, select_trainable
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.prompts import messages

KINDS = [
    ["model.rae.*"],
    ["model.rae.convs.*", "model.ahd.*"],
    ["model.rae.base"],
    ["model.language_model.*", "lm_head.*"],
    ["*"],
    ["model.language_model.embed_tokens.*"],
    ["model.visual.*"],
]


@pytest.mark.parametrize("family", ["checkpoint", "checkpoint_qwen3"])
@pytest.mark.parametrize("trains", KINDS, ids=" ".join)
def test_an_adapter_holds_all_that_trained(family, trains, request, scenes, tmp_path):
    start = str(request.getfixturevalue(family))
    policy = AutoModelForImageTextToText.from_pretrained(start)
    select_trainable(policy, trains)
    tuner = add_lora(policy, LoraSpec(2, 4, 8, 0.0))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
    save_adapter(adapter_of(tuner), tmp_path / "adapter", start)

    processor = AutoProcessor.from_pretrained(start)
    text = processor.apply_chat_template(messages("What?", "clip"), tokenize=False)
    inputs = processor.encode([text], [ClipStore(2.0, 4).frames(load(scenes)[0])])
    with torch.no_grad():
        wanted = policy.eval()(**inputs).logits
        loaded = PeftModel.from_pretrained(
            AutoModelForImageTextToText.from_pretrained(start), tmp_path / "adapter"
        ).eval()
        assert torch.allclose(loaded(**inputs).logits, wanted, atol=1e-4, rtol=1e-4)
    merged, ours = loaded.merge_and_unload().state_dict(), tuner.merge_and_unload().state_dict()
    assert not [name for name in ours if not torch.allclose(merged[name], ours[name], atol=1e-6)]
    named = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["modules_to_save"]
    words = (tmp_path / "adapter" / "README.md").read_text()
    assert named and all(f"`{name}`" in words for name in named)


def test_an_adapter_of_lora_alone_names_no_further_module(checkpoint, tmp_path):
    policy = AutoModelForImageTextToText.from_pretrained(checkpoint)
    policy.requires_grad_(False)
    save_adapter(adapter_of(add_lora(policy, LoraSpec(2, 4, 8, 0.0))), tmp_path / "adapter", "start")
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["modules_to_save"] is None
    assert "beside" not in (tmp_path / "adapter" / "README.md").read_text().splitlines()[0]


def test_what_trained_beside_lora_is_told_by_its_largest_modules():
    model = torch.nn.Module()
    model.model = torch.nn.Module()
    model.model.rae, model.model.other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    model.model.items = torch.nn.ModuleList([torch.nn.Linear(2, 2)])
    model.head = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    model.requires_grad_(False)
    for part in (model.model.rae, model.model.items, model.head[0]):
        part.requires_grad_(True)
    # A list has no forward that PEFT could wrap; of the head one of two trained.
    assert trained_modules(model) == ["head.0", "model.items.0", "model.rae"]
