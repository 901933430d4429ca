"""Every kind of video file (`video_kinds.py` makes them): the right frames at the right times, the right way
up, or one line that names the file in words."""

import io
import os
import re
from fractions import Fraction

import av
import numpy as np
import pytest
from video_kinds import KINDS, Kind, number_of, numbered
from video_kinds import video as make

from tvad.common.errors import InputError
from tvad.data import video

ODD = re.compile(r"Errno|\d{6,}|error log|avcodec|Traceback")


@pytest.mark.parametrize("kind", [k for k in KINDS if k.times is not None], ids=lambda k: k.name)
def test_a_file_is_shown_as_it_is(tmp_path, kind: Kind):
    path = tmp_path / kind.name
    before = os.sched_getscheduler(0)
    kind.make(path)
    assert os.sched_getscheduler(0) == before  # whatever an encoder does to its thread, the next test is not
    whole = video.decode(path)
    assert whole.times == pytest.approx(kind.times, abs=0.0011) and whole.total == len(kind.times)
    assert whole.images.shape[1:] == (*kind.size[::-1], 3)
    assert whole.times[0] == 0 and whole.duration > whole.times[-1]
    assert [kind.note in note for note in whole.clock.notes] == [True] * bool(kind.note), whole.clock.notes
    # Sampled, in memory, in windows, inspected: the same clock.
    again = video.decode(io.BytesIO(path.read_bytes()), 5.0, 8)
    assert np.array_equal(again.times, whole.times[again.indices]) and len(again.times) <= 8
    assert np.array_equal(again.images, whole.images[again.indices])
    windows = list(video.windows(path, 5.0, 4, 4))
    assert np.array_equal(windows[-1].clock.times, whole.times) and windows[0].indices[0] == 0
    clock, *size = video.inspect(path)
    assert np.array_equal(clock.times, whole.times) and tuple(size) == kind.size[::-1]
    if min(kind.size) >= 48:
        back = whole.images if kind.turn is None else [_as_stored(i, kind) for i in whole.images]
        numbers = kind.numbers or list(range(len(whole.images)))
        assert [number_of(image) for image in back] == numbers


def _as_stored(image: np.ndarray, kind: Kind) -> np.ndarray:
    """The stored picture of which `kind.turn` makes the shown one."""
    places = kind.turn(np.arange(64 * 48).reshape(48, 64))
    stored = np.empty((48 * 64, 3), np.uint8)
    stored[places.ravel()] = image.reshape(-1, 3)
    return stored.reshape(48, 64, 3)


@pytest.mark.parametrize("kind", [k for k in KINDS if k.words], ids=lambda k: k.name)
def test_what_is_no_whole_video_is_one_line_in_words(tmp_path, kind: Kind):
    path = tmp_path / kind.name
    kind.make(path)
    for read in (video.decode, video.inspect):
        with pytest.raises(InputError) as refused:
            read(path)
        line = str(refused.value)
        assert kind.words in line and line.startswith(str(path)) and "\n" not in line
        assert not ODD.search(line.removeprefix(str(path))), line


@pytest.mark.parametrize(
    "name, rate", [("bare.h264", 30), ("bare.hevc", 10), ("bare.hevc", 50), ("bare.m4v", 10)]
)
def test_a_bare_stream_is_counted_at_the_rate_that_it_states(tmp_path, name, rate):
    path, form = tmp_path / name, name.split(".")[1]
    codec = {"h264": "libx264", "hevc": "libx265", "m4v": "mpeg4"}[form]
    options = {"x265-params": "log-level=none"} if form == "hevc" else {}
    make(path, range(20), Fraction(1, rate), codec, form=form, rate=rate, options=options)
    clock, *_ = video.inspect(path)
    assert clock.rate == pytest.approx(rate) and len(clock) == 20 and clock.end == pytest.approx(20 / rate)
    assert f"counted at {rate} a second, which it states" in clock.notes[0] and len(clock.notes) == 1


@pytest.mark.parametrize("frames, times", [(3, 4), (8, 10), (10, 5), (12, 3)])
def test_joined_parts_may_be_shorter_than_a_second(tmp_path, frames, times):
    path = tmp_path / "joined.ts"
    make(path, range(frames), Fraction(1, 10), form="mpegts")
    path.write_bytes(path.read_bytes() * times)
    clip = video.decode(path)
    assert clip.times == pytest.approx([n / 10 for n in range(frames * times)], abs=0.0011)
    assert [number_of(image) for image in clip.images] == [*range(frames)] * times
    assert clip.clock.notes == (f"time stamps start anew at frame {frames}: they are counted on",)


def test_a_change_of_size_is_said_once(tmp_path):
    path, rest = tmp_path / "sizes.ts", tmp_path / "rest.ts"
    make(path, range(5), Fraction(1, 10), form="mpegts")
    make(rest, range(5, 60), Fraction(1, 10), form="mpegts", size=(32, 32))
    path.write_bytes(path.read_bytes() + rest.read_bytes())
    clock, *_ = video.inspect(path)
    assert [note for note in clock.notes if "picture" in note] == [
        "the picture changes from 64 x 48 to 32 x 32 pixels at frame 5: it is scaled to the first size"
    ]


def not_coded(packet: av.Packet) -> bytes:
    """An MPEG-4 picture as encoders leave one out: its head, with vop_coded 0 (ISO/IEC 14496-2, 6.2.5)."""
    data = bytes(packet)
    at = data.index(b"\0\0\1\xb6") + 4
    bits = "".join(f"{byte:08b}" for byte in data[at : at + 16])
    head = bits[: bits.index("0", 2) + 7] + "0"  # kind, whole seconds, a marker, four bits of time, a marker
    head += "0" + "1" * ((-len(head) - 1) % 8)
    return data[:at] + int(head, 2).to_bytes(len(head) // 8, "big")


@pytest.mark.parametrize("left_out", [{5}, {5, 12, 20}, set(range(10, 20))])
@pytest.mark.parametrize("name", ["left-out.avi", "left-out.mp4"])
def test_pictures_that_were_not_coded_move_no_other(tmp_path, name, left_out):
    path = tmp_path / name
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10, options={"g": "300", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 64, 48, "yuv420p", 1
        for n in range(40):
            shown = max(k for k in range(n + 1) if k not in left_out)
            for packet in stream.encode(av.VideoFrame.from_ndarray(numbered(shown), format="rgb24")):
                if n in left_out:
                    empty = av.Packet(not_coded(packet))
                    empty.pts, empty.dts, empty.time_base = packet.pts, packet.dts, packet.time_base
                    empty.duration, empty.stream = packet.duration, stream
                    packet = empty
                out.mux(packet)
    clip = video.decode(path)
    kept = [n for n in range(40) if n not in left_out]
    assert [number_of(image) for image in clip.images] == kept
    assert clip.times == pytest.approx([n / 10 for n in kept])


@pytest.mark.parametrize("first", [1, 5, 12])
@pytest.mark.parametrize("b_frames", ["0", "2"])
def test_an_avi_from_between_two_key_frames_is_whole(tmp_path, first, b_frames):
    whole, path = tmp_path / "whole.avi", tmp_path / "late.avi"
    make(
        whole,
        range(60),
        Fraction(1, 10),
        options={"g": "20", "bf": b_frames, "x264-params": "repeat-headers=1"},
    )
    with av.open(str(whole)) as source, av.open(str(path), "w") as out:
        old = source.streams.video[0]
        stream = out.add_stream_from_template(old)
        packets = [p for p in source.demux(old) if p.size][first:]
        shift = packets[0].dts
        for packet in packets:
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
            out.mux(packet)
    clip = video.decode(path)
    numbers = [number_of(image) for image in clip.images]
    assert numbers[-1] == 59 and len(numbers) >= 30
    assert clip.times == pytest.approx([(n - numbers[0]) / 10 for n in numbers], abs=0.0011)
