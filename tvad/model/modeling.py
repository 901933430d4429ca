"""T-VAD on transformers' Qwen2.5-VL and Qwen3-VL classes. What they share is in `core`; here is where the
families differ."""

import torch
from torch import nn
from transformers import (
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLModel,
    Qwen3VLForConditionalGeneration,
    Qwen3VLModel,
)
from transformers.vision_utils import get_vision_window_index

from tvad.model.ahd import to_raster
from tvad.model.configuration import TvadConfig, TvadQwen3Config
from tvad.model.core import TvadLMMixin, TvadModelMixin


class TvadModel(TvadModelMixin, Qwen2_5_VLModel):
    """Qwen2.5-VL: windowed vision tower, one run of video tokens whose time positions count in real time."""

    config_class = TvadConfig
    config: TvadConfig

    def __init__(self, config: TvadConfig):
        super().__init__(config)
        self._add_anomaly_modules(config)

    def raster(self, features, grid):
        tower = self.visual
        merge = tower.spatial_merge_size
        window, _ = get_vision_window_index(
            torch.tensor([grid]),
            spatial_merge_size=merge,
            window_size=tower.window_size,
            patch_size=tower.patch_size,
            kwargs={},
        )
        return to_raster(features, window, *grid, merge)

    def blocks_of(self, grid, seconds):
        t, h, w = grid
        merge = self.config.vision_config.spatial_merge_size
        # Real time: a step of `seconds` moves on by tokens_per_second * seconds, whatever the rate of the
        # frames.
        return [(t, h // merge, w // merge, self.config.vision_config.tokens_per_second * seconds)]


class TvadForConditionalGeneration(TvadLMMixin, Qwen2_5_VLForConditionalGeneration):
    config_class = TvadConfig
    config: TvadConfig

    def __init__(self, config: TvadConfig):
        super().__init__(config)
        self.model = TvadModel(config)
        self.post_init()


# The two backbones' get_rope_index take the same arguments in another order: one signature cannot fit both.
class TvadQwen3Model(TvadModelMixin, Qwen3VLModel):  # type: ignore[misc]
    """Qwen3-VL: no windows, DeepStack, one run of video tokens per time step behind its timestamp."""

    config_class = TvadQwen3Config
    config: TvadQwen3Config

    def __init__(self, config: TvadQwen3Config):
        super().__init__(config)
        self._add_anomaly_modules(config)

    def raster(self, features, grid):
        return to_raster(features, None, *grid, self.visual.spatial_merge_size)

    def blocks_of(self, grid, seconds):
        t, h, w = grid
        merge = self.config.vision_config.spatial_merge_size
        # Time is in the text: "<1.5 seconds>" and a still of (1, h, w) for every step.
        return [(1, h // merge, w // merge, 1.0)] * t


class TvadQwen3ForConditionalGeneration(TvadLMMixin, Qwen3VLForConditionalGeneration):
    config_class = TvadQwen3Config
    config: TvadQwen3Config

    def __init__(self, config: TvadQwen3Config):
        super().__init__(config)
        self.model = TvadQwen3Model(config)
        self.post_init()


def class_for(config) -> type[TvadForConditionalGeneration] | type[TvadQwen3ForConditionalGeneration]:
    """The T-VAD class of a T-VAD or backbone configuration, by family. Raises ValueError for another
    backbone."""
    families = {
        "qwen2_5_vl": TvadForConditionalGeneration,
        "tvad": TvadForConditionalGeneration,
        "qwen3_vl": TvadQwen3ForConditionalGeneration,
        "tvad_qwen3": TvadQwen3ForConditionalGeneration,
    }
    if config.model_type not in families:
        raise ValueError(
            f"no T-VAD for a backbone of type {config.model_type!r}, expected one of {', '.join(families)}"
        )
    return families[config.model_type]


def untrained(
    config: TvadConfig | TvadQwen3Config,
) -> TvadForConditionalGeneration | TvadQwen3ForConditionalGeneration:
    """The model of a configuration, with random weights."""
    if isinstance(config, TvadQwen3Config):
        return TvadQwen3ForConditionalGeneration(config)
    return TvadForConditionalGeneration(config)


def in_type(model: nn.Module, dtype: torch.dtype) -> None:
    """Make what a checkpoint stores of a model `dtype`, as `from_pretrained` does. `model.to` would round the
    rotary frequencies too, buffers that no checkpoint stores: positions would be others than after loading
    it."""
    for tensor in model.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)


def config_from(backbone_config, **changes) -> TvadConfig | TvadQwen3Config:
    """The T-VAD configuration on a backbone configuration; `changes` are fields of T-VAD."""
    values = {
        k: v
        for k, v in backbone_config.to_dict().items()
        if k not in ("model_type", "architectures", "transformers_version")
    }
    return class_for(backbone_config).config_class(**{**values, **changes})


def count_parameters(backbone_config, **changes) -> dict[str, int]:
    """Parameters of T-VAD on a backbone configuration, counted on the meta device: {"ahd", "rae", "base",
    "total"}.

    changes: fields of T-VAD, such as use_ahd=False.
    """
    config = config_from(backbone_config, **changes)
    with torch.device("meta"):
        model = untrained(config)
    parts = {name: getattr(model.model, name) for name in ("ahd", "rae")}
    counts = {
        name: sum(p.numel() for p in part.parameters()) if part is not None else 0
        for name, part in parts.items()
    }
    total = sum(p.numel() for p in model.parameters())
    return {**counts, "base": total - sum(counts.values()), "total": total}
