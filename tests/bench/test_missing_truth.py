"""Figures of heatmaps where truth, or a scale, is missing: None with a reason, never 1; and every metric
refuses what is no number."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from bench.compare import compare
from bench.intervals import summarise, table
from bench.metrics import detection, frame, labels, paired, spatial, stats, temporal, text
from bench.run_folder import write_json
from bench.score import score
from bench.suite import Suite
from bench.tasks import heatmap
from bench.tasks.heatmap import Figures, VideoScores
from tvad.common.errors import InputError
from tvad.data import Sample, Video, save, video
from tvad.data.sample import Track
from tvad.data.video import Frames

CLIP = Frames(np.zeros((4, 8, 8, 3), np.uint8), np.arange(4) / 2.0, np.arange(0, 20, 5), 10.0, 20)
EVERY = np.arange(20)
rng = np.random.default_rng(0)


def of(scores, maps=None, **known) -> VideoScores:
    """A video of 20 frames, two seconds, with a score or a map each."""
    sample = Sample("x", "s", "test", Video("x.mp4"), **known)
    heat = np.asarray(scores, float).reshape(-1, 1, 1) if maps is None else maps
    return VideoScores(sample, heat, CLIP, EVERY)


def told(*videos: VideoScores) -> dict[str, stats.Interval]:
    return heatmap.metrics({f"v{n}": v for n, v in enumerate(videos)}, 20, 0)


NORMAL = {"label": "normal"}
LIT = {"label": "anomalous", "spans": ((0.5, 1.0),)}
ALL = {"label": "anomalous", "spans": ((0.0, 2.0),)}


def test_a_set_without_both_kinds_of_frames_has_no_area():
    """The published padding would give the first two sets a macro AUC of 1."""
    for known, why in ((NORMAL, "no frame is anomalous"), (ALL, "no frame is normal")):
        found = told(of(rng.random(20), **known), of(rng.random(20), **known))
        for name in ("micro_auc", "micro_ap", "macro_auc"):
            assert found[name].value is None and found[name].note == f"cannot be had: {why}", name
    assert told(of(rng.random(20), **NORMAL))["ano_auc"].note.endswith("no video is known to be anomalous")


def test_what_is_not_known_is_left_out_by_name():
    good = [of(rng.random(20), **NORMAL), of(rng.random(20), **LIT)]
    whole, part = told(*good), told(*good, of(rng.random(20), label="anomalous"), of(rng.random(20)))
    for name in ("micro_auc", "micro_ap", "macro_auc", "ano_auc"):
        assert part[name].value == whole[name].value and part[name].n == whole[name].n
        assert part[name].note == "2 of 4 videos left out, no mask, no spans, not labelled normal: v2, v3"
    nothing = told(*[of(rng.random(20), label="anomalous")] * 5)
    assert nothing["micro_auc"].note == (
        "cannot be had: no video is left; 5 of 5 videos left out, no mask, no spans, not labelled normal:"
        " v0, v1, v2 and 2 more"
    )
    # A span too short to hold a frame says nothing of any frame.
    short = of(rng.random(20), label="anomalous", spans=((0.51, 0.55),))
    assert "its mask or spans hold no frame: v2" in told(*good, short)["micro_auc"].note


def test_spans_give_no_pixels_and_no_regions():
    maps = rng.random((20, 8, 8)).astype(np.float32)
    found = told(of(None, maps, **LIT), of(None, maps, **NORMAL))
    assert found["micro_auc"].value is not None and found["pixel_auc"].value is None
    assert found["pixel_auc"].note == (
        "cannot be had: no pixel is anomalous; 1 of 2 videos left out, no mask: v0"
    )
    assert found["rbdc"].value is None and "no track that is anomalous: v0" in found["tbdc"].note
    box = {f: (0.0, 0.0, 7.0, 7.0) for f in range(5, 10)}
    tracked = told(
        of(None, maps, **LIT, tracks=(Track(0, "man", box, tuple(box)),)), of(None, maps, **NORMAL)
    )
    assert tracked["rbdc"].value is not None and tracked["rbdc"].note is None
    alone = told(of(rng.random(20), **LIT), of(rng.random(20), **NORMAL))
    assert "frame scores alone" in alone["pixel_auc"].note


def test_scores_on_any_scale_give_areas_and_nothing_that_needs_0_to_1():
    pairs = [(rng.normal(50, 30, 20), LIT), (rng.normal(50, 30, 20), NORMAL)]
    wild = told(*(of(scores, **known) for scores, known in pairs))
    every = np.concatenate([scores for scores, _ in pairs])
    tame = told(*(of((s - every.min()) / np.ptp(every), **known) for s, known in pairs))
    for name in ("micro_auc", "micro_ap", "ano_auc"):
        assert wild[name].value == pytest.approx(tame[name].value)
    assert wild["macro_auc"].note == "cannot be had: its padding needs scores in 0 to 1"
    assert tame["macro_auc"].value is not None
    maps = [np.full((20, 8, 8), 3.0, np.float32) * (1 + np.arange(20)[:, None, None]) for _ in pairs]
    found = told(*(of(None, m, **known) for m, (_, known) in zip(maps, pairs, strict=True)))
    assert found["micro_auc"].value is not None and found["pixel_auc"].value is None
    assert "maps in 3 to 60, expected 0 to 1: v1" in found["pixel_auc"].note


def test_areas_are_scikit_learns_over_all_anomalous_and_of_a_class():
    videos, truths, scores = [], [], []
    for kind in ("fire", "fire", "fall", "normal", "normal"):
        given = np.round(rng.random(20), 1)
        known = NORMAL if kind == "normal" else {**LIT, "categories": (kind,)}
        videos.append(of(given, **known))
        truths.append(videos[-1].labels)
        scores.append(given)
    found = told(*videos)

    def areas(chosen):
        y, s = np.concatenate([truths[n] for n in chosen]), np.concatenate([scores[n] for n in chosen])
        return roc_auc_score(y, s), average_precision_score(y, s)

    assert (found["micro_auc"].value, found["micro_ap"].value) == pytest.approx(areas(range(5)))
    for name, chosen in (("ano_auc", (0, 1, 2)), ("ano_auc:fire", (0, 1)), ("ano_auc:fall", (2,))):
        assert found[name].value == pytest.approx(areas(chosen)[0]) and found[name].n == len(chosen)
    # A resample counts a video as often as it was drawn.
    drawn = np.array([0, 0, 3, 4, 4])
    assert Figures(videos).of(drawn)["micro_ap"] == pytest.approx(areas(drawn)[1])
    assert Figures(videos).of(drawn)["ano_auc:fall"] is None
    padded = [frame.padded_auc(truths[n], scores[n]) for n in drawn]
    assert Figures(videos).of(drawn)["macro_auc"] == pytest.approx(np.mean(padded))
    assert not any(name.startswith("ano_auc:") for name in told(*videos[:2], videos[3]))  # one class alone


def test_two_runs_are_compared_over_the_videos_that_both_have():
    maps = rng.random((20, 8, 8)).astype(np.float32)
    both = [of(None, maps, **NORMAL), of(None, maps, **LIT)]
    wild = [of(None, maps * 9, **NORMAL), both[1]]
    before, after, change, p = heatmap.paired(both, wild, 20, 0)["micro_auc"]
    assert change.value == pytest.approx(after - before) and change.n == 2 and p == 1.0  # of two: no evidence
    assert heatmap.paired(both, wild, 20, 0)["macro_auc"][1] is None


def test_older_runs_are_still_read(tmp_path):
    videos = {"a": of(rng.random(20), **LIT), "b": of(rng.random(20), **NORMAL)}
    heatmap.save_videos(tmp_path / "new.npz", videos)
    with np.load(tmp_path / "new.npz") as data:
        kept = {name: data[name] for name in data.files if not name.endswith(("_lacks", "_classes"))}
    np.savez(tmp_path / "old.npz", **kept)
    for name in ("new", "old"):
        found = heatmap.load_videos(tmp_path / f"{name}.npz")
        assert (
            heatmap.statistics(list(found.values()))["micro_auc"] == told(*videos.values())["micro_auc"].value
        )


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    "call",
    [
        lambda: frame.roc_auc([0, 1], [NAN, 1.0]),
        lambda: frame.roc_auc([0, NAN], [0.5, 1.0]),
        lambda: frame.roc_auc([0, -1], [0.5, 1.0]),
        lambda: frame.roc_auc([0, 1, 1], [0.5, 1.0]),
        lambda: frame.roc_curve([0, 1], [INF, 1.0]),
        lambda: frame.average_precision([0, 1], [NAN, 1.0]),
        lambda: frame.auc([np.array([0, 1])], [np.array([NAN, 1.0])]),
        lambda: frame.padded_auc(np.array([0, 1]), np.array([INF, 1.0])),
        lambda: detection.rbdc_tbdc([[0, 0, 0, 0, 0, NAN, 9]], np.zeros((0, 7)), 2),
        lambda: detection.rbdc_tbdc([[0, 0, 0, 0, 0, 9, 9]], [[0, 0, 0, 0, 9, 9, NAN]], 2),
        lambda: detection.rbdc_tbdc(np.zeros((0, 7)), [[0, 0, 0, 0, 9, 9, NAN]], 2),
        lambda: detection.rbdc_tbdc([[0, 0, 0, 0, 0, 9, 9]], np.zeros((0, 7)), NAN),
        lambda: temporal.iou((0.0, NAN), (0.0, 1.0)),
        lambda: temporal.iou((0.0, 1.0), (0.0, INF)),
        lambda: temporal.summary(np.array([0.5, NAN])),
        lambda: spatial.iou((0, 0, NAN, 1), (0, 0, 1, 1)),
        lambda: spatial.pointing((0, 0, 1, 1), (0, 0, INF, 1)),
        lambda: text.bleu4(NAN, ["a man"]),
        lambda: text.rouge_l("a man", NAN),
        lambda: stats.mean_interval(np.array([0.0, NAN]), np.arange(2)),
        lambda: paired.paired_interval(np.array([0.0, NAN]), np.zeros(2), np.arange(2)),
        lambda: paired.share_beyond(np.array([0.0, NAN]), np.arange(2), 0.0),
        lambda: paired.sign_flip(np.array([0.0, NAN])),
        lambda: paired.holm([0.5, NAN]),
    ],
)
def test_a_metric_refuses_what_is_no_number(call):
    with pytest.raises(ValueError):
        call()


def test_a_map_that_is_no_number_names_its_video():
    with pytest.raises(InputError, match="x: its heatmap holds NaN"):
        of(None, np.full((20, 8, 8), NAN), **NORMAL)
    with pytest.raises(InputError, match=r"x: span \[30, 60\] ends after the video's 2.00 s"):
        of(rng.random(20), label="anomalous", spans=((30, 60),))  # frame numbers, say
    with pytest.raises(InputError, match=r"metrics.json: a number is NaN or infinite"):
        write_json("metrics.json", {"value": NAN})


def test_one_class_says_so():
    """An answer that never changes is right throughout: balanced accuracy is 1 for want of another class."""
    same = labels.metrics(["normal"] * 4, ["normal"] * 4, np.arange(4), "anomalous", 20, 0)
    assert same["balanced_accuracy"].note == "one class alone occurs, normal"
    assert same["f1"].value is None and same["f1"].note == "cannot be had: nothing is anomalous"
    rows = [{"metric": name, **m.row()} for name, m in same.items()]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert "f1: cannot be had: nothing is anomalous" in table({"f1": same["f1"]})


def test_a_comparison_and_the_console_keep_the_reasons(tmp_path):
    """By files: two runs of frame scores on videos with spans alone, and one whose truth is not known."""
    data, clip = tmp_path / "data", Video("videos/x.mp4")
    (data / "videos").mkdir(parents=True)
    video.write(data / "videos/x.mp4", np.full((20, 16, 16, 3), 90, np.uint8), 10.0)
    samples = [
        Sample(name, "s", "test", clip, **known)
        for name, known in (("a", LIT), ("b", NORMAL), ("c", {"label": "anomalous"}))
    ]
    save(samples, data)
    suite = Suite("s", str(data), ["heatmap"], resamples=20)
    for name, stride in (("one", 4), ("two", 2)):
        lines = [
            {
                "id": s.id,
                "task": "heatmap",
                "frame_scores": rng.random(20 // stride).tolist(),
                "stride": stride,
            }
            for s in samples
        ]
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        found, rejected = score(path, suite, tmp_path / name)
        assert not rejected and found["heatmap.micro_auc"].n == 2
        kept = json.loads((tmp_path / name / "metrics.json").read_text())["heatmap.micro_auc"]
        assert kept["note"] == "1 of 3 videos left out, no mask, no spans, not labelled normal: c"
    changes = {d.metric: d for d in compare(tmp_path / "one", tmp_path / "two")}
    assert changes["heatmap.micro_auc"].change.n == 2 and changes["heatmap.rbdc"].before is None
    assert summarise([], replace(suite, tasks=[])) == {}
