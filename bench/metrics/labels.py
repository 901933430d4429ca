"""Classification as a whole: confusion counts, balanced accuracy, F1; with intervals over videos.

A confusion matrix here is (classes, classes + 1): truth by prediction, the last column for answers that name
no class.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bench.metrics.stats import RARE, Interval, cluster_ids, interval_of, parts_of, without_parts


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that occur; (..., C, C + 1) -> (...), NaN where none occurs."""
    rows = confusion.sum(-1)
    hits = np.diagonal(confusion[..., :-1], axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls = hits / rows
    present = rows > 0
    return np.where(present, np.nan_to_num(recalls), 0).sum(-1) / np.where(
        present.any(-1), present.sum(-1), np.nan
    )


def f1(confusion: np.ndarray, positive: int | None = None) -> np.ndarray:
    """F1 = 2 TP / (2 TP + FP + FN) of the class `positive`, else the mean over the classes that occur
    (macro); (..., C, C + 1) -> (...)."""
    hits = np.diagonal(confusion[..., :-1], axis1=-2, axis2=-1)
    rows, columns = confusion.sum(-1), confusion[..., :-1].sum(-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.nan_to_num(2 * hits / (rows + columns))
    if positive is not None:
        return np.where(rows[..., positive] + columns[..., positive] > 0, values[..., positive], np.nan)
    present = rows > 0
    return np.where(present, values, 0).sum(-1) / np.where(present.any(-1), present.sum(-1), np.nan)


def rests_on(confusion: np.ndarray, in_videos: np.ndarray) -> np.ndarray:
    """How many videos a balanced accuracy rests on, from (..., C, C + 1) and the number of videos in which
    each class is, (..., C) -> (...): as many of every class that occurs as of the rarest; fewer where that
    one's recall is nearer to 0 or 1 than the mean, as what did not happen in its few videos may yet."""
    present = in_videos > 0
    fewest = np.where(present, in_videos, np.inf)
    rarest = fewest.argmin(-1)[..., None]
    hits = np.take_along_axis(np.diagonal(confusion[..., :-1], axis1=-2, axis2=-1), rarest, -1)
    recall = (hits / np.take_along_axis(confusion.sum(-1), rarest, -1))[..., 0]
    mean = balanced_accuracy(confusion)
    apart = (mean**2 + (1 - mean) ** 2) / (recall**2 + (1 - recall) ** 2)
    return present.sum(-1) * fewest.min(-1) * np.minimum(1, apart**0.5)


def per_video(
    truth: list[str], predicted: list[str | None], videos: np.ndarray, classes: list[str]
) -> np.ndarray:
    """(V, C, C + 1) confusion counts of every video. Predictions that are no class count as naming none."""
    place = {name: n for n, name in enumerate(classes)}
    ids = cluster_ids(videos)
    counts = np.zeros((ids.max() + 1 if len(ids) else 0, len(classes), len(classes) + 1))
    rows, columns = (
        np.array([place[t] for t in truth], int),
        np.array([place.get(p or "", len(classes)) for p in predicted], int),
    )
    np.add.at(counts, (ids, rows, columns), 1)
    return counts


def metrics(
    truth: list[str],
    predicted: list[str | None],
    videos: np.ndarray,
    positive: str | None,
    parts: int,
    seed: int,
) -> dict[str, Interval]:
    """{"balanced_accuracy", "f1"}: F1 of `positive`, or macro where it is None. Where the truth holds one
    class alone they say so: an answer that never changes is then right; F1 of a class that never occurs is
    None. Where a class occurs in fewer than RARE videos they have no interval: another sample of videos might
    lack it. parts: into how many the videos are parted at most, for the intervals."""
    classes = sorted(set(truth))
    counts = per_video(truth, predicted, videos, classes)
    which = classes.index(positive) if positive in classes else None
    one = f"one class alone occurs, {classes[0]}" if len(classes) == 1 else None
    total = counts.sum(0)
    with_class = (counts.sum(-1) > 0).sum(0)
    functions: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float | None]] = {
        "balanced_accuracy": (balanced_accuracy, float(rests_on(total, with_class))),
        "f1": (lambda c: f1(c, which), None),
    }
    # Counts add up over videos, (P, C, C + 1): all but those of each part.
    without = without_parts(counts, parts_of(len(counts), parts, seed))
    sizes = counts.sum((1, 2))
    found = {
        name: replace(interval_of(float(call(total)), call(without), len(truth), units, sizes), note=one)
        for name, (call, units) in functions.items()
    }
    in_videos = dict(zip(classes, with_class.tolist(), strict=True))
    rarest = min(in_videos, key=lambda name: in_videos[name])
    if in_videos[rarest] < RARE:
        why = f"{rarest[:40]} is in fewer than {RARE} videos"
        found = {
            name: m if m.low is None else replace(m, low=None, high=None, withheld=why)
            for name, m in found.items()
        }
    if positive is not None and which is None:
        found["f1"] = Interval(None, None, None, len(truth), f"cannot be had: nothing is {positive}")
    return found
