"""The policy's weights: the types that they have while they train, and how engines and checkpoints take them,
whole, LoRA merged, in the type of the start."""

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from rft.common.four_bit import own_weights, quantise
from rft.common.trainable import add_lora, in_float32, select_trainable
from rft.grpo.config import GrpoRun
from tvad.common.errors import InputError
from tvad.model.start import opened_whole

Gather = Callable[[list[torch.Tensor]], AbstractContextManager[Any]]
BASE = ".base_layer.weight"  # of what PEFT has adapted
CLASSIFIER = "model.classifier."
FUSED = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")  # by vLLM, of a block


def loaded(path: str, arguments: Any, attention: str | None = None) -> Any:
    """A start, before it is known what of it trains. `bf16` computes in bfloat16 by autocast over weights as
    they lie; DeepSpeed casts them and keeps float32 masters itself. Without it all is float32."""
    sharded = getattr(arguments, "deepspeed_plugin", None) is not None
    dtype = ("bfloat16" if sharded else "auto") if arguments.bf16 else "float32"
    return opened_whole(path, dtype=dtype, attn_implementation=attention)


def made_trainable(model: Any, run: GrpoRun, arguments: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """Of a loaded start: PEFT's tuner (None without LoRA), and the weights that it has in four bits from now
    on, as they were. Raises InputError for what no reward reaches."""
    select_trainable(model, run.trains)
    for pattern in run.trains:
        found = fnmatch.filter([name for name, _ in model.named_parameters()], pattern)
        if all(name.startswith(CLASSIFIER) for name in found):
            raise InputError(
                f"trains: {pattern!r}: rewards are of words, of which the classifier has none; a stage with"
                " losses.classifier trains it"
            )
    held: dict[str, torch.Tensor] = {}
    if run.load_in_4bit:
        held = own_weights(model)
        quantise(model, torch.bfloat16 if arguments.bf16 else model.dtype)
    tuner = add_lora(model, run.lora) if run.lora else None
    if getattr(arguments, "deepspeed_plugin", None) is None:
        in_float32(model)
    return tuner, held


def reference(run: GrpoRun, arguments: Any, policy: Any) -> Any:
    """The start as the policy began, in the policy's types, so that equal weights give equal log-probs."""
    model = loaded(run.model, arguments, run.attention)
    types = {name.replace(".base_layer", ""): p.dtype for name, p in policy.named_parameters()}
    for name, parameter in model.named_parameters():
        if types[name].is_floating_point:  # not what is in four bits
            parameter.data = parameter.data.to(types[name])
    if run.load_in_4bit:
        select_trainable(model, run.trains)  # what trains in the policy is not in four bits there
        quantise(model, torch.bfloat16 if arguments.bf16 else model.dtype)
    return model.requires_grad_(False)


def whole(
    core: Any,
    tuner: Any,
    dtype: torch.dtype | None,
    held: Mapping[str, torch.Tensor],
    only: frozenset[str] | None = None,
    gathered: Gather | None = None,
) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of the policy as an engine takes them, in `dtype` (None: as they are), those of `held`
    instead of what four bits keep of them; of all, or of the names `only`. LoRA is merged into copies,
    W + (alpha / r) B A: merged in place and taken out again, a frozen W in bfloat16 would come back another.

    gathered: a context in which the given parameters are whole, where ZeRO-3 has sharded them: entered for
    one after the other, by all processes alike, so that none ever holds more than one and its adapters."""
    for name, tensor in core.engine_weights():
        plain = name.replace(".base_layer", "")
        if "lora_" in name or (only is not None and plain not in only):
            continue
        adapted = (
            core.get_submodule(name.removesuffix(BASE)) if tuner is not None and _is_base(name) else None
        )
        parts = [tensor] if adapted is None else list(adapted.parameters())
        with gathered(parts) if gathered else nullcontext():
            found = held[plain].to(tensor.device) if plain in held else _full(tensor.detach())
            if adapted is not None:
                delta = adapted.get_delta_weight("default").detach()
                found = (found.float() + _full(delta)).to(found.dtype)
            found = found if dtype is None else found.to(dtype)
            if gathered and found.data_ptr() == tensor.data_ptr():
                found = found.clone()  # what was gathered is let go of
        yield plain, found


def _is_base(name: str) -> bool:
    return name.endswith(BASE)


def changing(core: Any, tuner: Any) -> frozenset[str]:
    """Names, as `whole` gives them, of what training changes: what learns, what an adapter changes, and
    buffers; with what stands beside it in the same block, since engines keep some of it as one layer (q, k
    and v) and take such a layer whole."""
    names = [name for name, _ in core.engine_weights() if "lora_" not in name]
    learns = {name for name, p in core.named_parameters() if p.requires_grad}
    buffers = {name for name, _ in core.named_buffers()}
    moved = {n for n in names if n in learns or n in buffers or (tuner is not None and _is_base(n))}
    plain = [name.replace(".base_layer", "") for name in names]
    own = {name.rpartition(".")[0] for name in (n.replace(".base_layer", "") for n in moved)}
    blocks = {module.rpartition(".")[0] for module in own if module.rpartition(".")[2] in FUSED}
    return frozenset(
        name
        for name in plain
        if (module := name.rpartition(".")[0]) in own
        or (module.rpartition(".")[2] in FUSED and module.rpartition(".")[0] in blocks)
    )


def _full(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor  # FSDP2's
