"""Held-out prompts: which are asked, that none of their videos is trained on, and an evaluation by TRL
that leaves training as it was."""

import copy
import filecmp
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.suite import resolved
from rft.grpo import mixture
from rft.grpo.config import GrpoRun
from tvad.common.errors import InputError
from tvad.data import load_checked
from tvad.data.sample import Sample


class Watches:
    """A trainer that goes on, after an evaluation, with the rollout that it was at: its buffered rows are
    about the clips of that one. Its logged completions are its own: none of training's among them."""

    _rollout: Any
    _logs: dict[str, Any]

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        kept = self._rollout, self._logs
        self._logs = {name: copy.copy(rows) for name, rows in kept[1].items()}
        for rows in self._logs.values():
            rows.clear()
        try:
            return super().evaluate(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._rollout, self._logs = kept


def refuse_trained(rows: list[dict[str, Any]], others: Iterable[Sample], samples: Iterable[Sample]) -> None:
    """Raise InputError where a video of the held-out `rows`, which are of `others`, is one of `samples`: the
    same place, or the same bytes at another, as in a copy of the data."""
    if not (asked := {row["video"] for row in rows}):
        return
    if both := {clip for sample in samples if (clip := sample.clip()) in asked}:
        raise InputError(f"held_out: {len(both)} of its videos are in the training data, e.g. {min(both)}")
    held: dict[tuple[int, ...], list[Sample]] = {}
    for sample in others:
        if sample.clip() in asked and any(sizes := _sizes(sample.files())):
            held.setdefault(sizes, []).append(sample)
    copies = {}
    for trained in samples:
        files = trained.files()
        for sample in held.get(_sizes(files), []):
            if all(filecmp.cmp(*pair, shallow=False) for pair in zip(sample.files(), files, strict=True)):
                copies[sample.clip()] = files[0]
    if copies:
        first = min(copies)
        raise InputError(
            f"held_out: {len(copies)} of its videos are in the training data, e.g. {first} is {copies[first]}"
        )


def _sizes(files: list[Path]) -> tuple[int, ...]:
    """In bytes; 0 where there is no file."""
    return tuple(file.stat().st_size if file.is_file() else 0 for file in files)


def held_out_of(
    run: GrpoRun, tasks: dict[str, mixture.Task], arguments
) -> tuple[list[dict[str, Any]], Sequence[Sample]]:
    """The rows on which the rewards are watched, whole batches, and the samples that they are of; none where
    nothing is held out. Raises InputError where there is not one batch."""
    plan = run.held_out
    if plan is None:
        return [], []
    samples = load_checked(plan.data, drop=run.drop_bad_rows)
    known = {name: task for name, task in tasks.items() if mixture.pool_of(samples, name, run.topics)}
    every = sum(len(mixture.pool_of(samples, name, run.topics)) for name in known)
    batch = arguments.per_device_eval_batch_size * arguments.world_size // arguments.num_generations_eval
    asked = min(plan.prompts, every)
    if not (count := asked // batch * batch):
        raise InputError(f"held_out: {asked} questions of the run's tasks, a batch takes {batch}")
    reading = resolved(run.reading, samples, run.prompt, known)
    rows = mixture.rows(samples, known, count, run.seed, run.topics, run.prompt, None, reading)
    return rows[:count], samples
