"""Frames into an mp4."""

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tvad.common.errors import InputError
from tvad.data.video.clock import Clock


def write(
    path: str | os.PathLike,
    images: Iterable[np.ndarray],
    fps: float | Clock,
    crf: int = 18,
) -> None:
    """Write frames (H, W, 3) uint8 RGB, or an array of them, as H.264 mp4, through a temporary name; an odd
    last row or column is left out, as the format needs even sizes. fps: frames a second, or the clock whose
    times they have. The same frames give the same bytes: without x264's macroblock tree, with which 23 of 80
    encodings of one clip differed while memory was short, none of 60 without. Raises InputError for what
    cannot be written."""
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.tmp.mp4")
    rate = fps.rate if isinstance(fps, Clock) else fps
    options = {"crf": str(crf), "preset": "veryfast", "x264-params": "mbtree=0"}
    edges: list[int] | None = None
    try:
        with av.open(f"file:{temporary}", "w") as container:
            if rate is not None:
                stream = container.add_stream(
                    "libx264", rate=Fraction(rate).limit_denominator(1001), options=options
                )
            elif isinstance(fps, Clock):
                # Without B-frames the order of decoding, in which mp4 keeps lengths, is that of showing.
                stream = container.add_stream("libx264", options=options | {"bf": "0"})
                ticks = 90_000 if fps.longest < 20_000 else 1000  # lengths are kept in 32 bits
                stream.codec_context.time_base = Fraction(1, ticks)
                edges = np.round(np.append(fps.times, fps.end) * ticks).astype(int).tolist()
            stream.pix_fmt, stream.thread_count = "yuv420p", 1
            _encode(container, stream, images, edges)
        temporary.replace(path)
    except InputError:
        raise
    except (av.FFmpegError, ValueError, OSError) as error:
        words = getattr(error, "strerror", None) or str(error)
        words = words.splitlines()[0].split(";")[0].split(": '")[0]
        raise InputError(f"{path}: the video cannot be written ({words.lower()})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _encode(
    container: av.container.OutputContainer,
    stream: av.VideoStream,
    images: Iterable[np.ndarray],
    edges: list[int] | None,
) -> None:
    """edges: ticks at which each frame comes, and the last one goes; None at the stream's rate."""

    def mux(packets: Iterable[av.Packet]) -> None:
        for packet in packets:
            if edges is not None and packet.pts == edges[-2]:
                packet.duration = edges[-1] - edges[-2]
            container.mux(packet)

    for n, image in enumerate(images):
        if n == 0:
            height, width = (side - side % 2 for side in image.shape[:2])
            if not (height and width):
                raise ValueError(f"{image.shape[1]} x {image.shape[0]} pixels are too few")
            stream.height, stream.width = height, width
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
        if edges is not None:
            frame.pts, frame.time_base = edges[n], stream.codec_context.time_base
        mux(stream.encode(frame))
    mux(stream.encode())
