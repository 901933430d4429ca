import json

import numpy as np
import pytest
from conftest import golden

from rft.rewards import REWARDS, vau_r1
from rft.rewards.mix import select
from tvad.common.errors import InputError

TEMPORAL = "<think>x</think><answer>Anomaly</answer><glue>[1.00, 3.00]</glue>"
SPATIAL = "<think>x</think><answer>car</answer><box>[100, 100, 300, 300]</box>"
OPTIONS = ["running", "cycling", "fire", "nothing unusual"]


HEAT = np.zeros((2, 10, 10))
HEAT[1, 1:3, 1:3] = 1.0  # what SPATIAL's box covers, in the second step


def value(name, text, solution, task, options=None, **columns):
    seen = {"heat": [HEAT], "times": [np.array([0.0, 0.5, 1.0, 1.5])], "moment": [1.0]} | columns
    return REWARDS[name]([text], solution=[solution], task=[task], options=[options], **seen)[0]


def total(text, solution, task, options=None):
    return sum(v for v in (value(n, text, solution, task, options) for n in REWARDS) if v is not None)


def test_the_reference_itself_earns_everything():
    assert total(TEMPORAL, TEMPORAL, "temporal") == 4.0
    assert total(SPATIAL, SPATIAL, "spatial") == 5.0
    assert (
        total("<think>x</think><answer>B</answer>", "<think>x</think><answer>B</answer>", "mcq", OPTIONS)
        == 3.0
    )
    assert (
        total("A red car drives.", "A red car drives.", "dialogue") == 1.0 == total("Yes", "Yes", "dialogue")
    )


def test_rewards_that_do_not_apply_are_none():
    assert value("box", TEMPORAL, TEMPORAL, "temporal") is None
    assert value("temporal_iou", SPATIAL, SPATIAL, "spatial") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<glue>[1, 2]</glue>", 0.5),
        ("<glue>[3, 1]</glue>", 0.0),
        ("<glue>[2, 2]</glue>", 0.0),
        ("<glue>none</glue>", 0.0),
        ("", 0.0),
        ("<glue>[0, 4]</glue>", 0.5),
        ("<glue>[1, 3]</glue><glue>[0, 9]</glue>", 0.0),
    ],
)
def test_temporal_iou(text, expected):
    assert value("temporal_iou", text, TEMPORAL, "temporal") == pytest.approx(expected)


def test_a_normal_video_pays_for_none_and_only_for_none():
    normal = "<think>x</think><answer>Normal</answer><glue>none</glue>"
    assert value("temporal_iou", "<glue>[0, 0]</glue>", normal, "temporal") == 1.0
    assert value("temporal_iou", "<glue>[0, 1]</glue>", normal, "temporal") == 0.0


def test_evidence_ties_the_box_to_the_heatmap():
    def paid(box, answer="car", **columns):
        return value(
            "evidence",
            f"<think>x</think><answer>{answer}</answer><box>{box}</box>",
            SPATIAL,
            "spatial",
            **columns,
        )

    assert paid([100, 100, 300, 300]) == pytest.approx(1.0)
    assert paid([100, 100, 200, 300]) == pytest.approx(0.5)
    assert paid([0, 0, 1000, 1000]) == pytest.approx(0.04), "the whole frame earns the heat's mean"
    assert paid([600, 600, 800, 800]) == 0.0
    assert paid([100, 100, 300, 300], answer="dog") == 0.0, "only where the answer is right"
    assert paid([100, 100, 300, 300], moment=[0.2]) == 0.0, "at the asked moment"
    assert paid([[100, 100, 300, 300], [0, 0, 9, 9]]) == 0.0
    with pytest.raises(RuntimeError, match="needs a model with AHD"):
        paid([100, 100, 300, 300], heat=[None])


@pytest.mark.parametrize(
    ("text", "task", "paid"),
    [
        ("<think>It is running.</think><answer>A</answer>", "mcq", 1.0),
        ("<think>It is running.</think><answer>B</answer>", "mcq", 0.0),
        ("<think>Not fire but cycling.</think><answer>B</answer>", "mcq", 1.0),
        ("<think></think><answer>B</answer>", "mcq", 0.0),
        ("<think>Nothing unusual here.</think><answer>Yes</answer>", "judgement", 0.0),
        ("<think>Nothing unusual.</think><answer>No</answer>", "judgement", 1.0),
        ("<think>From 1.0 to 3.0 s.</think><answer>Anomaly</answer><glue>[1, 3]</glue>", "temporal", 1.0),
        ("<think>From 5.0 to 9.0 s.</think><answer>Anomaly</answer><glue>[1, 3]</glue>", "temporal", 0.0),
        ("<answer>B</answer>", "mcq", 0.0),
    ],
)
def test_consistency(text, task, paid):
    assert value("consistency", text, "<answer>B</answer>", task, OPTIONS) == paid


def test_extra_boxes_count_against_the_mean():
    two = '<box>[{"t": 1, "box": [100, 100, 300, 300]}, {"t": 1, "box": [0, 0, 1000, 1000]}]</box>'
    assert value("box", two, SPATIAL, "spatial") == pytest.approx(0.5)


def test_numbers_are_compared_as_numbers():
    assert (
        value("answer", "<answer>12.0</answer>", "<think>x</think><answer>12</answer>", "classification")
        == 1.0
    )


# Each way of gaming against an honest answer that is half right: the right tags, and half of the span, the
# box, or the questions.
HONEST = {
    "temporal": "<think>A car.</think><answer>Anomaly</answer><glue>[1.00, 2.00]</glue>",
    "spatial": "<think>A car.</think><answer>car</answer><box>[100, 100, 200, 300]</box>",
    "mcq": "<think>Someone is cycling.</think><answer>B</answer>",  # right every second time
}
SOLUTIONS = {"temporal": TEMPORAL, "spatial": SPATIAL, "mcq": "<think>x</think><answer>B</answer>"}
TRICKS = [
    ("temporal", "the whole video as span", "<think>x</think><answer>Anomaly</answer><glue>[0, 1000]</glue>"),
    ("temporal", "only a span", "<glue>[0, 1000]</glue>"),
    ("temporal", "an empty rationale", "<think></think><answer>Anomaly</answer><glue>[0, 1000]</glue>"),
    ("temporal", "both answers", "<think>x</think><answer>Anomaly, Normal</answer><glue>[0, 1000]</glue>"),
    (
        "temporal",
        "answers until one is right",
        "<think>x</think><answer>Normal</answer><answer>Anomaly</answer><glue>[1, 3]</glue>",
    ),
    (
        "temporal",
        "spans until one is right",
        "<think>x</think><answer>Anomaly</answer><glue>none</glue><glue>[1, 3]</glue>",
    ),
    ("temporal", "normal for everything", "<think>x</think><answer>Normal</answer><glue>none</glue>"),
    ("temporal", "tags inside tags", "<think><answer>Anomaly</answer><glue>[1, 3]</glue></think>"),
    ("temporal", "a megabyte of padding", "<think>" + "pad " * 250_000 + "</think>"),
    ("temporal", "numbers as words", "<think>x</think><answer>Anomaly</answer><glue>[one, three]</glue>"),
    (
        "spatial",
        "the whole frame as box",
        "<think>x</think><answer>car</answer><box>[0, 0, 1000, 1000]</box>",
    ),
    (
        "spatial",
        "a grid of boxes",
        "<think>x</think><answer>car</answer><box>"
        + str([[x, y, x + 200, y + 200] for x in range(0, 1000, 200) for y in range(0, 1000, 200)])
        + "</box>",
    ),
    (
        "spatial",
        "boxes until one is right",
        "<think>x</think><answer>car</answer><box>[0, 0, 9, 9]</box><box>[100, 100, 300, 300]</box>",
    ),
    ("mcq", "all letters", "<think>x</think><answer>A B C D</answer>"),
    ("mcq", "all letters one by one", "".join(f"<answer>{letter}</answer>" for letter in "ABCD")),
    ("mcq", "all options", "<think>x</think><answer>running, cycling, fire or nothing unusual</answer>"),
    ("mcq", "an empty rationale", "<think></think><answer>A B</answer>"),
]


@pytest.mark.parametrize(
    ("task", "trick", "text"), TRICKS, ids=[f"{task}: {trick}" for task, trick, _ in TRICKS]
)
def test_gaming_pays_less_than_an_honest_half_right_answer(task, trick, text):
    options = OPTIONS if task == "mcq" else None
    honest = total(HONEST[task], SOLUTIONS[task], task, options)
    if task == "mcq":  # mean of a right and a wrong answer
        honest = (honest + total(HONEST[task], "<think>x</think><answer>C</answer>", task, options)) / 2
    assert total(text, SOLUTIONS[task], task, options) < honest


def test_normal_for_everything_does_not_pay_on_a_balanced_set():
    lazy = "<think>x</think><answer>Normal</answer><glue>none</glue>"
    normal = "<think>x</think><answer>Normal</answer><glue>none</glue>"
    honest = [
        total(HONEST["temporal"], TEMPORAL, "temporal"),
        total(lazy, normal, "temporal"),
    ]  # half right, right
    assert sum(total(lazy, s, "temporal") for s in (TEMPORAL, normal)) < sum(honest)


def test_all_letters_and_the_whole_frame_do_not_pay():
    right = "<think>x</think><answer>B</answer>"
    assert value("answer", "<answer>A B C D</answer>", right, "mcq", OPTIONS) == 0.0
    assert value("answer", "<answer>A</answer><answer>B</answer>", right, "mcq", OPTIONS) == 0.0
    whole = "<think>x</think><answer>car</answer><box>[0, 0, 1000, 1000]</box>"
    assert value("box", whole, SPATIAL, "spatial") < 0.05


def test_a_reward_that_cannot_score_names_the_completion():
    with pytest.raises(RuntimeError, match=r"completion 1 .*clip_7"):
        REWARDS["format"](["a", "b"], solution=["", ""], task=["mcq", "poem"], sample_id=["clip_3", "clip_7"])


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="unknown reward 'luck'"):
        select({"luck": 1.0})


def test_chat_completions_are_read_too():
    assert REWARDS["format"](
        [[{"role": "assistant", "content": TEMPORAL}]], solution=[TEMPORAL], task=["temporal"]
    ) == [1.0]


def test_vau_r1_rewards_are_the_published_ones():
    tasks = {"temporal_grounding": "temporal", "multiple_choice": "qa", "classification": "classification"}
    for case in json.loads(golden("vau_r1/open/rewards.json").read_text())["cases"]:
        functions = vau_r1(tasks[case["task"]])
        assert set(functions) == set(case["rewards"])
        for name, function in functions.items():
            assert function([case["completion"]], solution=[case["solution"]]) == [case["rewards"][name]], (
                case["id"],
                name,
            )


def test_vau_r1_rewards_by_hand():
    rewards = vau_r1("temporal")
    text = "<think>t</think> <answer>Anomaly</answer><glue>[1, 3]</glue>"
    solution = [{"answer": "Anomaly", "glue": [[0, 2], [1, 4]]}]
    assert [f([text], solution=solution) for f in rewards.values()] == [[1.0], [1.0], [0.5]]
    assert vau_r1("qa")["answer"](["<answer></answer>"], solution=["Normal"]) == [
        1.0
    ]  # what the published code pays for
    assert vau_r1("qa")["format"](["<think>a</think><answer>b</answer>" * 2], solution=["A"]) == [1.0]
    with pytest.raises(InputError, match="unknown task 'poetry'"):
        vau_r1("poetry")
