"""The decoder's frozen linear layers in four bits (NF4; QLoRA, arXiv 2305.14314) while adapters train.

What is saved is not in four bits: every weight is the start's own, bit by bit, with the adapters added. So
`model/` is the start and `adapter/`, as without; it differs from the policy that trained by NF4's rounding.
The vision tower stays whole, and with it every heatmap.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tvad.common.errors import InputError

DECODER = "model.language_model."


def frozen_linear(model: nn.Module) -> dict[str, nn.Linear]:
    """The decoder's linear layers whose weights do not train, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if name.startswith(DECODER) and type(module) is nn.Linear and not module.weight.requires_grad
    }


def own_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """What `quantise` is about to round, on the CPU."""
    return {f"{name}.weight": module.weight.detach().cpu() for name, module in frozen_linear(model).items()}


def quantise(model: nn.Module, compute: torch.dtype) -> None:
    """Put the decoder's frozen linear layers into NF4, multiplied in the type `compute`; before LoRA is put
    in. Raises InputError where bitsandbytes is not installed."""
    try:
        from bitsandbytes.nn import Linear4bit, Params4bit
    except ImportError as error:
        raise InputError("load_in_4bit needs bitsandbytes: pip install 'tvad[four-bit]'") from error
    for name, module in frozen_linear(model).items():
        # Empty, on no device: its weight is put in below.
        with torch.device("meta"):
            small = Linear4bit(module.in_features, module.out_features, bias=False, compute_dtype=compute)
        weight: Any = Params4bit(
            module.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True, module=small
        )
        small.weight = weight.to(module.weight.device)  # which rounds it
        small.bias = module.bias
        # On a CPU with AVX512-BF16 an evaluation would repack the weight for a kernel that gives no
        # gradients, and training would go on with it.
        small.support_avx512bf16_for_cpu = False
        put(model, name, small)


def restore(model: nn.Module, whole: Mapping[str, torch.Tensor]) -> None:
    """The layers of the weights `whole` as they were, adapters added: what `quantise` and LoRA put in is
    taken out."""
    for weight, own in whole.items():
        name = weight.removesuffix(".weight")
        module: Any = model.get_submodule(name)
        base: Any = module.get_base_layer() if hasattr(module, "get_base_layer") else module
        device = next(module.parameters()).device
        layer = nn.Linear(base.in_features, base.out_features, bias=False, device="meta")
        layer.weight = nn.Parameter(_added(module, own.to(device)), requires_grad=False)
        layer.bias = base.bias
        put(model, name, layer)


def _added(module: Any, weight: torch.Tensor) -> torch.Tensor:
    """weight + (alpha / r) B A of its adapter, where it has one."""
    if not hasattr(module, "get_delta_weight"):
        return weight
    with torch.no_grad():
        return (weight.float() + module.get_delta_weight("default").float()).to(weight.dtype)


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """A module in the place of the one of that name."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)
