"""T-VAU's ShanghaiTech on a miniature of what its author distributes, on damaged copies, and on the windows
that are at hand."""

import csv
import json

import numpy as np
import pytest
from conftest import shared

from bench import suite as suites
from bench.tasks import dialogue as task
from tvad.__main__ import main
from tvad.answer import parse
from tvad.common.errors import InputError
from tvad.data import check, load, video
from tvad.data.dialogue import once
from tvad.data.questions import DIALOGUE
from tvad.data.readers import tvau
from tvad.data.reclip import videos_of

SIZE = (24, 48, 64)


def window(root, part, video_, first, anomalous):
    """One window as it is distributed; returns its name."""
    name = f"{video_}-{first:03d}_{first + 23:03d}"
    images = np.full((*SIZE, 3), 60, np.uint8)
    lit = np.zeros(SIZE, np.uint8)
    for f in range(24):
        images[f, 20:30, f : f + 10] = 200
        lit[f, 20:30, f : f + 10] = anomalous and 6 <= f < 18
    for folder in (part, "gt"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    video.write(root / part / f"{name}.mp4", images, 24)
    np.save(root / "gt" / f"{name}.npy", lit)
    return name


@pytest.fixture(scope="module")
def distributed(tmp_path_factory):
    """Ten videos of three windows each, windows parted at random as the authors do."""
    root = tmp_path_factory.mktemp("tvau")
    labels, track, texts = [], {}, {}
    rng = np.random.default_rng(0)
    for n in range(10):
        for first in (0, 12, 24):
            odd = n % 2 == 1
            name = window(root, "val" if rng.random() < 0.3 else "train", f"01_{n:04d}", first, odd)
            labels.append([f"{name}.mp4", "有异常" if odd else "没有异常"])
            row = {"size": [48, 64], "frame number": 24, "object number": int(odd)}
            if odd:
                row["object 1"] = ["left_(5,25)" if 6 <= f < 18 else None for f in range(24)]
                texts[f"{name}.npy"] = [
                    "一",
                    "二",
                    "三",
                    "It goes ﻿right.",
                    "It moves right.",
                    "To the right.",
                ]
            else:
                texts[f"{name}.npy"] = []
            track[f"{name}.npy"] = row
    with (root / "labels.csv").open("w", encoding="utf-8-sig", newline="") as out:
        csv.writer(out).writerows([["video", "description"], *labels])
    (root / "track.json").write_text(json.dumps(track))
    (root / "dataset_track_zh_en.json").write_text(json.dumps(texts), encoding="utf-8")
    return root


def test_by_video_nothing_leaks_and_the_published_parts_do(distributed, tmp_path, capsys):
    assert main(["data", "tvau", str(distributed), "--out", str(tmp_path / "ours")]) == 0
    assert capsys.readouterr().out.startswith("0 of ")
    parts = {part: load(tmp_path / "ours" / part) for part in ("train", "test")}
    assert not check(tmp_path / "ours/train") and not check(tmp_path / "ours/test")
    sources = [{s.video.source for s in samples} for samples in parts.values()]
    assert not sources[0] & sources[1] and sum(map(len, parts.values())) == 30
    call = ["data", "tvau", str(distributed), "--published", "--out", str(tmp_path / "theirs")]
    assert main(call) == 0
    shared_, of = tvau.leak({p: load(tmp_path / "theirs" / p) for p in ("train", "test")})
    assert of == len(list((distributed / "val").iterdir())) and shared_ > of / 2
    assert f"{shared_} of {of} test windows" in capsys.readouterr().out
    call = ["data", "tvau", str(distributed), "--seed", "1", "--out", str(tmp_path / "other")]
    assert main(call) == 0
    assert {s.id for s in load(tmp_path / "other/test")} != {s.id for s in parts["test"]}


def test_a_window_keeps_its_video_its_time_and_its_references(distributed, tmp_path):
    tvau.read(distributed, tmp_path / "out")
    samples = {s.id: s for part in ("train", "test") for s in load(tmp_path / "out" / part)}
    sample = samples["01_0003-012_035"]
    assert (sample.video.source, sample.video.offset) == ("01_0003", 0.5)
    assert sample.spans == ((0.25, 0.75),) and sample.tracks[0].boxes[6] == (6.0, 20.0, 15.0, 29.0)
    asked = [turn for turn in sample.dialogue if turn[0] == DIALOGUE["trajectory"]]
    assert [reply for _, reply in asked] == ["It goes right.", "It moves right.", "To the right."]
    assert len(once(sample.dialogue)) == len(sample.dialogue) - 2
    # Asked once; the best of the three counts.
    part = next(p for p in ("train", "test") if sample.id in {s.id for s in load(tmp_path / "out" / p)})
    suite = suites.Suite("t", str(tmp_path / "out" / part), ["dialogue"])
    items = [
        i for i in suites.load(suite)[1] if i.sample.id == sample.id and i.question.topic == "trajectory"
    ]
    assert len(items) == 1
    for reply in ("It moves right.", "To the right."):
        said = parse(f"<answer>{reply}</answer>")
        assert task.score(said, items[0].question, sample)["trajectory_bleu4"] == 1.0
    assert {videos_of([sample])["01_0003-012_035"]} == {"01_0003"}
    tvau.read(distributed, tmp_path / "zh", language="zh")
    chinese = {s.id: s for part in ("train", "test") for s in load(tmp_path / "zh" / part)}
    assert (DIALOGUE["trajectory"], "一") in chinese["01_0003-012_035"].dialogue


@pytest.mark.parametrize(
    "file, text, said",
    [
        ("labels.csv", "video,description\n01_0001-000_023.mp4,maybe\n", "labels.csv:2: expected video"),
        ("labels.csv", "a,b\nc,d\n", "labels.csv:2: expected video"),
        (
            "labels.csv",
            "video,description\n01_0001-000_023.mp4,有异常\n01_0001-000_023.mp4,没有异常\n",
            "labels.csv:3: 01_0001-000_023 is there twice, once with",
        ),
        ("track.json", '{"a": {}, "a": {"object 1": []}}', "track.json: cannot be read .*'a' is there twice"),
        ("track.json", '{"a": {}, "a.npy": {"object 1": []}}', "track.json: a is there twice"),
        ("track.json", "[]", "track.json: expected an object"),
        ("track.json", '{"a": 1}', "track.json: a: expected an object"),
        ("track.json", '{"a": {"object 1": 3}}', "track.json: a: expected a list of places"),
        ("track.json", "{", "track.json: cannot be read"),
        ("dataset_track_zh_en.json", '{"a": [1]}', "zh_en.json: a: expected a list of texts"),
    ],
)
def test_notes_that_cannot_be_read(distributed, tmp_path, file, text, said):
    for name in ("labels.csv", "track.json", "dataset_track_zh_en.json"):
        (tmp_path / name).write_bytes((distributed / name).read_bytes())
    (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        tvau.read_notes(tmp_path)


def test_notes_that_say_the_same_twice_are_read_and_missing_ones_named(distributed, tmp_path):
    for name in ("labels.csv", "track.json", "dataset_track_zh_en.json"):
        (tmp_path / name).write_bytes((distributed / name).read_bytes())
    once_ = tvau.read_notes(tmp_path)
    text = (tmp_path / "labels.csv").read_text("utf-8-sig").splitlines()
    (tmp_path / "labels.csv").write_text("\n".join([*text, text[1]]), encoding="utf-8")
    assert tvau.read_notes(tmp_path) == once_
    (tmp_path / "labels.csv").write_bytes(b"video,description\n\xff")
    with pytest.raises(InputError, match=r"labels.csv: not UTF-8"):
        tvau.read_notes(tmp_path)
    (tmp_path / "labels.csv").unlink()
    with pytest.raises(InputError, match=r"labels.csv: cannot be read"):
        tvau.read_notes(tmp_path)


def test_a_damaged_window_is_one_line_and_the_others_stay(distributed, tmp_path):
    import shutil

    root = tmp_path / "copy"
    shutil.copytree(distributed, root)
    good = {p.stem for part in ("train", "val") for p in (root / part).iterdir()}
    names = sorted(good)
    (root / "gt" / f"{names[0]}.npy").unlink()
    np.save(root / "gt" / f"{names[1]}.npy", np.zeros((24, 4, 4)))
    (root / "gt" / f"{names[2]}.npy").write_bytes(b"no array")
    np.save(root / "gt" / f"{names[3]}.npy", np.array([{}], object), allow_pickle=True)
    np.save(root / "gt" / f"{names[4]}.npy", np.ones(SIZE) if "0001" not in names[4] else np.zeros(SIZE))
    somewhere = next(root.glob(f"*/{names[5]}.mp4"))
    somewhere.write_bytes(somewhere.read_bytes()[:300])
    other = next(root.glob(f"*/{names[6]}.mp4"))
    other.rename(other.with_name("strange.mp4"))
    odd = np.load(root / "gt" / f"{names[7]}.npy").astype(float)
    odd[0, 0, 0] = np.nan
    np.save(root / "gt" / f"{names[7]}.npy", odd)
    (root / "train/._strange.mp4").write_bytes(b"what a Mac leaves")
    parts, problems = tvau.read(root, tmp_path / "out")
    assert sum(map(len, parts.values())) == len(good) - 8
    said = "\n".join(map(str, problems))
    assert len(problems) == 9 and "no such mask" in said and "the window has (24, 48, 64)" in said
    assert said.count("not a .npy array") == 2 and "strange.mp4" in said
    assert f"1 windows have no video, the first {names[6]}" in said
    assert "labels.csv says" in said and f"{names[7]}.npy: expected 0 or 1, found NaN" in said


def test_the_windows_that_are_at_hand(tmp_path, capsys):
    root = shared("data/shanghaitech_tvau")
    parts, problems = tvau.read(root, tmp_path / "out")
    samples = [s for part in parts.values() for s in part]
    assert len(samples) == 4 and all(s.anomalous for s in samples)
    assert str(problems[0]) == "labels.csv: 2628 windows have no video, the first 01_0014-000_023"
    assert {s.video.source for s in samples} == {"01_0014", "01_0028", "01_0136", "04_0001"}
    for sample in samples:
        ways = [reply for asked, reply in sample.dialogue if asked == DIALOGUE["trajectory"]]
        assert len(ways) == 3 and not any("\ufeff" in way for way in ways)
    with pytest.raises(InputError, match="no train and no val"):
        tvau.read(root, tmp_path / "theirs", published=True)
