"""What is known of a sample, and what is wrong with it: unknown is never normal, and one function finds what
reader, check, audit and whoever loads a data set are told."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from bench import audit
from tvad.__main__ import main as tvad
from tvad.common.cli import guard
from tvad.common.errors import InputError
from tvad.data import Question, Sample, Video, check, load, load_checked, masks, save, truth, video
from tvad.data.build import build
from tvad.data.dataset import ClipStore
from tvad.data.faults import names_others
from tvad.data.reclip import reclip
from tvad.data.sample import Track
from tvad.data.vau_bench import COLUMNS, read_csv

TIMES = np.arange(10) / 10
LIT = np.zeros((10, 4, 4), bool)
LIT[5:7] = True


def sample(**known) -> Sample:
    return Sample("x", "s", "test", Video("videos/x.mp4"), **known)


@pytest.mark.parametrize(
    ("known", "mask", "lit"),
    [
        ({"label": "anomalous", "spans": ((0.2, 0.4),)}, None, [2, 3]),
        ({"label": "anomalous", "spans": ((0.2, 0.4), (0.8, 5.0))}, None, [2, 3, 8, 9]),
        ({"spans": ((1 / 3, 0.5),)}, None, [4]),
        ({"spans": ()}, None, []),
        ({"label": "normal"}, None, []),
        ({"label": "normal"}, LIT, [5, 6]),
        ({"label": "anomalous", "spans": ((0.2, 0.4),)}, LIT, [5, 6]),
        ({"label": "anomalous"}, None, None),
        ({}, None, None),
    ],
)
def test_frames_come_from_the_mask_else_spans_else_a_normal_label_else_are_unknown(known, mask, lit):
    found = truth.frame_labels(sample(**known), TIMES, mask)
    assert found is None if lit is None else np.flatnonzero(found).tolist() == lit


def test_a_span_of_whole_frames_holds_them_whatever_the_rate():
    for fps in (10.0, 24.0, 25.0, 30000 / 1001, 30.0):
        times = np.arange(300) / fps
        assert np.flatnonzero(truth.inside(times, [(57 / fps, 91 / fps)])).tolist() == list(range(57, 91))


def test_pixels_and_regions_are_not_known_from_spans():
    told = sample(label="anomalous", spans=((0.2, 0.4),))
    tracked = replace(told, tracks=(Track(0, "man", {2: (0, 0, 3, 3)}, (2,)),))
    assert not truth.pixels_known(told) and not truth.regions_known(told)
    assert truth.regions_known(tracked) and not truth.pixels_known(tracked)
    assert not truth.regions_known(replace(tracked, tracks=(Track(0, "man", {2: (0, 0, 3, 3)}),)))
    for quiet in (sample(label="normal"), sample(spans=())):
        assert truth.pixels_known(quiet) and truth.regions_known(quiet)
    assert not truth.pixels_known(sample()) and not truth.regions_known(sample())


def mcq(*options: str, answer: str = "A") -> dict:
    return {"questions": (Question("mcq", "What?", answer, options),)}


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"spans": ((math.nan, 2.0),)}, "span [nan, 2.0] must satisfy"),
        ({"spans": ((1.0, math.inf),)}, "span [1.0, inf] must satisfy"),
        ({"label": "anomalous", "spans": ()}, "empty list of spans; unknown is null"),
        ({"label": "normal", "spans": ((0.0, 1.0),)}, "a normal sample has spans"),
        ({"label": "Anomalous"}, "label is 'Anomalous'"),
        ({"key_object": ["a man"]}, "key_object is ['a man'], expected text"),
        ({"video": Video("v.mp4", math.nan)}, "video.fps is nan"),
        ({"video": Video("v.mp4", 0.0)}, "video.fps is 0.0"),
        ({"video": Video("v.mp4", "25")}, "video.fps is '25'"),
        ({"video": Video("v.mp4", 25.0, 40.5)}, "video.frames is 40.5"),
        ({"tracks": (Track(3, "man", {0: (0, 0, math.nan, 5)}),)}, "track 3 frame 0: box [0, 0, nan, 5]"),
        ({"tracks": (Track(3, "man", {0: (5, 0, 4, 5)}),)}, "track 3 frame 0: box [5, 0, 4, 5] is reversed"),
        ({"tracks": (Track(3, "man", {0: (0, 0, 9)}),)}, "is not four finite numbers"),
        ({"tracks": (Track(3, "man", {-1: (0, 0, 9, 9)}),)}, "track 3 has frame -1"),
        (
            {"video": Video("v.mp4", 10.0, 40, 32, 32), "tracks": (Track(3, "man", {0: (0, 0, 40, 5)}),)},
            "track 3 frame 0: box [0, 0, 40, 5] reaches out of the picture of 32 x 32 pixels",
        ),
        (
            {"video": Video("v.mp4", 10.0, 40), "tracks": (Track(3, "man", {0: (0, 0, 4, 5)}, (0, 99)),)},
            "track 3 has frame 99, the video has 40",
        ),
        (mcq("a", ""), "question 0: option B is '', expected words"),
        (mcq("a", 3), "question 0: option B is 3, expected words"),
        (mcq("a", "b", answer="AB"), "answer 'AB' is none of the options' letters AB"),
        (mcq("a", "b", answer="C"), "answer 'C' is none of the options' letters AB"),
        (mcq(), "none of the options' letters (no options)"),
        (mcq(*map(str, range(11))), "11 options, at most 10"),
        (
            {"questions": (Question("judgement", "Is there?", "Perhaps"),)},
            "'Perhaps' says neither yes nor no",
        ),
        ({"questions": (Question("classification", "Which?", " "),)}, "answer is ' ', expected words"),
        ({"questions": (Question("temporal", "When?", "Anomaly"),)}, "the span is missing"),
        ({"questions": (Question("temporal", "When?", "Anomaly", spans="soon"),)}, "spans is 'soon'"),
        (
            {
                "video": Video("v.mp4", 10.0, 40),
                "questions": (Question("temporal", "When?", "Anomaly", spans=((0.0, 70.0),)),),
            },
            "question 0: span [0.0, 70.0] ends after the video's 4.00 s",
        ),
    ],
)
def test_what_is_wrong_is_found_by_every_one_who_reads(known, words, tmp_path):
    """`Sample.problems` is what check, the loader, the audit and builders ask."""
    bad = replace(sample(), **known)
    assert any(words in problem for problem in bad.problems()), bad.problems()
    with pytest.raises(InputError, match="x: "):
        build(tmp_path / "built", ["x"], lambda name, folder: [bad], "test", {})
    try:
        save([bad, replace(sample(label="normal"), id="y")], tmp_path / "data")
    except InputError as error:  # no JSON can hold it
        assert "x: a number is NaN or infinite" in str(error)
        return
    (problem,) = (str(p) for p in check(tmp_path / "data", files=False))
    with pytest.raises(InputError):
        load_checked(tmp_path / "data")
    assert [s.id for s in load_checked(tmp_path / "data", drop=True)] == ["y"]
    (refused,) = audit.audit(str(tmp_path / "data")).refused
    assert str(refused).removeprefix("x: ") in problem


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("A man falls", "a man  falls."), "options A and B are the same"),
        (("left", "right", "Left"), "options A and C are the same"),
        (("Is it true!", "Is it true?"), "options A and B are the same"),
        (("“Left”,", '"left"'), "options A and B are the same"),
        (("Ｌｅｆｔ", "left;"), "options A and B are the same"),
        (("A man\u00a0falls.", "a man falls..."), "options A and B are the same"),
        (("B", "A"), "option A is 'B', the letter of another option"),
        (("cat", "(a)"), "option B is '(a)', the letter of another option"),
        (("B. cat", "A. dog"), "option A begins with the letter B"),
        (("one",), "no choice"),
        (("A", "B", "C"), None),
        (("A. cat", "B. dog"), None),
        (("A. Lincoln", "G. Washington"), "begins"),
        (("Mr. Lincoln", "A. Lincoln"), None),
        (("Vitamin A", "Vitamin K", "E"), None),
        (("Both", "None of the above"), None),
    ],
)
def test_options_that_cannot_be_told_apart_are_in_doubt_and_used(options, words, tmp_path):
    asked = sample(label="normal", **mcq(*options))
    assert not asked.problems()
    assert any(words in doubt for doubt in asked.doubts()) if words else not asked.doubts()
    save([asked], tmp_path)
    assert load_checked(tmp_path) == [asked]
    found = check(tmp_path, files=False)
    assert all(problem.doubt for problem in found) and bool(found) == bool(words)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("Both A and B", True),
        ("A and C", True),
        ("Either (a) or (b)", True),
        ("option C", True),
        ("None of the above", True),
        ("all of the below", True),
        ("A man and a bicycle", False),
        ("Neither person moves", False),
        ("A and others run", False),
        ("Either a man or a dog", False),
        ("a or b", False),
        ("A, B and D", True),
        ("Vitamin A", False),
        ("None", False),
    ],
)
def test_options_that_speak_of_others_are_known(option, expected):
    assert names_others(option) is expected


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_none_is_refused_by_line(tmp_path, literal):
    video = f'{{"path": "v.mp4", "fps": {literal}}}'
    row = f'{{"id": "x", "source": "s", "split": "t", "video": {video}}}\n'
    (tmp_path / "samples.jsonl").write_text(row)
    with pytest.raises(InputError, match=rf"samples.jsonl:1: not JSON \({literal} is no JSON number\)"):
        load(tmp_path)
    assert f"samples.jsonl:1: not JSON ({literal} is no JSON number)" in str(check(tmp_path, files=False)[0])
    with pytest.raises(InputError, match=f"no readable row; the first: samples.jsonl:1: not JSON .{literal}"):
        audit.audit(str(tmp_path))


def test_what_json_cannot_hold_is_not_written(tmp_path):
    with pytest.raises(InputError, match="x: a number is NaN or infinite"):
        save([sample(spans=((0.0, math.inf),))], tmp_path)
    assert not list(tmp_path.iterdir())


def write_clip(path, frames=20, size=32):
    path.parent.mkdir(parents=True, exist_ok=True)
    video.write(path, np.full((frames, size, size, 3), 90, np.uint8), 10.0)


def test_check_opens_what_a_sample_does_not_state(tmp_path):
    write_clip(tmp_path / "videos/x.mp4")
    (tmp_path / "masks").mkdir()
    masks.write(tmp_path / "masks/small.npz", np.ones((20, 16, 16), bool))
    masks.write(tmp_path / "masks/short.npz", np.ones((19, 32, 32), bool))
    masks.write(tmp_path / "masks/none.npz", np.zeros((20, 32, 32), bool))
    masks.write(tmp_path / "masks/lit.npz", np.ones((20, 32, 32), bool))
    wild = (Track(0, "man", {25: (0, 0, 4, 4)}), Track(1, "man", {5: (0, 0, 40, 4)}))
    late = (Question("temporal", "When?", "Anomaly", spans=((1.0, 9.0),)),)
    for known, words in (
        ({"label": "anomalous", "spans": ((1.0, 7.0),)}, "span [1.0, 7.0] ends after the video's 2.00 s"),
        ({"questions": late}, "question 0: span [1.0, 9.0] ends after"),
        ({"tracks": wild[:1]}, "track 0 has frame 25, the video has 20"),
        ({"tracks": wild[1:]}, "track 1 frame 5: box [0, 0, 40, 4] reaches out of the picture"),
        ({"mask": "masks/small.npz"}, "has shape (20, 16, 16), the video (20, 32, 32)"),
        ({"mask": "masks/short.npz"}, "has shape (19, 32, 32), the video (20, 32, 32)"),
        ({"label": "normal", "mask": "masks/lit.npz"}, "has anomalous pixels in a normal video"),
        ({"label": "anomalous", "mask": "masks/none.npz"}, "no anomalous pixel in an anomalous video"),
    ):
        save([replace(sample(), **known)], tmp_path)
        assert not check(tmp_path, files=False)
        (problem,) = check(tmp_path)
        assert words in problem.reason and problem.where == "x"


def test_training_and_cutting_take_nothing_unknown_for_normal(tmp_path):
    write_clip(tmp_path / "videos/x.mp4", frames=200)
    known = {
        "normal": {"label": "normal"},
        "unknown": {},
        "anomalous": {"label": "anomalous"},
        "told": {"label": "anomalous", "spans": ((5.0, 8.0),)},
    }
    clips = {name: replace(sample(**facts), id=name, root=str(tmp_path)) for name, facts in known.items()}
    store = ClipStore(1.0, 8)
    assert not store.mask(clips["normal"]).any()
    assert all(store.mask(clips[name]) is None for name in ("unknown", "anomalous", "told"))
    save(clips.values(), tmp_path)
    counts, problems = reclip([str(tmp_path)], tmp_path / "cut")
    assert sum(counts.values()) == 2
    assert sorted(p.where for p in problems) == ["s/anomalous", "s/unknown"]
    assert all(truth.NO_FRAMES in p.reason for p in problems)
    (tmp_path / "masks").mkdir()
    masks.write(tmp_path / "masks/small.npz", np.ones((200, 16, 16), bool))
    with pytest.raises(InputError, match=r"told: masks/small.npz has shape \(200, 16, 16\)"):
        store.mask(replace(clips["told"], mask="masks/small.npz"))


@pytest.mark.parametrize(
    ("fields", "label", "spans"),
    [
        ({"Start Time": "nan", "End Time": "nan"}, "anomalous", None),
        ({"Start Time": "", "End Time": ""}, "anomalous", None),
        ({"Start Time": "-1", "End Time": "-1"}, "anomalous", None),
        ({"Start Time": "3", "End Time": "NaN"}, "anomalous", None),
        ({"Start Time": "nan", "End Time": "nan", "Anomaly Class": "Normal"}, "normal", ()),
        ({"Start Time": "nan", "End Time": "nan", "Anomaly Class": "nan"}, None, None),
        ({"Start Time": "0", "End Time": "0", "Anomaly Class": "-1"}, "normal", ()),
        ({"Start Time": "3", "End Time": "1e999"}, "Start", "End Time is '1e999', expected seconds"),
        ({"Start Time": "-inf", "End Time": "4"}, "Start", "Start Time is '-inf', expected seconds"),
    ],
)
def test_a_time_of_vau_bench_is_seconds_missing_or_refused(tmp_path, fields, label, spans):
    row = {column: column.lower() for column in COLUMNS} | {"Video Name": "a.mp4", "Correct Option": "B"}
    row |= fields
    lines = [",".join(COLUMNS), ",".join(f'"{row[c]}"' for c in COLUMNS)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    samples, problems = read_csv(tmp_path / "rows.csv")
    if isinstance(spans, str):
        assert not samples and spans in str(problems[0]) and "row 2" in str(problems[0])
        return
    (found,) = samples
    assert (found.label, found.spans) == (label, spans) and not found.problems()
    asked = {q.kind: q.answer for q in found.questions}
    assert asked.get("judgement") == {"anomalous": "Yes", "normal": "No", None: None}[label]


@pytest.mark.parametrize(("end", "status"), [(20.0, 0), (20.5, 0), (21.0, 0), (21.5, 2)])
def test_the_end_of_a_vau_bench_row_may_be_rounded_by_a_second(tmp_path, capsys, end, status):
    write_clip(tmp_path / "videos/a.mp4", frames=200)
    row = {column: column.lower() for column in COLUMNS} | {"Video Name": "a.mp4", "Correct Option": "B"}
    row |= {"Start Time": "3", "End Time": str(end)}
    lines = [",".join(COLUMNS), ",".join(f'"{row[c]}"' for c in COLUMNS)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    arguments = ["data", "vau-bench", str(tmp_path / "rows.csv"), "--videos", str(tmp_path / "videos")]
    assert guard(tvad, [*arguments, "--out", str(tmp_path / "data")]) == status
    said = capsys.readouterr().err
    assert ("cut a: end" in said) == (status == 0 and end > 20)
    if status == 0:
        assert not check(tmp_path / "data") and load(tmp_path / "data")[0].spans == ((3.0, 20.0),)


def test_an_audit_says_where_it_has_not_looked(tmp_path, scenes):
    told = audit.audit(str(scenes))
    lines = {finding.what: finding.result for finding in told.findings}
    assert lines["spans outside the video"] == "0" and lines["videos that are the same file"] == "0"
    save([replace(s, video=Video(s.video.path), tracks=None, mask=None) for s in load(scenes)[:6]], tmp_path)
    lines = {finding.what: finding.result for finding in audit.audit(str(tmp_path)).findings}
    assert lines["spans outside the video"].startswith("not looked at in")
    assert lines["videos that are the same file"] == "not looked at in 6, no file is there"
    save([replace(sample(), questions=())], tmp_path / "bare")
    lines = {finding.what: finding.result for finding in audit.audit(str(tmp_path / "bare")).findings}
    assert lines["labels"] == "unknown 1"
    assert "not looked: there is no multiple-choice question" in lines.values()
    assert lines["spans outside the video"] == "not looked: no video has spans"
    json.dumps(lines, allow_nan=False)
