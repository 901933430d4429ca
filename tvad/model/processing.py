"""Processor of T-VAD: Qwen2.5-VL's, with the anomaly prompts' placeholders in front of every clip's video tokens."""

import numpy as np
import torch
from transformers import Qwen2_5_VLProcessor
from transformers.video_utils import VideoMetadata

from tvad.model.configuration import ANOMALY_TOKENS

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for part in m['content'] %}"
    "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class TvadProcessor(Qwen2_5_VLProcessor):
    """`anomaly_prompts_per_step` (20): soft tokens of one temporal difference, as in the model's configuration."""

    def __init__(self, image_processor=None, tokenizer=None, video_processor=None, chat_template=None, anomaly_prompts_per_step=20, **kwargs):
        self.anomaly_prompts_per_step = anomaly_prompts_per_step
        super().__init__(image_processor, tokenizer, video_processor, chat_template=chat_template, **kwargs)

    def replace_video_token(self, video_inputs: dict, video_idx: int, **kwargs) -> str:
        steps = int(video_inputs["video_grid_thw"][video_idx][0])
        start, pad, end = ANOMALY_TOKENS
        prompts = start + pad * ((steps - 1) * self.anomaly_prompts_per_step) + end
        return prompts + super().replace_video_token(video_inputs, video_idx, **kwargs)

    def encode(self, texts: list[str], clips: list[np.ndarray], fps: list[float], **kwargs):
        """Templated texts with one clip each -> model inputs. clips: (T, H, W, 3) uint8; fps: sampled frames a second."""
        videos = [torch.from_numpy(np.ascontiguousarray(clip)).permute(0, 3, 1, 2) for clip in clips]
        metadata = [metadata_of(len(clip), rate) for clip, rate in zip(clips, fps)]
        return self(text=texts, videos=videos, video_metadata=metadata, do_sample_frames=False, return_tensors="pt", **kwargs)

    def vision_inputs(self, clips: list[np.ndarray], fps: list[float], raw: bool = False) -> dict[str, torch.Tensor]:
        """Clips (T, H, W, 3) uint8 at `fps` frames a second -> pixel_values_videos, video_grid_thw, second_per_grid_ts.

        raw: pixels stay 0..255, for an engine that normalises inside the model."""
        videos = [torch.from_numpy(np.ascontiguousarray(clip)).permute(0, 3, 1, 2) for clip in clips]
        steps = {"do_rescale": False, "do_normalize": False} if raw else {}
        out = self.video_processor(videos=videos, do_sample_frames=False, return_tensors="pt", **steps)
        seconds = torch.tensor([self.video_processor.temporal_patch_size / rate for rate in fps])
        return {
            "pixel_values_videos": out["pixel_values_videos"],
            "video_grid_thw": out["video_grid_thw"],
            "second_per_grid_ts": seconds,
        }

    def expand(self, text: str, grid: torch.Tensor) -> str:
        """Write out the placeholders of the one clip in a templated `text`; grid (3,) in patches."""
        placeholders = self.replace_video_token({"video_grid_thw": grid[None]}, 0)
        head, marker, tail = text.partition(self.video_token)
        if not marker or self.video_token in tail:
            raise ValueError(f"the text must hold exactly one {self.video_token}")
        return head + placeholders + tail


def metadata_of(frames: int, fps: float) -> VideoMetadata:
    """Metadata of a clip that is already sampled: `frames` frames at `fps`."""
    return VideoMetadata(total_num_frames=frames, fps=fps, duration=frames / fps, frames_indices=list(range(frames)))
