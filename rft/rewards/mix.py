"""Which rewards a run pays and how they add up: selection by name, weights, tasks with rewards of their own,
one sum."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

from rft.rewards.base import Reward
from rft.rewards.own import REWARDS, VARIANTS
from rft.rewards.published import vau_r1
from tvad.answer import parse
from tvad.common.errors import InputError

if TYPE_CHECKING:
    import torch

OWN = REWARDS | VARIANTS


def total(values: "torch.Tensor", weights: "torch.Tensor") -> "torch.Tensor":
    """The reward of completions: values (B, R), weights (R,) -> (B,), the weighted sum of what applies; NaN
    where nothing does.

    The same rule as TRL's, which adds up by itself inside the trainer (`sum_then_normalize`, weights from
    `rft.grpo.config.settings_of`); this one is for everything beside it, such as a task's mean.
    """
    added = (values * weights).nansum(-1)
    added[values.isnan().all(-1)] = float("nan")
    return added


def rewards_of(
    common: dict[str, float], by_task: Mapping[str, dict[str, float]]
) -> tuple[list[Reward], list[float]]:
    """Reward functions and weights of a run: `common` (name -> weight), and by task where a task has its own
    (an empty one has the common). Raises InputError for an unknown name."""
    if not any(by_task.values()):
        return select(common)
    return select_by_task({task: own or common for task, own in by_task.items()})


def select(weights: dict[str, float]) -> tuple[list[Reward], list[float]]:
    """Rewards and weights named by a configuration. Raises InputError for an unknown name."""
    return [named(name) for name in weights], list(weights.values())


def select_by_task(by_task: dict[str, dict[str, float]]) -> tuple[list[Reward], list[float]]:
    """Rewards and weights where tasks have their own: a reward that a task does not name is None there.
    Weights that differ between tasks are multiplied into the values."""
    functions, weights = [], []
    for name in dict.fromkeys(name for rewards in by_task.values() for name in rewards):
        own = {task: rewards[name] for task, rewards in by_task.items() if name in rewards}
        same = set(own.values()) if len(own) == len(by_task) else set()
        functions.append(named(name) if len(same) == 1 else _limited(name, own))
        weights.append(same.pop() if len(same) == 1 else 1.0)
    return functions, weights


def named(name: str) -> Reward:
    """A reward by its name: one of `OWN`, `vau_r1.TASK.PART`, or `package.module:function` of one's own in
    TRL's signature. Raises InputError for an unknown one. Code is imported only because the person who
    writes the configuration names it."""
    if name in OWN:
        return OWN[name]
    if name.startswith("vau_r1."):
        _, _, rest = name.partition(".")
        task, _, part = rest.partition(".")
        parts = vau_r1(task)
        if part in parts:
            return _over_protocol(parts[part])
        raise InputError(
            f"rewards: {name!r}: expected one of {', '.join(f'vau_r1.{task}.{known}' for known in parts)}"
        )
    if ":" in name:
        module, _, function = name.partition(":")
        try:
            found = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise InputError(f"rewards: {name!r} cannot be imported ({error})") from error
        if not callable(found) or not any(
            p.kind is p.VAR_KEYWORD for p in inspect.signature(found).parameters.values()
        ):
            raise InputError(
                f"rewards: {name!r} must be a function (completions, **columns) -> list of numbers or None"
            )
        return found
    raise InputError(
        f"rewards: unknown reward {name!r}; known: {', '.join(OWN)}, vau_r1.TASK.PART,"
        " package.module:function"
    )


def _over_protocol(reward: Reward) -> Reward:
    """A published VAU-R1 reward over this project's rows: references in the protocol's text become what it
    takes."""

    @wraps(reward)
    def converted(
        completions: Sequence[Any], *, solution: Sequence[str], task: Sequence[str], **columns: Any
    ) -> list[float | None]:
        references: list[Any] = []
        for text, kind in zip(solution, task, strict=True):
            reference = parse(text)
            # VAU-R1 writes "no anomaly" as [-1, -1], the protocol as none; one interval as itself.
            spans = [list(span) for span in reference.spans] if isinstance(reference.spans, tuple) else []
            glue: list[Any] = spans[0] if len(spans) == 1 else spans or [-1.0, -1.0]
            references.append(
                {"answer": reference.answer, "glue": glue} if kind == "temporal" else reference.answer
            )
        return reward(completions, solution=references)

    return converted


def _limited(name: str, weights: dict[str, float]) -> Reward:
    """A reward by its name for the tasks in `weights` alone, times the task's weight."""
    inner = named(name)

    @wraps(inner)
    def reward(completions: Sequence[Any], *, task: Sequence[str], **columns: Any) -> list[float | None]:
        values = inner(completions, task=task, **columns)
        return [
            None if v is None or kind not in weights else weights[kind] * v
            for v, kind in zip(values, task, strict=True)
        ]

    return reward
