"""The rationale inside <think>: overlap with the reference, and whether it agrees with what is there and with
the answer.

bleu4, rouge_l against the reference rationale; names_object: share of the key objects that are there which it
names; consistent: the rationale names no other option than the one that is chosen (only where it names any).
A reference may name no key object, or other options than its own: its score stands beside each metric.
"""

from bench.metrics.objects import share_named
from bench.metrics.text import best_bleu4, ngram_counts, rouge_l
from tvad.answer import Answer, Read, letter
from tvad.answer.letters import options_named
from tvad.data.sample import Question, Sample

PRIMARY, LOWER, BINARY = "bleu4", ("parse_failure",), ()


def consistent(think: str, answer: Answer, question: Question) -> float | None:
    """1 where the options that the rationale names include the chosen one, 0 where they are others, None
    where it names none; what it denies is not named."""
    named = options_named(think, question.options or ())
    return None if not named else float(letter(answer.answer, question.options or ()) in named)


def read(answer: Answer, question: Question) -> Read:
    """That there is a rationale, or why not."""
    if (answer.think or "").strip():
        return Read(("rationale",))
    return Read((), "empty_think" if "empty_think" in answer.defects else "missing_think")


def score(answer: Answer, question: Question, sample: Sample) -> dict[str, float | None]:
    think, reference = (answer.think or "").strip(), question.rationale or ""
    return {
        "bleu4": best_bleu4(think, [reference])[0],
        "rouge_l": rouge_l(think, reference),
        "names_object": None if sample.key_object is None else share_named(think, sample.key_object),
        "consistent": consistent(think, answer, question),
        "parse_failure": float(not think),
    }


def counts(answer: Answer, question: Question, sample: Sample) -> dict[str, list[int]]:
    return {"bleu4": ngram_counts((answer.think or "").strip(), question.rationale or "")}
