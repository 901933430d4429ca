"""The rollout engine of a run: one of the benchmark's (`bench.models`), or rollout servers."""

from typing import TYPE_CHECKING, Any

from bench import models
from bench.models.base import Engine
from tvad.common.errors import InputError

if TYPE_CHECKING:
    from rft.grpo.config import GrpoRun


def open_engine(
    kind: str, path: str, model, processor, sequences: int, length: int, seed: int, **options: Any
) -> Engine:
    """kind: as `bench.models.open_engine` takes it (hf samples from the trainer's own `model`), or
    server:URL,URL. sequences: completions drawn at a time; length: tokens of a prompt and its completion.
    Raises InputError for an unknown kind and for an option that it does not take."""
    if kind.startswith("server:"):
        from rft.grpo.server import RolloutClient

        if options:
            raise InputError(
                f"engine_options: {', '.join(options)}: rollout servers take theirs at their start"
            )
        return RolloutClient(kind.partition(":")[2])
    return models.open_engine(kind, path, model, processor, sequences, length, seed, **options)


def engine_of(run: "GrpoRun", model, processor, sequences: int, completion_tokens: int) -> Engine:
    """The engine that a run names, with room for its prompts and completions of so many tokens."""
    length = run.prompt_tokens + completion_tokens
    return open_engine(
        run.engine, run.model, model, processor, sequences, length, run.seed, **run.engine_options
    )
