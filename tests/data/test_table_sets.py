"""Tables of other data sets: their names of normal videos, their classes as lists, and numbers that may be an
option's text or its number."""

import decimal
import json
import os

import cv2
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from clip_files import write_clip

from tvad.__main__ import main
from tvad.common.cli import guard
from tvad.common.errors import InputError
from tvad.data import check, load
from tvad.data.table import cells, lines
from tvad.data.table.understand import understand


@pytest.fixture
def told(tmp_path):
    """What is understood of a table's content; its videos v1 to v9 are not opened."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for n in range(1, 10):
        (folder / f"v{n}.mp4").write_text("not opened")

    def run(content, columns=None):
        file = tmp_path / ("my.csv" if isinstance(content, str) else "my.json")
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return understand(file, folder, columns)

    return run


NORMAL = (  # UCF-Crime, its copies, TAD, MSAD, UBnormal, ShanghaiTech
    *(
        "Normal",
        "normal",
        "Normal_Videos_event",
        "Normal_Videos",
        "NormalVideos",
        "normalvideos",
        "Normal-001",
    ),
    *("Testing_Normal_Videos_Anomaly", "Training_Normal_Videos_Anomaly", "Testing_Normal_Videos"),
    *(
        "Training-Normal-Videos-Part-1",
        "Training_Normal_Videos_Part_2",
        "Normal_Videos_for_Event_Recognition",
    ),
    *("z_Normal_Videos_event", "Normal_Videos_003_x264", "Normal001", "TestingNormalVideosAnomaly"),
    *("MSAD_normal_testing_12", "normal_scene_1_scenario_4", "UBnormal_normal", "Normal Event", "no anomaly"),
)
NEITHER = (
    "NonViolence",
    "nonviolence",
    "Non-Violence",
    "NonFight",
    "No fight",
    "Normal anomaly",
    "not normal",
)
NEITHER += ("Normal driving", "driving, normal", "Testing_Normal_Driving", "Not_Normal_Videos", "NoFight")
CLASSES = (
    "Fighting",
    "Abnormal driving",
    "Noise",
    "Nonstop driving",
    "Anomaly videos",
    "UBnormal",
    "Training",
)


@pytest.mark.parametrize("name", NORMAL)
def test_a_data_sets_own_name_of_normal_videos_is_normal(told, name):
    found = told(f"file,anomaly class\nv1.mp4,Fighting\nv2.mp4,{name}\n").clips
    assert [clip.label for clip in found.values()] == [True, False] and cells.classes(name) == ["Normal"]


@pytest.mark.parametrize("name", [*NEITHER, *CLASSES])
def test_what_may_be_normal_is_refused_and_a_class_is_one(name):
    if name in CLASSES:
        assert cells.classes(name) == [name]
    else:
        with pytest.raises(ValueError, match="expected Normal"):
            cells.classes(name)


@pytest.mark.parametrize(
    "codes", (("A", "B1-0-0"), ("label_A", "label_B2-0-0"), ("A", "B1", "G"), ("B4-0-0",))
)
def test_codes_of_xd_violence_are_no_names(told, codes):
    with pytest.raises(InputError, match="of XD-Violence, it seems, where A is normal"):
        told("file,anomaly class\n" + "".join(f"v{n}.mp4,{code}\n" for n, code in enumerate(codes, 1)))
    assert told("file,anomaly class\nv1.mp4,B1\nv2.mp4,Fire\n").clips["v1.mp4"].categories == ("B1",)


@pytest.mark.parametrize(
    "of",
    (lambda name: [name], lambda name: json.dumps([name]), lambda name: f"['{name}']", lambda name: name),
)
@pytest.mark.parametrize("column", ("label", "class", "anomaly class"))
def test_classes_as_lists_know_normal(told, of, column):
    """HIVAU-70k writes lists."""
    entries = [
        {"video": f"v{n}.mp4", column: of(name)} for n, name in enumerate(("Fighting", "Normal", "Fire"), 1)
    ]
    entries.append({"video": "v4.mp4", column: "Fighting, Fire"})
    found = told(entries)
    assert [clip.label for clip in found.clips.values()] == [True, False, True, True]
    assert found.clips["v2.mp4"].categories == ("Normal",)
    assert found.clips["v4.mp4"].categories == ("Fighting", "Fire")
    assert not any("class says nothing" in line for line in lines(found))


def asked(answers, options="1,2,3,4"):
    each = [options] * len(answers) if isinstance(options, str) else options
    head = f"file,question,{','.join('ABCD')},answer\n"
    return head + "".join(
        f"v{n}.mp4,q{n}?,{some},{a}\n" for n, (a, some) in enumerate(zip(answers, each, strict=True), 1)
    )


@pytest.mark.parametrize(
    ("answers", "options"),
    [
        ((0, 1, 2, 3, 1), "1,2,3,4"),  # from 0: one is no option
        ((1, 2, 3, 99), "1,2,3,4"),  # from 0 or texts, and a slip
        ((0, 1, 2, 3, "unknown"), "1,2,3,4"),
        ((1, 2, 3), ("4,3,2,1", "10,20,30,40", "4,3,2,1")),  # from 1: one is no option
        ((1, 3), "4,3,2,1"),
        ((1, 2, 3, 4), "0,1,2,3"),
        ((1, 0, 1), ("0,1,2,3", "a dog,a cat,a cow,a pig", "0,1,2,3")),
    ],
)
def test_numbers_that_may_be_options_or_their_numbers_are_refused(told, answers, options):
    with pytest.raises(InputError, match="numbers that are options and may be their numbers"):
        told(asked(answers, options))
    found = told(asked([0, 1, 1], "1,2,3,4"), {"answer": {"column": "answer", "first": 0}})
    assert [clip.questions[0].answer for clip in found.clips.values()] == ["A", "B", "B"]


@pytest.mark.parametrize(
    ("answers", "options", "letters"),
    [
        ((1, 2, 3, 4), "1,2,3,4", "ABCD"),  # as texts and as numbers from 1
        ((5, 2, 3, 4, 0), "2,3,4,5", "DABC"),  # 5 is no option's number, 0 a slip
        ((10, 40, "a"), "10,20,30,40", "ADA"),
        ((2, "a cat", "a dog"), ("2,4,6,8", *["a dog,a cat,a cow,a pig"] * 2), "ABA"),
        ((1, "a cat", "a dog"), ("0,1,2,3", *["a dog,a cat,a cow,a pig"] * 2), "BBA"),
    ],
)
def test_numbers_that_are_plainly_options_are_read(told, answers, options, letters):
    found = told(asked(answers, options)).clips
    assert "".join(clip.questions[0].answer for clip in found.values()) == letters


@pytest.mark.parametrize("given", ("Yes.", "yes!", "**Yes**", '"Yes."', "Yes。", "True."))
def test_a_mark_behind_yes_changes_nothing(told, given):
    rows = [
        {"file": "v1.mp4", "question": "Is there an anomaly in this video?", "answer": given},
        {"file": "v2.mp4", "question": "Is there an anomaly in this video", "answer": "No."},
        {"file": "v3.mp4", "question": "Is there a fire?", "answer": given},
        {"file": "v4.mp4", "question": "Is there a fire?", "answer": "Yes, a big one."},
    ]
    first, second, third, fourth = told(rows).clips.values()
    assert (first.label, second.label) == (True, False) and first.judged and not first.dialogue
    assert third.questions[0].options == ("Yes", "No") and third.questions[0].answer == "A"
    assert fourth.dialogue and not fourth.questions


def test_decimals_of_parquet_are_numbers(told, tmp_path):
    told("file,label\nv1.mp4,1\n")
    number = decimal.Decimal
    data = {
        "video": ["v1.mp4", "v2.mp4"],
        "start": pyarrow.array([number("3.50"), None]),
        "end": pyarrow.array([number("5.25"), None]),
        "label": pyarrow.array([number("1"), number("0")]),
        "question": ["How many?", "How many?"],
        "options": [[number("2.00"), number("3.00")], [number("2.50"), number("3.00")]],
        "answer": ["A", "A"],
    }
    pyarrow.parquet.write_table(pyarrow.table(data), tmp_path / "my.parquet")
    found = understand(tmp_path / "my.parquet", tmp_path / "clips")
    assert not found.problems
    (((start, end), _),) = found.clips["v1.mp4"].spans
    assert (start.value, end.value) == (3.5, 5.25) and found.clips["v2.mp4"].label is False
    assert [c.questions[0].options for c in found.clips.values()] == [("2", "3"), ("2.5", "3")]


def test_a_folder_of_pictures_that_states_its_times_is_a_clip(tmp_path, capsys):
    folder = tmp_path / "clips"
    write_clip(folder / "cam 1.mp4")
    for name, times in (("even", "0\n0.5\n1.0\n"), ("north/uneven", "0\n0.5\n2\n"), ("untimed", None)):
        (folder / name).mkdir(parents=True)
        for n in range(3):
            cv2.imwrite(str(folder / name / f"{n}.png"), np.full((32, 48, 3), 40 * n, np.uint8))
        if times:
            (folder / name / "times.txt").write_text(times)
    (folder / "leaving").mkdir()
    cv2.imwrite(str(tmp_path / "secret.png"), np.zeros((32, 48, 3), np.uint8))
    os.symlink(tmp_path / "secret.png", folder / "leaving" / "1.png")
    os.symlink(folder / "even" / "1.png", folder / "leaving" / "2.png")
    (folder / "leaving" / "times.txt").write_text("0\n1\n")
    rows = "even,1,0.1,0.8\nuneven,1,0.5,1\ncam 1.mp4,0,,\nuntimed,1,0,1\nleaving,0,,\n"
    (tmp_path / "my.csv").write_text("file,label,start,end\n" + rows)
    out = tmp_path / "out"
    typed = ["data", "table", str(tmp_path / "my.csv"), "--videos", str(folder), "--out", str(out)]
    assert guard(main, typed) == 1
    said = capsys.readouterr()
    assert "it is a folder, expected a video file, or pictures and times.txt in it" in said.err
    assert "a link that leaves the folder" in said.err and not (out / "videos/leaving/1.png").exists()
    found = {sample.id: sample for sample in load(out)}
    assert not check(out) and set(found) == {"even", "uneven", "cam 1"}
    assert found["even"].spans == ((0.1, 0.8),) and found["uneven"].video.times == (0.0, 0.5, 2.0)


def test_a_dry_look_needs_no_folder_to_write_to(tmp_path, capsys):
    write_clip(tmp_path / "clips" / "v1.mp4")
    (tmp_path / "my.csv").write_text("file,label\nv1.mp4,1\n")
    typed = ["data", "table", str(tmp_path / "my.csv"), "--videos", str(tmp_path / "clips")]
    assert guard(main, [*typed, "--dry"]) == 0 and "label" in capsys.readouterr().out
    assert guard(main, typed) == 2 and "missing: out" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clips", "my.csv"]
