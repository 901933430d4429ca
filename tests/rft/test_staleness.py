"""Completions that are drawn while earlier ones are trained on, by a server that is late on purpose."""

import itertools
import json
from dataclasses import replace

import pytest
from conftest import SHIPPED
from grpo_runs import run_of
from late_server import Late

from rft.grpo import ahead
from rft.grpo.ahead import check_staleness, steps_of
from rft.grpo.config import HeldOut, settings_of
from rft.grpo.room import processor_of
from rft.grpo.train import train
from tvad.common.errors import InputError
from tvad.data.scenes.dataset import ScenesConfig, generate


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held-out")
    generate(ScenesConfig(split="val", clips=6, seed=9, max_crowd=2), folder)
    return folder


def ran(scenes, out, monkeypatch, staleness, holds=False, fails=(), slow=0.0, held_out=None, **training):
    """(engine, rows of the log) of four steps."""
    run = run_of(scenes, SHIPPED, out, max_steps=4, max_completion_length=40, learning_rate=1e-3, **training)
    run = replace(run, tasks={"mcq": 1}, topics=None, rewards={"format": 0.5, "answer": 1.0})
    run = replace(run, engine="server:http://late", staleness=staleness, held_out=held_out)
    engine = Late(processor_of(run), holds)
    engine.fails, engine.at, engine.slow = set(fails), 0, slow
    inner = ahead.DrawsAhead.drawn_ahead

    def reached(self, prompts):
        with engine.trained:
            engine.at = self._step
            engine.trained.notify_all()
        return inner(self, prompts)

    monkeypatch.setattr(ahead.DrawsAhead, "drawn_ahead", reached)
    train(run, engine)
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return engine, [row for row in rows if "reward" in row]


def test_without_staleness_every_rollout_is_of_its_own_steps_weights(scenes, tmp_path, monkeypatch):
    engine, rows = ran(scenes, tmp_path, monkeypatch, 0)
    assert [(place, version, apart) for place, version, apart in engine.drawn] == [
        (n, str(n), False) for n in range(4)
    ]
    assert not any(name.startswith("staleness/") for row in rows for name in row)


def test_the_next_is_drawn_while_this_one_trains_and_its_age_is_logged(scenes, tmp_path, monkeypatch, capsys):
    engine, rows = ran(scenes, tmp_path, monkeypatch, 1, holds=True)
    assert engine.drawn == [(0, "0", False), (1, "0", True), (2, "1", True), (3, "2", True)]
    assert [row["staleness/age"] for row in rows] == [0, 1, 1, 1]
    assert not any(row["staleness/dropped"] for row in rows)
    told = capsys.readouterr().out
    assert "step 1: trainer and sampler disagree" in told and "step 2: trainer" not in told
    # What the others drew by enters the loss: ratios of trainer and server, none above the bound.
    assert all(row["sampling/importance_sampling_ratio/max"] <= 3.0 for row in rows)
    assert any(row["sampling/importance_sampling_ratio/min"] != 1.0 for row in rows)


def test_what_is_too_old_is_dropped_counted_and_drawn_anew(scenes, tmp_path, monkeypatch):
    made = ahead.Draw

    def older(prompts, step, coming):
        return made(prompts, step - 5 if step == 1 else step, coming)

    monkeypatch.setattr(ahead, "Draw", older)
    engine, rows = ran(scenes, tmp_path, monkeypatch, 1)
    assert [row["staleness/dropped"] for row in rows] == [0, 0, 8, 0]
    assert [row["staleness/age"] for row in rows] == [0, 1, 0, 1]
    assert (2, "1", True) in engine.drawn and (2, "2", False) in engine.drawn


def test_what_a_lost_server_owed_is_drawn_anew(scenes, tmp_path, monkeypatch):
    engine, rows = ran(scenes, tmp_path, monkeypatch, 1, fails=[2])
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [row["staleness/dropped"] for row in rows] == [0, 0, 8, 0]
    assert (2, "2", False) in engine.drawn


def test_what_another_process_lacks_is_drawn_anew_by_all(scenes, tmp_path, monkeypatch):
    """Drawing anew is a common affair: processes that part ways wait for each other for ever."""
    count = itertools.count()
    monkeypatch.setattr(ahead, "gather_object", lambda own: [*own, next(count) == 2])
    engine, rows = ran(scenes, tmp_path, monkeypatch, 1)
    assert [row["staleness/dropped"] for row in rows] == [0, 0, 8, 0]
    assert (2, "2", False) in engine.drawn


def test_two_rollouts_are_drawn_by_the_weights_of_one_moment(scenes, tmp_path, monkeypatch):
    engine, rows = ran(scenes, tmp_path, monkeypatch, 2)
    assert [row["staleness/age"] for row in rows] == [0, 1, 2, 1]
    assert engine.drawn == [(0, "0", False), (1, "0", True), (2, "0", True), (3, "1", True)]
    assert engine.sent == 2, "weights travel when all that they drew is taken"


def test_two_runs_of_one_seed_agree(scenes, tmp_path, monkeypatch):
    kept = [ran(scenes, tmp_path / name, monkeypatch, 1)[1] for name in "ab"]
    for one, other in zip(*kept, strict=True):
        assert (one["loss"], one["reward"], one["grad_norm"]) == (
            other["loss"],
            other["reward"],
            other["grad_norm"],
        )


def test_no_weights_are_sent_while_something_is_drawn(scenes, others, tmp_path, monkeypatch):
    """A held-out evaluation wants the weights of its step in the middle of a draw."""
    engine, rows = ran(
        scenes,
        tmp_path,
        monkeypatch,
        1,
        slow=0.5,
        held_out=HeldOut(str(others), every=1, prompts=2, generations=4),
    )
    assert not engine.torn, "a draw saw two sets of weights"
    assert [row["staleness/age"] for row in rows] == [0, 1, 1, 1]
    assert {(place, version) for place, version, apart in engine.drawn if apart} == {
        (1, "0"),
        (2, "1"),
        (3, "2"),
    }


def test_a_rollout_of_several_passes_is_drawn_ahead_whole(scenes, tmp_path, monkeypatch):
    engine, rows = ran(scenes, tmp_path, monkeypatch, 2, steps_per_generation=2)
    assert [(place, apart) for place, _, apart in engine.drawn] == [(0, False), (2, True)]
    ages = [row["staleness/age"] for row in rows if "staleness/age" in row]
    assert ages == [0, 2]


@pytest.mark.parametrize(
    ("change", "training", "words"),
    [
        ({"staleness": -1}, {}, "staleness: -1, expected at least 0"),
        ({"engine": "hf"}, {}, "only rollout servers draw while a step trains"),
        ({"method": "reg_grpo"}, {}, "need the correction of the loss"),
        ({}, {"vllm_importance_sampling_correction": False}, "need the correction of the loss"),
        ({}, {"steps_per_generation": 4}, "a rollout serves 4 steps: expected at least 4"),
    ],
)
def test_a_staleness_that_cannot_be_kept_is_refused(scenes, tmp_path, change, training, words):
    run = run_of(scenes, SHIPPED, tmp_path, **training)
    run = replace(run, **{"engine": "server:http://x", "staleness": 1, **change})
    with pytest.raises(InputError, match=words):
        check_staleness(run.staleness, run.engine, run.method, settings_of(run, [1.0]))


def test_a_rollouts_steps_and_the_correction(scenes, tmp_path):
    run = run_of(scenes, SHIPPED, tmp_path, gradient_accumulation_steps=2, steps_per_generation=4)
    arguments = settings_of(replace(run, staleness=2), [1.0])
    assert steps_of(arguments) == 2 and arguments.vllm_importance_sampling_mode == "token_truncate"
    own = replace(run, training=run.training | {"vllm_importance_sampling_mode": "sequence_truncate"})
    assert settings_of(replace(own, staleness=2), [1.0]).vllm_importance_sampling_mode == "sequence_truncate"
    assert settings_of(run, [1.0]).vllm_importance_sampling_mode != "token_truncate"
