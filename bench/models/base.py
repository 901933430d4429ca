"""What a model gets and gives. Engines share these three types and nothing else."""

from dataclasses import dataclass, field
from typing import Any

from tvad.data.video import Frames


@dataclass
class Request:
    """Chat messages with one video part, and the sampled clip that goes there. `item`: the benchmark's item,
    for baselines."""

    messages: list[dict]
    frames: Frames
    item: Any = None


@dataclass
class Sampling:
    """n completions a request; temperature 0 is greedy; at most max_tokens each; seed None leaves the
    generator as it is."""

    n: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 64
    seed: int | None = 0


@dataclass
class Completion:
    """Text, and where the engine has them, token ids (with the end token, unless cut) and their log-probs
    after temperature."""

    text: str
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
