"""The policy's weights: the types that they have while they train, and how engines and checkpoints take them,
whole, LoRA merged, in the type of the start."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from rft.common.four_bit import own_weights, quantise
from rft.common.trainable import add_lora, in_float32, select_trainable
from rft.grpo.config import GrpoRun


def loaded(path: str, arguments: Any, attention: str | None = None) -> Any:
    """A start, before it is known what of it trains. `bf16` computes in bfloat16 by autocast over weights as
    they lie; DeepSpeed casts them and keeps float32 masters itself. Without it all is float32."""
    sharded = getattr(arguments, "deepspeed_plugin", None) is not None
    dtype = ("bfloat16" if sharded else "auto") if arguments.bf16 else "float32"
    return AutoModelForImageTextToText.from_pretrained(path, dtype=dtype, attn_implementation=attention)


def made_trainable(model: Any, run: GrpoRun, arguments: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """Of a loaded start: PEFT's tuner (None without LoRA), and the weights that it has in four bits from now
    on, as they were."""
    select_trainable(model, run.trains)
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
    core: Any, tuner: Any, dtype: torch.dtype | None, held: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of the policy as an engine takes them, in `dtype` (None: as they are), those of `held`
    instead of what four bits keep of them; weights that ZeRO-3 has sharded must be gathered. LoRA is merged
    into copies, W + (alpha / r) B A: merged in place and taken out again, a frozen W in bfloat16 would come
    back another."""
    suffix = ".base_layer.weight"
    for name, tensor in core.engine_weights():
        if "lora_" in name:
            continue
        plain = name.replace(".base_layer", "")
        found = held[plain].to(tensor.device) if plain in held else _gathered(tensor.detach())
        if tuner is not None and name.endswith(suffix):
            delta = core.get_submodule(name.removesuffix(suffix)).get_delta_weight("default").detach()
            found = (found.float() + _gathered(delta)).to(found.dtype)
        yield plain, found if dtype is None else found.to(dtype)


def _gathered(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor  # FSDP2's
