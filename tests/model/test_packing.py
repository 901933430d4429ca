"""What the tokens of a packed row may look at, under every attention that transformers knows by name."""

import copy

import pytest
import torch
from asked_clips import asked
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLForConditionalGeneration,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from rft.curriculum.config import Losses, Texts
from rft.curriculum.data import Branches, ClipCollator
from rft.curriculum.losses import stage_losses
from rft.grpo.logprobs import group_logprobs
from tvad.common.errors import InputError
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.model.packing import MASKED, check_attention, pack
from tvad.model.start import start_from

NAMES = sorted({"eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()})
PROMPT, BRANCHES = torch.arange(20, 32), [torch.arange(40, 45), torch.arange(50, 58), torch.arange(60, 61)]


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def folder(request):
    """A checkpoint of each backbone family."""
    return request.getfixturevalue("checkpoint" if request.param == "qwen2_5_vl" else "checkpoint_qwen3")


@pytest.fixture(scope="module")
def loaded(folder):
    return AutoModelForImageTextToText.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)


def attending(model, name):
    """The model with an attention by name, past transformers' own checks of what is installed."""
    model = copy.deepcopy(model)
    for config in (model.config, model.model.language_model.config, model.model.visual.config):
        config._attn_implementation_internal = name
    return model


def seen(model, prefix, branches, padding=0):
    """Logits (L, V) of a packed row of text, which lies beside a longer one of `padding` tokens more."""
    rows = [(prefix, branches), *([(prefix, [*branches, torch.arange(70, 70 + padding)])] if padding else [])]
    packed = pack([p for p, _ in rows], [b for _, b in rows], 0)
    positions = packed.position_ids(torch.arange(len(prefix)).expand(3, len(rows), -1))
    with torch.no_grad():
        logits = model(
            input_ids=packed.input_ids,
            attention_mask=packed.attention_mask(model.model.language_model),
            position_ids=positions,
            use_cache=False,
        ).logits
    return logits[0, : len(prefix) + sum(map(len, branches))]


@pytest.mark.parametrize("name", NAMES)
def test_a_packed_rows_tokens_see_only_what_they_may_or_the_attention_is_refused(loaded, name):
    model = attending(loaded[0], name)
    if name not in MASKED:
        with pytest.raises(InputError, match=f"{name.replace('|', '.')} takes no mask") as refused:
            seen(model, PROMPT, BRANCHES)
        assert "\n" not in str(refused.value)
        with pytest.raises(InputError, match="takes no mask"):
            check_attention(name)
        return
    whole, at = seen(model, PROMPT, BRANCHES, padding=3), len(PROMPT)
    for n, branch in enumerate(BRANCHES):
        own = range(at, at + len(branch))
        alone = seen(model, torch.cat([PROMPT, branch]), [])
        assert torch.allclose(whole[own], alone[len(PROMPT) :], atol=2e-4)
        # Another last token: only its own logits are others.
        changed = [torch.cat([b[:-1], b[-1:] + 30]) if k == n else b for k, b in enumerate(BRANCHES)]
        moved = (seen(model, PROMPT, changed, padding=3) - whole).abs().amax(1) > 1e-4
        assert moved.nonzero().flatten().tolist() == [own[-1]]
        at += len(branch)


@pytest.mark.parametrize("name", MASKED)
def test_packed_log_probs_equal_those_of_rows_of_their_own(loaded, name):
    model, processor = attending(loaded[0], name), loaded[1]
    clips, prompts, vision = asked(processor, 8, 4)
    completions = [[torch.arange(40, 47), torch.arange(50, 52)], [torch.arange(60, 64)] * 2]
    with torch.no_grad():
        packed, _ = group_logprobs(model, model, prompts, completions, vision, 1.0, 0)
        for clip, prompt, group, found in zip(clips, prompts, completions, packed, strict=True):
            own = processor.vision_inputs([clip])
            for completion, values in zip(group, found, strict=True):
                ids = torch.cat([prompt, completion])[None]
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **own).logits[0]
                expected = logits[len(prompt) - 1 : -1].log_softmax(-1).gather(1, completion[:, None])[:, 0]
                assert torch.allclose(values, expected, atol=1e-3)


def test_a_stages_losses_and_gradients_do_not_depend_on_the_attention(loaded, scenes):
    collator = ClipCollator(Branches(loaded[1]), ClipStore(2.0, 8), Texts(dialogue=True), heatmap=True)
    batch, found = collator(load(scenes)[:2]), []
    for name in MASKED:
        model = attending(loaded[0], name)
        total, parts = stage_losses(model, model, batch, Losses(1.0, 1.0))
        total.backward()
        found.append((parts, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}))
    (one, gradients), (two, others) = found
    assert all(torch.allclose(one[name], two[name], rtol=1e-4) for name in one)
    assert gradients.keys() == others.keys()
    assert all(torch.allclose(gradients[n], others[n], atol=2e-3, rtol=1e-2) for n in gradients)


def attentions(model):
    """Of the whole, the language model, the vision tower."""
    parts = (model, model.model.language_model, model.model.visual)
    return {part.config._attn_implementation for part in parts}


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_a_start_of_each_kind_attends_as_it_is_told(family, request, tmp_path):
    """A checkpoint of T-VAD, a YAML file, and a backbone as others publish it."""
    short = "" if family == "qwen2_5_vl" else "_qwen3"
    folder = request.getfixturevalue(f"checkpoint{short}")
    found = AutoConfig.from_pretrained(folder)
    kind = Qwen2_5_VLForConditionalGeneration if not short else Qwen3VLForConditionalGeneration
    plain = kind.config_class(
        vision_config=found.vision_config.to_dict(), text_config=found.text_config.to_dict()
    )
    kind(plain).save_pretrained(tmp_path)
    AutoProcessor.from_pretrained(folder).save_pretrained(tmp_path)
    for start in (folder, "tiny-qwen3" if short else "tiny", tmp_path):
        model, _ = start_from(str(start), attention="eager")
        assert attentions(model) == {"eager"}
        default, _ = start_from(str(start))
        assert attentions(default) == {"sdpa"}
        assert {type(block.attn).__module__ for block in model.model.visual.blocks} == {
            "tvad.model.vision_attention"
        }
    with pytest.raises(InputError, match="cannot be loaded with attention flex_attention") as refused:
        start_from(str(tmp_path), attention="flex_attention")
    assert "\n" not in str(refused.value)
