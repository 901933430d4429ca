"""The trainer of supervised stages: transformers' Trainer with two losses, text and heatmap, over packed clips."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import Trainer

from bench.models.hf import HfModel
from bench.tasks import heatmap


class AttributeHeads(nn.Module):
    """Stage 0 only: linear read-outs of class, colour and box from every video token. A real backbone's pre-training gives its tokens
    such meaning; a tiny one learns it here in minutes, and from the text loss alone not in hours. Dropped after the stage."""

    def __init__(self, dim: int, kinds: int, colours: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.kind, self.colour, self.box = nn.Linear(dim, kinds + 1), nn.Linear(dim, colours), nn.Linear(dim, 8)

    def forward(self, tokens: torch.Tensor, targets: dict[str, torch.Tensor]) -> torch.Tensor:
        """tokens (m, D) and `token_targets` -> loss."""
        tokens = self.norm(tokens)
        weight = tokens.new_ones(self.kind.out_features) * 3.0
        weight[0] = 1.0
        loss = F.cross_entropy(self.kind(tokens), targets["kind"], weight=weight)
        if bool((targets["colour"] >= 0).any()):
            loss = loss + 0.3 * F.cross_entropy(self.colour(tokens), targets["colour"], ignore_index=-1)
        known = ~targets["box"].isnan()
        if bool(known.any()):
            loss = loss + 2.0 * F.smooth_l1_loss(self.box(tokens)[known], targets["box"][known], beta=0.05)
        return loss


class StageTrainer(Trainer):
    """`text_loss`, `heatmap_loss`: weights of the two losses; `anomalous_weight`: weight of anomalous patches in the heatmap loss;
    `heatmap_eval`: (processor, clips) where an evaluation is to give the heatmap metrics as well."""

    def __init__(self, *args, text_loss: float, heatmap_loss: float, anomalous_weight: float = 1.0, heatmap_eval=None, **kwargs):
        self.text_loss, self.heatmap_loss, self.anomalous_weight = text_loss, heatmap_loss, anomalous_weight
        self.heatmap_eval = heatmap_eval
        self.parts: dict[str, list[float]] = {}
        super().__init__(*args, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        core = self.accelerator.unwrap_model(model)
        total, parts = stage_losses(model, core, inputs, self.text_loss, self.heatmap_loss, self.anomalous_weight)
        for name, value in parts.items():
            self.parts.setdefault(name, []).append(float(value.detach()))
        return (total, parts) if return_outputs else total

    def log(self, logs, *args, **kwargs):
        if self.parts:
            logs |= {name: round(sum(values) / len(values), 4) for name, values in self.parts.items()}
            self.parts = {}
        super().log(logs, *args, **kwargs)

    def evaluate(self, *args, **kwargs):
        """Losses, and with `heatmap_eval` the benchmark's heatmap metrics over the whole validation set (those that are defined)."""
        metrics = super().evaluate(*args, **kwargs)
        if self.heatmap_eval is not None:
            processor, store = self.heatmap_eval
            core = self.accelerator.unwrap_model(self.model).eval()
            clips = [store.frames(sample) for sample in self.eval_dataset]
            maps = HfModel(core, processor).heatmaps(clips)
            videos = [heatmap.VideoScores(s, m, f) for s, m, f in zip(self.eval_dataset, maps, clips, strict=True)]
            found = {f"eval_{name}": value for name, value in heatmap.statistics(videos).items() if value is not None}
            self.log(dict(found))
            metrics |= found
        return metrics

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        with torch.no_grad():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss, None, None


def stage_losses(
    model, core, inputs: dict, text_loss: float, heatmap_loss: float, anomalous_weight: float
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Weighted token cross-entropy over answers and cross-entropy per patch (spec: stage 1), and their sum."""
    vision = inputs.get("clips") or {}
    call = {k: vision[k] for k in ("pixel_values_videos", "video_grid_thw", "second_per_grid_ts") if k in vision}
    learn = None
    if "packed" in inputs:
        packed, weights = inputs["packed"], inputs["weights"][:, 1:]
        ids, learn = packed.input_ids, weights > 0
        prefix_length = int((packed.segment == 0).sum(1).max())
        if vision:
            call["clip_index"] = torch.arange(len(ids), device=ids.device)
            prefix_positions, _ = core.model.get_rope_index(
                ids[:, :prefix_length], video_grid_thw=vision["video_grid_thw"], second_per_grid_ts=vision["second_per_grid_ts"],
                attention_mask=packed.segment[:, :prefix_length] == 0, clip_index=call["clip_index"],
            )  # fmt: skip
        else:
            prefix_positions = torch.arange(prefix_length, device=ids.device).expand(3, len(ids), -1)
        call |= {
            "input_ids": ids, "attention_mask": packed.attention_mask(), "position_ids": packed.position_ids(prefix_positions),
            "logits_to_keep": F.pad(learn, (0, 1)), "use_cache": False,
        }  # fmt: skip
    out = model(**call)
    parts: dict[str, torch.Tensor] = {}
    total = torch.zeros((), device=core.device)
    if heatmap_loss:
        logits = torch.cat([clip.heat_logits for clip in out.clips]).float()
        weight = logits.new_tensor([1.0, anomalous_weight])
        parts["heatmap_loss"] = F.cross_entropy(logits, inputs["heat_targets"], weight=weight)
        total = total + heatmap_loss * parts["heatmap_loss"]
    if "token_targets" in inputs:
        parts["attribute_loss"] = core.attribute_heads(torch.cat([clip.video for clip in out.clips]), inputs["token_targets"])
        total = total + parts["attribute_loss"]
    if learn is not None:
        nll = F.cross_entropy(out.logits.float(), ids[:, 1:][learn], reduction="none")
        parts["text_loss"] = (nll * weights[learn]).sum() / weights[learn].sum()
        total = total + text_loss * parts["text_loss"]
    return total, parts
