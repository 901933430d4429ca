"""Frames out of a video: all, those at a rate, windows of them. Whatever a frame's time is, its clock
says."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from tvad.common.errors import InputError
from tvad.data.video.clock import Clock
from tvad.data.video.file import VideoFile
from tvad.data.video.pictures import Pictures

MOST_BYTES = 4 << 30  # of a clip's frames
MOST_RATIO = 200  # of a picture's sides: Qwen-VL's processors refuse others (transformers, `smart_resize`)
Source = str | os.PathLike | io.BytesIO | Pictures


@dataclass(frozen=True)
class Frames:
    """Sampled frames. images (T, H, W, 3) uint8 RGB, the right way up; times (T,): seconds at which each
    appears, from the first shown frame of the video on; indices (T,) into the video's shown frames; fps: of
    the video, its mean where that varies; total: frames of the video. moments (T,): seconds that the frames
    stand for, evenly spaced where a rate was asked for, even where one frame stays for several; `times`
    unless given. clock: when each frame of the video is shown; even steps of 1 / fps unless given. name: of
    the file."""

    images: np.ndarray
    times: np.ndarray
    indices: np.ndarray
    fps: float
    total: int
    moments: np.ndarray = field(default_factory=lambda: np.empty(0))
    clock: Clock = field(default_factory=lambda: Clock(np.empty(0), 0.0))
    name: str = "the clip"

    def __post_init__(self) -> None:
        if not len(self.moments):
            object.__setattr__(self, "moments", self.times)
        if not len(self.clock):
            object.__setattr__(self, "clock", Clock.constant(self.total, self.fps))

    @property
    def duration(self) -> float:
        """Seconds of the whole video."""
        return self.clock.end

    @property
    def sampled_fps(self) -> float:
        """Frames a second after sampling; the file's rate where only one frame is left."""
        seconds = self.moments[-1] - self.moments[0] if len(self.moments) > 1 else 0.0
        return float((len(self.moments) - 1) / seconds) if seconds > 0 else self.fps

    @property
    def metadata(self) -> dict:
        """What processors call the metadata of a clip that is already sampled: its frames at their own rate,
        from second 0."""
        count, fps = len(self.images), self.sampled_fps
        return {
            "total_num_frames": count,
            "fps": fps,
            "duration": count / fps,
            "frames_indices": list(range(count)),
        }

    def pictures(self) -> np.ndarray:
        """The images as a vision processor takes them, a single one twice, since a step is two. Raises
        InputError for a shape that none takes."""
        height, width = self.images.shape[1:3]
        if max(height, width) > MOST_RATIO * min(height, width):
            raise InputError(
                f"{self.name}: {width} x {height} pixels, a model takes pictures whose one side is at most"
                f" {MOST_RATIO} times the other"
            )
        return np.ascontiguousarray(self.images if len(self.images) > 1 else np.repeat(self.images, 2, 0))

    def part(self, which: slice) -> "Frames":
        """Some of the frames."""
        return replace(
            self,
            images=self.images[which],
            times=self.times[which],
            indices=self.indices[which],
            moments=self.moments[which],
        )


class Reader:
    """A video, read from front to back: a file's path, one in memory, `Pictures`, or the text that these are
    written as. `clock`: when its frames are shown, as the file's packets say, and once it was read to its end
    as its frames do; `size`: (height, width) of the shown picture, once there was one; `total`: frames seen
    so far. Raises InputError for what is no video, damaged or truncated, at the latest when it ends.

        with Reader(path) as reader:
            for index, image in reader.frames(rate=2.0): ...
    """

    def __init__(self, source: Source):
        self._given = source
        self.total = 0

    def __enter__(self) -> "Reader":
        source = self._given
        if isinstance(source, (str, os.PathLike)):
            source = Pictures.named(os.fspath(source)) or source
        self._source = source if isinstance(source, Pictures) else VideoFile(source)
        self.name = self._source.name
        return self

    def __exit__(self, *exc) -> None:
        pass

    @property
    def clock(self) -> Clock:
        return self._source.clock

    @property
    def size(self) -> tuple[int, int] | None:
        return self._source.size

    @property
    def fps(self) -> float:
        """Frames a second, the mean where they vary."""
        return self.clock.fps

    def frames(self, rate: float | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """(index, image (H, W, 3) uint8 RGB) of the frames at `rate` a second (None: all), as `Clock.taken`
        has them."""
        for index, _, _, image in self.sampled(rate):
            yield index, image

    def sampled(self, rate: float | None = None) -> Iterator[tuple[int, float, float, np.ndarray]]:
        """(index, seconds, moment in seconds, image) of the frames at `rate` a second."""
        clock = self.clock
        if rate is None or (clock.rate is not None and rate >= clock.rate):
            for index, seconds, make in self._all():
                yield index, seconds, seconds, make()
        elif clock.rate is not None:
            yield from self._at_steps(clock.rate, rate)
        else:
            yield from self._at_moments(clock, rate)

    def _at_steps(self, fps: float, rate: float) -> Iterator[tuple[int, float, float, np.ndarray]]:
        """`sample_indices` for frames as they come: one that is shown before its moment waits for the next
        one, since the video may end before that moment."""
        due, waits = 0, None
        for index, seconds, make in self._all():
            if waits is not None:
                yield waits
                waits = None
            if index == round(due * fps / rate):
                found = index, seconds, seconds, make()
                if due <= index / fps * rate + 1e-6:
                    yield found
                else:
                    waits = found
                due += 1

    def _at_moments(self, clock: Clock, rate: float) -> Iterator[tuple[int, float, float, np.ndarray]]:
        """`Clock.taken` for frames as they come: a frame is taken for all moments until the next one's."""
        with self._named():
            clock.count(rate)
        step, half = clock.step(rate), clock.pause / 2 + 1e-9
        due, held, image = 0, None, None
        for index, seconds, make in self._all():
            if held is not None:
                while (moment := due * step) < seconds and not (
                    seconds - moment <= half and seconds - moment < moment - held[1]
                ):
                    image = held[2]() if image is None else image
                    yield held[0], held[1], moment, image
                    due += 1
            held, image = (index, seconds, make), None
        assert held is not None
        while (moment := due * step) <= self.clock.reach + 1e-6 * step:
            image = held[2]() if image is None else image
            yield held[0], held[1], moment, image
            due += 1

    @contextmanager
    def _named(self) -> Iterator[None]:
        """What a clock refuses, with the video's name."""
        try:
            yield
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error

    def _all(self) -> Iterator[tuple[int, float, Callable[[], np.ndarray]]]:
        self.total = 0
        for seconds, make in self._source.shown():
            yield self.total, seconds, make
            self.total += 1

    def images(self, indices: np.ndarray) -> np.ndarray | None:
        """(T, H, W, 3) uint8 RGB of the frames `indices`, which never fall; None where the video has fewer
        than its packets said. Raises InputError where they are more than a clip may hold."""
        found: np.ndarray | None = None
        place = 0
        for index, _, make in self._all():
            if place < len(indices) and index == indices[place]:
                image = make()
                if found is None:
                    found = room_for(len(indices), image, self.name)
                while place < len(indices) and index == indices[place]:
                    found[place] = image
                    place += 1
        return found if place == len(indices) else None


def room_for(count: int, image: np.ndarray, name: str) -> np.ndarray:
    """An empty (count, H, W, 3) uint8 for frames like `image`. Raises InputError, with the video's name, for
    more than a clip may hold."""
    if (size := count * image.nbytes) > MOST_BYTES:
        height, width = image.shape[:2]
        raise InputError(
            f"{name}: {count} frames of {width} x {height} pixels take {size / 2**30:.1f} GiB, a clip holds"
            f" {MOST_BYTES >> 30}: take fewer frames, or scale the video down"
        )
    return np.empty((count, *image.shape), np.uint8)


def inspect(source: Source) -> tuple[Clock, int, int]:
    """(clock, height, width) of a video, all of it decoded and nothing kept. Raises InputError that names
    it."""
    with Reader(source) as reader:
        for _ in reader._all():
            pass
        assert reader.size is not None
        return reader.clock, *reader.size


def decode(source: Source, rate: float | None = None, max_frames: int | None = None) -> Frames:
    """Decode a video and sample it: `rate` frames a second, at most `max_frames`, then evenly spread.

    Only sampled frames are held. Raises InputError for a missing, corrupt, truncated or video-less file.
    """
    with Reader(source) as reader:
        # What the packets say is what is shown, as a rule: where it was not, the frames themselves said so,
        # and are read again.
        for _ in range(3):
            clock = reader.clock
            with reader._named():
                indices, moments = clock.taken(rate, max_frames)
            images = reader.images(indices)
            if images is not None and reader.clock.same(clock):
                seen, name = reader.clock, reader.name
                return Frames(images, seen.times[indices], indices, seen.fps, len(seen), moments, seen, name)
        raise InputError(f"{reader.name}: changes while it is read")


def windows(source: Source, rate: float, size: int, step: int) -> Iterator[Frames]:
    """Windows of `size` frames sampled at `rate`, every `step` sampled frames; the last one ends with the
    video. A video with fewer sampled frames is one window; while one frame stays, its window is given once.
    Holds two windows in memory; `Frames.total` and `clock` are the file's in the last window, before it what
    was decoded so far and what its packets say."""
    with Reader(source) as reader:
        held: list[tuple[int, float, float, np.ndarray]] = []
        fresh = 0  # frames held that no window has shown

        def window() -> Frames:
            indices, times, moments, images = zip(*held, strict=True)
            clock = reader.clock
            return Frames(
                np.stack(images),
                np.array(times),
                np.array(indices),
                clock.fps,
                reader.total,
                np.array(moments),
                clock,
                reader.name,
            )

        # A window is handed out when the next one is complete: only then is it known not to be the last.
        ready: Frames | None = None
        for found in reader.sampled(rate):
            held.append(found)
            fresh += 1
            if len(held) > size:
                held.pop(0)
            if len(held) == size and (fresh >= step or ready is None):
                if ready is not None and held[-1][0] == held[0][0] == ready.indices[0] == ready.indices[-1]:
                    fresh = 0  # the same picture again, and perhaps for hours
                    continue
                if ready is not None:
                    yield ready
                ready, fresh = window(), 0
        if fresh and ready is not None:
            yield ready
        clock = reader.clock
        yield (
            window()
            if fresh or ready is None
            else replace(ready, total=reader.total, clock=clock, fps=clock.fps)
        )
