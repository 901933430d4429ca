"""Clips of noise and a question about each, as the trainer puts them to a policy."""

import numpy as np
import torch

from tvad.data import video
from tvad.prompts import messages


def asked(processor, *frames: int) -> tuple[list[video.Frames], list[torch.Tensor], dict[str, torch.Tensor]]:
    """(clips, prompt of every one, inputs of the tower for all); frames: of each clip, two a second."""
    images = np.random.default_rng(0).integers(0, 255, (max(frames), 48, 64, 3), dtype=np.uint8)
    clips = [video.Frames(images[:n], np.arange(n) / 2, np.arange(n), 2.0, n) for n in frames]
    vision = processor.vision_inputs(clips)
    text = processor.apply_chat_template(messages("What?"), tokenize=False)
    prompts = [
        torch.tensor(processor.tokenizer(processor.expand(text, grid, clip))["input_ids"])
        for grid, clip in zip(vision["video_grid_thw"], clips, strict=True)
    ]
    return clips, prompts, vision
