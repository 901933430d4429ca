"""vLLM runs the T-VAD model itself; it must agree with transformers, before and after every module's weights change."""

import numpy as np
import pytest
import torch

from bench.models.base import Request, Sampling
from bench.models.hf import HfModel
from rft.video_grpo import group_logprobs
from tvad.data import video
from tvad.model import TvadForConditionalGeneration, TvadProcessor
from tvad.prompts import messages

TOLERANCE = 1e-4  # log-probability, float32


@pytest.fixture(scope="module")
def requests():
    found = []
    for n, (t, h, w) in enumerate([(8, 112, 112), (12, 96, 64), (4, 64, 128)]):
        images = np.random.default_rng(n).integers(0, 255, (t, h, w, 3), dtype=np.uint8)
        found.append(Request(messages("What happens in this video?"), video.Frames(images, np.arange(t) / 2, np.arange(t), 2.0, t)))
    return found


def gap(engine, model, processor, requests) -> float:
    """Largest difference of log-probs over sampled completions of several clip sizes in one batch."""
    found = engine.sample(requests, Sampling(3, 1.0, max_tokens=16, seed=0))
    worst = 0.0
    for n, request in enumerate(requests):
        vision = processor.vision_inputs([request.frames.images], [request.frames.sampled_fps])
        with torch.no_grad():
            ours, _ = group_logprobs(
                model, model, [torch.tensor(engine.prompt_ids[n])], [[torch.tensor(c.ids) for c in found[n]]], vision, 1.0, 0
            )
        for completion, values in zip(found[n], ours[0]):
            worst = max(worst, float((values - torch.tensor(completion.logprobs)).abs().max()))
    return worst


def weights_of(model):
    return [*model.named_parameters(), *((n, b) for n, b in model.named_buffers() if n.endswith("text_features"))]


def test_engines_agree_before_and_after_a_sync_of_every_module(engine, checkpoint, requests):
    model, processor = TvadForConditionalGeneration.from_pretrained(checkpoint).eval(), TvadProcessor.from_pretrained(checkpoint)
    assert gap(engine, model, processor, requests) < TOLERANCE
    torch.manual_seed(0)
    with torch.no_grad():
        for _, weight in weights_of(model):
            weight.add_(torch.randn_like(weight) * 0.02)
    try:
        assert gap(engine, model, processor, requests) > 100 * TOLERANCE
        engine.sync(weights_of(model))
        assert gap(engine, model, processor, requests) < TOLERANCE
        for part in ("visual", "ahd", "rae", "language_model"):
            with torch.no_grad():
                for name, weight in weights_of(model):
                    if f".{part}." in name:
                        weight.add_(torch.randn_like(weight) * 0.01)
            engine.sync(weights_of(model))
            assert gap(engine, model, processor, requests) < TOLERANCE, part
    finally:
        engine.sync(weights_of(TvadForConditionalGeneration.from_pretrained(checkpoint)))


def test_heatmaps_and_greedy_answers_are_the_same(engine, checkpoint, requests):
    model, processor = TvadForConditionalGeneration.from_pretrained(checkpoint).eval(), TvadProcessor.from_pretrained(checkpoint)
    plain = HfModel(model, processor)
    frames = [r.frames for r in requests]
    for ours, theirs in zip(engine.heatmaps(frames), plain.heatmaps(frames), strict=True):
        assert np.abs(ours - theirs).max() < 1e-4
    greedy = Sampling(1, 0.0, max_tokens=12)
    assert [c[0].ids for c in engine.sample(requests, greedy)] == [c[0].ids for c in plain.sample(requests, greedy)]


def test_forbidden_tokens_are_never_sampled(engine, requests):
    forbidden = set(engine.llm.llm_engine.vllm_config.model_config.hf_config.forbidden_token_ids)
    found = engine.sample(requests, Sampling(8, 2.0, max_tokens=24, seed=1))
    assert not forbidden & {t for group in found for c in group for t in c.ids}


def test_two_draws_with_one_seed_agree(engine, requests):
    draws = [[c.ids for g in engine.sample(requests, Sampling(2, 1.0, max_tokens=12, seed=s)) for c in g] for s in (3, 3, 4)]
    assert draws[0] == draws[1] != draws[2]
