"""A weight is there while its own module computes, and at no other time: so ZeRO-3 has it. Every weight of a
T-VAD is read there alone, in what trains it and in what asks it."""

import pytest
import torch
from asked_clips import asked
from transformers import AutoModelForImageTextToText, AutoProcessor

from rft.curriculum.config import Losses, Texts
from rft.curriculum.data import Branches, ClipCollator
from rft.curriculum.losses import stage_losses
from rft.grpo.logprobs import group_logprobs
from tvad.data import load
from tvad.data.dataset import ClipStore


@pytest.fixture(params=["checkpoint", "checkpoint_qwen3"])
def loaded(request):
    folder = request.getfixturevalue(request.param)
    return AutoModelForImageTextToText.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)


def sent_home(model) -> None:
    """Take every module's own weights away, but for the time in which it computes."""
    for module in model.modules():
        own = dict(module.named_parameters(recurse=False))
        if not own:
            continue
        whole = {name: weight.data for name, weight in own.items()}

        def come(module, inputs, own=own, whole=whole):
            for name, weight in own.items():
                weight.data = whole[name]

        def leave(module, inputs, output, own=own):
            for weight in own.values():
                weight.data = torch.empty(0, dtype=weight.dtype)

        module.register_forward_pre_hook(come)
        module.register_forward_hook(leave)
        leave(module, None, None)


def both(model, call):
    expected = call()
    sent_home(model)
    return expected, call()


def test_of_log_probs_and_heatmaps(loaded):
    model, processor = loaded
    _, prompts, vision = asked(processor, 4)
    completions = [[torch.arange(40, 47), torch.arange(50, 52)]]

    def call():
        with torch.no_grad():
            values, _ = group_logprobs(model, model, prompts, completions, vision, 1.0, 0)
            (seen,) = model.model.encode_clips(vision["pixel_values_videos"], vision["video_grid_thw"])
        return torch.cat(values[0]), seen.heat

    (values, heat), (at_home, heat_at_home) = both(model, call)
    assert torch.equal(values, at_home) and torch.equal(heat, heat_at_home)


def test_of_a_stages_losses(loaded, scenes):
    model, processor = loaded
    collator = ClipCollator(Branches(processor), ClipStore(2.0, 8), Texts(dialogue=True), heatmap=True)
    batch = collator(load(scenes)[:2])

    def call():
        with torch.no_grad():
            return stage_losses(model, model, batch, Losses(1.0, 1.0))[0]

    expected, at_home = both(model, call)
    assert torch.equal(expected, at_home)
