"""What a checkpoint brings back when a training goes on, and what the settings at hand replace in it; that it
is whole or absent."""

import copy
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer

from tvad.common.errors import InputError

# Several processes on a CPU: accelerate calls it cpu:0, transformers reads the optimiser onto that, and
# torch.load knows no such place: no such run could go on.
torch.serialization.register_package(
    100, lambda stored: None, lambda stored, place: stored if place.startswith("cpu:") else None
)


class GoesOn(Trainer):
    """A Trainer that goes on from a checkpoint, with the settings of then or, with `new_settings`, with those
    at hand."""

    new_settings = False

    def _run_epoch(self, *args, **kwargs):
        # transformers asks behind a step whether it was the last: a run that was stopped behind its last
        # checkpoint, before its model was written, would do one more.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        # What follows calls the checkpoint whole and removes earlier ones: all have written their parts.
        self.accelerator.wait_for_everyone()

    def _save_checkpoint(self, model, trial):
        """The trainer's; where it fails, the half-written folder is removed and the error says what to do."""
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            folder = Path(self.args.output_dir, f"checkpoint-{self.state.global_step}")
            if self.accelerator.is_main_process:
                shutil.rmtree(folder, ignore_errors=True)
            raise InputError(
                f"{folder}: cannot be written ({' '.join(str(error).split())[:200]}); earlier checkpoints are"
                " whole: make room, then start again"
            ) from error

    def _load_optimizer_and_scheduler(self, checkpoint):
        # The checkpoint's optimiser brings its own rates, betas and decay beside its moments, its schedule
        # the rate that it began with; what is made from the settings at hand is kept beside it.
        fresh = [{k: v for k, v in g.items() if k != "params"} for g in self.optimizer.param_groups]
        fresh, rates = copy.deepcopy(fresh), list(getattr(self.lr_scheduler, "base_lrs", []))
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        # transformers keeps the steps between checkpoints and log lines that the run began with.
        self.state.compute_steps(self.args, self.state.max_steps)
        if not self.new_settings:
            return
        schedule = self.lr_scheduler
        if not isinstance(schedule, LambdaLR):
            raise InputError(f"{checkpoint}: a schedule of kind {type(schedule).__name__} takes no new rates")
        schedule.base_lrs = rates
        for group, own, rate, part in zip(
            self.optimizer.param_groups, fresh, rates, schedule.lr_lambdas, strict=True
        ):
            group.update(own)
            group["lr"] = rate * part(schedule.last_epoch)
        schedule._last_lr = [group["lr"] for group in self.optimizer.param_groups]
