"""Models by kind, `KIND:PATH`: the one table of engines, for the benchmark and for rollouts.

To add a backend: a file with an `Engine` (`bench.models.base`), its line in KINDS, and its name in
docs/benchmark.md. Engines over several machines (`server:URL`) belong to `rft`, which opens them itself.
"""

import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.models.base import Engine
from tvad.common.config import arguments
from tvad.common.errors import InputError
from tvad.common.hub import folder
from tvad.data.video import Budget


@dataclass(frozen=True)
class Kind:
    """`opens`: imports its engine, which opens a path. `takes`: what stands behind the colon. `checkpoint`:
    that is a checkpoint's folder, so the model is the content of its files (`bench.cache`) and can be
    trained."""

    opens: Callable[[], Callable[..., Engine]]
    takes: str
    checkpoint: bool


def _hf() -> Callable[..., Engine]:
    from bench.models.hf import HfModel

    return HfModel.open


def _vllm() -> Callable[..., Engine]:
    from bench.models.vllm import VllmModel

    return VllmModel


def _openai() -> Callable[..., Engine]:
    from bench.models.openai import OpenAiModel

    return OpenAiModel


def _baseline() -> Callable[..., Engine]:
    from bench.models.baseline import Baseline

    return Baseline


KINDS = {
    "hf": Kind(_hf, "PATH", True),
    "vllm": Kind(_vllm, "PATH", True),
    "openai": Kind(_openai, "NAME@URL", False),
    "baseline": Kind(_baseline, "NAME", False),
}
AUTO = "auto"  # rollouts only: a benchmark's record must say which engine answered
ALIASES = {"transformers": "hf"}  # an older word of configurations for rollouts
ROLLOUTS = (AUTO, *(name for name, entry in KINDS.items() if entry.checkpoint), *ALIASES)


def is_checkpoint(spec: str) -> bool:
    """Whether KIND:PATH names a checkpoint's folder, as against an address or a baseline."""
    kind = spec.partition(":")[0]
    return kind in KINDS and KINDS[kind].checkpoint


def load(spec: str, /, **options: Any) -> Engine:
    """Open a model given as KIND:PATH (a folder, a name at the hub; baseline:NAME, openai:NAME@URL).
    options: as `ModelOptions.given` has them. Raises InputError for an unknown kind, an unusable path, or an
    option that the kind does not take."""
    check(spec, options)
    kind, _, path = spec.partition(":")
    if KINDS[kind].checkpoint:
        path = folder(path)
    return _call(kind, KINDS[kind].opens(), (path,), options)


def defaults(spec: str) -> dict[str, Any]:
    """What a model is opened with where nothing else is said; empty for what is no KIND:PATH."""
    kind = spec.partition(":")[0]
    if kind not in KINDS:
        return {}
    known = inspect.signature(KINDS[kind].opens()).parameters.values()
    return {value.name: value.default for value in known if value.default is not value.empty}


def check(spec: str, options: dict[str, Any]) -> None:
    """Raise InputError for an unknown kind, and for an option that it does not take or whose value is of
    another type: before anything is loaded."""
    kind, _, path = spec.partition(":")
    if kind not in KINDS or not path:
        raise InputError(f"model {spec!r}: expected KIND:PATH with KIND one of {', '.join(KINDS)}")
    arguments(KINDS[kind].opens(), 1, options, kind)


def open_engine(
    kind: str,
    path: str,
    model: Any = None,
    processor: Any = None,
    sequences: int = 64,
    length: int = 1024,
    seed: int = 0,
    pixels: Budget = Budget(),  # noqa: B008  frozen
    **options: Any,
) -> Engine:
    """An engine whose weights a training replaces: of KINDS those with checkpoints, or auto (vllm where
    installed, else hf, which is said on stderr). hf samples from `model` itself where it is given; vllm opens
    `path`, answers `sequences` prompts of `length` tokens at a time and draws from `seed`. pixels: bounds of
    a clip, which a given `processor` keeps already. options: of the engine's class. Raises InputError for
    another kind and for an option that it does not take."""
    kind = ALIASES.get(kind, kind)
    trainable = [name for name, entry in KINDS.items() if entry.checkpoint]
    if kind not in (AUTO, *trainable):
        raise InputError(f"engine: {kind!r} is none of {', '.join((AUTO, *trainable))}")
    if kind == AUTO:
        kind = "vllm" if importlib.util.find_spec("vllm") is not None else "hf"
        if kind == "hf":
            print(
                "WARNING: vLLM is not installed: rollouts use transformers' generate, which is several times"
                " slower",
                file=sys.stderr,
            )
    if kind == "vllm":
        length_of = {"max_model_len": length, "max_num_seqs": sequences, "seed": seed}
        options = length_of | pixels.given | options
    if kind == "hf" and model is not None:
        from bench.models.hf import HfModel

        engine = _call(kind, HfModel, (model, processor), options)
        engine.pixels = pixels
        return engine
    return _call(kind, KINDS[kind].opens(), (path,), options)


def _call(kind: str, opener: Callable[..., Any], given: tuple, options: dict[str, Any]) -> Any:
    return opener(*given, **arguments(opener, len(given), options, kind))
