"""Frames of what is sent while one looks: a camera's RTSP, a TCP connection, a device. Times are the stream's
own stamps, from the first shown frame of a connection on, as a file's are (`clock.Stamps`); where there are
none, as of a device, or they stand still, what arrives is shown at that moment. What is sent is a stranger's:
nothing that it names is opened."""

import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import av
import cv2
import numpy as np

from tvad.common.errors import InputError
from tvad.data.video.clock import Stamps
from tvad.data.video.file import MOST_PIXELS, UNKNOWN, is_bare, plain_words
from tvad.data.video.upright import size_of, turn_of, upright

DEVICE = re.compile(r"/dev/video\d+")
SCHEMES = ("rtsp", "tcp")
PROBED = 1 << 19  # bytes that are looked at to learn what is sent
LOOKED = 2_000_000  # microseconds of it
LEAP = 10.0  # seconds: stamps that leap further than time has passed start anew
KEPT = 1000  # stamps: of the past none are needed
# Stamps that move by less than this share of the time in which frames come are given up; looked at after so
# many seconds, of which a wait for one frame counts as one: a pause is no sign of bad stamps (ours).
SLOW, PROVEN = 0.1, 5.0
TICK = 0.2  # seconds between looks at whether to stop
Shown = tuple[float, Callable[[], np.ndarray]]


def kind_of(source: str) -> str:
    """ "rtsp", "tcp", "device", or "file" for anything else. Raises InputError for an address of another
    kind, and for one without host or port."""
    if DEVICE.fullmatch(source):
        return "device"
    scheme, mark, _ = source.partition("://")
    if not mark or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return "file"
    if scheme not in SCHEMES:
        raise InputError(f"{shown(source)}: expected rtsp://, tcp://, a file or a device (/dev/video0)")
    try:
        parts = urlsplit(source)
        port = parts.port
    except ValueError as error:
        raise InputError(f"{shown(source)}: is no address ({error})") from error
    if not parts.hostname or (scheme == "tcp" and port is None):
        raise InputError(f"{shown(source)}: names no {'host and port' if scheme == 'tcp' else 'host'}")
    return scheme


def shown(source: str) -> str:
    """An address as it may be written down: without user and password."""
    scheme, mark, rest = source.partition("://")
    if not mark:
        return source
    try:
        parts = urlsplit(source)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))
    except ValueError:
        return f"{scheme}://{rest.rpartition('@')[2]}"


class _Wire:
    """A connection as a file that FFmpeg reads: it ends when it is asked to. Raises InputError where nothing
    comes for `patience` seconds."""

    def __init__(self, host: str, port: int, stop: threading.Event, patience: float):
        self._stop, self._patience = stop, patience
        self.socket = socket.create_connection((host, port), patience)
        self.socket.setblocking(False)

    def read(self, size: int) -> bytes:
        waited = time.monotonic() + self._patience
        while not self._stop.is_set():
            if select.select([self.socket], [], [], TICK)[0]:
                return self.socket.recv(size)
            if time.monotonic() > waited:
                raise InputError(f"nothing came for {self._patience:g} s")
        return b""


class Times:
    """Seconds at which frames are shown, as they come, from the first one on; they never fall. base: seconds
    of a tick; rate: frames a second that are stated; own: whether the stream has stamps; say: told, in words,
    what had to be assumed."""

    def __init__(self, base: float, rate: float, own: bool, say: Callable[[str], None]):
        self._stamps = Stamps(max(1, round(1 / min(max(rate, 1), 1000) / base)), max(1, round(1 / base)))
        self._base, self._say, self._own = base, say, own
        if not own:
            say("it sends no time stamps: frames count as shown when they arrive")
        self._first: int | None = None
        self._last, self._taken_off = 0.0, 0.0
        self._arrived: float | None = None
        self._came, self._moved = 0.0, 0.0  # seconds in which frames came, and by which stamps moved

    def next(self, stamp: int | None, now: float) -> float:
        """Of a frame that has arrived `now` (of time.monotonic)."""
        passed, self._arrived = 0.0 if self._arrived is None else now - self._arrived, now
        seconds = self._last + passed
        if self._own:
            if stamp is None:
                self._say("it sends frames without time stamps: they count as shown when they arrive")
            else:
                seconds = self._stamped(stamp, passed)
            self._check(min(passed, 1.0), seconds - self._last)
        self._last = seconds
        return seconds

    def _stamped(self, stamp: int, passed: float) -> float:
        found = self._stamps.add(stamp)
        del self._stamps.ticks[: max(0, len(self._stamps.ticks) - KEPT)]
        if self._first is None:
            self._first, self._taken_off = found, -self._last
        seconds = (found - self._first) * self._base - self._taken_off
        ahead = seconds - self._last - passed
        if ahead > LEAP:
            self._taken_off += ahead
            seconds -= ahead
        if ahead > LEAP or self._stamps.notes:
            self._say("its time stamps leap or fall back: they are counted on")
        return max(seconds, self._last)

    def _check(self, came: float, moved: float) -> None:
        self._came, self._moved = self._came + came, self._moved + moved
        if self._came < PROVEN:
            return
        if self._moved < SLOW * self._came:
            self._own = False
            self._say("its time stamps stand still: from now on frames count as shown when they arrive")
        self._came, self._moved = 0.0, 0.0


class Live:
    """A source that is no file, for one connection. stop: ends it; patience: seconds to wait for it, and for
    what it sends; listen: of RTSP, wait for the camera's call; say: told what has to be assumed of its times.
    `size`: (height, width), once there was a frame; `name`: as it may be written down."""

    def __init__(
        self,
        source: str,
        stop: threading.Event,
        patience: float = 10.0,
        listen: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ):
        self.source, self.name, self.kind = source, shown(source), kind_of(source)
        self.size: tuple[int, int] | None = None
        self._stop, self._patience, self._listen, self._say = stop, patience, listen, say

    def frames(self) -> Iterator[Shown]:
        """(seconds, what makes the picture (H, W, 3) uint8 RGB) of what is shown, until it ends. Raises
        InputError for what cannot be reached, is no video, or falls silent."""
        yield from (self._device() if self.kind == "device" else self._stream())

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error
        except av.error.EOFError as error:
            raise InputError(f"{self.name}: it ended before it had sent a video") from error
        except (av.error.InvalidDataError, av.error.ArgumentError) as error:
            raise InputError(f"{self.name}: what it sends is {UNKNOWN}") from error
        except (av.FFmpegError, ValueError, OSError, OverflowError, MemoryError) as error:
            raise InputError(f"{self.name}: {plain_words(error) or 'cannot be read'}") from error

    @contextmanager
    def _opened(self) -> Iterator[av.container.InputContainer]:
        common = {
            "max_pixels": str(MOST_PIXELS),
            "probesize": str(PROBED),
            "analyzeduration": str(LOOKED),
        }
        if self.kind == "rtsp":
            options = {**common, "rtsp_transport": "tcp", "protocol_whitelist": "rtsp,rtp,tcp"}
            if self._listen:
                options |= {"rtsp_flags": "listen", "listen_timeout": str(max(1, round(self._patience)))}
            with av.open(
                self.source, "r", options=options, timeout=self._patience, metadata_errors="replace"
            ) as container:
                yield container
            return
        parts = urlsplit(self.source)
        wire = _Wire(str(parts.hostname), int(parts.port or 0), self._stop, self._patience)
        with wire.socket:
            options = {**common, "protocol_whitelist": "none"}
            file: Any = wire
            with av.open(
                file, "r", options=options, buffer_size=1 << 16, metadata_errors="replace"
            ) as container:
                yield container

    def _stream(self) -> Iterator[Shown]:
        with self._in_words(), self._opened() as container:
            if not container.streams.video:
                raise InputError("it sends no video")
            stream = container.streams.video[0]
            if stream.codec_context is None or stream.time_base is None:
                raise InputError("the codec of its video is not known")
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
            base, rate = float(stream.time_base), float(stream.average_rate or stream.guessed_rate or 25)
            times = Times(base, rate, not is_bare(container.format.name), self._say)
            for packet in container.demux(stream):
                if self._stop.is_set():
                    return
                for frame in self._decoded(packet):
                    seconds = times.next(frame.pts, time.monotonic())
                    yield seconds, partial(self._picture, frame, turn_of(frame))

    def _decoded(self, packet: av.Packet) -> list[av.VideoFrame]:
        """A packet's frames; one that is damaged, as after a loss, has none."""
        try:
            return packet.decode()
        except av.error.InvalidDataError:
            return []

    def _picture(self, frame: av.VideoFrame, turn: np.ndarray | None) -> np.ndarray:
        """All in the first one's size."""
        if self.size is None:
            self.size = size_of(frame.height, frame.width, turn)
        height, width = size_of(*self.size, turn)
        if (frame.height, frame.width) != (height, width):
            frame = frame.reformat(width=width, height=height, format="rgb24")
        return upright(frame.to_ndarray(format="rgb24"), turn)

    def _device(self) -> Iterator[Shown]:
        """By OpenCV: PyAV's wheels cannot open one."""
        if not os.path.exists(self.source):
            raise InputError(f"{self.name}: no such device")
        camera = cv2.VideoCapture(self.source, cv2.CAP_V4L2)
        try:
            if not camera.isOpened():
                raise InputError(f"{self.name}: cannot be opened (no camera, in use, or not permitted)")
            begin: float | None = None
            while not self._stop.is_set():
                good, image = camera.read()
                if not good:
                    raise InputError(f"{self.name}: nothing comes any more")
                now = time.monotonic()
                begin = now if begin is None else begin
                yield now - begin, partial(np.ascontiguousarray, image[..., ::-1])
        finally:
            camera.release()
