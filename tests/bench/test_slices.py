"""Scores by slice: in which slices a video lies, only as its data say; figures equal to those of the slice
alone; comparisons and gates of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import shared

from bench import by_slice
from bench import suite as suites
from bench.__main__ import main
from bench.compare import compare, pairs, table
from bench.families import SLICES
from bench.gate import Gate, judge, read
from bench.intervals import summarise
from bench.metrics.paired import holm, sign_flip
from bench.models.baseline import Baseline
from bench.power import of_run
from bench.report import write_report
from bench.run import run
from bench.score import score
from bench.slices import BINS, KINDS, in_order, places
from bench.tasks import PRIMARIES, lower_is_better
from tvad.common.cli import guard
from tvad.common.errors import InputError
from tvad.data import Question, Sample, Track, Video, load, save
from tvad.data.digest import spelt
from tvad.data.sample import Box, from_json, to_json
from tvad.data.scenes.dataset import ScenesConfig, generate


def made(name="v", **fields):
    video = fields.pop("video", Video("v.mp4", 25.0, 100, 640, 480))
    return Sample(name, fields.pop("source", "mine"), "test", video, **fields)


def of(sample, *others):
    return places([sample, *others], KINDS)[sample.id]


def moving(step, side=40, anomalous=range(0, 50), id=0):
    boxes = {f: (step * f, 100.0, step * f + side - 1, 100.0 + side - 1) for f in range(0, 50)}
    return Track(id, "object", boxes, tuple(anomalous))


def test_a_video_lies_in_the_slices_that_its_data_say_and_in_no_other():
    assert of(made(video=Video("v.mp4"))) == {}
    assert of(made(video=Video("v.mp4"), label="anomalous")) == {}  # of no class that is named
    assert of(made(label="normal", spans=())) == {"class": "normal", "video": "short"}
    twice = made(
        label="anomalous", categories=("fight", "fire"), spans=((0, 2.5), (1, 2.6)), video=Video("v")
    )
    assert of(twice) == {"class": "fight", "length": "medium"}
    assert of(replace(twice, spans=((0, 1), (0.5, 1.9)))) == {"class": "fight", "length": "short"}
    prose = made(description="A street, night. A man runs.", rationale="A man runs.", video=Video("v"))
    assert of(prose) == {}  # a person's words, which say "night" by chance
    assert of(replace(prose, source="scenes-core")) == {"light": "night"}
    assert of(replace(prose, conditions={"light": "dusk", "occlusion": "partial"})) == {
        "light": "dusk",
        "occlusion": "partial",
    }


def test_size_and_motion_are_those_of_what_misbehaves():
    still, bystander = moving(0, 30), moving(9, 200, (), 1)
    found = of(made(label="anomalous", tracks=(still, bystander)))
    assert (found["size"], found["motion"]) == ("small", "micro")  # 30 x 30 of 640 x 480: 0.29 %
    assert of(made(tracks=(moving(0, 32),)))["size"] == "medium"  # COCO's 32 x 32 and 96 x 96 themselves
    assert of(made(tracks=(moving(0, 96),)))["size"] == "large"
    assert [of(made(tracks=(moving(step),)))["motion"] for step in (0.7, 1, 6)] == ["micro", "slow", "fast"]
    box = Question("spatial", "Where?", "car", boxes=(Box((100, 100, 200, 200)),))
    assert of(made(video=Video("v"), label="anomalous", questions=(box,)))["size"] == "medium"
    assert "size" not in of(made(tracks=(bystander,), label="normal"))


def test_a_crowd_is_counted_only_where_tracks_are_of_everybody():
    lone = made("lone", tracks=(moving(1),), label="anomalous")
    assert "crowd" not in of(lone)  # ShanghaiTech's tracks are of what misbehaves alone
    many = made("many", tracks=tuple(moving(1, 40, (), n) for n in range(10)))
    assert of(lone, many)["crowd"] == "few" and of(many, lone)["crowd"] == "many"
    assert of(replace(lone, source="other"), many).get("crowd") is None
    twice = made("twice", tracks=(moving(1), moving(1, anomalous=())))
    assert of(twice)["crowd"] == "few"  # tracks with one number are one object


def test_bins_are_as_stated_and_in_order():
    assert [BINS["crowd"].of(n) for n in (3, 4, 9, 10)] == ["few", "several", "several", "many"]
    assert BINS["length"].told == "seconds of the anomaly: short < 2 <= medium < 10 <= long"
    where = [{"length": "long", "class": "b"}, {"length": "short", "class": "a"}]
    assert in_order(where) == [("length", "short"), ("length", "long"), ("class", "a"), ("class", "b")]


def test_conditions_are_kept_and_checked():
    stated = made(conditions={"light": "night"})
    assert from_json(to_json(stated)) == stated and not stated.problems()
    assert b"conditions" not in spelt(made())  # hashes of data that state none stay
    for bad in (["night"], {"light": ""}, {"light": 3}):
        assert "conditions is" in made(conditions=bad).problems()[0]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(suite, folder with runs `random` and `oracle`) on scenes, by slice; their maps too."""
    folder = tmp_path_factory.mktemp("slices")
    generate(ScenesConfig(split="test", clips=30, seed=3, size=64, frames=8), folder / "data")
    kinds = ["class", "light", "crowd", "occlusion"]
    suite = suites.Suite("own", str(folder / "data"), ["mcq", "temporal"], resamples=20, slices=kinds)
    for name in ("random", "oracle"):
        run(Baseline(name), name, suite, folder / name)
    return suite, folder


def test_a_figure_by_slice_is_that_of_the_slice_alone(runs):
    suite, folder = runs
    sliced = by_slice.read(folder / "random")
    lines = [json.loads(line) for line in (folder / "random/samples.jsonl").read_text().splitlines()]
    light = {s.id: s.description.split(".")[0].split(", ")[1] for s in load(suite.data)}
    assert {name: of_video["light"] for name, of_video in sliced.videos.items()} == light
    for value in {*light.values()}:
        own = [line for line in lines if light[line["sample"]] == value]
        hits = [line["scores"]["accuracy"] for line in own if line["task"] == "mcq"]
        row = sliced.metrics[f"mcq.accuracy[light={value}]"]
        assert row["value"] == pytest.approx(np.mean(hits)) and row["n"] == len(hits)
        assert row == summarise(own, suite)["mcq.accuracy"].row()  # the same rule, withheld where few
    assert {by_slice.parts(name)[0] for name in sliced.metrics} == {"mcq.accuracy", "temporal.miou"}
    text = by_slice.table(sliced)
    assert "occlusion: said of 0 of 30 videos" in text and "light: said" not in text
    assert f"{len(sliced.metrics)} figures by slice" in text
    page = write_report(folder / "random").read_text()
    assert "By slice" in page and "mcq.accuracy[light=night]" in page


def test_slices_are_off_unless_asked_for_and_leave_the_hash(runs, tmp_path, capsys):
    suite, folder = runs
    plain = replace(suite, slices=None)
    metrics = run(Baseline("random"), "random", plain, tmp_path / "a")
    assert not (tmp_path / "a/slices.json").exists() and by_slice.read(tmp_path / "a") is None
    records = [json.loads((where / "run.json").read_text()) for where in (tmp_path / "a", folder / "random")]
    assert records[0]["suite_hash"] == records[1]["suite_hash"]
    # A finished run gets its slices when it is called again, and loses them when nobody asks.
    assert run(Baseline("random"), "random", suite, tmp_path / "a") == metrics
    assert (tmp_path / "a/slices.json").read_bytes() == (folder / "random/slices.json").read_bytes()
    run(Baseline("random"), "random", plain, tmp_path / "a")
    assert not (tmp_path / "a/slices.json").exists()
    command = ["run", "--model", "baseline:random", "--suite", "scenes", "--data", suite.data]
    command += ["--tasks", "[mcq]", "--slices", "[light]", "--out", str(tmp_path / "b")]
    assert main(command) == 0 and "mcq.accuracy[light=night]" in capsys.readouterr().out
    assert guard(lambda: main([*command[:-3], "[colour]", "--out", str(tmp_path / "c")])) == 2
    assert "no sample says 'colour'; known: class, size" in capsys.readouterr().err
    with pytest.raises(InputError, match="which this suite hides"):
        replace(suite, hidden=True)


def test_answers_made_elsewhere_have_the_same_slices(runs, tmp_path):
    suite, folder = runs
    lines = [json.loads(line) for line in (folder / "random/samples.jsonl").read_text().splitlines()]
    rows = [json.dumps({key: line[key] for key in ("id", "task", "response")}) for line in lines]
    (tmp_path / "answers.jsonl").write_text("\n".join(rows) + "\n")
    score(tmp_path / "answers.jsonl", suite, tmp_path / "out")
    assert by_slice.read(tmp_path / "out") == by_slice.read(folder / "random")


def test_a_comparison_adjusts_for_the_slices_it_tests(runs, tmp_path):
    suite, folder = runs
    shared_by = pairs(folder / "oracle", folder / "random")
    rows = {d.metric: d for d in compare(folder / "oracle", folder / "random")}
    sliced = [d for d in rows.values() if d.family == SLICES]
    assert {d.metric for d in sliced} == {*by_slice.read(folder / "random").metrics}
    tested = [d for d in sliced if d.p is not None]
    assert 1 < len(tested) < len(sliced)
    for d in sliced:
        p = shared_by.of(d.metric)
        videos, sums = np.unique(p.videos), []
        for video in videos:
            sums.append((p.after - p.before)[p.videos == video].sum())
        assert (d.p is None) == (len(videos) < 6)
        assert d.p is None or d.p == sign_flip(np.array(sums))
    assert [d.adjusted for d in tested] == pytest.approx(holm([d.p for d in tested]))
    # What the runs have besides is judged as if there were no slices.
    for name in ("random", "oracle"):
        run(Baseline(name), name, replace(suite, slices=None), tmp_path / name)
    bare = {d.metric: d for d in compare(tmp_path / "oracle", tmp_path / "random")}
    assert bare == {name: d for name, d in rows.items() if d.family != SLICES}
    text = table(list(rows.values()))
    few = len(sliced) - len(tested)
    assert f"adjusted for {len(tested)} metrics by slice; {few} of fewer than 6 videos" in text
    # One run that says its slices is enough; two that say them differently are not compared.
    assert [d.metric for d in compare(tmp_path / "oracle", folder / "random")] == [*rows]
    said = json.loads((folder / "random/slices.json").read_text())
    said["videos"]["test_00000"]["light"] = "dusk"
    (tmp_path / "random/slices.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match="test_00000 is light=dusk, in another of the runs"):
        pairs(folder / "oracle", tmp_path / "random")
    page = write_report(folder / "random", folder / "oracle").read_text()
    assert f"By slice, p adjusted for {len(tested)} metrics of slices" in page


def test_a_gate_may_name_a_slice(runs, tmp_path, capsys):
    _, folder = runs
    gate = tmp_path / "gate.yaml"
    gate.write_text("metrics:\n  mcq.accuracy[light=day]: 0.05\n  temporal.false_alarm[class=normal]: 0\n")
    command = ["compare", str(folder / "oracle"), str(folder / "random"), "--gate", str(gate)]
    assert main(command) == 1
    assert "adjusted for 2 metrics, 2 of them of slices" in capsys.readouterr().out
    verdicts = judge(folder / "oracle", folder / "random", read(gate))
    assert [v.regressed for v in verdicts] == [True, True]  # more false alarms are worse in a slice, too
    assert lower_is_better("temporal.false_alarm[class=normal]")
    assert not any(v.regressed for v in judge(folder / "random", folder / "oracle", read(gate)))
    for name, words in (
        ("light=dusk", "is not in both runs"),
        ("class=fire", "of fewer than 6 a regression"),
    ):
        with pytest.raises(InputError, match=words):
            judge(folder / "oracle", folder / "random", Gate({f"mcq.accuracy[{name}]": 0.1}))


def test_maps_are_scored_by_slice(runs, tmp_path):
    suite, _ = runs
    maps = replace(suite, tasks=["heatmap"], slices=["light"])
    run(Baseline("centre"), "centre", maps, tmp_path / "all")
    found = by_slice.read(tmp_path / "all").metrics
    assert {by_slice.parts(name)[0] for name in found} <= {*PRIMARIES}
    night = [s for s in load(suite.data) if ", night." in s.description]
    save([replace(s, root="") for s in night], tmp_path / "night")
    for part in ("videos", "masks"):
        (tmp_path / "night" / part).symlink_to(f"{suite.data}/{part}")
    alone = replace(maps, data=str(tmp_path / "night"), slices=None)
    row = run(Baseline("centre"), "centre", alone, tmp_path / "one")["heatmap.micro_auc"].row()
    assert found["heatmap.micro_auc[light=night]"] == row


def test_maps_are_compared_by_slice_and_a_run_says_what_such_a_comparison_sees(runs, tmp_path):
    suite, _ = runs
    maps = replace(suite, tasks=["heatmap"], slices=["light"])
    for name in ("centre", "length"):
        run(Baseline(name), name, maps, tmp_path / name)
    rows = {d.metric: d for d in compare(tmp_path / "centre", tmp_path / "length")}
    sliced = {name: d for name, d in rows.items() if d.family == SLICES}
    before, after = (by_slice.read(tmp_path / name).metrics for name in ("centre", "length"))
    assert {*sliced} == {*before} and "heatmap.micro_auc[light=night]" in sliced
    for name, d in sliced.items():
        assert (d.before, d.after) == (before[name]["value"], after[name]["value"])
        assert d.p is None or d.change.n >= 6
    tested = [name for name, d in sliced.items() if d.p is not None]
    seen = {row.metric: row for row in of_run(tmp_path / "centre") if row.family == SLICES}
    assert tested and {*seen} == {*tested}
    assert [row.family for row in of_run(tmp_path / "centre")][-len(seen) :] == [SLICES] * len(seen)


def test_classes_and_lengths_of_vau_bench(tmp_path, capsys):
    """A published CSV, its answers scored without videos: Normal is its own word for a class."""
    table = str(shared("data/vau_bench/test_msad.csv"))
    kinds = ["class", "length", "light", "crowd", "size"]
    suite = suites.Suite("msad", table, ["mcq"], resamples=20, slices=kinds, drop_bad_rows=True)
    samples, items = suites.load(suite)
    rows = [json.dumps({"id": i.id, "task": "mcq", "response": "<answer>A</answer>"}) for i in items]
    (tmp_path / "a.jsonl").write_text("\n".join(rows) + "\n")
    score(tmp_path / "a.jsonl", suite, tmp_path / "out")
    sliced = by_slice.read(tmp_path / "out")
    hits = {}
    for item in items:
        hits.setdefault(item.sample.category, []).append(item.question.answer == "A")
    assert len(hits) > 5
    for kind, values in hits.items():
        assert sliced.metrics[f"mcq.accuracy[class={kind}]"]["value"] == pytest.approx(np.mean(values))
    long = [s.id for s in samples if s.spans and s.spans[0][1] - s.spans[0][0] >= 10]
    assert [name for name, kinds in sliced.videos.items() if kinds.get("length") == "long"] == long
    assert not any(kinds.keys() & {"light", "crowd", "size"} for kinds in sliced.videos.values())
