"""The smallest change that a suite would show: what 80 % of comparisons on it would tell from none.

Of a finished run it follows from the widths of its intervals. How alike the two runs of a later comparison
will be is not known: figures are for runs that are right and wrong independently of each other, and for a
correlation of 0.5. Of a suite that nobody has run yet it is reckoned for accuracies, from the numbers of
videos and questions, an accuracy and a correlation within videos.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from bench import by_slice, oracle
from bench.answers import asked_of, cluster, line_scores
from bench.families import OTHER, POWER, SLICES, compared, family_of, seen
from bench.metrics.paired import CHANGED
from bench.metrics.stats import FEWEST, Interval, evenness
from bench.run_folder import open_run
from bench.suite import Suite, load, tasks_of
from bench.tasks import HEATMAP, PRIMARIES, TASKS
from tvad.common.errors import InputError

ALIKE = 0.5


@dataclass(frozen=True)
class Row:
    """unlike, alike: the smallest change seen between runs with a correlation of 0 and of ALIKE; None where
    the metric has no interval, or no change can be told of so few videos among so many metrics."""

    metric: str
    family: str
    n: int
    unlike: float | None
    alike: float | None


def _row(
    metric: str, family: str, tests: int, videos: int, n: int, low: float | None, high: float | None
) -> Row:
    one = seen(Interval(None, low, high, n), tests, videos=videos)
    # Var(after - before) = 2 (1 - correlation) Var(after).
    unlike, alike = (None if one is None else one * (2 * (1 - r)) ** 0.5 for r in (0.0, ALIKE))
    return Row(metric, family, n, unlike, alike)


def of_run(run: str | Path) -> list[Row]:
    """A row a metric of a finished run that a comparison would print, family by family. Raises InputError."""
    record, lines, metrics = open_run(run)
    declared = record["suite"].get("families")
    videos = _videos(lines)
    shown = {name: len({*v.values()}) for name, v in videos.items()} | {
        name: m["n"] for name, m in metrics.items() if name.startswith(f"{HEATMAP}.") and compared(name)
    }
    if sliced := by_slice.read(run):
        metrics |= sliced.metrics
        shown |= {name: count for name, count in _in_slices(sliced, videos).items() if count >= CHANGED}
    of = {
        name: family_of(name, declared)
        for name, m in metrics.items()
        if name in shown and m["value"] is not None
    }
    sizes = Counter(of.values())
    order = sorted(of, key=lambda name: (of[name] == SLICES, of[name] == OTHER, of[name]))
    return [
        _row(name, of[name], sizes[of[name]], shown[name], *(metrics[name][k] for k in ("n", "low", "high")))
        for name in order
    ]


def _in_slices(sliced: by_slice.Sliced, videos: Mapping[str, dict[str, str]]) -> dict[str, int]:
    """How many videos every metric by slice is over."""
    found = {}
    for name, m in sliced.metrics.items():
        metric, kind, value = by_slice.parts(name) or ("", "", "")
        of = videos.get(metric, {})
        inside = {of[clip] for clip in of if sliced.videos.get(clip, {}).get(kind) == value}
        found[name] = m["n"] if metric.startswith(f"{HEATMAP}.") else len(inside)
    return found


def _videos(lines: Iterable[dict]) -> dict[str, dict[str, str]]:
    """The clips of every metric of answers, each with its video."""
    found: dict[str, dict[str, str]] = {}
    for line in lines:
        for name in line_scores(line):
            found.setdefault(f"{line['task']}.{name}", {})[line["sample"]] = cluster(line)
    return found


def of_suite(suite: Suite, accuracy: float, correlation: float) -> list[Row]:
    """A row for the first metric of every task of right and wrong answers. Raises InputError."""
    for name, value, most in (("accuracy", accuracy, 0.99), ("correlation", correlation, 1.0)):
        if not 0 <= value <= most or (name == "accuracy" and value < 0.01):
            raise InputError(
                f"--{name} is {value:g}, expected {'0.01' if name == 'accuracy' else '0'} to {most:g}"
            )
    asked: dict[str, Counter[str]] = {}
    samples, items = load(suite)
    for item in items:
        asked.setdefault(item.task, Counter())[cluster(asked_of(item))] += 1
    tasks = [task for task in asked if TASKS[task].PRIMARY in TASKS[task].BINARY]
    names = {task: f"{task}.{TASKS[task].PRIMARY}" for task in tasks}
    of = {task: family_of(name, suite.families) for task, name in names.items()}
    # What a comparison will print: of answers what their references have, of heatmaps what is declared.
    mapped = HEATMAP in tasks_of(suite, samples)
    declared = PRIMARIES if suite.families is None else [m for some in suite.families.values() for m in some]
    of_answers = names.values() if suite.hidden else _videos(oracle.lines(items))
    printed = [*of_answers, *(m for m in declared if mapped and m.startswith(f"{HEATMAP}."))]
    tests = Counter(family_of(name, suite.families) for name in printed)
    return [_reckoned(names[t], of[t], tests[of[t]], asked[t].values(), accuracy, correlation) for t in tasks]


def _reckoned(
    name: str, family: str, tests: int, counts: Iterable[int], accuracy: float, correlation: float
) -> Row:
    each = np.array(list(counts), float)
    n = each.sum()
    if len(each) < FEWEST:
        return _row(name, family, tests, len(each), int(n), None, None)
    # Kish's design effect, 1 + (m - 1) correlation, for questions a video m = sum m^2 / sum m.
    effect = 1 + (n / evenness(each) - 1) * correlation
    half = NormalDist().inv_cdf(0.975) * float((accuracy * (1 - accuracy) * effect / n) ** 0.5)
    return _row(name, family, tests, len(each), int(n), accuracy - half, accuracy + half)


def table(rows: list[Row]) -> str:
    lines = [f"{'metric':28s} {'family':12s} {'n':>6s} {'unlike':>8s} {'alike':>8s}"]
    for row in rows:
        numbers = ["--" if v is None else f"{v:.3f}" for v in (row.unlike, row.alike)]
        lines.append(f"{row.metric:28s} {row.family:12s} {row.n:6d} {numbers[0]:>8s} {numbers[1]:>8s}")
    what = f"the smallest change told from none in {POWER:.0%} of comparisons, of runs with a correlation of"
    return "\n".join([*lines, f"{what} 0 (unlike) and of {ALIKE} (alike)"])
