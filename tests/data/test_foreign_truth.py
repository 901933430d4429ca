"""Truth that contradicts itself in public layouts, and what a killed run left of other footage."""

import json
import shutil

import cv2
import numpy as np
import pytest
import video_kinds as kinds

from tvad.__main__ import main
from tvad.common.errors import InputError
from tvad.data import check, load, save, shanghaitech
from tvad.data.build import linked
from tvad.data.readers import numbered, ucsd
from tvad.data.reclip import videos_of
from tvad.data.sample import Sample, Track, Video
from tvad.data.stats import stats_of

SIZE = 48, 64


def lit(n, first=3, last=6):
    """A mask, lit from the first frame to the last."""
    mask = np.zeros(SIZE, np.uint8)
    mask[10:20, 10:20] = 255 * (first <= n <= last)
    return mask


@pytest.fixture
def ped(tmp_path):
    root = tmp_path / "UCSDped2"
    for folder in ("Test001", "Test001_gt"):
        (root / "Test" / folder).mkdir(parents=True)
    for n in range(1, 11):
        cv2.imwrite(str(root / f"Test/Test001/{n:03d}.tif"), np.full(SIZE, 10 * n, np.uint8))
        cv2.imwrite(str(root / f"Test/Test001_gt/{n:03d}.bmp"), lit(n))
    (root / "Test/UCSDped2.m").write_text("TestVideoFile{end+1}.gt_frame = [3:6];\n")
    return root


def tracks(path, frames, **more):
    boxes = [[n, 10, 10, 10, 10] for n in frames]
    row = {"video": "Test001", "track": 1, "class": "cart", "boxes": boxes, **more}
    path.write_text(json.dumps(row) + "\n")
    return path


@pytest.mark.parametrize("frames, told", (((3, 4, 5, 6), ""), ((1, 2), "differ in 6 frames, the first 1;")))
def test_tracks_that_lie_elsewhere_in_time_than_masks_are_said(ped, tmp_path, capsys, frames, told):
    ucsd.read(ped, "test", tmp_path / "out", tracks(tmp_path / "t.jsonl", frames))
    said = capsys.readouterr().err
    assert (f"Test001: tracks and masks {told}" in said) is bool(told) and ("differ" in said) is bool(told)


@pytest.mark.parametrize("name", ("", " ", None, 7))
def test_a_track_that_is_called_nothing_is_refused_and_no_traceback(ped, tmp_path, name):
    """An empty class ended the reader; null became the class "None"."""
    with pytest.raises(InputError, match=r"t\.jsonl:1: expected video, track, class, boxes"):
        ucsd.read(ped, "test", tmp_path / "out", tracks(tmp_path / "t.jsonl", (3, 4), **{"class": name}))
    (tmp_path / "set").mkdir()
    kinds.video(tmp_path / "set/a.mp4")
    track = Track(0, name, {0: (1.0, 1.0, 5.0, 5.0)}, (0,))
    save([Sample("a", "m", "test", Video("a.mp4"), "anomalous", tracks=(track,))], tmp_path / "set")
    assert "track 0 is of the kind" in str(check(tmp_path / "set")[0])
    with pytest.raises(InputError, match="track 0 is of the kind"):
        main(["data", "windows", str(tmp_path / "set"), "--out", str(tmp_path / "w")])


@pytest.mark.parametrize("empty", (False, True))
def test_shanghaitech_frames_are_anomalous_and_no_pixel_is(tmp_path, empty):
    """The data set was made, and `tvad data check` refused it afterwards."""
    root = tmp_path / "shanghaitech/testing"
    (root / "frames/01_0014").mkdir(parents=True)
    pixels = np.stack([lit(n, 2, 3) for n in range(6)]) // 255
    for n in range(6):
        cv2.imwrite(str(root / f"frames/01_0014/{n:03d}.jpg"), np.full(SIZE, 10 * n, np.uint8))
    for part, data in (("test_frame_mask", pixels.any((1, 2))), ("test_pixel_mask", pixels * (not empty))):
        (root / part).mkdir()
        np.save(root / part / "01_0014.npy", data)
    if empty:
        with pytest.raises(InputError, match="nothing is lit, but 2 frames are anomalous"):
            shanghaitech.read(tmp_path / "shanghaitech", "test", tmp_path / "out")
    else:
        shanghaitech.read(tmp_path / "shanghaitech", "test", tmp_path / "out")
        assert not check(tmp_path / "out")


def test_frames_that_a_killed_run_left_of_other_footage_are_no_frames_of_this(ped, tmp_path):
    """They lay behind the new ones: the folder had more frames than its row stated."""
    files = numbered.pictures(ped / "Test/Test001")
    out = tmp_path / "out/videos/Test001"
    for left in (files, files[:7]):
        numbered.put(left, out)
    assert len([*out.iterdir()]) == 7
    sample = Sample("a", "m", "test", Video("Test001", 10.0), root=str(out.parent))
    for count in (7, 5):
        linked(sample, tmp_path / "linked")
        assert len([*(tmp_path / "linked/videos/a").iterdir()]) == count
        shutil.rmtree(out), numbered.put(files[:5], out)


@pytest.mark.parametrize("pattern", (r"^(cam\d)?", r"^(cam\d)|way", "x*"))
def test_a_pattern_that_names_no_video_of_an_id_is_refused(pattern):
    """All ids that an optional group left out were of one video, called None."""
    made = [
        Sample(name, "m", "test", Video("v.mp4"), label="normal") for name in ("cam1_a", "way_1", "way_2")
    ]
    with pytest.raises(InputError, match="matches nothing of the id"):
        videos_of(made, pattern)


def test_bad_rows_are_no_part_of_what_is_counted(tmp_path, capsys):
    """A reversed span was a length below zero."""
    plain = Sample("a", "m", "test", Video("a.mp4", 10.0, 100), "anomalous", ("x",), ((2.0, 3.0),))
    odd = Sample("b", "m", "test", Video("b.mp4", 10.0, 100), "anomalous", ("x",), ((5.0, 2.0),))
    save([plain, odd], tmp_path)
    assert main(["data", "stats", str(tmp_path)]) == 1
    assert "1 clips, 0.00 hours; 1 bad rows are not counted" in capsys.readouterr().out
    found = stats_of(load(tmp_path))
    assert (found["clips"], found["bad_rows"], found["span"]["least"]) == (1, 1, 1.0)
    save([plain], tmp_path)
    assert main(["data", "stats", str(tmp_path)]) == 0 and "bad rows" not in capsys.readouterr().out


def test_a_training_video_is_the_one_file_of_its_name_that_is_a_video(tmp_path):
    """Whichever file of the name the file system gave first was read, notes and lists as well."""
    train = tmp_path / "UCSDped2/Train"
    train.mkdir(parents=True)
    for name in ("Train001.mp4", "Train002.mp4", "Train002.mkv", "Train003.mkv"):
        kinds.video(train / name)
    for name in ("Train001.aaa", "Train001.txt", "Train003.json", "Train004.txt", "Thumbs.db"):
        (train / name).write_text("notes")
    samples, problems = ucsd.read(tmp_path / "UCSDped2", "train", tmp_path / "out")
    assert [s.video.path for s in samples] == ["videos/Train001.mp4", "videos/Train003.mkv"]
    assert "Train002: is there twice, Train002.mkv and Train002.mp4" in str(problems[0])
    assert len(problems) == 1
