"""The trainer of supervised stages: transformers' Trainer with two losses, text and heatmap, over packed
clips."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import Trainer, TrainerCallback

from bench.models.hf import HfModel
from bench.tasks import heatmap
from rft.curriculum.optimizer import muon_and_adamw
from tvad.model.clips import outputs_of


def kind_loss(logits: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of anomaly classes (n, 1 + classes); 0, nothing unusual, is common and weighs a third."""
    weight = logits.new_full((logits.shape[1],), 3.0)
    weight[0] = 1.0
    return F.cross_entropy(logits, kinds, weight=weight)


class AttributeHeads(nn.Module):
    """Stage 0 only: linear read-outs of class, colour and box from every video token. A real backbone's
    pre-training gives its tokens such meaning; a tiny one learns it here in minutes, and from the text loss
    alone not in hours. Dropped after the stage."""

    def __init__(self, dim: int, kinds: int, colours: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.kind, self.colour, self.box = (
            nn.Linear(dim, kinds + 1),
            nn.Linear(dim, colours),
            nn.Linear(dim, 8),
        )

    def forward(self, tokens: torch.Tensor, targets: dict[str, torch.Tensor]) -> torch.Tensor:
        """tokens (m, D) and `token_targets` -> loss."""
        tokens = self.norm(tokens)
        loss = kind_loss(self.kind(tokens), targets["kind"])
        if bool((targets["colour"] >= 0).any()):
            loss = loss + 0.3 * F.cross_entropy(self.colour(tokens), targets["colour"], ignore_index=-1)
        known = ~targets["box"].isnan()
        if bool(known.any()):
            loss = loss + 2.0 * F.smooth_l1_loss(self.box(tokens)[known], targets["box"][known], beta=0.05)
        return loss


MOTION_UNITS = 14.0  # of the picture's side: a walker's way between two frames is then of the size of 1


class ObjectHeads(nn.Module):
    """Stage 0 only: linear read-outs of anomaly class, objects and their motion from every patch of the
    tower's last block. Every person in every clip teaches something here, which the anomalies' masks alone do
    in one clip of two. Dropped after the stage."""

    def __init__(self, dim: int, kinds: int, objects: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.kind, self.objects, self.motion = (
            nn.Linear(dim, kinds + 1),
            nn.Linear(dim, objects),
            nn.Linear(dim, 4),
        )

    def forward(self, patches: torch.Tensor, targets: dict[str, torch.Tensor]) -> torch.Tensor:
        """patches (n, d), row by row of each clip's grid, and `object_targets` -> loss."""
        patches = self.norm(patches)
        loss = kind_loss(self.kind(patches), targets["kind"])
        loss = loss + 3.0 * F.binary_cross_entropy_with_logits(self.objects(patches), targets["objects"])
        known = ~targets["motion"].isnan()
        if bool(known.any()):
            loss = loss + 2.0 * F.smooth_l1_loss(
                self.motion(patches)[known], MOTION_UNITS * targets["motion"][known], beta=0.1
            )
        return loss


@dataclass(frozen=True)
class Weights:
    """Weights of the losses: `text` per token, `heatmap` per patch (`anomalous`: of anomalous patches in it),
    `frame` of the strongest patch of every step (spec: the optional frame-level cross-entropy)."""

    text: float
    heatmap: float
    anomalous: float = 1.0
    frame: float = 0.0


class Draws(TrainerCallback):
    """Tells a collator which batch comes first: a resumed run draws what the uninterrupted one would have
    drawn, each process its own."""

    def __init__(self, collator):
        self.collator = collator

    def on_train_begin(self, args, state, control, **kwargs):
        self.collator.drawn = state.global_step * args.gradient_accumulation_steps
        self.collator.process = args.process_index


class StageTrainer(Trainer):
    """`weights` of the losses; `heatmap_eval`: (processor, clips) where an evaluation is to give the heatmap
    metrics as well; `eval_collator`: makes the batches of evaluations, where not the training's does; `muon`:
    learning rate of Muon for the layers' matrices, None without."""

    def __init__(
        self,
        *args,
        weights: Weights,
        heatmap_eval=None,
        eval_collator=None,
        muon: float | None = None,
        **kwargs,
    ):
        self.weights, self.heatmap_eval, self.muon = weights, heatmap_eval, muon
        self.parts: dict[str, list[float]] = {}
        super().__init__(*args, **kwargs)
        self.eval_collator = eval_collator or self.data_collator

    def create_optimizer(self, model=None):
        if self.optimizer is None and self.muon is not None:
            self.optimizer = muon_and_adamw(model or self.model, self.muon, self.args)
        return super().create_optimizer(model)

    def get_eval_dataloader(self, eval_dataset=None):
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
        evaluates = any(name.startswith("eval_") for name in logs)
        for name in [name for name in self.parts if name.startswith("eval_") == evaluates]:
            values = self.parts.pop(name)
            logs[name] = round(sum(values) / len(values), 4)
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
            videos = [
                heatmap.VideoScores(s, m, f) for s, m, f in zip(self.eval_dataset, maps, clips, strict=True)
            ]
            found = {
                f"eval_{name}": value
                for name, value in heatmap.statistics(videos).items()
                if value is not None
            }
            self.log(dict(found))
            metrics |= found
        return metrics

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        with torch.no_grad():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss, None, None


def stage_losses(model, core, inputs: dict, weigh: Weights) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Weighted token cross-entropy over answers and cross-entropy per patch (spec: stage 1), and their
    sum."""
    vision = inputs.get("clips") or {}
    call = {
        k: vision[k] for k in ("pixel_values_videos", "video_grid_thw", "second_per_grid_ts") if k in vision
    }
    learn = None
    if "packed" in inputs:
        packed, weights = inputs["packed"], inputs["weights"][:, 1:]
        ids, learn = packed.input_ids, weights > 0
        prefix_length = int((packed.segment == 0).sum(1).max())
        if vision:
            call["clip_index"] = torch.arange(len(ids), device=ids.device)
            prefix_positions, _ = core.model.get_rope_index(
                ids[:, :prefix_length],
                video_grid_thw=vision["video_grid_thw"],
                second_per_grid_ts=vision["second_per_grid_ts"],
                attention_mask=packed.segment[:, :prefix_length] == 0,
                clip_index=call["clip_index"],
            )
        else:
            prefix_positions = torch.arange(prefix_length, device=ids.device).expand(3, len(ids), -1)
        call |= {
            "input_ids": ids,
            "attention_mask": packed.attention_mask(),
            "position_ids": packed.position_ids(prefix_positions),
            "logits_to_keep": F.pad(learn, (0, 1)),
            "use_cache": False,
        }
    last = core.config.ahd_layers[-1]
    with outputs_of(core.model.visual.blocks, [last] if "object_targets" in inputs else []) as kept:
        out = model(**call)
    parts: dict[str, torch.Tensor] = {}
    total = torch.zeros((), device=core.device)
    if weigh.heatmap:
        logits, targets = torch.cat([clip.heat_logits for clip in out.clips]).float(), inputs["heat_targets"]
        parts["heatmap_loss"] = F.cross_entropy(
            logits, targets, weight=logits.new_tensor([1.0, weigh.anomalous])
        )
        total = total + weigh.heatmap * parts["heatmap_loss"]
        if weigh.frame:
            sizes = [h * w for t, h, w in (clip.grid for clip in out.clips) for _ in range(t)]
            margins = torch.stack([step.max() for step in (logits[:, 1] - logits[:, 0]).split(sizes)])
            truth = torch.stack([step.max() for step in targets.split(sizes)]).float()
            parts["frame_loss"] = F.binary_cross_entropy_with_logits(margins, truth)
            total = total + weigh.frame * parts["frame_loss"]
    if "object_targets" in inputs:
        order = core.model.raster_order([clip.grid for clip in out.clips]).to(kept[last].device)
        parts["object_loss"] = core.object_heads(kept[last][order].float(), inputs["object_targets"])
        total = total + parts["object_loss"]
    if "token_targets" in inputs:
        parts["attribute_loss"] = core.attribute_heads(
            torch.cat([clip.video for clip in out.clips]).float(), inputs["token_targets"]
        )
        total = total + parts["attribute_loss"]
    if learn is not None:
        nll = F.cross_entropy(out.logits.float(), ids[:, 1:][learn], reduction="none")
        parts["text_loss"] = (nll * weights[learn]).sum() / weights[learn].sum()
        total = total + weigh.text * parts["text_loss"]
    return total, parts
