"""Intervals that hold, and tests that cry wolf no oftener than they say, on made-up runs."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from bench import coverage
from bench.compare import compare
from bench.compare import table as compared
from bench.intervals import odds_metrics, summarise, table
from bench.metrics import labels
from bench.metrics.paired import change_interval, paired_interval, sign_flip
from bench.metrics.stats import mean_interval
from bench.pages import interval as bar
from bench.pages import render
from bench.report import headline, run_sections
from bench.run_folder import write_lines, write_metrics, write_record

PLAN = SimpleNamespace(resamples=200, seed=0)
TEN = SimpleNamespace(resamples=10, seed=0)


def test_intervals_near_the_ends_hold():
    """Percentile intervals covered 0.71 to 0.79 of the runs of 60 videos that are right 98 times in 100."""
    for cell in coverage.simulate(400, (8, 60), (0.5, 0.98), ("mean", "score", "auc", "f1")):
        assert cell.coverage >= 0.92 and cell.width > 0, cell


def test_a_balanced_accuracy_with_a_rare_easy_class_holds():
    """As evidence of all videos, ten of 240 that hold the rare class covered 0.63."""
    for cell in coverage.simulate(400, (60, 240), (0.9, 0.95), ("balanced",)):
        assert cell.coverage >= 0.92 and cell.width > 0, cell
    truth = ["Yes" if n < 10 else "No" for n in range(240)]
    found = labels.metrics(truth, truth, np.arange(240), "Yes", 2000, 0)["balanced_accuracy"]
    assert found.value == 1 and found.low < 0.9
    even = ["Yes" if n % 2 else "No" for n in range(240)]
    assert labels.metrics(even, even, np.arange(240), "Yes", 2000, 0)["balanced_accuracy"].low > 0.98


def test_changes_hold_and_equals_are_told_apart_no_oftener_than_said():
    cells = coverage.simulate(300, (30,), (0.5, 0.9), ("change", "auc-change"))
    for cell in cells:
        assert cell.coverage >= 0.92 and cell.flipped <= 0.085, cell
    assert max(cell.mcnemar for cell in cells if cell.mcnemar is not None) > 0.1


def test_no_interval_has_no_width():
    """All right, all wrong and all the same are evidence of as many videos as there are, not of certainty."""
    for value in (0.0, 0.4, 1.0):
        found = mean_interval(np.full(120, value), np.repeat(np.arange(60), 2))
        assert found.low <= value <= found.high and found.high - found.low > 0.03
    assert mean_interval(np.ones(60), np.arange(60)).low == pytest.approx(0.05 ** (1 / 60) - 0.01, abs=0.01)


def test_where_an_interval_has_not_been_shown_to_hold_there_is_none():
    few = mean_interval(np.array([1.0, 0, 1]), np.arange(3))
    assert few.low is few.high is None and few.withheld == "fewer than 4 videos"
    uneven = np.repeat(np.arange(9), [40, *[1] * 8])
    assert "worth 1" in mean_interval(np.arange(48) % 2, uneven).withheld
    before = np.zeros(60)
    five, six = before.copy(), before.copy()
    five[:5] = six[:6] = 1
    assert paired_interval(before, five, np.arange(60)).withheld == "fewer than 6 videos changed"
    assert sign_flip(five) > 0.05 > sign_flip(six)
    sure = paired_interval(before, six, np.arange(60))
    assert sure.low < 0.1 < sure.high and change_interval(-six, np.arange(60)).high == pytest.approx(
        -sure.low
    )


def line(video, task, scores, **more):
    return {
        "id": f"{video}#{task}",
        "task": task,
        "sample": f"v{video}",
        "attempt": 0,
        "response": "",
        "parsed": {},
        "defects": [],
        "scores": scores,
        **more,
    }


def test_videos_with_unlike_numbers_of_questions_are_worth_less_in_every_figure():
    """F1 of sixty videos, three of which hold nine in ten questions, covered 0.86."""
    sizes = [*[30] * 3, *[1] * 57]
    why = "60 videos with unlike numbers of questions, worth 8"
    rows = [
        line(n, "judgement", {"accuracy": 1.0}, labels=["anomalous" if n % 3 else "normal", "anomalous"])
        for n, size in enumerate(sizes)
        for _ in range(size)
    ]
    rows += [
        line(n, "rationale", {"bleu4": 0.5}, counts={"bleu4": [9, 9, 5, 8, 4, 7, 3, 6, 2, 5]})
        for n, size in enumerate(sizes)
        for _ in range(size)
    ]
    found = summarise(rows, PLAN)
    odds = [
        {"id": "", "task": "judgement", "sample": f"v{n}", "right": float(n % 2), "score": float(n % 7)}
        for n, size in enumerate(sizes)
        for _ in range(size)
    ]
    found |= odds_metrics(odds, PLAN)
    for name in ("accuracy", "balanced_accuracy", "f1", "roc_auc", "average_precision"):
        assert found[f"judgement.{name}"].withheld == why, name
    assert found["rationale.bleu4_corpus"].withheld == why


def test_few_parts_are_not_called_few_videos():
    rows = [
        line(n, "judgement", {"accuracy": 1.0}, labels=["anomalous" if n % 3 else "normal", "anomalous"])
        for n in range(100)
    ]
    found = summarise(rows, SimpleNamespace(resamples=3, seed=0))["judgement.f1"]
    assert found.withheld == "100 videos in 3 parts, fewer than 4: resamples"


def test_a_class_in_few_videos_has_no_mean_over_classes():
    rows = [
        line(n, "classification", {"accuracy": 1.0}, labels=["fire" if n < 4 else "fall", "fire"])
        for n in range(30)
    ]
    found = summarise(rows, PLAN)
    assert found["classification.f1"].withheld == "fire is in fewer than 5 videos"
    assert found["classification.f1"].low is None and found["classification.accuracy"].low is not None
    assert "classification.f1: no interval: fire is in" in table(found).replace(
        "classification.balanced_accuracy, ", ""
    )


def test_the_interval_of_what_is_no_mean_does_not_depend_on_the_order_of_videos():
    rng = np.random.default_rng(0)
    rows = [
        line(
            n,
            "judgement",
            {"accuracy": 1.0},
            labels=["Yes" if n % 3 else "No", "Yes" if rng.random() < 0.7 else "No"],
        )
        for n in range(40)
    ]
    one, other = (summarise(some, PLAN)["judgement.balanced_accuracy"] for some in (rows, rows[::-1]))
    assert (one.low, one.high) == pytest.approx((other.low, other.high)) and one.low < one.value < one.high
    parted = summarise(rows, TEN)["judgement.balanced_accuracy"]  # ten parts in place of forty videos
    assert parted.low == pytest.approx(one.low, abs=0.1) and parted.low != one.low


@pytest.fixture
def two(tmp_path):
    """Two finished runs on three videos, so that nothing has an interval."""
    for name, right in (("a", 1.0), ("b", 0.0)):
        rows = [line(n, "mcq", {"accuracy": right, "parse_failure": 0.0}) for n in range(3)]
        folder = tmp_path / name
        folder.mkdir()
        suite = {"name": "s", "data": "nowhere", "tasks": ["mcq"]}
        write_record(folder, {"model": "m", "suite": suite, "suite_hash": "x", "videos": 3})
        write_lines(folder / "samples.jsonl", rows)
        write_metrics(folder, summarise(rows, PLAN))
    return tmp_path / "a", tmp_path / "b"


def test_a_missing_interval_is_borne_by_every_table_and_page(two, monkeypatch):
    metrics = json.loads((two[0] / "metrics.json").read_text())
    assert metrics["mcq.accuracy"] == {
        "value": 1.0,
        "low": None,
        "high": None,
        "n": 3,
        "withheld": "fewer than 4 videos",
    }
    assert headline(metrics) is not None and bar(metrics["mcq.accuracy"]) == "1.000"
    rows = compare(*two)
    assert all(row.change.low is None and row.verdict == "same" for row in rows)
    assert "no interval: fewer than 4 videos" in compared(rows)
    for section in ("by_class", "answers"):
        monkeypatch.setattr(f"bench.report.{section}", lambda *_: None)
    for against in (None, two[0]):
        page = render("t", "s", run_sections(two[1], against, ([], [])))
        assert "fewer than 4 videos" in page


def test_the_command_prints_the_table(capsys):
    from bench.__main__ import main
    from tvad.common.errors import InputError

    few = ["--runs", "40", "--videos", "8", "--value", "0.9", "--figure", "change"]
    assert main(["coverage", *few]) == 0
    out = capsys.readouterr().out
    assert "change of a mean" in out and "McNemar" in out and "0.9" in out
    for wrong in (
        ["--runs", "0"],
        ["--videos", "2"],
        ["--value", "0.2"],
        ["--figure", "x"],
        ["--videos", "y"],
    ):
        with pytest.raises(InputError):
            main(["coverage", *wrong])
