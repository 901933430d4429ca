"""Multiple-choice questions: accuracy over the letter that the answer names. Of two options with one text the
letter of either is right."""

from tvad.answer import Answer, Read, read_letter
from tvad.answer.letters import same_option
from tvad.data.sample import Question, Sample

PRIMARY, LOWER, BINARY = "accuracy", ("parse_failure",), ("accuracy",)


def read(answer: Answer, question: Question) -> Read:
    """The letter that the answer names, or why none."""
    if answer.answer is None:
        return Read((), answer.missing)
    return read_letter(answer.answer, question.options or ())


def score(answer: Answer, question: Question, sample: Sample | None) -> dict[str, float | None]:
    found = read(answer, question).keys
    right = bool(found) and same_option(found[0], question.answer, question.options or ())
    return {"accuracy": float(right), "parse_failure": float(not found)}
