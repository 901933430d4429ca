"""Small reinforcement runs for tests."""

from dataclasses import replace

from conftest import ROOT

from rft.grpo.config import GrpoRun
from tvad.common import config


def run_of(scenes, checkpoint, out, **training) -> GrpoRun:
    path = ROOT / "configs/grpo/demo.yaml"
    run = config.build(GrpoRun, config.read_yaml(path), str(path))
    knobs = {
        "max_steps": 2,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 8,
        "save_steps": 1,
        **training,
    }
    return replace(
        run,
        model=str(checkpoint),
        data=str(scenes),
        out=str(out),
        engine="transformers",
        training=run.training | knobs,
    )
