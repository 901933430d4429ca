"""What an endpoint's reply to a chat says: its answers, whether it is whole, what it cost."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx

from bench.models.base import Completion, Usage
from tvad.answer.reasoning import OWN

# `finish_reason`, in lower case, of an answer that is not whole; "stop", TGI's "eos_token", … are its end.
CUT: tuple[str, ...] = (
    "length",
    "max_tokens",
    "max_output_tokens",
    "model_length",
    "content_filter",
    "safety",
    "recitation",
)
CUT += ("tool_calls", "function_call")
# Errors that gateways name in words under status 200, as the status that means the same.
NAMED = {"overloaded_error": 529, "overloaded": 529, "rate_limit_error": 429, "rate_limit_exceeded": 429}
NAMED |= {"server_error": 500, "internal_server_error": 500, "api_error": 502, "timeout": 504}
# Beyond these a number in `usage` is none.
MOST_TOKENS, MOST_COST = 10**9, 1e9
MOST_WORD = 64  # characters of a `finish_reason`


def _words(content: Any) -> tuple[str, str]:
    """(reasoning, answer) of a message's content: text, nothing, or parts (Mistral's `thinking` among them).
    Raises TypeError for anything else, which must not become an answer."""
    if content is None or isinstance(content, str):
        return "", content or ""
    if not isinstance(content, list):
        raise TypeError(f"its content is of type {type(content).__name__}")
    thought, said = "", ""
    for part in content:
        kind = part.get("type")
        if kind in ("text", "output_text"):
            said += part["text"]
        elif kind == "refusal":
            said += part["refusal"]
        elif kind in ("thinking", "reasoning"):
            thought += "".join(_words(part.get(kind, part.get("text"))))
        else:
            raise TypeError(f"a part of its content is of type {kind!r}")
    return thought, said


def completion_of(choice: dict[str, Any]) -> Completion:
    """One choice of a reply. Reasoning that the endpoint has parted from the answer comes before it, in the
    protocol's marks: a rationale is scored alike whoever serves the model. Raises TypeError for what is no
    answer."""
    message, finish = choice["message"], choice.get("finish_reason")
    if "content" not in message and finish is None:
        raise KeyError("content")
    thought, said = _words(message.get("content"))
    parted = (message.get("reasoning_content"), message.get("reasoning"), thought)
    thought = next((text for text in parted if text and isinstance(text, str)), "")
    refusal = message.get("refusal")
    said = said or (refusal if isinstance(refusal, str) else "")
    if not said and not thought and finish is None:
        raise TypeError("neither words nor a finish_reason")
    if thought and not said.lstrip().startswith(OWN.open):
        # Without an answer the reasoning is as a local engine leaves it: open.
        said = f"{OWN.open}{thought}{OWN.close}{said}" if said else f"{OWN.open}{thought}"
    word = isinstance(finish, str) and finish.isprintable() and 0 < len(finish) <= MOST_WORD
    usage = Usage(finish=finish if word else None)
    ended = finish.lower() if isinstance(finish, str) else None
    return Completion(said, cut=ended if ended in CUT else None, usage=usage)


def _count(value: Any, least: int) -> int | None:
    known = isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST_TOKENS
    return value if known else None


def _cost(value: Any) -> float | None:
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MOST_COST
    return float(value) if known else None


def _listed(choice: dict[str, Any]) -> int | None:
    """How many tokens a choice lists: `token_ids` of vLLM's server, or one by one with their log-probs."""
    logprobs = choice.get("logprobs")
    for found in (choice.get("token_ids"), logprobs.get("content") if isinstance(logprobs, dict) else None):
        if isinstance(found, list):
            return len(found)
    return None


def _shares(total: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to the weights, which add up to `total` (largest remainders)."""
    parts = [divmod(total * weight, sum(weights)) for weight in weights]
    found = [whole for whole, _ in parts]
    behind = sorted(range(len(parts)), key=lambda n: -parts[n][1])
    for n in behind[: total - sum(found)]:
        found[n] += 1
    return found


def with_usage(
    completions: Sequence[Completion],
    data: dict[str, Any],
    seconds: float,
    prices: tuple[float, float] | None = None,
) -> list[Completion]:
    """The answers of a reply with what they cost. `usage` of the reply is of all its choices: tokens of the
    answers are told apart where the choices list them, else shared by length in characters; seconds and the
    cost that the reply states are shared equally. prices: of a million tokens in and out, where it states
    none; the prompt's is shared equally. What is no count or amount is not known, and 0 tokens of a prompt or
    of a text are none."""
    stated = data.get("usage")
    told = stated if isinstance(stated, dict) else {}
    n, texts = len(completions), [completion.text for completion in completions]
    tokens_in = _count(told.get("prompt_tokens"), 1)
    total = _count(told.get("completion_tokens"), 1 if any(texts) else 0)
    details = told.get("completion_tokens_details")
    thought = _count(details.get("reasoning_tokens") if isinstance(details, dict) else None, 0)
    if (
        tokens_in and total is not None and thought
    ):  # some count them beside the others (xAI), most among them
        total += thought if told.get("total_tokens") == tokens_in + total + thought else 0
    listed = [_listed(choice) for choice in data["choices"]]
    own: list[int | None] = [
        count if count or not text else None for count, text in zip(listed, texts, strict=True)
    ]
    shared = False
    if n == 1 and total is not None:
        own = [total]
    elif None in own or (total is not None and sum(filter(None, own)) != total):
        shared = total is not None
        own = [None] * n if total is None else [*_shares(total, [len(text) + 1 for text in texts])]
    cost = _cost(told.get("cost"))
    found = []
    for completion, tokens_out in zip(completions, own, strict=True):
        money = None if cost is None else cost / n
        if money is None and prices is not None and tokens_in is not None and tokens_out is not None:
            money = (tokens_in / n * prices[0] + tokens_out * prices[1]) / 1e6
        usage = replace(
            completion.usage,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            shared=shared,
            seconds=seconds / n,
            cost=money,
        )
        found.append(replace(completion, usage=usage))
    return found


def json_of(answer: httpx.Response) -> Any:
    """What a reply holds. Raises ValueError for what is no JSON, or is nested too deeply to be read."""
    try:
        return answer.json()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def failure(answer: httpx.Response) -> int:
    """Status of a reply, also of an error under status 200, as gateways send those of their providers."""
    if answer.status_code != 200:
        return answer.status_code
    try:
        data = json_of(answer)
        choices = data.get("choices") or ()
        inner = [choice.get("error") for choice in choices]
        broken = any(inner) or any(choice.get("finish_reason") == "error" for choice in choices)
        outer = data.get("error")
    except (ValueError, TypeError, AttributeError):
        return 200  # `_read` says what is wrong with it
    # One that nobody knows: of a single choice it may pass, of the whole reply it is a refusal.
    known = (_status(error, 400 if error is outer else 502) for error in (outer, *inner) if error)
    return next(known, 502 if broken else 200)


def _status(error: Any, unknown: int) -> int:
    """The status that an error means: its code or type, a number, digits or a name of NAMED."""
    told = error if isinstance(error, dict) else {"code": error}
    for said in (told.get("code"), told.get("status"), told.get("type")):
        number = int(said) if isinstance(said, str) and re.fullmatch(r"[45]\d\d", said) else said
        if isinstance(number, int) and not isinstance(number, bool) and 400 <= number < 600:
            return number
        if isinstance(said, str) and said.lower() in NAMED:
            return NAMED[said.lower()]
    return unknown


def is_json(answer: httpx.Response) -> bool:
    try:
        json_of(answer)
    except ValueError:
        return False
    return True


def excerpt(answer: httpx.Response) -> str:
    return " ".join(answer.text.split())[:200]
