"""Which rewards a run pays and how they add up: selection by name, weights, tasks with rewards of their own,
one sum."""

import importlib
import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

from rft.rewards import wire
from rft.rewards.base import Reward
from rft.rewards.length import overlong
from rft.rewards.own import REWARDS, VARIANTS
from rft.rewards.published import vau_r1
from tvad.answer import parse
from tvad.common.errors import InputError

if TYPE_CHECKING:
    import torch

OWN = REWARDS | VARIANTS
VAU_R1 = {"temporal": "temporal", "qa": "mcq", "classification": "classification"}  # its tasks, and ours
WATCHED = "_watched"  # behind the name of a reward that a task names with weight 0 and another one pays


def total(values: "torch.Tensor", weights: "torch.Tensor") -> "torch.Tensor":
    """The reward of completions: values (B, R), weights (R,) -> (B,), the weighted sum of what applies; NaN
    where nothing that is paid does.

    The same rule as TRL's, which adds up by itself inside the trainer (`sum_then_normalize`, weights from
    `rft.grpo.config.settings_of`); this one is for everything beside it, such as a task's mean.
    """
    added = (values * weights).nansum(-1)
    added[unpaid(values, weights)] = float("nan")
    return added


def unpaid(values: "torch.Tensor", weights: "torch.Tensor") -> "torch.Tensor":
    """Which completions earn nothing at all, (B,): no reward applies to them but such as are watched."""
    return values[..., weights != 0].isnan().all(-1)


def rewards_of(
    common: dict[str, float],
    by_task: Mapping[str, dict[str, float]],
    find: Callable[[str], Reward] | None = None,
) -> tuple[list[Reward], list[float]]:
    """Reward functions and weights of a run: `common` (name -> weight), and by task where a task has its own
    (an empty one has the common). find: a reward by its name, where not `named`. A weight of 0 watches:
    computed and logged, never paid. Raises InputError for an unknown name."""
    find = find or named
    if not any(by_task.values()):
        functions, weights = [find(name) for name in common], list(common.values())
        names = list(common)
    else:
        functions, weights, names = _by_task({task: own or common for task, own in by_task.items()}, find)
    return _apart(functions, names), weights


def select(weights: dict[str, float]) -> tuple[list[Reward], list[float]]:
    """Rewards and weights named by a configuration. Raises InputError for an unknown name."""
    return rewards_of(weights, {})


def _by_task(
    by_task: dict[str, dict[str, float]], find: Callable[[str], Reward]
) -> tuple[list[Reward], list[float], list[str]]:
    """Rewards, weights and names where tasks have their own: a reward is asked about the rows of the tasks
    that name it, and is None elsewhere. Weights that differ between tasks are multiplied into the values."""
    functions, weights, names = [], [], []
    for name in dict.fromkeys(name for rewards in by_task.values() for name in rewards):
        inner = find(name)
        own = {task: rewards[name] for task, rewards in by_task.items() if name in rewards}
        paid = {task: weight for task, weight in own.items() if weight}
        watched = dict.fromkeys(own.keys() - paid.keys(), 1.0)
        for shares, weight, called in (
            (dict.fromkeys(paid, 1.0), next(iter(paid.values()), 0.0), "")
            if len(set(paid.values())) == 1
            else (paid, 1.0, ""),
            (watched, 0.0, WATCHED if paid else ""),
        ):
            if shares:
                functions.append(
                    inner if shares == dict.fromkeys(by_task, 1.0) else _limited(inner, shares, called)
                )
                weights.append(weight)
                names.append(name + called)
    return functions, weights, names


def _apart(functions: list[Reward], names: list[str]) -> list[Reward]:
    """The functions, those that share a name under their whole one: the log would mix them."""
    often = Counter(function.__name__ for function in functions)
    return [
        _renamed(function, name) if often[function.__name__] > 1 else function
        for function, name in zip(functions, names, strict=True)
    ]


def _renamed(function: Reward, name: str) -> Reward:
    @wraps(function)
    def reward(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        return function(completions, **columns)

    reward.__name__ = name.replace("/", ".")
    return reward


def is_own(name: str) -> bool:
    """Is it one of the project's, and not somebody's module?"""
    return ":" not in name


def named(name: str) -> Reward:
    """A reward by its name: one of `OWN`, `overlong.TOKENS`, `vau_r1.TASK.PART`, or `package.module:function`
    of one's own in TRL's signature. Raises InputError for an unknown one. Code is imported only because the
    person who writes the configuration names it."""
    if name in OWN:
        return OWN[name]
    if name.startswith("overlong."):
        return overlong(name.partition(".")[2])
    if name.startswith("vau_r1."):
        _, _, rest = name.partition(".")
        task, _, part = rest.partition(".")
        parts = vau_r1(task)
        if part in parts:
            return _limited(_over_protocol(parts[part]), {VAU_R1[task]: 1.0})
        raise InputError(
            f"rewards: {name!r}: expected one of {', '.join(f'vau_r1.{task}.{known}' for known in parts)}"
        )
    if ":" in name:
        module, _, function = name.partition(":")
        try:
            found = getattr(importlib.import_module(module), function)
        except Exception as error:  # whatever somebody's module raises as it is imported
            raise InputError(
                f"rewards: {name!r} cannot be imported ({type(error).__name__}: {error})"
            ) from error
        if not callable(found) or not any(
            p.kind is p.VAR_KEYWORD for p in inspect.signature(found).parameters.values()
        ):
            raise InputError(
                f"rewards: {name!r} must be a function (completions, **columns) -> list of numbers or None"
            )
        return found
    raise InputError(
        f"rewards: unknown reward {name!r}; known: {', '.join(OWN)}, overlong.TOKENS, vau_r1.TASK.PART,"
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


def _limited(inner: Reward, weights: dict[str, float], called: str = "") -> Reward:
    """A reward that is asked about the rows of the tasks in `weights` alone, times the task's weight; None
    for the others."""

    @wraps(inner)
    def reward(completions: Sequence[Any], *, task: Sequence[str], **columns: Any) -> list[float | None]:
        count = len(completions)
        rows = [n for n, kind in enumerate(task) if kind in weights]
        values: list[float | None] = [None] * count
        if not rows:
            return values
        theirs = wire.of_rows(columns | {"task": list(task)}, rows, count)
        if log_extra := columns.get("log_extra"):  # a column of the table of completions has all of them
            theirs["log_extra"] = lambda column, found: log_extra(column, _spread(found, rows, count))
        for n, value in zip(rows, inner([completions[n] for n in rows], **theirs), strict=True):
            values[n] = None if value is None else weights[task[n]] * value
        return values

    reward.__name__ = inner.__name__ + called
    return reward


def _spread(found: Sequence[Any], rows: Sequence[int], count: int) -> list[Any]:
    of_row = dict(zip(rows, found, strict=True))
    return [of_row.get(n) for n in range(count)]
