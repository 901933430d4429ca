"""Questions without a score for a reason that is no answer of the model's: a video that cannot be read, a
request that was refused. Each has a line of its own state, {"unscored": reason}; no figure counts it, every
figure names it, `bench retry` asks it again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bench.answers import asked_of, cluster
from bench.metrics.stats import Interval, mean_interval
from bench.suite import Item
from bench.tasks import TASKS, UNSCORED
from tvad.common.errors import InputError

MOST = 300  # characters of a reason
NAMED = 3  # reasons that a note names


def reason_of(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())[:MOST]
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def line_of(item: Item, error: Exception) -> dict[str, Any]:
    """The line of a question that has no answer."""
    return {**asked_of(item), "attempt": 0, UNSCORED: reason_of(error)}


def told(lines: Iterable[Mapping[str, Any]]) -> str:
    """The reasons of lines, the most frequent first; "" where all are scored."""
    reasons = Counter(line[UNSCORED] for line in lines if UNSCORED in line)
    named = [f"{count} x {reason}" for reason, count in reasons.most_common(NAMED)]
    more = len(reasons) - len(named)
    return "; ".join(named) + (f"; and {more} reasons more" if more else "")


def beside(
    metrics: Mapping[str, Interval], lines: Iterable[Mapping[str, Any]], name: str = UNSCORED
) -> dict[str, Interval]:
    """Metrics of lines {"task", "sample"}, each of a task with unscored ones with a note, and the share of
    these as the task's metric `name`."""
    found = dict(metrics)
    by_task: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        if not line.get("attempt"):  # a question is one, however often it is asked
            by_task.setdefault(line["task"], []).append(line)
    for task, of_task in by_task.items():
        share = np.array([float(UNSCORED in line) for line in of_task])
        if not share.any():
            continue
        note = f"{int(share.sum())} of {len(share)} unscored, and in no figure: {told(of_task)}"
        if name == UNSCORED and task in TASKS and share.all():
            found[f"{task}.{TASKS[task].PRIMARY}"] = Interval(None, None, None, 0)
        for key, value in found.items():
            if key.startswith(f"{task}."):
                found[key] = replace(value, note=f"{value.note}; {note}" if value.note else note)
        counted = mean_interval(share, np.array([cluster(line) for line in of_task]))
        found[f"{task}.{name}"] = replace(counted, oracle=0.0)
    return found
