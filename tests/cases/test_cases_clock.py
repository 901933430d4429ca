"""Videos of strangers on which time, size or memory was wrong; each folder is named with its public reports.
All fail on commit 69bbd8d."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from conftest import SHIPPED

from tvad.__main__ import main
from tvad.common import cli
from tvad.common.errors import InputError
from tvad.data import Sample, Video, save, video
from tvad.data.check import check_sample

HERE = Path(__file__).parent


def true_times(path: Path) -> list[float]:
    """Time stamps of the decoded frames, from the first one's on."""
    with av.open(str(path)) as container:
        found = [float(frame.time) for frame in container.decode(video=0)]
    return [t - found[0] for t in found]


def red_corner(image: np.ndarray) -> tuple[str, str]:
    height, width = image.shape[:2]
    redness = image[..., 0].astype(int) - image[..., 1]
    y, x = np.unravel_index(redness.argmax(), redness.shape)
    return ("top" if y < height / 2 else "bottom", "left" if x < width / 2 else "right")


def test_bench_rotation():
    """PyAV issue 570, torchcodec issue 1084, decord issue 24."""
    clip = video.decode(HERE / "bench/rotation/upright.mp4")
    assert clip.images.shape == (10, 64, 32, 3)


def test_video_phone_rotation():
    """As ffmpeg and browsers show them; `tvad data check` states the shown size."""
    for name, size, corner in (
        ("rot90.mp4", (160, 120), ("bottom", "left")),
        ("rot180.mp4", (120, 160), ("bottom", "right")),
    ):
        path = HERE / "video/phone-rotation" / name
        clip = video.decode(path, 2.0)
        assert clip.images.shape[1:3] == size and red_corner(clip.images[0]) == corner
        assert video.inspect(path)[1:] == size
        stated = Sample(name, "s", "test", Video(name, width=size[1], height=size[0]), root=str(path.parent))
        assert not check_sample(stated)


def test_bench_variable_frame_rate():
    """decord issue 26 and pull 77, Megatron-Energon pull 120."""
    path = HERE / "bench/variable-frame-rate/vfr.mp4"
    clip = video.decode(path, 1.0)
    assert clip.indices.tolist() == [0, 10, *range(20, 30)]
    assert clip.times == pytest.approx([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    assert clip.total == 30 and clip.duration == pytest.approx(12.0) == clip.total / clip.fps


def test_train_variable_frame_rate():
    """decord issue 26, PySceneDetect issue 168, Qwen3-VL issue 752."""
    path = HERE / "train/variable-frame-rate/vfr.mp4"
    true = true_times(path)
    for clip in (video.decode(path, 2.0, 8), video.decode(path, 2.0), video.decode(path)):
        assert clip.times == pytest.approx([true[i] for i in clip.indices])
    assert video.decode(path, 2.0).times == pytest.approx(np.arange(16) / 2)
    assert (video.decode(path, 2.0, 8).times < 4).sum() == 4, "half of the frames are of the first half"


def test_a_variable_frame_rate_is_noted_and_a_stated_one_is_refused(tmp_path, capsys):
    (tmp_path / "v.mp4").write_bytes((HERE / "train/variable-frame-rate/vfr.mp4").read_bytes())
    plain = Sample("v", "s", "test", Video("v.mp4"), "anomalous", spans=((3.0, 7.9),))
    for stated, status, words in (
        (Video("v.mp4"), 0, "note: v: v.mp4: variable frame rate, 0.1 to 0.5 s a frame"),
        (Video("v.mp4", 5.52, 48), 1, "states 5.52 fps: state times and seconds, or leave fps out"),
    ):
        save([Sample("v", "s", "test", stated, plain.label, spans=plain.spans)], tmp_path)
        assert cli.guard(lambda: main(["data", "check", str(tmp_path)])) == status
        assert words in capsys.readouterr().out


def test_train_header_frame_count():
    """Qwen3-VL issue 1770, LLaMA-Factory issue 5712, MGT-python issue 242."""
    folder = HERE / "train/header-frame-count"
    cut = video.decode(folder / "cut.mp4", 2.0)
    assert cut.total == 42 and cut.times == pytest.approx(np.arange(9) / 2)
    streamed = video.decode(folder / "streamed.avi", 2.0, 8)
    assert streamed.total == 20 and streamed.times == pytest.approx([0, 0.5, 1, 1.5])


def test_video_matroska_duration(tmp_path):
    folder = HERE / "video/matroska-duration"
    for name, frames, seconds in (("offset10.mkv", 150, 6.0), ("vfr.mkv", 105, 6.0)):
        clip = video.decode(folder / name, 2.0)
        assert clip.total == frames and clip.duration == pytest.approx(seconds, abs=0.01)
    change = video.decode(folder / "vfr.mkv")
    assert change.times[15] == pytest.approx(3.0) and np.diff(change.times[:16]).min() > 0.19
    whole = tmp_path / "whole.mkv"
    moving(whole, 500)
    assert video.decode(whole, 2.0).total == 500
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size * 92 // 100])
    with pytest.raises(InputError, match=r"cut\.mkv: .*truncated, 1\d\.\d of 20\.0 s"):
        video.decode(tmp_path / "cut.mkv", 2.0)


def moving(path: Path, count: int) -> None:
    """`count` frames of moving noise, 25 a second."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "50", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(count):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, 3 * n, 1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


PEAK = r"""
import re, sys
from tvad.data import video
from tvad.data.check import probe
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) // 1024
video.decode(sys.argv[1], 2.0, 2)
start = peak()
clip = video.decode(sys.argv[2], 2.0, 8)
print(len(clip.images), peak() - start)
print(*probe(sys.argv[2]), peak() - start)
"""


def test_video_matroska_memory(tmp_path):
    """A file of some kilobytes whose header states no number of frames: 240 of 1280 x 720 are 660 MB."""
    gray = np.full((720, 1280, 3), 128, np.uint8)
    for name in ("gray.mkv", "small.mkv"):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("libx264", rate=2, options={"preset": "ultrafast", "g": "500"})
            stream.width, stream.height, stream.pix_fmt = (1280, 720, "yuv420p")
            stream.codec_context.time_base = Fraction(1, 2)
            frame = av.VideoFrame.from_ndarray(gray, format="rgb24").reformat(format="yuv420p")
            for n in range(240 if name == "gray.mkv" else 4):
                frame.pts, frame.time_base = n, Fraction(1, 2)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    told = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "small.mkv"), str(tmp_path / "gray.mkv")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert told[0] == "8" and told[2:6] == ["240", "2.0", "1280", "720"]
    assert int(told[1]) < 200 and int(told[6]) < 200, f"MiB more, of which eight frames are 21: {told}"


def test_video_very_tall(tmp_path, capsys):
    """`tvad infer` on 8 x 640 pixels: results are written, no side of a picture is extreme."""
    path, out = HERE / "video/very-tall/tall.mp4", tmp_path / "out"
    status = cli.guard(
        lambda: main(["infer", "--model", str(SHIPPED), "--video", str(path), "--out", str(out)])
    )
    assert status == 0, capsys.readouterr().err
    result = json.loads((out / "result.json").read_text())
    assert (result["width"], result["height"], result["seconds"]) == (8, 640, 3.0)
    for name in ("heatmap.jpg", "trajectory.jpg"):
        assert all(16 <= side <= 2 * 1280 for side in cv2.imread(str(out / name)).shape[:2])
    overlay = video.decode(out / "overlay.mp4")
    assert overlay.total == 75 and overlay.images.shape[1:3] == (1280, 16)
