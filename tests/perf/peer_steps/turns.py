"""What every worker of `tests/perf/grpo_peers.py` has: what a step is of, whose turn it is, what it took."""

import functools
import json
import os
import resource
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TASKS = {"mcq": 1, "temporal": 1.25, "spatial": 1, "judgement": 0.5}
REWARDS = {"format": 0.5, "answer": 1.0, "temporal_iou": 1.0, "box": 1.0}
TOPICS = ["event", "colour"]
RATE = 2.0


@dataclass(frozen=True)
class Shape:
    """A generation: `groups` of `size` completions of exactly `tokens` tokens on clips of `frames`, in
    `accumulation` micro-batches an optimiser step, for so many steps."""

    groups: int = 16
    size: int = 8
    tokens: int = 56
    frames: int = 8
    accumulation: int = 1
    steps: int = 1

    @classmethod
    def of(cls, text: str) -> "Shape":
        """`groups=4,size=8` over the defaults."""
        given = dict(part.split("=", 1) for part in text.split(",") if part)
        return cls(**{key: int(value) for key, value in given.items()})

    def __str__(self) -> str:
        usual = asdict(Shape(self.groups, self.size))
        others = [f"{key} {value}" for key, value in asdict(self).items() if value != usual[key]]
        return ", ".join([f"{self.groups} x {self.size}", *others])


@dataclass(frozen=True)
class Plan:
    """What a worker is told: a folder with `stock`, the checkpoint, `ours`, that as this project's, `data`
    and rows of it, which takes its own files; the shipped checkpoint; the number of a shape, the shape, the
    turns that count and those before them."""

    out: str
    shipped: str
    number: int
    shape: Shape
    turns: int
    warm: int

    @classmethod
    def read(cls, text: str) -> "Plan":
        found = json.loads(text)
        return cls(**found | {"shape": Shape(**found["shape"])})

    @property
    def training(self) -> dict[str, Any]:
        """Arguments that TRL and ms-swift name alike."""
        shape = self.shape
        return {
            "per_device_train_batch_size": shape.groups * shape.size // (shape.accumulation * shape.steps),
            "gradient_accumulation_steps": shape.accumulation,
            "steps_per_generation": shape.accumulation * shape.steps,
            "num_generations": shape.size,
            "max_completion_length": shape.tokens,
            "max_steps": (self.warm + self.turns) * shape.steps,
            "learning_rate": 1e-6,
            "lr_scheduler_type": "constant",
            "temperature": 1.0,
            "beta": 0.0,
            "loss_type": "dapo",
            "adam_beta2": 0.98,
            "max_grad_norm": 0.5,
            "save_strategy": "no",
            "logging_steps": 1,
        }

    @property
    def stock(self) -> str:
        return f"{self.out}/stock"

    @property
    def prompts(self) -> Path:
        """Where the prompts of all turns are, a row of `rft.grpo.mixture` a line, the same for every peer."""
        return Path(self.out, f"rows-{self.number}.jsonl")

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.prompts.read_text(encoding="utf-8").splitlines()]


def rewards() -> tuple[list, list[float]]:
    """Functions and weights, the same for every way."""
    from rft.rewards.mix import rewards_of

    return rewards_of(REWARDS, {})


class Gate:
    """Waits for the other workers' turns before every turn; tells what each took: wall and processor seconds,
    peak memory in MiB, and `counted`."""

    def __init__(self, reads: int, writes: int, shape: Shape):
        self.read, self.write = os.fdopen(reads), os.fdopen(writes, "w")
        self.counted: Counter = Counter()
        self.shape = shape

    @staticmethod
    def _now() -> tuple[float, float, int]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return time.perf_counter(), used.ru_utime + used.ru_stime, used.ru_maxrss

    def wait(self) -> None:
        if self.read.readline().strip() != "go":
            os._exit(0)  # between two steps of a library that has its own loop
        self.counted.clear()
        self.began = self._now()

    def turn(self, step: int) -> None:
        """Behind optimiser step `step`."""
        if step % self.shape.steps:
            return
        wall, used, peak = self._now()
        row = {"seconds": wall - self.began[0], "processor": used - self.began[1], "mib": peak / 1024}
        self.write.write(json.dumps(row | dict(self.counted)) + "\n")
        self.write.flush()
        self.wait()

    def watch(self, tower: Any, frames_apart: bool) -> None:
        """Count the clips that a vision tower encodes; frames_apart: each frame is a picture of its own."""
        inner = tower.forward

        @functools.wraps(inner)
        def forward(pixels, grid_thw, *args, **kwargs):
            self.counted["clips"] += len(grid_thw) / (self.shape.frames if frames_apart else 1)
            return inner(pixels, grid_thw, *args, **kwargs)

        tower.forward = forward
