"""Multiple-choice questions: accuracy over the letter that the answer names."""

from tvad.answer import Answer, letter
from tvad.data.sample import Question, Sample

PRIMARY, LOWER, BINARY = "accuracy", ("parse_failure",), ("accuracy",)


def score(answer: Answer, question: Question, sample: Sample) -> dict[str, float | None]:
    found = letter(answer.answer, question.options or ())
    return {"accuracy": float(found == question.answer), "parse_failure": float(found is None)}
