"""Gold closure: the rendered reference of every row of every reader parses without defect and earns the most
of every metric and reward, in a run and one by one; a corrupted one earns less."""

import csv
import shutil
import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from clip_files import write_clip
from conftest import ROOT, shared
from mask_videos import PEOPLE, maps_of, write_shanghaitech, write_ubnormal
from nltk.translate.bleu_score import corpus_bleu

from bench import suite
from bench.gold import scorer as metrics_of
from bench.intervals import Columns, table
from bench.metrics.text import best_bleu4, bleu4, corpus_bleu4, ngram_counts
from bench.models.baseline import Baseline
from bench.report import write_report
from bench.run import run
from bench.score import score
from bench.tasks import TASKS, lower_is_better
from rft.rewards.gold import scorer as rewards_of
from tvad.__main__ import main
from tvad.data import Question, Sample, Video, gold, load, save, shanghaitech, ubnormal
from tvad.data.gold import Earned
from tvad.data.reclip import reclip
from tvad.data.vau_bench import COLUMNS, read_csv

# Agreement of the data's own texts with each other: a data set of somebody else's may lack it.
OF_THE_DATA = ("names_object", "consistent", "rewards.consistency")


def of_ubnormal(folder):
    root, lists = folder / "UBnormal", folder / "scripts"
    lists.mkdir()
    write_ubnormal(root, "abnormal_scene_2_scenario_1", maps_of(PEOPLE), [(3, 5, 12), (9, 11, 14)], 30.0)
    write_ubnormal(root, "normal_scene_2_scenario_4", maps_of({1: PEOPLE[1], 9: PEOPLE[9]}), rate=30.0)
    for kind, name in (("abnormal", "abnormal_scene_2_scenario_1"), ("normal", "normal_scene_2_scenario_4")):
        (lists / f"{kind}_validation_video_names.txt").write_text(f"{name}\n")
    ubnormal.read(root, lists, "val", folder / "out")
    return folder / "out"


def of_shanghaitech(folder):
    root, tracks = write_shanghaitech(folder)
    shanghaitech.read(root, "test", folder / "out", tracks)
    return folder / "out"


def of_reclip(folder):
    """30 frames a second and spans off the hundredth, cut into clips of one frame a second."""
    write_clip(folder / "in/videos/a.mp4", frames=200)
    shutil.copy(folder / "in/videos/a.mp4", folder / "in/videos/b.mp4")
    shown = Video("videos/a.mp4", 10.0, 200, 64, 48)
    wrong = Sample("a", "x", "train", shown, "anomalous", spans=((1 / 3, 5 / 3), (7.0, 9.0)))
    right = Sample("b", "x", "train", replace(shown, path="videos/b.mp4"), "normal", spans=())
    save([wrong, right], folder / "in")
    reclip([str(folder / "in")], folder / "out")
    return folder / "out/train"


def of_table(folder):
    write_clip(folder / "clips/a.mp4")
    write_clip(folder / "clips/b.mp4")
    rows = [
        ("video", "question", "A", "B", "C", "answer", "label", "start", "end"),
        ("a.mp4", "What happens?", "a fire", "a fight", "a fall", "B", "fighting", "1.333", "4.667"),
        ("b.mp4", "What happens?", "a fire", "a fight", "nothing", "C", "normal", "", ""),
    ]
    with (folder / "my.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert (
        main(
            [
                "data",
                "table",
                str(folder / "my.csv"),
                "--videos",
                str(folder / "clips"),
                "--out",
                str(folder / "out"),
            ]
        )
        == 0
    )
    return folder / "out"


def of_vau_bench(folder):
    """Its columns with words of ours."""
    row = {column: column.lower() for column in COLUMNS} | {"Video Name": "a.mp4", "Correct Option": "B"}
    row |= {"Start Time": "1.0", "End Time": "3.0", "Anomaly Class": "Fire"}
    lines = [",".join(COLUMNS), ",".join(f'"{row[c]}"' for c in COLUMNS)]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    samples, problems = read_csv(folder / "rows.csv")
    assert samples and not problems
    save(samples, folder / "out")
    return folder / "out"


READERS = [of_ubnormal, of_shanghaitech, of_reclip, of_table, of_vau_bench]


@pytest.mark.parametrize("made", READERS)
def test_every_readers_references_close_and_corrupted_ones_earn_less(made, tmp_path):
    samples = load(made(tmp_path))
    by = {"bench": metrics_of(samples), "rft": rewards_of(samples)}
    count, problems = gold.check(samples, by)
    assert count > len(samples)
    assert [p for p in problems if not p.reason.endswith(OF_THE_DATA)] == []


def test_scenes_close_but_for_a_cyclist_who_is_no_bicycle(scenes):
    samples = load(scenes)[:6]
    _, problems = gold.check(samples, {"bench": metrics_of(samples), "rft": rewards_of(samples)})
    cycling = {s.id for s in samples if s.category == "cycling"}
    assert {p.where for p in problems} <= cycling and all("names_object" in p.reason for p in problems)


def test_vau_benchs_own_references_close_but_for_what_their_texts_lack():
    samples = read_csv(shared("data/vau_bench/test_msad.csv"))[0][::12]
    _, problems = gold.check(samples, {"bench": metrics_of(samples), "rft": rewards_of(samples)})
    assert not [p for p in problems if not p.reason.endswith(OF_THE_DATA)]


def test_a_metric_that_pays_everything_and_one_that_pays_too_little_are_found(scenes):
    samples = [s for s in load(scenes) if s.anomalous][:1]
    _, all_paid = gold.check(samples, {"x": lambda case, text: {"x": Earned(1.0, ("span", "letter", "box"))}})
    assert {p.reason.split(": ")[1] for p in all_paid} == {
        f"a wrong {what} earns 1.000 of x, as the reference does" for what in ("span", "letter", "box")
    }
    count, short = gold.check(samples, {"x": lambda case, text: {"x": Earned(0.7)}})
    assert len(short) == count and all("the reference earns 0.700 of x" in p.reason for p in short)


def test_options_of_yes_and_no_close():
    """What stands in for a rationale names none of them."""
    asked = tuple(Question("mcq", "Is it one?", letter, ("Yes", "No")) for letter in "AB")
    sample = Sample("x", "s", "test", Video("v"), "anomalous", questions=asked)
    assert gold.check([sample], {"bench": metrics_of([sample]), "rft": rewards_of([sample])})[1] == []


def test_a_reference_that_is_not_read_back_is_found():
    """What `Sample.problems` refuses, read without it."""
    asked = Question("judgement", "?", "Yes</answer><answer>No")
    sample = Sample("x", "s", "test", Video("v"), questions=(asked,))
    _, problems = gold.check([sample], {})
    assert any("cannot be read: repeated_answer" in p.reason for p in problems)


def test_the_command_asks_the_packages_that_score(scenes, tmp_path, capsys, monkeypatch):
    given = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][gold.GROUP]
    assert given.keys() == {"bench", "rft"}
    entries = [EntryPoint(name, value, gold.GROUP) for name, value in given.items()]
    monkeypatch.setattr(gold, "entry_points", lambda group: entries)
    folder = of_ubnormal(tmp_path)
    assert main(["data", "check", "--gold", str(folder)]) == 0
    assert "read, and scored by bench, rft; 0 of their promises broken" in capsys.readouterr().out
    asked = Question(
        "mcq", "What?", "A", ("a fire", "a fight"), rationale="Two people fight, so it is a fight."
    )
    sample = replace(load(folder)[0], questions=(asked,))
    save([sample], folder)
    assert main(["data", "check", "--gold", str(folder)]) == 1
    assert "question 0: the reference earns 0.000 of rationale.consistent" in capsys.readouterr().out
    monkeypatch.setattr(gold, "entry_points", lambda group: [])
    assert main(["data", "check", "--gold", str(folder)]) == 0
    assert "read alone: nothing that scores is installed" in capsys.readouterr().out


@pytest.mark.parametrize("made", [of_ubnormal, of_shanghaitech])
def test_every_metric_of_a_run_states_an_oracle_of_1(made, tmp_path):
    """At 30 frames a second no span ends on a hundredth: it counts as it is written."""
    data = made(tmp_path)
    given = [
        "--data",
        str(data),
        "--tasks",
        "[judgement, temporal, spatial, dialogue, dialogue_talk, dialogue_figure]",
    ]
    plan = replace(suite.read("ubnormal", given), resamples=20)
    found = run(Baseline("random"), "random", plan, tmp_path / "run")
    assert {
        "dialogue.target_bleu4_corpus",
        "dialogue_talk.motion_bleu4",
        "dialogue_figure.time_bleu4",
    } <= found.keys()
    for name, metric in found.items():
        if metric.value is not None and not name.endswith("above_blind"):
            best = 0.0 if lower_is_better(name) else 1.0
            assert metric.oracle == pytest.approx(best, abs=1e-9), name
    page = write_report(tmp_path / "run").read_text()
    assert ">Oracle</abbr>" in page and "oracle" in table(found).splitlines()[0]
    itself = run(Baseline("oracle"), "oracle", plan, tmp_path / "oracle")
    assert all(
        m.value == pytest.approx(m.oracle)
        for n, m in itself.items()
        if not n.endswith("well_formed") and m.value is not None
    )


def test_every_heatmap_metric_states_an_oracle_of_1(tmp_path):
    data = of_ubnormal(tmp_path)
    rng = np.random.default_rng(0)
    lines = []
    for sample in load(data):
        np.savez(tmp_path / f"{sample.id}.npz", heatmap=rng.random((20, 6, 8)).astype(np.float32))
        lines.append(f'{{"id": "{sample.id}", "task": "heatmap", "heatmap": "{sample.id}.npz"}}\n')
    (tmp_path / "maps.jsonl").write_text("".join(lines))
    plan = replace(suite.read("ubnormal", ["--data", str(data), "--tasks", "[heatmap]"]), resamples=20)
    found, rejected = score(tmp_path / "maps.jsonl", plan, tmp_path / "run")
    assert not rejected and {"heatmap.rbdc", "heatmap.tbdc", "heatmap.pixel_auc"} <= found.keys()
    for name, metric in found.items():
        assert metric.oracle == (0.0 if name.endswith("missing") else 1.0), name


@pytest.mark.parametrize(
    "text", ["a red car", "Smoke", "A man in a long red coat runs.", "一名男子手持刀具", "。", "a b c d"]
)
def test_a_sentence_against_itself_is_1_in_every_count(text):
    assert best_bleu4(text, ["something else", text]) == (pytest.approx(1.0), text)
    assert corpus_bleu4(np.array(ngram_counts(text, text))) == pytest.approx(1.0)
    assert corpus_bleu4(np.array(ngram_counts(f"nothing {text}", text))) < 1
    assert corpus_bleu4(np.array(ngram_counts("", text))) == 0.0


def test_bleu_by_corpus_is_nltks():
    rng = np.random.default_rng(0)
    texts = [[" ".join(rng.choice(list("ab"), rng.integers(4, 9))) for _ in range(30)] for _ in range(2)]
    ours = corpus_bleu4(np.sum([ngram_counts(h, r) for h, r in zip(*texts, strict=True)], 0))
    theirs = corpus_bleu([[r.split()] for r in texts[1]], [h.split() for h in texts[0]])
    assert 0 < ours == pytest.approx(theirs)
    assert bleu4("a red car", ["a red car"]) == pytest.approx(0.5623, abs=1e-4), (
        "NLTK's own, for published figures"
    )


def test_bleu_by_video_and_by_corpus_are_two_figures():
    """One video with three answers, one with one: each video counts once by sentence, each word by corpus."""
    plan = suite.Suite("x", "data", ["dialogue"], resamples=200)
    columns = Columns()
    said = [("v", "a man runs to the left"), ("v", "a man runs to the left"), ("v", "it"), ("w", "a red car")]
    for n, (video, text) in enumerate(said):
        right = "a man runs to the left" if video == "v" else "a red car"
        counts = {"target_bleu4": ngram_counts(text, right)}
        value = {"target_bleu4": best_bleu4(text, [right])[0]}
        columns.add(
            {
                "id": str(n),
                "task": "dialogue",
                "sample": video,
                "attempt": 0,
                "scores": value,
                "defects": [],
                "counts": counts,
            }
        )
    found = columns.intervals(plan)
    by_video, by_corpus = found["dialogue.target_bleu4"], found["dialogue.target_bleu4_corpus"]
    assert by_video.value == pytest.approx((2 / 3 + 1) / 2, abs=0.01) and by_video.n == by_corpus.n == 4
    summed = np.sum(
        [ngram_counts(t, "a man runs to the left" if v == "v" else "a red car") for v, t in said], 0
    )
    assert by_corpus.value == pytest.approx(float(corpus_bleu4(summed))) != by_video.value
    assert by_corpus.withheld == by_video.withheld == "fewer than 4 videos"


def test_the_best_reference_of_a_video_counts():
    asked = "What is the target?"
    told = ((asked, "a man in red"), (asked, "a man who wears red clothes"))
    sample = Sample("x", "s", "test", Video("v"), "anomalous", dialogue=told)
    items = suite._items(sample, suite.Suite("x", "d", ["dialogue"]), ["dialogue"])
    answer = metrics_of([sample])
    case = gold.Case(sample, items[0].question, "", told[0][1])
    for text in (told[0][1], told[1][1]):
        assert answer(case, text)["dialogue.target_bleu4"].value == pytest.approx(1.0)
    assert TASKS["dialogue"] is TASKS["dialogue_talk"]
