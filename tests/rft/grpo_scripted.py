"""Trainer steps on completions from a list, so that tests of the trainer draw nothing: a step is a forward
and a backward pass of the tiny model."""

import contextlib
import copy
import gc
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForImageTextToText, PrinterCallback, set_seed

from bench.models.base import Completion
from rft.common.trainable import LoraSpec
from rft.grpo import mixture, steps, weights
from rft.grpo.config import GrpoRun, settings_of
from rft.grpo.idle import check_idle
from rft.grpo.rollout import video_of
from rft.grpo.train import train_set
from rft.grpo.video_grpo import VideoGRPOTrainer
from tvad.common import config
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.model import TvadProcessor

END = 2  # <|im_end|> of the tiny tokenizer


class Scripted:
    """Completions of several lengths that depend on the request and the seed; some are cut. `logprobs`:
    of every token of every completion, as the sampler would have had them."""

    name, shared = "scripted", False

    def __init__(self, logprob: float = -6.5):
        self.logprob, self.synced, self.weights = logprob, 0, {}

    def sync(self, weights):
        self.weights = {name: tensor.detach().clone() for name, tensor in weights}
        self.synced += 1

    def sample(self, requests, sampling):
        groups = []
        for request in requests:
            # Not by the video's folder, which is another one in every run of the tests.
            asked = str(request.messages[-1]).replace(str(Path(video_of(request.messages)).parent), "")
            seed = zlib.crc32(f"{asked}{request.key}{sampling.seed}".encode())
            rng = np.random.default_rng(seed)
            group = []
            for n in range(sampling.n):
                ids = rng.integers(20, 300, rng.integers(2, 6)).tolist()
                if rng.random() < 0.7:
                    ids.append(END)
                ids = ids[: sampling.max_tokens]
                spread = rng.normal(0, 0.3, len(ids))
                group.append(Completion(f"{seed}{n}", ids, (self.logprob + spread).tolist()))
            groups.append(group)
        return groups

    def heatmaps(self, frames):
        return None


# Two groups of two a step, two steps a rollout: the second is off-policy.
TRAINING = {
    "max_steps": 2,
    "per_device_train_batch_size": 4,
    "num_generations": 2,
    "num_iterations": 2,
    "max_completion_length": 8,
    "learning_rate": 1e-2,
    "save_strategy": "no",
}


@contextlib.contextmanager
def unswept():
    """What is in memory now is passed over by the garbage collector, which a Trainer calls at every start:
    half of a small run's time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class Small:
    """Trainers over one model, one set of prompts and a list of completions."""

    def __init__(self, checkpoint: Path, scenes: Path):
        self.checkpoint, self.scenes = str(checkpoint), str(scenes)
        self.model = AutoModelForImageTextToText.from_pretrained(checkpoint)
        self.processor = TvadProcessor.from_pretrained(checkpoint)
        self.store = ClipStore(1.0, 2)
        self.rows = mixture.rows(load(scenes), mixture.tasks_of({"judgement": 1}), 4, 0)

    def run(self, out: Path, method: str = "grpo", **knobs) -> GrpoRun:
        plan = {"out": str(out), "model": self.checkpoint, "data": self.scenes, "tasks": {"judgement": 1}}
        return config.build(GrpoRun, plan | {"method": method, "training": TRAINING | knobs}, "test")

    def trainer(self, run: GrpoRun, cls=VideoGRPOTrainer, lora: LoraSpec | None = None, **options):
        """Of the settings of a run, if they are not refused."""
        arguments = settings_of(run, [1.0, 0.5])
        steps.check_numbers(run, arguments)
        check_idle(run, arguments)
        set_seed(0)
        model = copy.deepcopy(self.model)
        reference = copy.deepcopy(self.model) if arguments.beta else None
        learning = replace(run, trains=["model.language_model.*", "lm_head.*"], lora=lora)
        tuner, _ = weights.made_trainable(model, learning, arguments)
        if reference is not None:  # another model, or there would be no divergence from it
            reference.lm_head.weight.data.mul_(1.1)
        trainer = cls(
            model=model,
            reward_funcs=[odd, even],
            args=arguments,
            train_dataset=train_set(self.rows),
            processing_class=self.processor,
            engine=Scripted(),
            store=self.store,
            method=run.method,
            tuner=tuner,
            reference=reference,
            **options,
        )
        trainer.remove_callback(PrinterCallback)
        return trainer


def odd(completions, **columns) -> list[float]:
    """A reward in which the completions of a group differ."""
    return [float(zlib.crc32(c[0]["content"].encode()) % 7) for c in completions]


def even(completions, **columns) -> list[float]:
    """Another one."""
    return [float(len(c[0]["content"]) % 3) for c in completions]


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> dict[str, float]:
    """Share of every tensor's values that differ."""
    return {name: float((before[name] != after[name]).float().mean()) for name in before}
