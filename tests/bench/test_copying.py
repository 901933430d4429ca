"""What T-VAU's texts earn without looking: copied from a neighbouring window, drawn, the most frequent one;
and how the references score each other."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT, shared
from perf import table3

from bench import audit, copying, oracle, suite
from bench.intervals import summarise
from bench.metrics.text import best_bleu4
from bench.models.base import Request, Sampling
from bench.models.baseline import Baseline
from bench.run import run
from bench.tasks.dialogue import among_themselves
from bench.windows import Replies
from tvad.__main__ import main as tvad
from tvad.common.cli import guard
from tvad.common.errors import InputError
from tvad.data import load, save
from tvad.data.questions import DIALOGUE
from tvad.data.sample import Sample, Video

NEAR, FAR, TOP = copying.COPIED.values()
ASKED = DIALOGUE["trajectory"]


def window(name: str, start: float, *ways: str, source: str = "a") -> Sample:
    told = ((DIALOGUE["judgement"], "Yes." if ways else "No."), *((ASKED, way) for way in ways))
    return Sample(
        name, "s", "test", Video(f"{name}.mp4", source=source, offset=start), "anomalous", dialogue=told
    )


@pytest.fixture(scope="module")
def parted(tmp_path_factory):
    """The windows of six source videos with the authors' texts, parted by video and as they part them."""
    folder = tmp_path_factory.mktemp("table3")
    table3.distributed(shared("data/shanghaitech_tvau"), folder / "layout", 6)
    for way, flags in (("video", ()), ("published", ("--published",))):
        assert tvad(["data", "tvau", str(folder / "layout"), *flags, "--out", str(folder / way)]) == 0
    return folder


def test_copying_earns_what_the_published_split_measures_and_nothing_by_video(parted):
    rows = copying.earned(load(parted / "published/test"), str(parted / "published/train"))
    for metric in ("trajectory_bleu4", "yes_no"):
        assert rows[metric][NEAR].value > rows[metric][FAR].value + 0.1
    assert rows["yes_no"][NEAR].value > rows["yes_no"][TOP].value + 0.2
    trajectory = rows["trajectory_bleu4"]
    assert trajectory[copying.AMONG].value < trajectory[NEAR].value  # whose text is a third one's words
    test = load(parted / "video/test")
    apart = copying.earned(test, str(parted / "video/train"))
    assert all(found[NEAR] == found[TOP] for found in apart.values())
    # The reference itself earns the most.
    items = suite.load(suite.Suite("t", str(parted / "published/test"), ["dialogue"]))[1]
    best = summarise(oracle.lines(items), suite.Suite("t", ""))
    assert all(best[f"dialogue.{metric}"].value == 1.0 for metric in ("trajectory_bleu4", "target_bleu4"))


@pytest.mark.parametrize("which", copying.COPIED)
def test_a_run_of_a_baseline_says_what_the_audit_does(parted, which, tmp_path):
    data = parted / "published"
    plan = suite.read(str(ROOT / "configs/bench/tvau.yaml"), ["--data", str(data / "test")])
    spec = f"{which}={data / 'train'}"
    found = run(Baseline(spec), f"baseline:{spec}", plan, tmp_path)
    rows = copying.earned(load(data / "test"), str(data / "train"))
    name = copying.COPIED[which]
    for metric in ("trajectory_bleu4", "target_bleu4", "yes_no"):
        got, told = found[f"dialogue.{metric}"], rows[metric][name]
        assert (got.value, got.low, got.high, got.n) == (told.value, told.low, told.high, told.n)


def test_the_audit_has_a_line_a_metric_and_flags_what_copying_earns(parted):
    data = parted / "published"
    lines = {f.what: f for f in audit.audit(str(data / "test"), str(data / "train")).findings}
    line = lines["dialogue, trajectory_bleu4"]
    assert line.flag and all(name in line.result for name in (NEAR, FAR, TOP, copying.AMONG))
    alone = {f.what: f for f in audit.audit(str(data / "test")).findings}["dialogue, trajectory_bleu4"]
    assert alone.result.startswith(copying.AMONG) and not alone.flag


def test_no_reference_is_scored_against_itself():
    sample = window("w", 0.0, "one two three four", "five six seven eight", "one two three nine")
    item = suite.dialogue_items(sample, "dialogue", sample.dialogue)[1]
    ways = [reply for asked, reply in sample.dialogue if asked == ASKED]
    others = [best_bleu4(way, [w for w in ways if w != way])[0] for way in ways]
    assert among_themselves(item.question, sample) == {"trajectory_bleu4": pytest.approx(np.mean(others))}
    assert np.mean(others) < 0.6
    alone = window("w", 0.0, "one two three four")
    assert among_themselves(suite.dialogue_items(alone, "dialogue", alone.dialogue)[1].question, alone) == {}


def test_the_neighbour_is_the_nearest_other_window_that_replies():
    train = [window("a1", 1.0, "near"), window("a2", 1.5), window("a3", 9.0, "far", "further")]
    replies = Replies([*train, window("b", 2.0, "elsewhere", source="b")])
    assert replies.near(window("t", 2.0, "own"), ASKED) == "near"
    assert replies.near(train[0], ASKED) == "far"  # not itself
    assert replies.near(window("t", 8.0), DIALOGUE["judgement"]) == "Yes."
    assert replies.near(window("c", 2.0, "own", source="c"), ASKED) is None
    drawn = {replies.drawn(train[0], ASKED, np.random.default_rng(n)) for n in range(20)}
    assert drawn == {"far", "elsewhere"}
    assert replies.drawn(train[0], "What else?", np.random.default_rng(0)) is None


def test_the_most_frequent_reply_is_of_all_references_to_the_words_that_are_asked(tmp_path, capsys):
    texts = ("first", "common", "other"), ("second", "common", "third"), ()
    train = [window(f"t{n}", n, *ways) for n, ways in enumerate((*texts, *texts[2:] * 4))]
    (tmp_path / "data").mkdir()
    save(train, tmp_path / "data")
    test = window("w", 0.0, "own", source="z")
    items = suite.dialogue_items(test, "dialogue", test.dialogue)
    requests = [Request([], None, item, item.id) for item in items]
    for which in ("prior", "neighbour", "window"):
        said = Baseline(f"{which}={tmp_path / 'data'}").sample(requests, Sampling())
        texts = [found.text for (found,) in said]
        expected = {"window": {"first", "second"}}.get(which, {"common"})
        assert texts[0] in ("Yes.", "No.") and texts[1] in expected
    # Without DATA it is of the data set that is asked about: here of the samples in company.
    assert [found.text for (found,) in Baseline("prior").sample(requests, Sampling())] == ["Yes.", "own"]
    here = [replace(item, sample=replace(test, root=str(tmp_path / "data"))) for item in items]
    Baseline(f"neighbour={tmp_path / 'data'}").sample([Request([], None, i, i.id) for i in here], Sampling())
    assert "0 of 9 turns of" in capsys.readouterr().err


def test_a_copying_baseline_without_data_or_answers_is_refused(tmp_path):
    for bad in ("neighbour", "window=", "neighbour=nowhere"):
        with pytest.raises(InputError):
            Baseline(bad)
    (tmp_path / "data").mkdir()
    save([window("a", 0.0, "x")], tmp_path / "data")
    sample = window("b", 0.0, "x")
    asked = suite.Item("b#0", "mcq", sample, suite.Question("mcq", "What?", "A", ("x", "y")))
    with pytest.raises(InputError, match="no question of kind 'mcq'"):
        Baseline(f"prior={tmp_path / 'data'}").sample([Request([], None, asked, "b#0")], Sampling())


@pytest.mark.parametrize(
    "options, said",
    [
        (["--videos", "1"], "--videos is 1, expected 2 or more"),
        (["--seed", "-1"], "--seed is -1, expected 0 or more"),
        (["--out", "{here}"], "holds something already; name a new folder"),
        (["--notes", "{here}/none"], "labels.csv: no such file"),
    ],
)
def test_table_3_refuses_what_cannot_be_in_one_line(tmp_path, monkeypatch, capsys, options, said):
    for name in table3.NOTES:
        (tmp_path / name).write_text("{}")
    given = ["--notes", str(tmp_path), "--out", str(tmp_path / "new")]
    here = [option.format(here=tmp_path) for option in options]
    monkeypatch.setattr("sys.argv", ["table3.py", *given, *here])
    assert guard(table3.main) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
    assert not (tmp_path / "new").exists()
