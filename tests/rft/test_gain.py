"""What a run of GRPO gained, by one command on its folder."""

import json
import shutil
from dataclasses import asdict

import pytest
from conftest import SHIPPED
from grpo_runs import run_of

from bench.__main__ import main as bench
from bench.cache import content
from rft.common.run_log import RUN
from rft.studies import gain
from tvad.common.errors import InputError


def ended(folder, scenes, start):
    """The folder of a run whose model is another one than its start."""
    run = run_of(scenes, start, folder)
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    record = RUN.stamp() | asdict(run) | {"made_of": {"model": content(start)}, "changes": []}
    (folder / "grpo.json").write_text(json.dumps(record, default=str))
    return folder


@pytest.fixture
def start(tmp_path):
    return shutil.copytree(SHIPPED, tmp_path / "start")


def answered_by(monkeypatch, before, after):
    """Baselines answer in place of the models, by the same command."""
    asked = []

    def in_process(command, what):
        asked.append(command)
        at = command.index("--model") + 1
        name = after if command[at].endswith("/run/model") else before
        assert bench([*command[2:at], f"baseline:{name}", *command[at + 1 :]]) == 0

    monkeypatch.setattr(gain, "in_process", in_process)
    return asked


def test_it_tells_what_a_run_pays_and_both_models_beside_the_blind(
    scenes, start, tmp_path, monkeypatch, capsys
):
    folder, out = ended(tmp_path / "run", scenes, start), tmp_path / "gain"
    asked = answered_by(monkeypatch, "random", "oracle")
    words = [str(folder), "--suite", "scenes", "--data", str(scenes), "--out", str(out), "--engine", "hf"]
    assert gain.main([*words, "--seed", "3"]) == 0
    assert len(asked) == 4 and all(c[c.index("--decode.seed") + 1] == "3" for c in asked)
    assert {c[c.index("--model") + 1].partition(":")[0] for c in asked} == {"hf"}
    record = json.loads((out / "gain.json").read_text())
    for name in ("greedy", "sampled"):
        paid = record[name]["differences"][0]
        assert paid["metric"] == "mean reward" and paid["change"]["low"] > 0
        assert {"mcq.above_blind", "judgement.above_blind"} <= {*record[name]["above_blind"]}
        assert all(after["value"] > 0 for _, after in record[name]["above_blind"].values())
    assert "mean reward" in capsys.readouterr().out


@pytest.mark.slow
def test_the_commands_that_it_gives_are_understood(scenes, start, tmp_path):
    """By a model in a process of its own; the result is the start, so that nothing changes greedily."""
    folder = ended(tmp_path / "run", scenes, start)
    shutil.copytree(start, folder / "model", dirs_exist_ok=True)
    words = ["--suite", "scenes", "--data", str(scenes), "--out", str(tmp_path / "gain"), "--engine", "hf"]
    assert gain.main([str(folder), *words]) == 0
    record = json.loads((tmp_path / "gain/gain.json").read_text())
    assert all(one["change"]["value"] == 0 for one in record["greedy"]["differences"])
    assert record["sampled"]["differences"][0]["before"] > 0


def test_runs_that_the_rewards_do_not_pay_are_refused(scenes, start, tmp_path):
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "samples.jsonl").write_text("")
    with pytest.raises(InputError, match="no answer to a question that the run pays"):
        gain.reward_difference(tmp_path / "before", tmp_path / "after", [], run_of(scenes, start, tmp_path))


def test_a_start_that_is_another_by_now_and_a_run_that_has_not_ended_are_refused(scenes, start, tmp_path):
    folder = ended(tmp_path / "run", scenes, start)
    gain.run_in(folder)
    (start / "generation_config.json").write_text('{"temperature": 0.5}')
    (start / "model.safetensors").write_bytes(b"another")
    with pytest.raises(InputError, match="not what"):
        gain.run_in(folder)
    shutil.rmtree(folder / "model")
    with pytest.raises(InputError, match="has ended"):
        gain.run_in(folder)
