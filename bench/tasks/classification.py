"""Which class of anomaly? Read by the suite's table of classes (`tvad.answer.classes`).

Of a video with several classes, whose reference names them all ("Fighting, Shooting"), an answer is right
that names some of them and no other (any of them, XD-Violence's labels); `jaccard` asks for the whole set. A
reference that is a number is compared as one; one that is in no table as a whole.
"""

from tvad.answer import Answer, Read, read_classes
from tvad.answer.classes import key_of, same_name
from tvad.answer.numbers import is_number, read_number, same_number
from tvad.answer.statements import SHORT
from tvad.data.sample import Question, Sample

PRIMARY, LOWER, BINARY = "accuracy", ("parse_failure",), ("accuracy",)
POSITIVE = None  # macro F1


def wanted(answer: Answer, question: Question) -> tuple[str, ...]:
    """The classes that are right, as the table spells them; none where the table has no such class."""
    whole = answer.reading.class_of.get(key_of(question.answer))
    return (whole,) if whole else read_classes(question.answer, answer.reading.table).keys


def read(answer: Answer, question: Question) -> Read:
    """The classes that the answer names, or why none."""
    if answer.answer is None:
        return Read((), answer.missing)
    if is_number(question.answer):
        return read_number(answer.answer)
    if len(answer.answer) <= SHORT and (whole := answer.reading.class_of.get(key_of(answer.answer))):
        return Read((whole,))
    right = wanted(answer, question)
    if right and len(answer.reading.classes) > 1:
        return read_classes(answer.answer, answer.reading.table)
    # Without a table, or with one of one class, nobody can see what else is named: the whole text counts.
    name = right[0] if right else question.answer
    if same_name(answer.answer, name):
        return Read((name,))
    return Read((), "nothing_named") if right else Read((answer.answer,))


def _judged(answer: Answer, question: Question) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """(what is right, what is named, whether that is right and nothing else)."""
    found = read(answer, question).keys
    if is_number(question.answer):
        return (question.answer,), found, bool(found) and same_number(answer.answer, question.answer)
    true = wanted(answer, question) or (question.answer,)
    return true, found, bool(found) and set(found) <= set(true)


def label(answer: Answer, question: Question) -> tuple[str, str | None]:
    """(truth, prediction) as class names; None for an answer that names none. Of several the leading one."""
    true, found, right = _judged(answer, question)
    if right or not found:
        return true[0], true[0] if right else None
    return true[0], next((name for name in found if name not in true), found[0])


def score(answer: Answer, question: Question, sample: Sample | None) -> dict[str, float | None]:
    true, found, right = _judged(answer, question)
    both, either = set(true) & set(found), set(true) | set(found)
    return {
        "accuracy": float(right),
        "jaccard": len(both) / len(either) if len(true) > 1 else None,
        "parse_failure": float(not found),
    }
