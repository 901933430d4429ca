"""What normal footage of a fixed camera says by itself: its background, what moves before it, how tall people
are where they stand, how fast they walk; and from that the size and the step at which it is to be looked
at."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.distance import cdist
from tqdm import tqdm

from tvad.common.errors import InputError
from tvad.data import video
from tvad.data.composite.config import TALL
from tvad.data.sample import Sample

APART = 3.5 / 32  # heights that a walker goes in a step that are looked for: 3.5 pixels of people 32 tall
UNIT = 28  # pixels of which the sides of a picture are multiples: two patches
WIDEST = 640  # pixels of a frame's longer side while people are measured
SECONDS = 60.0  # of a stretch: light changes over longer ones
STRETCH, EVERY = 20.0, 3  # seconds that are measured at a time, and of how many such one is
FINE = 10.0  # frames a second at which people are measured
FOLLOWED = (1, 2, 4, 8)  # frames of those over which they are followed
SLOW = 0.05  # heights a second: who walks less, stands
FEWEST = 30  # times that somebody has to be seen, to be measured
COLOURLESS = 6  # grey levels that the colours of a grey pixel may differ by
DIFFERENT = 22  # grey levels from the background


@dataclass(frozen=True)
class Blob:
    """What moves before the background: its box (x, y, width, height) and the pixels of it in the box."""

    x: int
    y: int
    width: int
    height: int
    lit: np.ndarray

    @property
    def foot(self) -> float:
        return float(self.y + self.height)

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2


def blobs_of(image: np.ndarray, background: np.ndarray) -> list[Blob]:
    """What of an image (H, W, 3) is not background: 8-connected, thin gaps closed."""
    away = cv2.absdiff(image, background)
    different = cv2.max(cv2.max(away[..., 0], away[..., 1]), away[..., 2]) > DIFFERENT
    lit = cv2.medianBlur(different.astype(np.uint8), 3)
    lit = cv2.morphologyEx(lit, cv2.MORPH_CLOSE, np.ones((5, 3), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(lit, connectivity=8)
    found = []
    for n, (x, y, w, h, area) in enumerate(stats[1:].tolist(), 1):
        if area >= 12:
            found.append(Blob(x, y, w, h, labels[y : y + h, x : x + w] == n))
    return found


def stretches(
    sample: Sample, rate: float, size: tuple[int, int] | None, seconds: float = SECONDS
) -> Iterator[tuple[np.ndarray, list[float]]]:
    """The frames of a normal video at `rate` a second, (T, H, W, 3) of at most `seconds` each, resized to
    `size` (width, height), or to WIDEST at most, and the seconds of the video at which each begins. Raises
    InputError for a video that is not known to be normal."""
    if sample.anomalous is not False:
        raise InputError(
            f"{sample.id}: composites are made in normal footage, it is {sample.label or 'unlabelled'}"
        )
    held: list[np.ndarray] = []
    times: list[float] = []
    with video.Reader(sample.clip()) as reader:
        for _, begins, _, image in reader.sampled(rate):
            held.append(_resized(image, size))
            times.append(begins)
            if len(held) >= seconds * rate:
                yield np.stack(held), times
                held, times = [], []
    if len(held) > 1:
        yield np.stack(held), times


def _resized(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    height, width = image.shape[:2]
    if size is None:
        scale = min(1.0, WIDEST / max(height, width))
        size = round(width * scale), round(height * scale)
    if size == (width, height):
        return image
    smaller = size[0] < width
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def background_of(images: np.ndarray) -> np.ndarray:
    """The median of at most 60 frames, evenly spread."""
    chosen = np.linspace(0, len(images) - 1, min(60, len(images))).round().astype(int)
    return np.median(images[chosen], 0).astype(np.uint8)


@dataclass(frozen=True)
class Looking:
    """How a camera's footage is to be looked at: `width` x `height` pixels, `rate` frames a second; people
    are `tall` pixels at foot row y: tall(y) = intercept + slope y; a walker goes `walk` heights a step;
    `grey`: whether the footage has no colour; `grain`: standard deviation of its noise in grey levels;
    `people`: how many were measured."""

    width: int
    height: int
    rate: float
    intercept: float
    slope: float
    walk: float
    grain: float
    grey: bool
    people: int

    def tall(self, foot: float) -> float:
        """Pixels of a person whose feet stand in this row."""
        return max(6.0, self.intercept + self.slope * foot)


def upright(images: np.ndarray, background: np.ndarray) -> Iterator[list[Blob]]:
    """Of every frame (T, H, W, 3) what is as tall and slim as one person, and whole inside the picture."""
    height, width = background.shape[:2]
    for image in images:
        yield [
            b
            for b in blobs_of(image, background)
            if b.height > 8
            and 1.6 * b.width < b.height < 3.8 * b.width
            and b.lit.mean() > 0.4
            and min(b.x, b.y) > 1
            and b.x + b.width < width - 2
            and b.y + b.height < height - 2
        ]


def followed(before: list[Blob], after: list[Blob]) -> Iterator[tuple[Blob, Blob]]:
    """People in one frame and in a later one: each the other's nearest, as tall, and no further than half a
    height, else it is somebody else."""
    if not before or not after:
        return
    away = cdist([b.centre for b in before], [b.centre for b in after])
    for n, one in enumerate(before):
        m = int(away[n].argmin())
        alike = abs(after[m].height - one.height) <= 0.1 * one.height
        if alike and int(away[:, m].argmin()) == n and away[n, m] < 0.5 * one.height:
            yield one, after[m]


def _line(feet: np.ndarray, heights: np.ndarray) -> tuple[float, float]:
    """(intercept, slope >= 0) of people's heights by the row of their feet, both (n,). Cauchy's loss: what is
    no single person (two behind each other, half of one) lies far off."""
    middle = float(feet.mean())
    found = least_squares(
        lambda p: p[0] + p[1] * (feet - middle) - heights,
        (float(np.median(heights)), 0.0),
        bounds=((0, 0), (np.inf, 1)),
        loss="cauchy",
        f_scale=0.06 * float(np.median(heights)),
    ).x
    return float(found[0] - found[1] * middle), float(found[1])


def looking_of(samples: list[Sample], tall: float = TALL, seed: int = 0, most: int = 24) -> Looking:
    """How to look so that people are `tall` pixels, measured on at most `most` of the videos, drawn by the
    seed. Raises InputError where too few people are seen."""
    rng = np.random.default_rng([seed, 1])
    chosen = sorted(rng.choice(len(samples), min(most, len(samples)), replace=False).tolist())
    people_seen: list[tuple[float, float]] = []
    ways: dict[int, list[float]] = {frames: [] for frames in FOLLOWED}
    noise, grey, slowest = [], True, float("inf")
    for sample in tqdm([samples[n] for n in chosen], unit="video", desc="measure", disable=None, leave=False):
        clock, *_ = video.inspect(sample.clip())
        slowest = min(slowest, clock.fps)
        rate = min(clock.fps, FINE)
        for images, _ in islice(stretches(sample, rate, None, STRETCH), 0, None, EVERY):
            people = list(upright(images, background_of(images)))
            for frames, found in ways.items():
                for before, after in zip(people[:-frames:2], people[frames::2], strict=False):
                    for one, same in followed(before, after):
                        way = math.dist(one.centre, same.centre) / one.height * rate / frames
                        if way > SLOW:
                            found.append(way)
                            # Who walks is somebody, and no shadow; by the feet of whom alone, not of groups.
                            people_seen.append((one.foot, float(one.height)))
            still = np.abs(np.diff(images[:40, ::2, ::2].astype(np.int16), axis=0))
            noise.append(float(np.mean(np.sort(still, axis=None)[: still.size // 2])))
            spread = images[::20].astype(np.int16)
            grey = grey and bool((np.abs(spread - spread[..., :1]) <= COLOURLESS).mean() > 0.99)
            shown = images.shape[2], images.shape[1]
    told = {frames: found for frames, found in ways.items() if len(found) >= FEWEST}
    if not told:
        raise InputError(
            f"{len(people_seen)} times somebody walking in {len(chosen)} videos, fewer than {FEWEST}: nothing"
            " tells how large people are and how fast; give footage in which people walk, by a camera that"
            " stands still"
        )
    feet, heights = np.array(people_seen[:: max(1, len(people_seen) // 4000)]).T
    seen = float(np.median(heights))  # pixels
    at_top, tilt = _line(feet, heights)
    # Followed over too long a time a walker is lost; over too short a one his way is less than a pixel.
    speeds = {frames: float(np.median(found)) for frames, found in told.items()}  # heights a second
    frames = min(speeds, key=lambda n: abs(speeds[n] * n / rate - APART))
    size = [max(UNIT, round(side * tall / seen / UNIT) * UNIT) for side in shown]
    scale = size[1] / shown[1]
    step = max(1, round(APART / speeds[frames] * slowest))  # frames of the footage
    return Looking(
        width=size[0],
        height=size[1],
        rate=round(slowest / step, 6),
        intercept=round(at_top * scale, 4),
        slope=round(tilt, 6),
        walk=round(speeds[frames] * step / slowest, 4),
        # The mean of the lower half of |difference| of two frames is 0.46 of a frame's standard deviation.
        grain=round(float(np.median(noise)) / 0.46, 3),
        grey=grey,
        people=len(people_seen),
    )
