"""Run by tests/rft/test_scale.py in one or more processes: three GRPO steps on scripted completions; losses,
how many passes each process needed and made and what it lacked in the cache, written as JSON.

python scale_run.py CHECKPOINT DATA OUT COMPLETIONS_A_PROCESS FEATURES TOKENS_A_PASS
"""

import json
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from accelerate.utils import gather_object

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.models.base import Completion, batches  # noqa: E402
from rft.grpo import video_grpo  # noqa: E402
from rft.grpo.config import Evaluate, Features, GrpoRun  # noqa: E402
from rft.grpo.train import train  # noqa: E402
from tvad.common import config  # noqa: E402
from tvad.common.leaving import leave  # noqa: E402
from tvad.model import TvadProcessor, core, scored  # noqa: E402


class Scripted:
    """Answers that depend on the prompt alone, so that it does not matter which process asks."""

    name, shared = "scripted", False

    def __init__(self, processor):
        self.tokenizer = processor.tokenizer
        self.synced = 0

    def sync(self, weights):
        self.weights = {name: tensor.detach().clone() for name, tensor in weights}
        self.synced += 1

    def sample(self, requests, sampling):
        groups = []
        for request in requests:
            # Of the words alone: where the videos lie is another folder in every run.
            words = [part.get("text") for turn in request.messages for part in turn["content"]]
            rng = np.random.default_rng(zlib.crc32(json.dumps(words).encode()))
            texts = [
                f"<think>x</think><answer>{rng.choice(list('ABCD'))}</answer>"
                f"{'!' * int(rng.integers(0, 3))}<|im_end|>"
                for _ in range(sampling.n)
            ]
            ids = [self.tokenizer(text)["input_ids"] for text in texts]
            groups.append(
                [
                    Completion(text, tokens, [0.0] * len(tokens))
                    for text, tokens in zip(texts, ids, strict=True)
                ]
            )
        return groups

    def heatmaps(self, frames):
        return None


def main(checkpoint: str, data: str, out: str, batch: str, features: str, tokens: str) -> None:
    path = ROOT / "configs/grpo/demo.yaml"
    run = config.build(GrpoRun, config.read_yaml(path), str(path))
    training = run.training | {
        "max_steps": 3,
        "per_device_train_batch_size": int(batch),
        "num_generations": 4,
        "max_completion_length": 40,
        "learning_rate": 1e-3,
        "save_strategy": "no",
        "warmup_steps": 1,
        "max_grad_norm": 1.0,
        "vllm_importance_sampling_correction": False,  # the log-probs below are nobody's
        "log_completions": True,
    }
    run = replace(
        run,
        model=checkpoint,
        data=data,
        out=out,
        tasks={"mcq": 1},
        topics=None,
        rewards={"format": 0.5, "answer": 1.0},
        training=training,
        features=Features(features),
        loggers=["tensorboard"],
        tokens=int(tokens),
        evaluate=Evaluate(
            str(ROOT / "configs/bench/scenes.yaml"),
            "mcq.accuracy",
            3,
            overrides=["--data", data, "--tasks", "[mcq]", "--resamples", "20"],
        ),
    )
    engine = Scripted(TvadProcessor.from_pretrained(checkpoint))
    counts, inner = [], video_grpo.passes

    def counted(groups, most, accelerator):
        found = inner(groups, most, accelerator)
        counts.append([len(batches([group.tokens for group in groups], most)), len(found)])
        return found

    video_grpo.passes = counted
    # A pass's log-probs in several parts, of which a process has its own number.
    scored.ENTRIES = 10_000
    parts, score = [], core.score

    def scoring(logits_of, hidden, targets, vocabulary, *others):
        parts.append(vocabulary and -(-len(hidden) // (scored.ENTRIES // vocabulary)))
        return score(logits_of, hidden, targets, vocabulary, *others)

    core.score = scoring
    trainer = train(run, engine)
    own = {"passes": counts, "misses": trainer.features.misses, "parts": parts}
    every = gather_object([own])
    if trainer.accelerator.is_main_process:
        rows = [
            {k: row[k] for k in ("loss", "reward", "grad_norm", "sampler_gap/max") if k in row}
            for row in trainer.state.log_history
            if "reward" in row
        ]
        Path(out, "losses.json").write_text(
            json.dumps(
                {
                    "rows": rows,
                    "synced": engine.synced,
                    "processes": trainer.accelerator.num_processes,
                    "passes": [one["passes"] for one in every],
                    "misses": [one["misses"] for one in every],
                    "parts": [one["parts"] for one in every],
                }
            )
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
    leave()
