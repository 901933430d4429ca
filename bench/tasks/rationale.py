"""The rationale inside <think>: overlap with the reference, and whether it agrees with what is there and with
the answer.

bleu4, rouge_l against the reference rationale; names_object: share of the key objects that are there which it
names; consistent: the rationale names no other option than the one that is chosen (only where it names any).
What the reference rationale itself earns is each metric's ceiling.
"""

import re

from bench.metrics.objects import share_named
from bench.metrics.text import bleu4, rouge_l
from tvad.answer import Answer, letter
from tvad.data.questions import LETTERS
from tvad.data.sample import Question, Sample

PRIMARY, LOWER, BINARY = "bleu4", ("parse_failure",), ()


def names(text: str, what: str) -> bool:
    """Does `text` name `what` as whole words, plural aside?"""
    return re.search(rf"(?<!\w){re.escape(what.lower())}s?(?!\w)", text.lower()) is not None


def consistent(think: str, answer: Answer, question: Question) -> float | None:
    """1 where the options that the rationale names include the chosen one, 0 where they are others, None
    where it names none."""
    named = {LETTERS[n] for n, option in enumerate(question.options or ()) if names(think, option)}
    return None if not named else float(letter(answer.answer, question.options or ()) in named)


def score(answer: Answer, question: Question, sample: Sample) -> dict[str, float | None]:
    think, reference = (answer.think or "").strip(), question.rationale or ""
    return {
        "bleu4": bleu4(think, [reference]),
        "rouge_l": rouge_l(think, reference),
        "names_object": None if sample.key_object is None else share_named(think, sample.key_object),
        "consistent": consistent(think, answer, question),
        "parse_failure": float(not think),
    }


def ceiling(question: Question, sample: Sample) -> dict[str, float | None]:
    """What the reference earns: a short one is no BLEU-4 of 1, some name no key object or other options."""
    return score(Answer(question.rationale, question.answer), question, sample)
