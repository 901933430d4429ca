"""Packed rows two ways, in one run on the same work: branches apart against a mask of L x L; one layer's
attention, and the log-prob pass of groups of completions with its gradient.

    python tests/perf/branched.py --model assets/tvad-tiny --threads 1
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

SHAPES = [(8, 1), (4, 2), (16, 8), (4, 8), (4, 16), (2, 32)]  # groups, completions of each


def in_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median processor seconds of each way; they take turns, so that noise hits all."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            started = time.process_time()
            way()
            times[name].append(time.process_time() - started)
    return {name: statistics.median(found[1:]) for name, found in times.items()}  # the first warms up


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="assets/tvad-tiny")
    parser.add_argument("--tokens", type=int, default=56)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    known = parser.parse_args()

    import torch
    from torch.nn.functional import scaled_dot_product_attention

    from rft.grpo.logprobs import group_logprobs
    from tvad.data.dataset import ClipStore
    from tvad.data.scenes.dataset import ScenesConfig, generate
    from tvad.model import TvadForConditionalGeneration, TvadProcessor
    from tvad.model.branched import Apart, Layout
    from tvad.model.packing import Packed, pack
    from tvad.prompts import messages, question_text

    torch.set_num_threads(known.threads)
    torch.manual_seed(0)
    model = TvadForConditionalGeneration.from_pretrained(known.model).train()
    processor = TvadProcessor.from_pretrained(known.model)
    text = model.config.text_config
    heads, width = text.num_attention_heads, text.hidden_size // text.num_attention_heads
    with tempfile.TemporaryDirectory() as folder:
        samples = generate(ScenesConfig(clips=max(groups for groups, _ in SHAPES), seed=11), folder)
        store = ClipStore(2.0, 8)
        clips = [store.frames(sample) for sample in samples]
    everything = processor.vision_inputs(clips)
    prompts = [
        torch.tensor(
            processor.tokenizer(
                processor.expand(
                    processor.apply_chat_template(
                        messages(question_text(sample.questions[0])),
                        tokenize=False,
                        add_generation_prompt=True,
                    ),
                    grid,
                    clip,
                )
            )["input_ids"]
        )
        for sample, grid, clip in zip(samples, everything["video_grid_thw"], clips, strict=True)
    ]
    print(f"{known.threads} threads, prompts of {min(map(len, prompts))} to {max(map(len, prompts))} tokens")
    print("groups  taken | a layer: mask, s  apart, s  ratio | pass: mask, s  apart, s  ratio  largest gap")
    ways = {
        name: mock.patch.object(Packed, "attention_mask", mask)
        for name, mask in (
            ("mask", lambda packed, decoder: packed.allowed()),
            ("apart", lambda packed, decoder: Apart(Layout.of(packed.segment, packed.step))),
        )
    }
    for groups, size in SHAPES:
        asked = prompts[:groups]
        answers = [[torch.randint(20, 570, (known.tokens,)) for _ in range(size)] for _ in asked]
        packed = pack(asked, answers, 0)
        layout = Layout.of(packed.segment, packed.step)
        shape = groups, packed.segment.shape[1], heads, width
        query, key, value = (torch.randn(shape).transpose(1, 2).requires_grad_() for _ in range(3))

        def attend(mask, tensors=(query, key, value)):
            scaled_dot_product_attention(*tensors, attn_mask=mask).sum().backward()

        masks = {"mask": packed.allowed(), "apart": Apart(layout)}
        layer = in_turns({name: partial(attend, mask) for name, mask in masks.items()}, known.rounds)
        vision = processor.vision_inputs(clips[:groups])
        with torch.no_grad():
            seen = model.model.see_clips(vision["pixel_values_videos"], vision["video_grid_thw"])
        found = {}

        def step(way, name, asked=asked, answers=answers, vision=vision, seen=seen, found=found):
            with way:
                values, _ = group_logprobs(model, model, asked, answers, vision, 1.0, 0, seen)
                found[name] = torch.cat([v for group in values for v in group])
                found[name].sum().backward()
                model.zero_grad()

        whole = in_turns({name: partial(step, way, name) for name, way in ways.items()}, known.rounds)
        gap = float((found["mask"] - found["apart"]).abs().max())
        print(
            f"{groups:3d} x {size:2d} {'yes' if layout.worthwhile else 'no':>5s} |"
            f"{layer['mask']:17.4f}{layer['apart']:10.4f}{layer['mask'] / layer['apart']:7.2f} |"
            f"{whole['mask']:14.3f}{whole['apart']:10.3f}{whole['mask'] / whole['apart']:7.2f}{gap:13.1e}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
