"""Files that were cut off are never read as whole in silence, wherever pictures stay; whole files are never
called truncated, however long their last picture stays."""

import io
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from video_kinds import KINDS, MS, Kind, piped, video

from tvad.common.errors import InputError
from tvad.data.video import Clock, inspect
from tvad.data.video.elements import is_cut

EVEN = [100 * n for n in range(120)]
PAUSED = EVEN[:50] + [14_000 + t for t in EVEN[:70]]  # a picture stays for nine seconds
TWICE = EVEN[:20] + [8000 + t for t in EVEN[:50]] + [19_000 + t for t in EVEN[:50]]
ENDING = [*EVEN, 21_000]
STAMPS = {"even": EVEN, "a pause": PAUSED, "two pauses": TWICE, "a pause at the end": ENDING}
SHARES = [0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 0.995]


def noise(
    stamps: list[int], form: str, codec: str = "mpeg4", last: int = 0, options: dict[str, str] | None = None
) -> bytes:
    """A file whose bytes are spread evenly over its frames; last: ms that the last one stays."""
    rng = np.random.default_rng(0)
    with (
        tempfile.NamedTemporaryFile() as file,  # put in front, an index needs a name
        av.open(f"file:{file.name}", "w", format=form, options=options or {}) as out,
    ):
        stream = out.add_stream(codec, rate=10, options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base, stream.thread_count = MS, 1
        for stamp in stamps:
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8), "rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = stamp, MS
            for packet in stream.encode(frame):
                if last and stamp == stamps[-1]:
                    packet.duration = last
                out.mux(packet)
        out.mux(stream.encode())
        out.close()
        return Path(file.name).read_bytes()


def without_cues(data: bytes) -> bytes:
    data = data[: data.rindex(b"\x1c\x53\xbb\x6b")]
    at = data.index(b"\x18\x53\x80\x67") + 4
    return data[:at] + (1 << 56 | len(data) - at - 8).to_bytes(8, "big") + data[at + 8 :]


FORMS: dict[str, Callable[..., bytes]] = {
    "matroska": lambda stamps, **more: noise(stamps, "matroska", **more),
    "matroska, short clusters": lambda stamps, **more: noise(
        stamps, "matroska", options={"cluster_time_limit": "1000"}, **more
    ),
    "matroska, cues in front": lambda stamps, **more: noise(
        stamps, "matroska", options={"cues_to_front": "1"}, **more
    ),
    "matroska, no cues": lambda stamps, **more: without_cues(noise(stamps, "matroska", **more)),
    "mp4": lambda stamps, **more: noise(stamps, "mp4", options={"movflags": "faststart"}, **more),
    "fragments": lambda stamps, **more: noise(
        stamps, "mp4", options={"movflags": "frag_keyframe+empty_moov"}, **more
    ),
    "flash": lambda stamps, **more: noise(stamps, "flv", "flv1", **more),
    "windows": lambda stamps, **more: noise(stamps, "asf", "wmv2", **more),
}
STATED = [
    form for form in FORMS if form not in ("fragments", "windows")
]  # how long the picture was meant to be


def read(data: bytes) -> Clock | None:
    """What is seen; None where it is refused."""
    try:
        return inspect(io.BytesIO(data))[0]
    except InputError as refused:
        assert "truncated" in str(refused) or "cut off" in str(refused) or "beyond" in str(refused)
        return None


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stamps", STAMPS.values(), ids=STAMPS)
def test_a_file_that_was_cut_off_is_refused_or_says_so(form, stamps):
    data = FORMS[form](stamps)
    whole = read(data)
    assert whole is not None and len(whole) == len(stamps) and whole.notes == ()
    for share in SHARES:
        clock = read(data[: int(len(data) * share)])
        if clock is None:
            continue
        assert any("cut off" in note for note in clock.notes), share
        # Where the file says how long it is, one frame may be missing, as ticks and lengths are rounded.
        assert len(clock) >= len(stamps) - 1 or form not in STATED, share


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_file_may_end_with_a_picture_that_stays(form):
    clock = read(FORMS[form](EVEN, last=8000))
    assert clock is not None and len(clock) == len(EVEN)
    # Flash and ASF have no place for a frame's length: what their header says is told.
    told = "the header says 19.9 s, the picture ends at 12.0 s"
    assert clock.notes == ((told,) if form in ("flash", "windows") else ())
    assert clock.end == pytest.approx(12.0 if clock.notes else 19.9)


def test_a_header_that_says_more_than_a_whole_matroska_holds_is_told():
    data = bytearray(noise(EVEN, "matroska"))
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", 40_000.0)
    at = data.index(b"00:00:12.0")
    data[at : at + 10] = b"00:00:40.0"
    clock = read(bytes(data))
    assert clock is not None and len(clock) == len(EVEN)
    assert clock.notes == ("the header says 40.0 s, the picture ends at 12.0 s",)
    assert read(bytes(data[: len(data) * 9 // 10])) is None


def test_a_download_that_is_filled_up_with_zeros_is_cut_off():
    for stamps in STAMPS.values():
        data = noise(stamps, "matroska", options={"cluster_time_limit": "1000"})
        assert read(data[: len(data) * 7 // 10] + bytes(len(data) - len(data) * 7 // 10)) is None


def test_a_recording_from_a_pipe_that_was_cut_off_says_so(tmp_path):
    """It says nowhere how long it was to be: only between two of its clusters a cut cannot be seen."""
    piped(tmp_path / "live.mkv", "matroska", stamps=EVEN, codec="mpeg4", options={"g": "1"})
    data = (tmp_path / "live.mkv").read_bytes()
    for end in range(len(data) // 2, len(data), 41):
        clock = read(data[:end])
        seen = clock is None or any("cut off" in note for note in clock.notes)
        assert seen or data[end:].startswith(b"\x1f\x43\xb6\x75"), end


@pytest.mark.parametrize("kind", [k for k in KINDS if k.times is not None], ids=lambda k: k.name)
def test_no_whole_file_lacks_bytes(tmp_path, kind: Kind):
    path = tmp_path / kind.name
    kind.make(path)
    with path.open("rb") as file, av.open(io.BytesIO(path.read_bytes())) as container:
        assert not is_cut(file, container.format.name)


@pytest.mark.parametrize("form", ["matroska,webm", "mov,mp4", "avi", "flv", "asf", "gif"])
@pytest.mark.parametrize("data", [b"", b"\0", b"\xff" * 40, bytes(99), b"RIFF\xff\xff\xff\x7f", b"\x1a\x45"])
def test_any_bytes_may_be_looked_at(form, data):
    assert is_cut(io.BytesIO(data), form) in (True, False, None)


def test_what_follows_a_whole_file_is_no_cut(tmp_path):
    for name in ("a.mkv", "a.mp4", "a.avi"):
        codec = "mpeg4" if name == "a.avi" else "libx264"
        video(tmp_path / name, codec=codec)
        for behind in (bytes(3), bytes(5000)):
            clock = read((tmp_path / name).read_bytes() + behind)
            assert clock is not None and clock.notes == ()
