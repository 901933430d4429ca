"""Several spans a video: metrics against a brute force, what oracles and blind answers earn, where they are
kept and shown."""

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.answers import score_item
from bench.metrics import temporal
from bench.shown import in_words, reference
from bench.suite import Item, class_names, resolved
from bench.tasks import TASKS
from tvad.answer import NONE, Answer, Reading, parse
from tvad.data.sample import Question, Sample, Video

TRUE = ((2.0, 4.0), (10.0, 14.0))
CLASSES = ("fight", "fire_alarm")


def sample_of(spans=TRUE, classes=CLASSES):
    question = Question("temporal", "When?", "Anomaly" if spans else "Normal", spans=spans or NONE)
    return Sample(
        "v",
        "made",
        "test",
        Video("v.mp4", 10.0, 200),
        "anomalous" if spans else "normal",
        spans=spans,
        span_categories=classes,
        questions=(question,),
    )


def scored(text, sample=None):
    sample = sample or sample_of()
    return score_item(Item("v#0", "temporal", sample, sample.questions[0]), text)


# Independent of `bench.metrics.temporal`: seconds are counted in hundredths, every pairing is tried.
def grid(spans):
    seconds = np.zeros(1000, bool)
    for a, b in spans:
        seconds[round(a * 10) : round(b * 10)] = True
    return seconds


def by_grid(ours, true):
    a, b = grid(ours), grid(true)
    return (a & b).sum() / (a | b).sum()


def every_pairing(ours, true):
    short, long = sorted((ours, true), key=len)
    for chosen in itertools.permutations(range(len(long)), len(short)):
        yield [by_grid([short[n]], [long[place]]) for n, place in enumerate(chosen)]


def precision_by_definition(ours, true, threshold):
    """Area under the interpolated precision, recall by recall, as ActivityNet describes its evaluation."""
    taken, curve = set(), [(0.0, 0.0)]
    for n, span in enumerate(ours, 1):
        ranked = sorted(range(len(true)), key=lambda m: -by_grid([span], [true[m]]))
        for m in ranked:
            if by_grid([span], [true[m]]) < threshold:
                break
            if m not in taken:
                taken.add(m)
                break
        curve.append((len(taken) / len(true), len(taken) / n))
    steps = sorted({recall for recall, _ in curve})
    return sum(
        (here - before) * max(p for r, p in curve if r >= here) for before, here in itertools.pairwise(steps)
    )


tenths = st.integers(0, 60).map(lambda n: n / 10)
one = st.tuples(tenths, tenths).filter(lambda s: s[0] < s[1])
some = st.lists(one, min_size=1, max_size=4)


@given(some, some)
@settings(max_examples=150, deadline=None)
def test_metrics_of_several_spans_equal_a_brute_force(ours, true):
    pairings = list(every_pairing(ours, true))
    assert temporal.union_iou(ours, true) == pytest.approx(by_grid(ours, true))
    most = max(sum(pairs) for pairs in pairings)
    assert temporal.matched_iou(ours, true) == pytest.approx(most / max(len(ours), len(true)))
    assert temporal.best_iou(ours, true) == pytest.approx(max(by_grid(ours[:1], [t]) for t in true))
    for threshold in (1 / np.pi, 3**-0.5):  # no IoU of tenths of a second falls on these
        hits = max(sum(value >= threshold for value in pairs) for pairs in pairings)
        assert temporal.f1(ours, true, threshold) == pytest.approx(2 * hits / (len(ours) + len(true)))
        found = temporal.average_precision(ours, true, threshold)
        assert 0 <= found <= 1
        if len({round(by_grid([s], [t]), 9) for s in ours for t in true}) == len(ours) * len(true):
            assert found == pytest.approx(precision_by_definition(ours, true, threshold))


@given(one, one)
def test_one_span_and_one_reference_are_the_plain_iou(span, wanted):
    """The figures of data with a span a video stay what they were, to the last bit."""
    value = temporal.iou(span, wanted)
    found = temporal.scores([span], [wanted])
    assert found["miou"] == value and found["matched_iou"] == pytest.approx(value)
    assert [found[f"r@{t}"] for t in (0.3, 0.5, 0.7)] == [float(value >= t) for t in (0.3, 0.5, 0.7)]


@given(some.map(temporal.joined))
def test_the_reference_earns_one_of_every_metric(true):
    assert set(temporal.scores(true, true).values()) == {1.0}
    if len(true) > 1:
        swapped = temporal.scores(true[::-1], true)
        assert set(swapped.values()) == {1.0}, "the order of the spans does not matter"


def test_blind_answers_earn_what_chance_gives():
    whole = temporal.scores([(0.0, 20.0)], TRUE)
    assert whole["miou"] == pytest.approx(6 / 20) and whole["best_iou"] == pytest.approx(4 / 20)
    assert whole["matched_iou"] == pytest.approx(4 / 20 / 2)
    assert whole["f1@0.3"] == whole["map"] == whole["r@0.5"] == 0.0
    every_second = [(float(n), n + 1.0) for n in range(20)]
    combed = temporal.scores(every_second, TRUE)
    assert combed["miou"] == pytest.approx(6 / 20) and combed["matched_iou"] < 0.05
    assert combed["f1@0.5"] == pytest.approx(2 / 22) and combed["map"] <= 0.1


def test_nothing_read_and_none_earn_nothing_where_there_are_spans():
    for spans in (None, (), NONE, ((4.0, 2.0),), ((3.0, 3.0),)):
        assert set(temporal.scores(spans, TRUE).values()) == {0.0}
    assert temporal.union_iou([(2.0, 4.0), (14.0, 10.0)], TRUE) == 0.0, "a reversed span among them"


def test_numbers_that_are_none_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        temporal.union_iou([(0.0, float("nan"))], TRUE)


def test_many_spans_against_few_do_not_take_long():
    spans = [(n / 10, n / 10 + 0.05) for n in range(1000)]
    assert temporal.scores(spans, spans)["map"] == 1.0


def test_a_line_holds_all_spans_and_what_they_earn():
    line = json.loads(
        json.dumps(scored("<think>t</think><answer>Anomaly</answer><glue>[2, 4], [10, 14]</glue>"))
    )
    assert line["parsed"]["span"] == [2.0, 4.0] and line["parsed"]["spans"] == [[2.0, 4.0], [10.0, 14.0]]
    assert line["scores"]["miou"] == line["scores"]["f1@0.7"] == line["scores"]["map"] == 1.0
    assert line["scores"]["class_map"] == 0.0, "the answer names no classes"
    normal = scored("<glue>none</glue>", sample_of((), None))
    assert normal["scores"] == {"false_alarm": 0.0, "parse_failure": 0.0}


def test_the_videos_clock_reads_frames_percent_and_words():
    assert scored("frames 20 to 40 and frames 100 to 140")["scores"]["miou"] == 1.0
    assert scored("10% to 20%, 50% to 70%")["scores"]["miou"] == 1.0
    unmeasured = Sample("v", "made", "test", Video("v.mp4"), "anomalous", questions=sample_of().questions)
    line = scored("<answer>Anomaly</answer><glue>10% to 20%</glue>", unmeasured)
    assert "percent_span" in line["defects"] and line["scores"]["parse_failure"] == 1.0


def test_an_end_beyond_the_video_is_cut_and_counted():
    line = scored(
        "<think>t</think><answer>Anomaly</answer><glue>[10, 90]</glue>",
        sample_of(((10.0, 20.0),), ("fight",)),
    )
    assert line["scores"]["miou"] == 1.0 and line["defects"] == ["span_beyond_video"]


def test_classes_of_spans_are_compared_where_data_and_answer_have_them():
    def text(first, second):
        rows = [
            {"start": 2, "end": 4, "label": first},
            {"start": 10, "end": 14, "label": second},
        ]
        return f"<answer>Anomaly</answer><glue>{json.dumps(rows)}</glue>"

    right = scored(text("Fight", "fire alarm"))
    assert right["scores"]["class_map"] == 1.0 and right["parsed"]["span_labels"] == ("Fight", "fire alarm")
    assert scored(text("fire_alarm", "fight"))["scores"]["class_map"] == 0.0
    assert scored(text("fight", "theft"))["scores"]["class_map"] == 0.5
    assert "class_map" not in scored(text("fight", "theft"), sample_of(TRUE, None))["scores"]


def labelled(*labels):
    rows = [{"start": a, "end": b, "label": label} for (a, b), label in zip(TRUE, labels, strict=True)]
    return f"<answer>Anomaly</answer><glue>{json.dumps(rows)}</glue>"


@pytest.mark.parametrize(
    "said",
    [
        "RoadAccidents",
        "Road Accidents",
        "road accident",
        "road-accidents",
        "car crash",
        "a car crash",
        "车祸",
    ],
)
def test_a_spans_class_is_read_as_a_classification_is(said):
    further = {"RoadAccidents": ["car crash", "车祸"]}
    sample = sample_of(TRUE, ("RoadAccidents", "Fighting"))
    asked = Question("classification", "Which?", "RoadAccidents")
    sample = replace(sample, categories=("RoadAccidents", "Fighting"), questions=(*sample.questions, asked))
    read = resolved(Reading(classes=further), [sample], "tvad", ("temporal", "classification"))(sample)
    when, which = (Item("v#0", q.kind, sample, q, reading=read) for q in sample.questions)
    assert score_item(when, labelled(said, "fighting"))["scores"]["class_map"] == 1.0
    assert score_item(which, f"<answer>{said}</answer>")["scores"]["accuracy"] == 1.0
    for wrong in ("robbery", f"not {said}", f"{said} or fighting", f"{said} and fighting"):
        assert score_item(when, labelled(wrong, "fighting"))["scores"]["class_map"] == 0.5


def test_an_answer_without_classes_does_not_leave_the_mean_of_them():
    """One labelled answer of many was 1.0 of the whole run."""
    for text in ("<glue>[2, 4], [10, 14]</glue>", "<glue>none</glue>", "I cannot tell.", ""):
        assert scored(text)["scores"]["class_map"] == 0.0
    assert scored(labelled("fight", None))["scores"]["class_map"] == 0.5


def test_classes_of_spans_are_classes_of_the_data():
    assert class_names([sample_of()]) == ["fight", "fire_alarm"]


def test_every_metric_of_the_task_is_explained():
    names = {*scored("<glue>[2, 4]</glue>")["scores"], "class_map", "false_alarm"}
    text = (ROOT / "docs/spans.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text or f"`{name[:-3]}0.3" in text for name in names)
    assert TASKS["temporal"].PRIMARY == "miou"


def test_spans_are_shown_in_words():
    sample = sample_of()
    shown = reference(SimpleNamespace(task="temporal", question=sample.questions[0]))
    assert shown == "Anomaly [2.0, 4.0], [10.0, 14.0]"
    assert in_words([[1, 2]]) == "[1, 2]" and in_words(NONE) == NONE and in_words(None) == ""


def test_the_oracle_of_a_data_set_with_several_spans_is_right():
    sample = sample_of()
    line = scored(sample.solution(sample.questions[0]), sample)
    assert {name: value for name, value in line["scores"].items() if value != 1.0} == {"parse_failure": 0.0}
    assert parse(sample.questions[0].solution()).spans == TRUE
    assert Answer(spans=TRUE).span == TRUE[0]
