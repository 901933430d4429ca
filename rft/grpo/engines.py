"""The rollout engine of a run: one of the benchmark's (`bench.models`), or rollout servers."""

from typing import TYPE_CHECKING, Any

from bench import models
from bench.models.base import Engine
from tvad.common.errors import InputError
from tvad.data.video import Budget

if TYPE_CHECKING:
    from rft.grpo.config import GrpoRun


def open_engine(
    kind: str,
    path: str,
    model,
    processor,
    sequences: int,
    length: int,
    seed: int,
    pixels: Budget = Budget(),  # noqa: B008  frozen
    **options: Any,
) -> Engine:
    """kind: as `bench.models.open_engine` takes it (hf samples from the trainer's own `model`), or
    server:URL,URL. sequences: completions drawn at a time; length: tokens of a prompt and its completion;
    pixels: bounds of a clip. options: of the engine's class; of servers `wait` and `timeout`. Raises
    InputError for an unknown kind, for an option that it does not take, and for servers that were started
    with less room or other bounds."""
    if kind.startswith("server:"):
        from rft.grpo.servers import RolloutServers

        if others := [name for name in options if name not in ("wait", "timeout")]:
            raise InputError(
                f"engine_options: {', '.join(others)}: rollout servers take theirs at their start"
            )
        servers = RolloutServers(kind.partition(":")[2], processor, **options)
        servers.check(length, pixels)
        return servers
    return models.open_engine(kind, path, model, processor, sequences, length, seed, pixels, **options)


def engine_of(run: "GrpoRun", model, processor, sequences: int, prompt: int, completion: int) -> Engine:
    """The engine that a run names, with room for prompts and completions of so many tokens, and with the
    run's bounds of a clip."""
    length, pixels = prompt + completion, Budget.of(run)
    return open_engine(
        run.engine, run.model, model, processor, sequences, length, run.seed, pixels, **run.engine_options
    )
