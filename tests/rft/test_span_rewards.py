"""Rewards for several spans a video: by which rule, what they read, that the metric says the same."""

import pytest
from datasets import Dataset

from bench.answers import score_item
from bench.suite import Item
from rft.grpo.mixture import row_of
from rft.rewards import REWARDS
from rft.rewards.mix import named, select
from rft.rewards.own import VARIANTS
from tvad.answer import Timing
from tvad.common.errors import InputError
from tvad.data.sample import Question, Sample, Video

TRUE = ((1.0, 3.0), (6.0, 8.0))
SAMPLE = Sample(
    "v",
    "made",
    "train",
    Video("v.mp4", 10.0, 100),
    "anomalous",
    spans=TRUE,
    questions=(Question("temporal", "When?", "Anomaly", spans=TRUE),),
    root="/data",
)


def paid(name, text, sample=SAMPLE):
    row = row_of(sample, sample.questions[0])
    columns = {key: [value] for key, value in row.items() if key != "prompt"}
    return named(name)([text], **columns)[0]


def answered(glue):
    return f"<think>t</think><answer>Anomaly</answer><glue>{glue}</glue>"


@pytest.mark.parametrize(
    ("glue", "union", "matching"),
    [
        ("[1, 3], [6, 8]", 1.0, 1.0),
        ("[6, 8], [1, 3]", 1.0, 1.0),
        ("[1, 3]", 0.5, 0.5),
        ("[1, 2], [2, 3], [6, 8]", 1.0, (0.5 + 1) / 3),
        ("[1, 8]", 4 / 7, 2 / 7 / 2),
        ("[1, 3], [6, 8], [9, 10]", 4 / 5, 2 / 3),
        ("frames 10 to 30, 60 to 80", 1.0, 1.0),
        ("10% to 30%, 60% to 80%", 1.0, 1.0),
        ("[3, 1], [6, 8]", 0.0, 0.5),
        ("none", 0.0, 0.0),
        ("somewhere", 0.0, 0.0),
    ],
)
def test_several_spans_are_paid_as_a_union_or_one_to_one_and_measured_alike(glue, union, matching):
    text = answered(glue)
    assert paid("temporal_iou", text) == pytest.approx(union)
    assert paid("temporal_iou.matching", text) == pytest.approx(matching)
    scores = score_item(Item("v#0", "temporal", SAMPLE, SAMPLE.questions[0]), text)["scores"]
    assert scores["miou"] == paid("temporal_iou", text)
    assert scores["matched_iou"] == paid("temporal_iou.matching", text)


def test_a_configuration_names_the_rule():
    functions, weights = select({"format": 0.5, "temporal_iou.matching": 2.0})
    assert functions == [REWARDS["format"], VARIANTS["temporal_iou.matching"]] and weights == [0.5, 2.0]
    assert [f.__name__ for f in functions] == ["format", "temporal_iou_matching"]
    with pytest.raises(InputError, match=r"unknown reward 'temporal_iou\.union'.*temporal_iou\.matching"):
        named("temporal_iou.union")


def test_one_span_among_two_where_one_is_asked_counts_as_two():
    single = Sample(
        "v",
        "made",
        "train",
        SAMPLE.video,
        "anomalous",
        questions=(Question("temporal", "When?", "Anomaly", spans=((1.0, 3.0),)),),
        root="/data",
    )
    for name in ("temporal_iou", "temporal_iou.matching"):
        assert paid(name, answered("[1, 3], [6, 8]"), single) == pytest.approx(0.5)
        assert paid(name, answered("[1, 3]</glue><glue>[6, 8]"), single) == 0.0, "two answers are none"
        assert paid(name, answered("[1, 3]"), single) == 1.0


def test_an_end_past_the_videos_pays_as_if_it_ended_there():
    last = Sample(
        "v",
        "made",
        "train",
        SAMPLE.video,
        "anomalous",
        questions=(Question("temporal", "When?", "Anomaly", spans=((8.0, 10.0),)),),
        root="/data",
    )
    assert paid("temporal_iou", answered("[8, 60]"), last) == 1.0
    assert paid("temporal_iou", answered("[0, 60]"), last) == pytest.approx(0.2), "the whole video: chance"


def test_the_format_pays_for_several_spans_in_seconds_and_for_no_other_unit():
    assert paid("format", answered("[1.00, 3.00], [6.00, 8.00]")) == 1.0
    assert (
        paid("format", answered("frames 10 to 30")) == 0.0 == paid("format", answered("one to three seconds"))
    )


def test_a_rationale_agrees_with_any_of_the_spans():
    def consistent(think):
        return paid(
            "consistency", f"<think>{think}</think><answer>Anomaly</answer><glue>[1, 3], [6, 8]</glue>"
        )

    assert consistent("He falls between 6 and 8 s.") == 1.0 == consistent("At 0:01-0:03 he runs.")
    assert consistent("He falls between 3 and 5 s.") == 0.0


def test_the_published_reward_takes_several_true_spans_as_a_union():
    assert paid("vau_r1.temporal.iou", "<think>t</think><answer>Anomaly</answer><glue>[1, 8]</glue>") == 4 / 7


def test_an_hour_of_frames_is_in_no_row_that_does_not_ask_when():
    """And reading an answer copies none of them."""
    times = tuple(2.5 + n / 30 + (n % 2) / 100 for n in range(108_000))
    video = Video("u.mp4", frames=len(times), seconds=3600.0, times=times)
    asked = Question("judgement", "Is there an anomaly?", "Yes"), SAMPLE.questions[0]
    sample = Sample("u", "made", "train", video, "anomalous", questions=asked, root="/data")
    short, whole = (row_of(sample, question) for question in asked)
    assert asked[1].kind == "temporal" and len(whole["timing"]["times"]) == len(times)
    assert short["timing"] == {"duration": 3600.0, "fps": None, "times": None}
    assert video.timing.times is times and video.timing.frame(0) == 0.0
    assert video.timing.frame(101) == pytest.approx(101 / 30 + 0.01)
    assert Timing(**whole["timing"]).frame(101) == video.timing.frame(101)


def test_rows_keep_the_timing_through_a_data_set():
    unknown = Sample(
        "u", "made", "train", Video("u.mp4"), "anomalous", questions=SAMPLE.questions, root="/data"
    )
    rows = Dataset.from_list([row_of(s, s.questions[0]) for s in (SAMPLE, unknown)])
    assert rows[0]["timing"] == {"duration": 10.0, "fps": 10.0, "times": None}
    assert rows[1]["timing"] == {"duration": None, "fps": None, "times": None}
    text = answered("frames 10 to 30, 60 to 80")
    columns = {key: rows[key][:] for key in rows.column_names if key != "prompt"}
    assert named("temporal_iou")([text, text], **columns) == [1.0, 0.0], "no clock, no span"
