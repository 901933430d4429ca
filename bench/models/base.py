"""What a model gets and gives: requests, completions, and the protocol of an engine.

Every engine has what `Engine` names. What only some can do is a protocol of its own, asked by
`isinstance(engine, Streams)` and so on, never by the engine's name; what a new backend must do beside it
stands in `bench.models.KINDS`. Helpers that engines need are here too: `ended`, `seeds_of` and `batches`.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from tvad.common.errors import InputError
from tvad.data.video import Budget, Frames

if TYPE_CHECKING:
    import torch

    from bench.models.families import Known


@dataclass
class Request:
    """Chat messages with one video part, and the sampled clip that goes there. `item`: the benchmark's item,
    for baselines. `key`: what its answers are drawn by beside the seed; without, its place among the
    requests. `schema`: of the JSON that an answer is, for engines that can hold a model to one (openai,
    vllm)."""

    messages: list[dict]
    frames: Frames
    item: Any = None
    key: str | None = None
    schema: dict[str, Any] | None = None


@dataclass
class Sampling:
    """n completions a request; temperature 0 is greedy; at most max_tokens each."""

    n: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Usage:
    """What an answer cost; what is not known is None, never 0. tokens_in: of its prompt, the clip's among
    them; tokens_out: its own, with its end token; shared: these are its share of several answers' tokens, by
    length in characters; seconds: its equal share of the pass or request that brought it; finish: why it
    ended, in the engine's word; cost: its share, in the endpoint's money or that of the prices; cached: it
    was not asked for (`bench.cache`)."""

    tokens_in: int | None = None
    tokens_out: int | None = None
    shared: bool = False
    seconds: float | None = None
    finish: str | None = None
    cost: float | None = None
    cached: bool = False

    @property
    def known(self) -> dict[str, Any]:
        """What is known."""
        return {key: value for key, value in vars(self).items() if value is not None and value is not False}


@dataclass
class Completion:
    """Text, and where the engine has them, token ids (with the end token, unless cut) and their log-probs
    after temperature. cut: what ended it before its end (`length`, `content_filter`), where that is known.
    usage: no part of what was said, so that equal answers are equal."""

    text: str
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    cut: str | None = None
    usage: Usage = field(default=Usage(), compare=False)


class Down(InputError):
    """The model itself does not answer (nobody there, no entry), whatever the question is."""


class Busy(InputError):
    """It had no time for this request, however often it was tried (rate limits, overload): later it may."""


class Unseen(Exception):
    """Why the first token of an answer is not to be looked at, of a model that otherwise can."""


class Engine(Protocol):
    """A model that answers. `name`: its kind, as in `bench.models.KINDS`."""

    name: str

    def sample(self, requests: list[Request], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions of every request, in order. They depend on the request, its key and the
        seed (`seeds_of`), not on the requests beside it."""
        ...

    def heatmaps(self, frames: list[Frames]) -> list[np.ndarray] | None:
        """Heatmap (T', h, w), 0..1, of every clip, a map per two frames; None for a model that has none."""
        ...


@runtime_checkable
class SeesFrames(Protocol):
    """Makes heatmaps of all frames of a video, one after the other."""

    def frame_maps(self, images: Iterator[np.ndarray]) -> np.ndarray | None:
        """Maps (T, h, w), 0..1, of frames (H, W, 3) uint8; None where it makes them of clips alone."""
        ...


@runtime_checkable
class Streams(Protocol):
    """Gives answers as they come in, each of its own: what is there is kept and never asked again."""

    def stream(
        self, requests: list[Request], sampling: Sampling
    ) -> Iterator[tuple[int, list[Completion] | Exception]]:
        """(number of the request, its completions, or why it has none), in any order."""
        ...


@runtime_checkable
class GivesOdds(Protocol):
    """Knows how likely a given answer is."""

    def odds(self, requests: list[Request], opening: str, choices: list[list[str]]) -> list[list[float]]:
        """Log-probability, summed over its tokens, of every choice as what follows `opening` in the answer to
        its request."""
        ...


@runtime_checkable
class Peeks(Protocol):
    """Shows how likely the first tokens of an answer are."""

    def first_token(self, requests: list[Request]) -> list[dict[Any, float]] | None:
        """{token: log-prob} of the likeliest first tokens of the answer to each request; None where that is
        not to be had. Raises Unseen where only the answer shows that it is not."""
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
class Resizes(Protocol):
    """Makes a clip's frames as large as its model takes them. `pixels`: the bounds that it was opened with,
    beside the checkpoint's own."""

    pixels: Budget


@runtime_checkable
class HasFamily(Protocol):
    """Is of a family of models (`bench.models.families`)."""

    known: "Known"

    def picture(self, count: int, height: int, width: int) -> tuple[int, int] | None:
        """(width, height) at which the model sees `count` frames of so many pixels; None where it is not
        known."""
        ...


@runtime_checkable
class SendsClips(Protocol):
    """Sends its clips to another program. `video`: as one video ("file") or as pictures ("frames" with a time
    before each, "images" with all times behind them)."""

    video: str


@runtime_checkable
class Sleeps(Protocol):
    """Can give its memory back between rollouts."""

    def sleep(self) -> None: ...

    def wake(self) -> None: ...


@runtime_checkable
class SharesTower(Protocol):
    """May take from its caller what the vision tower makes of a clip, and give it away."""

    name: str

    def tower(self) -> "tuple[bool, torch.dtype] | None":
        """Whether the tower is given pixels 0..255, and the type in which it computes; None where there is
        none to share."""
        ...

    def keeping(self, keep: Callable[..., Any]) -> AbstractContextManager[None]:
        """Within it `keep(patches, grid, tower)` stands for the tower (`tvad.model.vllm_model`)."""
        ...


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


def ended(error: SystemExit) -> InputError:
    """A model's own code that would end the program, as an error like any other."""
    return InputError(f"the model's own code ends the program (SystemExit: {str(error)[:200]})")


def seeds_of(requests: list[Request], seed: int) -> list[int]:
    """A seed for every request, 31 bits, by its key: the same question draws the same answers whatever else
    is asked, in whichever order, by however many processes. Attempts count up from it."""
    keys = (str(n) if request.key is None else request.key for n, request in enumerate(requests))
    hashes = (hashlib.sha256(f"{seed} {key}".encode(errors="backslashreplace")) for key in keys)
    return [int.from_bytes(found.digest()[:4], "big") >> 1 for found in hashes]


def times_of(clip: Frames) -> str:
    """What is said behind a clip's frames, where they are shown as pictures."""
    times = ", ".join(f"{seconds:.2f}" for seconds in clip.moments)
    return f"These are {len(clip.images)} frames of one video, in order, at {times} s."


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
