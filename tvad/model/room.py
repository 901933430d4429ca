"""How many tokens a prompt takes, from the size of its clip and its text: nothing is decoded, no pixels are
made.

What an engine must have room for follows from it, and a row that is too long is named before anything is
loaded."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from transformers.video_utils import VideoMetadata

from tvad.common.errors import InputError
from tvad.control import chat
from tvad.data.sample import Sample, Video
from tvad.data.video import Clock, Reader
from tvad.model.budget import clip_grid
from tvad.model.processing import TvadProcessing


@dataclass(frozen=True)
class Shown:
    """A clip as a model is shown it: frames, their size in pixels, seconds from the first to the last."""

    frames: int
    height: int
    width: int
    seconds: float


@dataclass(frozen=True)
class Longest:
    """The prompt that takes the most `tokens`, by name, and its clip."""

    name: str
    tokens: int
    clip: Shown

    def __str__(self) -> str:
        clip = self.clip
        return (
            f"{self.name} takes {self.tokens} tokens ({clip.frames} frames of {clip.width} x {clip.height})"
        )


def shown(sample: Sample, rate: float, most: int) -> Shown:
    """The clip of a sample at `rate` frames a second, at most so many; by what the data says of the video,
    where it says it, else by its packets and first frame. Raises InputError for a file that is no video."""
    video = sample.video
    if video.height and video.width and (clock := _stated(video)) is not None:
        height, width = video.height, video.width
    else:
        clock, height, width = _looked_at(sample.clip())
    moments = clock.taken(rate, most)[1]
    return Shown(len(moments), height, width, float(moments[-1]))


def _stated(video: Video) -> Clock | None:
    if video.times is not None:
        times = np.array(video.times)
        return Clock(times, video.seconds or float(times[-1]) + 1.0)
    return Clock.constant(video.frames, video.fps) if video.frames and video.fps else None


@lru_cache(maxsize=65536)
def _looked_at(source: str) -> tuple[Clock, int, int]:
    with Reader(source) as reader:
        clock = reader.clock
        next(reader.frames())
        assert reader.size is not None
        return clock, *reader.size


def is_known(processor: Any) -> bool:
    """Whether a processor writes a clip's placeholders out as Qwen-VL's do."""
    looks = getattr(processor, "video_processor", None)
    return hasattr(processor, "replace_video_token") and hasattr(looks, "cap_pixels_per_frame")


def prompt_tokens(processor: Any, messages: list[dict], clip: Shown) -> int:
    """Tokens of chat messages about one clip, its placeholders written out. Raises InputError for a processor
    that does not write them out as Qwen-VL's do."""
    if not is_known(processor):
        raise InputError(f"{type(processor).__name__}: how many tokens a clip takes is not known of it")
    looks = processor.video_processor
    t, h, w = clip_grid(looks, clip.frames, clip.height, clip.width)
    merge, frames = looks.merge_size, max(2, clip.frames)
    rate = (clip.frames - 1) / clip.seconds if clip.seconds > 0 else 1.0
    metadata = VideoMetadata(frames, rate, duration=frames / rate, frames_indices=list(range(frames)))
    # With one token a step in place of all: the text is short, and each of them counts as one.
    inputs = {"video_grid_thw": torch.tensor([[t, merge, merge]]), "video_metadata": [metadata]}
    text = chat(processor, messages)
    if isinstance(processor, TvadProcessing):
        text = processor.opened(text)
    text = text.replace(processor.video_token, processor.replace_video_token(inputs, 0), 1)
    return len(processor.tokenizer(text)["input_ids"]) + t * (h * w // merge**2 - 1)


def longest(processor: Any, asked: Iterable[tuple[str, list[dict], Shown, int]]) -> Longest | None:
    """Of prompts (name, messages, clip, tokens of replies that come to stand in it) the longest; None of
    none."""
    found: Longest | None = None
    for name, messages, clip, replies in asked:
        tokens = prompt_tokens(processor, messages, clip) + replies
        if found is None or tokens > found.tokens:
            found = Longest(name, tokens, clip)
    return found


def context_of(config: Any) -> int:
    """Tokens that a model of this configuration has positions for; without bound where it states none."""
    return int(getattr(config.get_text_config(), "max_position_embeddings", sys.maxsize))
