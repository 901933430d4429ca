"""Frames into an mp4."""

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tvad.common.errors import InputError
from tvad.data.video.clock import Clock

TICKS = 90_000  # a second, where frames come at times of their own
LONG = 20_000.0  # seconds of a pause, from which on ticks are milliseconds: mp4 keeps lengths in 32 bits


def write(
    path: str | os.PathLike,
    images: Iterable[np.ndarray],
    fps: float | Clock,
    crf: int = 18,
    x264: str = "",
) -> None:
    """Write frames (H, W, 3) uint8 RGB, or an array of them, as H.264 mp4, through a temporary name; an odd
    last row or column is left out, as the format needs even sizes. fps: frames a second, or the clock whose
    times they have; `x264` are more parameters of x264's. Raises InputError for what cannot be written."""
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.tmp.mp4")
    clock = fps if isinstance(fps, Clock) else None
    rate = fps if not isinstance(fps, Clock) else fps.rate
    try:
        with av.open(f"file:{temporary}", "w") as container:
            options = {"crf": str(crf), "preset": "veryfast"} | ({"x264-params": x264} if x264 else {})
            if rate is not None:
                clock = None
                stream = container.add_stream(
                    "libx264", rate=Fraction(rate).limit_denominator(1001), options=options
                )
            else:
                # Without B-frames the order of decoding, in which mp4 keeps lengths, is that of showing.
                stream = container.add_stream("libx264", options=options | {"bf": "0"})
                stream.codec_context.time_base = Fraction(1, _ticks(clock))
            stream.pix_fmt, stream.thread_count = "yuv420p", 1
            _encode(container, stream, images, clock)
        temporary.replace(path)
    except InputError:
        raise
    except (av.FFmpegError, ValueError, OSError) as error:
        raise InputError(f"{path}: the video cannot be written ({_reason(error)})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _ticks(clock: Clock | None) -> int:
    return TICKS if clock is None or clock.longest < LONG else 1000


def _encode(
    container: av.container.OutputContainer,
    stream: av.VideoStream,
    images: Iterable[np.ndarray],
    clock: Clock | None,
) -> None:
    edges: list[int] | None = None
    if clock is not None:
        moments = np.append(clock.times, clock.end) * _ticks(clock)
        edges = np.round(moments).astype(int).tolist()
    size: tuple[int, int] | None = None
    for n, image in enumerate(images):
        if size is None:
            height, width = size = (image.shape[0] // 2 * 2, image.shape[1] // 2 * 2)
            if not (height and width):
                raise ValueError(f"{image.shape[1]} x {image.shape[0]} pixels are too few")
            stream.height, stream.width = height, width
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[: size[0], : size[1]]), format="rgb24")
        if edges is not None:
            frame.pts, frame.time_base = edges[n], stream.codec_context.time_base
        for packet in stream.encode(frame):
            _mux(container, packet, edges)
    for packet in stream.encode():
        _mux(container, packet, edges)


def _mux(container: av.container.OutputContainer, packet: av.Packet, edges: list[int] | None) -> None:
    if edges is not None and packet.pts == edges[-2]:
        packet.duration = edges[-1] - edges[-2]
    container.mux(packet)


def _reason(error: Exception) -> str:
    words = getattr(error, "strerror", None) or str(error)
    return words.splitlines()[0].split(";")[0].split(": '")[0].lower()
