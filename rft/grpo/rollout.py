"""What a trainer keeps of a rollout: TRL's rows are completions, the model's are clips, and these say which
belongs to which."""

from dataclasses import dataclass
from typing import Any

import torch

from tvad.common.errors import InputError
from tvad.control import chat
from tvad.data.video import Frames
from tvad.model.processing import TvadProcessor

ENDS = 60  # characters of a prompt's end that the rewards see


@dataclass(frozen=True)
class Rollout:
    """The clips of a rollout, one a group, whatever TRL does with the rows: `group_index` (B,) says which
    clip a completion is about, and travels with it through TRL's shuffling and splitting.

    vision: the clips' pixels, grids (G, 3) and seconds a step (G,), one after the other; videos: their files;
    keys: hash of every clip, where features are kept, else none.
    """

    vision: dict[str, torch.Tensor]
    videos: list[str]
    keys: list[str]
    group_index: torch.Tensor

    def __len__(self) -> int:
        return len(self.vision["video_grid_thw"])

    def clips(self, which: list[int]) -> dict[str, torch.Tensor]:
        """The vision inputs of some clips, in the given order."""
        sizes = self.vision["video_grid_thw"].prod(-1).tolist()  # t h w patches a clip
        pixels = self.vision["pixel_values_videos"].split(sizes)
        return {
            "pixel_values_videos": torch.cat([pixels[i] for i in which]),
            "video_grid_thw": self.vision["video_grid_thw"][which],
            "second_per_grid_ts": self.vision["second_per_grid_ts"][which],
        }

    def joined(self, later: "Rollout") -> "Rollout":
        """Both, the clips of `later` behind these: its group indices grow by len(self)."""
        return Rollout(
            {name: torch.cat([value, later.vision[name]]) for name, value in self.vision.items()},
            self.videos + later.videos,
            self.keys + later.keys,
            torch.cat([self.group_index, later.group_index + len(self)]),
        )


@dataclass(frozen=True)
class MicroBatch:
    """What a loss is about, as TRL's loss gets it: `inputs`, to which the pass may add what it finds."""

    inputs: dict[str, Any]

    @property
    def group_index(self) -> torch.Tensor:
        """(b,)"""
        return self.inputs["group_index"]

    @property
    def sampled(self) -> torch.Tensor | None:
        """The engine's log-probs (b, C), where there are some."""
        return self.inputs.get("sampling_per_token_logps")

    @property
    def mask(self) -> torch.Tensor:
        """(b, C) of the completions' tokens."""
        return self.inputs["completion_mask"]


def group_starts(prompts: list, size: int) -> list[int]:
    """Where groups begin among prompts repeated per completion. TRL repeats every prompt `size` times in a
    row; the same prompt drawn twice makes two groups."""
    starts: list[int] = []
    for i, prompt in enumerate(prompts):
        if not starts or prompt != prompts[starts[-1]] or i - starts[-1] == size:
            starts.append(i)
    return starts


def video_of(prompt: list[dict]) -> str:
    """The video file of chat messages."""
    for message in prompt:
        for part in message["content"] if isinstance(message["content"], list) else []:
            if part.get("type") == "video":
                return part["video"]
    raise InputError("a prompt has no video part")


def prompt_ids_of(
    processor: TvadProcessor, prompts: list, clips: list[Frames], grids: torch.Tensor
) -> tuple[list[list[int]], list[str]]:
    """Prompts as the model reads them, video tokens expanded, and how their texts end (a template may open
    the reasoning). grids: (G, 3) of the clips."""
    texts = [
        processor.expand(chat(processor, prompt), grid, clip)
        for prompt, grid, clip in zip(prompts, grids, clips, strict=True)
    ]
    return [processor.tokenizer(text)["input_ids"] for text in texts], [text[-ENDS:] for text in texts]
