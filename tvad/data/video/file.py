"""A video file: which of its streams is the video, when its frames are shown, their pictures. What its header
states is a hint: times are read from the packets, and held against the frames that can be shown."""

import gc
import io
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from tvad.common.errors import InputError
from tvad.data.video.clock import NONE, Clock, Stamps, joins, steps
from tvad.data.video.elements import is_cut
from tvad.data.video.lengths import stated_ends
from tvad.data.video.upright import size_of, turn_of, upright

# What a file in a folder is called that is taken for a video.
SUFFIXES = (
    *(".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg"),
    *(".ts", ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".3gp", ".ogv"),
    *(".h264", ".264", ".h265", ".265", ".hevc"),  # as cameras and recorders write them
)
MOST_PIXELS = 1 << 27  # of one picture: 16,384 x 8,192
BUFFER = 1 << 18  # bytes of a file that are read at a time
# Streams without a container ("png_pipe" and its like too) hold no times: FFmpeg counts them at a rate that
# it assumes. Some state one; one that no camera has is a time base, which encoders write in its place.
BARE = (
    *("h264", "hevc", "vvc", "evc", "m4v", "mpegvideo", "h261", "h263", "vc1", "dirac", "obu", "apv"),
    *("avs2", "avs3", "cavsvideo", "dnxhd", "mjpeg", "mjpeg_2000", "mpjpeg", "ingenient"),
)
FASTEST = 240  # frames a second
VOP = b"\0\0\1\xb6"  # begins a picture of MPEG-4

UNKNOWN = "damaged, cut off before its index, or no kind of video that is known"

av.logging.set_level(av.logging.PANIC)
# A picture and its side data hold each other until they are collected. In a forked process (a loader's
# worker) that waits for ever for the decoder's threads, which it does not have: what it inherits stays.
os.register_at_fork(after_in_child=gc.freeze)


class VideoFile:
    """A file, or one in memory. `clock`: as its packets say, once `shown` has ended as its frames do; `size`:
    (height, width) of the picture as it is shown, once there was one; `codec`, `pixels`: as FFmpeg names
    them. Raises InputError that names the file, for one that is no video, is damaged, or was cut off."""

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
            words = UNKNOWN if isinstance(error, known) else plain_words(error)
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
        self._rates = [float(rate) for rate in rates if rate is not None and 0 < rate <= 1000] or [25.0]
        packets = array("q"), array("q"), array("q"), array("q")  # pts, dts, duration, whether a key frame
        others, self._torn, self._packed = 0.0, False, False
        mpeg4 = container.format.name == "avi" and stream.codec_context.name == "mpeg4"
        try:
            for packet in container.demux():
                length = packet.duration or 0
                if packet.stream.index == stream.index:
                    if _counts(packet):
                        self._packed = self._packed or (mpeg4 and bytes(packet).count(VOP) > 1)
                        told = packet.pts, packet.dts, length, packet.is_keyframe
                        for held, value in zip(packets, told, strict=True):
                            held.append(NONE if value is None else value)
                elif packet.pts is not None:
                    others = max(others, float((packet.pts + length) * packet.time_base))
        except av.FFmpegError:
            self._torn = True
        if not packets[0]:
            raise InputError(f"{self.name}: no frame could be decoded")
        self._set_times(container.format.name, stream, *(np.array(column, np.int64) for column in packets))
        with self._file() as file:
            cut = is_cut(file, container.format.name)
        self._refuse_cut(*stated_ends(container, stream), others, cut)
        self.clock = replace(self.clock, notes=tuple(self._notes))

    def _set_times(
        self,
        form: str,
        stream: av.VideoStream,
        pts: np.ndarray,
        dts: np.ndarray,
        length: np.ndarray,
        key: np.ndarray,
    ) -> None:
        """The clock that the packets tell, and where frames have theirs from: `_counted`, their number; else
        `_decoded`, the times of decoding; else their own. `_shift`: ticks to add to those of each packet."""
        timed, decoded = pts[pts != NONE], dts[dts != NONE]
        mpeg4, whole = stream.codec_context.name == "mpeg4", len(timed) == len(pts)
        rate = float(stream.codec_context.framerate or 0)
        stated = 0 < rate <= FASTEST
        bare = is_bare(form) or not (len(timed) or len(decoded))
        # Of AVI, which knows when a picture is decoded, FFmpeg makes times of showing. Those of MPEG-4, which
        # has pictures that are not shown, are right unless two lie in one packet; else a frame's is that at
        # which it comes out.
        self._counted = bare and not (mpeg4 and whole and stated)
        self._decoded = not len(timed) or (form == "avi" and not (mpeg4 and whole and not self._packed))
        self._shift: np.ndarray | None = None
        self._last = int(length[pts.argmax()])
        self._usual = steps(decoded if len(decoded) else np.sort(timed))  # ticks of a frame
        if bare:
            self._rates = [rate if stated else 25.0]
            self._say(
                f"a bare stream holds no times: its frames are counted at {self._rates[0]:g} a second,"
                f" {'which it states' if stated else 'since it states no rate'}"
            )
        if self._counted:
            self._usual = self._last = self._place(1)
            times = [self._place(n) for n in range(len(pts))]
        else:
            self._usual = self._usual or self._place(1)
            starts, shift = joins(pts, dts, key, self._usual, round(1 / self._base))
            if len(starts):
                self._say(f"time stamps start anew at frame {starts[0]}: they are counted on")
                self._shift = shift
                timed, decoded = (pts + shift)[pts != NONE], (dts + shift)[dts != NONE]
            if self._decoded and stream.codec_context.has_b_frames:
                self._say("the file holds no times of showing: those of decoding are used, in order")
            own = not len(decoded) or (whole and not self._decoded)
            times = (np.sort(timed) if own else decoded).tolist()
        stamps = self._stamps()
        for stamp in times:
            stamps.add(stamp)
        self._first = float(stamps.ticks[0] * self._base)
        self.clock = self._clock(stamps)

    def _place(self, count: int) -> int:
        """Ticks of the frame of that number, where frames are counted."""
        return max(count, round(count / self._rates[0] / self._base))

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
                for packet in self._joined(container.demux(stream)):
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
        self.clock = self._clock(stamps)
        end = float(stamps.ticks[0] * self._base) + self.clock.end - self._first
        missing = before.end - end
        # A bare stream may begin with what cannot be shown, and has no times that say so.
        if not self._counted and missing > max(1.5 * before.pause, before.longest):
            raise self._broken(self.clock.end)
        if not self._counted and missing > 1.5 * before.pause:
            self._say(f"of {before.end:.1f} s that the file holds, {end:.1f} s could be decoded")
        self.clock = replace(self.clock, notes=tuple(self._notes))

    def _joined(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        """Packets with their times counted on, where those start anew."""
        count = 0
        for packet in packets:
            if self._shift is not None and _counts(packet) and count < len(self._shift):
                shift = int(self._shift[count])
                packet.pts = None if packet.pts is None else packet.pts + shift
                packet.dts = None if packet.dts is None else packet.dts + shift
                count += 1
            yield packet

    def _stamp(self, frame: av.VideoFrame, count: int) -> int | None:
        if self._counted:
            return self._place(count)
        # The last ones come out after all packets: they have no time of decoding, and are counted on.
        return frame.dts if self._decoded else frame.pts

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
            self._resized = True
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


def is_bare(form: str) -> bool:
    """Whether a container, by FFmpeg's name of it, holds pictures without times."""
    return form in BARE or form.endswith("_pipe")


def _counts(packet: av.Packet) -> bool:
    """Whether a packet holds what is shown: an edit list hides those that it discards."""
    return bool(packet.size) and not packet.is_discard


def plain_words(error: Exception) -> str:
    """An error's words without FFmpeg's number and place."""
    words = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return words.split(";")[0].split(": '")[0].lower()
