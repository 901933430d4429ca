"""Heatmaps of every frame of a video: pairs of frames a step apart, begun every few frames, so that a step is
seen from several starts; a frame's map is the mean of those of the pairs that hold it, smoothed over time.

A model's own step stands for all of its time: at 2.5 frames a second a heatmap is of 0.8 s, and what crosses
the picture within it is smeared, and found late. Frames come one after the other; a step's frames are in
memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from bench.models.base import Engine, SeesFrames
from tvad.common.errors import InputError
from tvad.data import video
from tvad.data.sample import Sample
from tvad.data.video import Frames
from tvad.scores import smoothed

PAIRS = 16  # that a model is given at a time

Pair = tuple[int, int, np.ndarray, np.ndarray]  # numbers of two frames, and what is shown
Maps = Callable[[list[Frames]], list[np.ndarray] | None]


@dataclass
class Dense:
    """Heatmaps of every frame, in place of one for every two sampled frames."""

    starts: int = 2
    """Of so many starts within a step (1 / rate seconds) a pair begins."""
    smooth: float = 0.0
    """Seconds: standard deviation of a Gaussian over time."""
    still: bool = False
    """A pair shows the frame in its middle twice: nothing moves, what is told is told by shape alone. Not of
    baselines, which see all frames in a row."""

    def check(self) -> None:
        """Raises InputError."""
        if self.starts < 1 or not 0 <= self.smooth < float("inf"):
            raise InputError(
                f"dense.starts is {self.starts} and dense.smooth {self.smooth:g}, expected at least 1 and 0"
            )


def _pairs(reader: video.Reader, rate: float, dense: Dense) -> Iterator[Pair]:
    """(first, second, their images) of pairs of frames that appear a step apart, the last frame among them;
    of a video shorter than a step its first and last one."""
    step = 1 / rate
    held: deque[tuple[int, float, np.ndarray]] = deque()
    due = 0.0
    spare: Pair | None = None
    for index, seconds, _, image in reader.sampled():
        held.append((index, seconds, image))
        # The frame nearest to a step after the first one: the one before this, or this one.
        while len(held) > 1 and seconds - held[0][1] >= step - 1e-6:
            near, before = held[-1], held[-2]
            early = len(held) > 2 and abs(before[1] - held[0][1] - step) < abs(near[1] - held[0][1] - step)
            last = len(held) - (2 if early else 1)
            spare = _pair(held, last, dense.still)
            first = held.popleft()
            if first[1] >= due - 1e-6:
                yield spare
                due, spare = first[1] + step / dense.starts, None
    if spare is not None:  # so that the last frame is held by a pair
        yield spare
    elif due == 0.0:  # shorter than a step
        yield _pair(held, len(held) - 1, dense.still)


def _pair(held: deque[tuple[int, float, np.ndarray]], last: int, still: bool) -> Pair:
    """The first frame and the `last`-th, or the one in the middle twice, at their times."""
    images = (held[last // 2][2],) * 2 if still else (held[0][2], held[last][2])
    return held[0][0], held[last][0], *images


def frame_maps(model: Engine, sample: Sample, rate: float, dense: Dense) -> np.ndarray:
    """Maps (T, h, w), float32, of every frame of a video by a model that gives heatmaps; rate: a step is the
    time between two frames at it. Raises InputError for a video that cannot be read."""
    with video.Reader(sample.clip()) as reader:
        own = (
            model.frame_maps(image for _, image in reader.frames()) if isinstance(model, SeesFrames) else None
        )
        maps = _by_pairs(model.heatmaps, reader, rate, dense) if own is None else own
        return smoothed(maps.astype(np.float32), reader.clock.times, dense.smooth)


def _by_pairs(maps_of: Maps, reader: video.Reader, rate: float, dense: Dense) -> np.ndarray:
    total: np.ndarray | None = None
    count = np.zeros(len(reader.clock))
    for part in _in_parts(_pairs(reader, rate, dense), PAIRS):
        clips = [_clip(reader, pair) for pair in part]
        for (first, second, *_), heat in zip(part, maps_of(clips) or (), strict=True):
            if total is None:
                total = np.zeros((len(count), *heat.shape[1:]), np.float32)
            total[first : second + 1] += heat.mean(0)
            count[first : second + 1] += 1
    assert total is not None
    # Frames that no pair holds: none, unless a clock has a gap longer than a step; the one before stands.
    seen = np.maximum.accumulate(np.where(count > 0, np.arange(len(count)), 0))
    return (total / np.maximum(count, 1)[:, None, None])[seen]


def _clip(reader: video.Reader, pair: Pair) -> Frames:
    indices = np.array(pair[:2])
    times = reader.clock.times[indices] - reader.clock.times[indices[0]]
    name = reader.name
    return Frames(
        np.stack(pair[2:]), times, indices, reader.fps, len(reader.clock), clock=reader.clock, name=name
    )


def _in_parts(pairs: Iterable, most: int) -> Iterator[list]:
    part: list = []
    for pair in pairs:
        part.append(pair)
        if len(part) == most:
            yield part
            part = []
    if part:
        yield part
