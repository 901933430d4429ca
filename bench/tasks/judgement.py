"""Is there an anomaly? Yes/No and Normal/Anomaly are the same answer."""

from tvad.answer import Answer, judged
from tvad.data.sample import Question, Sample

PRIMARY, LOWER, BINARY = "accuracy", ("parse_failure",), ("accuracy",)
POSITIVE = "anomalous"


def label(answer: Answer, question: Question) -> tuple[str, str | None]:
    """(truth, prediction) as class names; None for an answer that names none."""
    names = {True: POSITIVE, False: "normal", None: None}
    return names[judged(question.answer)] or "", names[judged(answer.answer)]


def score(answer: Answer, question: Question, sample: Sample) -> dict[str, float | None]:
    found, wanted = judged(answer.answer), judged(question.answer)
    right = float(found is not None and found == wanted)
    return {
        "accuracy": right,
        "sensitivity": right if wanted else None,
        "specificity": right if wanted is False else None,
        "parse_failure": float(found is None),
    }
