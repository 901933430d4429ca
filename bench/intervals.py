"""From the lines of a run to its metrics: what a cluster is, and which interval a metric gets.

A cluster is a video (`bench.answers.cluster`): its questions, attempts and windows move together
(`bench.metrics.stats`). A metric is a mean over answers, but for what only a whole set of answers has:
balanced accuracy and F1 (`bench.metrics.labels`), questions that are right under every rotation, BLEU-4 by
corpus, and the areas of `odds_metrics`. BLEU-4 by sentence is the mean over clips of each one's mean (macro,
as T-VAU takes it). What an accuracy gains over a blind baseline is a change (`bench.metrics.paired`). Heatmap
metrics are over videos too, by `bench.tasks.heatmap`.
"""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from bench.answers import cluster, line_scores
from bench.metrics import frame, labels
from bench.metrics.paired import change_interval
from bench.metrics.stats import Interval, cluster_sums, interval_of, mean_interval, parts_of, without_parts
from bench.metrics.text import corpus_bleu4
from bench.suite import Suite
from bench.tasks import CIRCULAR, CORPUS, TASKS, UNREAD, UNSCORED, Labelled

ABOVE_BLIND = "above_blind"


class Columns:
    """Scores of many answers as arrays, a column a metric: what the intervals need, a fraction of the lines'
    memory."""

    def __init__(self, hits: Mapping[str, float] | None = None) -> None:
        """hits: per item id whether the best blind baseline is right (`bench.blind`)."""
        self.hits = hits or {}
        self.videos: dict[str, int] = {}  # cluster numbers, by first appearance
        self.columns: dict[str, tuple[array, array]] = {}  # metric -> values, videos
        # (question, attempt) -> video, right under all rotations so far
        self.rotations: dict[tuple[str, int], tuple[int, float]] = {}
        self.partly: set[str] = set()  # questions of which a rotation is unscored
        self.unread: dict[str, tuple[list[str], array]] = {}  # task -> reason or "", videos
        self.labels: dict[str, tuple[list, list, list]] = {}  # task -> truths, predictions, videos
        self.clips: dict[str, int] = {}  # numbers of samples, of which a video may have several
        # metric -> n-gram counts, ten an answer, clips, videos
        self.counts: dict[str, tuple[array, array, array]] = {}

    def add(self, line: dict) -> None:
        if UNSCORED in line:
            if line["task"] == CIRCULAR:
                self.partly.add(line["id"].rpartition("~")[0])
            return
        video = self.videos.setdefault(cluster(line), len(self.videos))
        clip = self.clips.setdefault(line["sample"], len(self.clips))
        scores = line_scores(line)
        if (hit := self.hits.get(line["id"])) is not None:
            scores = {**scores, ABOVE_BLIND: scores["accuracy"] - hit}
        if line["task"] == CIRCULAR:
            key = (line["id"].rpartition("~")[0], line["attempt"])
            self.rotations[key] = (video, min(scores["accuracy"], self.rotations.get(key, (video, 1.0))[1]))
        reasons, where = self.unread.setdefault(line["task"], ([], array("l")))
        reasons.append(line.get("unread", ""))
        where.append(video)
        if "labels" in line:
            columns = self.labels.setdefault(line["task"], ([], [], []))
            for column, value in zip(columns, (*line["labels"], video), strict=True):
                column.append(value)
        for name, counts in line.get("counts", {}).items():
            empty = array("l"), array("l"), array("l")
            rows, clips, videos = self.counts.setdefault(f"{line['task']}.{name}", empty)
            rows.extend(counts)
            clips.append(clip)
            videos.append(video)
        for name, value in scores.items():
            values, videos = self.columns.setdefault(f"{line['task']}.{name}", (array("d"), array("l")))
            values.append(value)
            videos.append(video)

    def intervals(self, suite: Suite) -> dict[str, Interval]:
        """{"task.metric": Interval} over answers, clustered by video."""
        columns = {
            name: (np.array(values), np.array(videos)) for name, (values, videos) in self.columns.items()
        }
        # Right under those rotations that are scored is not right under all.
        if complete := [right for (name, _), right in self.rotations.items() if name not in self.partly]:
            videos, values = zip(*complete, strict=True)
            columns[f"{CIRCULAR}.circular_accuracy"] = np.array(values), np.array(videos)
        for name, (reasons, clusters) in self.unread.items():
            given = np.array(reasons)
            for reason in sorted(set(reasons) - {""}):
                columns[f"{name}.{UNREAD}{reason}"] = (given == reason).astype(float), np.array(clusters)
        found = {
            name: (change_interval if name.endswith(f".{ABOVE_BLIND}") else mean_interval)(values, videos)
            for name, (values, videos) in columns.items()
        }
        if self.partly and not complete:
            why = "cannot be had: a rotation of every question is unscored"
            found[f"{CIRCULAR}.circular_accuracy"] = Interval(None, None, None, 0, why)
        for name, (counts, clips, places) in self.counts.items():
            scores = columns[name][0]
            sums, answers = cluster_sums(scores, np.array(clips))
            first = np.unique(np.array(clips), return_index=True)[1]
            macro = mean_interval(sums / answers, np.array(places)[first])
            found[name] = replace(macro, n=len(scores))
            rows = np.array(counts).reshape(len(places), -1)
            found[f"{name}{CORPUS}"] = _by_corpus(rows, np.array(places), suite)
        for name, (truths, predictions, where) in self.labels.items():
            task = TASKS[name]
            positive = task.POSITIVE if isinstance(task, Labelled) else None
            whole = labels.metrics(
                truths, predictions, np.array(where), positive, suite.resamples, suite.seed
            )
            found |= {f"{name}.{metric}": interval for metric, interval in whole.items()}
        return found


def _by_corpus(counts: np.ndarray, videos: np.ndarray, suite: Suite) -> Interval:
    """BLEU-4 of n-gram counts (n, 10) summed over all answers, its interval over videos (n,)."""
    rows = np.stack([cluster_sums(column, videos)[0] for column in counts.T], 1)
    without = without_parts(rows, parts_of(len(rows), suite.resamples, suite.seed))
    sizes = np.unique(videos, return_counts=True)[1]
    return interval_of(float(corpus_bleu4(rows.sum(0))), corpus_bleu4(without), len(counts), sizes=sizes)


def summarise(
    lines: Iterable[dict], suite: Suite, hits: Mapping[str, float] | None = None
) -> dict[str, Interval]:
    """{"task.metric": Interval} over the lines of samples.jsonl; `hits`: see `Columns`."""
    columns = Columns(hits)
    for line in lines:
        columns.add(line)
    return columns.intervals(suite)


AREAS = ("roc_auc", "average_precision")


def _areas(negative: np.ndarray, positive: np.ndarray) -> tuple[float | None, float | None]:
    return frame.area(negative, positive), frame.precision(negative, positive)


def odds_metrics(lines: list[dict], suite: Suite) -> dict[str, Interval]:
    """judgement.roc_auc and judgement.average_precision, mcq.odds_accuracy over the lines of odds.jsonl,
    clustered by video."""
    found = {}
    scored = [line for line in lines if UNSCORED not in line]
    of_task = {task: [line for line in scored if line["task"] == task] for task in ("judgement", "mcq")}
    if yes := of_task["judgement"]:
        truth, scores = (np.array([line[key] for line in yes]) for key in ("right", "score"))
        numbers: dict[str, int] = {}  # cluster numbers, by first appearance
        clusters = np.array([numbers.setdefault(cluster(line), len(numbers)) for line in yes])
        # An area is no sum over clusters: it is of the lines of the videos that are left, (V,) -> (rows,).
        members = np.split(np.argsort(clusters, kind="stable"), np.cumsum(np.bincount(clusters))[:-1])
        count, sizes = len(members), np.array([len(m) for m in members])
        places = np.arange(count)
        ranked = frame.Ranked.of([truth[m] for m in members], [scores[m] for m in members], places)
        right = frame.Ranked.of([truth[m] for m in members], [truth[m] for m in members], places)
        best = _areas(*right.counts(np.ones(count)))
        parts = parts_of(count, suite.resamples, suite.seed)
        without = [_areas(*ranked.counts(parts != part)) for part in range(parts.max() + 1)]
        units = min(sum(bool(np.any(truth[m] == right)) for m in members) for right in (0, 1))
        one = f"cannot be had: every reference is {'Yes' if truth.all() else 'No'}"
        for n, name in enumerate(AREAS):
            value = _areas(*ranked.counts(np.ones(count)))[n]
            left = np.array([areas[n] for areas in without], float)  # None becomes NaN
            interval = replace(interval_of(value, left, len(yes), units, sizes), oracle=best[n])
            found[f"judgement.{name}"] = interval if value is not None else replace(interval, note=one)
    if letters := of_task["mcq"]:
        hits = np.array([line["right"] for line in letters])
        where = np.array([cluster(line) for line in letters])
        # The likeliest letter of the references is their own.
        accuracy = mean_interval(hits, where)
        found["mcq.odds_accuracy"] = replace(accuracy, oracle=1.0)
    return found


def table(metrics: Mapping[str, Interval]) -> str:
    """Metrics as aligned text; undefined is "--". Beside a value the oracle's, what the references themselves
    earn; below the table what a metric leaves out or lacks, and why it has no interval."""
    lines = [f"{'metric':28s} {'value':>8s}  {'95 % interval':18s} {'n':>6s}  {'oracle':>6s}"]
    notes: dict[str, list[str]] = {}
    for name, m in metrics.items():
        value = "--" if m.value is None else f"{m.value:.3f}"
        interval = "--" if m.low is None else f"[{m.low:.3f}, {m.high:.3f}]"
        oracle = "--" if m.oracle is None else f"{m.oracle:.3f}"
        lines.append(f"{name:28s} {value:>8s}  {interval:18s} {m.n:6d}  {oracle:>6s}")
        if m.note:
            notes.setdefault(m.note, []).append(name)
        if m.withheld:
            notes.setdefault(f"no interval: {m.withheld}", []).append(name)
    return "\n".join([*lines, *(f"{', '.join(names)}: {note}" for note, names in notes.items())])
