"""Heatmaps: micro and macro frame AUC, pixel AUC, RBDC and TBDC, with intervals over videos."""

import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from bench.metrics import detection, frame
from bench.metrics.stats import HEATMAPS, Interval, cluster_draws, interval_of
from tvad.common.errors import InputError
from tvad.data import masks
from tvad.data.sample import Sample
from tvad.data.video import Frames
from tvad.detections import boxes_of, resize, steps_of

PRIMARIES = ("micro_auc", "pixel_auc", "rbdc", "tbdc")  # what a table shows, in this order
OF_FRAMES = ("micro_auc", "macro_auc")  # what a score per frame is enough for
# What a run keeps of every video, so that two runs can be compared without the data.
VIDEOS = "heatmap_videos.npz"
RESAMPLES = 300
FIELDS = ("labels", "scores", "tracks", "detections", "hist")


class VideoScores:
    """One video's truth and predictions: labels and scores (T,), track rows (n, 6), detection rows (m, 6),
    pixel histogram (2, 1000)."""

    labels: np.ndarray
    scores: np.ndarray
    tracks: np.ndarray
    detections: np.ndarray
    hist: np.ndarray

    def __init__(self, sample: Sample, heat: np.ndarray, frames: Frames, spread: bool = False):
        """heat (T', h, w): a map per two sampled `frames`; with `spread` a map a frame of the video, or fewer
        that are spread evenly over its time."""
        count, height, width = frames.total, *frames.images.shape[1:3]
        if not spread:
            steps = steps_of(frames.clock.times, frames.moments)
        else:
            steps = np.arange(count) if len(heat) == count else frames.clock.parts(len(heat))
        maps = resize(heat, steps, height, width)
        self.scores = maps.reshape(count, -1).max(1)
        truth = (
            masks.read(sample.path(sample.mask)) if sample.mask else np.zeros((count, height, width), bool)
        )
        self.labels = truth.any((1, 2)).astype(int)
        rows = [(t.id, f, *t.boxes[f]) for t in sample.tracks or () for f in t.anomalous if f in t.boxes]
        self.tracks = np.array(rows, float).reshape(-1, 6)
        found = [(f, *box) for f in range(count) for box in boxes_of(maps[f])]
        self.detections = np.array(found, float).reshape(-1, 6)
        # Scores in 1000 bins: pixel AUC of any set of videos is then a sum of histograms.
        bins = np.minimum((maps * 1000).astype(int), 999)
        self.hist = np.stack([np.bincount(bins[truth == v], minlength=1000) for v in (False, True)]).astype(
            float
        )

    @property
    def num_frames(self) -> int:
        return len(self.labels)


def save_videos(path: Path, videos: dict[str, VideoScores]) -> None:
    """Keep what the metrics need of every video, through a temporary name."""
    temporary = path.with_name(f".{path.name}.tmp.npz")
    np.savez_compressed(
        temporary,
        ids=np.array(list(videos)),
        **{f"{n}_{f}": getattr(v, f) for n, v in enumerate(videos.values()) for f in FIELDS},
    )
    temporary.replace(path)


def load_videos(path: Path) -> dict[str, VideoScores]:
    """Raises InputError that names the file."""
    found = {}
    try:
        with np.load(path, allow_pickle=False) as data:
            for n, name in enumerate(data["ids"].tolist()):
                video = found[name] = VideoScores.__new__(VideoScores)
                for field in FIELDS:
                    setattr(video, field, data[f"{n}_{field}"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not what a run keeps of its heatmaps ({error})") from error
    return found


def _pixel_auc(hist: np.ndarray) -> float | None:
    negative, positive = hist
    if negative.sum() == 0 or positive.sum() == 0:
        return None
    # P(positive > negative) + P(tie) / 2, as the ranks of `bench.metrics.frame.roc_auc`, over bins:
    # sum_b pos_b (neg_<b + neg_b / 2) / (P N). Equal bins count as ties.
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (negative.sum() * positive.sum()))


def _rows(videos: list[VideoScores]) -> tuple[np.ndarray, np.ndarray, int]:
    """Tracks (n, 7), detections (m, 7) and the number of frames of several videos."""
    tracks = [np.column_stack([np.full(len(v.tracks), i), v.tracks]) for i, v in enumerate(videos)]
    found = [np.column_stack([np.full(len(v.detections), i), v.detections]) for i, v in enumerate(videos)]
    return np.concatenate(tracks), np.concatenate(found), sum(v.num_frames for v in videos)


def _detection(videos: list[VideoScores]) -> dict[str, float | None]:
    return detection.rbdc_tbdc(*_rows(videos))


def detection_curves(videos: list[VideoScores]) -> dict[str, np.ndarray]:
    """`bench.metrics.detection.curves` of several videos."""
    return detection.curves(*_rows(videos))


def statistics(videos: list[VideoScores]) -> dict[str, float | None]:
    """All heatmap metrics of a set of videos; None where undefined."""
    aucs = frame.auc([v.labels for v in videos], [v.scores for v in videos])
    return {
        "micro_auc": aucs["micro"],
        "macro_auc": aucs["macro"],
        "pixel_auc": _pixel_auc(np.sum([v.hist for v in videos], axis=0)),
        **_detection(videos),
    }


def _draws(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Videos of each resample; few of them, since each costs an RBDC over all of its detections."""
    return chain.from_iterable(cluster_draws(count, min(resamples, RESAMPLES), seed, HEATMAPS))


def _interval(value: float | None, drawn: list[float | None], count: int) -> Interval:
    return interval_of(value, np.array([np.nan if v is None else v for v in drawn]), count)


def metrics(videos: list[VideoScores], resamples: int, seed: int) -> dict[str, Interval]:
    """Metrics with bootstrap intervals over videos, of at most RESAMPLES resamples."""
    values = statistics(videos)
    drawn = [statistics([videos[i] for i in indices]) for indices in _draws(len(videos), resamples, seed)]
    return {name: _interval(value, [d[name] for d in drawn], len(videos)) for name, value in values.items()}


def paired(
    before: list[VideoScores], after: list[VideoScores], resamples: int, seed: int
) -> dict[str, tuple[float | None, float | None, Interval]]:
    """Metrics of two runs on the same videos, and their difference with its interval over videos drawn
    together."""
    one, other = statistics(before), statistics(after)
    changes: dict[str, list[float | None]] = {name: [] for name in one}
    for indices in _draws(len(before), resamples, seed):
        left, right = (statistics([run[i] for i in indices]) for run in (before, after))
        for name, values in changes.items():
            a, b = left[name], right[name]
            values.append(None if a is None or b is None else b - a)
    found = {}
    for name, values in changes.items():
        a, b = one[name], other[name]
        found[name] = (a, b, _interval(None if a is None or b is None else b - a, values, len(before)))
    return found
