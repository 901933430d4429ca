"""What a run's frame scores say at a threshold that was chosen elsewhere: F1, precision and recall of both
classes, of frames and of whole videos, beside ROC-AUC and AP, with intervals over videos.

A video's score is the highest of its frames' (ours: papers seldom say); it is anomalous where a frame is. The
threshold is the one of the best F1 on a validation run, of frames and of videos each its own."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.metrics.calibration import best_f1, ece
from bench.metrics.frame import average_precision, roc_auc
from bench.metrics.stats import Interval, interval_of, parts_of
from bench.run_folder import INPUTS, read_lines, read_record
from bench.tasks import heatmap
from tvad.common.errors import InputError
from tvad.common.quiet import note

LEVELS = ("frame", "video")
# What of a suite makes scores: a threshold of others is none.
MADE = ("rate", "max_frames", "min_pixels", "max_pixels", "total_pixels", "dense", "subclips")
PARTS = 100  # of the videos at most, for the intervals: each costs a sort of all frames
FIGURES = {
    "auc": "ROC-AUC",
    "ap": "average precision",
    "f1": "F1 of anomalous at the threshold",
    "precision": "of what is called anomalous, the share that is",
    "recall": "of what is anomalous, the share that is called so",
    "precision_normal": "of what is called normal, the share that is",
    "recall_normal": "of what is normal, the share that is called so",
    "balanced": "mean of the two recalls",
    "best_f1": "F1 at the best threshold here, which nobody knows",
    "ece": "expected calibration error",
}
BIASED = "a calibration error is never negative, so of few videos it is too high"
Scored = tuple[np.ndarray, np.ndarray]  # labels and scores


def read(folder: str) -> dict[str, Scored]:
    """{source video: labels and scores of its frames} of a run; windows of one video are one. Raises
    InputError where it has no frame scores, or their truth is not known."""
    path = Path(folder, heatmap.VIDEOS)
    if not path.is_file():
        raise InputError(f"{path}: missing; expected a run of a suite with the task heatmap")
    parts: dict[str, list[heatmap.VideoScores]] = {}
    videos = heatmap.load_videos(path)
    for found in videos.values():
        if not found.lacks[heatmap.FRAMES]:
            parts.setdefault(str(found.source), []).append(found)
    if not parts:
        raise InputError(f"{path}: of no video it is known which frames are anomalous")
    if unknown := sum(bool(found.lacks[heatmap.FRAMES]) for found in videos.values()):
        note(f"{path}: {unknown} of {len(videos)} left out: it is not known which frames are anomalous")
    return {
        name: (np.concatenate([v.labels for v in own]), np.concatenate([v.scores for v in own]))
        for name, own in parts.items()
    }


def _pooled(videos: Sequence[Scored], level: str) -> Scored:
    if level == "frame":
        none = np.zeros(0)
        return np.concatenate([none, *(y for y, _ in videos)]), np.concatenate(
            [none, *(s for _, s in videos)]
        )
    return np.array([float(y.any()) for y, _ in videos]), np.array([s.max() for _, s in videos])


def check_alike(run: str, validation: str) -> None:
    """Raise InputError for a threshold that cannot be carried: of the run itself or another of its videos, of
    another model, or of scores that were made otherwise."""
    one, other = (read_record(Path(folder)) for folder in (run, validation))
    if os.path.samefile(run, validation):
        raise InputError("--validation: is the run itself; a threshold has to be chosen on other videos")

    def made(record: dict[str, Any]) -> dict[str, Any]:
        weights = record.get("weights")
        digest = weights.get("digest") if isinstance(weights, dict) else None
        return {"model": digest or record["model"]} | {key: record["suite"].get(key) for key in MADE}

    a, b = made(one), made(other)
    if unlike := [key for key in a if a[key] != b[key]]:
        raise InputError(f"--validation: {validation} was scored with another {', '.join(unlike)}")
    tested, chosen = (_digests(folder) for folder in (run, validation))
    if one["suite_hash"] == other["suite_hash"] or (tested and tested <= chosen):
        raise InputError(
            f"--validation: {validation} has the run's own videos; a threshold has to be chosen on others"
        )
    if both := len(tested & chosen):
        note(f"--validation: {both} of the run's {len(tested)} videos are in {validation}, too")


def _digests(folder: str) -> set[str]:
    """Of the videos' bytes that a run saw, as far as it has kept them."""
    return {line["digest"] for line in read_lines(Path(folder, INPUTS)) if "digest" in line}


def thresholds(validation: Mapping[str, Scored]) -> dict[str, float]:
    """The threshold of the best F1 on a validation run, for each of LEVELS in which it has something normal
    and something anomalous. Raises InputError where it has neither."""
    found = {}
    for level in LEVELS:
        labels, scores = _pooled([*validation.values()], level)
        best = best_f1(labels, scores)
        if best is not None and not labels.all():
            found[level] = best.threshold
    if not found:
        raise InputError("--validation: nothing normal beside anything anomalous: no threshold can be chosen")
    return found


def _share(hits: np.ndarray, of: np.ndarray) -> float | None:
    return float((hits & of).sum() / of.sum()) if of.any() else None


def _figures(labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float | None]:
    true, called = labels > 0, scores >= threshold
    recall, other = _share(called, true), _share(~called, ~true)
    best, chances = best_f1(labels, scores), bool(len(scores)) and scores.min() >= 0 and scores.max() <= 1
    both = 2 * (called & true).sum()
    return {
        "auc": roc_auc(labels, scores),
        "ap": average_precision(labels, scores) if true.any() else None,
        "f1": float(both / (called.sum() + true.sum())) if true.any() else None,
        "precision": _share(true, called),
        "recall": recall,
        "precision_normal": _share(~true, ~called),
        "recall_normal": other,
        "balanced": None if recall is None or other is None else (recall + other) / 2,
        "best_f1": None if best is None else best.f1,
        "ece": ece(labels, scores) if chances else None,
    }


def figures(videos: Mapping[str, Scored], at: Mapping[str, float]) -> dict[str, Interval]:
    """{"frame.auc": …, "video.f1": …} at a threshold for each level, with intervals over videos."""
    rows, found = [*videos.values()], {}
    parts = parts_of(len(rows), PARTS, 0)
    for level in at:
        whole = _figures(*_pooled(rows, level), at[level])
        without = [
            _figures(
                *_pooled([row for row, own in zip(rows, parts, strict=True) if own != part], level), at[level]
            )
            for part in np.unique(parts)
        ]
        units, sizes = _units(rows, level), np.ones(len(rows))
        for name, value in whole.items():
            if name == "ece" and value is not None:  # of few videos it is too high: no interval holds
                found[f"{level}.ece"] = Interval(value, None, None, len(rows), withheld=BIASED)
                continue
            left = np.array([each[name] for each in without], float)
            rests = min(units, _called(rows, level, at[level], name))
            found[f"{level}.{name}"] = interval_of(value, left, len(rows), rests, sizes)
    return found


def _called(rows: Sequence[Scored], level: str, threshold: float, name: str) -> float:
    """How many videos have anything that is called so, for a share of what is called; others rest on no
    call."""
    if name not in ("precision", "precision_normal"):
        return np.inf
    called = [
        scores >= threshold if level == "frame" else scores.max(keepdims=True) >= threshold
        for _, scores in rows
    ]
    return sum(bool(own.any() if name == "precision" else not own.all()) for own in called)


def _units(rows: Sequence[Scored], level: str) -> int:
    """How many videos a figure rests on, were all that a video holds alike: the fewer of those with something
    normal and something anomalous."""
    lit = np.array([labels.any() for labels, _ in rows])
    plain = ~lit if level == "video" else np.array([not labels.all() for labels, _ in rows])
    return int(min(lit.sum(), plain.sum()))


def table(found: Mapping[str, Interval], at: Mapping[str, float]) -> str:
    """The figures for a terminal."""
    lines = [
        f"threshold of {level}s: {at[level]:.4f}"
        if level in at
        else f"{level}s: the validation run has none that is normal, so no threshold"
        for level in LEVELS
    ]
    for name, value in found.items():
        shown = "--" if value.value is None else f"{value.value:.3f}"
        bounds = "" if value.low is None else f"[{value.low:.3f}, {value.high:.3f}]"
        level, _, figure = name.partition(".")
        lines.append(f"{name:<24}{shown:>7} {bounds:<16} {FIGURES[figure]}, {level}s")
    notes = dict.fromkeys(value.withheld for value in found.values() if value.withheld)
    return "\n".join([*lines, *(f"no interval: {note}" for note in notes)])
