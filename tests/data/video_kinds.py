"""Videos of every kind that people have, made with PyAV: what the reader must show of each. A table of kinds,
for `test_file_kinds.py` and `tests/perf/file_kinds.py`."""

import io
import os
import struct
import wave
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

MS, TENTH = Fraction(1, 1000), Fraction(1, 10)
EVEN = [100 * n for n in range(20)]  # ms: two seconds at ten frames a second
CHANGING = [200 * n for n in range(10)] + [2000 + 50 * n for n in range(20)]  # 5, then 20 a second
PAUSE = [100 * n for n in range(10)] + [5000 + 100 * n for n in range(10)]


@dataclass(frozen=True)
class Kind:
    """A file's name, what makes it, and what is right: times (seconds) and size (width, height) of the shown
    frames, or words that the refusal must have. turn: how the numbered picture is shown (`np.rot90` and
    flips)."""

    name: str
    make: Callable[[Path], None]
    times: list[float] | None = None
    size: tuple[int, int] = (64, 48)
    words: str = ""
    turn: Callable[[np.ndarray], np.ndarray] | None = None
    note: str = ""
    numbers: list[int] | None = None  # of the pictures shown, where not 0, 1, 2, …


def numbered(n: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A picture with its number in eight columns of black or white, and a red corner at the top left."""
    image = np.full((height, width, 3), 40, np.uint8)
    for bit in range(8):
        if n >> bit & 1:
            image[height // 3 :, bit * width // 8 : (bit + 1) * width // 8] = 220
    image[: height // 4, : width // 4] = (230, 30, 30)
    return image


def number_of(image: np.ndarray) -> int:
    """The number of a shown picture (H, W, 3)."""
    height, width = image.shape[:2]
    row = image[height // 2 : height * 3 // 4].mean((0, 2))
    return sum(1 << b for b in range(8) if row[b * width // 8 + 1 : (b + 1) * width // 8 - 1].mean() > 130)


@contextmanager
def own_priority() -> Iterator[None]:
    """libsvtav1 run by root leaves the thread that encodes at real-time priority, and with it all that is
    started later: a browser or a server that is busy then stops the machine."""
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameter)


def video(
    path: Path | io.RawIOBase,
    stamps: Iterable[int] = EVEN,
    base: Fraction = MS,
    codec: str = "libx264",
    pix: str = "yuv420p",
    form: str | None = None,
    rate: int | Fraction = 10,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    size: tuple[int, int] = (64, 48),
    more: Callable[[av.container.OutputContainer], Callable[[], None]] | None = None,
) -> None:
    """Write numbered pictures at time stamps in ticks of `base` seconds; `more` adds other streams and gives
    what writes them."""
    target = f"file:{path}" if isinstance(path, Path) else path
    with own_priority(), av.open(target, "w", format=form, options=container or {}) as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt, stream.codec_context.time_base, stream.thread_count = pix, base, 1
        rest = more(out) if more else None
        for n, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(numbered(n, *size), format="rgb24").reformat(format=pix)
            frame.pts, frame.time_base = stamp, base
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        if rest:
            rest()


def sound(seconds: float, codec: str = "aac") -> Callable:
    """Another stream: silence."""

    def add(out: av.container.OutputContainer) -> Callable[[], None]:
        stream = out.add_stream(codec, rate=8000, layout="mono")

        def rest() -> None:
            for n in range(int(seconds * 8000 / 1024)):
                form = "fltp" if codec == "aac" else "s16"
                silence = np.zeros((1, 1024), np.float32 if codec == "aac" else np.int16)
                frame = av.AudioFrame.from_ndarray(silence, form, "mono")
                frame.rate, frame.pts = 8000, n * 1024
                out.mux(stream.encode(frame))
            out.mux(stream.encode())

        return rest

    return add


def second_video(out: av.container.OutputContainer) -> Callable[[], None]:
    stream = out.add_stream("libx264", rate=10)
    stream.width = stream.height = 32
    stream.pix_fmt = "yuv420p"

    def rest() -> None:
        for _ in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(0, 32, 32), format="rgb24")))
        out.mux(stream.encode())

    return rest


def matrixed(path: Path, a: int, b: int, c: int, d: int) -> None:
    """A file whose display matrix (a b / c d) turns or mirrors it."""
    video(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # version 0: after version, flags, times, id, duration, layer, volume
    one = 1 << 16
    data[at : at + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def trimmed(path: Path, first: int, options: dict[str, str] | None = None) -> None:
    """A lossless cut: packets from a key frame on, shown from frame `first` on by an edit list."""
    whole = path.with_name(f"whole-{path.name}")
    video(whole, range(40), Fraction(1, 10), options={"g": "15", **(options or {})})
    with (
        av.open(str(whole)) as source,
        av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as out,
    ):
        old = source.streams.video[0]
        stream = out.add_stream_from_template(old)
        shift = round(first / 10 / old.time_base)
        packets = [p for p in source.demux(old) if p.size]
        key = max(n for n, p in enumerate(packets) if p.is_keyframe and (p.pts or 0) <= shift)
        for packet in packets[key:]:
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
            out.mux(packet)
    whole.unlink()


def piped(path: Path, form: str, **options) -> None:
    """Written where nothing can be put right afterwards: the header does not know how long it is."""

    class Pipe(io.RawIOBase):
        def __init__(self, file):
            self.file = file

        def writable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return False

        def write(self, data) -> int:
            return self.file.write(data)

    with path.open("wb") as file:
        video(Pipe(file), form=form, **options)


def cut(path: Path, share: float, **options) -> None:
    video(path, **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def noisy(path: Path, share: float, **options) -> None:
    """A file of even size over time, cut at a share of its bytes."""
    with av.open(str(path), "w", **options) as out:
        stream = out.add_stream("mpeg4", rate=10, options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        rng = np.random.default_rng(0)
        for _ in range(40):
            noise = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        out.mux(stream.encode())
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def joined(path: Path, count: int = 20, times: int = 2, **options) -> None:
    """One recording several times one after the other, as `cat a.ts b.ts` makes them."""
    video(path, EVEN[:count], **{"form": "mpegts", **options})
    path.write_bytes(path.read_bytes() * times)


VOP = b"\0\0\1\xb6"  # MPEG-4: begins a picture


def not_coded(data: bytes) -> bytes:
    """A packet of MPEG-4 as encoders write it where nothing has moved: the picture's time, and that it is not
    coded."""
    at = data.index(VOP) + len(VOP)
    bits = "".join(f"{byte:08b}" for byte in data[at : at + 16])
    end = bits.index("0", 2) + 7  # its kind, whole seconds in unary, a marker, tenths in four bits, a marker
    head = bits[:end] + "00"
    head += "1" * (-len(head) % 8)
    return data[:at] + bytes(int(head[n : n + 8], 2) for n in range(0, len(head), 8))


def mpeg4(numbers: Iterable[int], bf: int = 0) -> Iterator[bytes]:
    """Numbered pictures as MPEG-4 at ten a second, in order of decoding."""
    encoder = av.CodecContext.create("mpeg4", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.thread_count = 64, 48, "yuv420p", 1
    encoder.time_base, encoder.framerate = TENTH, 10
    encoder.options = {"g": "300", "bf": str(bf)}
    for place, n in enumerate(numbers):
        frame = av.VideoFrame.from_ndarray(numbered(n), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = place, TENTH
        yield from map(bytes, encoder.encode(frame))
    yield from map(bytes, encoder.encode())


def muxed(path: Path, packets: Iterable[tuple[bytes, int]], form: str | None = None) -> None:
    """MPEG-4 data at tenths of a second."""
    with av.open(str(path), "w", format=form) as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for data, tenth in packets:
            packet = av.Packet(data)
            packet.pts = packet.dts = tenth
            packet.time_base, packet.duration, packet.stream = TENTH, 1, stream
            out.mux(packet)


STILL = {5, *range(12, 20), 31}  # of STEPS, those that are not coded
STEPS = [*range(20), *range(50, 70)]


def with_still(path: Path, form: str | None = None, stamps: Sequence[int] = STEPS) -> None:
    """MPEG-4 with pictures that are not coded."""
    coded = [n not in STILL for n in range(len(stamps))]
    found = mpeg4(max(m for m in range(n + 1) if coded[m]) for n in range(len(stamps)))
    muxed(
        path, ((d if new else not_coded(d), t) for d, new, t in zip(found, coded, stamps, strict=True)), form
    )


def packed(path: Path) -> None:
    """As DivX writes B-frames to AVI: in one packet with the picture that they need, then one not coded."""
    held: list[bytes] = []
    for data in mpeg4(range(20), 1):
        if data[data.index(VOP) + len(VOP)] >> 6 == 2:  # a B-frame
            held += [held.pop() + data, not_coded(data)]
        else:
            held.append(data)
    marked = held[0].index(VOP)
    held[0] = held[0][:marked].replace(b"Lavc", b"Xavc") + b"\0\0\1\xb2DivX503b1393p" + held[0][marked:]
    muxed(path, ((data, n) for n, data in enumerate(held)))


def resized(path: Path) -> None:
    """JPEG pictures of two sizes in one stream."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.codec_context.time_base = MS
        for n in range(10):
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.width, encoder.height = (64, 48) if n < 5 else (32, 24)
            encoder.pix_fmt, encoder.time_base = "yuvj420p", MS
            frame = av.VideoFrame.from_ndarray(numbered(n, encoder.width, encoder.height), format="rgb24")
            frame.pts, frame.time_base = 100 * n, MS
            for packet in [*encoder.encode(frame), *encoder.encode()]:
                packet.stream = stream
                out.mux(packet)


def cover(path: Path) -> None:
    """Sound with a picture of its sleeve."""
    with av.open(str(path), "w", format="mp4" if path.suffix == ".m4a" else "mp3") as out:
        stream = out.add_stream("aac" if path.suffix == ".m4a" else "mp3", rate=44100, layout="mono")
        picture = out.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        for packet in [
            *picture.encode(
                av.VideoFrame.from_ndarray(numbered(0), format="rgb24").reformat(format="yuvj420p")
            ),
            *picture.encode(),
        ]:
            packet.stream = picture
            out.mux(packet)
        for n in range(20):
            size = stream.codec_context.frame_size or 1024
            frame = av.AudioFrame.from_ndarray(np.zeros((1, size), np.float32), "fltp", "mono")
            frame.rate, frame.pts = 44100, n * size
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def tone(path: Path) -> None:
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(bytes(16000))


def behind_the_key(path: Path) -> None:
    """A recording of a transport stream that begins between two key frames."""
    video(path, range(40), Fraction(1, 10), form="mpegts", options={"g": "10", "bf": "0"})
    data = path.read_bytes()
    with av.open(io.BytesIO(data)) as container:
        keys = [p.pos for p in container.demux(video=0) if p.size and p.is_keyframe and p.pos is not None]
    path.write_bytes(data[: keys[0]] + data[keys[0] + (keys[1] - keys[0]) // 188 // 2 * 188 :])


def without_first(path: Path, form: str) -> None:
    """A recording whose first five packets are lost: it is shown from its second key frame on, the tenth."""
    whole = path.with_name(f"whole-{path.name}")
    video(whole, range(40), TENTH, form="mpegts", options={"g": "10", "bf": "0", "sc_threshold": "0"})
    with av.open(str(whole)) as source, av.open(str(path), "w", format=form) as out:
        old = source.streams.video[0]
        stream = out.add_stream_from_template(old)
        for packet in [p for p in source.demux(old) if p.size][5:]:
            packet.stream = stream
            out.mux(packet)
    whole.unlink()


def seconds(stamps: Iterable[int], base: float = 1000) -> list[float]:
    found = [stamp / base for stamp in stamps]
    return [t - found[0] for t in found]


def _quarter(image: np.ndarray) -> np.ndarray:
    return np.rot90(image, 1)


TENTHS, THIRTIETH = range(20), Fraction(1, 30)
TWO, B, NTSC = seconds(EVEN), {"bf": "2", "g": "20"}, Fraction(30000, 1001)
SHOWN = [n for n in range(40) if n not in STILL]
MOVED = [STEPS[n] / 10 for n in SHOWN]
GAP = [*range(7), *range(20, 24), *range(40, 45)]
KINDS = [
    Kind("h264.mp4", video, TWO),
    Kind("b-frames.mp4", lambda p: video(p, options=B), TWO),
    Kind("vfr.mp4", lambda p: video(p, CHANGING), seconds(CHANGING)),
    Kind("vfr-b.mp4", lambda p: video(p, CHANGING, options=B), seconds(CHANGING)),
    Kind("pause.mp4", lambda p: video(p, PAUSE), seconds(PAUSE)),
    Kind("late.mp4", lambda p: video(p, [3000 + t for t in EVEN]), TWO),
    Kind("ntsc.mp4", lambda p: video(p, TENTHS, Fraction(1001, 30000), rate=Fraction(30000, 1001)),
         seconds(TENTHS, 30000 / 1001)),
    Kind("trimmed.mp4", lambda p: trimmed(p, 23), seconds(range(17), 10), numbers=list(range(23, 40))),
    Kind("trimmed-b.mov", lambda p: trimmed(p, 22, B), seconds(range(18), 10), numbers=list(range(22, 40))),
    Kind("fragments.mp4", lambda p: video(p, container={"movflags": "frag_keyframe+empty_moov"}), TWO),
    Kind("faststart.mp4", lambda p: video(p, container={"movflags": "faststart"}), TWO),
    Kind("longer-sound.mp4", lambda p: video(p, more=sound(6.0)), TWO),
    Kind("longer-sound.mkv", lambda p: video(p, more=sound(6.0)), TWO),
    Kind("longer-sound.avi", lambda p: video(p, TENTHS, TENTH, "mpeg4", more=sound(6.0, "pcm_s16le")), TWO),
    Kind("two-videos.mp4", lambda p: video(p, more=second_video), TWO, note="2 video streams"),
    Kind("turned-90.mp4", lambda p: matrixed(p, 0, -1, 1, 0), TWO, (48, 64), turn=_quarter),
    Kind("turned-180.mp4", lambda p: matrixed(p, -1, 0, 0, -1), TWO, turn=lambda i: i[::-1, ::-1]),
    Kind("turned-270.mp4", lambda p: matrixed(p, 0, 1, -1, 0), TWO, (48, 64), turn=lambda i: np.rot90(i, -1)),
    Kind("mirrored.mp4", lambda p: matrixed(p, -1, 0, 0, 1), TWO, turn=lambda i: i[:, ::-1]),
    Kind("upside-down.mp4", lambda p: matrixed(p, 1, 0, 0, -1), TWO, turn=lambda i: i[::-1]),
    Kind("transposed.mp4", lambda p: matrixed(p, 0, 1, 1, 0), TWO, (48, 64), turn=lambda i: i.swapaxes(0, 1)),
    Kind("hevc.mp4", lambda p: video(p, codec="libx265", options={"x265-params": "log-level=none"}), TWO),
    Kind("10-bit.mp4", lambda p: video(p, pix="yuv420p10le"), TWO),
    Kind("prores.mov", lambda p: video(p, codec="prores", pix="yuv422p10le"), TWO),
    Kind("vp8.webm", lambda p: video(p, codec="libvpx"), TWO),
    Kind("vp9.webm", lambda p: video(p, codec="libvpx-vp9", options={"cpu-used": "8"}), TWO),
    Kind("alpha.webm", lambda p: video(p, codec="libvpx-vp9", pix="yuva420p", options={"cpu-used": "8"}),
         TWO),
    Kind("av1.mp4", lambda p: video(p, codec="libsvtav1", options={"preset": "10", "svtav1-params": "lp=1"}),
         TWO),
    Kind("cfr.mkv", lambda p: video(p, TENTHS, Fraction(1, 30), rate=30, options=B), seconds(TENTHS, 30)),
    Kind("vfr.mkv", lambda p: video(p, CHANGING, options=B), seconds(CHANGING)),
    Kind("offset.mkv", lambda p: video(p, [10_000 + t for t in EVEN]), TWO),
    Kind("piped.mkv", lambda p: piped(p, "matroska"), TWO),
    Kind("gray.mkv", lambda p: video(p, codec="ffv1", pix="gray"), TWO),
    Kind("rgba.mkv", lambda p: video(p, codec="ffv1", pix="bgra"), TWO),
    Kind("xvid.avi", lambda p: video(p, TENTHS, TENTH, "mpeg4"), TWO),
    Kind("b-frames.avi", lambda p: video(p, TENTHS, TENTH, options=B), TWO, note="no times of showing"),
    Kind("skips.avi", lambda p: video(p, [0, 1, 2, 8, 9, 15], TENTH, "mjpeg", "yuvj420p"),
         seconds([0, 1, 2, 8, 9, 15], 10)),
    Kind("still.avi", with_still, MOVED, numbers=SHOWN),
    Kind("still.mp4", with_still, MOVED, numbers=SHOWN),
    Kind("packed.avi", packed, TWO, note="no times of showing"),
    Kind("pause-b.avi", lambda p: video(p, GAP, TENTH, options=B), seconds(GAP, 10),
         note="no times of showing"),
    Kind("pause-b4.avi", lambda p: video(p, GAP, TENTH, "mpeg4", options={"bf": "2"}), seconds(GAP, 10)),
    Kind("late-key.avi", lambda p: without_first(p, "avi"), seconds(range(30), 10),
         numbers=list(range(10, 40))),
    Kind("piped.avi", lambda p: piped(p, "avi", codec="mpeg4", stamps=TENTHS, base=TENTH), TWO),
    Kind("stream.ts", lambda p: video(p, form="mpegts", options=B), TWO),
    Kind("joined.ts", joined, seconds(range(40), 10), note="start anew at frame 20",
         numbers=[*range(20), *range(20)]),
    Kind("joined-short.ts", lambda p: joined(p, 8, 5), seconds(range(40), 10), note="start anew at frame 8",
         numbers=[*range(8)] * 5),
    Kind("joined-b.ts", lambda p: joined(p, 3, 9, options=B), seconds(range(27), 10),
         note="start anew at frame 3", numbers=[*range(3)] * 9),
    Kind("joined.mpg",
         lambda p: joined(p, 10, 3, codec="mpeg2video", form="mpeg", rate=25, base=Fraction(1, 25)),
         seconds(range(30), 25), note="start anew at frame 10", numbers=[*range(10)] * 3),
    Kind("mpeg2.mpg", lambda p: video(p, TENTHS, Fraction(1, 25), "mpeg2video", form="mpeg", rate=25),
         seconds(TENTHS, 25)),
    Kind("interlaced.mpg",
         lambda p: video(p, TENTHS, Fraction(1, 25), "mpeg2video", form="mpeg", rate=25,
                         options={"flags": "+ilme+ildct"}), seconds(TENTHS, 25)),
    Kind("flash.flv", video, TWO),
    Kind("piped.flv", lambda p: piped(p, "flv"), TWO),
    Kind("windows.wmv", lambda p: video(p, TENTHS, TENTH, "wmv2"), TWO),
    Kind("animation.gif", lambda p: video(p, [0, 10, 20, 70, 80], Fraction(1, 100), "gif", "rgb8"),
         [0, 0.1, 0.2, 0.7, 0.8]),
    Kind("animation.apng", lambda p: video(p, codec="apng", pix="rgb24"), TWO),
    Kind("bare.h264", lambda p: video(p, form="h264"), seconds(TENTHS, 25),
         note="a bare stream holds no times: its frames are counted at 25 a second, since it states no rate"),
    Kind("bare-30.h264", lambda p: video(p, range(60), THIRTIETH, form="h264", rate=30, options=B),
         seconds(range(60), 30), note="counted at 30 a second, which it states"),
    Kind("bare-ntsc.h264",
         lambda p: video(p, TENTHS, 1 / NTSC, form="h264", rate=NTSC), seconds(TENTHS, 30000 / 1001),
         note="counted at 29.97 a second, which it states"),
    Kind("bare.hevc",
         lambda p: video(p, TENTHS, TENTH, "libx265", form="hevc", options={"x265-params": "log-level=none"}),
         TWO, note="counted at 10 a second, which it states"),
    Kind("bare.m2v",
         lambda p: video(p, TENTHS, THIRTIETH, "mpeg2video", form="mpeg2video", rate=30, options=B),
         seconds(TENTHS, 30), note="counted at 30 a second, which it states"),
    Kind("bare.obu",
         lambda p: video(p, TENTHS, TENTH, "libsvtav1", form="obu",
                         options={"preset": "10", "svtav1-params": "lp=1"}),
         seconds(TENTHS, 25), note="since it states no rate"),
    Kind("still.m4v", lambda p: with_still(p, "m4v", range(40)), [t / 10 for t in SHOWN], numbers=SHOWN,
         note="counted at 10 a second, which it states"),
    Kind("late-key.h264", lambda p: without_first(p, "h264"), seconds(range(30), 10),
         numbers=list(range(10, 40)), note="counted at 10 a second, which it states"),
    Kind("resized.mkv", resized, seconds(range(10), 10),
         note="changes from 64 x 48 to 32 x 24 pixels at frame 5"),
    Kind("one.mp4", lambda p: video(p, [0]), [0.0]),
    Kind("narrow.mp4", lambda p: video(p, [0, 100, 200], size=(8, 640)), [0, 0.1, 0.2], (8, 640)),
    Kind("a-line.avi", lambda p: video(p, [0, 100, 200], codec="png", pix="rgb24", size=(1, 4000)),
         [0, 0.1, 0.2], (1, 4000)),
    Kind("wide.mp4", lambda p: video(p, [0, 100], codec="mjpeg", pix="yuvj420p", size=(16384, 16)),
         [0, 0.1], (16384, 16)),
    Kind("12:30 gate.mp4", video, TWO),
    Kind("100%d%%.mp4", video, TWO),
    Kind("-dash.mp4", video, TWO),
    Kind("two\nlines.mp4", video, TWO),
    Kind("late-key.ts", behind_the_key, None),
    Kind("sleeve.m4a", cover, words="no video stream"),
    Kind("sleeve.mp3", cover, words="no video stream"),
    Kind("tone.wav", tone, words="no video stream"),
    Kind("words.mp4", lambda p: p.write_text("just words") and None, words="cannot be decoded (damaged"),
    Kind("empty.mp4", lambda p: p.touch(), words="cannot be decoded (the file is empty)"),
    Kind("playlist.mp4", lambda p: p.write_text("ffconcat version 1.0\nfile 'h264.mp4'\n") and None,
         words="cannot be decoded"),
    Kind("animation.webp", lambda p: video(p, codec="libwebp_anim"), words="no frame of its webp stream"),
    Kind("cut-index.mp4", lambda p: cut(p, 0.6), words="cut off before its index"),
    Kind("cut.mp4", lambda p: noisy(p, 0.6, options={"movflags": "faststart"}), words="truncated, 1."),
    Kind("cut.mkv", lambda p: noisy(p, 0.92), words="truncated, 3."),
    Kind("cut.avi", lambda p: noisy(p, 0.7), words="truncated, 2."),
    Kind("cut.flv", lambda p: cut(p, 0.5), words="cannot be decoded"),
]  # fmt: skip
