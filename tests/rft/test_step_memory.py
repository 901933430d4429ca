"""What a step needs of memory, by the tracker over fake tensors: against what can be counted by hand."""

from dataclasses import replace

import pytest
import torch
from torch._subclasses import FakeTensor
from torch.nn import functional as F

from rft.common.four_bit import frozen_linear
from rft.common.trainable import add_lora
from rft.studies import step_memory
from rft.studies.sizes_only import FourBit, SizesOnly
from rft.studies.step_memory import Shape, measured, tracked
from tvad.common.errors import InputError

SMALL = Shape(frames=4, height=112, width=112, text=60, group=2, completion=20)


@pytest.fixture
def small(monkeypatch):
    """True widths, few layers."""
    vision = step_memory.SIZES["7b"]["vision_config"] | {"depth": 4, "fullatt_block_indexes": [1, 3]}
    text = step_memory.SIZES["7b"]["text_config"] | {"num_hidden_layers": 1}
    sizes = {"small": step_memory.SIZES["7b"] | {"vision_config": vision, "text_config": text}}
    monkeypatch.setattr(step_memory, "SIZES", sizes)
    # The shipped files adapt more layers than there are here, which is refused.
    monkeypatch.setattr(step_memory, "add_lora", lambda model, spec: add_lora(model, replace(spec, layers=1)))
    return "small"


def test_nothing_is_computed():
    """Operations that are taken apart (a linear layer with a bias) made real tensors on the way; these would
    be of 80 GB."""
    with SizesOnly() as mode:
        rows = torch.empty(9, 200_000, dtype=torch.bfloat16)
        weight = torch.empty(100_000, 200_000, dtype=torch.bfloat16)
        bias = torch.empty(100_000, dtype=torch.bfloat16)
        mode.everything = False
        out = F.linear(rows, weight, bias)
    assert type(out) is FakeTensor and out.shape == (9, 100_000) and out.dtype == torch.bfloat16


@pytest.mark.slow
def test_the_tracker_finds_weights_gradients_and_moments(small):
    found = tracked("stage 1", small, SMALL)
    model = step_memory.model_of(small, "meta")
    ahd = sum(p.numel() for p in model.model.ahd.parameters())
    whole = sum(p.numel() for p in model.parameters())
    weights = 2 * (whole - ahd) + 4 * ahd  # bfloat16, what trains in float32
    assert abs(found["Parameter"] / weights - 1) < 0.02
    assert 8 * ahd <= found["Optstate"] < 12 * ahd, "two moments in float32, and what a step takes besides"
    assert found["Total"] > weights + 8 * ahd


@pytest.mark.slow
def test_more_completions_need_more(small):
    few, many = (tracked("grpo", small, Shape(4, 112, 112, 60, n, 40))["Total"] for n in (1, 12))
    assert many > few


@pytest.mark.slow
@pytest.mark.parametrize("step", step_memory.STEPS)
def test_the_tracker_agrees_with_a_real_step(step, small):
    shape = Shape(frames=8, height=224, width=224, text=128, group=4, completion=64)
    real = measured(step, small, shape, "cpu")["Total"]
    assert tracked(step, small, shape, like="cpu")["Total"] == pytest.approx(real, rel=0.1)


@pytest.mark.slow
def test_ranks_share_weights_and_moments_and_hold_gathered_ones_besides(small):
    one, two, eight = (tracked("grpo", small, SMALL, ranks=n) for n in (1, 2, 8))
    assert two["Sharded Param"] == pytest.approx(one["Parameter"] / 2, rel=0.01)
    assert eight["Sharded Param"] == pytest.approx(one["Parameter"] / 8, rel=0.01)
    assert eight["OptState"] == pytest.approx(one["Optstate"] / 8, rel=0.05)
    # What is gathered does not depend on the ranks, but for the rows that even out their parts.
    assert eight["Unsharded Param"] == pytest.approx(two["Unsharded Param"], rel=1e-4)
    assert two["Unsharded Param"] > 0
    assert eight["Total"] < two["Total"]
    ddp = tracked("stage 1", small, SMALL, ranks=8)
    alone = tracked("stage 1", small, SMALL)
    # In this order (behind sharded models) two calls differed by 39 kB; by themselves they are equal.
    assert ddp["Total"] == pytest.approx(alone["Total"] + ddp["DDP buckets"], rel=1e-4)
    assert ddp["DDP buckets"] == pytest.approx(alone["Optstate"] / 2, rel=0.5)


def test_four_bits_take_what_bitsandbytes_takes():
    functional = pytest.importorskip("bitsandbytes.functional")
    weight = torch.randn(512, 1024).bfloat16()
    packed, state = functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    scales = (state.absmax, state.state2.absmax)
    theirs = packed.numel() + sum(one.numel() * one.element_size() for one in scales)
    layer = torch.nn.Linear(1024, 512, bias=False, dtype=torch.bfloat16)
    ours = FourBit(layer).weight
    assert ours.numel() == pytest.approx(theirs, rel=0.01) and ours.element_size() == 1


@pytest.mark.slow
def test_a_recipe_in_four_bits_holds_less(small, monkeypatch):
    whole = tracked("grpo", small, SMALL, recipe="tvad-7b-48gb")
    four = tracked("grpo", small, SMALL, recipe="tvad-7b-24gb")
    model = step_memory.model_of(small, "meta")
    saved = sum(layer.weight.numel() for layer in frozen_linear(model.requires_grad_(False)).values())
    assert whole["Parameter"] - four["Parameter"] == pytest.approx(saved * (2 - 0.5 - 1 / 64), rel=0.02)
    with pytest.raises(InputError, match="give --step"):
        step_memory.show(config="tvad-7b-24gb")
