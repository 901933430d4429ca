"""Pictures and videos that stand in a page as data: what an answer looked at, re-encoded small."""

import base64
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from bench.shown import QUALITY, drawn, four, scaled, sheet
from tvad.common.errors import InputError
from tvad.data import video
from tvad.data.sample import Sample
from tvad.pictures import data_url, within

CLIP, PAGE = 300_000, 20_000_000  # bytes of a video, and of all videos of a page, as they stand in it
RATE = 8.0  # frames a second, at most
MOST_FRAMES = 120
SLOWEST = 4.0  # frames a second: a video thinned below that is shown faster than it is
WIDTH, TALLEST = 336, 1280  # pixels, about
QUALITIES = ((1.0, 28), (0.6, 36))  # scale and H.264's constant rate factor, tried in turn


@dataclass(frozen=True)
class Shown:
    """What a card shows of a video: a still picture and, where it is small enough, the video, as addresses;
    and what must be said about them."""

    picture: Markup | None = None
    video: Markup | None = None
    note: str = ""


def address(kind: str, data: bytes) -> Markup:
    """A file as an address that holds it."""
    return Markup(f"data:{kind};base64,{base64.b64encode(data).decode()}")


def picture(image: np.ndarray) -> Markup:
    """The address of an RGB image (H, W, 3) uint8, as a JPEG."""
    return Markup(data_url(image, QUALITY))


class Reel:
    """The videos of one page, which together may take PAGE bytes."""

    def __init__(self, left: int = PAGE):
        self.left = left

    def show(self, sample: Sample, line: dict, heat: np.ndarray | None) -> Shown:
        """An answer's video with boxes over its heatmap (T', h, w), spread evenly over it; of a video that
        cannot be read, that."""
        try:
            frames, fps, speed = _frames(sample, line, heat)
        except InputError as error:
            return Shown(note=f"The video cannot be shown: {error}")
        still = picture(sheet([scaled(frames[n], 0.5) for n in four(len(frames))]))
        for scale, crf in QUALITIES:
            held = address("video/mp4", _encoded(frames, fps, scale, crf))
            if len(held) <= CLIP:
                break
        else:
            return Shown(still, note="Four frames: the video is too large for this page.")
        if len(held) > self.left:
            return Shown(still, note="Four frames: the page holds as many videos as it may.")
        self.left -= len(held)
        return Shown(still, held, f"shown {speed:.0f} times as fast" if speed > 1 else "")


def _frames(sample: Sample, line: dict, heat: np.ndarray | None) -> tuple[list[np.ndarray], float, float]:
    """(frames with boxes, fewer than 2 * MOST_FRAMES and about WIDTH wide; how many a second; how many times
    as fast that is). Raises InputError for a video that cannot be read."""
    kept: list[tuple[int, np.ndarray, float]] = []
    stride = 1
    with video.Reader(sample.clip()) as reader:
        for n, (index, image) in enumerate(reader.frames(RATE)):
            if n % stride:
                continue
            height, width = image.shape[:2]
            scale = within(
                max(1, WIDTH // width) if width <= WIDTH else WIDTH / width, height, width, TALLEST
            )
            kept.append((index, scaled(image, scale), scale))
            if len(kept) == 2 * MOST_FRAMES:  # a long one: every other frame, so far and from here on
                kept, stride = kept[::2], 2 * stride
        clock = reader.clock
    rate = min(RATE, clock.rate or 1 / clock.pause) / stride
    parts = None if heat is None else clock.parts(len(heat))
    frames = [
        drawn(
            image, index, sample, line, None if heat is None or parts is None else heat[parts[index]], scale
        )
        for index, image, scale in kept
    ]
    shown = max(rate, SLOWEST) if stride > 1 else rate
    return frames, shown, shown / rate


def _encoded(frames: list[np.ndarray], fps: float, scale: float, crf: int) -> bytes:
    """H.264 in an mp4."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "clip.mp4")
        video.write(file, [scaled(frame, scale) for frame in frames], fps, crf)
        return file.read_bytes()
