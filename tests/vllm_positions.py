"""Positions by vLLM's own code, without weights: of its processor and its model's class."""

from typing import Any

import torch

from tvad.data.video import Frames


def placed(processor: Any, model: Any, prompt: list[int], clip: Frames) -> tuple[list[int], torch.Tensor]:
    """Ids (n,) of a prompt with its clip's tokens, and their positions (3, n)."""
    from vllm.multimodal.inputs import MultiModalFeatureSpec
    from vllm.multimodal.processing import TimingContext
    from vllm.multimodal.processing.inputs import ProcessorInputs

    video = (clip.pictures(), clip.metadata | {"do_sample_frames": False})
    items = processor.info.parse_mm_data({"video": [video]})
    found = processor.apply(ProcessorInputs(prompt=prompt, mm_data_items=items), TimingContext())
    feature = MultiModalFeatureSpec(
        data=found["mm_kwargs"]["video"][0],
        modality="video",
        identifier="",
        mm_position=found["mm_placeholders"]["video"][0],
    )
    ids = found["prompt_token_ids"]
    return ids, model.get_mrope_input_positions(ids, [feature])[0]
