"""Configurations of T-VAD on Qwen2.5-VL and on Qwen3-VL: what the backbones' lack. Source: arXiv 2511.00524,
section 3."""

import warnings
from dataclasses import field
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedConfig, Qwen2_5_VLConfig, Qwen3VLConfig

from tvad.common.errors import InputError
from tvad.common.formats import Format

# Tokens of T-VAD that only the processor may write, by the names of the authors' code.
ANOMALY_TOKENS = ("<|anomaly_prompt_start|>", "<|anomaly_prompt_pad|>", "<|anomaly_prompt_end|>")
EARLIER_TOKENS = ("<|anomaly_start|>", "<|anomaly_pad|>", "<|anomaly_end|>")  # of the first shipped ones
CLASSIFIER = "model.classifier."  # begins the names of its weights
# Logit of a token that must not be generated: exp() is 0 in every dtype, and 0 * NEVER is not NaN.
NEVER = -1e4
# What a checkpoint is made as and then stays: field -> its values, the published one, which is the default,
# first.
FORM = {
    "rae_input": ("classes", "abnormal"),
    "prompt_order": ("video_first", "anomaly_first"),
    "ahd_layout": ("paper", "thesis"),
    "prompt_features": ("hidden", "embeddings"),
}
BLOCKS = {"paper": (1, 8, 16, 32), "thesis": (1, 8, 16, 24, 32)}  # that AHD reads, of 32, counted from one


def _first_form(data: dict[str, Any]) -> dict[str, Any]:
    """A configuration of version 1, with what its checkpoint was trained as."""
    return {"rae_input": "abnormal", "prompt_order": "anomaly_first"} | data


# Version 1: without the fields of `FORM`. Version 2: with them. Weights are named `model.{ahd,rae}.*`.
CHECKPOINT = Format("tvad-checkpoint", version=2, migrations={1: _first_form}, key="tvad_format")


def relative_layers(depth: int, layout: str = "paper") -> list[int]:
    """The blocks that AHD reads, 0-based: those of `BLOCKS`, at the same relative depths in a tower of
    another depth."""
    return [min(depth - 1, max(0, round(depth * block / 32) - 1)) for block in BLOCKS[layout]]


def anomaly_tokens(tokenizer) -> tuple[str, ...]:
    """Start, pad and end of the anomaly prompts, as a tokenizer names them; the names of today where it has
    none."""
    known = tokenizer.get_vocab()
    return EARLIER_TOKENS if EARLIER_TOKENS[1] in known and ANOMALY_TOKENS[1] not in known else ANOMALY_TOKENS


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
    use_classifier: bool = False
    """With VANGUARD's classifier: is the clip anomalous, from the language model's states."""
    classifier_hidden: int = 256
    """Width of its hidden layer."""
    dialogue: str = "protocol"
    """Form of the dialogue that was learned (`tvad.data.questions`), in whose words `tvad infer` asks."""
    questions: list[str] | None = None
    """Kinds of single questions that the last text stage has learned without a dialogue, as VANGUARD's do:
    `tvad infer` asks these in its place."""
    rae_input: str = "classes"
    """What RAE differences: both class heatmaps before the softmax (classes), or the abnormal one after it
    (abnormal)."""
    prompt_order: str = "video_first"
    """Whether a clip's anomaly prompts stand behind its video tokens (video_first) or before them
    (anomaly_first)."""
    ahd_layout: str = "paper"
    """AHD as the paper has it (paper) or as its precursor (thesis)."""
    prompt_features: str = "hidden"
    """What AHD's text features are means of: the language model's hidden states (hidden) or its input
    embeddings (embeddings)."""
    text_prompts: dict = field(default_factory=dict)
    """The prompt set {"normal": [...], "abnormal": [...]} from which AHD's stored text features were made."""

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        for key, values in FORM.items():
            if (found := getattr(self, key)) not in values:
                raise InputError(f"{key} is {found!r}, expected {' or '.join(values)}")
        if self.ahd_layers is None:
            self.ahd_layers = relative_layers(self.vision_config.depth, self.ahd_layout)

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
    def form(self) -> dict[str, str]:
        """What the checkpoint was made as, by the fields of `FORM`."""
        return {key: getattr(self, key) for key in FORM}

    @property
    def heat_channels(self) -> int:
        """Channels of what RAE differences."""
        return 2 if self.rae_input == "classes" else 1

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
