"""Supervised training: one stage or a curriculum of them, from a YAML file. The last stage's merged model is
the result.

    accelerate launch rft/train_stage.py --config configs/stage/tiny.yaml          one CPU or GPU
    accelerate launch --multi_gpu rft/train_stage.py --config configs/stage/….yaml  several

A killed run continues: finished stages are skipped, the current one resumes from its last checkpoint. `--a.b
value` overrides a key.
"""

import argparse
import dataclasses
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rft.curriculum import stage as stages
from tvad.common import cli, config
from tvad.common.errors import InputError
from tvad.common.files import whole_folder


@dataclass
class Curriculum:
    """`start`: a checkpoint folder of T-VAD or of its backbone, or a YAML description of an untrained model.
    `dtype`: of frozen weights ("auto": as stored). `rate`, `max_frames`: how clips are sampled. `use_ahd`,
    `use_rae`: ablations. `prompts`: YAML file of AHD's prompt set (configs/prompts), where not the start's.
    `attention`: eager, sdpa or flash_attention_2, where not the library's choice."""

    out: str
    start: str
    stages: list[stages.Stage]
    seed: int = 0
    rate: float = 2.0
    max_frames: int = 8
    dtype: str = "auto"
    use_ahd: bool = True
    use_rae: bool = True
    prompts: str | None = None
    attention: str | None = None
    threads: int | None = None


def applicable(stage: stages.Stage, plan: Curriculum) -> stages.Stage | None:
    """The stage without what the ablation takes away; None where nothing is left to train."""
    gone = [
        prefix for prefix, used in (("model.ahd.", plan.use_ahd), ("model.rae.", plan.use_rae)) if not used
    ]
    trains = (
        [pattern for pattern in stage.trains if not pattern.startswith(tuple(gone))] if gone else stage.trains
    )
    heatmap = stage.heatmap_loss if plan.use_ahd else 0.0
    tokens = stage.special_tokens and plan.use_rae
    if not (trains or stage.lora or tokens) or (
        stage.text_loss == 0 and heatmap == 0 and not (stage.attributes or stage.objects)
    ):
        return None
    select = stage.select if heatmap or stage.select in (None, "loss") else None
    return dataclasses.replace(
        stage,
        trains=trains,
        heatmap_loss=heatmap,
        frame_loss=stage.frame_loss if heatmap else 0.0,
        select=select,
        text_features=stage.text_features and plan.use_ahd,
        special_tokens=tokens,
    )


def train(plan: Curriculum, log=print) -> Path:
    """Carry out a curriculum; returns the folder of the trained model. Raises InputError for a bad plan."""
    import torch

    from tvad.model import prompt_sets
    from tvad.model.start import prompts_of, start_from

    if plan.threads:
        torch.set_num_threads(plan.threads)
    for stage in plan.stages:
        stage.check()
    prompts = prompt_sets.read(plan.prompts) if plan.prompts else prompts_of(plan.start)
    model, processor = start_from(
        plan.start, plan.seed, plan.dtype, plan.attention, use_ahd=plan.use_ahd, use_rae=plan.use_rae
    )
    if torch.cuda.is_available():
        model.to("cuda")
    out = Path(plan.out)
    folder = None
    for number, stage in enumerate(plan.stages):
        fitting = applicable(stage, plan)
        if fitting is None:
            log(
                f"stage {stage.name}: nothing to train without {'AHD' if not plan.use_ahd else 'RAE'},"
                " left out"
            )
            continue
        folder = out / f"{number}-{stage.name}"
        model = stages.run(
            fitting, model, processor, folder, plan.seed, plan.rate, plan.max_frames, prompts, log
        )
    if folder is None:
        raise InputError(f"{plan.out}: no stage has anything to train")
    final = out / "model"
    with whole_folder(final) as temporary:
        shutil.copytree(folder / "model", temporary, dirs_exist_ok=True)
    return final


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="rft/train_stage.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="YAML file, e.g. configs/stage/tiny.yaml")
    known, rest = parser.parse_known_args(arguments)
    data = config.override(config.read_yaml(known.config), rest)
    print(f"the trained model is in {train(config.build(Curriculum, data, known.config))}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.guard(main))
