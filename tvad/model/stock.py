"""Stock Qwen2.5-VL at its true times. transformers 5.17 makes its positions in time of whole seconds a step
(at 4 frames a second every frame is at 0; mended upstream later, huggingface/transformers pull 48669), vLLM
of seconds that it has rounded to the weights' type. Both get those of T-VAD (`positions`) here.
"""

from types import MethodType
from typing import Any

from torch import nn
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

from tvad.model.modeling import TvadModel


def keep_time(model: nn.Module) -> None:
    """Let a stock Qwen2.5-VL of transformers place step t of a clip at floor(second_per_grid *
    tokens_per_second * t), and what follows behind the last; leaves any other model as it is."""
    inner: Any = getattr(model, "model", None)
    if isinstance(inner, Qwen2_5_VLModel) and not isinstance(inner, TvadModel):
        for method in (TvadModel.blocks_of, TvadModel.get_rope_index):
            setattr(inner, method.__name__, MethodType(method, inner))


def keep_time_in_vllm() -> None:
    """The same for models that vLLM opens in this process from now on."""
    from vllm.model_executor.models.qwen2_5_vl import (
        Qwen2_5_VLDummyInputsBuilder,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessingInfo,
    )
    from vllm.multimodal import MULTIMODAL_REGISTRY

    from tvad.model.vllm_model import TimedProcessor

    register = MULTIMODAL_REGISTRY.register_processor(
        TimedProcessor, info=Qwen2_5_VLProcessingInfo, dummy_inputs=Qwen2_5_VLDummyInputsBuilder
    )
    register(Qwen2_5_VLForConditionalGeneration)
