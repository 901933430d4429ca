"""Which class of anomaly? Read by the suite's table of classes (`tvad.answer.classes`).

Of a video with several classes, whose reference names them all ("Fighting, Shooting"), an answer is right
that names some of them and no other (any of them, XD-Violence's labels); `jaccard` asks for the whole set. A
reference that is a number is compared as one; one that is in no table as a whole.
"""

from tvad.answer import Answer, Read, read_classes
from tvad.answer.classes import key_of, same_name
from tvad.answer.numbers import is_number, read_number, same_number
from tvad.data.sample import Question, Sample

PRIMARY, LOWER, BINARY = "accuracy", ("parse_failure",), ("accuracy",)
POSITIVE = None  # macro F1


def wanted(answer: Answer, question: Question) -> tuple[str, ...]:
    """The classes that are right, as the table spells them; none where the table has no such class."""
    whole = answer.reading.class_of.get(key_of(question.answer))
    return (whole,) if whole else read_classes(question.answer, answer.reading.classes).keys


def read(answer: Answer, question: Question) -> Read:
    """The classes that the answer names, or why none."""
    if answer.answer is None:
        return Read((), answer.missing)
    if is_number(question.answer):
        return read_number(answer.answer)
    if right := wanted(answer, question):
        # A table of one class only knows it by the whole text: it cannot see that others are named beside it.
        if len(answer.reading.classes) > 1:
            return read_classes(answer.answer, answer.reading.classes)
        return Read(right) if same_name(answer.answer, right[0]) else Read((), "nothing_named")
    return Read((question.answer,) if same_name(answer.answer, question.answer) else (answer.answer,))


def right(answer: Answer, question: Question) -> bool:
    """Does the answer name what is right and nothing else?"""
    if answer.answer is not None and is_number(question.answer):
        return same_number(answer.answer, question.answer)
    found = read(answer, question).keys
    return bool(found) and set(found) <= set(wanted(answer, question) or (question.answer,))


def label(answer: Answer, question: Question) -> tuple[str, str | None]:
    """(truth, prediction) as class names; None for an answer that names none. Of several the leading one."""
    true, found = wanted(answer, question) or (question.answer,), read(answer, question).keys
    if right(answer, question):
        return true[0], true[0]
    return true[0], next((name for name in found if name not in true), found[0] if found else None)


def score(answer: Answer, question: Question, sample: Sample | None) -> dict[str, float | None]:
    found, true = set(read(answer, question).keys), set(wanted(answer, question))
    return {
        "accuracy": float(right(answer, question)),
        "jaccard": len(found & true) / len(found | true) if len(true) > 1 else None,
        "parse_failure": float(not found),
    }
