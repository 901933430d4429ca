"""How long a suite's prompts are, from the sizes of its clips and its texts: an engine gets the room that
they need, whatever its default."""

from functools import partial

from transformers import AutoConfig, AutoProcessor

import tvad.model  # noqa: F401  registers T-VAD with the Auto classes
from bench.asking import history_of
from bench.models.by_family import read_as
from bench.models.clips import Given, given_to, made
from bench.models.families import known
from bench.models.opening import check_code
from bench.suite import Item, Suite
from tvad.common.errors import InputError
from tvad.common.hub import folder
from tvad.control import chat
from tvad.data.video import Budget
from tvad.model.budget import keep, seen_size
from tvad.model.room import Longest, context_of, is_known, longest, shown
from tvad.prompts import asked

ODDS = 16  # tokens that the options of `odds` take, at most


def longest_of(suite: Suite, items: list[Item], processor) -> Longest | None:
    """The longest prompt of a suite as a processor, which stays as it is, writes it and makes clips, by its
    item; the model's earlier replies in a dialogue are reckoned at their limit. None where it asks nothing.
    Raises InputError for a processor that it is not known of."""
    clips = {item.sample.id: item.sample for item in items}
    seen = {name: shown(sample, suite.rate, suite.max_frames) for name, sample in clips.items()}
    return longest(
        processor,
        (
            (
                item.id,
                asked(
                    item.question, suite.prompt, "clip", history_of(item, lambda name: ""), item.reading.unit
                ),
                seen[item.sample.id],
                len(item.earlier) * suite.decode.max_tokens,
            )
            for item in items
        ),
    )


def measured(suite: Suite, items: list[Item], processor, given: Given) -> Longest | None:
    """The same for a processor of which it is not known how many tokens a clip takes: it is asked, once for
    each size of clips, with a made one."""
    best: Longest | None = None
    added: dict[tuple[int, int, int], int] = {}  # what a clip adds to its prompt's text
    for item in items:
        size = shown(item.sample, suite.rate, suite.max_frames)
        clip = made(size.frames, (size.height, size.width), 0)
        turns = asked(
            item.question, suite.prompt, "clip", history_of(item, lambda name: ""), item.reading.unit
        )
        text = chat(processor, given.messages(turns, clip))
        words, key = len(processor.tokenizer(text)["input_ids"]), (size.frames, size.height, size.width)
        if key not in added:
            added[key] = given.encoded(processor, [text], [clip])["input_ids"].shape[1] - words
        tokens = words + added[key] + len(item.earlier) * suite.decode.max_tokens
        if best is None or tokens > best.tokens:
            best = Longest(item.id, tokens, size)
    return best


def room_for(model: str, suite: Suite, items: list[Item]) -> dict[str, int]:
    """{"max_model_len": tokens of the suite's longest prompt and its answer} for a KIND:PATH; {} for a model
    of which it is not known. Raises InputError where it has no positions for so many, and for code of another
    repository."""
    path, trusted = folder(model.partition(":")[2]), suite.model.trust_remote_code
    check_code(model.partition(":")[0], path)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=trusted)
        processor = AutoProcessor.from_pretrained(path, trust_remote_code=trusted)
    except (Exception, SystemExit):
        return {}  # the engine says what is wrong with it
    keep(processor, Budget.of(suite))
    items = read_as(items, suite, known(suite.model.family, config), partial(seen_size, processor))
    if is_known(processor):
        found = longest_of(suite, items, processor)
    else:
        from bench.models.vllm import forms_of

        try:
            given = given_to(processor, model, forms_of(path, trusted))
        except InputError:
            raise
        except (
            Exception,
            SystemExit,
        ):  # whatever vLLM's classes raise for a checkpoint: the engine says it, too
            return {}
        found = measured(suite, items, processor, given)
    if found is None:
        return {}
    wanted = found.tokens + max(suite.decode.max_tokens, ODDS)
    if wanted > (context := context_of(config)):
        raise InputError(
            f"{found} and up to {suite.decode.max_tokens} more (decode.max_tokens), {model} has {context}"
            " positions; give max_frames, max_pixels or total_pixels less"
        )
    return {"max_model_len": wanted, "max_frames": suite.max_frames}
