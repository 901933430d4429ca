"""What a reinforcement run's prompts take, known before its model is loaded: an engine gets that much room,
and a row that is too long is refused by name."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoProcessor

import tvad.model  # noqa: F401  registers T-VAD with the Auto classes
from bench.models.lengths import longest_of
from bench.suite import Item, Suite
from rft.grpo.config import GrpoRun
from tvad.common.errors import InputError
from tvad.data.sample import Sample
from tvad.data.shards import ids_of
from tvad.model.budget import keep_clips
from tvad.model.room import Longest, context_of, longest, shown


def processor_of(run: GrpoRun) -> Any:
    """The start's processor with the run's bounds of a clip, which its checkpoints keep."""
    processor = AutoProcessor.from_pretrained(run.model)
    keep_clips(processor, run)
    return processor


def room_for(
    run: GrpoRun,
    processor: Any,
    rows: list[dict[str, Any]],
    samples: Sequence[Sample],
    completion_tokens: int,
    suite: tuple[Suite, list[Item]] | None = None,
) -> int:
    """Tokens of the longest prompt, the items of a `suite` that the run is evaluated on among them. Raises
    InputError for one that takes more than `prompt_tokens`, or that with its completion takes more than the
    model has positions for."""
    names = {row["sample_id"] for row in rows}
    places = [n for n, name in enumerate(ids_of(samples)) if name in names]
    clips = {
        sample.id: shown(sample, run.rate, run.max_frames) for sample in map(samples.__getitem__, places)
    }
    prompts = {
        json.dumps(row["prompt"], allow_nan=False): (
            f"{row['sample_id']} ({row['task']})",
            row["prompt"],
            clips[row["sample_id"]],
            0,
        )
        for row in rows
    }
    found = longest(processor, prompts.values())
    assert found is not None
    if run.prompt_tokens is not None and found.tokens > run.prompt_tokens:
        raise InputError(f"prompt_tokens: {found}, the limit is {run.prompt_tokens}; {FEWER}")
    context = context_of(AutoConfig.from_pretrained(run.model))
    _check_context(found, completion_tokens, context, "training.max_completion_length", run.model)
    room = run.prompt_tokens or found.tokens
    if suite is not None:
        asked = longest_of(*suite, processor)
        if asked is not None:
            tokens = suite[0].decode.max_tokens
            _check_context(asked, tokens, context, f"decode.max_tokens of {suite[0].name}", run.model)
            # Of what an engine has, a completion's room is the run's.
            room = max(room, asked.tokens + tokens - completion_tokens)
    return room


FEWER = "give max_frames, max_pixels or total_pixels less, or leave the row out"


def _check_context(found: Longest, answer: int, context: int, key: str, model: str) -> None:
    if found.tokens + answer > context:
        raise InputError(
            f"{found} and up to {answer} more ({key}), {Path(model).name} has {context} positions; {FEWER}"
        )
