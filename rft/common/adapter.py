"""adapter/, what a run with LoRA trained, apart from its start: the adapters and the modules that trained
beside them, PEFT's `modules_to_save`. `PeftModel.from_pretrained(start, adapter)` is the trained policy."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tvad.common.files import whole_folder, write_whole

if TYPE_CHECKING:
    from peft.tuners.lora import LoraModel

# Containers without a forward of their own, which PEFT cannot wrap.
CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


@dataclass(frozen=True)
class Adapter:
    """What PEFT reads: its configuration and tensors by name."""

    config: Any  # PEFT's LoraConfig
    state: dict[str, torch.Tensor]


def trained_modules(model: nn.Module) -> list[str]:
    """The modules that trained beside LoRA, by name: the largest that trained as a whole, else those that own
    the parameters. Of tied weights every owner."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    modules = dict(model.named_modules(remove_duplicate=False))
    trained = {name for name, p in parameters.items() if p.requires_grad and "lora_" not in name}

    def whole(name: str) -> bool:
        inside = [p for p in parameters if p.startswith(f"{name}.")]
        return not isinstance(modules[name], CONTAINERS) and all(p in trained for p in inside)

    found = set()
    for parameter in trained:
        module = parameter.rpartition(".")[0]
        while isinstance(modules[module], CONTAINERS):
            module = module.rpartition(".")[0]
        above = module.rpartition(".")[0]
        while above:
            module, above = (above if whole(above) else module), above.rpartition(".")[0]
        found.add(module)
    return sorted(m for m in found if not any(m.startswith(f"{other}.") for other in found))


def adapter_of(
    tuner: "LoraModel", gathered: Callable[[list[torch.Tensor]], AbstractContextManager[Any]] | None = None
) -> Adapter:
    """The adapters of a policy, and what trained beside them. gathered: a context in which the given
    parameters are whole, where they are sharded; all processes enter it alike."""

    def kept(tensor: torch.Tensor) -> torch.Tensor:
        with gathered([tensor]) if gathered else nullcontext():
            whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
            return whole.detach().cpu().clone().contiguous()

    model = tuner.model
    state = {
        f"base_model.model.{name.replace('.default', '')}": kept(tensor)
        for name, tensor in model.named_parameters()
        if "lora_" in name
    }
    beside = trained_modules(model)
    for name in beside:
        for inner, tensor in model.get_submodule(name).state_dict(keep_vars=True).items():
            state[f"base_model.model.{name}.{inner}"] = kept(tensor)
    config: Any = copy.copy(tuner.peft_config["default"])
    config.modules_to_save = beside or None
    return Adapter(config, state)


def save_adapter(adapter: Adapter, folder: Path, base: str) -> None:
    """Write adapter/ of the start `base`, with what it is in words; whole or absent."""
    from safetensors.torch import save_file

    config = copy.copy(adapter.config)
    config.base_model_name_or_path = base
    beside = ", ".join(f"`{name}`" for name in config.modules_to_save or ())
    words = [
        f"LoRA (r {config.r}, alpha {config.lora_alpha}) for `{base}`"
        + (f", and the modules that trained beside it: {beside}." if beside else "."),
        "`PeftModel.from_pretrained(start, folder)` is the trained policy; `model/` beside this folder is the"
        " same, merged.",
    ]
    if beside:
        words.append("vLLM's `--enable-lora` takes LoRA alone and refuses this adapter: serve `model/`.")
    with whole_folder(folder) as temporary:
        save_file(adapter.state, temporary / "adapter_model.safetensors")
        config.save_pretrained(str(temporary))
        write_whole(temporary / "README.md", "\n".join(words) + "\n")
