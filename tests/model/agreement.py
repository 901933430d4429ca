"""Do vLLM and transformers agree on a checkpoint, before and after every module's weights change?

Run alone for a second engine: vLLM keeps one engine per process.   python tests/model/agreement.py CHECKPOINT
"""

import sys

import numpy as np
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from bench.models.base import Request, Sampling
from bench.models.hf import HfModel
from rft.grpo.logprobs import group_logprobs
from tvad.data import video
from tvad.prompts import messages

TOLERANCE = 1e-4  # log-probability, float32


def make_requests() -> list[Request]:
    """Clips of several sizes and lengths, an odd one among them."""
    found = []
    for n, (t, h, w) in enumerate([(8, 112, 112), (12, 96, 64), (4, 64, 128), (5, 64, 64)]):
        images = np.random.default_rng(n).integers(0, 255, (t, h, w, 3), dtype=np.uint8)
        found.append(
            Request(
                messages("What happens in this video?"),
                video.Frames(images, np.arange(t) / 2, np.arange(t), 2.0, t),
            )
        )
    return found


def open_both(folder):
    return AutoModelForImageTextToText.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)


def gap(engine, model, processor, requests) -> float:
    """Largest difference of log-probs over sampled completions of several clip sizes in one batch."""
    found = engine.sample(requests, Sampling(3, 1.0, max_tokens=16, seed=0))
    worst = 0.0
    for n, request in enumerate(requests):
        vision = processor.vision_inputs([request.frames])
        with torch.no_grad():
            ours, _ = group_logprobs(
                model,
                model,
                [torch.tensor(engine.prompt_ids[n])],
                [[torch.tensor(c.ids) for c in found[n]]],
                vision,
                1.0,
                0,
            )
        for completion, values in zip(found[n], ours[0], strict=True):
            worst = max(worst, float((values - torch.tensor(completion.logprobs)).abs().max()))
    return worst


def check_sync(engine, folder) -> None:
    """Agreement before a weight change, disagreement after it, agreement after a sync; for all modules, then
    one by one."""
    requests = make_requests()
    model, processor = open_both(folder)
    assert gap(engine, model, processor, requests) < TOLERANCE
    torch.manual_seed(0)
    with torch.no_grad():
        for _, weight in model.engine_weights():
            weight.add_(torch.randn_like(weight) * 0.02)
    try:
        assert gap(engine, model, processor, requests) > 100 * TOLERANCE
        engine.sync(model.engine_weights())
        assert gap(engine, model, processor, requests) < TOLERANCE
        parts = [
            part
            for part in ("visual", "ahd", "rae", "language_model")
            if getattr(model.model, part) is not None
        ]
        for part in parts:
            with torch.no_grad():
                for name, weight in model.engine_weights():
                    if f".{part}." in name:
                        weight.add_(torch.randn_like(weight) * 0.01)
            engine.sync(model.engine_weights())
            assert gap(engine, model, processor, requests) < TOLERANCE, part
    finally:
        engine.sync(open_both(folder)[0].engine_weights())


def check_outputs(engine, folder) -> None:
    """Heatmaps and greedy answers are the same."""
    requests = make_requests()
    plain = HfModel(*open_both(folder))
    frames = [r.frames for r in requests]
    maps, theirs = engine.heatmaps(frames), plain.heatmaps(frames)
    assert (maps is None) == (theirs is None)
    assert all(np.abs(a - b).max() < 1e-4 for a, b in zip(maps or [], theirs or [], strict=True))
    greedy = Sampling(1, 0.0, max_tokens=12)
    assert [c[0].ids for c in engine.sample(requests, greedy)] == [
        c[0].ids for c in plain.sample(requests, greedy)
    ]


if __name__ == "__main__":
    from bench.models.vllm import VllmModel

    alone = VllmModel(sys.argv[1], max_num_seqs=16, compiled=sys.argv[2:] == ["compiled"])
    check_sync(alone, sys.argv[1])
    check_outputs(alone, sys.argv[1])
    print("agree")
