"""The rollout engine of a run: vLLM in this process, rollout servers, or transformers' generate."""

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from tvad.common.errors import InputError

if TYPE_CHECKING:
    from rft.grpo.config import GrpoRun


def open_engine(
    kind: str, path: str, model, processor, sequences: int, length: int, seed: int, **options: Any
):
    """kind: auto, vllm, transformers (over the trainer's own `model`) or server:URL,URL. sequences:
    completions drawn at a time; length: tokens of a prompt and its completion. Raises InputError for an
    unknown kind."""
    if kind.startswith("server:"):
        from rft.grpo.server import RolloutClient

        return RolloutClient(kind.partition(":")[2])
    if kind not in ("auto", "vllm", "transformers"):
        raise InputError(f"engine: {kind!r} is none of auto, vllm, transformers, server:URL")
    if kind == "auto" and importlib.util.find_spec("vllm") is None:
        print(
            "WARNING: vLLM is not installed: rollouts use transformers' generate, which is several times"
            " slower",
            file=sys.stderr,
        )
        kind = "transformers"
    if kind == "transformers":
        from bench.models.hf import HfModel

        return HfModel(model, processor, **options)
    from bench.models.vllm import VllmModel

    return VllmModel(path, **{"max_model_len": length, "max_num_seqs": sequences, "seed": seed, **options})


def engine_of(run: "GrpoRun", model, processor, sequences: int, completion_tokens: int):
    """The engine that a run names, with room for its prompts and completions of so many tokens."""
    length = run.prompt_tokens + completion_tokens
    return open_engine(
        run.engine, run.model, model, processor, sequences, length, run.seed, **run.engine_options
    )
