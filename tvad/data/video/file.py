"""A video file: which of its streams is the video, when its frames are shown, their pictures. What its header
states is a hint: times are read from the packets, and held against the frames that can be shown."""

import io
import os
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from tvad.common.errors import InputError
from tvad.data.video.clock import Clock, Stamps
from tvad.data.video.elements import is_cut
from tvad.data.video.lengths import stated_ends
from tvad.data.video.upright import size_of, turn_of, upright

MOST_PIXELS = 1 << 27  # of one picture: 16,384 x 8,192
BUFFER = 1 << 18  # bytes of a file that are read at a time
# Streams without a container: they hold no times, FFmpeg counts them at a rate that it assumes.
BARE = ("h264", "hevc", "m4v", "mjpeg", "mpegvideo", "h263", "vc1", "dirac")

UNKNOWN = "damaged, cut off before its index, or no kind of video that is known"
NONE = -(1 << 62)  # no time stamp

av.logging.set_level(av.logging.PANIC)


class VideoFile:
    """A file, or one in memory. `clock`: as its packets say, once `shown` has ended as its frames do; `size`:
    (height, width) of the picture as it is shown, once there was one; `codec`, `pixels`: as FFmpeg names
    them. Raises InputError that names the file,
    for one that is no video, is damaged, or was cut off."""

    def __init__(self, source: str | os.PathLike | io.BytesIO):
        self._source = source
        self.name = "the video" if isinstance(source, io.BytesIO) else os.fspath(source)
        self.size: tuple[int, int] | None = None
        self.clock: Clock
        self._notes: list[str] = []
        self._resized = False
        with self._opened() as (container, stream):
            self._scan(container, stream)

    @contextmanager
    def _file(self) -> Iterator[io.BytesIO | io.FileIO]:
        # A file of our own opening, not a name: FFmpeg takes what stands before a colon for a protocol, and a
        # playlist for other files or addresses to open ("none" is the only protocol that it may use).
        if isinstance(self._source, io.BytesIO):
            self._source.seek(0)
            yield self._source
            return
        path = Path(self._source)
        if not path.is_file():
            raise InputError(f"{self.name}: no such video file")
        try:
            file = io.FileIO(path)
        except OSError as error:
            raise InputError(f"{self.name}: cannot be opened ({error.strerror})") from error
        with file:
            yield file

    @contextmanager
    def _opened(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        with self._file() as file, self._in_words():
            if not file.read(1):
                raise InputError(f"{self.name}: cannot be decoded (the file is empty)")
            file.seek(0)
            options = {"protocol_whitelist": "none", "max_pixels": str(MOST_PIXELS)}
            with av.open(
                file, "r", options=options, buffer_size=BUFFER, metadata_errors="replace"
            ) as container:
                yield container, self._video_of(container)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """FFmpeg's errors as InputError, without its numbers."""
        try:
            yield
        except InputError:
            raise
        except (av.FFmpegError, ValueError, OSError) as error:
            known = (av.error.InvalidDataError, av.error.ArgumentError, av.error.EOFError)
            words = UNKNOWN if isinstance(error, known) else _plain(error)
            raise InputError(f"{self.name}: cannot be decoded ({words})") from error

    def _video_of(self, container: av.container.InputContainer) -> av.VideoStream:
        """The stream that players show. Raises InputError where there is none: a cover is a picture."""
        still = Disposition.attached_pic | Disposition.timed_thumbnails
        streams = [s for s in container.streams.video if not s.disposition & still]
        if not streams and not container.streams.video and not container.streams.audio:
            raise InputError(f"{self.name}: cannot be decoded ({UNKNOWN})")
        if not streams:
            raise InputError(f"{self.name}: no video stream in this file")
        stream = next((s for s in streams if s.disposition & Disposition.default), streams[0])
        if len(streams) > 1:
            self._say(f"{len(streams)} video streams: number {streams.index(stream) + 1} is read")
        if stream.codec_context is None or stream.time_base is None:
            raise InputError(f"{self.name}: cannot be decoded (its codec is not known)")
        if stream.width * stream.height > MOST_PIXELS:
            raise InputError(
                f"{self.name}: {stream.width} x {stream.height} pixels, at most {MOST_PIXELS:,d} in a picture"
            )
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        return stream

    def _say(self, *notes: str) -> None:
        self._notes += [note for note in notes if note not in self._notes]

    def _scan(self, container: av.container.InputContainer, stream: av.VideoStream) -> None:
        """Read every packet without decoding it: when frames are shown, and whether the file is whole."""
        assert stream.time_base is not None
        self._base = stream.time_base
        self.codec, self.pixels = stream.codec_context.name, stream.pix_fmt
        rates = (stream.average_rate, stream.base_rate, stream.guessed_rate)
        if container.format.name in BARE:  # the mean is FFmpeg's assumption, the guess what the stream states
            rates = rates[::-1]
        self._rates = [float(rate) for rate in rates if rate is not None and 0 < rate <= 1000] or [25.0]
        self._usual = max(1, round(1 / self._rates[0] / self._base))  # ticks of a frame
        packets = array("q"), array("q"), array("q")  # pts, dts, duration of those that are shown
        others, self._torn = 0.0, False
        try:
            for packet in container.demux():
                length = packet.duration or 0
                if packet.stream.index == stream.index:
                    if packet.size and not packet.is_discard:  # an edit list hides those that it discards
                        for held, value in zip(packets, (packet.pts, packet.dts, length), strict=True):
                            held.append(NONE if value is None else value)
                elif packet.pts is not None:
                    others = max(others, float((packet.pts + length) * packet.time_base))
        except av.FFmpegError:
            self._torn = True
        if not packets[0]:
            raise InputError(f"{self.name}: no frame could be decoded")
        self._set_times(container.format.name, *(np.array(column, np.int64) for column in packets))
        with self._file() as file:
            cut = is_cut(file, container.format.name)
        self._refuse_cut(*stated_ends(container, stream), others, cut)
        self.clock = replace(self.clock, notes=tuple(self._notes))

    def _set_times(self, form: str, pts: np.ndarray, dts: np.ndarray, length: np.ndarray) -> None:
        """The clock that the packets tell, and `_order`: stamps of frames by their number where a frame's own
        are not to be had."""
        timed, decoded = pts[pts != NONE], dts[dts != NONE]
        counted = np.arange(len(pts)) * self._usual
        self._order: np.ndarray | None = None
        self._pts = pts
        self._last = int(length[pts.argmax()])
        if form in BARE:
            self._say(f"a bare stream holds no times: its frames are counted at {self._rates[0]:g} a second")
            self._order = counted
        elif (form == "avi" and (pts != dts).any()) or not len(timed):
            # AVI knows the order in which frames are decoded: the n-th that is shown has the n-th place. Only
            # where that order is the one of showing, a frame that is left out moves no other.
            if len(decoded):
                self._say("the file holds no times of showing: those of decoding are used, in order")
            self._order = np.sort(decoded) if len(decoded) else counted
        elif len(timed) == len(pts) and (np.diff(decoded) >= 0).all():
            timed = np.sort(timed)
        elif len(decoded):
            timed = decoded  # about right, until the frames are seen
        stamps = self._stamps()
        for stamp in (timed if self._order is None else self._order).tolist():
            stamps.add(stamp)
        self._first = float(stamps.ticks[0] * self._base)
        self.clock = self._clock(stamps)

    def _stamps(self) -> Stamps:
        return Stamps(self._usual, round(1 / self._base))

    def _clock(self, stamps: Stamps) -> Clock:
        try:
            return Clock.of(stamps.ticks, self._base, self._rates, self._last, tuple(self._notes))
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error

    def _refuse_cut(self, own: float | None, whole: float | None, others: float, cut: bool | None) -> None:
        """Raises InputError where the picture ends before it was meant to, by what is said of it (`own`) or
        of the whole file, whose other streams end at `others`, all in seconds. cut: whether the file lacks
        bytes. Where it does, what its last frame would have stayed for is no excuse; where it has them all,
        the last frame stays, and the header is a hint; else it may stay as long as any before it."""
        clock = self.clock
        seconds = float(clock.times[-1]) + max(float(self._last * self._base), clock.pause)
        end = self._first + (seconds if cut else clock.end)
        if own is None or (whole is not None and not others):
            own, end = whole, max(end, others)
        short = 0.0 if own is None else own - end
        meant = (own or 0.0) - self._first
        most = 1.5 * clock.pause if cut else max(1.5 * clock.pause, clock.longest)
        if short > most and cut is not False:
            raise InputError(
                f"{self.name}: cannot be decoded to its end (truncated, {end - self._first:.1f} of"
                f" {meant:.1f} s could be decoded)"
            )
        if cut:
            self._say(f"the file was cut off: its last frame comes at {clock.times[-1]:.1f} s")
        elif short > (most if cut is False else 1.5 * clock.pause):
            self._say(f"the header says {meant:.1f} s, the picture ends at {end - self._first:.1f} s")
        if self._torn and own is None:
            raise self._broken(clock.end)

    def _broken(self, seconds: float) -> InputError:
        return InputError(f"{self.name}: cannot be decoded beyond {seconds:.1f} s (damaged or cut off)")

    def shown(self) -> Iterator[tuple[float, Callable[[], np.ndarray]]]:
        """Decode from the front: (seconds, what makes the picture (H, W, 3) uint8 RGB) of every frame that is
        shown. From the front and without seeking: a seek lands on a key frame that is near, or not."""
        stamps = self._stamps()
        self._angle: int | None = None
        self._turn: np.ndarray | None = None
        rate, tick = self.clock.rate, float(self._base)
        before, seconds = self.clock, 0.0
        with self._opened() as (container, stream):
            try:
                for packet in container.demux(stream):
                    for frame in packet.decode():
                        count = len(stamps.ticks)
                        stamp = stamps.add(self._stamp(frame, count))
                        seconds = float((stamp - stamps.ticks[0]) * self._base)
                        if rate is not None and abs(seconds - count / rate) <= min(1.01 * tick, 0.25 / rate):
                            seconds = count / rate
                        self._look(frame, count)
                        yield seconds, partial(self._picture, frame, self._turn)
            except av.FFmpegError as error:
                if not stamps.ticks:
                    codec = stream.codec_context.name
                    raise InputError(
                        f"{self.name}: cannot be decoded (no frame of its {codec} stream can be shown)"
                    ) from error
                if not self._torn:  # where the file is whole, anything may follow it
                    raise self._broken(seconds) from error
        if not stamps.ticks:
            raise InputError(f"{self.name}: no frame could be decoded")
        self._say(*stamps.notes.values())
        after = self._clock(stamps)
        end = float(stamps.ticks[0] * self._base) + after.end - self._first
        missing = before.end - end
        if missing > max(1.5 * before.pause, before.longest):
            raise self._broken(after.end)
        if missing > 1.5 * before.pause:
            self._say(f"of {before.end:.1f} s that the file holds, {end:.1f} s could be decoded")
        self.clock = replace(after, notes=tuple(self._notes))

    def _stamp(self, frame: av.VideoFrame, count: int) -> int | None:
        if self._order is None:
            return frame.pts
        if not count:  # what comes before the first key frame is not shown
            found = np.flatnonzero(self._pts == (NONE if frame.pts is None else frame.pts))
            self._unseen = int(found[0]) if len(found) else 0
        count += self._unseen
        return int(self._order[count]) if count < len(self._order) else None

    def _look(self, frame: av.VideoFrame, count: int) -> None:
        """Take the first frame's size and way up for all."""
        # Side data holds the frame that it is of, until the collector comes by: it is looked at where the
        # angle changes, and not for every frame.
        if self._angle != frame.rotation:
            self._angle, self._turn = frame.rotation, turn_of(frame)
        size = size_of(frame.height, frame.width, self._turn)
        if self.size is None:
            self.size = size
        elif size != self.size and not self._resized:
            self._resized = True  # said once: it may be so for all frames that follow
            self._say(
                f"the picture changes from {self.size[1]} x {self.size[0]} to {size[1]} x {size[0]} pixels at"
                f" frame {count}: it is scaled to the first size"
            )

    def _picture(self, frame: av.VideoFrame, turn: np.ndarray | None) -> np.ndarray:
        assert self.size is not None
        height, width = size_of(*self.size, turn)
        with self._in_words():
            if (frame.height, frame.width) != (height, width):
                frame = frame.reformat(width=width, height=height, format="rgb24")
            return upright(frame.to_ndarray(format="rgb24"), turn)


def _plain(error: Exception) -> str:
    """An error's words without FFmpeg's number and place."""
    words = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return words.split(";")[0].split(": '")[0].lower()
