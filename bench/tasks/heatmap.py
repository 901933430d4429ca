"""Heatmaps: micro and macro frame AUC, pixel AUC, RBDC and TBDC, with intervals over videos."""

import numpy as np

from bench.metrics import detection, frame
from bench.metrics.stats import Interval, resampled
from tvad.data import masks
from tvad.data.sample import Sample
from tvad.data.video import Frames
from tvad.detections import boxes_of, resize, steps_of

PRIMARY = "micro_auc"


class VideoScores:
    """One video's truth and predictions: labels and scores (T,), track rows (n, 6), detection rows (m, 6), pixel histogram."""

    def __init__(self, sample: Sample, heat: np.ndarray, frames: Frames):
        video = sample.video
        count, width, height = video.frames or frames.total, frames.images.shape[2], frames.images.shape[1]
        self.maps = resize(heat, steps_of(count, frames.fps, frames.times), height, width)
        self.scores = self.maps.reshape(count, -1).max(1)
        truth = masks.read(sample.path(sample.mask)) if sample.mask else np.zeros((count, height, width), bool)
        self.labels = truth.any((1, 2)).astype(int)
        self.num_frames = count
        rows = [(t.id, f, *t.boxes[f]) for t in sample.tracks or () for f in t.anomalous if f in t.boxes]
        self.tracks = np.array(rows, float).reshape(-1, 6)
        found = [(f, *box) for f in range(count) for box in boxes_of(self.maps[f])]
        self.detections = np.array(found, float).reshape(-1, 6)
        # Scores in 1000 bins: pixel AUC of any set of videos is then a sum of histograms.
        bins = np.minimum((self.maps * 1000).astype(int), 999)
        self.hist = np.stack([np.bincount(bins[truth == v], minlength=1000) for v in (False, True)]).astype(float)


def _pixel_auc(hist: np.ndarray) -> float | None:
    negative, positive = hist
    if negative.sum() == 0 or positive.sum() == 0:
        return None
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (negative.sum() * positive.sum()))


def _detection(videos: list[VideoScores]) -> dict[str, float | None]:
    tracks = [np.column_stack([np.full(len(v.tracks), i), v.tracks]) for i, v in enumerate(videos)]
    found = [np.column_stack([np.full(len(v.detections), i), v.detections]) for i, v in enumerate(videos)]
    return detection.rbdc_tbdc(np.concatenate(tracks), np.concatenate(found), sum(v.num_frames for v in videos))


def statistics(videos: list[VideoScores]) -> dict[str, float | None]:
    """All heatmap metrics of a set of videos; None where undefined."""
    aucs = frame.auc([v.labels for v in videos], [v.scores for v in videos])
    return {"micro_auc": aucs["micro"], "macro_auc": aucs["macro"], "pixel_auc": _pixel_auc(np.sum([v.hist for v in videos], axis=0)), **_detection(videos)}


def metrics(videos: list[VideoScores], resamples: int, seed: int) -> dict[str, Interval]:
    """Metrics with bootstrap intervals over videos."""
    values = statistics(videos)
    rng_rows = {name: [] for name in values}  # type: dict[str, list]

    def one(indices):
        drawn = statistics([videos[i] for i in indices])
        for name, value in drawn.items():
            rng_rows[name].append(value)
        return 0.0

    resampled(one, len(videos), resamples, seed)
    found = {}
    for name, value in values.items():
        drawn = [v for v in rng_rows[name] if v is not None]
        low, high = (float(q) for q in np.quantile(drawn, [0.025, 0.975])) if len(drawn) > 1 and value is not None else (None, None)
        found[name] = Interval(value, low, high, len(videos))
    return found
