"""Configurations of T-VAD on Qwen2.5-VL and on Qwen3-VL: what the backbones' lack. Source: arXiv 2511.00524,
section 3."""

import warnings
from dataclasses import field
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedConfig, Qwen2_5_VLConfig, Qwen3VLConfig

from tvad.common.formats import Format

# Tokens of T-VAD that only the processor may write.
ANOMALY_TOKENS = ("<|anomaly_start|>", "<|anomaly_pad|>", "<|anomaly_end|>")
# Logit of a token that must not be generated: exp() is 0 in every dtype, and 0 * NEVER is not NaN.
NEVER = -1e4
# Version 1: the fields below and the weights' names `model.{ahd,rae}.*`.
CHECKPOINT = Format("tvad-checkpoint", key="tvad_format")


def relative_layers(depth: int) -> list[int]:
    """The blocks that AHD reads, 0-based: 1, 8, 16, 32 of 32 (counted from one), the same relative depths
    elsewhere."""
    return [min(depth - 1, max(0, round(depth * block / 32) - 1)) for block in (1, 8, 16, 32)]


class TvadFields(PreTrainedConfig):
    """The fields of T-VAD, whatever the backbone."""

    if TYPE_CHECKING:  # of every backbone: dicts when it is made, configurations after `__post_init__`
        text_config: Any
        vision_config: Any

    tvad_format: int = CHECKPOINT.version
    """Version of the checkpoint's format; without it 1."""
    anomaly_start_token_id: int | None = None
    """Token in front of a clip's anomaly prompts."""
    anomaly_pad_token_id: int | None = None
    """Token that stands for one anomaly prompt."""
    anomaly_end_token_id: int | None = None
    """Token behind a clip's anomaly prompts."""
    ahd_layers: list[int] | None = None
    """Vision blocks that AHD reads, 0-based; default the paper's relative depths."""
    rae_base_prompts: int = 10
    """Learned prompts of every temporal difference (N_base)."""
    rae_region_grid: int = 3
    """Regions a side: 3 is 3 x 3 region prompts."""
    rae_channels: int = 64
    """Channels of RAE's last convolution."""
    rae_hidden: int = 1024
    """Width of RAE's two MLPs."""
    use_ahd: bool = True
    """Without AHD there is no heatmap and RAE sees a constant map."""
    use_rae: bool = True
    """Without RAE there are no soft prompts."""
    text_prompts: dict = field(default_factory=dict)
    """The prompt set {"normal": [...], "abnormal": [...]} from which AHD's stored text features were made."""

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.ahd_layers is None:
            self.ahd_layers = relative_layers(self.vision_config.depth)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        """As the backbone's; an older checkpoint's fields are migrated. Raises InputError for a newer one."""
        where = str(config_dict.get("_name_or_path") or kwargs.get("name_or_path") or "config.json")
        config_dict = CHECKPOINT.check(config_dict, where)
        if config_dict.get("use_ahd", True) and not config_dict.get("text_prompts"):
            warnings.warn(
                "a T-VAD checkpoint that does not say from which prompts its AHD's text features were made:"
                " heatmaps are as it learned them, but AHD can only be trained further with a prompt set",
                stacklevel=2,
            )
        return super().from_dict(config_dict, **kwargs)

    @property
    def prompts_per_step(self) -> int:
        """Soft tokens of one temporal difference: base + regions + global; 0 without RAE."""
        return self.rae_base_prompts + self.rae_region_grid**2 + 1 if self.use_rae else 0

    @property
    def forbidden_token_ids(self) -> list[int]:
        """Tokens that stand for pixels or heatmaps: a completion may not contain them. Both engines set their
        logits to NEVER: transformers in `core.TvadLMMixin.forward`, vLLM in `vllm_model.compute_logits`."""
        names = (  # <|image_pad|>, <|video_pad|>, <|vision_start|>, <|vision_end|> and ANOMALY_TOKENS
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
