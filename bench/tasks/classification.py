"""Which class of anomaly? Exact name, case, underscores and full stops aside."""

from tvad.answer import Answer
from tvad.data.sample import Question, Sample

PRIMARY = "accuracy"


def _plain(text: str | None) -> str:
    return " ".join((text or "").lower().replace("_", " ").split()).strip(" .!")


def score(answer: Answer, question: Question, sample: Sample) -> dict[str, float | None]:
    return {"accuracy": float(_plain(answer.answer) == _plain(question.answer)), "parse_failure": float(answer.answer is None)}
