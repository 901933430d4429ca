"""The trainer of supervised stages: transformers' Trainer with the losses of `rft.curriculum.losses`, each
logged, and the benchmark's heatmap metrics at evaluations."""

import numpy as np
import torch
from transformers import TrainerCallback

from bench.models.hf import HfModel
from bench.tasks import heatmap
from rft.common.restored import GoesOn
from rft.curriculum.config import HEATMAP_METRICS, Losses
from rft.curriculum.losses import stage_losses
from rft.curriculum.optimizer import muon_and_adamw
from tvad.common.errors import InputError


class Draws(TrainerCallback):
    """Tells a collator which batch comes first: a resumed run draws what the uninterrupted one would have
    drawn, each process its own."""

    def __init__(self, collator):
        self.collator = collator

    def on_train_begin(self, args, state, control, **kwargs):
        self.collator.drawn = state.global_step * args.gradient_accumulation_steps
        self.collator.process = args.process_index


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
        (those that are defined)."""
        metrics = super().evaluate(*args, **kwargs)
        if self.heatmap_eval is not None:
            processor, store = self.heatmap_eval
            core = self.accelerator.unwrap_model(self.model).eval()
            clips = [store.frames(sample) for sample in self.eval_dataset]
            maps = HfModel(core, processor).heatmaps(clips)
            videos = {
                s.id: heatmap.VideoScores(s, m, f)
                for s, m, f in zip(self.eval_dataset, maps, clips, strict=True)
            }
            figures = heatmap.Figures(list(videos.values()))
            values = figures.of(np.arange(len(videos)))
            chosen = (self.args.metric_for_best_model or "").removeprefix("eval_")
            if chosen in values and values[chosen] is None:
                note = figures.note(chosen, None, list(videos))
                raise InputError(
                    f"selection.select is {chosen}, which the validation data do not give: {note}"
                )
            found = {f"eval_{name}": v for name in HEATMAP_METRICS if (v := values[name]) is not None}
            self.log(dict(found))
            metrics |= found
        return metrics

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        # The loss alone: a packed batch has logits where something is learned, which no metric could read.
        with torch.no_grad():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss, None, None
