"""Answers that rules could not read and a judge model did (`bench.read`), as their lines tell it.

A line that a judge was shown says so in `read_by`: {"judge", "prompt"}, and where the judge found an answer
in it {"quote", "rules"} too: the words that state it, and what the line said before (`unread` among it). The
share of such answers stands beside every figure of the task.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bench.answers import cluster
from bench.metrics.stats import Interval, mean_interval
from bench.tasks import CIRCULAR, FAITHFULNESS, READ_BY_JUDGE, UNSCORED

TASKS = ("mcq", CIRCULAR, "judgement", "classification", "temporal", FAITHFULNESS)
OWN = ("judge", "prompt", "quote", "rules")  # keys of `read_by`
OF_RULES = ("parsed", "scores", "labels", "unread")  # what a reading puts another in the place of


def shown_to(line: Mapping[str, Any]) -> str | None:
    """The judge, and the version of its prompt, that a line's answer was shown to."""
    by = line.get("read_by") or {}
    return f"{by['judge']} (prompt {by['prompt']})" if "judge" in by else None


def was_read(line: Mapping[str, Any]) -> bool:
    """Whether a judge found an answer in it."""
    return "rules" in (line.get("read_by") or {})


def by_rules(line: dict[str, Any]) -> dict[str, Any]:
    """A line as it was before any judge."""
    by = line.get("read_by") or {}
    if "judge" not in by:
        return line
    found = line
    if "rules" in by:
        found = {key: value for key, value in line.items() if key != "read"} | by["rules"]
    left = {key: value for key, value in by.items() if key not in OWN}
    found = {key: value for key, value in found.items() if key != "read_by"}
    return found | ({"read_by": left} if left else {})


def _words(lines: list[Mapping[str, Any]]) -> str:
    """How a task's answers were read: "2 of 9 read by …, 1 unread and shown to no judge"."""
    read = Counter(str(shown_to(line)) for line in lines if was_read(line))
    shown = {name for line in lines if (name := shown_to(line))}
    left = sum("unread" in line and shown_to(line) is None for line in lines)
    parts = [f"{read[name]} of {len(lines)} answers read by the judge {name}" for name in sorted(shown)]
    parts += [f"{left} unread ones shown to no judge"] if left else []
    return ", ".join(parts) or f"{len(lines)} read by rules"


def _by_task(lines: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        if line["task"] in TASKS and UNSCORED not in line:
            found.setdefault(line["task"], []).append(line)
    return found


def beside(metrics: Mapping[str, Interval], lines: Iterable[Mapping[str, Any]]) -> dict[str, Interval]:
    """Metrics of lines, those of a task that a judge was asked about with a note, and its share of the task's
    answers as the metric `read_by_judge`."""
    found = dict(metrics)
    for task, of_task in _by_task(lines).items():
        if not any(map(shown_to, of_task)):
            continue
        note = _words(of_task)
        for key, value in found.items():
            if key.startswith(f"{task}."):
                found[key] = replace(value, note=f"{value.note}; {note}" if value.note else note)
        share = np.array([float(was_read(line)) for line in of_task])
        counted = mean_interval(share, np.array([cluster(line) for line in of_task]))
        found[f"{task}.{READ_BY_JUDGE}"] = replace(counted, oracle=0.0)
    return found


def told(lines: Iterable[Mapping[str, Any]]) -> str:
    """How many answers judges have read, task by task; "" where none was asked."""
    by_task = {task: of for task, of in _by_task(lines).items() if any(map(shown_to, of))}
    return "; ".join(f"{task}: {_words(of)}" for task, of in by_task.items())


def unlike(
    before: str, one: Iterable[Mapping[str, Any]], after: str, other: Iterable[Mapping[str, Any]]
) -> dict[str, str]:
    """Tasks whose answers two runs have not read alike, with how: by different judges, or unread ones of one
    run were shown to no judge while those of the other were."""
    left, right = _by_task(one), _by_task(other)
    found = {}
    for task in left.keys() & right.keys():
        lines = [*left[task], *right[task]]
        judges = {shown_to(line) for line in lines if shown_to(line) or "unread" in line}
        if len(judges) > 1:
            found[task] = (
                f"{task}: answers were not read alike; {before}: {_words(left[task])};"
                f" {after}: {_words(right[task])}"
            )
    return dict(sorted(found.items()))
