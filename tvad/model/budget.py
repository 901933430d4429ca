"""How large a clip's frames are made for a model, and how many tokens that is.

Decided in one place, the video processor that a checkpoint keeps: its fields are transformers' own, so that
both engines, and whoever else opens the checkpoint, resize alike (Qwen-VL's `smart_resize` under
qwen-vl-utils' bounds). `Budget` is what a configuration says of them, `clip_grid` asks the processor without
any pixels."""

import math
from typing import Any

import torch
from transformers import Qwen3VLVideoProcessor
from transformers.image_utils import SizeDict
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

from tvad.common.errors import InputError
from tvad.data.video import Budget

# Of `max_video_tokens` of Qwen2-VL's processor so much is a clip's (its `resize`).
SHARE = 0.9


def fields_of(video_processor: Any, budget: Budget) -> dict[str, Any]:
    """The fields of a video processor that make it keep a budget; {} where none is stated. Raises InputError
    for one whose fields mean something else."""
    if not budget.given:
        return {}
    if not isinstance(video_processor, Qwen2VLVideoProcessor | Qwen3VLVideoProcessor):
        kind = type(video_processor).__name__
        raise InputError(f"{next(iter(budget.given))}: a {kind} has no such bound, leave it out")
    size, factor = video_processor.size, video_processor.patch_size * video_processor.merge_size
    least, most, total = budget.min_pixels, budget.max_pixels, budget.total_pixels
    edges = {"shortest_edge": least or size["shortest_edge"], "longest_edge": size["longest_edge"]}
    found: dict[str, Any] = {}
    if isinstance(video_processor, Qwen3VLVideoProcessor):
        # Its size is of all frames together; a frame's own bound is counted in tokens.
        if total:
            edges["longest_edge"] = total * video_processor.temporal_patch_size
        if most:
            found["max_video_tokens"] = max(1, most // factor**2)
        if total or most:
            found["cap_pixels_per_frame"] = True
    else:
        edges["longest_edge"] = most or edges["longest_edge"]
        if total:  # in whole steps of 0.9 factor^2 pixels, less than a token: up, so that the total fits
            found["max_video_tokens"] = math.ceil(total / (SHARE * factor**2))
            found["cap_pixels_per_frame"] = True
    if edges["shortest_edge"] > edges["longest_edge"]:
        raise InputError(
            f"{next(iter(budget.given))}: frames of at least {edges['shortest_edge']} and at most"
            f" {edges['longest_edge']} pixels cannot be; state min_pixels and max_pixels"
        )
    return {"size": edges, **found}


def keep(processor: Any, budget: Budget) -> None:
    """Make a processor keep a budget, and with it the checkpoint that it is saved with."""
    looks = getattr(processor, "video_processor", None)  # a family of pictures has none, and no bounds
    set_fields(looks, fields_of(looks, budget))


def set_fields(video_processor: Any, fields: dict[str, Any]) -> None:
    """Give a video processor fields as `fields_of` states them."""
    for name, value in fields.items():
        setattr(video_processor, name, SizeDict(**value) if name == "size" else value)


def keep_clips(processor: Any, plan: Any) -> None:
    """Make the processor of a training keep how clips are shown in it: `rate`, `max_frames` and the bounds of
    a configuration. Its checkpoints then say so."""
    keep(processor, Budget.of(plan))
    processor.clip_rate, processor.clip_frames = plan.rate, plan.max_frames


def seen_size(processor: Any, frames: int, height: int, width: int) -> tuple[int, int] | None:
    """(width, height) in pixels that a processor makes of a clip's frames; None of one that says no such
    thing."""
    looks = getattr(processor, "video_processor", None)
    if not isinstance(looks, Qwen2VLVideoProcessor | Qwen3VLVideoProcessor):
        return None
    _, rows, columns = clip_grid(looks, frames, height, width)
    return columns * looks.patch_size, rows * looks.patch_size


def clip_grid(video_processor: Any, frames: int, height: int, width: int) -> tuple[int, int, int]:
    """(t, h, w) patches of a clip of so many frames (pixels), by the processor's own resizing."""
    frames = max(2, frames)
    resized = video_processor.resize(
        torch.empty((1, frames, 3, height, width), dtype=torch.uint8, device="meta"),
        size=video_processor.size,
        resample=video_processor.resample,
        factor=video_processor.patch_size * video_processor.merge_size,
        temporal_factor=video_processor.temporal_patch_size,
        cap_pixels_per_frame=video_processor.cap_pixels_per_frame,
    )
    patch = video_processor.patch_size
    steps = -(-frames // video_processor.temporal_patch_size)
    return steps, resized.shape[-2] // patch, resized.shape[-1] // patch
