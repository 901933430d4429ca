"""Scores of the sub-clips of a long video or a live source, and of the temporal steps within them.

A step's map is the mean over the sub-clips that saw it, its score that map's highest value, as `infer` has
frame scores; a sub-clip's score is the highest of its own steps. A model with VANGUARD's classifier and
without heatmaps has that classifier's probability for all steps of a sub-clip; one with neither is asked
whether there is an anomaly: 1 or 0 for all of them; a step has the mean over the sub-clips that saw it.
VANGUARD's own rules are not public (arXiv 2605.02912); these are ours."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvad.answer import judged, parse
from tvad.common.errors import InputError
from tvad.data import video
from tvad.data.questions import ASKED
from tvad.detections import detections_of
from tvad.model.classifier import probabilities
from tvad.scores import By
from tvad.use.infer import ask, heatmaps_of, length_of, steps_in

MOST_BOXES = 20  # of a step: what a page and a reader can look at
LEFT_OUT = "left out, so that a step which no other sub-clip saw counts as normal"


@dataclass(frozen=True)
class SubClip:
    """What a model says of one: start, end in seconds of the video; heat: the highest of its steps; judged:
    whether it says that there is an anomaly, or how probable its classifier finds that; None where it was not
    asked or that cannot be read."""

    start: float
    end: float
    heat: float | None
    judged: float | None


@dataclass(frozen=True)
class Step:
    """A temporal step: its centre in seconds; heat: of its mean map; judgement: the mean over the sub-clips
    that were asked and could be read, of words (1 or 0) or of probabilities; boxes (n, 5): detections in
    pixels of the video, with scores."""

    centre: float
    heat: float | None
    judgement: float | None
    boxes: np.ndarray

    def score(self, by: str) -> float:
        """By one of RULES; what could not be read counts as no anomaly."""
        said = self.judgement or 0.0
        if by in ("judgement", "classifier") or self.heat is None:
            return said
        return self.heat if by == "heat" else (self.heat + said) / 2


def way(model, by: By | None) -> By:
    """How a model is scored: as asked for, by default by heatmaps where it has them, else by its classifier.
    Raises InputError where it has none."""
    classifies = model.model.classifier is not None
    if model.model.ahd is None and by in ("heat", "mean"):
        expected = "classifier or judgement" if classifies else "judgement"
        raise InputError(f"--by {by}: this model gives no heatmaps, expected {expected}")
    if by == "classifier" and not classifies:
        raise InputError("--by classifier: this model has none (`use_classifier` of a curriculum)")
    if by is not None or model.model.ahd is not None:
        return by or "heat"
    return "classifier" if classifies else "judgement"


def strongest_boxes(boxes: np.ndarray) -> np.ndarray:
    """Of the detections (n, 5) of a step the first MOST_BOXES by score."""
    return boxes[np.argsort(-boxes[:, 4], kind="stable")[:MOST_BOXES]]


def look(
    model, processor, clips: list[video.Frames], by: By
) -> tuple[list[SubClip], list[np.ndarray] | None]:
    """Sub-clips of equal length, scored together, and their heatmaps (T', h, w)."""
    heats = heatmaps_of(model, processor, clips) if by != "judgement" else None
    said: list[float | None] = [None] * len(clips)
    if by == "classifier":
        said = [*probabilities(model, processor, clips)]
    elif by != "heat":
        replies, opened = ask(model, processor, clips, ASKED["judgement"])
        said = [judged(parse(reply, opened=opened).answer) for reply in replies]
    found = []
    for n, clip in enumerate(clips):
        start = float(clip.moments[0])
        heat = None if heats is None else float(heats[n].max())
        found.append(SubClip(start, start + length_of(clip), heat, said[n]))
    return found, heats


def unread_words(unread: int, asked: int) -> str:
    """Of how many sub-clips the judgement cannot be read, in words."""
    return f"{unread} of {asked} judgements of sub-clips cannot be read"


class Steps:
    """Steps as sub-clips come, in order of their beginnings; what a later one may still see is held."""

    def __init__(self) -> None:
        # First moment -> centre, sum of maps, how many, sum of judgements, how many.
        self._held: dict[float, list[Any]] = {}
        self._size = 0, 0

    def add(self, clip: video.Frames, heat: np.ndarray | None, said: float | None) -> None:
        """A sub-clip with its heatmap (T', h, w), and judgement or probability."""
        self._size = clip.images.shape[1:3]
        for n, (first, centre) in enumerate(steps_in(clip)):
            held = self._held.setdefault(first, [centre, None, 0, 0.0, 0])
            if heat is not None:
                held[1] = heat[n] if held[1] is None else held[1] + heat[n]
                held[2] += 1
            if said is not None:
                held[3], held[4] = held[3] + said, held[4] + 1

    def final(self, before: float = np.inf) -> list[Step]:
        """The steps that begin before that second, which are let go."""
        done = sorted(first for first in self._held if first < before)
        return [self._step(self._held.pop(first)) for first in done]

    def _step(self, held: list[Any]) -> Step:
        centre, total, count, said, asked = held
        heat, boxes = None, np.empty((0, 5))
        if count:
            mean = total / count
            heat, boxes = float(mean.max()), detections_of(mean, *self._size)
        return Step(centre, heat, said / asked if asked else None, boxes)

    def kept(self) -> list[list[Any]]:
        """What is held, in JSON's types: `again` goes on from it, to the bit."""
        return [
            [first, centre, None if total is None else _packed(total), count, said, asked]
            for first, (centre, total, count, said, asked) in self._held.items()
        ]

    @classmethod
    def again(cls, kept: Sequence[Sequence[Any]], size: tuple[int, int]) -> "Steps":
        """size: (height, width) of the video's pictures."""
        steps = cls()
        steps._size = size
        for first, centre, total, count, said, asked in kept:
            steps._held[first] = [centre, None if total is None else _unpacked(total), count, said, asked]
        return steps


def _packed(array: np.ndarray) -> list[Any]:
    array = np.ascontiguousarray(array, np.float32)
    return [*array.shape, base64.b64encode(array.tobytes()).decode()]


def _unpacked(packed: list[Any]) -> np.ndarray:
    *shape, data = packed
    return np.frombuffer(base64.b64decode(data), np.float32).reshape(shape).copy()
