"""Temporal grounding: IoU over anomalous videos, false alarms on normal ones."""

from bench.metrics.temporal import THRESHOLDS, iou
from tvad.answer import NONE, Answer, parse
from tvad.data.sample import Question, Sample

PRIMARY, LOWER, BINARY = "miou", ("false_alarm", "parse_failure"), ()


def score(answer: Answer, question: Question, sample: Sample) -> dict[str, float | None]:
    missing = float(answer.span is None)
    if not isinstance(question.span, tuple):  # a normal video: its reference is "none"
        return {"false_alarm": float(answer.span != NONE), "parse_failure": missing}
    value = iou(answer.span, question.span)
    return {"miou": value, **{f"r@{t}": float(value >= t) for t in THRESHOLDS}, "parse_failure": missing}


def ceiling(question: Question, sample: Sample) -> dict[str, float | None]:
    """What the reference earns as it is written: times are written to a hundredth of a second."""
    return score(parse(question.solution()), question, sample)
