"""Rewards that do not end, that raise, that kill their process: the run goes on or ends with the completion
named, whoever wrote them, and finds them from the working directory."""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, SHIPPED
from grpo_runs import run_of

from rft.grpo.config import RewardLimits
from rft.grpo.train import train
from rft.rewards import REWARDS
from rft.rewards.bounded import BoundedRewards
from rft.rewards.mix import rewards_of
from tvad.common.errors import InputError

OWN = """
import functools, itertools, os, re, signal

signal.signal(signal.SIGTERM, signal.SIG_IGN)

def power(completions, **columns):
    return [float(eval(text) > 1) for text in completions]

def pattern(completions, **columns):
    return [float(re.fullmatch(r"(a+)+", text) is not None) for text in completions]

def in_c(completions, **columns):
    return [float(all(itertools.repeat(True))) if "loop" in text else 1.0 for text in completions]

def dies(completions, **columns):
    return [os.kill(os.getpid(), signal.SIGSEGV) if "die" in text else 1.0 for text in completions]

def raises(completions, **columns):
    print("printed, which is no answer")
    return [1 / len(text) for text in completions]

def only_spans(completions, *, solution, task, **columns):
    assert set(task) == {"temporal"}, "asked about another task's row"
    return [float("glue" in text) for text in solution]

def length(completions, log_metric=None, log_extra=None, trainer_state=None, **columns):
    log_metric("own/step", trainer_state.global_step)
    log_extra("length", [len(text) for text in completions])
    return [float(len(text)) for text in completions]

async def later(completions, **columns):
    return [1.0 for _ in completions]

def heat(completions, *, heat, **columns):
    return [float(one.sum()) for one in heat]

heat.needs = ("heat",)

def too_few(completions, **columns):
    return [1.0]

def forks(completions, **columns):
    os.fork()
    return [float(len(text)) for text in completions]

def letters(completions, **columns):
    return "1" * len(completions)

def mapping(completions, **columns):
    return {n: 1.0 for n, _ in enumerate(completions)}

def logs_what_cannot_cross(completions, log_extra, **columns):
    log_extra("column", [object() for _ in completions])
    return [1.0 for _ in completions]

by_length = functools.partial(length)

def stuck(completions, **columns):
    return [float(all(itertools.repeat(True))) if n == 1 else 1.0 for n, _ in enumerate(completions)]
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A working directory that holds one's own rewards, in a file whose name is that of a part of `rft`."""
    (tmp_path / "rewards.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("power", ["2", "9**9**9", "3"]),
        ("pattern", ["aa", "a" * 60 + "b", "aaa"]),
        ("in_c", ["x", "loop", "y"]),
        ("dies", ["x", "die", "y"]),
    ],
)
def test_a_reward_that_does_not_end_costs_its_completion_alone(own, capfd, name, texts):
    """A signal handler would never run in any of the first three; the others keep what they earn."""
    counted = []
    columns = {
        "sample_id": ["clip_1", "clip_2", "clip_3"],
        "trainer_state": SimpleNamespace(global_step=6),
        "log_metric": lambda key, value: counted.append((key, value)),
    }
    with BoundedRewards(seconds=1.6) as bounded:
        assert bounded.named(f"rewards:{name}")(texts, **columns) == [1.0, None, 1.0]
        assert bounded.named(f"rewards:{name}")(texts[:1], **columns) == [1.0], "and works again"
    assert counted == [(f"unfinished/{name}", 1)]
    said = capfd.readouterr().err
    assert f"step 7: reward rewards:{name} on completion 1 (sample clip_2), {texts[1][:20]!r}"[:-1] in said
    assert ("SIGSEGV" in said) if name == "dies" else ("not done within 0.4 s" in said)


def test_where_everything_hangs_the_bound_holds_and_what_it_is_worth_is_a_setting(own, capfd):
    with BoundedRewards(seconds=0.2, unfinished=-1.0) as bounded:
        assert bounded.named("rewards:in_c")(["loop"] * 9) == [-1.0] * 9
    said = capfd.readouterr().err
    assert "unfinished for 9 of 9" in said and "it earns -1" in said


def test_one_that_hangs_over_several_alone_pays_what_each_earns(own, capfd):
    with BoundedRewards(seconds=1.0) as bounded:
        assert bounded.named("rewards:stuck")(["x"] * 3) == [1.0] * 3
    assert "unfinished for none of 3" in capfd.readouterr().err


def test_one_that_raises_names_its_completion(own, capfd):
    with BoundedRewards() as bounded:
        reward = bounded.named("rewards:raises")
        with pytest.raises(
            InputError, match=r"rewards:raises on completion 2 \(sample c3\), '': ZeroDivision"
        ):
            reward(["a", "bb", ""], sample_id=["c1", "c2", "c3"])
        with pytest.raises(
            InputError, match=r"too_few: ValueError: returned 1 values for 2 .*over none of them"
        ):
            bounded.named("rewards:too_few")(["a", "b"])
        with pytest.raises(InputError, match=r"format on completion 1.*unknown task 'poem'"):
            bounded.named("format")(["a", "b"], solution=["", ""], task=["mcq", "poem"])
    said = capfd.readouterr().err
    assert "rewards.py" in said and "1 / len(text)" in said, "the traceback helps its author"


def test_one_that_forks_answers_once(own):
    """The second answer, of the child, would be taken for that of the next request."""
    with BoundedRewards() as bounded:
        reward = bounded.named("rewards:forks")
        found = [reward(["x" * n]) for n in (1, 2, 3)]
    assert found == [[1.0], [2.0], [3.0]]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("letters", "returned str, expected a list"),
        ("mapping", "returned dict, expected a list"),
        ("logs_what_cannot_cross", "object does not reach"),
    ],
)
def test_what_is_no_list_of_numbers_is_refused(own, name, said):
    with BoundedRewards() as bounded, pytest.raises(InputError, match=said):
        bounded.named(f"rewards:{name}")(["a", "b"], log_extra=print)


def test_one_without_a_name_of_its_own_has_that_of_the_configuration(own):
    columns = dict.fromkeys(("log_metric", "log_extra"), lambda *_: None)
    with BoundedRewards() as bounded:
        reward = bounded.named("rewards:by_length")
        assert reward.__name__ == "by_length"
        assert reward(["a", "bb"], trainer_state=SimpleNamespace(global_step=1), **columns) == [1.0, 2.0]


def test_completions_are_cut_for_rewards_and_that_is_said(own, capfd):
    noted = []
    columns = {
        "log_metric": lambda *note: noted.append(note),
        "log_extra": lambda *note: noted.append(note),
        "trainer_state": SimpleNamespace(global_step=4, log_history=[{}]),
    }
    with BoundedRewards(characters=10) as bounded:
        assert bounded.named("rewards:length")(["x" * 11, "x"], **columns) == [10.0, 1.0]
    assert ("completions/cut_for_rewards", 0.5) in noted and ("own/step", 4.0) in noted
    assert ("length", [10, 1]) in noted
    assert "the first 10 characters of 1 of 2 completions" in capfd.readouterr().err


def test_the_process_pays_what_this_one_pays(own):
    """The project's own, arrays, coroutines: the same values through a process."""
    text = "<think>x</think><answer>car</answer><box>[100, 100, 300, 300]</box>"
    heat = np.random.default_rng(0).random((2, 10, 10), np.float32)
    row = {"solution": text, "task": "spatial", "heat": heat, "times": np.arange(4.0), "moment": 1.0}
    columns = {key: [value] * 2 for key, value in row.items()}
    texts = [text, text.replace("300", "250") + "\ud83d half an emoji"]
    with BoundedRewards() as bounded:
        for name in ("evidence", "box", "format"):
            assert bounded.named(name)(texts, **columns) == REWARDS[name](texts, **columns)
        assert bounded.named("evidence").needs == ("heat", "times")
        assert bounded.named("rewards:later")(texts) == [1.0, 1.0]
        own_heat = bounded.named("rewards:heat")
        assert own_heat.needs == ("heat",) and own_heat.__name__ == "heat"
        assert own_heat(texts, heat=[heat] * 2) == pytest.approx([heat.sum()] * 2)


def test_a_reward_is_asked_about_the_rows_of_its_tasks_alone(own):
    extra = {}
    with BoundedRewards() as bounded:
        by_task = {"temporal": {"rewards:only_spans": 2.0, "rewards:length": 0.0}, "mcq": {"format": 1.0}}
        functions, weights = rewards_of({}, by_task, bounded.named)
        assert weights == [2.0, 0.0, 1.0]
        columns = {"task": ["mcq", "temporal"], "solution": ["<answer>A</answer>", "<glue>[1, 2]</glue>"]}
        assert functions[0](["a", "b"], **columns) == [None, 1.0]
        more = {"log_extra": extra.__setitem__, "log_metric": lambda *_: None}
        state = SimpleNamespace(global_step=0)
        assert functions[1](["a", "bb"], **columns, **more, trainer_state=state) == [None, 2.0]
        assert extra == {"length": [None, 2]}, "a column of the whole table"
        common, _ = rewards_of({"vau_r1.temporal.iou": 1.0, "vau_r1.qa.answer": 1.0}, {}, bounded.named)
        assert [f(["<answer>A</answer>"] * 2, **columns) for f in common] == [[None, 0.0], [1.0, None]]


def test_rewards_of_one_name_are_apart_in_the_log():
    functions, _ = rewards_of(
        {"vau_r1.qa.answer": 1.0, "vau_r1.classification.answer": 1.0, "format": 1.0}, {}
    )
    assert [f.__name__ for f in functions] == ["vau_r1.qa.answer", "vau_r1.classification.answer", "format"]


def test_ones_own_are_found_from_the_working_directory_of_a_script(own):
    """As accelerate starts rft/train_grpo.py: its folder is on the path, where `rewards` is the project's,
    and the working directory is not. (Of a module, `tests/test_wheel.py`.)"""
    (own / "elsewhere").mkdir()
    (own / "elsewhere/script.py").write_text(
        "import sys\n"
        f"sys.path[:1] = [{str(ROOT)!r}, {str(ROOT / 'rft')!r}]\n"
        "from rft.rewards.bounded import BoundedRewards\n"
        "with BoundedRewards() as bounded:\n"
        "    print(bounded.named('rewards:in_c')(['x']))\n"
    )
    done = subprocess.run(
        [sys.executable, "elsewhere/script.py"], capture_output=True, text=True, timeout=240
    )
    assert done.stdout == "[1.0]\n", done.stderr


def test_what_cannot_be_imported_is_refused_with_the_reason(own):
    (own / "broken.py").write_text("1 / 0")
    (own / "fatal.py").write_text("import os; os._exit(3)")
    with BoundedRewards() as bounded:
        for name, words in (
            ("rewards:absent", "module 'rewards' has no attribute 'absent'"),
            ("nothing:here", "No module named 'nothing'"),
            ("broken:reward", "ZeroDivisionError: division by zero"),
            ("fatal:reward", r"its process ended \(exit status 3\)"),
        ):
            with pytest.raises(InputError, match=f"'{name}' cannot be imported.*{words}"):
                bounded.named(name)
        assert bounded.named("rewards:in_c")(["x"]) == [1.0]


def test_a_run_outlasts_a_reward_that_hangs_and_counts_it(own, scenes, capfd):
    (own / "mine.py").write_text(
        "import itertools\n"
        "def mostly(completions, **columns):\n"
        "    hang = [len(str(text)) % 2 == 0 for text in completions]\n"
        "    return [float(all(itertools.repeat(True))) if stuck else 0.5 for stuck in hang]\n"
    )
    run = replace(
        run_of(scenes, SHIPPED, own / "out", max_steps=1, max_completion_length=16),
        rewards={"mine:mostly": 1.0, "format": 1.0},
        tasks={"mcq": 1},
        reward_limits=RewardLimits(seconds=1.0),
    )
    train(run)
    (line,) = [json.loads(text) for text in (own / "out/log.jsonl").read_text().splitlines()][:1]
    said = capfd.readouterr().err
    assert 0 < line["unfinished/mostly"] <= 8 and "step 1: reward mine:mostly on completion" in said
    assert "unfinished" in (own / "out/run.html").read_text()


def test_limits_that_are_none_are_refused(scenes, tmp_path):
    for limits, words in (
        (RewardLimits(seconds=0), "reward_limits.seconds: 0"),
        (RewardLimits(characters=0), "reward_limits.characters"),
        (RewardLimits(unfinished=float("nan")), "reward_limits.unfinished"),
    ):
        with pytest.raises(InputError, match=words):
            train(replace(run_of(scenes, SHIPPED, tmp_path), reward_limits=limits))
