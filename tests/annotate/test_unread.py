"""What a teacher says and nobody can read, or only once, or that is contradicted: none of it becomes normal,
and what the run promises to ask again is asked again."""

import json
import re
import shutil
from collections import Counter

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tvad.annotate import schema
from tvad.annotate.construct import Construction
from tvad.annotate.engine import ROWS, finish, reason, rows_in, run
from tvad.annotate.page import application
from tvad.annotate.review import append
from tvad.annotate.teacher import Reply
from tvad.annotate.trajectories import Trajectories
from tvad.common.errors import InputError
from tvad.data import check, load, masks, save, video
from tvad.data.sample import Sample, Video
from tvad.data.scenes.teacher import Scripted

CALM = {"kind": "woman", "box": [600, 100, 900, 900], "action": "walking", "unusual": False}
WILD = {"kind": "man", "box": [100, 100, 400, 900], "action": "fighting", "unusual": True}
HOW = Construction(rate=1.0, checks=0, gap=2.0)
PLACED = json.dumps({"visible": True, "box": WILD["box"]})


def without(row, key):
    return {name: value for name, value in row.items() if name != key}


def targets(*rows):
    return json.dumps({"targets": rows})


class ByStage:
    """Replies by frame of the first stage (in order, six a film), one reply for each later stage."""

    name = "by stage"

    def __init__(self, frames, **stages):
        self.frames, self.stages, self.asked = frames, stages, []

    def answers(self, asks):
        for n, ask in enumerate(asks):
            stage = ask.about["stage"]
            self.asked.append(stage)
            number = ask.about["frame"] // 4 if stage == "frame" else 0
            told = self.frames[number] if stage == "frame" else self.stages.get(stage, targets(WILD))
            yield n, told if isinstance(told, Reply) else Reply(told)


@pytest.fixture
def film(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shades = np.arange(24, dtype=np.uint8)[:, None, None, None]
    video.write(folder / "v.mp4", np.full((24, 32, 32, 3), 5, np.uint8) * shades, 4.0)
    return folder


def labels(film, tmp_path, frames, how=HOW, **stages):
    """(labels, reasons of what waits, counts)."""
    samples, _, _, counts = run(film, tmp_path / "out", ByStage(frames, **stages), how)
    (row,) = rows_in(tmp_path / "out")
    reasons = [why for t in row["targets"] if t["verdict"] != "kept" for why in t["reasons"]]
    return [s.label for s in samples], reasons, counts


@pytest.mark.parametrize("unusual", ["true", 1, None, [], ...])
def test_a_target_of_which_it_is_not_said_whether_it_is_unusual_is_none(unusual):
    row = without(WILD, "unusual") if unusual is ... else WILD | {"unusual": unusual}
    counts, doubts = Counter(), set()
    assert schema.targets_of(targets(row), 100, 100, counts, doubts) is None
    assert counts == {"targets of which it is not said whether they are unusual": 1} == Counter(doubts)
    (seen,) = schema.targets_of(targets(row, CALM), 100, 100, counts)
    assert seen.look["kind"] == "woman"


def test_all_frames_that_do_not_say_whether_are_asked_again(film, tmp_path):
    with pytest.raises(InputError, match=r"6 of 6 frames have no reply .* the same command asks again"):
        labels(film, tmp_path, [targets(without(WILD, "unusual"))] * 6)
    again = ByStage([targets(WILD)] * 6)
    (sample,), *_ = run(film, tmp_path / "out", again, HOW)
    assert sample.label == "anomalous" and again.asked.count("frame") == 6


@pytest.mark.parametrize("beside", [(CALM,), ()])
@pytest.mark.parametrize(
    ("row", "why"),
    [
        (without(WILD, "box"), "targets without a box"),
        (WILD | {"box": [400, 100, 400, 900]}, "targets without a box"),
        (WILD | {"kind": "unknown"}, "targets without a kind"),
        (WILD | {"region": "right"}, "targets whose region is not their box's"),
        (WILD | {"unusual": "true"}, "targets of which it is not said whether they are unusual"),
        (without(WILD, "unusual"), "targets of which it is not said whether they are unusual"),
        ("man", "targets without a box"),
    ],
)
def test_what_may_be_unusual_and_cannot_be_read_waits_for_a_person(film, tmp_path, row, why, beside):
    frames = [targets(CALM)] * 6
    frames[2] = frames[3] = targets(row, *beside)
    if not beside:
        frames[3] = targets(CALM)
    found, reasons, counts = labels(film, tmp_path, frames)
    assert not found and counts[why] == (2 if beside else 1)
    assert reasons == [
        f"{why}, which may be unusual, in the replies about frames {'8, 12' if beside else '8'}"
    ]


def test_what_is_beyond_the_most_waits_too_and_what_is_said_to_be_usual_does_not(film, tmp_path):
    many = [CALM] * schema.MOST_TARGETS
    assert not labels(film, tmp_path / "a", [targets(*many, WILD)] + [targets(CALM)] * 5)[0]
    for n, row in enumerate((without(CALM, "box"), CALM | {"region": "left"}, CALM | {"kind": ""})):
        found, reasons, _ = labels(film, tmp_path / str(n), [targets(row, CALM)] + [targets(CALM)] * 5)
        assert found == ["normal"] and not reasons
    assert labels(film, tmp_path / "b", [targets(*many, CALM)] + [targets(CALM)] * 5)[0] == ["normal"]


def test_a_person_says_whether_what_could_not_be_read_is_unusual(film, tmp_path):
    out = tmp_path / "out"
    frames = [targets(CALM)] * 6
    frames[2] = frames[3] = targets(without(WILD, "box"), CALM)
    assert not labels(film, tmp_path, frames)[0]
    page = TestClient(application(out, "a", ["testserver"]))
    shown = page.get("/").text
    assert "It has no place" in shown and 'value="edit"' not in shown
    assert page.get("/picture/0").headers["content-type"] == "image/jpeg"
    token = re.search(r'name="given" value="([^"]+)"', shown)[1]
    for decision, status in (("edit", 400), ("accept", 303)):
        form = {"number": 0, "decision": decision, "given": token}
        assert page.post("/decide", data=form, follow_redirects=False).status_code == status
    (sample,) = finish(out)
    assert (sample.label, sample.spans) == ("anomalous", ((2.0, 3.25),)) and not check(out)
    assert [track.kind for track in sample.tracks] == ["woman"] and not sample.tracks[0].anomalous
    form["decision"] = "reject"
    page.post("/decide", data=form)
    assert [s.label for s in finish(out)] == ["normal"] and not check(out)


def test_an_unusual_target_that_is_seen_once_waits_for_a_person(film, tmp_path):
    frames = [targets(CALM)] * 6
    frames[2] = targets(CALM, WILD)
    found, reasons, counts = labels(film, tmp_path, frames)
    assert not found and reasons == ["it is seen in one frame alone"]
    assert counts["unusual targets seen in one frame alone"] == 1
    (one,) = [t for t in rows_in(tmp_path / "out")[0]["targets"] if t["verdict"] == "review"]
    append(
        tmp_path / "out",
        {"id": "v", "decision": "accept", "target": one["id"], "look": one["look"], "action": "fighting"},
    )
    (sample,) = finish(tmp_path / "out")
    assert (sample.label, sample.spans) == ("anomalous", ((2.0, 2.25),)) and not check(tmp_path / "out")


def test_a_target_that_few_sightings_call_unusual_waits_for_a_person(film, tmp_path):
    frames = [targets(WILD | {"unusual": n < 2}) for n in range(6)]
    found, reasons, counts = labels(film, tmp_path, frames)
    assert not found and reasons == ["2 of 6 sightings call it unusual"]
    assert counts["targets that few of their sightings call unusual"] == 1
    frames = [targets(WILD | {"unusual": n < 3}) for n in range(6)]
    assert labels(film, tmp_path / "half", frames)[0] == ["anomalous"]


def test_a_mask_says_what_is_unusual_whatever_is_said(film, tmp_path):
    frames = [targets(WILD, without(WILD, "box"))] + [targets(CALM)] * 5
    for lit in (False, True):
        masks.write(film / "m.npz", np.full((24, 32, 32), lit))
        save([Sample("v", "x", "train", Video("v.mp4", 4.0, 24, 32, 32), mask="m.npz")], film)
        found, reasons, _ = labels(film, tmp_path / str(lit), frames)
        assert found == ["anomalous" if lit else "normal"] and not reasons


def test_no_anomalous_scene_without_its_mask_becomes_normal(scenes, tmp_path):
    """The teacher tells all that is true: what happens in few of an object's frames, too."""
    truth = {sample.id: sample for sample in load(scenes)}
    (tmp_path / "in").mkdir()
    for sample in truth.values():
        shutil.copy(sample.clip(), tmp_path / "in" / f"{sample.id}.mp4")
    samples, problems, *_ = run(
        tmp_path / "in", tmp_path / "out", Scripted(str(scenes)), Construction(rate=4.0)
    )
    assert {s.id for s in samples} | {p.where for p in problems} == set(truth)
    assert all(s.label == truth[s.id].label for s in samples)
    assert all(truth[p.where].anomalous and "review" in p.reason for p in problems) and len(problems) <= 3


ELSEWHERE = json.dumps({"visible": True, "box": [900, 0, 990, 90]})


def test_a_video_whose_only_anomaly_was_dropped_is_not_normal(film, tmp_path):
    how = Construction(rate=1.0, contradictions="drop")
    frames, out = [targets(WILD, CALM)] * 6, tmp_path / "out"

    class Liar(ByStage):
        """Says that the man is elsewhere."""

        def answers(self, asks):
            for n, ask in enumerate(asks):
                look = ask.about.get("look", {})
                there = (
                    ELSEWHERE
                    if look.get("kind") == "man"
                    else json.dumps({"visible": True, "box": CALM["box"]})
                )
                kind = "man" if ask.about.get("boxes", [[99]])[0][0] < 10 else "woman"
                said = {"where": there, "what": json.dumps({"kind": kind})}
                yield n, Reply(said.get(ask.about["stage"], frames[0]))

    samples, problems, _, counts = run(film, out, Liar(frames), how)
    assert not samples and [p.where for p in problems] == ["v"] and counts["targets dropped"] == 1
    (one,) = [t for t in rows_in(out)[0]["targets"] if t["verdict"] == "dropped"]
    row = {"id": "v", "target": one["id"], "look": one["look"], "action": "fighting"}
    for decision, label in (("reject", "normal"), ("accept", "anomalous")):
        append(out, row | {"decision": decision})
        assert [s.label for s in finish(out)] == [label]


def test_another_anomaly_stands_beside_one_that_was_dropped(film, tmp_path):
    run(film, tmp_path / "out", ByStage([targets(WILD, CALM | {"unusual": True})] * 6), HOW)
    (row,) = rows_in(tmp_path / "out")
    row["targets"][0] |= {"verdict": "dropped", "reasons": ["elsewhere"]}
    (tmp_path / "out" / ROWS).write_text(json.dumps(row) + "\n")
    (sample,) = finish(tmp_path / "out")
    assert sample.label == "anomalous" and len(sample.tracks) == 1


BAD = Reply("I cannot help with that.")


def test_failed_frames_of_a_video_with_a_mask_are_asked_again(film, tmp_path):
    masks.write(film / "m.npz", np.ones((24, 32, 32), bool))
    save([Sample("v", "x", "train", Video("v.mp4", 4.0, 24, 32, 32), mask="m.npz")], film)
    told = [BAD, targets(WILD), Reply(failed="refused"), '{"boxes": []}', targets("x"), targets(WILD)]
    first = ByStage(told)
    samples, _, _, counts = run(film, tmp_path / "out", first, HOW)
    assert [s.label for s in samples] == ["anomalous"] and len(first.asked) == 12
    assert counts["requests without an answer, which the same command asks again"] == 4
    again = ByStage([targets(WILD)] * 6)
    samples, _, _, counts = run(film, tmp_path / "out", again, HOW)
    assert again.asked == ["frame"] * 4 and len(samples) == len(rows_in(tmp_path / "out")) == 1
    assert not any(what.startswith(("reply", "requests")) for what in counts)
    last = ByStage([])
    assert len(run(film, tmp_path / "out", last, HOW)[0]) == 1 and not last.asked


def test_failed_checks_are_asked_again_until_a_person_has_decided(film, tmp_path):
    how, out = Construction(rate=1.0), tmp_path / "out"
    silent = {"where": '{"visible": "yes", "box": [100, 100, 400, 900]}', "what": json.dumps({"kind": "man"})}
    assert not run(film, out, ByStage([targets(WILD)] * 6, **silent), how)[0]
    again = ByStage([targets(WILD)] * 6, **silent | {"where": PLACED})
    (sample,), *_ = run(film, out, again, how)
    assert sample.label == "anomalous" and set(again.asked) == {"where"}
    out = tmp_path / "decided"
    run(film, out, ByStage([targets(WILD)] * 6, **silent), how)
    append(out, {"id": "v", "decision": "reject", "target": 0, "look": {}, "action": None})
    last = ByStage([targets(WILD)] * 6, **silent | {"where": PLACED})
    assert [s.label for s in run(film, out, last, how)[0]] == ["normal"] and not last.asked


def test_a_run_that_ends_while_it_asks_again_loses_nothing(film, tmp_path):
    video.write(film / "w.mp4", np.full((24, 32, 32, 3), 200, np.uint8), 4.0)
    run(film, tmp_path / "out", ByStage([targets(CALM), BAD, *[targets(CALM)] * 4]), HOW)
    assert len(rows_in(tmp_path / "out")) == 2

    class Killed(ByStage):
        def answers(self, asks):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(film, tmp_path / "out", Killed([]), HOW)
    # What is there stands until it is made again, whoever looks meanwhile.
    assert len(rows_in(tmp_path / "out")) == 2 and [s.id for s in finish(tmp_path / "out")] == ["v", "w"]
    last = ByStage([targets(CALM)] * 6)
    samples, *_ = run(film, tmp_path / "out", last, HOW)
    assert [s.id for s in samples] == ["v", "w"] and last.asked == ["frame"] * 2
    names = [json.loads(line)["id"] for line in (tmp_path / "out" / ROWS).read_text().splitlines()]
    assert sorted(names) == ["v", "w"]


@pytest.mark.parametrize("word", ["length", "max_tokens", "model_length"])
def test_a_reply_that_was_cut_is_not_promised_to_be_asked_again(film, tmp_path, word):
    cut = Reply('{"targets": [', failed=f"cut ({word})")
    for _ in range(2):
        teacher = ByStage([cut] * 6)
        with pytest.raises(
            InputError, match=r"6 ended at max_tokens 1024, which needs another --out"
        ) as said:
            run(film, tmp_path / "out", teacher, HOW)
        assert "asks again" not in str(said.value)
    assert not teacher.asked
    with pytest.raises(InputError, match=r"5 ended at max_tokens 1024, .*; the same command asks again"):
        run(film, tmp_path / "mixed", ByStage([cut] * 5 + [BAD]), HOW)


def test_what_a_filter_cut_is_asked_again(film, tmp_path):
    with pytest.raises(InputError, match="happens there; the same command asks again"):
        run(film, tmp_path / "out", ByStage([Reply(failed="cut (content_filter)")] * 6), HOW)
    again = ByStage([targets(CALM)] * 6)
    assert len(run(film, tmp_path / "out", again, HOW)[0]) == 1 and len(again.asked) == 6


GOOD = {
    "observation": "A man in a red coat stands near the door.",
    "evidence": ["he swings a hammer at the glass"],
    "reasoning": "Nobody does such a thing at a door there.",
    "objects": ["man in red"],
    "conclusion": {"abnormal": True, "category": "Burglary"},
}


@pytest.mark.parametrize(
    "text", ["I cannot help.", "{}", json.dumps(GOOD | {"conclusion": {"abnormal": "yes"}})]
)
def test_reason_asks_again_for_what_it_cannot_read(film, tmp_path, text):
    video.write(film / "w.mp4", np.full((24, 32, 32, 3), 200, np.uint8), 4.0)
    save([Sample(n, "x", "train", Video(f"{n}.mp4", 4.0, 24, 32, 32), label="anomalous") for n in "vw"], film)

    class Once:
        name = "once"

        def __init__(self, *texts):
            self.texts, self.asked = list(texts), []

        def answers(self, asks):
            for n, ask in enumerate(asks):
                self.asked.append(ask.about["sample"])
                yield n, Reply(self.texts.pop(0))

    how, out = Trajectories(frames=2), tmp_path / "told"
    samples, problems, *_ = reason(film, out, Once(json.dumps(GOOD), text), how)
    assert [s.id for s in samples] == ["v"] and [p.where for p in problems] == ["w"]
    assert "no reply that can be read" in problems[0].reason and "asks again" in problems[0].reason
    again = Once(json.dumps(GOOD))
    samples, problems, *_ = reason(film, out, again, how)
    assert [s.id for s in samples] == ["v", "w"] and not problems and again.asked == ["w"]
    assert [s.id for s in load(out)] == ["v", "w"]


def test_visible_or_not_is_said():
    for visible in ("false", 0, None):
        with pytest.raises(ValueError, match="whether it is visible"):
            schema.place_of(json.dumps({"visible": visible, "box": WILD["box"]}), 100, 100)
    assert schema.place_of('{"visible": false}', 100, 100) is None and schema.place_of(PLACED, 100, 100)
