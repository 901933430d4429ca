"""Windows of one video move together: an interval is over the videos that they are cut from, however many
windows each has been cut into."""

import numpy as np
import pytest
from conftest import shared

from bench.answers import asked_of, cluster
from bench.compare import compare
from bench.intervals import odds_metrics, summarise
from bench.models.baseline import Baseline
from bench.run import run
from bench.suite import Suite, load
from bench.tasks import heatmap
from tvad.data import windows
from tvad.data.readers import ucsd

PLAN = Suite("x", "")


def lines(videos, windows, rng):
    """Judgements and dialogue turns, all windows of a video answered alike."""
    found = []
    for v in range(videos):
        right, truth, score = float(rng.random() < 0.6), "yes" if v % 2 else "no", float(rng.normal())
        counts = [*rng.integers(1, 9, 8).tolist(), 9, 9]
        for w in range(windows):
            where = {"sample": f"v{v}_w{w}", "source": f"v{v}", "attempt": 0, "defects": []}
            said = truth if right else {"yes": "no", "no": "yes"}[truth]
            found.append({"id": f"v{v}_w{w}#0", "task": "judgement", **where, "scores": {"accuracy": right},
                          "labels": [truth, said], "right": float(v % 2), "score": score})  # fmt: skip
            found.append({"id": f"v{v}_w{w}@0", "task": "dialogue", **where, "scores": {"bleu4": score % 1},
                          "counts": {"bleu4": counts}})  # fmt: skip
    return found


def bounds(metrics):
    return {name: (m.value, m.low, m.high) for name, m in metrics.items()}


def test_more_windows_of_the_same_videos_do_not_make_an_interval_narrower():
    one, ten = (lines(24, count, np.random.default_rng(0)) for count in (1, 10))
    for of in (summarise, odds_metrics):
        few, many = bounds(of(one, PLAN)), bounds(of(ten, PLAN))
        assert few.keys() == many.keys() and len(few) >= 2
        for name in few:
            assert few[name] == pytest.approx(many[name], abs=1e-9), name
    # As it was: each window a video of its own.
    alone = [{k: v for k, v in line.items() if k != "source"} for line in ten]
    narrow, wide = (bounds(summarise(some, PLAN))["judgement.accuracy"] for some in (alone, ten))
    assert narrow[0] == wide[0] and narrow[2] - narrow[1] < 0.5 * (wide[2] - wide[1])


def test_intervals_over_windows_cover_what_they_say():
    """Videos differ, windows of one hardly do: by simulation the interval holds the truth at least as often
    as it says; one over windows would hold it about half of the time."""
    rng, held, of_windows = np.random.default_rng(1), 0, 0
    for _ in range(300):
        found = []
        for v in range(20):
            p = rng.beta(0.7, 0.7)  # mean a half
            for w in range(8):
                line = {"id": f"{v}_{w}", "task": "judgement", "sample": f"{v}_{w}", "source": f"v{v}"}
                line |= {"attempt": 0, "defects": [], "scores": {"accuracy": float(rng.random() < p)}}
                found.append(line)
        m = summarise(found, PLAN)["judgement.accuracy"]
        held += m.low <= 0.5 <= m.high
        alone = summarise([{**line, "source": line["sample"]} for line in found], PLAN)["judgement.accuracy"]
        of_windows += alone.low <= 0.5 <= alone.high
    assert held >= 0.92 * 300 and of_windows < 0.8 * 300


@pytest.fixture(scope="module")
def ped2(tmp_path_factory):
    """The test videos' real windows."""
    out = tmp_path_factory.mktemp("ped2")
    ucsd.read(shared("data/ucsd_ped2") / "UCSDped2", "test", out / "videos",
              shared("data/ucsd_ped2") / "tracks.jsonl")  # fmt: skip
    windows.cut(out / "videos", out / "windows", 6.4, 3.2)
    return out


def test_every_line_of_real_windows_names_its_video(ped2, tmp_path):
    plan = Suite("ped2", str(ped2 / "windows"), ["judgement", "classification", "temporal"], resamples=50)
    samples, items = load(plan)
    assert {cluster(asked_of(item)) for item in items} == {f"Test{n:03d}" for n in (1, 2, 4, 5, 6, 8, 10, 11)}
    by_class = {item.sample.id: item.question.answer for item in items if item.task == "classification"}
    shown = {s.id: s.categories for s in samples}
    assert by_class == {name: classes[0] for name, classes in shown.items() if classes}
    # The cart comes into Test004 at 3.0 s, the bicycle at 12.0 s; Test008 holds skateboarders besides.
    assert by_class["Test004_w0000"] == "utility cart" and "utility cart" not in by_class["Test001_w0001"]
    assert {*by_class.values()} <= {"bicycle rider", "utility cart", "skateboarder"}
    before, after = (
        run(Baseline(which), f"baseline:{which}", plan, tmp_path / which) for which in ("random", "oracle")
    )
    assert before["judgement.accuracy"].value < after["judgement.accuracy"].value
    # A metric of one class may be over fewer, none is over the 38 windows.
    assert max(d.videos for d in compare(tmp_path / "random", tmp_path / "oracle")) == 8


def test_heatmaps_of_windows_are_over_videos(scenes, tmp_path):
    plan = Suite("maps", str(scenes), ["heatmap"], resamples=300)
    run(Baseline("length"), "baseline:length", plan, tmp_path / "run")
    videos = list(heatmap.load_videos(tmp_path / "run" / heatmap.VIDEOS).items())
    alone = dict(videos)
    twice = {}
    for name, video in videos:
        for n in range(3):
            copy = heatmap.VideoScores.__new__(heatmap.VideoScores)
            copy.__dict__ |= video.__dict__
            copy.source = np.array(name)
            twice[f"{name}_{n}"] = copy
    one, three = (bounds(heatmap.metrics(some, 300, 0)) for some in (alone, twice))
    for name in ("micro_auc", "pixel_auc", "macro_auc"):
        assert one[name] == pytest.approx(three[name], abs=1e-6), name
