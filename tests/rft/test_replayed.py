"""One loss trajectory, however recorded completions reach the trainer: by an engine in its process or by
servers, in one process or two, eight groups at once or one after the other."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from conftest import ROOT, SHIPPED
from replay_run import SIZE, STEPS, key_of, plan_of

from bench.models.base import Request, Sampling
from bench.models.hf import HfModel
from rft.grpo.mixture import row_of
from rft.grpo.rollout import video_of
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.model.start import load as load_model

GROUPS = 8
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.fixture(scope="module")
def recorded(scenes, tmp_path_factory):
    """A file of what the shipped model answered, with its log-probs, to every prompt of the run."""
    folder = tmp_path_factory.mktemp("recorded")
    run = plan_of(str(scenes), str(SHIPPED), str(folder))
    model, processor = load_model(str(SHIPPED))
    engine, store = HfModel(model, processor), ClipStore(run.rate, run.max_frames)
    asked = [row_of(s, q)["prompt"] for s in load(scenes) for q in s.questions if q.kind in run.tasks]
    requests = [Request(prompt, store.load(video_of(prompt))) for prompt in asked]
    found = engine.sample(requests, Sampling(SIZE, 1.0, max_tokens=24, seed=3))
    known = {
        key_of(r): [list(asdict(c).values())[:3] for c in group]
        for r, group in zip(requests, found, strict=True)
    }
    file = folder / "recorded.json"
    file.write_text(json.dumps({"checkpoint": str(SHIPPED), "completions": known}))
    return file


def trajectory(recorded, scenes, out, launch, engine="replayed", groups=GROUPS, accumulate=1, staleness=0):
    """Rows of the log of a run."""
    command = [*launch, str(ROOT / "tests/rft/replay_run.py"), str(recorded), str(scenes), str(out), engine]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    told = [str(groups), str(accumulate), str(staleness)]
    done = subprocess.run([*command, *told], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-4000:]
    found = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [row for row in found if "loss" in row]


@pytest.fixture(scope="module")
def colocated(recorded, scenes, tmp_path_factory):
    return trajectory(recorded, scenes, tmp_path_factory.mktemp("colocated"), [sys.executable])


def equal(one, other, tolerance):
    assert [row["step"] for row in one] == [row["step"] for row in other] == [*range(1, STEPS + 1)]
    for name in ("loss", "reward", "grad_norm", "sampling/importance_sampling_ratio/mean"):
        left, right = (np.array([row[name] for row in rows]) for rows in (one, other))
        assert np.abs(left).max() > 0
        gap = (left - right) / np.maximum(1, np.abs(left))
        assert np.abs(gap).max() <= tolerance, (name, gap)
        # No drift to one side: what differs is rounding, which does not grow from step to step.
        assert abs(gap.mean()) <= tolerance / 3, (name, gap)


def test_an_engine_in_the_process_and_a_server_train_alike_bit_for_bit(colocated, recorded, scenes, tmp_path):
    assert {round(row["loss"], 6) for row in colocated} != {0.0}
    equal(colocated, trajectory(recorded, scenes, tmp_path, [sys.executable], "server"), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["replayed", "server"])
def test_eight_groups_one_after_the_other_are_eight_at_once(colocated, recorded, scenes, tmp_path, engine):
    equal(colocated, trajectory(recorded, scenes, tmp_path, [sys.executable], engine, 1, GROUPS), 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "groups", "accumulate"), [("replayed", 4, 1), ("server", 4, 1), ("server", 1, 4)]
)
def test_two_processes_are_one(colocated, recorded, scenes, tmp_path, engine, groups, accumulate):
    equal(colocated, trajectory(recorded, scenes, tmp_path, TWO, engine, groups, accumulate), 1e-4)


@pytest.mark.slow
def test_recorded_completions_are_drawn_ahead_without_a_change(colocated, recorded, scenes, tmp_path):
    """What is replayed does not depend on when it is drawn: staleness changes nothing, nor does the
    correction, which is by the same recorded log-probs."""
    found = trajectory(recorded, scenes, tmp_path, [sys.executable], "server", staleness=1)
    assert [row["staleness/age"] for row in found] == [0, *[1] * (STEPS - 1)]
    equal(colocated, found, 1e-4)
