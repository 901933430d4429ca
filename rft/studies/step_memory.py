"""What one training step of T-VAD takes of a device's memory: stage 1, stage 2 and GRPO as their shipped
configurations have them, by the code that trains.

    python -m rft.studies.step_memory --size 7b --step grpo --frames 16 --height 720 --width 1280

Without a GPU at full size: PyTorch's memory tracker (`torch.distributed._tools`) follows the step over fake
tensors, which have sizes and no contents (`tracked`; minutes of one core). The same step runs for real on a
GPU or, at sizes that a CPU bears, there (`measured`): `make gpu-check` and a test hold both together.
`--ranks 8`: what one of eight GPUs holds; GRPO's weights are shared out by FSDP2, a stage runs under DDP.
`--config tvad-7b-48gb`: of another recipe, with its own frames, group and completions. A step is what trains;
where answers are drawn from the policy itself (`engine: hf`), their keys and values are held at another time.
"""

import gc
import math
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Literal
from unittest import mock

import torch
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile, record_function

from rft.common.four_bit import frozen_linear, put
from rft.common.trainable import LoraSpec, add_lora, in_float32, select_trainable
from rft.curriculum.config import Curriculum, Losses
from rft.curriculum.losses import stage_losses
from rft.curriculum.token_rows import TokenRows, anomaly_tokens
from rft.grpo.config import GrpoRun
from rft.grpo.features import sees
from rft.grpo.logprobs import group_logprobs
from rft.studies.fake_ranks import ShardedPeak, everything_fake, processes, shared_out
from rft.studies.sizes_only import FourBit, SizesOnly, as_on
from tvad.common import cli
from tvad.common import config as configuration
from tvad.common.errors import InputError
from tvad.model.modeling import config_from, untrained
from tvad.model.packing import Packed, pack

GIB = 1 << 30
STAGES, GRPO = "tvad-7b-shanghaitech", "tvad-7b"
# The published config.json of Qwen2.5-VL-3B- and -7B-Instruct, where they differ from the library's defaults.
_VISION: dict[str, Any] = {"hidden_size": 1280, "intermediate_size": 3420, "depth": 32, "num_heads": 16}
_VISION |= {"fullatt_block_indexes": [7, 15, 23, 31], "window_size": 112, "tokens_per_second": 2}
_TOKENS = {"image_token_id": 151655, "video_token_id": 151656}
_TOKENS |= {"vision_start_token_id": 151652, "vision_end_token_id": 151653}
SIZES: dict[str, dict[str, Any]] = {
    "3b": {
        "text_config": {
            "vocab_size": 151936,
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
        },
        "vision_config": _VISION | {"out_hidden_size": 2048},
        "tie_word_embeddings": True,
        **_TOKENS,
    },
    "7b": {
        "text_config": {
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
        "vision_config": _VISION | {"out_hidden_size": 3584},
        "tie_word_embeddings": False,
        **_TOKENS,
    },
}
# Special tokens behind the backbone's own: in the room that both vocabularies have.
ANOMALY = {"anomaly_start_token_id": 151665, "anomaly_pad_token_id": 151666, "anomaly_end_token_id": 151667}
GRPO_STEP = "grpo"
STEPS = ("stage 1", "stage 2 A", "stage 2 B", GRPO_STEP)


@dataclass(frozen=True)
class Shape:
    """What a step sees. frames of height x width pixels, `text` tokens of questions and answers; GRPO:
    `group` completions of `completion` tokens."""

    frames: int = 16
    height: int = 392
    width: int = 392
    text: int = 340
    group: int = 8
    completion: int = 512

    def grid(self, vision) -> tuple[int, int, int]:
        """Patches (t, h, w); sides are rounded to whole tokens, as the processor does."""
        unit = vision.patch_size * vision.spatial_merge_size
        h, w = (
            max(unit, round(side / unit) * unit) // vision.patch_size for side in (self.height, self.width)
        )
        return math.ceil(self.frames / vision.temporal_patch_size), h, w


def model_of(size: str, device: str) -> Any:
    """A T-VAD in bfloat16 on a Qwen2.5-VL of published size ("3b", "7b"), its weights not filled in."""
    from transformers import Qwen2_5_VLConfig

    config = config_from(Qwen2_5_VLConfig(**SIZES[size]), **ANOMALY)
    kept = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return untrained(config)
    finally:
        torch.set_default_dtype(kept)


def _learns(
    model, trains: list[str], lora: LoraSpec | None, special_tokens: bool, four_bit: bool = False
) -> None:
    """Make a model ready as a stage or a run does: what trains is float32, the rest stays as it is."""
    select_trainable(model, trains)
    for name, layer in frozen_linear(model).items() if four_bit else ():
        put(model, name, FourBit(layer))
    if lora is not None:
        add_lora(model, lora)
    if special_tokens:
        model.special_rows = TokenRows(model.get_input_embeddings(), anomaly_tokens(model.config))
    in_float32(model)


def _checkpointed(model) -> None:
    # The generator's state is left alone: there is no dropout in the layers, and a fake device has none.
    model.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
    model.enable_input_require_grads()


def clip_of(model, shape: Shape) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A clip as the processor gives it, and the prompt's ids (P,) up to its end."""
    config = model.config
    t, h, w = shape.grid(config.vision_config)
    values = config.vision_config.in_channels * config.vision_config.temporal_patch_size
    pixels = torch.zeros(t * h * w, values * config.vision_config.patch_size**2, device=model.device)
    vision = {
        "pixel_values_videos": pixels,
        "video_grid_thw": torch.tensor([[t, h, w]], device=model.device),
        "second_per_grid_ts": torch.ones(1),
    }
    video = [config.video_token_id] * (t * h * w // config.vision_config.spatial_merge_size**2)
    prompts = [config.anomaly_pad_token_id] * ((t - 1) * config.prompts_per_step)
    marks = [config.anomaly_start_token_id, *prompts, config.anomaly_end_token_id]
    ids = [config.vision_start_token_id, *marks, *video, config.vision_end_token_id]
    return vision, torch.tensor(ids, device=model.device)


def _stage_batch(model, shape: Shape, heatmap: bool) -> dict[str, Any]:
    vision, prefix = clip_of(model, shape)
    batch: dict[str, Any] = {"clips": vision}
    if heatmap:
        t, h, w = vision["video_grid_thw"][0].tolist()
        return batch | {"heat_targets": torch.zeros(t * h * w, dtype=torch.long, device=model.device)}
    packed = pack([prefix.cpu()], [[torch.arange(shape.text) + 1000]], 0)
    packed = Packed(*(getattr(packed, f.name).to(model.device) for f in fields(packed)))
    weights = F.pad(torch.ones(shape.text // 2), (len(prefix) + shape.text - shape.text // 2, 0))[None]
    return batch | {"packed": packed, "weights": weights.to(packed.input_ids.device)}


def prepared(
    step: str,
    size: str,
    shape: Shape,
    device: str,
    spread: Callable[[Any], None] | None = None,
    recipe: str | None = None,
) -> tuple[Callable[[], None], Any, Any]:
    """One optimiser step of STEPS at full size on `device`, ready to be called (forward passes, backward,
    AdamW), its model and its optimiser; `spread` shares a model out over processes, in place; recipe: the
    configuration's name, by default STAGES or GRPO."""
    model = model_of(size, device)
    model.train()
    keeps = False
    if step == GRPO_STEP:
        run = configuration.read(GrpoRun, recipe or GRPO)
        keeps = run.features is not None
        if keeps:
            model.model.visual.requires_grad_(False)
        _learns(model, run.trains, run.lora, False, run.load_in_4bit)
    else:
        stage = configuration.read(Curriculum, recipe or STAGES).stages[STEPS.index(step)]
        _learns(model, stage.trains, stage.lora, stage.special_tokens, stage.load_in_4bit)
    if step != "stage 1":
        _checkpointed(model)
    if spread is not None:
        spread(model)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6)

    def once() -> None:
        if step == GRPO_STEP:
            _grpo(model, shape, keeps)
        else:
            weigh = Losses(text=0.0, heatmap=1.0) if step == "stage 1" else Losses()
            batch = _stage_batch(model, shape, step == "stage 1")
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                loss = stage_losses(model, model, batch, weigh)[0]
            loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return once, model, optimiser


def _grpo(model, shape: Shape, keeps: bool) -> None:
    """One group: its log-probs without and with gradients, a loss over them. keeps: what the frozen tower
    makes of the clip is made apart, as `rft.grpo.features` does, and in no graph."""
    vision, prefix = clip_of(model, shape)
    seen = None
    if keeps:
        with torch.no_grad():
            seen = sees(model)(vision["pixel_values_videos"], vision["video_grid_thw"])
    prompt = torch.cat([prefix.cpu(), torch.arange(shape.text) + 1000])
    completions = [torch.arange(shape.completion) + 2000 for _ in range(shape.group)]
    device = torch.device(model.device).type

    def logprobs() -> list[torch.Tensor]:
        with torch.autocast(device, torch.bfloat16):
            return group_logprobs(model, model, [prompt], [completions], vision, 1.0, 0, seen)[0][0]

    with torch.no_grad():
        logprobs()
    torch.cat(logprobs()).mean().neg().backward()


class _Peak(MemTracker):
    """A tracker of several passes through one model: only the peak over all modules is asked for."""

    def _pre_fw_hook(self, module, inputs):
        if not self._mod_tracker.is_bw and len(self._mod_tracker.parents) <= 2:  # "Global" and the root
            self.memory_tracking.pop(module, None)
        super()._pre_fw_hook(module, inputs)


def tracked(
    step: str, size: str, shape: Shape, ranks: int = 1, like: str = "cuda", recipe: str | None = None
) -> dict[str, int]:
    """Bytes at the peak of two optimiser steps (the second has the moments), by kind (the tracker's:
    parameters, gradients, activations, optimiser states, temporaries), and "Total", of fake tensors; with
    `ranks` above 1, of one of so many processes. like: whose kernels are meant, "cuda" or "cpu"."""
    shared = ranks > 1 and step == GRPO_STEP
    with processes(ranks) if shared else nullcontext() as mesh, SizesOnly() as mode:
        # Moving a fake module is nothing; its weights cannot be exchanged.
        with mock.patch.object(nn.Module, "_apply", lambda self, *_, **__: self):
            spread = partial(shared_out, mesh=mesh) if mesh is not None else None
            once, model, optimiser = prepared(step, size, shape, "cpu", spread, recipe)
        mode.everything = False
        tracker = ShardedPeak(model, optimiser) if shared else _Peak()
        tracker.track_external(model, optimiser)
        with everything_fake(mode) if shared else nullcontext(), tracker, as_on(like):
            once()
            once()
        trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    peak = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]
    found = {str(getattr(kind, "value", kind)): count for kind, count in peak.items()}
    if ranks > 1 and not shared:
        # DistributedDataParallel's reducer keeps a second copy of the gradients, in its buckets.
        found = {"DDP buckets": trained} | found | {"Total": found["Total"] + trained}
    return found


def measured(step: str, size: str, shape: Shape, device: str = "cuda") -> dict[str, float]:
    """The same for real, of the allocator: {"Total": bytes at the peak, "seconds": of the second step}, on a
    GPU with "reserved", what was held."""
    if device == "cpu":
        return _measured_on_cpu(step, size, shape)
    once, model, optimiser = prepared(step, size, shape, device)
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()  # a model is made twice over, a checkpoint is loaded once
    once()
    torch.cuda.synchronize()
    began = time.perf_counter()
    once()
    torch.cuda.synchronize()
    found = {
        "Total": torch.cuda.max_memory_allocated(),
        "reserved": torch.cuda.max_memory_reserved(),
        "seconds": time.perf_counter() - began,
    }
    del once, model, optimiser
    gc.collect()
    torch.cuda.empty_cache()
    return found


def _measured_on_cpu(step: str, size: str, shape: Shape) -> dict[str, float]:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        once, _, _ = prepared(step, size, shape, "cpu")
        gc.collect()
        with record_function("steps"):
            once()
            began = time.perf_counter()
            once()
            took = time.perf_counter() - began
    results = profiler.profiler.kineto_results  # type: ignore[union-attr]
    since = next(event.start_ns() for event in results.events() if event.name() == "steps")
    events = [event for event in results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        if event.start_ns() >= since:
            peak = max(peak, held)
    return {"Total": peak, "seconds": took}


def _as_in(recipe: str, step: str, shape: Shape) -> Shape:
    """A shape with what a recipe says of a step. Raises InputError where it is of no one step."""
    if step == "all":
        raise InputError("--config is of one step: give --step")
    if step != GRPO_STEP:
        return replace(shape, frames=configuration.read(Curriculum, recipe).max_frames)
    run = configuration.read(GrpoRun, recipe)
    given = run.training
    return replace(
        shape,
        frames=run.max_frames,
        group=given["num_generations"],
        completion=given["max_completion_length"],
    )


def show(
    size: Literal["3b", "7b"] = "7b",
    step: Literal["all", "stage 1", "stage 2 A", "stage 2 B", "grpo"] = "all",
    frames: int = 16,
    height: int = 392,
    width: int = 392,
    text: int = 340,
    group: int = 8,
    completion: int = 512,
    ranks: int = 1,
    config: str | None = None,
) -> None:
    """Print what a step needs, GiB at its peak by kind.

    Args:
        size: Of the published Qwen2.5-VL.
        step: Which step; by default all four.
        frames: Of the clip.
        height: Pixels of a frame.
        width: Pixels of a frame.
        text: Tokens of questions and answers.
        group: GRPO: completions of a prompt.
        completion: GRPO: tokens of a completion.
        ranks: GPUs in all; what one of them needs.
        config: A recipe by name (`tvad-7b-24gb`), of --step; its frames, group and completions hold.
    """
    if ranks < 1:
        raise InputError(f"--ranks {ranks}: expected 1 or more")
    shape = Shape(frames, height, width, text, group, completion)
    if config is not None:
        shape = _as_in(config, step, shape)
    for name in STEPS if step == "all" else (step,):
        found = {
            kind: count / GIB
            for kind, count in tracked(name, size, shape, ranks=ranks, recipe=config).items()
        }
        parts = ", ".join(f"{kind.lower()} {value:.2f}" for kind, value in found.items() if kind != "Total")
        print(
            f"{size} {name}, {ranks} rank{'s' * (ranks > 1)}: {found['Total']:.1f} GiB ({parts})", flush=True
        )


def main(arguments: list[str] | None = None) -> int:
    return cli.run("rft.studies.step_memory", show, __doc__ or "", arguments)


if __name__ == "__main__":
    sys.exit(cli.guard(main))
