"""What T-VAD costs at full size, counted on the meta device: floating-point operations of a forward pass and
weights, per part. Counts, not measurements: a GPU's time is not proportional to its operations; memory is
`rft.studies.step_memory`'s."""

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers.vision_utils import get_vision_position_ids

from tvad.model.configuration import TvadConfig, TvadQwen3Config
from tvad.model.modeling import config_from, untrained


def _flops(call: Callable) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def _numbers(part: torch.nn.Module | None) -> int:
    """Parameters of a module; 0 for what a model goes without."""
    return 0 if part is None else sum(p.numel() for p in part.parameters())


class Account:
    """A backbone's T-VAD in bfloat16 on the meta device, for a clip of `frames` frames of `height` x `width`
    pixels and `text` tokens."""

    def __init__(
        self, backbone_config, frames: int = 16, height: int = 392, width: int = 392, text: int = 340
    ):
        own = isinstance(backbone_config, (TvadConfig, TvadQwen3Config))
        config = backbone_config if own else config_from(backbone_config)
        self.config: TvadConfig | TvadQwen3Config = config
        with torch.device("meta"):
            self.model = untrained(config).bfloat16()
        vision = config.vision_config
        self.grid = (
            frames // vision.temporal_patch_size,
            height // vision.patch_size,
            width // vision.patch_size,
        )
        t, h, w = self.grid
        self.patches, self.merge = t * h * w, vision.spatial_merge_size
        self.video_tokens = self.patches // self.merge**2
        self.prompts = (t - 1) * config.prompts_per_step
        self.tokens = self.video_tokens + self.prompts + text

    def _layers(self) -> list[torch.Tensor]:
        return [
            torch.zeros(
                self.patches, self.config.vision_config.hidden_size, dtype=torch.bfloat16, device="meta"
            )
        ] * len(self.config.ahd_layers or ())

    def _vision(self):
        vision = self.config.vision_config
        values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        pixels = torch.zeros(self.patches, values, dtype=torch.bfloat16, device="meta")
        grid = torch.tensor([self.grid])
        positions = get_vision_position_ids(grid, self.merge, kwargs={}).to(
            "meta"
        )  # the rest is read on the CPU
        self.model.model.visual(pixels, grid_thw=grid, position_ids=positions)

    def _language(self, **kwargs):
        embeds = torch.zeros(
            1,
            self.tokens,
            self.config.text_config.hidden_size,
            dtype=torch.bfloat16,
            device="meta",
            requires_grad=True,
        )
        positions = torch.arange(self.tokens).expand(3, 1, -1).to("meta")
        hidden = self.model.model.language_model(
            inputs_embeds=embeds, position_ids=positions, use_cache=False, **kwargs
        ).last_hidden_state
        return self.model.lm_head(hidden)

    def _ahd(self):
        return self.model.model.ahd(self._layers(), [self.grid]).logits

    def _rae(self):
        t, h, w = self.grid
        maps = torch.zeros(t, self.config.heat_channels, h, w, dtype=torch.bfloat16, device="meta")
        return self.model.model.rae(maps)

    def flops(self) -> dict[str, int]:
        """Of one forward pass: {"vision", "language", "ahd", "rae"}; "language" without the soft prompts, and
        "prompts", what they add."""
        counts = {"vision": _flops(self._vision), "ahd": _flops(self._ahd), "rae": _flops(self._rae)}
        whole = _flops(self._language)
        self.tokens -= self.prompts
        counts["language"] = _flops(self._language)
        self.tokens += self.prompts
        return counts | {"prompts": whole - counts["language"]}

    def weights(self) -> dict[str, int]:
        """Bytes of bfloat16 weights: {"backbone", "ahd", "rae"}."""
        parts = {"ahd": 2 * _numbers(self.model.model.ahd), "rae": 2 * _numbers(self.model.model.rae)}
        return {"backbone": 2 * _numbers(self.model) - sum(parts.values()), **parts}
