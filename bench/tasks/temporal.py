"""Temporal grounding: IoU over anomalous videos, false alarms on normal ones."""

from bench.metrics.temporal import THRESHOLDS, iou
from tvad.answer import NONE, Answer
from tvad.data.sample import Question, Sample

PRIMARY = "miou"


def score(answer: Answer, question: Question, sample: Sample) -> dict[str, float | None]:
    missing = float(answer.span is None)
    if question.span in (None, NONE):
        return {"false_alarm": float(answer.span != NONE), "parse_failure": missing}
    value = iou(answer.span, question.span)  # type: ignore[arg-type]
    return {"miou": value, **{f"r@{t}": float(value >= t) for t in THRESHOLDS}, "parse_failure": missing}
