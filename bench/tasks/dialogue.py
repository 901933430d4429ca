"""Multi-turn dialogue in plain words (T-VAU's protocol): Yes/No, and BLEU-4 of target, motion, trajectory and
cause.

Each turn is asked after the model's own replies to the earlier ones. A video has one reference a turn, so
that the mean over answers is the macro average over videos.
"""

from bench.metrics.text import bleu4
from tvad.answer import Answer, judged
from tvad.data.sample import Question, Sample

PRIMARY, LOWER, BINARY = "yes_no", (), ("yes_no",)


def score(answer: Answer, question: Question, sample: Sample) -> dict[str, float | None]:
    text = (answer.answer or "").strip()
    if question.topic == "judgement":
        found, wanted = judged(text), judged(question.answer)
        right = float(found is not None and found == wanted)
        return {
            "yes_no": right,
            "sensitivity": right if wanted else None,
            "specificity": right if wanted is False else None,
        }
    return {f"{question.topic or 'other'}_bleu4": bleu4(text.lower(), [question.answer.lower()])}


def ceiling(question: Question, sample: Sample) -> dict[str, float | None]:
    """What the reference earns: one of fewer than four words has no BLEU-4 of 1."""
    return score(Answer(answer=question.answer), question, sample)
