"""Multi-turn dialogue in plain words (T-VAU's protocol): Yes/No, and BLEU-4 of target, motion, trajectory and
cause.

Each turn is asked after the model's own replies to the earlier ones. A video has one reference a turn, so
that the mean over answers is the macro average over videos.
"""

from bench.metrics.text import bleu4
from tvad.answer import Answer, Read, judged, read_verdict
from tvad.data.sample import Question, Sample

PRIMARY, LOWER, BINARY = "yes_no", (), ("yes_no",)


def read(answer: Answer, question: Question) -> Read:
    """The verdict of the first turn; of the others, plain words, everything is read."""
    if question.topic == "judgement":
        return read_verdict(answer.answer)
    return Read(("words",)) if (answer.answer or "").strip() else Read((), "nothing_said")


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
    return {f"{question.topic or 'other'}_bleu4": bleu4(text.lower(), [question.answer.lower()], by="script")}


def ceiling(question: Question, sample: Sample) -> dict[str, float | None]:
    """What the reference earns."""
    return score(Answer(answer=question.answer), question, sample)
