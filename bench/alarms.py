"""Timelines of `tvad timeline` and alarms of `tvad watch` against what a data set knows of the same videos:
how well frames are ranked, whether scores are chances, F1 at a threshold from elsewhere, and what a control
room asks.

Frames of a timeline have the scores that `bench.placing` gives them by `times`, in all videos together
(micro); which of them are anomalous says `tvad.data.truth`. A video is found by its name or its sample's
id."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.metrics.alarms import delays, false_alarms, per_hour, standing, summary
from bench.metrics.calibration import BINS, best_f1, brier, ece, f1_at
from bench.metrics.frame import average_precision, roc_auc
from bench.placing import placed
from tvad.common.errors import InputError
from tvad.common.files import parse_json
from tvad.data import load, timeline, truth, video
from tvad.data.readers.files import text_of
from tvad.data.sample import Sample
from tvad.data.video import Clock, Frames

FIGURES = {  # name -> what it is
    "auc": "frame ROC-AUC",
    "ap": "frame average precision",
    "f1": "frame F1 at the threshold",
    "best_f1": "frame F1 at the best threshold here, which nobody knows",
    "ece": f"expected calibration error of frames, {BINS} bins of equal width",
    "brier": "Brier's score of frames",
    "alarms": "alarms",
    "false_an_hour": "alarms that overlap no anomaly, an hour watched",
    "false_time": "share of the time without an anomaly during which an alarm stands",
    "anomalies": "anomalies",
    "missed": "share of anomalies without an alarm",
    "delay": "seconds from onset to alarm, the median of those that have one",
}


@dataclass
class Found:
    """What is known of one video: labels and scores of its frames (T,), None where only alarms are known;
    alarms with the moment at which each was told, and anomalies, in seconds; how long it was watched; id: of
    its sample."""

    id: str
    seconds: float
    spans: list[tuple[float, float]]
    alarms: list[tuple[float, float]] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    labels: np.ndarray | None = None
    scores: np.ndarray | None = None
    on: float | None = None


def _of(samples: Sequence[Sample], name: str, where: str) -> Sample:
    """The sample whose id, video or video's stem is called so. Raises InputError."""
    found = [s for s in samples if name in (s.id, Path(s.video.path).name, Path(s.video.path).stem)]
    if len(found) != 1:
        raise InputError(f"{where}: {len(found)} samples of the data set are called {name!r}, expected one")
    return found[0]


def _known(sample: Sample) -> tuple[Clock, np.ndarray, list[tuple[float, float]]]:
    """(clock, labels (T,), anomalies in seconds). Raises InputError where it is not known which frames are
    anomalous."""
    clock, height, width = video.inspect(sample.clip())
    labels = truth.frame_labels(sample, clock.times, truth.open_mask(sample, len(clock), height, width))
    if labels is None:
        raise InputError(f"{sample.id}: it is not known which frames are anomalous ({truth.NO_FRAMES})")
    spans = sample.spans if sample.spans is not None else clock.spans(np.flatnonzero(labels))
    return clock, labels, list(spans)


def _of_timeline(found: dict[str, Any], where: str, samples: Sequence[Sample]) -> Found:
    sample = _of(samples, Path(found["video"]).name, where)
    clock, labels, spans = _known(sample)
    steps = found["steps"]
    nothing = np.zeros((1, 1, 1, 3), np.uint8)
    frames = Frames(nothing, np.zeros(1), np.zeros(1, int), clock.fps, len(clock), clock=clock)
    try:
        row = {"frame_scores": steps["score"], "times": steps["from"]}
        scores = np.array(steps["score"], float)[placed(len(steps["score"]), row, frames)]
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    flagged = [(float(s["start"]), float(s["end"])) for s in found["spans"]]
    on = float(found["settings"]["on"])
    return Found(sample.id, clock.end, spans, flagged, [a for a, _ in flagged], labels, scores, on)


def _of_alarms(path: Path, samples: Sequence[Sample], watched: Sequence[str]) -> list[Found]:
    """One for each source of a file of alarms, and for each that was `watched` and has none; those whose end
    it lacks last until the video's."""
    rows: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in watched}
    for n, line in enumerate(text_of(path).splitlines(), 1):
        try:
            row = parse_json(line)
            entry = rows.setdefault(row["source"], {}).setdefault(int(row["number"]), {})
            start, told = float(row["start"]), row.get("told", row.get("raised"))
            if row["event"] == "on":
                if entry:
                    raise ValueError(f"alarm {row['number']} begins twice: the file holds several watches")
                entry |= {"start": start, "told": float(told)}
            else:
                entry |= {"start": start, "end": float(row["end"])}
                entry.setdefault("told", start)
            if entry.get("end", np.inf) <= start:
                raise ValueError(f"it ends at {entry['end']:g} s, which is not after {start:g} s")
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}:{n}: is no alarm of `tvad watch` ({error})") from error
    found = []
    for name, alarms in rows.items():
        sample = _of(samples, name, str(path))
        clock, _, spans = _known(sample)
        entries = [alarms[number] for number in sorted(alarms)]
        if late := [e["start"] for e in entries if e["start"] >= clock.end]:
            raise InputError(
                f"{path}: an alarm of {name} begins at {late[0]:g} s, its video ends at {clock.end:g} s:"
                " it was of another video, or played more than once"
            )
        ends = [e.get("end", clock.end) for e in entries]
        pairs = [(e["start"], end) for e, end in zip(entries, ends, strict=True)]
        found.append(Found(sample.id, clock.end, spans, pairs, [e["told"] for e in entries]))
    return found


def sources_of(counters: str) -> list[str]:
    """The sources of a watch, by its counters' file. Raises InputError."""
    try:
        found = parse_json(Path(counters).read_text(encoding="utf-8"))
        if found["format"] != "tvad-watch":
            raise ValueError(f"its format is {found['format']!r}")
        return [*found["sources"]]
    except OSError as error:
        raise InputError(f"{counters}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{counters}: is no file of --counters of `tvad watch` ({error})") from error


def read(paths: Sequence[str], data: str, counters: str | None = None) -> list[Found]:
    """What timelines (folders or files) and files of alarms say of the videos of a data set; counters: of
    the watch, which names the sources that raised no alarm. Raises InputError, also for a video that is told
    of twice: its time and its anomalies would count twice."""
    samples, found, seen = load(data), [], dict[str, str]()
    files = [given for given in paths if Path(given).suffix == ".jsonl"]
    if counters is not None and len(files) != 1:
        raise InputError(f"--counters is of one file of alarms (.jsonl), found {len(files)}")
    watched = [] if counters is None else sources_of(counters)
    for given in paths:
        path = Path(given)
        if path.suffix == ".jsonl":
            told = _of_alarms(path, samples, watched)
        else:
            told = [_of_timeline(timeline.read(path), os.fspath(path), samples)]
        for one in told:
            if one.id in seen:
                raise InputError(f"{given}: tells of {one.id}, as {seen[one.id]} does: a video counts once")
            seen[one.id] = given
            found.append(one)
    return found


def _frames(found: Sequence[Found]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores of all frames that have them."""
    scored = [(f.labels, f.scores) for f in found if f.labels is not None and f.scores is not None]
    none = np.zeros(0)
    return (
        np.concatenate([none, *(y for y, _ in scored)]),
        np.concatenate([none, *(s for _, s in scored)]),
    )


def threshold_of(found: Sequence[Found]) -> float:
    """The threshold of the best F1 of a validation set's frames. Raises InputError where it has no
    anomaly."""
    best = best_f1(*_frames(found))
    if best is None:
        raise InputError("--validation: no frame is anomalous, so no threshold can be chosen")
    return best.threshold


def figures(found: Sequence[Found], threshold: float | None = None) -> dict[str, float | int | None]:
    """The figures of FIGURES, those of frames where there are timelines. threshold: for F1, by default the
    one at which the timelines' own spans begin. Raises InputError where these differ."""
    result: dict[str, float | int | None] = {}
    labels, scores = _frames(found)
    if len(labels):
        own = {f.on for f in found if f.on is not None}
        if threshold is None and len(own) > 1:
            raise InputError(f"the timelines have {len(own)} thresholds: give one by --threshold")
        threshold = own.pop() if threshold is None else threshold
        best, chances = best_f1(labels, scores), bool((scores >= 0).all() and (scores <= 1).all())
        result |= {
            "auc": roc_auc(labels, scores),
            "ap": average_precision(labels, scores) if labels.any() else None,
            "threshold": threshold,
            "f1": f1_at(labels, scores, threshold),
            "best_f1": None if best is None else best.f1,
            "ece": ece(labels, scores) if chances else None,
            "brier": brier(labels, scores) if chances else None,
        }
    late = np.concatenate([np.zeros(0), *(delays(f.alarms, f.told, f.spans) for f in found)])
    wrong = sum(false_alarms(f.alarms, f.spans) for f in found)
    stood, plain = np.sum([standing(f.alarms, f.spans, f.seconds) for f in found] or [(0.0, 0.0)], 0)
    delay, missed = summary(late)
    return result | {
        "hours": sum(f.seconds for f in found) / 3600,
        "alarms": sum(len(f.alarms) for f in found),
        "false_an_hour": per_hour(wrong, sum(f.seconds for f in found)),
        "false_time": float(stood / plain) if plain > 0 else None,
        "anomalies": len(late),
        "missed": missed,
        "delay": delay,
    }


def table(result: dict[str, float | int | None]) -> str:
    """The figures for a terminal."""
    lines = []
    for name, value in result.items():
        shown = "-" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"
        lines.append(f"{name:<14}{shown:>10}  {FIGURES.get(name, '')}".rstrip())
    return "\n".join(lines)
