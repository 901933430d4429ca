"""Folders and lists of pictures are clips: in natural order, at a rate or at times that are given."""

import json
import struct
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import SHIPPED

from rft.grpo.mixture import row_of
from rft.grpo.rollout import video_of
from tvad.__main__ import main
from tvad.common import cli
from tvad.common.errors import InputError
from tvad.data import Question, Sample, Video, check, load, save, video
from tvad.data.check import check_sample
from tvad.data.dataset import ClipStore
from tvad.data.sample import from_json, to_json
from tvad.data.video import name_of
from tvad.data.vllm_clips import of_pictures, opened, packed


def draw(folder, names, size=(48, 64)):
    """Pictures whose brightness tells their place."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((*size, 3), 10 * n, np.uint8))
    return folder


@pytest.fixture
def folder(tmp_path):
    return draw(tmp_path / "gate", [f"{n}.png" for n in range(12)])


def brightness(clip) -> list[int]:
    return clip.images.mean((1, 2, 3)).round().astype(int).tolist()


def test_pictures_come_in_the_order_in_which_people_count(folder):
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.md").write_text("not a picture")
    clip = video.decode(video.as_text(str(folder), fps=4))
    assert brightness(clip) == [10 * n for n in range(12)] and clip.fps == 4.0 and clip.duration == 3.0
    half = video.decode(video.as_text(str(folder), fps=4), 2.0, 4)
    assert half.indices.tolist() == [0, 4, 6, 10] and half.times.tolist() == [0.0, 1.0, 1.5, 2.5]
    assert [len(w.images) for w in video.windows(video.as_text(str(folder), fps=4), 4.0, 8, 4)] == [8, 8]


@pytest.mark.parametrize(
    "name, text",
    [
        ("times.txt", "\n".join(str(5 + n / 2) for n in range(12))),
        ("times.csv", "name,seconds\n" + "\n".join(f"{n}.png,{n / 2}" for n in reversed(range(12)))),
        ("times.csv", "\n".join(f"{n}.png;\t{n / 2}" for n in range(12))),
    ],
)
def test_times_may_lie_beside_them(folder, name, text):
    (folder / name).write_text(text)
    clip = video.decode(folder, 1.0)
    assert clip.times.tolist() == [0, 1, 2, 3, 4, 5] and clip.duration == 6.0
    assert brightness(clip) == [0, 20, 40, 60, 80, 100]


def test_a_list_with_times_is_a_clip_that_waits(folder):
    files = [str(folder / f"{n}.png") for n in (3, 1, 2)]
    clip = video.decode(video.as_text(files, times=[10.0, 10.5, 13.0]), 1.0)
    assert clip.indices.tolist() == [0, 1, 1, 2, 2, 2] and brightness(clip)[:3] == [30, 10, 10]
    assert clip.times.tolist() == [0, 0.5, 0.5, 3.0, 3.0, 3.0] and clip.moments.tolist() == [0, 1, 2, 3, 4, 5]
    assert clip.sampled_fps == 1.0


@pytest.mark.parametrize(
    "spoil, given, words",
    [
        (lambda f: None, {}, r"gate: a clip of pictures needs its rate"),
        (lambda f: (f / "times.txt").write_text("0\n1\n"), {}, r"gate: 2 times for 12 pictures"),
        (lambda f: (f / "times.txt").write_text("0\n"), {"fps": 2.0}, r"twice, by .*txt and by a rate"),
        (lambda f: (f / "times.txt").write_text("0\nsoon\n"), {}, r"times\.txt:2: expected seconds"),
        (lambda f: (f / "times.csv").write_text("0.png,0\n9.png,1\n"), {}, r"times\.csv: no time for 1\.png"),
        (lambda f: (f / "times.csv").write_text("1.png,1\n1.png,2\n"), {}, r"csv:2: 1\.png has a time"),
        (lambda f: (f / "times.csv").write_text("a,b\n1.png,1\n77.png,2\n"), {}, r"csv:3: a time for 77"),
        (lambda f: (f / "times.csv").write_text("1.png,1\n2\n"), {}, r"csv:2: expected seconds"),
        (lambda f: (f / "times.csv").write_text("1\n2.png,2\n"), {}, r"csv:2: expected seconds"),
        (lambda f: (f / "times.txt").write_text("0\n1\ninf\n"), {}, r"times\.txt:3: expected seconds"),
        (lambda f: (f / "times.txt").write_text("nan\n1\n"), {}, r"times\.txt:1: expected seconds"),
        (lambda f: (f / "times.txt").write_text("-inf\n1\n"), {}, r"times\.txt:1: expected seconds"),
        (lambda f: None, {"times": [*range(11), float("inf")]}, r"time 11 is inf s"),
        (lambda f: None, {"times": [float("-inf"), *range(11)]}, r"time 0 is -inf s"),
        (lambda f: None, {"times": [-1e308, *range(10), 1e308]}, r"must be more than 0 and at most"),
        (lambda f: None, {"times": [float(n) for n in (*range(11), 3)]}, r"time 11 is 3 s, after 10 s"),
        (lambda f: None, {"times": [*range(11), float("nan")]}, r"time 11 is nan s"),
        (lambda f: None, {"times": [0.0] * 12}, r"must be more than 0 and at most"),
        (lambda f: None, {"fps": 0.0}, r"fps must be a positive number"),
        (lambda f: (f / "5.png").write_text("words"), {"fps": 2.0}, r"5\.png: not a picture, or damaged"),
        (lambda f: (f / "5.png").write_bytes(b""), {"fps": 2.0}, r"5\.png: not a picture, or damaged"),
        (lambda f: [p.unlink() for p in f.iterdir()], {"fps": 2.0}, r"no picture in it"),
    ],
)  # fmt: skip
def test_what_is_no_clip_is_one_line(folder, spoil, given, words):
    spoil(folder)
    with pytest.raises(InputError, match=words) as refused:
        video.decode(video.as_text(str(folder), **given) if given else folder)
    assert "\n" not in str(refused.value)


def test_pictures_of_another_size_are_scaled_to_the_first(folder):
    cv2.imwrite(str(folder / "5.png"), np.full((96, 128, 3), 50, np.uint8))
    clip = video.decode(video.as_text(str(folder), fps=4))
    assert brightness(clip)[5] == 50 and any("5.png has 128 x 96 pixels" in n for n in clip.clock.notes)


def test_a_data_set_holds_folders_and_lists(tmp_path, folder, capsys):
    rows = {
        "folder": {"path": "gate", "fps": 4.0},
        "list": {"path": [f"gate/{n}.png" for n in range(6)], "times": [0, 1, 2, 3, 4, 5]},
        "none": {"path": "gate"},
    }
    samples = [
        from_json({"id": k, "source": "s", "split": "t", "video": v, "label": "normal"}, str(tmp_path))
        for k, v in rows.items()
    ]
    save(samples, tmp_path)
    again = load(tmp_path)
    both = replace(again[1], video=replace(again[1].video, fps=5.0))
    assert "has 1 fps by its times, the sample states 5" in check_sample(both)[0].reason
    assert not check_sample(replace(both, video=replace(both.video, fps=1.0)))
    assert again == samples and to_json(again[1])["video"]["pictures"][2] == "gate/2.png"
    problems = check(tmp_path)
    assert [p.where for p in problems] == ["none"] and "needs its rate" in problems[0].reason
    assert cli.guard(lambda: main(["data", "check", str(tmp_path)])) == 1
    assert "none: " in capsys.readouterr().out
    store = ClipStore(1.0, 8)
    assert brightness(store.frames(again[0])) == [0, 40, 80]
    assert brightness(store.frames(again[1])) == [0, 10, 20, 30, 40, 50]
    assert [p.name for p in again[1].files()] == [f"{n}.png" for n in range(6)] and len(
        again[0].files()
    ) == 12
    outside = Sample("o", "s", "t", Video("x", pictures=("../../etc/passwd",)), root=str(tmp_path))
    with pytest.raises(InputError, match="leaves the data set's folder"):
        outside.clip()


def test_infer_reads_a_folder_of_pictures(tmp_path, folder, capsys):
    asked = ["infer", "--model", str(SHIPPED), "--video", str(folder)]
    for extra, words in (([], "needs its rate"), (["--fps", "-1"], "fps must be a positive number")):
        assert cli.guard(lambda extra=extra: main([*asked, *extra])) == 2
        assert words in capsys.readouterr().err
    out = tmp_path / "out"
    assert cli.guard(lambda: main([*asked, "--fps", "4", "--out", str(out)])) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["video"] == str(folder) and result["frames"] == 12 and result["seconds"] == 3.0
    assert video.decode(out / "overlay.mp4").total == 12
    clip = tmp_path / "v.mp4"
    video.write(clip, np.zeros((8, 48, 64, 3), np.uint8), 4)
    assert cli.guard(lambda: main([*asked[:-1], str(clip), "--fps", "4"])) == 2
    assert "--fps 4: is for a folder of pictures" in capsys.readouterr().err


def test_training_asks_about_folders_of_pictures(tmp_path, folder):
    question = Question("judgement", "Is there an anomaly?", "No")
    sample = Sample(
        "v", "s", "t", Video("gate", fps=4.0), "normal", questions=(question,), root=str(tmp_path)
    )
    row = row_of(sample, question)
    clip = ClipStore(2.0, 8).load(video_of(row["prompt"]))
    assert row["video"] == sample.clip() and brightness(clip) == [0, 20, 40, 60, 80, 100]
    assert name_of(row["video"]) == str(folder) and name_of("a/b.mp4") == "a/b.mp4"
    # To a rollout server: its moments too, on which the seconds a step rest.
    files = [str(folder / f"{n}.png") for n in range(3)]
    waits = video.decode(video.as_text(files, times=[0.0, 0.5, 3.0]), 1.0)
    images, told = opened(packed(waits)[0])
    assert told["fps"] == 1.0 == waits.sampled_fps and np.array_equal(images, waits.images)


def huge(kind: str, width: int, height: int) -> bytes:
    """A small file whose header says so many pixels."""
    data = bytearray(cv2.imencode(kind, np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    if kind == ".png":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif kind == ".bmp":
        data[18:26] = struct.pack("<II", width, height)
    else:
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp"])
@pytest.mark.parametrize("side", [12_000, 30_000])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch, kind, side):
    def never(*_):
        raise AssertionError("decoded")

    data = huge(kind, side, side)
    monkeypatch.setattr(cv2, "imdecode", never)
    for n in (1, 2):
        (tmp_path / f"{n}{kind}").write_bytes(data)
    words = "at most 134,217,728"
    with pytest.raises(InputError, match=rf"1\{kind}: .*{words}"):
        video.decode(video.Pictures(str(tmp_path), fps=2.0))
    with pytest.raises(InputError, match=f"picture 1: .*{words}"):
        of_pictures([data, data], 2.0, 2.0, 8)


def test_pictures_that_are_more_than_a_clip_holds_are_refused(monkeypatch):
    image = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    assert of_pictures([image] * 4, 2.0, 2.0, 8).images.shape == (4, 16, 16, 3)
    monkeypatch.setattr(video.reading, "MOST_BYTES", 3 * 16 * 16 * 3)
    with pytest.raises(InputError, match="the pictures: 4 frames of 16 x 16 pixels take"):
        of_pictures([image] * 4, 2.0, 2.0, 8)
