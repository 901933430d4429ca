"""A T-VAD model without AHD and RAE as what it then is: a Qwen-VL checkpoint in the published layout, which
stock transformers, vLLM and everything built on them load without this project."""

from typing import Any

import torch
from transformers import (
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from tvad.common.errors import InputError
from tvad.model.configuration import TvadFields, TvadQwen3Config


def plain(model, processor, where: str):
    """Model and processor of the backbone's own classes; the model shares the given one's weights. Raises
    InputError, with `where`, for a model that has AHD, RAE or a classifier: the backbone's
    classes have no place for them."""
    names = {"ahd": "AHD", "rae": "RAE", "classifier": "a classifier"}
    parts = [names[name] for name in names if getattr(model.model, name) is not None]
    if parts:
        raise InputError(
            f"{where}: has {' and '.join(parts)}, which a plain Qwen-VL checkpoint has not; train it without"
            " (tvad start --without-ahd --without-rae, or use_ahd, use_rae and use_classifier of a"
            " curriculum)"
        )
    third = isinstance(model.config, TvadQwen3Config)
    family: Any = Qwen3VLForConditionalGeneration if third else Qwen2_5_VLForConditionalGeneration
    ours = {"model_type", "architectures", "transformers_version", *TvadFields.__annotations__}
    values = {key: value for key, value in model.config.to_dict().items() if key not in ours}
    with torch.device("meta"):  # the class without memory for weights: all of them are put in below
        bare = family(family.config_class(**values))
    bare.model.visual, bare.model.language_model, bare.lm_head = (
        model.model.visual,
        model.model.language_model,
        model.lm_head,
    )
    bare.config.dtype = model.dtype
    bare.config.answers_as = (
        "tvad"  # the benchmark reads it so, not as its family's (`bench.models.families`)
    )
    bare.generation_config = model.generation_config
    kind = Qwen3VLProcessor if third else Qwen2_5_VLProcessor
    return bare, kind(
        processor.image_processor,
        processor.tokenizer,
        processor.video_processor,
        chat_template=processor.chat_template,
    )
