"""transformers' TrainingArguments of a supervised stage, by which its Trainer also chooses the best
checkpoint (`selection.select` becomes `metric_for_best_model`)."""

import os
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from rft.curriculum.config import Stage
from tvad.common.errors import InputError


def clips_a_step(stage: Stage) -> int:
    """Clips of an optimiser step, over all processes."""
    return stage.optimiser.batch * stage.optimiser.accumulate * int(os.environ.get("WORLD_SIZE", "1"))


def steps_of(stage: Stage, clips: int) -> int:
    """Optimiser steps of a stage over `clips` clips, over all processes. The stage has steps or epochs
    (`Stage.check`)."""
    plan = stage.optimiser
    if plan.steps is not None:
        return plan.steps
    return max(1, round((plan.epochs or 0) * clips / clips_a_step(stage)))


def arguments_of(stage: Stage, steps: int, out: Path, seed: int, evaluates: bool) -> TrainingArguments:
    """The arguments of a stage of `steps` steps into `out`; `evaluates`: there is validation data. Raises
    InputError for an option that transformers refuses."""
    plan, selection = stage.optimiser, stage.selection
    select = None if selection.select is None else f"eval_{selection.select}"
    fields: dict[str, Any] = {
        "output_dir": str(out),
        "max_steps": steps,
        "per_device_train_batch_size": plan.batch,
        "per_device_eval_batch_size": plan.batch,
        "gradient_accumulation_steps": plan.accumulate,
        "learning_rate": plan.lr,
        "warmup_steps": max(1, round(plan.warmup * steps)),
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": plan.lr_floor},
        "weight_decay": plan.weight_decay,
        "adam_beta2": plan.adam_beta2,
        "max_grad_norm": 1.0,
        "logging_steps": max(1, min(25, steps // 4)),
        "save_steps": selection.save_steps,
        "save_total_limit": 2 if select else 1,
        "seed": seed,
        "data_seed": seed,
        "report_to": "none",
        "remove_unused_columns": False,
        "eval_strategy": "steps" if evaluates else "no",
        "eval_steps": selection.save_steps if evaluates else None,
        "use_cpu": not torch.cuda.is_available(),
        "disable_tqdm": True,
        "label_names": ["weights"],
        "load_best_model_at_end": select is not None,
        "metric_for_best_model": select,
        "greater_is_better": None if select is None else selection.select != "loss",
        **stage.options,
    }
    try:
        return TrainingArguments(**fields)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"stage {stage.name}: options: {reason:.300}") from error
