"""mp4 in, frames out: decoding with PyAV, sampling at a given rate, and writing clips. Bad files are errors
that name the file."""

import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tvad.common.errors import InputError

# What `tvad infer`, `demo` and `serve` show a model where nothing else is asked for; what a benchmark or a
# training run shows it stands in its configuration.
RATE = 2.0  # frames a second
MAX_FRAMES = 8  # of a clip (`tvad/use/commands.py`): a window of `infer` and `demo`, a whole video of `serve`


def check_sampling(rate: float, max_frames: int) -> None:
    """Raises InputError for a rate (frames a second) or a number of frames that no clip can have."""
    if not rate > 0 or max_frames < 2:
        raise InputError(
            f"--rate must be positive and --max-frames at least 2, found {rate:g} and {max_frames}"
        )


@dataclass(frozen=True)
class Frames:
    """Sampled frames. images (T, H, W, 3) uint8 RGB; times (T,) seconds; indices (T,) into the file's frames;
    fps of the file."""

    images: np.ndarray
    times: np.ndarray
    indices: np.ndarray
    fps: float
    total: int

    @property
    def sampled_fps(self) -> float:
        """Frames a second after sampling; the file's rate where only one frame is left."""
        if len(self.times) < 2:
            return self.fps
        return float((len(self.times) - 1) / (self.times[-1] - self.times[0]))

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


def sample_indices(total: int, fps: float, rate: float | None, max_frames: int | None = None) -> np.ndarray:
    """Indices of frames at `rate` frames a second out of `total` at `fps`; at most `max_frames`, then evenly
    spread.

    rate None keeps every frame. The first frame is always taken.
    """
    if total < 1 or fps <= 0:
        raise ValueError(f"need at least one frame and a positive rate, got {total} frames at {fps} fps")
    if rate is None or rate >= fps:
        indices = np.arange(total)
    else:
        # The nearest frames to 0, 1/rate, 2/rate, …; 1e-6 keeps rounding from losing a moment that falls on
        # the last frame.
        count = max(1, int(np.floor((total - 1) / fps * rate + 1e-6)) + 1)
        indices = np.minimum(np.round(np.arange(count) * fps / rate), total - 1).astype(int)
    if max_frames is not None and len(indices) > max_frames:
        indices = indices[np.round(np.linspace(0, len(indices) - 1, max_frames)).astype(int)]
    return indices


class Reader:
    """A video file, read once from front to back. `fps`; `declared`: the header's number of frames, 0 where
    it states none; `total`: frames decoded so far. Raises InputError for a missing, corrupt, truncated or
    video-less file, at the latest when it ends.

        with Reader(path) as reader:
            for index, image in reader.frames(rate=2.0): ...
    """

    def __init__(self, source: str | os.PathLike | io.BytesIO):
        self._file: str | io.BytesIO = source if isinstance(source, io.BytesIO) else str(source)
        self.path = "the video" if isinstance(source, io.BytesIO) else str(source)
        if isinstance(self._file, str) and not os.path.isfile(self._file):
            raise InputError(f"{self.path}: no such video file")
        self.total = 0

    def __enter__(self) -> "Reader":
        try:
            self._container = av.open(self._file, mode="r", metadata_errors="replace")
        except (av.FFmpegError, ValueError, OSError) as error:
            raise self._cannot(error) from error
        if not self._container.streams.video:
            self._container.close()
            raise InputError(f"{self.path}: no video stream in this file")
        self._stream = self._container.streams.video[0]
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        self.declared = int(self._stream.frames or 0)
        if self.fps <= 0 or self.fps > 1000:
            self._container.close()
            raise InputError(f"{self.path}: the file states no usable frame rate")
        return self

    def __exit__(self, *exc) -> None:
        self._container.close()

    def _cannot(self, error: Exception) -> InputError:
        return InputError(f"{self.path}: cannot be decoded ({str(error).splitlines()[0]})")

    def frames(
        self, rate: float | None = None, wanted: set[int] | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """(index, image (H, W, 3) uint8 RGB) of the frames `wanted`, else of those at `rate` a second (None:
        all)."""
        # From the front, without seeking: a seek lands on a key frame, whose number in the file is then a
        # guess. Frame n counts as shown at n / fps seconds, also where a file's rate varies.
        step = 1.0 if rate is None or rate >= self.fps else self.fps / rate
        due = 0
        try:
            for frame in self._container.decode(self._stream):
                take = self.total in wanted if wanted is not None else self.total == round(due * step)
                if take:
                    due += 1
                    yield self.total, frame.to_ndarray(format="rgb24")
                self.total += 1
        except (av.FFmpegError, ValueError, OSError) as error:
            raise self._cannot(error) from error
        if self.total == 0:
            raise InputError(f"{self.path}: no frame could be decoded")
        self._refuse_truncated()

    def _refuse_truncated(self) -> None:
        """Called where the file ends, which FFmpeg does quietly in one that was cut. Fewer frames than the
        header states are too few; where it states none, a tenth and a second less than its duration."""
        if self.total < self.declared:
            raise InputError(
                f"{self.path}: truncated, {self.total} of {self.declared} frames could be decoded"
            )
        seconds = float(self._container.duration or 0) / av.time_base
        if not self.declared and self.total / self.fps < 0.9 * seconds - 1:
            raise InputError(
                f"{self.path}: truncated, {self.total / self.fps:.1f} of {seconds:.1f} s could be decoded"
            )


def decode(
    path: str | os.PathLike | io.BytesIO, rate: float | None = None, max_frames: int | None = None
) -> Frames:
    """Decode a video file (or one in memory) and sample it.

    The whole file is read once; only sampled frames are converted. Raises InputError for a missing, corrupt,
    truncated or video-less file.
    """
    with Reader(path) as reader:
        # A header that states the number of frames says which to keep; else all at `rate` are kept and
        # thinned out at the end.
        wanted = (
            set(sample_indices(reader.declared, reader.fps, rate, max_frames).tolist())
            if reader.declared
            else None
        )
        found = list(reader.frames(rate, wanted))
        fps, total = reader.fps, reader.total
    if wanted is None and max_frames is not None and len(found) > max_frames:
        found = [found[i] for i in np.round(np.linspace(0, len(found) - 1, max_frames)).astype(int)]
    indices = np.array([index for index, _ in found])
    return Frames(np.stack([image for _, image in found]), indices / fps, indices, fps, total)


def windows(path: str | os.PathLike, rate: float, size: int, step: int) -> Iterator[Frames]:
    """Windows of `size` frames sampled at `rate`, every `step` sampled frames; the last one ends with the
    video. A video with fewer sampled frames is one window. Holds two windows in memory; `Frames.total` is the
    file's in the last window, else what was decoded so far."""
    with Reader(path) as reader:
        held: list[tuple[int, np.ndarray]] = []
        fresh = 0  # frames held that no window has shown

        def window() -> Frames:
            indices = np.array([index for index, _ in held])
            return Frames(
                np.stack([image for _, image in held]),
                indices / reader.fps,
                indices,
                reader.fps,
                reader.total,
            )

        # A window is handed out when the next one is complete: only then is it known not to be the last.
        ready: Frames | None = None
        for found in reader.frames(rate):
            held.append(found)
            fresh += 1
            if len(held) > size:
                held.pop(0)
            if len(held) == size and (fresh >= step or ready is None):
                if ready is not None:
                    yield ready
                ready, fresh = window(), 0
        if fresh and ready is not None:
            yield ready
        yield window() if fresh or ready is None else replace(ready, total=reader.total)


def write(path: str | os.PathLike, images: Iterable[np.ndarray], fps: float, crf: int = 18) -> None:
    """Write frames (H, W, 3) uint8 RGB, or an array of them, as H.264 mp4, through a temporary name; an odd
    last row or column is left out, as the format needs even sizes. The
    same frames give the same bytes: without x264's macroblock tree, with which 23 of 80 encodings of one clip
    differed while memory was short, none of 60 without."""
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.tmp.mp4")
    with av.open(str(temporary), "w") as container:
        rate = Fraction(fps).limit_denominator(1001)
        options = {"crf": str(crf), "preset": "veryfast", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        for n, image in enumerate(images):
            if n == 0:
                height, width = (side - side % 2 for side in image.shape[:2])
                stream.height, stream.width = height, width
            image = np.ascontiguousarray(image[:height, :width])
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    temporary.replace(path)
