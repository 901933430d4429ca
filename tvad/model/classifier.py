"""VANGUARD's classifier (arXiv 2605.02912): whether a sub-clip is anomalous, from what the language model
makes of it. The paper says "classifier warm-up on frozen backbone features" and no more; what is pooled, and
the head, are ours."""

import torch
from torch import nn

from tvad.control import chat
from tvad.data.video import Frames
from tvad.model.processing import VISION_END
from tvad.prompts import messages


class AnomalyClassifier(nn.Module):
    """A head of one hidden layer over pooled features. width: of the language model; hidden: of the layer."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.norm = nn.LayerNorm(2 * width)
        self.hidden, self.out = nn.Linear(2 * width, hidden), nn.Linear(hidden, 1)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """`pooled_features` (B, 2 D) -> logits (B,) of "anomalous"."""
        hidden = torch.nn.functional.gelu(self.hidden(self.norm(pooled.to(self.norm.weight.dtype))))
        return self.out(hidden)[:, 0]


def pooled_features(states: torch.Tensor, shows: torch.Tensor) -> torch.Tensor:
    """Hidden states (B, L, D) and which tokens stand for the clip (B, L): pixels and anomaly prompts, one of
    a row at least -> (B, 2 D) float32: their mean, and the last of them, which has looked at all others."""
    states = states.float()
    mean = (states * shows[..., None]).sum(1) / shows.sum(1, keepdim=True)
    places = torch.arange(shows.shape[1], device=shows.device)
    last = (shows * places).argmax(1)
    return torch.cat([mean, states[torch.arange(len(states), device=states.device), last]], 1)


def clip_text(processor) -> str:
    """The prompt up to the end of its clip, unexpanded: what the classifier looks back on, and what all
    questions about a clip share."""
    text = chat(processor, messages(""), answers=False)
    return text[: text.index(VISION_END) + len(VISION_END)]


@torch.no_grad()
def pooled_of(model, processor, clips: list[Frames]) -> torch.Tensor:
    """What the classifier of `model` reads of clips of one shape: (clips, 2 D) float32."""
    inputs = processor.encode([clip_text(processor)] * len(clips), clips)
    kept = ("input_ids", "attention_mask", "pixel_values_videos", "video_grid_thw", "second_per_grid_ts")
    given = {key: inputs[key] for key in kept if key in inputs}
    moved = {key: value.to(model.device) if hasattr(value, "to") else value for key, value in given.items()}
    return model(**moved, logits_to_keep=1, use_cache=False).pooled


@torch.no_grad()
def probabilities(model, processor, clips: list[Frames]) -> list[float]:
    """How probable the classifier finds it that each of some clips of one shape is anomalous."""
    return model.classified(pooled_of(model, processor, clips)).float().sigmoid().tolist()
