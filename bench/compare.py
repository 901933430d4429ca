"""Two runs on the same suite: paired differences, with intervals, over the questions that both have."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bench import by_slice, readings
from bench.answers import cluster, line_scores
from bench.families import SLICES, Difference, judged
from bench.inputs import first_difference
from bench.metrics.paired import CHANGED, paired_interval, sign_flip
from bench.metrics.stats import cluster_sums
from bench.run_folder import open_run, unscored_lines
from bench.slices import in_order
from bench.tasks import HEATMAP, PRIMARIES, heatmap
from tvad.common.errors import InputError

SEES = "p: signs of whole videos turned; sees: the smallest change that 80 % of such comparisons would tell"


def per_item(lines: list[dict]) -> dict[tuple[str, str], dict[str, list[float]]]:
    """(task, item id) -> metric -> scores of all attempts."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for line in lines:
        scores = found.setdefault((line["task"], line["id"]), {})
        for name, value in line_scores(line).items():
            scores.setdefault(name, []).append(value)
    return found


@dataclass(frozen=True)
class Pairs:
    """Scores of one metric on the same items in two runs, (n,) each, with the video of every item."""

    before: np.ndarray
    after: np.ndarray
    videos: np.ndarray


Runs = str | Path | Sequence[str | Path]


def _together(runs: Runs) -> tuple[str, dict, list[dict], set[tuple[str, str]]]:
    """(name, record, lines, questions without a score) of a run, or of several of one suite, whose answers
    then count as attempts of the same questions."""
    folders = [runs] if isinstance(runs, (str, Path)) else list(runs)
    opened = [open_run(folder) for folder in folders]
    for folder, (record, _, _) in zip(folders, opened, strict=True):
        if record["suite_hash"] != opened[0][0]["suite_hash"]:
            raise InputError(
                f"{folders[0]} and {folder} cannot be compared: suites {opened[0][0]['suite_hash']} and"
                f" {record['suite_hash']}"
            )
    return (
        ", ".join(map(str, folders)),
        opened[0][0],
        [line for _, lines, _ in opened for line in lines],
        {(line["task"], line["id"]) for folder in folders for line in unscored_lines(folder)},
    )


@dataclass(frozen=True)
class Shared:
    """What two runs share: every answer metric over the questions that both have scored (`metrics`,
    "task.metric"), how many these are, how many of each task one of the runs has alone, how many are unscored
    in it, the families that the suite of the run before declares, and the slices that videos lie in."""

    before: str
    after: str
    metrics: dict[str, Pairs]
    questions: int
    before_alone: Counter[str]
    after_alone: Counter[str]
    before_unscored: Counter[str]
    after_unscored: Counter[str]
    difference: str = ""  # the first input that the runs were not given alike
    families: dict[str, list[str]] | None = None
    slices: dict[str, dict[str, str]] = field(default_factory=dict)
    unlike: dict[str, str] = field(default_factory=dict)  # tasks whose answers were read by different judges

    def of(self, name: str) -> Pairs | None:
        """Of a metric, or of one by slice (mcq.accuracy[light=night]); None where the runs lack it."""
        if (named := by_slice.parts(name)) is None or name in self.metrics:
            return self.metrics.get(name)
        metric, kind, value = named
        if (whole := self.metrics.get(metric)) is None:
            return None
        keep = np.array([self.slices.get(video, {}).get(kind) == value for video in whole.videos.tolist()])
        return Pairs(whole.before[keep], whole.after[keep], whole.videos[keep]) if keep.any() else None

    def sliced(self) -> dict[str, Pairs]:
        """The first metrics of the tasks, by slice."""
        names = [
            by_slice.name_of(metric, *place)
            for place in in_order(self.slices.values())
            for metric in PRIMARIES
        ]
        return {name: p for name in names if (p := self.of(name)) is not None}

    @property
    def told(self) -> str:
        """What was left out, in words; "" where nothing was."""
        alone = ((self.before, self.before_alone), (self.after, self.after_alone))
        parts = [f"{counts.total()} are in {name} alone" for name, counts in alone if counts]
        unscored = ((self.before, self.before_unscored), (self.after, self.after_unscored))
        parts += [f"{counts.total()} are unscored in {name}" for name, counts in unscored if counts]
        of_both = "that both scored" if any(counts for _, counts in unscored) else "of both"
        return f"compared over the {self.questions} questions {of_both}; {', '.join(parts)}" if parts else ""


def _slices(before: Runs, after: Runs) -> dict[str, dict[str, str]]:
    """Of all the runs, which are of one suite."""
    runs = [run for side in (before, after) for run in ([side] if isinstance(side, (str, Path)) else side)]
    return by_slice.together(runs)


def pairs(before: Runs, after: Runs) -> Shared:
    """Every answer metric of two runs, item by item; several runs on a side (seeds) are averaged by item.
    Raises InputError where the suites differ or no question is in both."""
    runs = before, after
    before, record, a_lines, a_without = _together(before)
    after, other, b_lines, b_without = _together(after)
    a_hash, b_hash = record["suite_hash"], other["suite_hash"]
    if a_hash != b_hash:
        raise InputError(f"{before} and {after} cannot be compared: suites {a_hash} and {b_hash}")
    a, b = per_item(a_lines), per_item(b_lines)
    a_without, b_without = a_without - a.keys(), b_without - b.keys()  # of several runs, in all of them
    alone = [
        Counter(task for task, _ in one.keys() - other.keys() - without)
        for one, other, without in ((a, b, b_without), (b, a, a_without))
    ]
    unscored = [Counter(task for task, _ in without) for without in (a_without, b_without)]
    difference = first_difference(a_lines, b_lines)
    if (a or b) and not a.keys() & b.keys():
        raise InputError(f"{before} and {after} cannot be compared: no question is scored in both")
    a = {key: scores for key, scores in a.items() if key in b}
    # A run from before windows named their video has no source: the other one may.
    video = {(line["task"], line["id"]): cluster(line) for line in a_lines}
    video |= {(line["task"], line["id"]): line["source"] for line in b_lines if "source" in line}
    found = {}
    for task, metric in dict.fromkeys((task, metric) for (task, _), scores in a.items() for metric in scores):
        keys = [key for key, scores in a.items() if key[0] == task and metric in scores and metric in b[key]]
        if not keys:  # only one of the runs has it
            continue
        left, right = (np.array([np.mean(run[key][metric]) for key in keys]) for run in (a, b))
        found[f"{task}.{metric}"] = Pairs(left, right, np.array([video[key] for key in keys]))
    families = record["suite"].get("families")
    return Shared(
        before,
        after,
        found,
        len(a),
        alone[0],
        alone[1],
        unscored[0],
        unscored[1],
        difference,
        families,
        _slices(*runs),
        readings.unlike(before, a_lines, after, b_lines),
    )


def compare(
    before: Runs, after: Runs, resamples: int = 10_000, seed: int = 0, shared: Shared | None = None
) -> list[Difference]:
    """Differences after - before of every answer metric, over the questions that both runs have, and of the
    heatmap metrics where both have them (single runs only), family by family. shared: the runs' `pairs`,
    where they are at hand. Raises InputError where the suites differ, or declare a metric in a family that
    the runs lack."""
    found, shared = [], shared or pairs(before, after)
    for name, p in (shared.metrics | shared.sliced()).items():
        change = paired_interval(p.before, p.after, p.videos)
        sums, _ = cluster_sums(p.after - p.before, p.videos)
        # A slice of so few videos could not be told apart whatever happened: the others do not pay for it.
        few = name not in shared.metrics and len(sums) < CHANGED
        test = None if few else sign_flip(sums, resamples, seed)
        means = float(p.before.mean()), float(p.after.mean())
        found.append(Difference(name, *means, change, test, videos=len(sums)))
    if isinstance(before, (str, Path)) and isinstance(after, (str, Path)):
        found += _heatmaps(Path(before), Path(after), resamples, seed, shared.slices)
    return judged(found, shared.families)


def _heatmaps(
    before: Path, after: Path, resamples: int, seed: int, slices: dict[str, dict[str, str]]
) -> list[Difference]:
    """Paired over videos, from what the runs keep of every video; the first metrics by slice, too."""
    files = [run / heatmap.VIDEOS for run in (before, after)]
    if not all(file.exists() for file in files):
        return []
    left, right = (heatmap.load_videos(file) for file in files)
    both = [name for name in left if name in right]  # a video that could not be read has no map
    if not both:
        raise InputError(f"{before} and {after} cannot be compared: their heatmaps are of different videos")
    missing = len({*left, *right}) - len(both)
    note = f"over the {len(both)} videos that have a map in both runs" if missing else None

    def of(names: list[str]) -> dict:
        return heatmap.paired([left[n] for n in names], [right[n] for n in names], resamples, seed)

    found = [
        Difference(f"{HEATMAP}.{name}", one, other, replace(change, note=note), p, videos=change.n)
        for name, (one, other, change, p) in of(both).items()
    ]
    for kind, value in in_order(slices.values()):
        inside = [name for name in both if slices.get(name, {}).get(kind) == value]
        for name, (one, other, change, p) in (of(inside) if inside else {}).items():
            if name in heatmap.PRIMARIES:
                metric = by_slice.name_of(f"{HEATMAP}.{name}", kind, value)
                test = None if change.n < CHANGED else p
                found.append(Difference(metric, one, other, change, test, videos=change.n))
    return found


def _adjusted(family: str, differences: list[Difference]) -> str:
    """For how many a family's p-values are adjusted."""
    rows = [d for d in differences if d.family == family]
    tested = sum(d.p is not None for d in rows)
    if family != SLICES:
        return f"{family}: p adjusted for {tested} metrics"
    few = (
        f"; {len(rows) - tested} of fewer than {CHANGED} videos are not tested" if tested < len(rows) else ""
    )
    return f"{family}: p adjusted for {tested} metrics by slice{few}"


def _in_short(names: list[str]) -> list[str]:
    """Names of metrics; of those by slice their number."""
    whole = [name for name in names if by_slice.parts(name) is None]
    return [*whole, *([f"{len(names) - len(whole)} by slice"] if len(whole) < len(names) else [])]


def table(differences: list[Difference]) -> str:
    """As aligned text, family by family; below it why an interval is missing."""
    notes: dict[str, list[str]] = {}
    width = max([26, *(len(d.metric) for d in differences)])
    lines = [
        f"{'metric':{width}s} {'before':>8s} {'after':>8s} {'change':>8s}  {'95 % interval':20s} {'n':>5s} "
        f" {'p':>7s} {'sees':>6s}  verdict"
    ]
    told = ""
    for d in differences:
        if d.family != told:
            told = d.family
            lines.append(_adjusted(told, differences))
        interval = "--" if d.change.low is None else f"[{d.change.low:+.3f}, {d.change.high:+.3f}]"
        numbers = [
            f"{'--':>8s}" if v is None else f"{v:{sign}8.3f}"
            for v, sign in ((d.before, ""), (d.after, ""), (d.change.value, "+"))
        ]
        p = d.p if d.adjusted is None else d.adjusted
        tested = ("--" if p is None else f"{p:.2g}", "--" if d.sees is None else f"{d.sees:.3f}")
        lines.append(
            f"{d.metric:{width}s} {' '.join(numbers)}  {interval:20s} {d.change.n:5d}  {tested[0]:>7s}"
            f" {tested[1]:>6s}  {d.verdict}"
        )
        if d.change.withheld:
            notes.setdefault(d.change.withheld, []).append(d.metric)
    notes = {why: _in_short(names) for why, names in notes.items()}
    lines += [f"{', '.join(names)}: no interval: {why}" for why, names in notes.items()]
    lines += [f"{d.metric}: {d.change.note}" for d in differences if d.change.note]
    return "\n".join([*lines, SEES])


def rows(differences: list[Difference]) -> list[dict]:
    """As JSON: a row a metric."""
    kept = ("metric", "family", "before", "after", "p", "adjusted", "sees", "verdict")
    return [{**{key: getattr(d, key) for key in kept}, "change": d.change.row()} for d in differences]
