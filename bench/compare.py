"""Two runs on the same suite and items: paired differences with intervals."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.metrics.stats import Interval, mean_interval
from bench.run import read_lines
from tvad.errors import InputError

LOWER_IS_BETTER = ("parse_failure", "false_alarm")


@dataclass(frozen=True)
class Difference:
    """A metric before and after, and the paired difference with its interval."""

    metric: str
    before: float | None
    after: float | None
    change: Interval

    @property
    def verdict(self) -> str:
        """better, worse, or same where the interval holds zero."""
        if self.change.low is None or self.change.high is None or self.change.low <= 0 <= self.change.high:
            return "same"
        up = self.change.low > 0
        return "better" if up != self.metric.endswith(LOWER_IS_BETTER) else "worse"


def open_run(folder: str | Path) -> tuple[dict, list[dict], dict]:
    """(run.json, lines of samples.jsonl, metrics.json). Raises InputError that names what is missing."""
    folder = Path(folder)
    try:
        record = json.loads((folder / "run.json").read_text())
        metrics = json.loads((folder / "metrics.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: not a finished run ({error})") from error
    return record, read_lines(folder / "samples.jsonl"), metrics


def per_item(lines: list[dict]) -> dict[tuple[str, str], dict[str, list[float]]]:
    """(task, item id) -> metric -> scores of all attempts."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for line in lines:
        scores = found.setdefault((line["task"], line["id"]), {})
        for name, value in {**line["scores"], "well_formed": float(not line["defects"])}.items():
            scores.setdefault(name, []).append(value)
    return found


def compare(before: str | Path, after: str | Path, resamples: int = 2000, seed: int = 0) -> list[Difference]:
    """Differences after - before of every answer metric. Raises InputError where suites or items differ."""
    (a_record, a_lines, _), (b_record, b_lines, _) = open_run(before), open_run(after)
    if a_record["suite_hash"] != b_record["suite_hash"]:
        raise InputError(f"{before} and {after} cannot be compared: suites {a_record['suite_hash']} and {b_record['suite_hash']}")
    a, b = per_item(a_lines), per_item(b_lines)
    if a.keys() != b.keys():
        only = sorted(set(a) ^ set(b))[0]
        raise InputError(f"{before} and {after} cannot be compared: item {only[1]} of task {only[0]} is in one of them only")
    video = {(line["task"], line["id"]): line["sample"] for line in a_lines}
    found = []
    for name in dict.fromkeys((task, metric) for (task, _), scores in a.items() for metric in scores):
        task, metric = name
        keys = [key for key, scores in a.items() if key[0] == task and metric in scores and metric in b[key]]
        left = np.array([np.mean(a[key][metric]) for key in keys])
        right = np.array([np.mean(b[key][metric]) for key in keys])
        change = mean_interval(right - left, np.array([video[key] for key in keys]), resamples, seed)
        found.append(Difference(f"{task}.{metric}", float(left.mean()), float(right.mean()), change))
    return found


def table(differences: list[Difference]) -> str:
    lines = [f"{'metric':26s} {'before':>8s} {'after':>8s} {'change':>8s}  {'95 % interval':20s} {'n':>5s}  verdict"]
    for d in differences:
        interval = "--" if d.change.low is None else f"[{d.change.low:+.3f}, {d.change.high:+.3f}]"
        lines.append(f"{d.metric:26s} {d.before:8.3f} {d.after:8.3f} {d.change.value:+8.3f}  {interval:20s} {d.change.n:5d}  {d.verdict}")
    return "\n".join(lines)
