"""A whole curriculum in two processes, by the documented command, against one process with the same clips a
step."""

import dataclasses
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml
from conftest import ROOT
from safetensors.torch import load_file

from rft.common.trainable import LoraSpec
from rft.curriculum.config import Curriculum, Data, Losses, Optimiser, ReadOuts, Selection, Stage, Texts
from rft.curriculum.stage import check_launch
from rft.curriculum.train import train
from tvad.common.errors import InputError

PROMPTS = str(ROOT / "configs/prompts/surveillance.yaml")
SILENT = Texts(kinds=[])
CLOCK = ("epoch", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second")


def stages(data, accumulate: int) -> list[Stage]:
    """Stage 0 with both read-outs, stage 1 selected by heatmaps, stage 2 A and B: two steps of four clips
    each, or of two clips and two processes."""
    plan = Optimiser(lr=1e-3, steps=2, batch=2, accumulate=accumulate)
    shown, seen = Data(str(data)), Data(str(data), str(data), validation_clips=8)
    heat, rae = Losses(text=0.0, heatmap=1.0, frame=0.3), ["model.rae.*"]
    zero = dataclasses.replace(plan, muon=0.02)
    unused = ["model.visual.*", "model.ahd.*", "model.rae.base"]  # the last learns from text alone
    both = ReadOuts(attributes=True, objects=True)
    return [
        Stage(
            "zero",
            unused,
            shown,
            SILENT,
            heat,
            both,
            zero,
            text_features=True,
            options=dict(gradient_checkpointing=True),
        ),
        Stage(
            "one",
            ["model.ahd.*"],
            seen,
            SILENT,
            heat,
            optimiser=plan,
            selection=Selection("micro_auc", 1),
            text_features=True,
        ),
        Stage("a", rae, shown, Texts([], narratives=True), optimiser=plan, special_tokens=True),
        Stage(
            "b",
            rae,
            seen,
            Texts(dialogue=True),
            optimiser=plan,
            special_tokens=True,
            lora=LoraSpec(layers=2, dropout=0.0),
            selection=Selection("loss", 1),
        ),
    ]


@pytest.mark.parametrize(
    "zero, fsdp, words", [(3, False, "cannot be merged"), (0, True, "cannot be merged"), (2, False, "muon")]
)
def test_a_launch_in_which_a_stage_cannot_train_is_refused(zero, fsdp, words):
    state = SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=zero))
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(state=state), is_deepspeed_enabled=bool(zero), is_fsdp_enabled=fsdp
    )
    with pytest.raises(InputError, match=words):
        check_launch(stages("d", 1)[0], trainer)
    if zero == 2:
        check_launch(stages("d", 1)[1], trainer)


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("names", [["zero", "b"], ["zero", "one", "a", "b"]])
def test_two_processes_train_a_curriculum_as_one(names, checkpoint, scenes, tmp_path):
    def plan(accumulate, out):
        chosen = [stage for stage in stages(scenes, accumulate) if stage.name in names]
        return Curriculum(
            str(tmp_path / out), str(checkpoint), chosen, prompts=PROMPTS, max_frames=4, threads=1
        )

    file = tmp_path / "curriculum.yaml"
    file.write_text(
        yaml.safe_dump({"version": 1, **dataclasses.asdict(plan(1, "two")), "start": "elsewhere"})
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, "--", "rft/train_stage.py", "--config", str(file), "--start", str(checkpoint)],
        capture_output=True,
        text=True,
        timeout=500,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("the trained model is in") == 1  # one speaks for both
    train(plan(2, "one"), log=lambda text: None)

    for number, name in enumerate(names):
        one, two = (tmp_path / out / f"{number}-{name}" for out in ("one", "two"))
        assert json.loads((two / "model/stage.json").read_text())["made_of"]["processes"] == 2
        for alone, together in zip(lines(one), lines(two), strict=True):
            # An epoch's last batch is filled up so that all processes have one; the rest is of the clock.
            measured = [key for key in alone if key not in (*CLOCK, "grad_norm")]
            assert [alone[key] for key in measured] == pytest.approx(
                [together[key] for key in measured], abs=1e-4
            ), name
        # No mean of anything: its rounding grows with it.
        norms = [[row["grad_norm"] for row in lines(out) if "grad_norm" in row] for out in (one, two)]
        assert norms[0] and norms[0] == pytest.approx(norms[1], rel=1e-4), name
    one, two = (load_file(tmp_path / out / "model/model.safetensors") for out in ("one", "two"))
    assert one.keys() == two.keys() and {v.dtype for v in two.values()} == {torch.float32}
    # Adam moves a weight whose gradient is nothing but rounding by its rate, up or down.
    assert all(float((one[key] - two[key]).abs().mean()) < 1e-4 for key in one)


def test_a_finished_stage_of_another_start_is_not_taken(checkpoint, scenes, tmp_path):
    """Its weights' type and its modules are what the curriculum made of the start."""
    stage = Stage("a", ["model.rae.*"], Data(str(scenes)), optimiser=Optimiser(steps=1, batch=2))
    plan = Curriculum(str(tmp_path / "out"), str(checkpoint), [stage], max_frames=4)
    train(plan)
    train(plan)
    for key, value in (("dtype", "bfloat16"), ("use_ahd", False)):
        with pytest.raises(InputError, match=rf"is finished, with other settings \({key} "):
            train(dataclasses.replace(plan, **{key: value}))


def test_prompts_that_no_stage_encodes_are_refused(checkpoint, scenes, tmp_path):
    stage = Stage("a", ["model.rae.*"], Data(str(scenes)), optimiser=Optimiser(steps=1, batch=2))
    with pytest.raises(InputError, match="prompts: no stage encodes them"):
        train(Curriculum(str(tmp_path), str(checkpoint), [stage], prompts=PROMPTS))
