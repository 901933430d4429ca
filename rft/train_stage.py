"""Supervised training: one stage or a curriculum of them, from a YAML file. The last stage's merged model is the result.

    accelerate launch rft/train_stage.py --config configs/stage/tiny.yaml          one CPU or GPU
    accelerate launch --multi_gpu rft/train_stage.py --config configs/stage/….yaml  several

A killed run continues: finished stages are skipped, the current one resumes from its last checkpoint. `--a.b value` overrides a key.
"""

import argparse
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rft.curriculum import stage as stages
from tvad import cli, config


@dataclass
class Curriculum:
    """`start`: a YAML description of an untrained model or a checkpoint folder. `rate`, `max_frames`: how clips are sampled."""

    out: str
    start: str
    stages: list[stages.Stage]
    seed: int = 0
    rate: float = 2.0
    max_frames: int = 8
    threads: int | None = None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="rft/train_stage.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file, e.g. configs/stage/tiny.yaml")
    known, rest = parser.parse_known_args(arguments)
    data = config.override(config.read_yaml(known.config), rest)
    plan = config.build(Curriculum, data, known.config)

    import torch

    from tvad.model.modeling import TvadForConditionalGeneration
    from tvad.model.processing import TvadProcessor
    from tvad.model.tiny import build

    if plan.threads:
        torch.set_num_threads(plan.threads)
    prompts = None
    if plan.start.endswith((".yaml", ".yml")):
        spec = config.read_yaml(plan.start)
        prompts = {"normal": spec["normal_prompts"], "abnormal": spec["abnormal_prompts"]}
        model, processor = build(plan.start)
    else:
        model, processor = TvadForConditionalGeneration.from_pretrained(plan.start), TvadProcessor.from_pretrained(plan.start)
    out = Path(plan.out)
    folder = out
    for number, stage in enumerate(plan.stages):
        folder = out / f"{number}-{stage.name}"
        model = stages.run(stage, model, processor, folder, plan.seed, plan.rate, plan.max_frames, prompts)
    final = out / "model"
    if final.exists():
        shutil.rmtree(final)
    shutil.copytree(folder / "model", final)
    print(f"the trained model is in {final}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.guard(main))
