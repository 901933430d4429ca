"""Processors of T-VAD: the backbone's, with the anomaly prompts' placeholders beside every clip's video
tokens.

video_first     <|vision_start|> video <|vision_end|> start prompts end
anomaly_first   <|vision_start|> start prompts end video <|vision_end|>
"""

import torch
from transformers import ProcessorMixin, Qwen2_5_VLProcessor, Qwen3VLProcessor
from transformers.video_utils import VideoMetadata

from tvad.common.errors import InputError
from tvad.data.video import Frames
from tvad.model.configuration import anomaly_tokens
from tvad.model.positions import step_seconds

VISION_END = "<|vision_end|>"

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{%"
    " else %}{% for part in m['content'] %}{% if part['type'] == 'video'"
    " %}<|vision_start|><|video_pad|><|vision_end|>{% elif part['type'] == 'text' %}{{ part['text'] }}{%"
    " endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt"
    " %}<|im_start|>assistant\n{% endif %}"
)


class TvadProcessing(ProcessorMixin):
    """What T-VAD adds to a backbone's processor.

    `anomaly_prompts_per_step`: soft tokens of one temporal difference, as in the model's configuration (20; 0
    without RAE). `prompt_order` as there; processors that were stored before it have anomaly_first.
    `clip_rate`, `clip_frames`: frames a second and most frames of the clips that the model was trained on,
    None where that is not known; how large they are, the video processor says.
    """

    video_token: str

    def __init__(
        self,
        image_processor=None,
        tokenizer=None,
        video_processor=None,
        chat_template=None,
        anomaly_prompts_per_step=20,
        clip_rate=None,
        clip_frames=None,
        prompt_order="anomaly_first",
        **kwargs,
    ):
        self.clip_rate, self.clip_frames = clip_rate, clip_frames
        self.anomaly_prompts_per_step = anomaly_prompts_per_step
        self.prompt_order = prompt_order
        # Not set, it means False in this transformers and True from 5.22 on: clips would change their size.
        if getattr(video_processor, "cap_pixels_per_frame", False) is None:
            video_processor.cap_pixels_per_frame = False
        super().__init__(image_processor, tokenizer, video_processor, chat_template=chat_template, **kwargs)

    def replace_video_token(self, video_inputs: dict, video_idx: int, **kwargs) -> str:
        video = super().replace_video_token(video_inputs, video_idx, **kwargs)
        if not self.anomaly_prompts_per_step:
            return video
        # As many as RAE gives: one set for each of the t - 1 differences between the clip's t steps.
        steps = int(video_inputs["video_grid_thw"][video_idx][0])
        start, pad, end = anomaly_tokens(self.tokenizer)
        prompts = start + pad * ((steps - 1) * self.anomaly_prompts_per_step) + end
        return video + VISION_END + prompts if self._closes else prompts + video

    @property
    def _closes(self) -> bool:
        """Whether the prompts stand behind the end of the video, so that what replaces the one video token
        replaces the end behind it as well."""
        return bool(self.anomaly_prompts_per_step) and self.prompt_order == "video_first"

    def opened(self, text: str) -> str:
        """A templated text without the ends of videos that the replacement brings. Raises ValueError where a
        video has none."""
        if not self._closes:
            return text
        if text.count(self.video_token) != text.count(self.video_token + VISION_END):
            raise ValueError(f"the chat template must write {VISION_END} behind {self.video_token}")
        return text.replace(self.video_token + VISION_END, self.video_token)

    def get_text_with_replacements(
        self, text, images_replacements=(), videos_replacements=(), audio_replacements=()
    ):
        if videos_replacements:
            text = [self.opened(one) for one in text]
        return super().get_text_with_replacements(
            text, list(images_replacements), list(videos_replacements), list(audio_replacements)
        )

    def encode(self, texts: list[str], clips: list[Frames], **kwargs):
        """Templated texts with one clip each -> model inputs."""
        metadata = [VideoMetadata(**clip.metadata) for clip in clips]
        return self(
            text=texts,
            videos=_tensors(clips),
            video_metadata=metadata,
            do_sample_frames=False,
            return_tensors="pt",
            **kwargs,
        )

    def vision_inputs(self, clips: list[Frames], raw: bool = False) -> dict[str, torch.Tensor]:
        """Clips -> pixel_values_videos, video_grid_thw, second_per_grid_ts. Clips may differ in length and
        size.

        raw: pixels stay 0..255, for an engine that normalises inside the model."""
        steps = {"do_rescale": False, "do_normalize": False} if raw else {}
        out = self.video_processor(
            videos=_tensors(clips), do_sample_frames=False, return_tensors="pt", **steps
        )
        frames = self.video_processor.temporal_patch_size
        seconds = step_seconds(frames, (clip.sampled_fps for clip in clips))
        return {
            "pixel_values_videos": out["pixel_values_videos"],
            "video_grid_thw": out["video_grid_thw"],
            "second_per_grid_ts": seconds,
        }

    def expand(self, text: str, grid: torch.Tensor, clip: Frames) -> str:
        """Write out the placeholders of the one clip in a templated `text`; grid (3,) in patches."""
        inputs = {"video_grid_thw": grid[None], "video_metadata": [VideoMetadata(**clip.metadata)]}
        placeholders = self.replace_video_token(inputs, 0)
        head, marker, tail = self.opened(text).partition(self.video_token)
        if not marker or self.video_token in tail:
            raise ValueError(f"the text must hold exactly one {self.video_token}")
        return head + placeholders + tail


def check_order(path: str, model, processor) -> None:
    """Raise InputError where a T-VAD folder's processor writes another order of prompt than its model was
    trained on: vLLM follows the model's, transformers the processor's."""
    order = getattr(model.config, "prompt_order", None)
    if isinstance(processor, TvadProcessing) and processor.prompt_order != order:
        raise InputError(
            f"{path}: prompt_order is {processor.prompt_order} in processor_config.json and {order} in"
            " config.json"
        )


class TvadProcessor(TvadProcessing, Qwen2_5_VLProcessor):
    """On Qwen2.5-VL: one run of video tokens."""


class TvadQwen3Processor(TvadProcessing, Qwen3VLProcessor):
    """On Qwen3-VL: a timestamp before every step's video tokens."""


def _tensors(clips: list[Frames]) -> list[torch.Tensor]:
    return [torch.from_numpy(clip.pictures()).permute(0, 3, 1, 2) for clip in clips]
