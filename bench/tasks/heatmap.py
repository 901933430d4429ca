"""Heatmaps and frame scores: frame AUC and AP, pixel AUC, RBDC and TBDC, with intervals over videos.

Truth that is missing is missing: a video of which a metric needs more than is known (`tvad.data.truth`) is
left out of that metric by name, and a metric without both kinds of frames is None with its reason, where the
published protocols would print 1.
"""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.metrics import detection, frame
from bench.metrics.paired import change_of, pseudo_values, sign_flip
from bench.metrics.stats import Interval, interval_of, parts_of
from tvad.common.errors import InputError
from tvad.common.files import replacing
from tvad.data import faults, truth
from tvad.data.masks import Mask
from tvad.data.sample import Sample
from tvad.data.video import Frames
from tvad.detections import boxes_of, resize, steps_of

PRIMARIES = ("micro_auc", "pixel_auc", "rbdc", "tbdc")  # what a table shows, in this order
ANOMALOUS = "ano_auc"  # over anomalous videos alone; ":" and a class over those of the class
OF_FRAMES = ("micro_auc", "micro_ap", "macro_auc", ANOMALOUS)  # what a score per frame is enough for
# What a metric needs to be known of a video, in the order of `VideoScores.lacks`.
FRAMES, PIXELS, REGIONS = range(3)
NEEDS = {"pixel_auc": PIXELS, "rbdc": REGIONS, "tbdc": REGIONS}  # the others: FRAMES
# What a run keeps of every video, so that two runs can be compared without the data.
VIDEOS = "heatmap_videos.npz"
PARTS = 300  # of the videos at most, for the intervals: each costs an RBDC over all others
NAME = 40  # characters of a class in a metric's name
NAMED = 3  # videos that a note names, of those left out
SHARES = 1000  # scores by which a video's normal pixels are kept, and as many of its anomalous ones
FIELDS = ("labels", "scores", "tracks", "detections")
TOLD = ("pixels", "lacks", "classes", "source")  # not kept by older runs


class VideoScores:
    """One video's truth and predictions: labels (T,), empty where unknown; scores (T,); track rows (n, 6),
    detection rows (m, 6); pixels (3, p): a score, whether anomalous, how many pixels have it, none where that
    cannot be had; `lacks` (3,): why it takes no part in metrics of frames, pixels, regions, "" where it does;
    `classes`; `source`: the video that a window is cut from."""

    labels: np.ndarray
    scores: np.ndarray
    tracks: np.ndarray
    detections: np.ndarray
    pixels: np.ndarray
    lacks: np.ndarray
    classes: np.ndarray
    source: np.ndarray

    def __init__(self, sample: Sample, heat: np.ndarray, frames: Frames, steps: np.ndarray | None = None):
        """heat (T', h, w): maps, or frame scores as maps (T', 1, 1); steps (T,): which of them holds for
        every frame of the video, -1 for none: such frames take no part; None: a map per two sampled
        `frames`. Raises InputError that names the sample for a map that is not finite, for a mask of another
        size and for another number of frames than it states."""
        count, (height, width) = frames.total, frames.images.shape[1:3]
        if sample.video.frames not in (None, count):
            raise InputError(
                f"{sample.id}: {sample.video.path} has {count} frames, it states {sample.video.frames}"
            )
        if not np.isfinite(heat).all():
            raise InputError(f"{sample.id}: its heatmap holds NaN or infinite values")
        if wrong := faults.of_spans(sample.spans or (), frames.duration, faults.WHOLE):
            raise InputError(f"{sample.id}: {wrong[0]}")
        steps = steps_of(frames.clock.times, frames.moments) if steps is None else steps
        mask = truth.open_mask(sample, count, height, width)
        labels = truth.frame_labels(sample, frames.clock.times, mask)
        shown = np.flatnonzero(steps >= 0)
        steps = steps[shown]
        self.labels = np.zeros(0, int) if labels is None else labels[shown]
        self.scores = heat.reshape(len(heat), -1).max(1)[steps].astype(float)
        self.classes = np.array(sample.categories, str)
        self.source = np.array(sample.video.source or sample.id)
        self.tracks = np.zeros((0, 6))
        self.detections = np.zeros((0, 6))
        self.pixels = np.zeros((3, 0))
        why = _unmapped(heat)
        self.lacks = np.array(
            [
                _without_truth(sample, labels),
                why if truth.pixels_known(sample) else truth.NO_PIXELS,
                why if truth.regions_known(sample) else truth.NO_REGIONS,
            ]
        )
        if why:
            return
        self._map(heat, steps, shown, (height, width), mask)
        if not self.lacks[REGIONS]:
            taken = set(shown.tolist())
            rows = [  # by place, not by id: UBnormal counts an object that misbehaves twice as two tracks
                (n, f, *t.boxes[f])
                for n, t in enumerate(sample.tracks or ())
                for f in t.anomalous
                if f in t.boxes and f in taken
            ]
            self.tracks = np.array(rows, float).reshape(-1, 6)

    def _map(
        self,
        heat: np.ndarray,
        steps: np.ndarray,
        shown: np.ndarray,
        size: tuple[int, int],
        mask: Mask | None,
    ) -> None:
        """What maps alone say of the frames `shown` (n,), which see the maps `steps` (n,): scores, detections
        and pixels. One map in the size of the frames is in memory at a time."""
        boxes: dict[int, np.ndarray] = {}
        pixels = [frame.Condensed(SHARES), frame.Condensed(SHARES)]  # normal, anomalous
        for step in np.unique(steps):
            big = resize(heat[step], *size)
            boxes[step] = boxes_of(big)
            # The maximum over the picture as it is shown: interpolation may stay below the map's own.
            self.scores[steps == step] = big.max()
            if self.lacks[PIXELS]:
                continue
            frames = shown[steps == step]
            lit = np.zeros(size, int)
            if mask is not None:
                for each in frames:
                    lit += mask[each]
            for kept, count in zip(pixels, (len(frames) - lit, lit), strict=True):
                kept.add(big.ravel(), count.ravel())
        found = [(f, *box) for f, step in zip(shown, steps, strict=True) for box in boxes[step]]
        self.detections = np.array(found, float).reshape(-1, 6)
        rows = [kept.rows() for kept in pixels]
        self.pixels = np.concatenate(
            [np.stack([s, np.full(len(s), lit), counts]) for lit, (s, counts) in enumerate(rows)], 1
        )

    @property
    def num_frames(self) -> int:
        return len(self.scores)

    def differs(self, other: "VideoScores") -> bool:
        """Whether another run's answer to the same video is another."""
        fields = ("scores", "detections", "pixels")
        return not all(np.array_equal(getattr(self, f), getattr(other, f)) for f in fields)

    def oracle(self) -> "VideoScores":
        """The same video with its truth for an answer: labels as scores, masks as maps, tracks as
        detections."""
        best = VideoScores.__new__(VideoScores)
        best.__dict__ |= self.__dict__
        best.scores = self.labels.astype(float)
        best.detections = np.column_stack([self.tracks[:, 1:], np.ones(len(self.tracks))])
        best.pixels = np.stack([self.pixels[1], *self.pixels[1:]])
        return best


def _without_truth(sample: Sample, labels: np.ndarray | None) -> str:
    """Why the frames of a video are not known, "" where they are."""
    if labels is None:
        return truth.NO_FRAMES
    return truth.NO_FRAME_LIT if sample.anomalous and not labels.any() else ""


def _unmapped(heat: np.ndarray) -> str:
    """Why maps (T', h, w) say nothing of pixels and regions, "" where they do."""
    if heat.shape[1:] == (1, 1):
        return "frame scores alone"
    if heat.min() < 0 or heat.max() > 1:
        return f"maps in {heat.min():g} to {heat.max():g}, expected 0 to 1"
    return ""


def save_videos(path: Path, videos: dict[str, VideoScores]) -> None:
    """Keep what the metrics need of every video, through a temporary name."""
    kept = {f"{n}_{f}": getattr(v, f) for n, v in enumerate(videos.values()) for f in (*FIELDS, *TOLD)}
    with replacing(path) as temporary:
        np.savez_compressed(temporary, ids=np.array(list(videos)), **kept)


def load_videos(path: Path) -> dict[str, VideoScores]:
    """Raises InputError that names the file."""
    found = {}
    try:
        with np.load(path, allow_pickle=False) as data:
            for n, name in enumerate(data["ids"].tolist()):
                video = found[name] = VideoScores.__new__(VideoScores)
                video.lacks, video.classes = np.array([""] * 3), np.zeros(0, str)
                video.source = np.array(name)
                if f"{n}_pixels" not in data:  # of an older run: normal and anomalous pixels (2, bins)
                    counts = data[f"{n}_hist"]
                    lit, place = np.nonzero(counts)
                    video.pixels = np.stack([place, lit, counts[lit, place]])
                for field in (*FIELDS, *(told for told in TOLD if f"{n}_{told}" in data)):
                    setattr(video, field, data[f"{n}_{field}"])
                scores, labels = video.scores, video.labels
                if scores.ndim != 1 or not np.isfinite(scores).all():
                    raise ValueError(f"{name}: scores that are no finite numbers")
                if len(labels) not in (0, len(scores)) or not np.isin(labels, (0, 1)).all():
                    raise ValueError(f"{name}: {len(labels)} labels, 0 or 1, of {len(scores)} scores")
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not what a run keeps of its heatmaps ({error})") from error
    return found


def detection_curves(videos: list[VideoScores]) -> dict[str, np.ndarray]:
    """`bench.metrics.detection.curves` of the videos whose regions are known; of none, a point."""
    known = [v for v in videos if not v.lacks[REGIONS]]
    return (
        detection.curves(*_rows(known))
        if known
        else {"fpr": np.zeros(1), "rbdr": np.zeros(1), "tbdr": np.zeros(1)}
    )


def _rows(videos: list[VideoScores]) -> tuple[np.ndarray, np.ndarray, int]:
    """Tracks (n, 7), detections (m, 7) and the number of frames of several videos."""
    tracks = [np.column_stack([np.full(len(v.tracks), i), v.tracks]) for i, v in enumerate(videos)]
    found = [np.column_stack([np.full(len(v.detections), i), v.detections]) for i, v in enumerate(videos)]
    return np.concatenate(tracks), np.concatenate(found), sum(v.num_frames for v in videos)


class Figures:
    """All metrics of a set of videos and of any drawn from it: what needs a sort is sorted once."""

    def __init__(self, videos: list[VideoScores]):
        self.videos = videos
        numbers: dict[str, int] = {}
        self.cut_from = np.array([numbers.setdefault(str(v.source), len(numbers)) for v in videos], int)
        self.lacks = np.array([v.lacks for v in videos]).reshape(len(videos), 3)
        of_frames = [n for n, v in enumerate(videos) if not v.lacks[FRAMES]]
        labels, scores = ([getattr(videos[n], f) for n in of_frames] for f in ("labels", "scores"))
        ranked = frame.Ranked.of(labels, scores, np.array(of_frames, int))
        self.unit = all(s.min() >= 0 and s.max() <= 1 for s in scores)
        self.padded = np.zeros(len(videos))
        if self.unit:
            self.padded[of_frames] = [frame.padded_auc(y, s) for y, s in zip(labels, scores, strict=True)]
        # Which videos a metric is over, (V,) bool each.
        known = self.lacks == ""
        anomalous = np.array([v.labels.any() for v in videos], bool)
        self.over = {"micro_auc": known[:, FRAMES], "micro_ap": known[:, FRAMES]}
        self.over |= {"macro_auc": known[:, FRAMES], ANOMALOUS: anomalous}
        of_class = [{str(name)[:NAME] for name in v.classes} for v in videos]
        classes = sorted(set().union(*(of_class[n] for n in np.flatnonzero(anomalous))))
        for name in classes if len(classes) > 1 else ():
            self.over[f"{ANOMALOUS}:{name}"] = anomalous & np.array([name in own for own in of_class], bool)
        self.ranked = {"micro_auc": ranked}
        self.ranked |= {name: ranked.only(over) for name, over in self.over.items() if ANOMALOUS in name}
        self.over |= {name: known[:, need] for name, need in NEEDS.items()}
        pixels = [v.pixels for v in videos]
        scores, labels, counts = ([p[row] for p in pixels] for row in range(3))
        self.ranked["pixel_auc"] = frame.Ranked.of(labels, scores, np.arange(len(videos)), counts)

    def of(self, drawn: np.ndarray) -> dict[str, float | None]:
        """Metrics of the videos with these numbers, repeated ones as often; None where undefined."""
        weights = np.bincount(drawn, minlength=len(self.videos)).astype(float)
        found: dict[str, float | None] = {}
        for name, ranked in self.ranked.items():
            counts = ranked.counts(weights * self.over[name])
            found[name] = frame.area(*counts)
            if name == "micro_auc":
                found["micro_ap"] = frame.precision(*counts)
        weighed = weights * self.over["macro_auc"]
        defined = self.unit and found["micro_auc"] is not None
        found["macro_auc"] = float(weighed @ self.padded / weighed.sum()) if defined else None
        regions = [self.videos[n] for n in drawn if self.over["rbdc"][n]]
        found |= detection.rbdc_tbdc(*_rows(regions)) if regions else {"rbdc": None, "tbdc": None}
        return {name: found[name] for name in self.over}

    def units(self, name: str) -> int:
        """How many videos a metric rests on, were all that a video holds alike: of an area the fewer of those
        with a normal and with an anomalous frame or pixel. Windows of one video are one."""
        shown = np.flatnonzero(self.over[name])
        if name not in self.ranked and name != "micro_ap":
            return len(np.unique(self.cut_from[shown]))
        labels = [v.pixels[1] if name == "pixel_auc" else v.labels for v in (self.videos[n] for n in shown)]
        holds = np.array([[np.any(one == lit) for one in labels] for lit in (0, 1)], bool)
        return min(len(np.unique(self.cut_from[shown[lit]])) for lit in holds)

    def parts(self, most: int, seed: int) -> np.ndarray:
        """(V,) `parts_of` the videos that windows are cut from: all of one are left out together."""
        count = int(self.cut_from.max(initial=-1)) + 1
        return parts_of(count, most, seed)[self.cut_from]

    def sizes(self, name: str) -> np.ndarray:
        """Of each video that a metric is over, how many windows."""
        return np.unique(self.cut_from[self.over[name]], return_counts=True)[1]

    def note(self, name: str, value: float | None, ids: list[str]) -> str | None:
        """In a line: which videos a metric leaves out and why, and why it cannot be had."""
        lacks = self.lacks[:, NEEDS.get(name, FRAMES)]
        parts = []
        for why in dict.fromkeys(lacks[lacks != ""].tolist()):
            left = [ids[n] for n in np.flatnonzero(lacks == why)]
            more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
            parts.append(f"{len(left)} of {len(ids)} videos left out, {why}: {', '.join(left[:NAMED])}{more}")
        if value is None:
            parts.insert(0, f"cannot be had: {self._reason(name)}")
        return "; ".join(parts) or None

    def _reason(self, name: str) -> str:
        over = self.over[name]
        if not over.any():
            return "no video is known to be anomalous" if name.startswith(ANOMALOUS) else "no video is left"
        if name == "macro_auc" and not self.unit:
            return "its padding needs scores in 0 to 1"
        what = ("frame", "pixel", "region")[NEEDS.get(name, FRAMES)]
        shown = [self.videos[n] for n in np.flatnonzero(over)]
        if what == "region":
            return "no region is anomalous"
        lit = any(np.any(v.labels if what == "frame" else v.pixels[1]) for v in shown)
        return f"no {what} is {'normal' if lit else 'anomalous'}"


def statistics(videos: list[VideoScores]) -> dict[str, float | None]:
    """All heatmap metrics of a set of videos; None where undefined."""
    return Figures(videos).of(np.arange(len(videos)))


def _without(figures: Figures, name: str, parts: np.ndarray, found: list[dict]) -> np.ndarray:
    """(P,) a metric without each part of the videos, of the parts that hold one which it is over; NaN where
    it is undefined."""
    held = np.unique(parts[figures.over[name]])
    return np.array([found[part][name] for part in held], float)  # None becomes NaN


def _each_without(figures: Figures, parts: np.ndarray) -> list[dict[str, float | None]]:
    return [figures.of(np.flatnonzero(parts != part)) for part in range(parts.max() + 1)]


def metrics(videos: dict[str, VideoScores], resamples: int, seed: int) -> dict[str, Interval]:
    """Metrics of videos by id, with intervals over those that a metric is over, of at most PARTS parts, and
    notes on what is missing."""
    figures, ids = Figures(list(videos.values())), list(videos)
    values = figures.of(np.arange(len(ids)))
    best = statistics([video.oracle() for video in videos.values()])
    parts = figures.parts(min(resamples, PARTS), seed)
    found = _each_without(figures, parts)
    return {
        name: replace(
            interval_of(
                value,
                _without(figures, name, parts, found),
                int(figures.over[name].sum()),
                figures.units(name),
                figures.sizes(name),
            ),
            note=figures.note(name, value, ids),
            oracle=best.get(name),
        )
        for name, value in values.items()
    }


def paired(
    before: list[VideoScores], after: list[VideoScores], resamples: int, seed: int
) -> dict[str, tuple[float | None, float | None, Interval, float | None]]:
    """Metrics of two runs on the same videos, their difference with its interval over videos, and the p-value
    of `sign_flip` (None where the difference is)."""
    runs = Figures(before), Figures(after)
    for name in runs[0].over.keys() & runs[1].over.keys():  # what both have, over the videos that both have
        runs[0].over[name] = runs[1].over[name] = runs[0].over[name] & runs[1].over[name]
    one, other = (figures.of(np.arange(len(before))) for figures in runs)
    parts = runs[1].parts(min(resamples, PARTS), seed)
    left, right = (_each_without(figures, parts) for figures in runs)
    found: dict[str, tuple[float | None, float | None, Interval, float | None]] = {}
    differs = np.array([a.differs(b) for a, b in zip(before, after, strict=True)], bool)
    for name in (name for name in one if name in other):
        over, a, b = runs[0].over[name], one[name], other[name]
        if a is None or b is None:
            found[name] = a, b, Interval(None, None, None, int(over.sum())), None
            continue
        without = _without(runs[1], name, parts, right) - _without(runs[0], name, parts, left)
        shares = pseudo_values(np.array(b - a), without)
        shares = shares[~np.isnan(shares)]
        changed = len(np.unique(parts[over & differs]))
        p = sign_flip(shares, resamples, seed) if changed else 1.0
        found[name] = a, b, change_of(b - a, shares, changed, int(over.sum())), p
    return found
