"""What a model gets and gives: requests, completions, and the protocol of an engine.

Every engine has what `Engine` names. What only some can do is a protocol of its own, asked by
`isinstance(engine, Streams)` and so on, never by the engine's name; what a new backend must do beside it
stands in `bench.models.KINDS`. Two helpers that every engine over torch needs are here too: `seeded` and
`batches`.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from tvad.data.video import Frames

if TYPE_CHECKING:
    import torch


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


class Engine(Protocol):
    """A model that answers. `name`: its kind, as in `bench.models.KINDS`."""

    name: str

    def sample(self, requests: list[Request], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions of every request, in order. The same requests with the same seed give the
        same completions, where the engine has a seed."""
        ...

    def heatmaps(self, frames: list[Frames]) -> list[np.ndarray] | None:
        """Heatmap (T', h, w), 0..1, of every clip, a map per two frames; None for a model that has none."""
        ...


@runtime_checkable
class Streams(Protocol):
    """Gives answers as they come in, each of its own: what is there is kept and never asked again."""

    def stream(self, requests: list[Request], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        """(number of the request, its completions), in any order."""
        ...


@runtime_checkable
class GivesOdds(Protocol):
    """Knows how likely a given answer is."""

    def odds(self, requests: list[Request], opening: str, choices: list[list[str]]) -> list[list[float]]:
        """Log-probability, summed over its tokens, of every choice as what follows `opening` in the answer to
        its request."""
        ...


@runtime_checkable
class RendersPrompts(Protocol):
    """Renders its prompts in this process, so that one sees how they end."""

    def rendered(self, request: Request) -> str:
        """The prompt as text, by the model's chat template."""
        ...


@runtime_checkable
class HoldsModel(Protocol):
    """Answers with a transformers model of this process, which may be exchanged: set `model`."""

    model: Any
    processor: Any

    def sync(self, weights: Iterable[tuple[str, "torch.Tensor"]]) -> None: ...


@runtime_checkable
class Sleeps(Protocol):
    """Can give its memory back between rollouts."""

    def sleep(self) -> None: ...

    def wake(self) -> None: ...


@runtime_checkable
class KeepsPrompts(Protocol):
    """Keeps the token ids of the last `sample`'s prompts, video tokens expanded, so that a trainer can check
    that it reads them alike."""

    prompt_ids: list[list[int]]


@runtime_checkable
class Shared(Protocol):
    """Stands outside the training's processes, which all ask it: one of them sends the weights. Where
    `shared` is absent every process has an engine of its own."""

    shared: bool


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draw from torch's generator seeded for this block only; None leaves the generator as it is."""
    import torch

    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        yield


def batches(lengths: list[int], budget: int) -> list[list[int]]:
    """Indices in groups of similar length, whose padded size (the longest's length times their number) is at
    most `budget`; what is longer goes alone."""
    groups: list[list[int]] = []
    for i in sorted(
        range(len(lengths)), key=lambda i: lengths[i]
    ):  # ascending: i is the longest of its group
        if groups and lengths[i] * (len(groups[-1]) + 1) <= budget:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
