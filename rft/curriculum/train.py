"""Carries out a curriculum: the stages in a row, each beginning where the last one ended."""

import shutil
from pathlib import Path

import torch

from rft.curriculum import stage as stages
from rft.curriculum.config import Curriculum, applicable
from tvad.common.errors import InputError
from tvad.common.files import whole_folder
from tvad.model import prompt_sets
from tvad.model.start import prompts_of, start_from


def train(plan: Curriculum, log=print) -> Path:
    """Carry out a curriculum; returns the folder of the trained model. Finished stages are skipped, the
    current one goes on from its last checkpoint. Raises InputError for a bad plan."""
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
