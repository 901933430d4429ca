"""Log-probs in parts are those of all logits at once, and so are their gradients."""

import pytest
import torch
from asked_clips import asked
from transformers import AutoModelForImageTextToText, AutoProcessor

from rft.grpo.logprobs import group_logprobs
from tvad.model import scored
from tvad.model.scored import score


@pytest.mark.parametrize("learns_entropy", [False, True])
@pytest.mark.parametrize("count", [0, 1, 7, 20])
def test_parts_are_the_whole(count, learns_entropy, monkeypatch):
    torch.manual_seed(0)
    head = torch.nn.Linear(6, 11, dtype=torch.float64)
    hidden = torch.randn(count, 6, dtype=torch.float64, requires_grad=True)
    targets, found, sizes = torch.randint(0, 11, (count,)), [], []
    head.register_forward_hook(lambda module, inputs, out: sizes.append(len(out)))
    for entries in (1 << 26, 33):
        monkeypatch.setattr(scored, "ENTRIES", entries)
        sizes.clear()
        values, entropies = score(head, hidden, targets, 11, 0.7, learns_entropy)
        wanted = (values * torch.arange(1, count + 1)).sum() + (entropies.sum() if learns_entropy else 0)
        slopes = torch.autograd.grad(wanted, [hidden, head.weight]) if count else []
        found.append((values, entropies, *slopes))
        assert max(sizes, default=0) <= max(1, entries // 11)
    for one, two in zip(*found, strict=True):
        assert torch.allclose(one, two, atol=1e-6)
    expected = (head(hidden) / 0.7).log_softmax(-1)
    assert torch.allclose(found[1][0], expected.gather(1, targets[:, None])[:, 0].to(values.dtype), atol=1e-5)
    assert torch.allclose(found[1][1], -(expected.exp() * expected).sum(1).to(values.dtype), atol=1e-5)
    assert found[1][1].requires_grad == bool(learns_entropy)


@pytest.mark.parametrize("family", ["checkpoint", "checkpoint_qwen3"])
@pytest.mark.parametrize("grad", [True, False])
def test_a_policys_log_probs_do_not_depend_on_the_parts(family, grad, request, monkeypatch):
    folder = request.getfixturevalue(family)
    model = AutoModelForImageTextToText.from_pretrained(folder).train()
    processor = AutoProcessor.from_pretrained(folder)
    _, prompts, vision = asked(processor, 4)
    completions, found = [[torch.arange(40, 47), torch.arange(50, 52), torch.arange(60, 75)]], []
    for entries in (1 << 26, 5000):
        monkeypatch.setattr(scored, "ENTRIES", entries)
        with torch.set_grad_enabled(grad):
            values, entropies = group_logprobs(model, model, prompts, completions, vision, 1.3, 0)
        slopes = []
        if grad:
            torch.cat(values[0]).sum().backward()
            slopes = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
            model.zero_grad()
        found.append([torch.cat(values[0]), torch.cat(entropies[0]), *([torch.cat(slopes)] if grad else [])])
    for one, two in zip(*found, strict=True):
        assert torch.allclose(one, two, atol=1e-5, rtol=1e-4)


def test_under_zero3_the_head_is_called_once(checkpoint, monkeypatch):
    """Each of its calls is a common affair of all processes, whose rows may make another number of parts."""
    model = AutoModelForImageTextToText.from_pretrained(checkpoint)
    calls, ids, keep = [], torch.arange(20, 52)[None], torch.ones(1, 32, dtype=torch.bool)
    monkeypatch.setattr(scored, "ENTRIES", 5000)
    model.lm_head.register_forward_hook(lambda *_: calls.append(1))
    model(input_ids=ids, logits_to_keep=keep, targets=ids[0])
    assert len(calls) > 1
    calls.clear()
    model.lm_head.weight.ds_id = 0  # as DeepSpeed names what it shares out
    model(input_ids=ids, logits_to_keep=keep, targets=ids[0])
    assert calls == [1]
