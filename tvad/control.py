"""Control tokens inside people's text: a question, an option, a reply or a request that holds `<|im_end|>` is
still text, and must not end a turn.

A tokenizer cuts its control tokens out of whatever it is given, so they are written apart before a chat
template sees them (`<|im_end|>` becomes `< |im_end|>`) and read as plain characters. Which they are, the
tokenizer at hand says. All prompts of this project are templated by `chat`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tvad.common.text import whole

# What control tokens of nearly all chat models look like, for where the tokenizer is somebody else's.
SHAPE = re.compile(r"<\|[^<>|\s]{1,64}\|>")
PLACEHOLDERS = ("image_token", "video_token", "audio_token")


def tokens_of(processor: Any) -> tuple[str, ...]:
    """The control tokens of a processor or tokenizer: its special tokens, those that are added in the shape
    <|…|>, and the placeholders that the processor expands. Other added tokens (the tags of an answer, runs of
    spaces) are text."""
    tokenizer = getattr(processor, "tokenizer", processor)
    added = [
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.special or SHAPE.fullmatch(token.content)
    ]
    named = [getattr(owner, name, None) for owner in (processor, tokenizer) for name in PLACEHOLDERS]
    found = [*added, *tokenizer.all_special_tokens, *named]
    # One of a single character cannot be written apart; a byte-level vocabulary has none.
    return tuple(sorted({t for t in found if isinstance(t, str) and len(t) > 1}))


def plain(text: str, tokens: Iterable[str]) -> str:
    """The text with every control token written apart and without half surrogates; any other text as it
    is."""
    text = whole(text)
    # Again until none is left: what is written apart may leave another that had overlapped.
    while found := [token for token in tokens if token in text]:
        for token in found:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def plain_shape(text: str) -> str:
    """As `plain`, for an endpoint, whose tokenizer is not at hand: what has the shape <|…|>."""
    return SHAPE.sub(lambda match: f"< {match[0][1:]}", whole(text))


def plain_messages(messages: Sequence[Mapping[str, Any]], tokens: Sequence[str]) -> list[dict[str, Any]]:
    """Chat messages with the text of every turn as `plain` gives it; parts that are no text stay."""

    def part_of(part: Any) -> Any:
        if isinstance(part, Mapping) and isinstance(part.get("text"), str):
            return {**part, "text": plain(part["text"], tokens)}
        return part

    found = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            content = plain(content, tokens)
        elif isinstance(content, (list, tuple)):
            content = [part_of(part) for part in content]
        found.append({**message, "content": content})
    return found


def chat(processor: Any, messages: Sequence[Mapping[str, Any]], answers: bool = True) -> str:
    """The prompt of chat messages by the processor's own template, people's text plain. answers: with the
    opening of the model's turn."""
    return processor.apply_chat_template(
        plain_messages(messages, tokens_of(processor)), tokenize=False, add_generation_prompt=answers
    )
