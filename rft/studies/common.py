"""What the studies share: how checkpoints are asked, steps in processes of their own, cells of tables."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tvad.common.errors import InputError
from tvad.common.files import made

if TYPE_CHECKING:
    from bench.metrics.stats import Interval
    from bench.suite import Suite
    from rft.curriculum.config import Curriculum
    from rft.grpo.config import GrpoRun

RUNS = {"greedy": (1, 0.0), "sampled": (4, 1.0)}  # decoding: answers a question, temperature
TASKS = ["mcq", "temporal", "spatial", "judgement"]
ANSWER_TOKENS = 64
SEQUENCES = 128  # completions drawn at a time
PROMPT_TOKENS = 1024  # more than any prompt about a generated scene takes


def suites_on(data: Path, tasks: list[str]) -> "dict[str, Suite]":
    """Decoding by name -> the scenes suite on a data set, with these tasks."""
    from bench import suite as suites

    suite = suites.read("scenes", ["--data", str(data)])
    return {
        name: replace(
            suite,
            tasks=tasks,
            topics=["event", "colour"],
            decode=suites.Decode(n=n, temperature=temperature, max_tokens=ANSWER_TOKENS, seed=7),
        )
        for name, (n, temperature) in RUNS.items()
    }


def open_for(run: "GrpoRun", model, processor):
    """One engine for a run's rollouts and for the suites."""
    from rft.grpo.config import settings_of
    from rft.grpo.engines import engine_of

    trained = settings_of(run, []).max_completion_length or 0
    return engine_of(run, model, processor, SEQUENCES, PROMPT_TOKENS, max(ANSWER_TOKENS, trained))


def give(engine, checkpoint: str | Path):
    """Let an engine answer with the weights of a checkpoint; returns the model."""
    from bench.models.base import HoldsModel
    from tvad.model.start import opened_whole

    model = opened_whole(checkpoint, dtype="float32")
    if isinstance(engine, HoldsModel):
        engine.model = model
    engine.sync(model.engine_weights())
    return model


def in_process(command: list[str], what: str) -> None:
    """Python with these arguments, as a process of its own: memory and engines end with it. Raises InputError
    that names `what` where it fails."""
    done = subprocess.run([sys.executable, *command])
    if done.returncode:
        raise InputError(f"{what}: failed with status {done.returncode}")


def interval(change: "Interval") -> str:
    """An interval of a difference, as tables show it."""
    if change.low is None or change.high is None:
        return "--"
    return f"[{change.low:+.3f}, {change.high:+.3f}]"


def trained(name: str, curriculum: "Curriculum") -> None:
    """Carry out a curriculum where its result is missing."""
    target = Path(curriculum.out)
    if (target / "model" / "config.json").exists():
        return
    print(f"== {name}", flush=True)
    written = made(target) / "curriculum.yaml"
    written.write_text(json.dumps(asdict(curriculum), allow_nan=False))  # JSON is YAML
    in_process(["-m", "rft.train_stage", "--config", str(written)], f"rft/train_stage.py --config {written}")
