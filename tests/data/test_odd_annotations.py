"""Annotations that say two things of one: a frame that is missing at the beginning, a target with two boxes
in a frame, a frame between two, a caption without words, an option's letter beside another option's text."""

import json
import shutil

import cv2
import numpy as np
import pytest

from tvad.common.errors import InputError
from tvad.data import check, load, shanghaitech, ubnormal, video, windows
from tvad.data.captions import Caption, captions_of
from tvad.data.readers import numbered, ucf_crime, ucsd
from tvad.data.vau_bench import _letter

SIZE = 48, 64


def frames(folder, numbers, name="{:03d}.tif"):
    folder.mkdir(parents=True)
    for n in numbers:
        cv2.imwrite(str(folder / name.format(n)), np.full(SIZE, 2 * n, np.uint8))
    return folder


@pytest.mark.parametrize("first", (0, 1))
@pytest.mark.parametrize("name", ("{:03d}.tif", "frame{:03d}.bmp", "{}.png"))
def test_frames_begin_with_0_or_1_as_published_layouts_do(tmp_path, first, name):
    folder = frames(tmp_path / "Test001", range(first, first + 11), name)
    assert len(numbered.pictures(folder)) == 11


@pytest.mark.parametrize("numbers, missing, found", (
    (range(2, 9), 1, "002.tif"), (range(61, 70), 1, "061.tif"), ((0, 2, 3), 1, "002.tif"),
    ((1, 2, 5), 3, "005.tif"),
))  # fmt: skip
def test_a_missing_first_frame_is_missing_as_any_other(tmp_path, numbers, missing, found):
    """The times of all frames were those of the frames before them, and masks by number lay beside."""
    folder = frames(tmp_path / "Test001", numbers)
    with pytest.raises(InputError, match=rf"Test001: frame {missing} is missing \(found {found}\)"):
        numbered.pictures(folder)
    root = tmp_path / "UCSDped2"
    frames(root / "Train/Train001", (1, 2, 3))
    shutil.copytree(folder, root / "Train/Train002")
    samples, (problem,) = ucsd.read(root, "train", tmp_path / "out")
    assert [s.id for s in samples] == ["Train001"] and f"Train002: frame {missing} is missing" in str(problem)


def test_shanghaitechs_frames_begin_with_0_too(tmp_path):
    root = tmp_path / "shanghaitech"
    for name, numbers in (("01_0014", range(6)), ("01_0015", range(2, 8)), ("01_0016", range(6))):
        frames(root / "testing/frames" / name, numbers, "{:03d}.jpg")
        for part, shape in (("test_frame_mask", (6,)), ("test_pixel_mask", (6, *SIZE))):
            (root / "testing" / part).mkdir(exist_ok=True)
            np.save(root / f"testing/{part}/{name}.npy", np.zeros(shape, np.uint8))
    shutil.copy(root / "testing/frames/01_0016/003.jpg", root / "testing/frames/01_0016/3.jpg")
    samples, problems = shanghaitech.read(root, "test", tmp_path / "out")
    assert [s.id for s in samples] == ["01_0014"]
    assert "01_0015: frame 1 is missing (found 002.jpg)" in str(problems[0])
    assert "01_0016: one frame is there twice, 003.jpg and 3.jpg" in str(problems[1])


@pytest.mark.parametrize("lines, said", (
    ("4,7,1,1,5,5\n4,7,1,1,6,6\n", "t.txt:2: track 4 has another box in frame 7"),
    ("4,6.9,1,1,5,5\n", "t.txt:1: expected track, frame"),
    ("4.5,6,1,1,5,5\n", "t.txt:1: expected track, frame"),
    ("4,nan,1,1,5,5\n", "t.txt:1: expected track, frame"),
    ("4,6,1,1,inf,5\n", "t.txt:1: box .1, 1, inf, 5. does not lie"),
    ("4\n", "t.txt:1: expected track, frame"),
))  # fmt: skip
def test_a_shanghaitech_target_has_one_box_a_frame(tmp_path, lines, said):
    (tmp_path / "t.txt").write_text(lines)
    with pytest.raises(InputError, match=said):
        shanghaitech.read_tracks(tmp_path / "t.txt", 20, 64, 48)


def test_boxes_that_agree_and_parts_of_pixels_are_kept(tmp_path):
    (tmp_path / "t.txt").write_text("4,7.0,1,1,5,5\n4,7,1,1,5,5\n4,8,1.5,1,5.25,5\n")
    (track,) = shanghaitech.read_tracks(tmp_path / "t.txt", 20, 64, 48)
    assert track.boxes == {7: (1.0, 1.0, 5.0, 5.0), 8: (1.5, 1.0, 5.25, 5.0)}


@pytest.mark.parametrize("rows, said", (
    ([[[7, 2, 3, 9, 9], [7, 4, 3, 9, 9]]], "tracks:1: Test001, track 3: frame 7 has another box"),
    ([[[7, 2, 3, 9, 9]], [[8, 2, 3, 9, 9], [7, 4, 3, 9, 9]]], "tracks:2: Test001, track 3: frame 7 has"),
    ([[[6.9, 2, 3, 9, 9]]], "tracks:1: expected video, track"),
))  # fmt: skip
def test_a_ucsd_target_has_one_box_a_frame(tmp_path, rows, said):
    lines = [
        json.dumps({"video": "Test001", "track": 3, "class": "cart", "boxes": row}) + "\n" for row in rows
    ]
    (tmp_path / "tracks").write_text("".join(lines))
    with pytest.raises(InputError, match=said):
        ucsd.read_tracks(tmp_path / "tracks")


def test_ubnormals_frames_are_whole_numbers(tmp_path):
    (tmp_path / "t.txt").write_text("1.0,2,3.0\n")
    assert ubnormal.read_tracks(tmp_path / "t.txt", 9) == [(1, 2, 3)]
    for line in ("1,2.9,5\n", "1.5,2,5\n", "1,2,inf\n"):
        (tmp_path / "t.txt").write_text(line)
        with pytest.raises(InputError, match=r"t\.txt:1: expected id, first frame"):
            ubnormal.read_tracks(tmp_path / "t.txt", 9)


def test_a_caption_without_words_is_said_and_the_others_stay(tmp_path, capsys):
    root = tmp_path / "ucf"
    for name in ("Abuse001_x264", "Arson001_x264"):
        (root / "v").mkdir(parents=True, exist_ok=True)
        video.write(root / f"v/{name}.mp4", np.full((40, *SIZE, 3), 60, np.uint8), 10)
    (root / "list.txt").write_text("Abuse001_x264.mp4 Abuse 2 5 -1 -1\nArson001_x264.mp4 Arson 2 5 -1 -1\n")
    told = {
        "Abuse001_x264": {
            "timestamps": [[0, 1], [1, 2], [2, 4]],
            "sentences": ["A dog.", " \n\t", "It runs."],
        },
        "Arson001_x264": {"timestamps": [[0, 1]], "sentences": [""]},
    }
    (root / "UCFCrime_Test.json").write_text(json.dumps(told))
    ucf_crime.read(root / "v", root / "list.txt", "test", tmp_path / "out", root)
    said = capsys.readouterr().err
    assert "captions: Abuse001_x264: sentence 2 is empty and left out" in said and said.count("left out") == 2
    one, two = load(tmp_path / "out")
    assert one.description == "0.0 to 1.0 s: A dog.\n2.0 to 4.0 s: It runs." and two.description is None
    cut, _ = windows.cut(tmp_path / "out", tmp_path / "windows", 2.0, 2.0)
    assert [s.description for s in cut][:2] == ["0.0 to 1.0 s: A dog.", "0.0 to 2.0 s: It runs."]


def test_captions_of_a_data_set_that_holds_one_without_words():
    """As readers wrote it before: all of them were lost."""
    told = "0.0 to 1.0 s: A dog.\n1.0 to 2.0 s: \n2.0 to 4.0 s:\n4.0 to 5.0 s: It runs."
    assert captions_of(told) == [Caption(0.0, 1.0, "A dog."), Caption(4.0, 5.0, "It runs.")]
    assert captions_of("A dog.\n0.0 to 1.0 s: It runs.") == [] == captions_of("0 to 1 s:x")


PLAIN = ["A cat sleeps", "A dog barks", "A man runs.", "Nothing"]
OWN = ["A. A cat sleeps", "B. A dog barks", "C. A man runs", "D. Nothing"]
MOVED = ["B. A dog barks", "A. A cat sleeps", "C. A man runs", "D. Nothing"]


@pytest.mark.parametrize("cell, options, letter", (
    ("B", PLAIN, "B"), (" C.", PLAIN, "C"), ("a man  runs", PLAIN, "C"), ("B. a dog barks.", PLAIN, "B"),
    ("B) A dog barks", OWN, "B"), ("B. A dog barks", OWN, "B"), ("B", OWN, "B"),
    ("B. a dog barks", MOVED, "A"), ("A. A cat sleeps", MOVED, "B"),
    ("B", ["A. Smith runs", "A dog barks", "x", "y"], "B"),
    ("A. Smith runs", ["A. Smith runs", "b", "x", "y"], "A"),
    ("B. same", ["x", "same", "y", "same"], "B"),
))  # fmt: skip
def test_the_right_option_is_the_one_that_letter_and_text_name(cell, options, letter):
    assert _letter(cell, options) == letter


@pytest.mark.parametrize("cell, options", (
    ("B. A cat sleeps", PLAIN), ("B. a bird sings", PLAIN), ("a bird sings", PLAIN), ("B. A cat sleeps", OWN),
    ("B", MOVED), ("A. A dog barks", MOVED), ("same", ["x", "same", "y", "same"]), ("E", PLAIN),
))  # fmt: skip
def test_a_letter_beside_the_text_of_another_option_is_refused(cell, options):
    """It was B, whatever its text said that no option says."""
    with pytest.raises(ValueError, match="names no option"):
        _letter(cell, options)


@pytest.mark.parametrize("digits", [308, 309, 400, 4000])
@pytest.mark.parametrize("key", ["fps", "seconds", "times", "spans"])
def test_a_number_that_no_float_holds_is_one_line(tmp_path, key, digits):
    """`tvad data check`, which lists bad rows, ended in a traceback."""
    video.write(tmp_path / "v.mp4", np.zeros((8, *SIZE, 3), np.uint8), 4.0)
    many = int("9" * digits)
    good = {"id": "9" * 400, "source": "x", "split": "test", "video": {"path": "v.mp4"}, "label": "anomalous"}
    told = {"times": [0, many], "spans": [[0, many]]}.get(key, many)
    bad = good | {"id": "a"} | ({key: told} if key == "spans" else {"video": {"path": "v.mp4", key: told}})
    (tmp_path / "samples.jsonl").write_text(f"{json.dumps(bad)}\n{json.dumps(good)}\n")
    said = f"samples.jsonl:1: not JSON (a number of {digits} digits, which measures nothing)"
    for files in (False, True):
        found = [str(problem) for problem in check(tmp_path, files)]
        if digits > 308:
            assert found == [said]
        else:
            assert all(line.startswith("a: ") for line in found) and (found or not files)
