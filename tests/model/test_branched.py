"""Packed rows whose branches are attended to apart give what a mask of L x L gives."""

import pytest
import torch
from asked_clips import asked
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForImageTextToText, AutoProcessor

from rft.curriculum.config import Losses, Texts
from rft.curriculum.data import Branches, ClipCollator
from rft.curriculum.losses import stage_losses
from rft.grpo.logprobs import group_logprobs
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.model import branched
from tvad.model.branched import Apart, Layout
from tvad.model.packing import pack

ROWS = {
    "one row": ([5], [[3, 3]]),
    "equal": ([7, 7], [[4, 4, 4], [4, 4, 4]]),
    "ragged": ([1, 9, 4], [[1], [2, 7, 1, 3], [5, 5]]),
    "a row without branches": ([6, 3], [[], [4, 2]]),
    "long branches": ([2, 1], [[30, 1], [12]]),
}


def rows(prefixes, branches):
    ones = torch.ones(64, dtype=torch.long)
    return pack([ones[:n] for n in prefixes], [[ones[:n] for n in row] for row in branches], 0)


def both(packed, dtype=torch.float32, sharp=1.0, scale=None):
    """Outputs (real tokens, heads, d) and gradients of a mask of L x L, and apart."""
    generator = torch.Generator().manual_seed(0)
    count, length = packed.segment.shape
    drawn = [torch.randn(count, length, 3, 8, generator=generator, dtype=torch.float64) for _ in range(4)]
    real = (packed.segment >= 0)[..., None, None]
    found = []
    for mask in (packed.allowed(), Apart(Layout.of(packed.segment, packed.step))):
        tensors = [x.to(dtype).mul(sharp).transpose(1, 2).requires_grad_() for x in drawn[:3]]
        out = scaled_dot_product_attention(*tensors, attn_mask=mask, scale=scale).transpose(1, 2) * real
        found.append([out.detach(), *torch.autograd.grad((out * drawn[3].to(dtype)).sum(), tensors)])
    return found


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize(
    "dtype, atol", [(torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 0.06)]
)
def test_outputs_and_gradients_are_those_of_the_mask(name, dtype, atol):
    for sharp, scale in ((1.0, None), (2.0, 0.1)):
        dense, apart = both(rows(*ROWS[name]), dtype, sharp, scale)
        for one, two in zip(dense, apart, strict=True):
            assert one.dtype == two.dtype == dtype
            assert torch.allclose(one, two, atol=atol * sharp**2)


def test_scores_of_hundreds_leave_nothing_infinite():
    """What fills a short branch up is another's token, whose sum of exponents may be far below its scores."""
    dense, apart = both(rows(*ROWS["ragged"]), sharp=30.0)
    for one, two in zip(dense, apart, strict=True):
        assert two.isfinite().all()
        assert torch.allclose(one, two, atol=1e-3 * float(one.abs().max()))


def test_a_mask_that_says_how_is_no_tensor_of_values():
    packed = rows(*ROWS["ragged"])
    mask = Apart(Layout.of(packed.segment, packed.step))
    tensors = [torch.randn(3, 2, packed.segment.shape[1], 8) for _ in range(3)]
    assert mask.to("cpu") is mask and mask.ndim == 4 and mask.numel() == 0
    for wrong in ({"dropout_p": 0.1}, {"is_causal": True}):
        with pytest.raises(NotImplementedError, match="expected neither"):
            scaled_dot_product_attention(*tensors, attn_mask=mask, **wrong)
    with pytest.raises(RuntimeError):  # a copy has forgotten the rows; it is refused, not taken for a mask
        scaled_dot_product_attention(*tensors, attn_mask=mask.clone())


@pytest.fixture(scope="module", params=["checkpoint", "checkpoint_qwen3"])
def loaded(request):
    folder = request.getfixturevalue(request.param)
    return AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)


def test_it_is_taken_where_it_costs_less(loaded):
    decoder = loaded[0].train().model.language_model
    few, many = rows([20], [[4, 4]]), rows([40], [[60] * 16])
    assert type(few.attention_mask(decoder)) is torch.Tensor
    assert type(many.attention_mask(decoder)) is Apart
    assert type(rows([40, 0], [[60] * 16] * 2).attention_mask(decoder)) is torch.Tensor  # nothing to look at
    assert type(rows([64] * 9, [[]] * 9).attention_mask(decoder)) is torch.Tensor
    decoder.config.attention_dropout = 0.1
    try:
        assert type(many.attention_mask(decoder)) is torch.Tensor
        assert type(many.attention_mask(decoder.eval())) is Apart
    finally:
        decoder.config.attention_dropout = 0.0


@pytest.mark.parametrize("way", ["as it is", "recomputed", "autocast"])
def test_log_probs_and_their_gradients_do_not_depend_on_it(loaded, way, monkeypatch):
    model, processor = loaded[0].train(), loaded[1]
    _, prompts, vision = asked(processor, 8, 4)
    completions = [[torch.arange(40, 47), torch.arange(50, 52)], [torch.arange(60, 64)] * 3]
    if way == "recomputed":
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    calls, found = [], []
    monkeypatch.setattr(
        branched, "_attend", lambda *args, real=branched._attend, **kw: calls.append(1) or real(*args, **kw)
    )
    for cost in (1e9, -1e9):  # never, always
        monkeypatch.setattr(branched, "PER_TOKEN", cost)
        with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
            values, _ = group_logprobs(model, model, prompts, completions, vision, 1.0, 0)
        sum(v.sum() for group in values for v in group).backward()
        slopes = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found.append((values, torch.cat(slopes), len(calls)))
        model.zero_grad()
    model.gradient_checkpointing_disable()
    (one, slope, none), (two, other, layers) = found
    assert not none and layers
    close = {"atol": 0.1} if way == "autocast" else {"atol": 1e-4}
    for a, b in zip(one, two, strict=True):
        assert all(torch.allclose(x, y, **close) for x, y in zip(a, b, strict=True))
    assert float((slope - other).norm() / slope.norm()) < (0.1 if way == "autocast" else 1e-4)


def test_a_stages_losses_do_not_depend_on_it(loaded, scenes, monkeypatch):
    model = loaded[0].train()
    collator = ClipCollator(Branches(loaded[1]), ClipStore(2.0, 8), Texts(dialogue=True), heatmap=True)
    batch, found = collator(load(scenes)[:3]), []
    for cost in (1e9, -1e9):
        monkeypatch.setattr(branched, "PER_TOKEN", cost)
        total, _ = stage_losses(model, model, batch, Losses(1.0, 1.0))
        total.backward()
        found.append(
            (float(total.detach()), model.model.language_model.layers[0].self_attn.v_proj.weight.grad.clone())
        )
        model.zero_grad()
    (one, slope), (two, other) = found
    assert one == pytest.approx(two, abs=1e-5)
    assert float((slope - other).norm() / slope.norm()) < 1e-3
