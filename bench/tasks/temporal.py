"""Temporal grounding: IoU, F1 and average precision over anomalous videos, false alarms on normal ones. A
reference counts as it is written, to a hundredth of a second."""

from collections.abc import Sequence

from bench.metrics.temporal import class_map, scores
from tvad.answer import NONE, Answer, read_classes, table_of, written_spans
from tvad.answer.classes import Rows, key_of, rows_of
from tvad.data.sample import Question, Sample

PRIMARY, LOWER, BINARY = "miou", ("false_alarm", "parse_failure"), ()


def score(answer: Answer, question: Question, sample: Sample) -> dict[str, float | None]:
    found: dict[str, float | None] = {"parse_failure": float(answer.spans is None)}
    if question.spans == NONE:  # a normal video
        return {"false_alarm": float(answer.spans != NONE), **found}
    assert isinstance(question.spans, tuple)  # `Sample.problems` finds a question without its reference
    return {
        **scores(answer.spans, written_spans(question.spans)),
        "class_map": _by_class(answer, question, sample),
        **found,
    }


def _by_class(answer: Answer, question: Question, sample: Sample) -> float | None:
    """None where the data has no class for each of the question's spans; 0 where the answer has none. Classes
    are read as those of a classification are."""
    if sample.span_categories is None or question.spans != sample.spans:
        return None
    assert isinstance(question.spans, tuple)
    own: dict[str, str] = {}
    true = [
        answer.reading.class_of.get(key_of(name)) or own.setdefault(key_of(name), name)
        for name in sample.span_categories
    ]
    spans = answer.spans if isinstance(answer.spans, tuple) else ()
    labels: Sequence[str | None] = [None] * len(spans)
    if answer.span_labels is not None:
        table = rows_of(table_of(true, answer.reading.classes))
        labels = [label and _class_of(label, table) for label in answer.span_labels]
    return class_map(spans, labels, written_spans(question.spans), true)


def _class_of(label: str, table: Rows) -> str | None:
    """The one class that a span's label names."""
    whole = {key_of(said): name for name, others in table for said in (name, *others)}.get(key_of(label))
    found = (whole,) if whole else read_classes(label, table).keys
    return found[0] if len(found) == 1 else None
