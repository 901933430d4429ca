"""What several processes of one run do to the files that they share."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from outcomes import in_two_processes

import bench.run
from rft.common.run_log import RunLog
from rft.grpo.callbacks import BenchEvaluation
from rft.grpo.config import Evaluate
from tvad.common.files import replacing, write_whole


@pytest.mark.parametrize("how", ["write_whole", "replacing"])
def test_two_processes_that_write_one_file_leave_it_whole_and_nothing_else(tmp_path, monkeypatch, how):
    """The second writes from beginning to end while the first is about to rename."""

    def write(text):
        if how == "write_whole":
            write_whole(tmp_path / "grpo.json", text)
        else:
            with replacing(tmp_path / "grpo.json") as temporary:
                temporary.write_text(text)

    rename, others = Path.replace, ["second"]

    def interrupted(self, target):
        if others:
            write(others.pop())
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    write("first")
    assert os.listdir(tmp_path) == ["grpo.json"]
    assert (tmp_path / "grpo.json").read_text() == "first", "whose rename came last"


def test_one_process_drops_the_lines_of_steps_that_are_done_again(tmp_path):
    lines = "".join(json.dumps({"step": n}) + "\n" for n in (1, 2, 3))
    (tmp_path / "log.jsonl").write_text(lines)
    for first in (False, True):
        log = RunLog(tmp_path)
        state = SimpleNamespace(max_steps=4, global_step=2, is_world_process_zero=first, log_history=[])
        log.on_train_begin(None, state, None)
        log.on_train_end(None, state, None)
        kept = (tmp_path / "log.jsonl").read_text()
        assert kept == (lines[: lines.rindex("{")] if first else lines)


@pytest.mark.parametrize("first", [True, False])
def test_one_process_runs_the_benchmark_and_the_others_wait_for_its_figures(
    scenes, tmp_path, monkeypatch, first
):
    """The others read what it wrote, and find the same weights to be the best."""
    folder, events = tmp_path / "evaluations" / "step-1", []

    def measured(engine, name, suite, out, shard=None):
        events.append("run")
        write_whole(out / "metrics.json", json.dumps({"m": {"value": 0.5}}))

    def waits():
        events.append("wait")
        if not first and not folder.exists():
            measured(None, "", None, folder)  # what the first did meanwhile
            events.pop()

    class Engine:
        name = "hf"

    class Ready:
        def __enter__(self):
            events.append("ready")

        def __exit__(self, *error):
            events.append("done")

    accelerator = SimpleNamespace(is_main_process=first, wait_for_everyone=waits)
    monkeypatch.setattr(bench.run, "run", measured)
    evaluation = BenchEvaluation(Evaluate("scenes", "m", 1, overrides=["--data", str(scenes)]), tmp_path)
    evaluation.trainer = SimpleNamespace(
        engine=Engine(),
        accelerator=accelerator,
        engine_ready=Ready,
        save_policy=lambda out: events.append("save"),
    )
    evaluation.on_step_end(None, SimpleNamespace(global_step=1, max_steps=1), None)
    assert events == ["ready", *(["run"] if first else []), "wait", "done", "wait", "save"]
    assert (tmp_path / "best.json").exists() == first


SLOW = """
import sys, time
from pathlib import Path
import torch
import transformers.trainer
from transformers import Trainer, TrainingArguments
from rft.common.checkpoints import lacks
from rft.common.restored import GoesOn

class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        return {"loss": (self.weight * x).sum()}

save, rotate = Trainer._save_rng_state, transformers.trainer.rotate_checkpoints

def slow(self, folder):
    time.sleep(2 * self.args.process_index)
    save(self, folder)

def told(output_dir, **options):
    print("lacks", lacks(Path(output_dir, "checkpoint-1"), 2), flush=True)
    rotate(output_dir=output_dir, **options)

Trainer._save_rng_state, transformers.trainer.rotate_checkpoints = slow, told
arguments = TrainingArguments(
    sys.argv[1], max_steps=1, save_steps=1, use_cpu=True, report_to="none", disable_tqdm=True
)
GoesOn(Small(), arguments, train_dataset=[{"x": torch.ones(1)}] * 16).train()
"""


@pytest.mark.slow
def test_a_checkpoint_is_whole_before_earlier_ones_are_removed(tmp_path):
    """The other process is slow to write its part: whoever is killed then has no checkpoint left."""
    printed = in_two_processes(tmp_path / "slow.py", SLOW, tmp_path / "out")
    assert "lacks None" in printed.splitlines(), printed


ENDED = """
import os
import torch
from accelerate import PartialState
from types import SimpleNamespace
from rft.grpo.callbacks import Terminator
state, terminator = PartialState(cpu=True), Terminator()
for step in range(2):
    terminator.caught |= step == 1 and state.process_index == 1
    control = SimpleNamespace(should_training_stop=False)
    arguments = SimpleNamespace(world_size=state.num_processes, device=state.device)
    terminator.on_step_end(arguments, None, control)
    # One write: unbuffered, print writes its line's end apart, and two processes share this pipe.
    os.write(1, f"step {step}: {control.should_training_stop}\\n".encode())
"""


@pytest.mark.slow
def test_a_signal_that_one_process_has_noted_stops_all_behind_that_step(tmp_path):
    """Else one would wait for the other's next step for ever."""
    printed = in_two_processes(tmp_path / "ended.py", ENDED)
    assert sorted(printed.splitlines()) == ["step 0: False"] * 2 + ["step 1: True"] * 2


LEFT = """
import os
import torch.distributed
from accelerate import PartialState
from tvad.common import cli

PartialState(cpu=True)
assert torch.distributed.is_initialized()
assert cli.guard(lambda: 1) == 1
os.write(1, f"{torch.distributed.is_initialized()}\\n".encode())
"""


@pytest.mark.slow
def test_a_command_leaves_the_group_of_its_processes(tmp_path):
    """`bench run` on several GPUs, a stage, GRPO."""
    assert in_two_processes(tmp_path / "left.py", LEFT).splitlines() == ["False"] * 2
