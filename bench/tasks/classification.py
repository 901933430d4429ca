"""Which class of anomaly? Exact name, case, underscores and full stops aside."""

from tvad.answer import Answer
from tvad.data.sample import Question, Sample

PRIMARY, LOWER, BINARY = "accuracy", ("parse_failure",), ("accuracy",)
POSITIVE = None  # macro F1


def _plain(text: str | None) -> str:
    return " ".join((text or "").lower().replace("_", " ").split()).strip(" .!")


def label(answer: Answer, question: Question) -> tuple[str, str | None]:
    """(truth, prediction) as class names; None for no answer."""
    return _plain(question.answer), _plain(answer.answer) or None


def score(answer: Answer, question: Question, sample: Sample) -> dict[str, float | None]:
    return {
        "accuracy": float(_plain(answer.answer) == _plain(question.answer)),
        "parse_failure": float(answer.answer is None),
    }
