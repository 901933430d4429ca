"""The policy's weights: the types that they have while they train, and how engines and checkpoints take them,
whole, LoRA merged, in the type of the start."""

from collections.abc import Iterator
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from rft.common.trainable import LoraSpec, add_lora, in_float32, select_trainable


def loaded(path: str, arguments: Any, attention: str | None = None) -> Any:
    """A start, before it is known what of it trains. `bf16` computes in bfloat16 by autocast over weights as
    they lie; DeepSpeed casts them and keeps float32 masters itself. Without it all is float32."""
    sharded = getattr(arguments, "deepspeed_plugin", None) is not None
    dtype = ("bfloat16" if sharded else "auto") if arguments.bf16 else "float32"
    return AutoModelForImageTextToText.from_pretrained(path, dtype=dtype, attn_implementation=attention)


def made_trainable(model: Any, trains: list[str], lora: LoraSpec | None, arguments: Any) -> tuple[Any, list]:
    """Of a loaded start: PEFT's tuner (None without LoRA) and the names of what trains beside LoRA."""
    learned = select_trainable(model, trains)
    tuner = add_lora(model, lora) if lora else None
    if getattr(arguments, "deepspeed_plugin", None) is None:
        in_float32(model)
    return tuner, learned


def like(reference: Any, policy: Any) -> Any:
    """The reference with the types of the policy, so that equal weights give equal log-probs."""
    types = {name.replace(".base_layer", ""): p.dtype for name, p in policy.named_parameters()}
    for name, parameter in reference.named_parameters():
        parameter.data = parameter.data.to(types[name])
    return reference


def whole(core: Any, tuner: Any, dtype: torch.dtype | None) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of the policy as an engine takes them, in `dtype` (None: as they are); weights that
    ZeRO-3 has sharded must be gathered. LoRA is merged into copies, W + (alpha / r) B A: merged in place and
    taken out again, a frozen W in bfloat16 would come back another."""
    suffix = ".base_layer.weight"
    for name, tensor in core.engine_weights():
        if "lora_" in name:
            continue
        found = _gathered(tensor.detach())
        if tuner is not None and name.endswith(suffix):
            delta = core.get_submodule(name.removesuffix(suffix)).get_delta_weight("default").detach()
            found = (found.float() + _gathered(delta)).to(found.dtype)
        yield name.replace(".base_layer", ""), found if dtype is None else found.to(dtype)


def _gathered(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor  # FSDP2's
