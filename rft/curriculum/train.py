"""Carries out a curriculum: the stages in a row, each beginning where the last one ended."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from bench.cache import content
from rft.common import resume
from rft.common.stage_record import NAME
from rft.curriculum import stage as stages
from rft.curriculum import text_features
from rft.curriculum.config import Curriculum, applicable, form_of
from rft.curriculum.standing import Plan, facts_of, standing
from tvad.common.errors import InputError
from tvad.common.files import check_folder, whole_folder
from tvad.data.video import Budget, check_sampling
from tvad.model import prompt_sets
from tvad.model.budget import keep_clips
from tvad.model.packing import check_attention
from tvad.model.start import has_classifier, located, prompts_of, start_from


def train(plan: Curriculum, log=print, resume_with: resume.With = "same") -> Path:
    """Carry out a curriculum; returns the folder of the trained model. Finished stages are skipped, the
    current one goes on from its last checkpoint, with other settings only where `resume_with` is new. Raises
    InputError for a bad plan, and for one that is not what the folder's stages were trained by."""
    if plan.threads:
        torch.set_num_threads(plan.threads)
    for stage in plan.stages:
        stage.check()
    prompts = prompt_sets.read(plan.prompts) if plan.prompts else prompts_of(plan.start)
    out = Path(plan.out)
    _check(plan, prompts, resume_with)
    model, processor = start_from(
        plan.start,
        plan.seed,
        plan.dtype,
        plan.attention,
        **_switches(plan),
        **form_of(plan),
    )
    keep_clips(processor, plan)
    if torch.cuda.is_available():
        model.to(f"cuda:{os.environ.get('LOCAL_RANK', 0)}")
    folder, start = None, _start_of(plan)
    for number, stage in enumerate(plan.stages):
        fitting = applicable(stage, plan)
        if fitting is None:
            parts = {"AHD": plan.use_ahd, "RAE": plan.use_rae, "a classifier": plan.use_classifier}
            without = " and ".join(name for name, used in parts.items() if used is False)
            log(f"stage {stage.name}: nothing to train without {without}, left out")
            continue
        folder = out / f"{number}-{stage.name}"
        if not (folder / "model" / NAME).exists():
            text_features.check(fitting, model, processor)
        model = stages.run(
            fitting,
            model,
            processor,
            folder,
            plan.seed,
            plan.rate,
            plan.max_frames,
            prompts,
            log,
            start,
            resume_with,
            Budget.of(plan),
            plan.attention,
            _made_of(plan),
        )
        start = content(folder / "model")
    if folder is None:
        raise InputError(f"{plan.out}: no stage has anything to train")
    if (told := text_features.told(model, processor)) is not None:
        log(told)
    final, processes = out / "model", PartialState()
    if processes.is_main_process:
        with whole_folder(final) as temporary:
            shutil.copytree(folder / "model", temporary, dirs_exist_ok=True)
    processes.wait_for_everyone()
    return final


def _start_of(plan: Curriculum) -> str | None:
    """What the first stage begins with: the hash of the start's weights where they lie in a folder, and the
    form that is set."""
    start, form = content(located(plan.start)), form_of(plan)
    return ", ".join([start or plan.start, *map(" ".join, form.items())]) if form else start


def _made_of(plan: Curriculum) -> dict[str, Any]:
    """What a curriculum makes of its start beside the form: a stage that was trained of another is not
    taken for this one's."""
    own = located(plan.start)
    held = not own.endswith((".yaml", ".yml")) and has_classifier(own)
    classifies = held if plan.use_classifier is None else plan.use_classifier
    return {"dtype": plan.dtype, **_switches(plan), "use_classifier": classifies}


def _switches(plan: Curriculum) -> dict[str, Any]:
    """With which modules a curriculum wants its model."""
    found = {"use_ahd": plan.use_ahd, "use_rae": plan.use_rae}
    return found if plan.use_classifier is None else found | {"use_classifier": plan.use_classifier}


def _check(plan: Curriculum, prompts: dict[str, list[str]] | None, resume_with: resume.With) -> None:
    """Raise InputError for what can be known before a model is loaded: data, and what the folder holds."""
    check_folder(plan.out)
    check_sampling(plan.rate, plan.max_frames)
    if plan.prompts and not any(stage.text_features for stage in plan.stages):
        raise InputError("prompts: no stage encodes them; set text_features: true in one")
    start = _start_of(plan)
    fittings = [fitting for stage in plan.stages if (fitting := applicable(stage, plan)) is not None]
    text_features.check_recorded(fittings, prompts_of(plan.start) is not None)
    for number, stage in enumerate(plan.stages):
        if (fitting := applicable(stage, plan)) is not None:
            if fitting.losses.text or (fitting.losses.classifier and not fitting.data.pooled):
                check_attention(plan.attention)
            folder = Path(plan.out) / f"{number}-{stage.name}"
            own = Plan(
                plan.seed,
                plan.rate,
                plan.max_frames,
                prompts,
                start,
                Budget.of(plan),
                plan.attention,
                _made_of(plan),
            )
            # A finished stage's data may be gone.
            finished, train = (folder / "model" / NAME).exists(), fitting.data.train
            facts = {} if finished and not Path(train).exists() else facts_of(fitting, own)
            standing(fitting, own, facts, folder, resume_with)
            start = content(folder / "model")
