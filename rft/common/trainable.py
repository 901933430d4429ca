"""Which parameters of a model learn: those that a name pattern matches, and LoRA beside them. Used by the
stages and by GRPO."""

import fnmatch
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tvad.common.errors import InputError

if TYPE_CHECKING:  # configurations name LoraSpec and must read without these
    import torch
    from peft.tuners.lora import LoraModel
    from transformers import PreTrainedModel

LORA_TARGETS = ("q_proj", "v_proj")


@dataclass
class LoraSpec:
    """LoRA on q_proj and v_proj of the last decoder layers (T-VAD: r 16, alpha 32, dropout 0.05, four
    layers), and on what `targets` name."""

    layers: int = 4
    """How many of the last decoder layers are adapted in q_proj and v_proj; 0 none."""
    r: int = 16
    """Rank of an adapter."""
    alpha: int = 32
    """An adapter's product counts alpha / r times."""
    dropout: float = 0.05
    """Share of an adapter's inputs that are dropped in training."""
    targets: list[str] = field(default_factory=list)
    """Name patterns of further linear layers: model.language_model.layers.* (all of the decoder),
    model.visual.blocks.* (the tower), model.visual.merger.*, … One whose own weights train is left out."""

    def check(self) -> None:
        """Raise InputError for numbers that no adapter can have."""
        for key, value, fits, expected in (
            ("layers", self.layers, self.layers >= 0, "at least 0"),
            ("r", self.r, self.r >= 1, "at least 1"),
            ("alpha", self.alpha, self.alpha > 0, "more than 0"),
            ("dropout", self.dropout, 0 <= self.dropout < 1, "at least 0 and less than 1"),
        ):
            if not fits:
                raise InputError(f"lora: {key} is {value}, expected {expected}")


def select_trainable(model: "torch.nn.Module", patterns: list[str]) -> list[str]:
    """Freeze everything but the parameters that match a pattern; returns their names. InputError for a
    pattern without a match."""
    names = []
    for pattern in patterns:
        if not any(fnmatch.fnmatch(name, pattern) for name, _ in model.named_parameters()):
            raise InputError(f"trains: no parameter matches {pattern!r}")
    for name, parameter in model.named_parameters():
        wanted = any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
        parameter.requires_grad_(wanted)
        if wanted:
            names.append(name)
    return names


def in_float32(model: "torch.nn.Module") -> None:
    """Make what trains float32; frozen weights keep their type. bfloat16 has 8 significant bits and rounds a
    small step on a weight away."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def last_layers(layers: int, total: int) -> str:
    """Regular expression of q_proj and v_proj in the last `layers` of `total` decoder layers; of 0 it matches
    nothing."""
    wanted = "|".join(str(i) for i in range(max(0, total - layers), total)) or "none"
    return rf".*language_model\.layers\.({wanted})\.self_attn\.({'|'.join(LORA_TARGETS)})"


def lora_modules(model: "PreTrainedModel", spec: LoraSpec) -> list[str]:
    """Names of the linear layers that LoRA adapts. Raises InputError for a pattern without one, where none is
    left, for more last layers than there are, and for one that is tied to the embedding."""
    from torch.nn import Linear

    total = model.config.text_config.num_hidden_layers
    if spec.layers > total:
        raise InputError(f"lora: layers is {spec.layers}, the model has {total} decoder layers")
    last = re.compile(last_layers(spec.layers, total))
    linear = {name: module for name, module in model.named_modules() if isinstance(module, Linear)}
    for pattern in spec.targets:
        if not fnmatch.filter(linear, pattern):
            raise InputError(f"lora: targets: no linear layer matches {pattern!r}")
    found = [
        name
        for name, module in linear.items()
        if last.fullmatch(name)
        or (
            any(fnmatch.fnmatch(name, pattern) for pattern in spec.targets)
            and not module.weight.requires_grad
        )
    ]
    if not found:
        raise InputError("lora: nothing to adapt: layers is 0, and targets name no layer that does not train")
    embedding = model.get_input_embeddings()
    if tied := [name for name in found if linear[name].weight is embedding.weight]:
        raise InputError(
            f"lora: targets: {tied[0]} has the embedding's weight (tie_word_embeddings), which merging its"
            " adapter would change with it; name other layers: model.*"
        )
    return found


def add_lora(model: "PreTrainedModel", spec: LoraSpec) -> "LoraModel":
    """Put LoRA into `model` in place, leaving what trains otherwise as it was. `.merge_and_unload()` of the
    result undoes it.

    In place and not as a PeftModel, whose checkpoints hold adapters only: RAE trains beside them and must be
    resumed with them. Raises InputError where there is nothing to adapt.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    training = {name for name, p in model.named_parameters() if p.requires_grad}
    adapted = lora_modules(model, spec)
    config = LoraConfig(
        r=spec.r,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        # In full where patterns say so; of the last layers alone one expression, as adapters always had it.
        target_modules=(
            adapted if spec.targets else last_layers(spec.layers, model.config.text_config.num_hidden_layers)
        ),
    )
    # A layer W becomes W x + (alpha / r) B A x: its own weight is then called `base_layer.weight`, and PEFT
    # freezes all that is not an adapter, RAE too, which is undone here.
    tuner = LoraModel(model, {"default": config}, "default")
    for name, parameter in model.named_parameters():
        if "lora_" in name or name in training:
            parameter.requires_grad_(True)
    return tuner
