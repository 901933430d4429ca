"""What a control room asks, by values worked out by hand and by simulation; timelines and alarms against
truth."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import alarms as control_room
from bench.__main__ import main
from bench.metrics.alarms import delays, false_alarms, per_hour, standing, summary
from bench.metrics.calibration import best_f1, brier, ece, f1_at
from tvad.common.cli import guard
from tvad.data import save, video
from tvad.data.sample import Sample, Video


def test_a_false_alarm_overlaps_no_anomaly():
    spans = [(10.0, 20.0), (30.0, 40.0)]
    alarms = [(0.0, 5.0), (5.0, 10.0), (19.0, 31.0), (35.0, 36.0), (40.0, 41.0)]
    assert false_alarms(alarms, spans) == 3  # those that only touch are false
    assert false_alarms([], spans) == 0 and false_alarms(alarms, []) == 5
    assert per_hour(3, 1800.0) == 6.0 and per_hour(3, 0.0) is None
    with pytest.raises(ValueError, match="alarm 1: "):
        false_alarms([(0, 1), (3, 2)], spans)
    with pytest.raises(ValueError, match="NaN"):
        false_alarms([(0, float("nan"))], spans)


def test_a_delay_is_from_onset_to_the_first_that_was_told():
    spans = [(10.0, 20.0), (30.0, 40.0), (50.0, 60.0)]
    alarms, told = [(9.0, 12.0), (15.0, 35.0), (11.0, 12.0)], [9.5, 22.0, 12.5]
    found = delays(alarms, told, spans)
    # The first stood before the onset; the second's was told before its own anomaly began; the third has
    # none.
    assert found[:2].tolist() == [0.0, 0.0] and np.isnan(found[2])
    assert delays([(15.0, 35.0)], [22.0], spans)[:2].tolist() == [12.0, 0.0]
    assert delays([(33.0, 35.0)], [34.5], spans)[1] == 4.5
    assert summary(np.array([4.0, np.nan, 1.0, 9.0])) == (4.0, 0.25)
    assert summary(np.array([np.nan])) == (None, 1.0) and summary(np.zeros(0)) == (None, None)
    assert np.isnan(delays([], [], spans)).all() and len(delays(alarms, told, [])) == 0
    with pytest.raises(ValueError, match="moments"):
        delays(alarms, told[:2], spans)


def test_simulated_alarms_have_the_rate_and_the_delay_that_they_were_drawn_with():
    rng = np.random.default_rng(0)
    hours, spans = 2000, [(3600.0 * h + 1800, 3600.0 * h + 1900) for h in range(2000)]
    seen = rng.random(hours) < 0.8
    late = rng.exponential(10.0, hours)
    true = [(a + d, a + 90.0) for (a, _), d, s in zip(spans, late, seen, strict=True) if s and d < 80]
    false = [(3600.0 * h + t, 3600.0 * h + t + 1) for h in range(hours) for t in rng.random(3) * 1700]
    rate = per_hour(false_alarms(true + false, spans), 3600.0 * hours)
    median, missed = summary(delays(true + false, [a for a, _ in true + false], spans))
    assert rate == pytest.approx(3.0)
    assert median == pytest.approx(10 * np.log(2), rel=0.1) and missed == pytest.approx(0.2, abs=0.03)


def test_calibration_by_hand():
    labels, scores = np.array([0, 1, 1, 0]), np.array([0.1, 0.15, 0.9, 1.0])
    # Bins [0.1, 0.2): labels 1 of 2, scores 0.25 of 2; [0.9, 1]: 1 of 2, 1.9 of 2.
    assert ece(labels, scores) == pytest.approx((abs(1 - 0.25) + abs(1 - 1.9)) / 4)
    assert ece(labels, scores, 1) == pytest.approx(abs(2 - 2.15) / 4)
    assert brier(labels, scores) == pytest.approx((0.01 + 0.85**2 + 0.01 + 1) / 4)
    assert ece([], []) is None and brier([], []) is None
    for wrong in ([0.5, 1.1], [0.5, float("nan")], [0.5]):
        with pytest.raises(ValueError):
            ece(np.array([0, 1]), np.array(wrong))


def test_scores_that_are_chances_are_calibrated():
    rng = np.random.default_rng(1)
    chance = rng.random(200_000)
    labels = (rng.random(len(chance)) < chance).astype(int)
    assert ece(labels, chance) < 0.01 < 0.2 < ece(labels, chance**3)
    assert brier(labels, chance) == pytest.approx(1 / 6, abs=0.005)  # the mean of p (1 - p)


def test_a_threshold_is_chosen_in_one_place_and_carried():
    labels, scores = np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.6, 0.6, 0.7, 0.2])
    # From the top: 0.7 -> 2/4, 0.6 (two, one right) -> 4/6, 0.2 -> 6/7, 0.1 -> 6/8.
    assert best_f1(labels, scores) == (0.2, pytest.approx(6 / 7))
    assert f1_at(labels, scores, 0.65) == pytest.approx(0.5) and f1_at(labels, scores, 0.6) == pytest.approx(
        2 / 3
    )
    assert f1_at(labels, scores, 5) == 0.0
    assert best_f1(np.zeros(3), np.zeros(3)) is None and f1_at(np.zeros(3), np.zeros(3), 0.5) is None
    rng = np.random.default_rng(2)
    labels, scores = rng.integers(0, 2, 200), rng.random(200).round(2)
    best = best_f1(labels, scores)
    every = [f1_at(labels, scores, t) for t in np.unique(scores)]
    assert best.f1 == pytest.approx(max(every)) == f1_at(labels, scores, best.threshold)


@pytest.fixture
def data(tmp_path):
    """Two videos of ten seconds at 4 frames a second: an anomaly from 4 to 6 s, none."""
    (tmp_path / "data/videos").mkdir(parents=True)
    samples = []
    for name, spans in (("a", ((4.0, 6.0),)), ("b", ())):
        video.write(tmp_path / f"data/videos/{name}.mp4", np.zeros((40, 32, 32, 3), np.uint8), 4)
        label = "anomalous" if spans else "normal"
        samples.append(Sample(name, "made", "test", Video(f"videos/{name}.mp4"), label=label, spans=spans))
    save(samples, tmp_path / "data")
    return tmp_path / "data"


def timeline(folder, name, scores, spans=(), on=0.5):
    folder.mkdir()
    steps = {"from": [float(n) for n in range(10)], "raw": scores, "score": scores}
    rows = [{"start": a, "end": b} for a, b in spans]
    content = {"format": "tvad-timeline", "version": 1, "video": f"x/{name}.mp4", "steps": steps}
    (folder / "timeline.json").write_text(json.dumps(content | {"spans": rows, "settings": {"on": on}}))
    return str(folder)


def test_timelines_are_scored_on_the_frames_of_their_videos(data, tmp_path, capsys):
    a = timeline(tmp_path / "a", "a", [0.1] * 4 + [0.9, 0.4] + [0.1] * 4, [(4.5, 7.0)])
    b = timeline(tmp_path / "b", "b", [0.1] * 9 + [0.6], [(9.0, 10.0)])
    out = tmp_path / "figures.json"
    assert main(["alarms", a, b, "--data", str(data), "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    # Of 8 anomalous frames 4 have 0.9, 4 have 0.4; of 72 normal ones 4 have 0.6, the rest 0.1.
    assert found["auc"] == pytest.approx((4 * 72 + 4 * 68) / (8 * 72))
    assert (found["threshold"], found["f1"]) == (0.5, pytest.approx(2 * 4 / (8 + 8)))
    assert found["best_f1"] == pytest.approx(2 * 8 / (12 + 8))
    assert found["brier"] == pytest.approx((4 * 0.01 + 4 * 0.36 + 4 * 0.36 + 68 * 0.01) / 80)
    assert (found["alarms"], found["anomalies"], found["missed"], found["delay"]) == (2, 1, 0.0, 0.5)
    assert found["hours"] == pytest.approx(20 / 3600) and found["false_an_hour"] == pytest.approx(180)
    assert "frame ROC-AUC" in capsys.readouterr().out
    # The threshold of a set where 0.4 is the best is carried here; one that is given stands.
    for options in (["--validation", a], ["--threshold", "0.4"]):
        assert main(["alarms", a, b, "--data", str(data), *options, "--json", str(out)]) == 0
        found = json.loads(out.read_text())
        assert (found["threshold"], found["f1"]) == (0.4, pytest.approx(2 * 8 / (12 + 8)))
        said = "1 of the 2 timelines are scored here, too" in capsys.readouterr().err
        assert said is ("--validation" in options)


def test_alarms_of_a_watch_are_scored_by_source(data, tmp_path, capsys):
    rows = [
        {"event": "on", "source": "a.mp4", "number": 1, "start": 4.5, "raised": 5.0, "told": 5.25},
        {"event": "on", "source": "b.mp4", "number": 1, "start": 1.0, "raised": 1.5, "told": 2.0},
        {"event": "off", "source": "a.mp4", "number": 1, "start": 4.5, "end": 7.0},
    ]
    path = tmp_path / "alarms.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = control_room.figures(control_room.read([str(path)], str(data)))
    assert (found["alarms"], found["missed"], found["delay"]) == (2, 0.0, 1.25)
    assert found["false_an_hour"] == pytest.approx(3600 / 20) and "auc" not in found
    for line, words in (
        ('{"event": "on"', "is no alarm"),
        (json.dumps(rows[0]) + "\n" + json.dumps(rows[0]), "begins twice"),
        (json.dumps(rows[0] | {"source": "c"}), "0 samples"),
    ):
        path.write_text(line + "\n")
        assert guard(main, ["alarms", str(path), "--data", str(data)]) == 2
        assert words in capsys.readouterr().err


def test_what_cannot_be_scored_is_one_line(data, tmp_path, capsys):
    a = timeline(tmp_path / "a", "a", [0.1] * 10)
    b = timeline(tmp_path / "b", "b", [0.1] * 10, on=0.7)
    short = timeline(tmp_path / "s", "a", [0.1] * 10)
    content = json.loads((tmp_path / "s/timeline.json").read_text())
    content["steps"] = {"from": [0.0, 1.0], "raw": [0, 0], "score": [0, 0]}
    (tmp_path / "s/timeline.json").write_text(json.dumps(content))
    (tmp_path / "alarms.jsonl").write_text("")
    empty = str(tmp_path / "alarms.jsonl")
    for given, words in (
        ([str(tmp_path / "none")], "cannot be read"),
        ([a, b], "2 thresholds"),
        ([short], "do not cover"),
        ([a, "--threshold", "1", "--validation", a], "not both"),
        ([a, "--validation-data", "x"], "--validation"),
        ([a, "--validation", b], "no threshold can be chosen"),
        ([empty, "--threshold", "1"], "is for timelines"),
    ):
        assert guard(main, ["alarms", *given, "--data", str(data)]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1 and words in said[0], said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spans": [{"start": 5.0, "end": 3.0}]}, "a span from 5 to 3 s does not end after it begins"),
        ({"spans": [{"start": 5.0}]}, "'end'"),
        ({"settings": {"on": "high"}}, "settings.on holds 'high'"),
        ({"settings": {}}, "'on'"),
        ({"steps": {"from": [0.0], "score": [None]}}, "steps.score holds None"),
        ({"steps": {"from": [], "score": []}}, "0 steps"),
        ({"video": 5}, "video is 5"),
    ],
)
def test_a_timeline_that_was_edited_is_one_line(data, tmp_path, capsys, change, words):
    path = Path(timeline(tmp_path / "a", "a", [0.1] * 10), "timeline.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert guard(main, ["alarms", str(path), "--data", str(data)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "is no timeline" in said[0] and words in said[0], said


def test_a_file_of_alarms_from_elsewhere_is_one_line(data, tmp_path, capsys):
    path = tmp_path / "alarms.jsonl"
    row = {"event": "on", "source": "a.mp4", "number": 1, "start": 4.5, "raised": 5.0, "told": 5.25}
    off = {"event": "off", "source": "a.mp4", "number": 1, "start": 4.5, "end": 4.5}
    for content, words in (
        (b"\xff\xfe{", "not UTF-8"),
        ((json.dumps(row) + "\n" + json.dumps(off) + "\n").encode(), "ends at 4.5 s, which is not after 4.5"),
    ):
        path.write_bytes(content)
        assert guard(main, ["alarms", str(path), "--data", str(data)]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1 and words in said[0], said
    path.write_text(json.dumps(row) + "\n", encoding="utf-8-sig")  # an editor's mark
    assert main(["alarms", str(path), "--data", str(data)]) == 0


def test_a_video_counts_once(data, tmp_path, capsys):
    """Told of twice, its hours and anomalies would be there twice."""
    a, again = (timeline(tmp_path / n, "a", [0.1] * 10) for n in ("a", "again"))
    path = tmp_path / "alarms.jsonl"
    row = {"event": "on", "source": "a.mp4", "number": 1, "start": 4.5, "raised": 5.0, "told": 5.25}
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | {"source": "a"}) + "\n")
    for given in ([a, a], [a, again], [str(path)]):
        assert guard(main, ["alarms", *given, "--data", str(data)]) == 2
        assert "a video counts once" in capsys.readouterr().err
    path.write_text(json.dumps(row) + "\n")
    assert guard(main, ["alarms", a, str(path), "--data", str(data)]) == 2
    assert "a video counts once" in capsys.readouterr().err


def test_an_alarm_without_end_is_told_from_one_that_knows():
    spans, n = [(10.0, 20.0), (30.0, 40.0)], 100.0
    assert standing([(0.0, n)], spans, n) == (80.0, 80.0)
    assert standing(spans, spans, n) == (0.0, 80.0) and standing([], [], n) == (0.0, n)
    assert standing([(5.0, 12.0), (8.0, 25.0), (95.0, 200.0)], spans, n) == (15.0, 80.0)
    assert standing([(0.0, n)], [(0.0, 200.0)], n) == (0.0, 0.0)
    rng = np.random.default_rng(3)  # against counted milliseconds
    for _ in range(20):
        drawn = [np.sort(rng.integers(0, 1000, (4, 2)) + np.array([0, 1]), 1) for _ in range(2)]
        grid = [np.zeros(1000, bool) for _ in drawn]
        for lit, rows in zip(grid, drawn, strict=True):
            for a, b in rows:
                lit[a:b] = True
        assert standing(*drawn, 1000.0) == ((grid[0] & ~grid[1]).sum(), (~grid[1]).sum())


def test_a_source_that_raised_no_alarm_counts_with_what_it_missed(data, tmp_path, capsys):
    path, counters, out = (tmp_path / n for n in ("alarms.jsonl", "counters.json", "out.json"))
    row = {"event": "on", "source": "b.mp4", "number": 1, "start": 1.0, "raised": 1.5, "told": 2.0}
    path.write_text(json.dumps(row) + "\n")
    counters.write_text(json.dumps({"format": "tvad-watch", "sources": {"a.mp4": {}, "b.mp4": {}}}))
    given = ["alarms", str(path), "--data", str(data), "--json", str(out)]
    assert main(given) == 0 and "--counters" in capsys.readouterr().err
    assert json.loads(out.read_text())["anomalies"] == 0  # of a, which was silent, nothing is known
    assert main([*given, "--counters", str(counters)]) == 0 and not capsys.readouterr().err
    found = json.loads(out.read_text())
    assert (found["anomalies"], found["missed"], found["alarms"]) == (1, 1.0, 1)
    assert found["false_an_hour"] == pytest.approx(180) and found["false_time"] == pytest.approx(9 / 18)
    path.write_text("")
    assert main([*given, "--counters", str(counters)]) == 0
    assert json.loads(out.read_text())["false_an_hour"] == 0 and capsys.readouterr()
    for wrong, words in ((str(path), "is no file of --counters"), (str(tmp_path / "no"), "cannot be read")):
        assert guard(main, [*given, "--counters", wrong]) == 2
        assert words in capsys.readouterr().err
    a = timeline(tmp_path / "t", "a", [0.1] * 10)
    assert guard(main, ["alarms", a, "--data", str(data), "--counters", str(counters)]) == 2


def test_an_alarm_behind_its_videos_end_is_one_line(data, tmp_path, capsys):
    """A source that was played twice, or another video of that name."""
    path = tmp_path / "alarms.jsonl"
    row = {"event": "on", "source": "a.mp4", "number": 1, "start": 12.0, "raised": 12.5, "told": 12.5}
    path.write_text(json.dumps(row) + "\n")
    assert guard(main, ["alarms", str(path), "--data", str(data)]) == 2
    said = capsys.readouterr().err
    assert "an alarm of a.mp4 begins at 12 s, its video ends at 10 s" in said and "Traceback" not in said
