"""Configurations of T-VAD on Qwen2.5-VL and on Qwen3-VL: what the backbones' lack. Source: arXiv 2511.00524,
section 3."""

from dataclasses import dataclass, field

from transformers import Qwen2_5_VLConfig, Qwen3VLConfig

# Tokens of T-VAD that only the processor may write.
ANOMALY_TOKENS = ("<|anomaly_start|>", "<|anomaly_pad|>", "<|anomaly_end|>")


def relative_layers(depth: int) -> list[int]:
    """The blocks that AHD reads, 0-based: 1, 8, 16, 32 of 32 (counted from one), the same relative depths
    elsewhere."""
    return [min(depth - 1, max(0, round(depth * block / 32) - 1)) for block in (1, 8, 16, 32)]


@dataclass(kw_only=True)
class TvadFields:
    """The fields of T-VAD, whatever the backbone.

    anomaly_{start,pad,end}_token_id: the three special tokens around and for the anomaly prompts. ahd_layers:
    vision blocks that AHD reads (0-based; default the paper's relative depths). rae_base_prompts (10),
    rae_region_grid (3: 3 x 3 regions), rae_channels (64), rae_hidden (1024): sizes of RAE. use_ahd, use_rae:
    the ablations. Without AHD there is no heatmap and RAE sees a constant map; without RAE no soft prompts.
    text_prompts: the prompt set {"normal": [...], "abnormal": [...]} from which AHD's stored text features
    were made.
    """

    anomaly_start_token_id: int | None = None
    anomaly_pad_token_id: int | None = None
    anomaly_end_token_id: int | None = None
    ahd_layers: list[int] | None = None
    rae_base_prompts: int = 10
    rae_region_grid: int = 3
    rae_channels: int = 64
    rae_hidden: int = 1024
    use_ahd: bool = True
    use_rae: bool = True
    text_prompts: dict = field(default_factory=dict)

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)  # type: ignore[misc]
        if self.ahd_layers is None:
            self.ahd_layers = relative_layers(self.vision_config.depth)  # type: ignore[attr-defined]

    @property
    def prompts_per_step(self) -> int:
        """Soft tokens of one temporal difference: base + regions + global; 0 without RAE."""
        return self.rae_base_prompts + self.rae_region_grid**2 + 1 if self.use_rae else 0

    @property
    def forbidden_token_ids(self) -> list[int]:
        """Tokens that stand for pixels or heatmaps: a completion may not contain them."""
        names = (
            "image",
            "video",
            "vision_start",
            "vision_end",
            "anomaly_start",
            "anomaly_pad",
            "anomaly_end",
        )
        ids = (getattr(self, f"{name}_token_id") for name in names)
        return [i for i in ids if i is not None]


class TvadConfig(TvadFields, Qwen2_5_VLConfig):
    __doc__ = TvadFields.__doc__
    model_type = "tvad"


class TvadQwen3Config(TvadFields, Qwen3VLConfig):
    __doc__ = TvadFields.__doc__
    model_type = "tvad_qwen3"
