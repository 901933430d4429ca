"""Scores over time: smoothed, and flagged by two thresholds. One implementation for timelines of files, live
sources and the benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tvad.common.errors import InputError

By = Literal["heat", "judgement", "mean", "classifier"]
RULES: dict[By, str] = {  # how a sub-clip is scored
    "heat": "the highest value of the heatmap",
    "judgement": "1 where the model says that there is an anomaly, 0 where it says that there is none",
    "mean": "the mean of the heatmap's highest value and of the judgement (1 or 0)",
    "classifier": "the probability that VANGUARD's classifier gives",
}
PER_STEP = 2  # frames of a temporal step (the vision encoder's temporal patch)
REACH = 3.0  # standard deviations to which smoothing looks
OFF = 0.75  # of `on`, where no second threshold is given (ours)
ROUNDING = 1e-9  # seconds


def frames_in(seconds: float, rate: float) -> int:
    """The frames, at `rate` a second, of the whole temporal steps that so many seconds are nearest to; 0 for
    less than half a step, and for what no clip lasts."""
    frames = seconds * rate
    return round(frames / PER_STEP) * PER_STEP if 0 < frames < 1 << 31 else 0


def smoothed(maps: np.ndarray, times: np.ndarray, sigma: float, past: bool = False) -> np.ndarray:
    """Maps, or scores, (T, ...) of what appears at `times` (T,), each the mean over time with a Gaussian's
    weights of `sigma` seconds, cut at three of them; as they are for 0. past: of what came before alone, as
    live scores must."""
    if sigma == 0:
        return maps
    low = np.searchsorted(times, times - REACH * sigma - 1e-9)
    high = np.searchsorted(times, times + REACH * sigma + 1e-9)
    if past:
        high = np.arange(1, len(times) + 1)
    found = np.empty_like(maps)
    for n, (a, b) in enumerate(zip(low, high, strict=True)):
        weights = np.exp(-(((times[a:b] - times[n]) / sigma) ** 2) / 2).astype(maps.dtype)
        found[n] = np.tensordot(weights / weights.sum(), maps[a:b], 1)
    return found


def cells(centres: np.ndarray, end: float) -> np.ndarray:
    """(S + 1,) seconds: the edges of the times for which steps with `centres` (S,) stand, halfway between
    each two, as `tvad.detections.nearest` has them; from 0 to `end`."""
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[0.0], np.minimum(middle, end), [end]])


@dataclass(frozen=True)
class Rule:
    """When scores are flagged: from the first that reaches `on` until one falls below `off` (None: OFF of
    `on`), if that lasts `least` seconds; after one, nothing for `cooldown` seconds. Raises InputError."""

    on: float = 0.5
    off: float | None = None
    least: float = 0.0
    cooldown: float = 0.0

    def __post_init__(self) -> None:
        if not np.isfinite([self.on, self.low, self.least, self.cooldown]).all():
            raise InputError("thresholds and seconds must be finite numbers")
        if self.low > self.on:
            raise InputError(f"the threshold to end, {self.low:g}, lies above that to begin, {self.on:g}")
        if self.least < 0 or self.cooldown < 0:
            raise InputError(f"seconds must not be negative, found {self.least:g} and {self.cooldown:g}")

    @property
    def low(self) -> float:
        return OFF * self.on if self.off is None else self.off


@dataclass
class Episode:
    """What is flagged, in seconds: from the beginning of the first step that reached `on` to the end of the
    last one that held; `raised`: the end of the step at which it had lasted long enough, None before; peak:
    the highest score, which began at `peak_at`."""

    start: float
    end: float
    peak: float
    peak_at: float
    raised: float | None = None


class Hysteresis:
    """A `Rule` over steps as they come."""

    def __init__(self, rule: Rule):
        self.rule = rule
        self.open: Episode | None = None
        self._quiet = -np.inf  # until then nothing begins

    def feed(self, start: float, end: float, score: float) -> tuple[str, Episode] | None:
        """The next step, from `start` to `end`: ("on", episode) where one has just lasted long enough,
        ("off", episode) where such a one has ended; None else."""
        episode, rule = self.open, self.rule
        if episode is not None and score < rule.low:
            return self.close()
        if episode is None:
            if score < rule.on or start < self._quiet - ROUNDING:
                return None
            episode = self.open = Episode(start, end, score, start)
        episode.end = end
        if score > episode.peak:
            episode.peak, episode.peak_at = score, start
        if episode.raised is None and end - episode.start >= rule.least - ROUNDING:
            episode.raised = end
            return "on", episode
        return None

    def close(self) -> tuple[str, Episode] | None:
        """End what is open: its ("off", episode), None where it had not lasted long enough."""
        episode, self.open = self.open, None
        if episode is None or episode.raised is None:
            return None
        self._quiet = episode.end + self.rule.cooldown
        return "off", episode


def flagged(edges: np.ndarray, scores: np.ndarray | Sequence[float], rule: Rule) -> list[Episode]:
    """The episodes of a whole video: steps with `scores` (S,) between `edges` (S + 1,) seconds."""
    state = Hysteresis(rule)
    told = [
        state.feed(float(a), float(b), float(score))
        for a, b, score in zip(edges[:-1], edges[1:], scores, strict=True)
        if b > a
    ]
    return [found[1] for found in (*told, state.close()) if found is not None and found[0] == "off"]
