import json

import pytest
from conftest import shared

from rft.rewards import REWARDS, select, vau_r1
from tvad.errors import InputError

TEMPORAL = "<think>x</think><answer>Anomaly</answer><glue>[1.00, 3.00]</glue>"
SPATIAL = "<think>x</think><answer>car</answer><box>[100, 100, 300, 300]</box>"
OPTIONS = ["running", "cycling", "fire", "nothing unusual"]


def value(name, text, solution, task, options=None):
    return REWARDS[name]([text], solution=[solution], task=[task], options=[options])[0]


def total(text, solution, task, options=None):
    return sum(v for v in (value(n, text, solution, task, options) for n in REWARDS) if v is not None)


def test_the_reference_itself_earns_everything():
    assert total(TEMPORAL, TEMPORAL, "temporal") == 3.0
    assert total(SPATIAL, SPATIAL, "spatial") == 3.0
    assert total("<think>x</think><answer>B</answer>", "<think>x</think><answer>B</answer>", "mcq", OPTIONS) == 2.0


def test_rewards_that_do_not_apply_are_none():
    assert value("box", TEMPORAL, TEMPORAL, "temporal") is None
    assert value("temporal_iou", SPATIAL, SPATIAL, "spatial") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("<glue>[1, 2]</glue>", 0.5), ("<glue>[3, 1]</glue>", 0.0), ("<glue>[2, 2]</glue>", 0.0), ("<glue>none</glue>", 0.0), ("", 0.0),
     ("<glue>[0, 4]</glue>", 0.5), ("<glue>[1, 3]</glue><glue>[0, 9]</glue>", 0.0)],
)  # fmt: skip
def test_temporal_iou(text, expected):
    assert value("temporal_iou", text, TEMPORAL, "temporal") == pytest.approx(expected)


def test_a_normal_video_pays_for_none_and_only_for_none():
    normal = "<think>x</think><answer>Normal</answer><glue>none</glue>"
    assert value("temporal_iou", "<glue>[0, 0]</glue>", normal, "temporal") == 1.0
    assert value("temporal_iou", "<glue>[0, 1]</glue>", normal, "temporal") == 0.0


def test_extra_boxes_count_against_the_mean():
    two = '<box>[{"t": 1, "box": [100, 100, 300, 300]}, {"t": 1, "box": [0, 0, 1000, 1000]}]</box>'
    assert value("box", two, SPATIAL, "spatial") == pytest.approx(0.5)


def test_numbers_are_compared_as_numbers():
    assert value("answer", "<answer>12.0</answer>", "<think>x</think><answer>12</answer>", "classification") == 1.0


# Each way of gaming against an honest answer that is half right: right tags, right answer or half the span.
HONEST = "<think>A car.</think><answer>Anomaly</answer><glue>[1.00, 2.00]</glue>"


@pytest.mark.parametrize(
    "trick",
    [
        "<glue>[0, 1000]</glue>",
        "<think></think><answer>Anomaly</answer><glue>[0, 1000]</glue>",
        "<think>x</think><answer>Anomaly, Normal</answer><glue>[0, 1000]</glue>",
        "<think>x</think><answer>Normal</answer><answer>Anomaly</answer><glue>[1, 3]</glue>",
        "<think>x</think><answer>Anomaly</answer><glue>none</glue><glue>[1, 3]</glue>",
        "<think>x</think><answer>Normal</answer><glue>none</glue>",
        "<think><answer>Anomaly</answer><glue>[1, 3]</glue></think>",
        "<think>" + "pad " * 250_000 + "</think>",
        "<think>x</think><answer>Anomaly</answer><glue>[one, three]</glue>",
    ],
)
def test_gaming_pays_less_than_an_honest_half_right_answer(trick):
    assert total(trick, TEMPORAL, "temporal") < total(HONEST, TEMPORAL, "temporal")


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
    assert REWARDS["format"]([[{"role": "assistant", "content": TEMPORAL}]], solution=[TEMPORAL], task=["temporal"]) == [1.0]


def test_vau_r1_rewards_are_the_published_ones():
    tasks = {"temporal_grounding": "temporal", "multiple_choice": "qa", "classification": "classification"}
    for case in json.loads(shared("golden/vau_r1/open/rewards.json").read_text())["cases"]:
        functions = vau_r1(tasks[case["task"]])
        assert set(functions) == set(case["rewards"])
        for name, function in functions.items():
            assert function([case["completion"]], solution=[case["solution"]]) == [case["rewards"][name]], (case["id"], name)


def test_vau_r1_rewards_by_hand():
    rewards = vau_r1("temporal")
    text = "<think>t</think> <answer>Anomaly</answer><glue>[1, 3]</glue>"
    solution = [{"answer": "Anomaly", "glue": [[0, 2], [1, 4]]}]
    assert [f([text], solution=solution) for f in rewards.values()] == [[1.0], [1.0], [0.5]]
    assert vau_r1("qa")["answer"](["<answer></answer>"], solution=["Normal"]) == [1.0]  # what the published code pays for
    assert vau_r1("qa")["format"](["<think>a</think><answer>b</answer>" * 2], solution=["A"]) == [1.0]
    with pytest.raises(InputError, match="unknown task 'poetry'"):
        vau_r1("poetry")
