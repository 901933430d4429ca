"""Spatial grounding: the box at the asked moment. A reference counts as it is written, in whole thousandths
of the picture."""

from bench.metrics.spatial import matched_iou, pointing
from tvad.answer import Answer, Read, written_boxes
from tvad.data.sample import Question, Sample

PRIMARY, LOWER, BINARY = "miou", ("parse_failure",), ()


def read(answer: Answer, question: Question) -> Read:
    """How many boxes were read, or why none."""
    why = next((d for d in answer.defects if d.endswith("_box") or d.startswith("box_")), answer.missing)
    return Read((str(len(answer.boxes)),)) if answer.boxes else Read((), why)


def score(answer: Answer, question: Question, sample: Sample) -> dict[str, float | None]:
    right = written_boxes(question.boxes)
    value = matched_iou(answer.boxes, right)
    hit = bool(answer.boxes) and pointing(answer.boxes[0].xyxy, right[0].xyxy)
    return {
        "miou": value,
        "r@0.5": float(value >= 0.5),
        "pointing": float(hit),
        "parse_failure": float(not answer.boxes),
    }
