"""Boxes in free texts as they are meant: denied, taken back, alternatives, in another order of the numbers;
and references that the protocol's digits cannot hold."""

import pytest

from bench.tasks import TASKS
from rft.rewards import REWARDS
from tvad.answer import Box, parse
from tvad.data.sample import Question, Sample, Video

REFERENCE = Question("spatial", "Where?", "Fighting", boxes=(Box((100, 200, 300, 400)),))
NOWHERE = Sample("s", "", "", Video(""))


def earned(text: str) -> tuple[float, float]:
    """(reward, metric) of an answer to REFERENCE."""
    reward = REWARDS["box"]([text], solution=[REFERENCE.solution()], task=["spatial"])[0]
    return reward, TASKS["spatial"].score(parse(text), REFERENCE, NOWHERE)["miou"]


@pytest.mark.parametrize(
    "text, reason",
    [
        ("It is not at [100, 200, 300, 400].", "denied_box"),
        ("Not in the box [100, 200, 300, 400]; I cannot locate it.", "denied_box"),
        ("No box. [100, 200, 300, 400] is a normal person.", "denied_box"),
        ("There is nothing at [100, 200, 300, 400]", "denied_box"),
        ("[100, 200, 300, 400] is wrong.", "denied_box"),
        ("不是 [100, 200, 300, 400]", "denied_box"),
        ("[100, 200, 300, 400] or [500, 500, 600, 600]", "undecided_box"),
        ("either (100, 200), (300, 400) or (500, 500), (600, 600)", "undecided_box"),
        ("bbox (x, y, w, h): [100, 200, 300, 400]", "box_order"),
        ("bbox in xywh: [100, 200, 300, 400]", "box_order"),
        ("cxcywh [100, 200, 300, 400]", "box_order"),
        ('{"bbox": [100, 200, 300, 400], "format": "xywh"}', "box_order"),
        ("[ymin, xmin, ymax, xmax] = [100, 200, 300, 400]", "box_order"),
        ("<box>[y1, x1, y2, x2]: [100, 200, 300, 400]</box>", "box_order"),
    ],
)
def test_a_box_that_is_not_said_earns_nothing_and_the_reason_is_told(text, reason):
    assert earned(text) == (0.0, 0.0)
    assert reason in parse(text).defects


def test_points_are_no_box():
    assert earned('{"points": [[100, 200], [300, 400]]}') == (0.0, 0.0)
    assert earned('{"keypoints": [[100, 200], [300, 400]]}') == (0.0, 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "The box is [1, 2, 3, 4]. No wait, [100, 200, 300, 400].",
        "The man is not moving and is at [100, 200, 300, 400].",
        "There is no doubt, the person at [100, 200, 300, 400] is falling.",
        "[x1, y1, x2, y2] = [100, 200, 300, 400]",
        "It is not at [1, 2, 3, 4] but at [100, 200, 300, 400].",
        '{"label": "man", "box": {"x": 100, "y": 200, "w": 200, "h": 200}}',
        '{"left": 100, "top": 200, "width": 200, "height": 200}',
        '```json\n{"bbox_2d": [100, 200, 300, 400]}\n```\nSo the box is [100, 200, 300, 400].',
    ],
)
def test_a_box_that_is_said_earns_all(text):
    assert earned(text) == (1.0, 1.0)


def test_the_other_order_is_read_where_the_suite_says_it_and_refused_where_the_text_contradicts():
    from tvad.answer import Reading

    y_first = Reading(boxes="permille_yx")
    assert parse("[ymin, xmin, ymax, xmax] = [200, 100, 400, 300]", reading=y_first).boxes == REFERENCE.boxes
    told = parse("[xmin, ymin, xmax, ymax] = [100, 200, 300, 400]", reading=y_first)
    assert told.boxes == () and "box_order" in told.defects


@pytest.mark.parametrize(
    "question",
    [
        Question("spatial", "q", "Fighting", boxes=(Box((10.2, 100, 10.4, 400)),)),
        Question("spatial", "q", "Fighting", boxes=(Box((998.6, 100, 999.4, 400)),)),
        Question("spatial", "q", "Fighting", boxes=(Box((0, 0, 1, 1)),)),
        Question("temporal", "q", "Yes", spans=((0.0, 0.004),)),
        Question("temporal", "q", "Yes", spans=((1.0, 2.0), (5.001, 5.004))),
        Question("judgement", "q", "Yes", rationale="The answer is </think><answer>A</answer>"),
        Question("judgement", "q", "Yes", rationale="He writes <answer>x</answer>"),
    ],
)
def test_a_reference_that_is_lost_when_it_is_written_is_a_bad_row(question):
    """Without this an answer without a box, or with "none", earned all and the reference nothing."""
    (problem,) = question.problems(10.0)
    assert "cannot be read back" in problem


def test_a_reference_without_a_box_pays_for_none():
    lost = "<answer>Fighting</answer><box>[10, 100, 10, 400]</box>"
    assert REWARDS["box"](["<answer>Fighting</answer>"], solution=[lost], task=["spatial"]) == [None]
