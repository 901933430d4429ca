"""How many prompts a reinforcement run's steps take, and whether there are enough, and whether each earns
something: all that can be known before a model is loaded."""

import math
from collections.abc import Mapping
from typing import Any

from rft.grpo.config import GrpoRun
from rft.grpo.mixture import Task
from rft.rewards.length import cache_of
from rft.rewards.mix import named
from tvad.common.errors import InputError
from tvad.common.quiet import note

# Least values of TRL's numbers, which takes others and fails later, or does nothing.
LEAST = {
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "steps_per_generation": 1,
    "num_iterations": 1,
    "max_completion_length": 1,
    "learning_rate": 0.0,
    "beta": 0.0,
}


def check_numbers(run: GrpoRun, arguments: Any) -> None:
    """Raise InputError for a number of TRL's arguments with which nothing would be done, or which the run's
    method or redraws cannot work with."""
    for key, least in LEAST.items():
        value = getattr(arguments, key)
        if not (math.isfinite(value) and value >= least):
            raise InputError(f"training.{key}: {value}, expected at least {least}")
    if not 0 < arguments.temperature < math.inf:
        raise InputError(f"training.temperature: {arguments.temperature}, expected above 0")
    plans = [plan.get("rewards") or {} for plan in run.tasks.values() if isinstance(plan, dict)]
    for name in (name for rewards in (run.rewards, *plans) for name in rewards):
        if (cache := cache_of(name)) is not None and cache > arguments.max_completion_length:
            raise InputError(
                f"rewards: {name}: its tokens are more than training.max_completion_length"
                f" ({arguments.max_completion_length})"
            )
    steps, epochs = arguments.max_steps, arguments.num_train_epochs
    if steps == 0 or (steps < 0 and not 0 < epochs < math.inf):
        raise InputError("training: nothing to do: give max_steps, or num_train_epochs above 0")
    if run.method == "reg_grpo" and arguments.steps_per_generation > 1:
        raise InputError(
            "method reg_grpo compares whole groups: set gradient_accumulation_steps and steps_per_generation"
            " to 1"
        )
    own = arguments.per_device_train_batch_size * arguments.steps_per_generation
    if run.redraws and own % arguments.num_generations:
        raise InputError(
            "dynamic sampling needs whole groups in every process: per_device_train_batch_size must be a"
            " multiple of num_generations"
        )


def rollout_prompts(arguments: Any) -> int:
    """Prompts of one rollout: every group of `num_generations` completions is one prompt's."""
    return arguments.generation_batch_size // arguments.num_generations


def prompts_wanted(arguments: Any) -> int:
    """Prompts that `max_steps` steps take. A rollout serves `steps_per_generation` passes, each
    `num_iterations` times; a step takes `gradient_accumulation_steps` passes."""
    passes = arguments.max_steps * arguments.gradient_accumulation_steps
    served = arguments.steps_per_generation * arguments.num_iterations
    return math.ceil(passes / served) * rollout_prompts(arguments)


def passes_done(steps: int, count: int, arguments: Any) -> tuple[int, int]:
    """(whole epochs, passes) that lie behind `steps` steps over `count` prompts. An epoch's last step may
    have fewer passes than the others."""
    served = arguments.steps_per_generation * arguments.num_iterations
    epoch = count // rollout_prompts(arguments) * served  # passes
    epochs, rest = divmod(steps, math.ceil(epoch / arguments.gradient_accumulation_steps))
    return epochs, epochs * epoch + rest * arguments.gradient_accumulation_steps


def check_steps(count: int, arguments: Any) -> None:
    """Whether `count` prompts fill a step; those that every epoch leaves out are said on stderr. Raises
    InputError."""
    rollout = rollout_prompts(arguments)
    accumulated, served = arguments.gradient_accumulation_steps, arguments.steps_per_generation
    rollouts = math.ceil(accumulated / (served * arguments.num_iterations))  # that a step needs
    if count < rollout * rollouts:
        raise InputError(
            f"data: {count} prompts, a step takes {rollout * rollouts} (per_device_train_batch_size"
            f" {arguments.per_device_train_batch_size} x {max(accumulated, served)} passes x"
            f" {arguments.world_size} processes / num_generations {arguments.num_generations})"
        )
    if left := count % rollout:
        note(
            f"prompts: {left} of {count} are left out of every epoch, other ones each time: a rollout takes"
            f" {rollout}"
        )
    if rest := count // rollout * served * arguments.num_iterations % accumulated:
        note(
            f"prompts: the last step of an epoch has {rest} of {accumulated} passes: {count // rollout}"
            " rollouts do not fill whole steps"
        )
    own, size = arguments.per_device_train_batch_size, arguments.num_generations
    if own % size:
        most = size // own if size % own == 0 else (size - 2) // own + 2
        note(
            f"groups: a pass takes {own} completions, a group has {size}: it is torn apart and its clip"
            f" encoded in up to {most} passes; with per_device_train_batch_size a multiple of num_generations"
            " once"
        )


def _applies(reward: Any, row: dict[str, Any]) -> bool:
    """Whether a reward says anything about a row, asked with the row's reference as the completion."""
    columns = {name: [value] for name, value in row.items() if name != "prompt"}
    try:
        return reward([[{"role": "assistant", "content": row["solution"]}]], **columns) != [None]
    except (RuntimeError, ValueError, TypeError, KeyError):  # it wants what only the run's engine gives
        return True


def check_paid(rows: list[dict[str, Any]], tasks: Mapping[str, Task], common: Mapping[str, float]) -> None:
    """Whether every task earns something: weights that count, rewards that apply. Prompts that earn nothing
    are counted on stderr. Raises InputError. Rewards of one's own (`module:function`) are taken at their
    word."""
    paying: dict[str, list[Any]] = {}
    for name, task in tasks.items():
        weights = task.rewards or common
        if odd := [reward for reward, weight in weights.items() if not math.isfinite(weight)]:
            raise InputError(f"rewards: {odd[0]}: weight {weights[odd[0]]}, expected a number")
        paying[name] = [reward for reward, weight in weights.items() if weight]
        if not paying[name]:
            raise InputError(f"rewards: none for task {name!r}" + (", all weights are 0" if weights else ""))
    for name, rewards in paying.items():
        if any(":" in reward for reward in rewards):
            continue
        functions = [named(reward) for reward in rewards]
        seen = {(row["sample_id"], str(row["prompt"])): row for row in rows if row["task"] == name}
        silent = sum(not any(_applies(f, row) for f in functions) for row in seen.values())
        if seen and silent == len(seen):
            raise InputError(f"tasks: no reward applies to {name!r} (its rewards: {', '.join(rewards)})")
        if silent:
            note(
                f"rewards: {silent} of {len(seen)} questions of task {name!r} earn nothing whatever is"
                f" answered ({', '.join(rewards)})"
            )
