import gzip
import json

import numpy as np
import pytest
from conftest import golden, golden_files, shared
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from bench.metrics import choice, detection, frame, labels, spatial, temporal, text
from bench.metrics.paired import paired_interval
from bench.metrics.stats import mean_interval
from tvad.answer import NONE, Box, parse
from tvad.detections import boxes_of, steps_of


def case_arrays(case):
    tracks = [
        [v, t["track_id"], *b]
        for v, video in enumerate(case["videos"])
        for t in video["tracks"]
        for b in t["boxes"]
    ]
    found = [[v, *d] for v, video in enumerate(case["videos"]) for d in video["detections"]]
    return np.array(tracks, float).reshape(-1, 7), np.array(found, float).reshape(-1, 7)


@pytest.mark.parametrize("name", [name for name in golden_files() if name.startswith("rbdc_tbdc/")])
def test_rbdc_tbdc_and_auc_are_the_references(name):
    path = golden(name)
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        case = json.load(file)
    tracks, found = case_arrays(case)
    expected = case["expected_region_track"]
    for wanted in [expected, *expected.get("other_alpha_beta", [])]:
        ours = detection.rbdc_tbdc(
            tracks, found, case["num_frames_total"], iou=wanted["beta"], track=wanted["alpha"]
        )
        assert ours == pytest.approx({"rbdc": wanted["rbdc"], "tbdc": wanted["tbdc"]}, abs=1e-9)
    if "curve" in expected and len(tracks):
        points = detection.curves(tracks, found, case["num_frames_total"])
        count = len(points["fpr"])
        for name in ("fpr", "rbdr", "tbdr"):
            assert points[name] == pytest.approx(expected["curve"][name][:count], abs=1e-9)
    labels = [np.array(v["frame_labels"]) for v in case["videos"]]
    scores = [np.array(v["frame_scores"], float) for v in case["videos"]]
    ours = frame.auc(labels, scores)
    assert ours["micro"] == pytest.approx(case["expected_frame_auc"]["micro"], abs=1e-9)
    assert ours["macro"] == pytest.approx(case["expected_frame_auc"]["macro_pad01"], abs=1e-9)


def test_rbdc_tbdc_on_real_tracks():
    with gzip.open(shared("golden/rbdc_tbdc_shanghaitech/case.json.gz"), "rt") as file:
        case = json.load(file)
    tracks = [
        [v, t["id"], frame, *box]
        for v, video in enumerate(case["videos"])
        for t in video["tracks"]
        for frame, box in zip(t["frames"], t["boxes"], strict=True)
    ]
    found = [
        [v, d["frame"], *d["box"], d["score"]]
        for v, video in enumerate(case["videos"])
        for d in video["detections"]
    ]
    ours = detection.rbdc_tbdc(np.array(tracks), np.array(found), case["num_frames"])
    assert ours == pytest.approx(case["expected"], abs=1e-9)


def test_rbdc_tbdc_by_hand():
    tracks = [[0, 0, 0, 0, 0, 9, 9], [0, 0, 1, 0, 0, 9, 9], [0, 1, 1, 50, 50, 59, 59]]
    found = [[0, 0, 0, 0, 9, 9, 0.9], [0, 1, 80, 80, 89, 89, 0.8], [0, 1, 50, 50, 59, 59, 0.7]]
    # hit (1/3), false positive (fpr 1/2), hit (2/3): area 1/3 * 1/2 + 2/3 * 1/2; tracks: 1/2 * 1/2 + 1 * 1/2.
    assert detection.rbdc_tbdc(tracks, found, 2) == pytest.approx({"rbdc": 0.5, "tbdc": 0.75})
    assert detection.rbdc_tbdc(np.zeros((0, 7)), found, 2) == {"rbdc": None, "tbdc": None}
    assert detection.rbdc_tbdc(tracks, np.zeros((0, 7)), 2) == {"rbdc": 0.0, "tbdc": 0.0}


scored = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])), min_size=2, max_size=60
)


@given(scored)
def test_auc_and_precision_equal_scikit_learn_ties_included(rows):
    labels, scores = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    if labels.all() or not labels.any():
        assert frame.roc_auc(labels, scores) is None
    else:
        assert frame.roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    if labels.any():
        assert frame.average_precision(labels, scores) == pytest.approx(
            average_precision_score(labels, scores)
        )


spans = st.tuples(st.floats(0, 50), st.floats(0, 50)) | st.just(NONE) | st.none()


@given(spans, spans)
def test_temporal_iou_is_symmetric_and_bounded(a, b):
    value = temporal.iou(a, b)
    assert 0 <= value <= 1 and value == pytest.approx(temporal.iou(b, a))


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [((0, 2), (1, 3), 1 / 3), ((2, 1), (1, 2), 0), (NONE, NONE, 1), (NONE, (0, 1), 0), (None, NONE, 0)],
)
def test_temporal_iou_by_hand(a, b, value):
    assert temporal.iou(a, b) == pytest.approx(value)


def test_spatial_iou_by_hand():
    assert spatial.iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert spatial.iou((9, 0, 1, 10), (0, 0, 10, 10)) == 0
    wanted = [Box((0, 0, 10, 10), 1.0), Box((0, 0, 10, 10), 2.0)]
    assert spatial.matched_iou([Box((0, 0, 10, 10), 2.0)], wanted) == 0.5
    assert spatial.matched_iou([Box((0, 0, 10, 10), 5.0)], wanted) == 0.0


OPTIONS = ["running", "cycling", "fire", "nothing unusual"]


@pytest.mark.parametrize(
    ("given_text", "letter"),
    [
        ("B", "B"),
        ("(c)", "C"),
        ("The answer is D.", "D"),
        ("cycling", "B"),
        ("A person runs", None),
        ("A or B", None),
        ("ABCD", None),
        ("I choose option C because of the smoke", "C"),
        ("", None),
        ("It is not A, the answer is B", "B"),
        ("B. cycling", "B"),
    ],
)
def test_letters_by_hand(given_text, letter):
    assert choice.letter(given_text, OPTIONS) == letter


def test_letters_beat_each_public_extractor():
    cases = json.loads(golden("mcq_extract/open/mcq_extract.json").read_text())["cases"]
    ours = sum(
        choice.letter(parse(c["response"]).answer, c["options"]) == c["intended_by_author"] for c in cases
    )
    for name in cases[0]["expected"]:
        theirs = sum(
            (c["expected"][name] if c["expected"][name] in set("ABCD") else None) == c["intended_by_author"]
            for c in cases
        )
        assert ours > theirs, name


def test_bleu_is_nltks():
    cases = json.loads(golden("bleu/open/bleu.json").read_text())["cases"]
    compared = 0
    for case in cases:
        wanted = case["nltk"]["whitespace"].get("sentence_bleu.method1")
        if isinstance(wanted, float) and case["references"]:
            assert text.bleu4(case["hypothesis"], case["references"]) == pytest.approx(
                wanted, rel=1e-9, abs=1e-70
            )
            compared += 1
    assert compared >= 25


def test_clusters_widen_the_interval():
    values = np.repeat(np.random.default_rng(0).random(20), 10)
    alone = mean_interval(values, np.arange(200))
    together = mean_interval(values, np.repeat(np.arange(20), 10))
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert (alone.low + alone.high) / 2 == pytest.approx(values.mean(), abs=0.02)
    assert alone == mean_interval(values, np.arange(200))


def test_a_constant_gain_has_a_sharp_paired_interval():
    before = np.random.default_rng(0).random(50)
    change = paired_interval(before, before + 0.1, np.arange(50))
    assert 0.08 < change.low < 0.1 < change.high < 0.11


def test_undefined_is_none():
    assert mean_interval(np.array([]), np.array([])).row() == {
        "value": None,
        "low": None,
        "high": None,
        "n": 0,
    }
    with pytest.raises(ValueError, match="values must be in 0 to 1, found 0 to 3"):
        mean_interval(np.array([0.0, 3.0]), np.arange(2))


@given(st.integers(0, 20), st.integers(0, 20), st.integers(2, 8), st.integers(2, 8))
@settings(max_examples=40)
def test_a_bright_block_becomes_one_detection(x, y, w, h):
    heat = np.full((32, 32), 0.1, np.float32)
    heat[y : y + h, x : x + w] = 0.8
    heat[y, x] = 0.95
    assert boxes_of(heat) == pytest.approx(np.array([[x, y, x + w - 1, y + h - 1, 0.95]]))


def test_every_frame_finds_its_step():
    assert steps_of(np.arange(16) / 4, np.arange(8) / 2).tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4


def test_classification_as_a_whole_equals_scikit_learn():
    from sklearn.metrics import balanced_accuracy_score, f1_score

    rng = np.random.default_rng(0)
    names = ["fire", "normal", "smoke"]
    truth = rng.choice(names, 200).tolist()
    predicted = [t if rng.random() < 0.6 else str(rng.choice([*names, "none of these"])) for t in truth]
    found = labels.metrics(truth, predicted, np.repeat(np.arange(50), 4), None, 200, 0)
    with pytest.warns(UserWarning, match="y_pred contains classes"):
        assert found["balanced_accuracy"].value == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert found["f1"].value == pytest.approx(f1_score(truth, predicted, labels=names, average="macro"))
    assert found["f1"].low < found["f1"].value < found["f1"].high and found["f1"].n == 200
    one = labels.metrics(truth, predicted, np.arange(200), "fire", 50, 0)["f1"]
    assert one.value == pytest.approx(f1_score(truth, predicted, labels=["fire"], average="macro"))
    assert labels.metrics(["a"], [None], np.array([0]), None, 10, 0)["balanced_accuracy"].row() == {
        "value": 0.0,
        "low": None,
        "high": None,
        "n": 1,
        "note": "one class alone occurs, a",
        "withheld": "fewer than 4 videos",
    }


@given(scored)
def test_the_roc_curve_has_the_area(rows):
    y, s = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    fpr, tpr = frame.roc_curve(y, s)
    if len(fpr):
        assert np.trapezoid(tpr, fpr) == pytest.approx(frame.roc_auc(y, s)) and (
            fpr[0],
            tpr[0],
            fpr[-1],
            tpr[-1],
        ) == (0, 0, 1, 1)
