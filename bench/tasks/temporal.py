"""Temporal grounding: IoU, F1 and average precision over anomalous videos, false alarms on normal ones."""

from bench.metrics.temporal import class_map, scores
from tvad.answer import NONE, Answer, parse
from tvad.data.sample import Question, Sample

PRIMARY, LOWER, BINARY = "miou", ("false_alarm", "parse_failure"), ()


def score(answer: Answer, question: Question, sample: Sample) -> dict[str, float | None]:
    found: dict[str, float | None] = {"parse_failure": float(answer.spans is None)}
    if question.spans == NONE:  # a normal video
        return {"false_alarm": float(answer.spans != NONE), **found}
    assert isinstance(question.spans, tuple)  # `Sample.problems` finds a question without its reference
    return {
        **scores(answer.spans, question.spans),
        "class_map": _by_class(answer, question, sample),
        **found,
    }


def ceiling(question: Question, sample: Sample) -> dict[str, float | None]:
    """What the reference earns as it is written: times are written to a hundredth of a second."""
    return score(parse(question.solution()), question, sample)


def _by_class(answer: Answer, question: Question, sample: Sample) -> float | None:
    """None where the data has no class for each of the question's spans, or the answer none for its own."""
    classes = sample.span_categories
    if classes is None or question.spans != sample.spans or answer.span_labels is None:
        return None
    assert isinstance(answer.spans, tuple) and isinstance(question.spans, tuple)
    labels = [None if label is None else _plain(label) for label in answer.span_labels]
    return class_map(answer.spans, labels, question.spans, [_plain(name) for name in classes])


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())
