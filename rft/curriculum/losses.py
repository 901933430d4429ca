"""The losses of a supervised stage over one packed batch: text, heatmaps, read-outs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from rft.curriculum.config import Losses
from rft.curriculum.geometry import geometry_loss
from tvad.model.clips import outputs_of


@contextmanager
def ending_in(module: nn.Module, made: Callable[[Any], Any]) -> Iterator[None]:
    """While the block lasts, a call of `module` returns what `made` makes of its output.

    DDP looks for what a pass has used in what its forward returns: losses, not what might have become one,
    and heads that only losses call have to be called within.
    """
    handle = module.register_forward_hook(lambda module, inputs, output: made(output))
    try:
        yield
    finally:
        handle.remove()


def stage_losses(model, core, inputs: dict, weigh: Losses) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The sum of a batch's losses, weighted, and each of them by name, unweighted: token cross-entropy over
    answers, cross-entropy per patch (T-VAD: stage 1) and per step's strongest patch, read-outs.

    model: what is called; core: the same without what wraps it; inputs: a collator's batch.
    """
    if "pooled" in inputs:
        with ending_in(core, lambda out: _classified(out.anomaly_logits, inputs["anomalous"], weigh)):
            return model(pooled=inputs["pooled"])
    learn = inputs["weights"][:, 1:] > 0 if "packed" in inputs else None
    last = core.config.ahd_layers[-1]
    with (
        outputs_of(core.model.visual.blocks, [last] if "object_targets" in inputs else []) as kept,
        ending_in(core, lambda out: _losses(core, out, kept.get(last), inputs, weigh, learn)),
    ):
        return model(**_arguments(core, inputs, learn))


def _losses(
    core, out, patches: torch.Tensor | None, inputs: dict, weigh: Losses, learn: torch.Tensor | None
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What `stage_losses` returns, of the model's output and the tower's `patches` (n, d) for read-outs."""
    parts: dict[str, torch.Tensor] = {}
    total = torch.zeros((), device=core.device)
    if weigh.heatmap:
        logits, targets = torch.cat([clip.heat_logits for clip in out.clips]).float(), inputs["heat_targets"]
        parts["heatmap_loss"] = F.cross_entropy(
            logits, targets, weight=logits.new_tensor([1.0, weigh.anomalous_weight])
        )
        total = total + weigh.heatmap * parts["heatmap_loss"]
        if weigh.frame:
            parts["frame_loss"] = _frame_loss(logits, targets, [clip.grid for clip in out.clips])
            total = total + weigh.frame * parts["frame_loss"]
    if patches is not None:
        order = core.model.raster_order([clip.grid for clip in out.clips]).to(patches.device)
        parts["object_loss"] = core.object_heads(patches[order].float(), inputs["object_targets"])
        total = total + parts["object_loss"]
    if "token_targets" in inputs:
        parts["attribute_loss"] = core.attribute_heads(
            torch.cat([clip.video for clip in out.clips]).float(), inputs["token_targets"]
        )
        total = total + parts["attribute_loss"]
    if "anomalous" in inputs:
        loss, found = _classified(out.anomaly_logits, inputs["anomalous"], weigh)
        total, parts = total + loss, parts | found
    if learn is not None and weigh.text:  # not by what the batch has: all processes log the same losses
        wanted, weights = inputs["packed"].input_ids[:, 1:][learn], inputs["weights"][:, 1:][learn]
        nll = F.cross_entropy(out.logits.float(), wanted, reduction="none")
        # Of clips for the classifier alone, a batch may have no word.
        parts["text_loss"] = (nll * weights).sum() / weights.sum().clamp(min=torch.finfo().tiny)
        total = total + weigh.text * parts["text_loss"]
    if "wrong" in inputs and learn is not None:
        parts["geometry_loss"], parts["impossible_boxes"] = geometry_loss(out.logits, learn, inputs["wrong"])
        total = total + weigh.geometry * parts["geometry_loss"]
    return total, parts


def _classified(
    logits: torch.Tensor, truth: torch.Tensor, weigh: Losses
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Binary cross-entropy of `logits` (B,) where `truth` is known (1 or 0, -1 unknown), 0 where none is,
    weighted, and by name."""
    known = truth >= 0
    found = F.binary_cross_entropy_with_logits(
        logits.float()[known], truth[known].float(), reduction="sum"
    ) / max(1, int(known.sum()))
    return weigh.classifier * found, {"classifier_loss": found}


def _arguments(core, inputs: dict, learn: torch.Tensor | None) -> dict:
    """What the model is called with. learn (B, L - 1): True where the next token is to be learned, whose
    place alone gets logits; None for a batch without text."""
    vision = inputs.get("clips") or {}
    call = {
        k: vision[k] for k in ("pixel_values_videos", "video_grid_thw", "second_per_grid_ts") if k in vision
    }
    if learn is None:
        return call
    packed = inputs["packed"]
    ids = packed.input_ids
    prefix_length = int((packed.segment == 0).sum(1).max())
    if vision:
        # The clip lies in the prefix: its positions are those of a row without branches, which go on after
        # it.
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
    return call | {
        "input_ids": ids,
        "attention_mask": packed.attention_mask(core.model.language_model),
        "position_ids": packed.position_ids(prefix_positions),
        "logits_to_keep": F.pad(learn, (0, 1)),
        "use_cache": False,
    }


def _frame_loss(logits: torch.Tensor, targets: torch.Tensor, grids: list) -> torch.Tensor:
    """Binary cross-entropy of every step's strongest patch: logits (n, 2), targets (n,), clips of grids (t,
    h, w) one after the other, n = sum of t h w."""
    sizes = [h * w for t, h, w in grids for _ in range(t)]
    margins = torch.stack([step.max() for step in (logits[:, 1] - logits[:, 0]).split(sizes)])
    truth = torch.stack([step.max() for step in targets.split(sizes)]).float()
    return F.binary_cross_entropy_with_logits(margins, truth)
