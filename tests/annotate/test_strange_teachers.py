"""Teachers that never answer, or in part: what nobody knows does not become normal. Rows of `reason` whose
label is not stated; folders and trails of a review that are none."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from fastapi.testclient import TestClient

from tvad.__main__ import main
from tvad.annotate.construct import Construction
from tvad.annotate.engine import ROWS, finish, reason, run
from tvad.annotate.page import application
from tvad.annotate.review import TRAIL, append, trail_in
from tvad.annotate.teacher import Reply
from tvad.annotate.trajectories import Trajectories, stated
from tvad.common.cli import guard
from tvad.common.errors import InputError
from tvad.data import check, load, masks, save, video
from tvad.data.sample import Question, Sample, Video

sys.path.insert(0, str(ROOT / "tests/bench"))
sys.path.insert(0, str(ROOT / "tests/data"))

import video_kinds as kinds
from test_openai import Endpoint

NOBODY = '{"targets": []}'
SOMEBODY = {"kind": "man", "box": [100, 100, 400, 900], "action": "fighting", "unusual": True}


class Says:
    """Replies out of a list, over and over; `asked`: how often."""

    at_once, name = 8, "says"

    def __init__(self, *replies):
        self.replies, self.asked = replies, 0

    def answers(self, asks):
        for n, _ in enumerate(asks):
            told = self.replies[self.asked % len(self.replies)]
            self.asked += 1
            yield n, told if isinstance(told, Reply) else Reply(told)


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(2):
        video.write(folder / f"v{n}.mp4", np.full((24, 32, 32, 3), 90 * n, np.uint8), 4.0)
    return folder


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        {"choices": []},
        {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": "I cannot help with that."}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": '{"targets": [{"kind": "man"}]}'}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": '{"targets": "none"}'}, "finish_reason": "stop"}]},
    ],
)
def test_a_teacher_that_says_nothing_makes_no_video_normal(films, tmp_path, capsys, answer):
    endpoint = Endpoint()
    endpoint.replies = [(200, answer)] * 1000
    command = ["annotate", "run", str(films), "--teacher", f"openai:m@{endpoint.url}", "--rate", "1"]
    command += ["--option", "wait=0", "--out", str(tmp_path / "out")]
    assert guard(main, command) == 2
    said = capsys.readouterr().err
    assert (
        "6 of 6 frames have no reply that can be read" in said
        and not (tmp_path / "out/samples.jsonl").exists()
    )
    text = {"choices": [{"message": {"content": NOBODY}, "finish_reason": "stop"}]}
    endpoint.replies = [(200, text)] * 1000
    assert guard(main, command) == 0
    assert [s.label for s in load(tmp_path / "out")] == ["normal"] * 2
    endpoint.server.shutdown()


def test_gaps_between_answers_are_bridged_and_no_more(films, tmp_path):
    bad = Reply(failed="refused")
    (films / "v1.mp4").unlink()
    for n, (gap, replies, known) in enumerate(
        [
            (2.0, [NOBODY, bad, NOBODY], True),
            (1.0, [NOBODY, bad, NOBODY], False),
            (2.0, [NOBODY, NOBODY, bad, bad, NOBODY, NOBODY], False),
            (1.0, [bad, *[NOBODY] * 4, bad], True),
        ]
    ):
        how = Construction(rate=1.0, checks=0, gap=gap)
        if known:
            assert [s.label for s in run(films, tmp_path / str(n), Says(*replies), how)[0]] == ["normal"]
        else:
            with pytest.raises(
                InputError, match=r"of 6 frames have no reply that can be read \(reply: refused"
            ):
                run(films, tmp_path / str(n), Says(*replies), how)


@pytest.mark.parametrize("fps", [30000 / 1001, 25, 15])
def test_what_is_joined_over_a_gap_is_bridged_without_an_answer(tmp_path, fps):
    """At 29.97 frames a second neighbours of a lost one, half a second away each, are 1.001 s apart."""
    (tmp_path / "films").mkdir()
    video.write(tmp_path / "films/v.mp4", np.zeros((round(6 * fps), 32, 48, 3), np.uint8), fps)
    frames = [int(n) for n in video.decode(tmp_path / "films/v.mp4", 2.0).indices]
    for lost in range(1, len(frames) - 1):
        replies = [NOBODY] * len(frames)
        replies[lost] = Reply(failed="refused")
        out, how = tmp_path / str(lost), Construction(rate=2.0, checks=0, gap=1.0)
        if frames[lost + 1] - frames[lost - 1] <= round(1.0 * fps):
            assert [s.label for s in run(tmp_path / "films", out, Says(*replies), how)[0]] == ["normal"]
        else:
            with pytest.raises(InputError, match="have no reply that can be read"):
                run(tmp_path / "films", out, Says(*replies), how)


def test_what_waits_for_a_person_is_not_normal(films, tmp_path):
    frame, elsewhere = json.dumps({"targets": [SOMEBODY]}), '{"visible": true, "box": [900, 0, 990, 90]}'

    class Contradicts(Says):
        def answers(self, asks):
            for n, ask in enumerate(asks):
                stage = ask.about["stage"]
                yield (
                    n,
                    Reply(elsewhere if stage == "where" else '{"kind": "man"}' if stage == "what" else frame),
                )

    out = tmp_path / "out"
    samples, problems, *_ = run(films, out, Contradicts(), Construction(rate=1.0))
    assert not samples and [p.where for p in problems] == ["v0", "v1"] and "review" in problems[0].reason
    target = json.loads((out / ROWS).read_text().splitlines()[0])["targets"][0]["id"]
    base = {"target": target, "look": {"kind": "man"}, "action": "fighting", "reviewer": "a", "time": "now"}
    append(out, {"id": "v0", "decision": "accept", **base})
    append(out, {"id": "v1", "decision": "reject", **base})
    assert [s.label for s in finish(out)] == ["anomalous", "normal"] and not check(out)


@pytest.mark.parametrize("policy", ["review", "drop"])
@pytest.mark.parametrize(
    ("heard", "about"), [([], "its place and its looks"), (["what"], "its place"), (["where"], "its looks")]
)
def test_what_no_check_could_verify_waits_for_a_person(films, tmp_path, policy, heard, about):
    class Silent(Says):
        def answers(self, asks):
            for n, ask in enumerate(asks):
                told = {"where": {"visible": True, "box": SOMEBODY["box"]}, "what": {"kind": "man"}}
                seen = json.dumps(told.get(ask.about["stage"], {"targets": [SOMEBODY]}))
                answers = ask.about["stage"] in ("frame", "refine", *heard)
                yield n, Reply(seen) if answers else Reply(failed="refused")

    how = Construction(rate=1.0, contradictions=policy)
    samples, problems, _, counts = run(films, tmp_path / policy, Silent(), how)
    assert not samples and [p.where for p in problems] == ["v0", "v1"]
    assert counts["targets that no check could verify"] == 2
    row = json.loads((tmp_path / policy / ROWS).read_text().splitlines()[0])
    assert row["targets"][0]["reasons"] == [f"no check of {about} was answered"]


def said(abnormal, category, **more):
    parts = {
        "observation": "A man in a red coat stands near the door.",
        "evidence": ["he swings a hammer at the glass"],
        "reasoning": "Nobody does such a thing at a door there.",
        "objects": ["man in red"],
    }
    return json.dumps(parts | {"conclusion": {"abnormal": abnormal, "category": category}} | more)


def reasoned(films, tmp_path, sample, text):
    save([sample], films)
    return reason(films, tmp_path / "told", Says(text), Trajectories(frames=2))


def sample_with(**known):
    return Sample("v", "x", "train", Video("v0.mp4", 4.0, 24, 32, 32), **known)


@pytest.mark.parametrize(
    ("known", "text", "words"),
    [
        ({}, said(True, "normal"), "category contradicts its conclusion"),
        ({}, said(False, "Burglary"), "category contradicts its conclusion"),
        ({"spans": ()}, said(True, "Burglary"), "contradicts the label"),
        ({"spans": ((1.0, 2.0),)}, said(False, "normal"), "contradicts the label"),
        ({"categories": ("Burglary",)}, said(False, "normal"), "contradicts the label"),
        ({"categories": ("Burglary",)}, said(True, "Arson"), "category contradicts the label"),
        (
            {"questions": (Question("judgement", "Is it so?", "No"),)},
            said(True, "Burglary"),
            "contradicts the label",
        ),
        ({"label": "anomalous", "spans": ()}, said(True, "Burglary"), "empty list of spans"),
        ({"label": "odd"}, said(True, "Burglary"), "label is 'odd'"),
    ],
)
def test_no_label_is_guessed_against_what_a_row_states(films, tmp_path, known, text, words):
    with pytest.raises(InputError, match=words):
        reasoned(films, tmp_path, sample_with(**known), text)


def test_what_a_row_had_is_kept(films, tmp_path):
    mcq = Question("mcq", "Which?", "B", ("a", "b"), "which")
    asked = Question("judgement", "Is anything wrong here?", "Yes")
    own = sample_with(spans=((1.0, 2.0),), questions=(mcq, asked), key_object="hammer")
    own = replace(own, description="A man stands near a door.", dialogue=(("Who?", "A man."),))
    (sample,), problems, *_ = reasoned(films, tmp_path, own, said(True, "Burglary"))
    assert not problems and sample.key_object == "hammer" and sample.label == "anomalous"
    assert sample.questions[0] == mcq
    assert (sample.description, sample.dialogue) == (own.description, own.dialogue)
    (judged,) = [q for q in sample.questions if q.kind == "judgement"]
    assert judged.text == asked.text and judged.rationale == sample.rationale
    assert [q.kind for q in sample.questions[2:]] == ["temporal"] and not check(tmp_path / "told")


def test_a_refused_request_of_reason_is_asked_again(films, tmp_path):
    save([sample_with(label="anomalous")], films)
    out, how = tmp_path / "told", Trajectories(frames=2)
    with pytest.raises(InputError, match="no reply: refused; the same command asks again"):
        reason(films, out, Says(Reply(failed="refused")), how)
    again = Says(said(True, "Burglary"))
    assert len(reason(films, out, again, how)[0]) == 1 and again.asked == 1


def test_a_source_that_tells_otherwise_is_not_gone_on_with(films, tmp_path):
    """What is corrected in the source would stay as it was in the rows that are there."""
    rows = [Sample(f"v{n}", "x", "train", Video(f"v{n}.mp4"), label="normal") for n in range(2)]
    save(rows, films)
    teacher, out = Says(said(False, "normal")), tmp_path / "out"
    assert len(reason(films, out, teacher, Trajectories())[0]) == 2
    assert len(reason(films, out, teacher, Trajectories())[0]) == 2 and teacher.asked == 2
    told = tmp_path / "told"
    how = Construction(rate=1.0, checks=0)
    assert len(run(films, told, Says(NOBODY), how)[0]) == 2
    save([rows[0], replace(rows[1], label="anomalous")], films)
    with pytest.raises(InputError, match=r"tells otherwise of 'v1' than when it was annotated"):
        reason(films, out, teacher, Trajectories())
    assert len(run(films, told, Says(NOBODY), how)[0]) == 2, "no label is used there"
    save([rows[0], replace(rows[1], video=Video("v0.mp4"), mask="m.npz")], films)
    masks.write(films / "m.npz", np.zeros((24, 32, 32), bool))
    with pytest.raises(InputError, match="tells otherwise of 'v1'"):
        run(films, told, Says(NOBODY), how)


def test_a_mask_says_whether_a_row_is_abnormal(films):
    for lit in (False, True):
        masks.write(films / "m.npz", np.full((24, 32, 32), lit))
        row = Sample("v0", "x", "train", Video("v0.mp4"), mask="m.npz", root=str(films))
        assert stated(row) is lit


def test_a_folder_that_is_none_is_not_reviewed(films, tmp_path):
    reasoned(films, tmp_path, sample_with(), said(True, "Burglary"))
    with pytest.raises(InputError, match="not reviewed"):
        main(["annotate", "review", str(tmp_path / "told"), "--reviewer", "a"])
    with pytest.raises(InputError, match=r"annotate\.json: no such file"):
        main(["annotate", "review", str(tmp_path / "tld"), "--reviewer", "a"])
    assert not (tmp_path / "tld").exists()


@pytest.fixture
def told(films, tmp_path):
    row = {**SOMEBODY, "box": [100, 100, 400, 900]}
    run(films, tmp_path / "out", Says(json.dumps({"targets": [row]})), Construction(rate=1.0, checks=0))
    return tmp_path / "out"


GOOD = {"id": "v0", "target": 0, "decision": "accept", "look": {"kind": "man"}, "action": None}


@pytest.mark.parametrize(
    "line",
    [
        *({k: v for k, v in GOOD.items() if k != key} for key in GOOD),
        GOOD | {"id": 3},
        GOOD | {"look": ["man"]},
        GOOD | {"look": None},
        GOOD | {"target": True},
        GOOD | {"action": 7},
        GOOD | {"look": {"kind": {"a": "man"}}},
        GOOD | {"look": {"kind": "man", "upper": 7}},
        GOOD | {"decision": []},
        [],
        3,
    ],
)
def test_a_line_that_is_no_decision_is_one_line(told, line):
    (told / TRAIL).write_text(json.dumps(GOOD) + "\n" + json.dumps(line) + "\n")
    for work in (finish, lambda out: application(out, "a", ["testserver"])):
        with pytest.raises(InputError, match=r"review\.jsonl:2: not a decision"):
            work(told)


def test_half_a_last_line_blocks_nothing(told):
    whole = json.dumps(GOOD)
    for half, kept in ((whole[:30], 1), (whole, 2)):
        (told / TRAIL).write_text(whole + "\n" + half)
        assert len(trail_in(told)) == kept and len(finish(told)) == 2
        append(told, GOOD)
        assert len(trail_in(told)) == kept + 1 and (told / TRAIL).read_text().endswith(whole + "\n")


def test_words_of_a_trail_are_words(told):
    (told / TRAIL).write_text(json.dumps(GOOD | {"look": {"kind": "<b>Robot", "upper": "", "x": 3}}) + "\n")
    assert trail_in(told)[0]["look"] == {"kind": "b robot"}


def test_rows_that_are_none_and_a_video_that_is_gone_are_no_traceback(told):
    rows = [json.loads(line) for line in (told / ROWS).read_text().splitlines()]
    for row in rows:
        row["targets"][0]["reasons"] = ["look again"]
    (told / ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = TestClient(application(told, "a", ["testserver"]))
    assert page.get("/picture/0").status_code == 200
    shutil.rmtree(told / "videos")
    assert page.get("/picture/0").status_code == 404 and page.get("/").status_code == 200
    for key, value in (("targets", 3), ("lit", "x"), ("sample", [])):
        (told / ROWS).write_text(json.dumps(rows[0] | {key: value}) + "\n")
        with pytest.raises(InputError):
            finish(told)
    (told / ROWS).write_text(json.dumps({"id": 3}) + "\n")
    with pytest.raises(InputError, match="id is 3, expected text"):
        finish(told)


class At(Says):
    """`target` in the pictures at the moments of `there`, nobody else; at those of `silent` no reply."""

    def __init__(self, target, there=(), silent=()):
        super().__init__()
        self.target, self.there, self.silent = target, there, silent

    def answers(self, asks):
        for n, ask in enumerate(asks):
            (moment,) = ask.moments
            seen = [self.target] if any(abs(moment - t) < 0.02 for t in self.there) else []
            lost = any(abs(moment - t) < 0.02 for t in self.silent)
            yield n, Reply(failed="refused") if lost else Reply(json.dumps({"targets": seen}))


@pytest.fixture
def uneven(tmp_path):
    """100 frames of 0.04 s, then 20 of 1 s, as cameras have them that send less where nothing moves."""
    (tmp_path / "uneven").mkdir()
    stamps = [40 * n for n in range(100)] + [4000 + 1000 * n for n in range(20)]
    kinds.video(tmp_path / "uneven/v.mkv", stamps)
    return tmp_path / "uneven"


@pytest.mark.parametrize(
    ("there", "spans"),
    [
        # Missed in one picture out of those that are 0.5 s apart, and out of those that are 1 s apart.
        ((1.0, 2.0), ((1.0, 2.04),)),
        ((6.0, 8.0), None),
    ],
)
def test_a_gap_is_of_seconds_where_the_rate_varies(uneven, tmp_path, there, spans):
    teacher, how = At(SOMEBODY, there), Construction(rate=2.0, checks=0, gap=1.0)
    samples, problems, _, counts = run(uneven, tmp_path / "out", teacher, how)
    if spans is not None:
        assert not problems and samples[0].spans == spans
    else:  # two targets, each of one frame, which wait for a person
        assert len(problems) == 1 and counts["unusual targets seen in one frame alone"] == 2


@pytest.mark.parametrize(("silent", "known"), [((1.0,), True), ((8.0,), False)])
def test_what_has_no_answer_is_bridged_for_seconds_where_the_rate_varies(uneven, tmp_path, silent, known):
    teacher, how = At(SOMEBODY, (), silent), Construction(rate=2.0, checks=0, gap=1.0)
    if known:
        assert [s.label for s in run(uneven, tmp_path / "out", teacher, how)[0]] == ["normal"]
    else:
        with pytest.raises(InputError, match="have no reply that can be read"):
            run(uneven, tmp_path / "out", teacher, how)
