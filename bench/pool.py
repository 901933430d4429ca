"""Runs of a cross-validation's folds as one run: every question answered once, by the model that saw no clip
of its video. What is no mean (frame AUC, RBDC, balanced accuracy) is of all answers together, not a mean over
folds: a fold's videos may hold no normal frame."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import blind
from bench.by_slice import BySlice
from bench.figures import of_answers, of_maps, of_odds
from bench.metrics.stats import Interval
from bench.run_folder import (
    ANSWERS,
    METRICS,
    ODDS,
    UNMAPPED,
    answer_lines,
    emptied,
    read_json,
    read_lines,
    read_record,
    record_of,
    versions,
    write_lines,
    write_metrics,
    write_record,
)
from bench.suite import Loaded, Suite, load_run, settled
from bench.tasks import HEATMAP, heatmap
from tvad.common.errors import InputError
from tvad.common.lock import locked
from tvad.common.places import public
from tvad.common.quiet import note
from tvad.data.digest import told

POOLED = "pooled:"  # of which run.json says that they are the model
# Keys of a suite that decide no answer and no score of one.
OWN = ("data", "tasks", "model", "resamples", "seed", "families", "slices")


def _same(suite: Suite, run: str, other: Suite) -> None:
    """Raise InputError where a run was asked or read otherwise than the suite says; which videos does not
    matter."""
    of_all, of_run = asdict(suite), asdict(other)
    for key, wanted in of_all.items():
        if key not in OWN and of_run[key] != wanted:
            raise InputError(f"{run}: was made with {key} {of_run[key]!r}, the suite says {wanted!r}")


def told_of(models: Sequence[str]) -> str:
    """The first of several names, and how many others there are: all of them stand in the record."""
    others = len({*models}) - 1
    return models[0] + (f" and {others} more" if others else "")


def _say_lacks(runs: Sequence[str], of_runs: dict[str, set[str]], what: str, videos: int) -> None:
    """Say of which runs nothing stands in metrics of `what`. of_runs: run -> the videos of which it has
    them."""
    count = len(set().union(*of_runs.values()))
    for run in (run for run in runs if not of_runs.get(run)):
        rest = f"their metrics are of {count} of {videos} videos" if count else "nor has any other"
        note(f"{run}: has no {what}; {rest}")


def pool(runs: Sequence[str], suite: Suite, loaded: Loaded, out: str | Path) -> dict[str, Interval]:
    """Write the run folder `out` of the runs of folds on `suite`, whose data are all videos; returns the
    metrics. Raises InputError for a run that is not finished or was made otherwise, and for a video that is
    in none of the runs, in two, or that a fold's data tell otherwise."""
    samples, items = loaded
    named, suite = bool(suite.tasks), settled(suite, samples)
    known = {sample.id: told(sample) for sample in samples}
    where: dict[str, str] = {}
    lines: dict[str, list[dict]] = {}
    odds: dict[str, dict] = {}
    video_of = {item.id: item.sample.id for item in items}
    has: dict[str, dict[str, set[str]]] = {"heatmaps": {}, "log-probabilities": {}}
    videos: dict[str, heatmap.VideoScores] = {}
    unmapped: dict[str, dict] = {}
    records: list[dict[str, Any]] = []
    for run in runs:
        record = read_record(run)
        read_json(Path(run, METRICS))  # finished
        records.append(record)
        own, (asked, _) = load_run(run, record)
        _same(suite, run, own)
        for sample in asked:
            if known.get(sample.id) != told(sample):
                why = "tell otherwise" if sample.id in known else "do not hold"
                raise InputError(f"{run}: its video {sample.id!r} is one that {suite.data} {why}")
            if sample.id in where:
                raise InputError(f"{run}: its video {sample.id!r} is also in {where[sample.id]}")
            where[sample.id] = run
        if lacks := sorted({*(suite.tasks or ())} - {*(own.tasks or ())}):
            raise InputError(f"{run}: was not asked for {', '.join(lacks)}")
        for line in answer_lines(Path(run, ANSWERS)):
            lines.setdefault(line["id"], []).append(line)
        likely = {line["id"]: line for line in read_lines(Path(run, ODDS))}
        has["log-probabilities"][run] = {video_of[name] for name in likely if name in video_of}
        odds |= likely
        if Path(run, heatmap.VIDEOS).exists():
            mapped = heatmap.load_videos(Path(run, heatmap.VIDEOS))
            has["heatmaps"][run] = {*mapped}
            videos |= mapped
        unmapped |= {line["id"]: line for line in read_lines(Path(run, UNMAPPED))}
    if left := [sample.id for sample in samples if sample.id not in where]:
        raise InputError(f"{len(left)} of {len(samples)} videos are in no run, the first {left[0]!r}")
    if unanswered := [item.id for item in items if item.id not in lines]:
        raise InputError(f"{where[items[0].sample.id]}: has no answer to {unanswered[0]!r}")
    ordered = [line for item in items for line in lines[item.id]]
    blinds, hits = ({}, {}) if suite.hidden else blind.of_items(items, suite.seed)
    metrics = of_answers(ordered, samples, items, suite, hits)
    maps = {sample.id: videos[sample.id] for sample in samples if sample.id in videos}
    if HEATMAP in (suite.tasks or ()):
        metrics |= of_maps(maps, unmapped, samples, suite)
        if not suite.hidden:
            _say_lacks(runs, has["heatmaps"], "heatmaps", len(samples))
    known_odds = [odds[item.id] for item in items if item.id in odds]
    if suite.odds and known_odds:
        metrics |= of_odds(known_odds, suite)
        _say_lacks(runs, has["log-probabilities"], "log-probabilities", len(samples))
    by_slice = BySlice(samples, suite)
    for line in ordered:
        by_slice.add(line)
    folder = Path(out)
    record = {
        "model": POOLED + told_of([record["model"] for record in records]),
        "suite": asdict(suite),
        "suite_hash": suite.digest(samples),
        "tasks_from": "suite" if named else "data",
        "videos": len(samples),
        "versions": versions(),
        "blind": blind.record(blinds),
        "pooled": [
            {"run": public(run), "videos": sum(of == run for of in where.values())}
            | {key: record[key] for key in ("model", "suite_hash")}
            for run, record in zip(runs, records, strict=True)
        ],
    }
    with locked(folder):
        record_of(folder, lambda r: (r["model"], r["suite_hash"]) != (record["model"], record["suite_hash"]))
        emptied(folder)
        write_record(folder, record)
        write_lines(folder / ANSWERS, ordered)
        if known_odds:
            write_lines(folder / ODDS, known_odds)
        if unmapped:
            write_lines(folder / UNMAPPED, [unmapped[s.id] for s in samples if s.id in unmapped])
        if maps:
            heatmap.save_videos(folder / heatmap.VIDEOS, maps)
        by_slice.write(folder)
        write_metrics(folder, metrics)
    return metrics
