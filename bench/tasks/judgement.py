"""Is there an anomaly? Yes/No and Normal/Anomaly are the same answer."""

from tvad.answer import Answer, Read, judged, read_verdict
from tvad.data.sample import Question, Sample

PRIMARY, LOWER, BINARY = "accuracy", ("parse_failure",), ("accuracy",)
POSITIVE = "anomalous"
NAMES = {"yes": POSITIVE, "no": "normal"}


def read(answer: Answer, question: Question) -> Read:
    """The verdict of the answer, "yes" or "no", or why none."""
    return Read((), answer.missing) if answer.answer is None else read_verdict(answer.answer)


def label(answer: Answer, question: Question) -> tuple[str, str | None]:
    """(truth, prediction) as class names; None for an answer that names none."""
    truth, found = read_verdict(question.answer).keys, read(answer, question).keys
    return NAMES[truth[0]] if truth else "", NAMES[found[0]] if found else None


def score(answer: Answer, question: Question, sample: Sample | None) -> dict[str, float | None]:
    found, wanted = read(answer, question).keys, judged(question.answer)
    right = float(bool(found) and (found[0] == "yes") == wanted)
    return {
        "accuracy": right,
        "sensitivity": right if wanted else None,
        "specificity": right if wanted is False else None,
        "parse_failure": float(not found),
    }
