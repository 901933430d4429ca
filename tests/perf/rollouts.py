"""Rollouts and one GRPO step, two ways each, in one run on the same work: vLLM against transformers'
generate, and a clip encoded once per group against once per completion.

    python tests/perf/rollouts.py --model assets/tvad-tiny --groups 8 --group-size 8
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def timed(function, repeats: int) -> float:
    """Least of several wall-clock times, seconds; one call before them warms up."""
    function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="assets/tvad-tiny")
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    known = parser.parse_args()

    import torch

    from bench.models.base import Request, Sampling
    from bench.models.hf import HfModel
    from bench.models.vllm import VllmModel
    from rft.grpo.logprobs import group_logprobs
    from tvad.data.dataset import ClipStore
    from tvad.data.scenes.dataset import ScenesConfig, generate
    from tvad.model import TvadForConditionalGeneration, TvadProcessor
    from tvad.prompts import messages, question_text

    with tempfile.TemporaryDirectory() as folder:
        samples = generate(ScenesConfig(clips=known.groups, seed=11), folder)
        store = ClipStore(2.0, 8)
        requests = [Request(messages(question_text(s.questions[0])), store.frames(s)) for s in samples]
    model, processor = (
        TvadForConditionalGeneration.from_pretrained(known.model).eval(),
        TvadProcessor.from_pretrained(known.model),
    )
    completions = known.groups * known.group_size
    engines = {
        "vllm": VllmModel(known.model, max_num_seqs=completions),
        "generate": HfModel(model, processor),
    }
    print(
        f"{torch.get_num_threads()} threads, {known.groups} clips x {known.group_size} completions, at most"
        f" {known.tokens} tokens"
    )
    rates = {}
    for name, engine in engines.items():
        produced = sum(
            len(c.ids)
            for g in engine.sample(requests, Sampling(known.group_size, 1.0, max_tokens=known.tokens))
            for c in g
        )

        def work(engine=engine):
            return engine.sample(requests, Sampling(known.group_size, 1.0, max_tokens=known.tokens))

        rates[name] = produced / timed(work, known.repeats)
        print(f"rollouts, {name:10s} {rates[name]:8.0f} tokens/s")
    print(f"rollouts: vllm / generate = {rates['vllm'] / rates['generate']:.2f}")

    drawn = engines["vllm"].sample(requests, Sampling(known.group_size, 1.0, max_tokens=known.tokens, seed=0))
    prompts = [torch.tensor(ids) for ids in engines["vllm"].prompt_ids]
    groups = [[torch.tensor(c.ids) for c in group] for group in drawn]
    vision = processor.vision_inputs([r.frames for r in requests])
    sizes = vision["video_grid_thw"].prod(-1).tolist()
    index = [g for g in range(known.groups) for _ in groups[g]]
    pixels = vision["pixel_values_videos"].split(sizes)
    repeated = {
        "pixel_values_videos": torch.cat([pixels[g] for g in index]),
        "video_grid_thw": vision["video_grid_thw"][index],
        "second_per_grid_ts": vision["second_per_grid_ts"][index],
    }

    def step(prompts, groups, vision):
        values, _ = group_logprobs(model, model, prompts, groups, vision, 1.0, 0)
        torch.cat([v for group in values for v in group]).sum().backward()
        model.zero_grad()

    once = timed(lambda: step(prompts, groups, vision), known.repeats)
    each = timed(
        lambda: step([prompts[g] for g in index], [[c] for group in groups for c in group], repeated),
        known.repeats,
    )
    print(f"log-probs and gradients, once per group      {once:6.2f} s")
    print(f"log-probs and gradients, once per completion {each:6.2f} s")
    print(f"step: per completion / per group = {each / once:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
