"""Frames into an mp4."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tvad.common.errors import InputError
from tvad.data.video.clock import Clock


class Writer:
    """An H.264 mp4 that grows frame by frame (H, W, 3) uint8 RGB, through a temporary name; an odd last row
    or column is left out, as the format needs even sizes. fps: frames a second, or the clock whose times they
    have. The same frames give the same bytes: without x264's macroblock tree, with which 23 of 80 encodings
    of one clip differed while memory was short, none of 60 without. Raises InputError for what cannot be
    written; what ends by an error leaves nothing.

        with Writer(path, 25.0) as out:
            for image in images: out.add(image)
    """

    def __init__(self, path: str | os.PathLike, fps: float | Clock, crf: int = 18):
        self.path = Path(path)
        self._temporary = self.path.with_name(f".{self.path.stem}.tmp.mp4")
        self._edges: list[int] | None = None
        self._count = 0
        rate = fps.rate if isinstance(fps, Clock) else fps
        options = {"crf": str(crf), "preset": "veryfast", "x264-params": "mbtree=0"}
        with self._told():
            self._container = av.open(f"file:{self._temporary}", "w")
            if rate is not None:
                stream = self._container.add_stream(
                    "libx264", rate=Fraction(rate).limit_denominator(1001), options=options
                )
            elif isinstance(fps, Clock):
                # Without B-frames the order of decoding, in which mp4 keeps lengths, is that of showing.
                stream = self._container.add_stream("libx264", options=options | {"bf": "0"})
                ticks = 90_000 if fps.longest < 20_000 else 1000  # lengths are kept in 32 bits
                stream.codec_context.time_base = Fraction(1, ticks)
                self._edges = np.round(np.append(fps.times, fps.end) * ticks).astype(int).tolist()
            stream.pix_fmt, stream.thread_count = "yuv420p", 1
            self._stream = stream

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the encoder refuses, in a line that names the file."""
        try:
            yield
        except (av.FFmpegError, ValueError, OSError) as error:
            words = getattr(error, "strerror", None) or str(error)
            words = words.splitlines()[0].split(";")[0].split(": '")[0]
            raise InputError(f"{self.path}: the video cannot be written ({words.lower()})") from error

    def add(self, image: np.ndarray) -> None:
        """The next frame."""
        with self._told():
            if self._count == 0:
                self._size = tuple(side - side % 2 for side in image.shape[:2])
                if not all(self._size):
                    raise ValueError(f"{image.shape[1]} x {image.shape[0]} pixels are too few")
                self._stream.height, self._stream.width = self._size
            height, width = self._size
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
            if self._edges is not None:
                frame.pts = self._edges[self._count]
                frame.time_base = self._stream.codec_context.time_base
            self._count += 1
            self._mux(self._stream.encode(frame))

    def _mux(self, packets: Iterable[av.Packet]) -> None:
        for packet in packets:
            if self._edges is not None and packet.pts == self._edges[-2]:
                packet.duration = self._edges[-1] - self._edges[-2]
            self._container.mux(packet)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        try:
            with self._told():
                if kind is None:
                    self._mux(self._stream.encode())
                self._container.close()
                if kind is None:
                    self._temporary.replace(self.path)
        finally:
            self._temporary.unlink(missing_ok=True)


def write(
    path: str | os.PathLike,
    images: Iterable[np.ndarray],
    fps: float | Clock,
    crf: int = 18,
) -> None:
    """Write frames, or an array of them, as a `Writer` does. Raises InputError for what cannot be written."""
    with Writer(path, fps, crf) as out:
        for image in images:
            out.add(image)
