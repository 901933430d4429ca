"""mp4 in, frames out: decoding with PyAV, sampling at a given rate, and writing clips. Bad files are errors that name the file."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tvad.errors import InputError


@dataclass(frozen=True)
class Frames:
    """Sampled frames. images (T, H, W, 3) uint8 RGB; times (T,) seconds; indices (T,) into the file's frames; fps of the file."""

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
        """What processors call the metadata of a clip that is already sampled: its frames at their own rate, from second 0."""
        count, fps = len(self.images), self.sampled_fps
        return {"total_num_frames": count, "fps": fps, "duration": count / fps, "frames_indices": list(range(count))}


def sample_indices(total: int, fps: float, rate: float | None, max_frames: int | None = None) -> np.ndarray:
    """Indices of frames at `rate` frames a second out of `total` at `fps`; at most `max_frames`, then evenly spread.

    rate None keeps every frame. The first frame is always taken.
    """
    if total < 1 or fps <= 0:
        raise ValueError(f"need at least one frame and a positive rate, got {total} frames at {fps} fps")
    if rate is None or rate >= fps:
        indices = np.arange(total)
    else:
        count = max(1, int(np.floor((total - 1) / fps * rate + 1e-6)) + 1)
        indices = np.minimum(np.round(np.arange(count) * fps / rate), total - 1).astype(int)
    if max_frames is not None and len(indices) > max_frames:
        indices = indices[np.round(np.linspace(0, len(indices) - 1, max_frames)).astype(int)]
    return indices


def decode(path: str | os.PathLike, rate: float | None = None, max_frames: int | None = None) -> Frames:
    """Decode a video file and sample it.

    The whole file is read once; only sampled frames are converted. Raises InputError for a missing, corrupt, truncated or
    video-less file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such video file")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise InputError(f"{path}: no video stream in this file")
            stream = container.streams.video[0]
            fps = float(stream.average_rate or stream.guessed_rate or 0)
            declared = int(stream.frames or 0)
            if fps <= 0 or fps > 1000:
                raise InputError(f"{path}: the file states no usable frame rate")
            wanted = None if declared == 0 else set(sample_indices(declared, fps, rate, max_frames).tolist())
            images, kept, total = [], [], 0
            for frame in container.decode(stream):
                if wanted is None or total in wanted:
                    images.append(frame.to_ndarray(format="rgb24"))
                    kept.append(total)
                total += 1
    except InputError:
        raise
    except (av.FFmpegError, ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be decoded ({str(error).splitlines()[0]})") from error
    if total == 0:
        raise InputError(f"{path}: no frame could be decoded")
    if declared and total < declared:
        raise InputError(f"{path}: truncated, {total} of {declared} frames could be decoded")
    if wanted is None:
        chosen = sample_indices(total, fps, rate, max_frames)
        images, kept = [images[i] for i in chosen], chosen.tolist()
    indices = np.array(kept)
    return Frames(np.stack(images), indices / fps, indices, fps, total)


def write(path: str | os.PathLike, images: Iterable[np.ndarray], fps: float, crf: int = 18) -> None:
    """Write frames (H, W, 3) uint8 RGB, or an array of them, as H.264 mp4, through a temporary name; an odd last row or column is
    left out, as the format needs even sizes."""
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.tmp.mp4")
    with av.open(str(temporary), "w") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast"})
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
