"""The work of `tvad annotate run` over several GPUs or hosts, by Ray Data: every worker opens the teacher for
itself and keeps its replies in a file of its own; rows come back and are written by one process."""

import json
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tvad.annotate.construct import Construction
from tvad.annotate.replies import Replies, Spent
from tvad.annotate.rounds import annotated, constructed
from tvad.annotate.teacher import named, opened
from tvad.common.errors import InputError
from tvad.common.files import parse_json
from tvad.data.check import Problem
from tvad.data.sample import Sample, from_json, to_json


@dataclass(frozen=True)
class Spread:
    """`workers` processes, each with so many GPUs (0: none), which open the teacher `spec` with `options`."""

    spec: str
    options: dict[str, Any]
    workers: int
    gpus: float = 0.0

    @property
    def name(self) -> str:
        """The teacher's, without opening its model here."""
        return named(self.spec, dict(self.options))


class Worker:
    """A process of Ray's: batches of samples in, rows out."""

    def __init__(self, spread: Spread, out: str, how: Construction, stages: bool):
        self.out, self.how, self.stages = out, how, stages
        self.replies: Replies | str  # or why there are none
        try:
            teacher = opened(spread.spec, dict(spread.options))
            self.replies = Replies(Path(out), teacher, f"ray-{secrets.token_hex(4)}")
        except InputError as error:
            self.replies = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        try:
            return self._annotated(batch)
        except InputError as error:  # Ray would wrap it in its own words
            return {"told": [json.dumps({"error": str(error)}, allow_nan=False)], "spent": ["{}"]}

    def _annotated(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        if isinstance(self.replies, str):
            raise InputError(self.replies)
        samples = [from_json(parse_json(text), self.out) for text in batch["sample"]]
        self.replies.spent = spent = Spent()
        told = []
        for row in annotated(samples, partial(constructed, self.how, self.stages), self.replies.ask):
            found = {"problem": [row.where, row.reason]} if isinstance(row, Problem) else {"row": row}
            told.append(json.dumps(found, allow_nan=False))
        counts = [json.dumps(vars(spent), allow_nan=False), *["{}"] * (len(told) - 1)]
        return {"told": told, "spent": counts}


def annotated_by(
    spread: Spread,
    samples: Sequence[Sample],
    out: Path,
    how: Construction,
    stages: bool,
    together: int,
    spent: Spent,
) -> Iterator[dict[str, Any] | Problem]:
    """Rows as workers finish them, in any order; `spent` gets what they cost. Raises InputError where Ray is
    not installed."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError("--workers: Ray is not installed; install the extra ray") from error
    if not ray.is_initialized():
        here = {"num_cpus": spread.workers + 1, "include_dashboard": False}
        local: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else here
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **local)
        except Exception as error:  # it raises plain ones
            raise InputError(f"--workers: Ray did not start: {' '.join(str(error).split())[:300]}") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    # Blocks as small as batches: else the first worker is given all of them.
    parts = max(1, -(-len(samples) // together))
    items = [{"sample": json.dumps(to_json(sample), allow_nan=False)} for sample in samples]
    told = ray.data.from_items(items, override_num_blocks=parts).map_batches(
        Worker,
        fn_constructor_args=(spread, str(out), how, stages),
        batch_size=together,
        batch_format="numpy",
        concurrency=spread.workers,
        num_gpus=spread.gpus,
    )
    try:
        for line in told.iter_rows():
            cost = json.loads(line["spent"])
            money = cost.pop("cost", None)
            for name, value in cost.items():
                setattr(spent, name, getattr(spent, name) + value)
            spent.cost = spent.cost if money is None else (spent.cost or 0.0) + money
            found = json.loads(line["told"])
            if "error" in found:
                raise InputError(found["error"])
            yield Problem(*found["problem"]) if "problem" in found else found["row"]
    except ray.exceptions.RayError as error:
        raise InputError(f"ray: {' '.join(str(error).split())[-300:]}") from error
