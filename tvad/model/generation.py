"""What of a checkpoint's generation_config.json is used: the tokens that end an answer, and nothing else.

A published one carries the sampling of its chats (Qwen2.5-VL: repetition_penalty 1.05, temperature 1e-6).
Kept, it changes greedy answers, and completions are drawn from another distribution than their log-probs are
of. How an answer is drawn is said by whoever asks, to both engines alike.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import GenerationConfig

KEPT = ("bos_token_id", "eos_token_id", "pad_token_id")
# Says nothing of which answer is given.
SILENT = (
    "_from_model_config",
    "transformers_version",
    "use_cache",
    "output_attentions",
    "output_hidden_states",
)


def plain_config(given: GenerationConfig, tokenizer: Any) -> GenerationConfig:
    """Only the tokens of `given`, the tokenizer's own end among the ends, as vLLM has them."""
    kept = {name: value for name in KEPT if (value := getattr(given, name, None)) is not None}
    ends = kept.get("eos_token_id", [])
    ends = {*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id} - {None}
    if ends:
        kept["eos_token_id"] = sorted(ends) if len(ends) > 1 else next(iter(ends))
    return GenerationConfig(**kept)


def ends_of(given: GenerationConfig) -> set[int]:
    """The tokens that end an answer."""
    found = given.eos_token_id
    return set(found if isinstance(found, list) else [found]) - {None}


def left_out(given: GenerationConfig) -> str:
    """What of a generation config is not used, in words: "repetition_penalty 1.05, temperature 1e-06"; ""
    where there is nothing."""
    found = {k: v for k, v in given.to_diff_dict().items() if k not in (*KEPT, *SILENT) and v is not None}
    return ", ".join(f"{name} {value}" for name, value in sorted(found.items()))


@contextmanager
def plain_generation(model: Any, tokenizer: Any) -> Iterator[GenerationConfig]:
    """A model whose `generate` takes nothing from its checkpoint but the tokens that end an answer; as it was
    afterwards."""
    # An explicit configuration would not do: generate fills what it leaves open from the model's own.
    given = model.generation_config
    model.generation_config = plain_config(given, tokenizer)
    try:
        yield model.generation_config
    finally:
        model.generation_config = given
