"""The trainer of supervised stages: transformers' Trainer with the losses of `rft.curriculum.losses`, each
logged, and the benchmark's heatmap metrics at evaluations, which come after the checkpoint they are of."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from bench.models.hf import HfModel
from bench.tasks import heatmap
from rft.common.checkpoints import STATE
from rft.common.restored import GoesOn
from rft.curriculum.config import HEATMAP_METRICS, Losses
from rft.curriculum.losses import stage_losses
from rft.curriculum.optimizer import muon_and_adamw
from tvad.common.errors import InputError
from tvad.common.files import replacing


class Owed(TrainerCallback):
    """Evaluates a checkpoint that a run goes on from, where that was not done."""

    def __init__(self, trainer: "StageTrainer"):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        self.trainer.evaluate_what_was_not()


class StageTrainer(GoesOn):
    """`weights` of the losses; `heatmap_eval`: (processor, clips) where an evaluation is to give the heatmap
    metrics as well; `eval_collator`: makes the batches of evaluations, where not the training's does; `muon`:
    learning rate of Muon for the layers' matrices, None without."""

    def __init__(
        self,
        *args,
        weights: Losses,
        heatmap_eval=None,
        eval_collator=None,
        muon: float | None = None,
        **kwargs,
    ):
        self.weights, self.heatmap_eval, self.muon = weights, heatmap_eval, muon
        self.parts: dict[str, list[float]] = {}
        # A batch may use less than all that trains (no colour is asked, a clip of one step has no change),
        # also with gradient checkpointing, for which transformers would not look.
        if kwargs["args"].ddp_find_unused_parameters is None:
            kwargs["args"].ddp_find_unused_parameters = True
        super().__init__(*args, **kwargs)
        self.eval_collator = eval_collator or self.data_collator
        self._saved = -1  # the step that was saved last
        self.add_callback(Owed(self))

    def create_optimizer(self, model=None):
        if self.optimizer is None and self.muon is not None:
            self.optimizer = muon_and_adamw(model or self.model, self.muon, self.args)
        return super().create_optimizer(model)

    def get_eval_dataloader(self, eval_dataset=None):
        # Trainer knows one collator; an evaluation sees whole clips, not what training crops and mirrors.
        given, self.data_collator = self.data_collator, self.eval_collator
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = given

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        core = self.accelerator.unwrap_model(model)
        total, parts = stage_losses(model, core, inputs, self.weights)
        # With fp16 a step whose gradients overflow is left out, and the scale made smaller.
        if model.training and not self.args.fp16 and not total.isfinite():
            broken = [name for name, value in parts.items() if not value.isfinite()]
            raise InputError(
                f"step {self.state.global_step + 1}: {', '.join(broken) or 'the loss'} is NaN or infinite, of"
                " which nothing is learned: the start's weights, the type that they run in, or optimiser.lr"
            )
        for name, value in parts.items():
            self.parts.setdefault(name if model.training else f"eval_{name}", []).append(
                float(value.detach())
            )
        return (total, parts) if return_outputs else total

    def log(self, logs, *args, **kwargs):
        # Means over the forward passes of all processes since the last line; an evaluation's have names and
        # lines of their own.
        evaluates = any(name.startswith("eval_") for name in logs)
        for name in sorted(name for name in self.parts if name.startswith("eval_") == evaluates):
            values = self.parts.pop(name)
            own = torch.tensor(sum(values) / len(values), device=self.accelerator.device)
            logs[name] = round(float(self.accelerator.reduce(own, "mean")), 4)
        super().log(logs, *args, **kwargs)

    def evaluate(self, *args, **kwargs):
        """Losses, and with `heatmap_eval` the benchmark's heatmap metrics over the whole validation set
        (those that are defined). Nothing that training draws later depends on it."""
        with torch.random.fork_rng():
            metrics = super().evaluate(*args, **kwargs)
        if self.heatmap_eval is not None:
            found = self._heatmap_metrics(*self.heatmap_eval)
            self.log(dict(found))
            metrics |= found
        return metrics

    def _heatmap_metrics(self, processor, store) -> dict[str, float]:
        """Of one video after the other: what metrics need of it is small, its frames are not."""
        engine = HfModel(self.accelerator.unwrap_model(self.model).eval(), processor)
        videos: dict[str, heatmap.VideoScores] = {}
        samples: Any = self.eval_dataset  # a list of them, `stage.Batches`
        for sample in samples:
            clip = store.frames(sample)
            with self.accelerator.autocast():  # as the losses are evaluated
                maps = engine.heatmaps([clip])
            assert maps is not None  # `Stage.check`: these metrics are of a stage that trains on heatmaps
            videos[sample.id] = heatmap.VideoScores(sample, maps[0], clip)
        figures = heatmap.Figures(list(videos.values()))
        values = figures.of(np.arange(len(videos)))
        chosen = (self.args.metric_for_best_model or "").removeprefix("eval_")
        if chosen in values and values[chosen] is None:
            note = figures.note(chosen, None, list(videos))
            raise InputError(f"selection.select is {chosen}, which the validation data do not give: {note}")
        return {f"eval_{name}": v for name in HEATMAP_METRICS if (v := values[name]) is not None}

    def _evaluate(self, trial, ignore_keys_for_eval, skip_scheduler=False):
        # transformers evaluates first and saves then: an evaluation that fails would cost all steps since the
        # last checkpoint, and again at every start.
        if self.control.should_save:
            self._save_checkpoint(self.model, trial)
        return super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler)

    def _save_checkpoint(self, model, trial):
        step = self.state.global_step
        if self._saved != step:
            super()._save_checkpoint(model, trial)
            self._saved = step
            return
        # Saved before it was evaluated: what the evaluation found is added.
        folder = Path(self.args.output_dir, f"checkpoint-{step}")
        if self.state.best_global_step == step:
            self.state.best_model_checkpoint = str(folder)
        if self.args.should_save:
            # Whole or as it was: without it the checkpoint counts for nothing, and earlier ones are gone.
            with replacing(folder / STATE) as temporary:
                self.state.save_to_json(str(temporary))

    def evaluate_what_was_not(self) -> None:
        """The evaluation that a run owes which was stopped behind its checkpoint."""
        step = self.state.global_step
        done = any("eval_loss" in row for row in self.state.log_history if row["step"] == step)
        if step and not done and self.args.eval_strategy == "steps" and step % self.state.eval_steps == 0:
            self._saved = step
            self._determine_best_metric(self._evaluate(None, None), None)
            self._save_checkpoint(self.model, None)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        # The loss alone: a packed batch has logits where something is learned, which no metric could read.
        with torch.no_grad():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss, None, None
