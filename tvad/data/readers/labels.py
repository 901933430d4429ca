"""What data sets tell of whole videos: classes, and spans counted in frames."""

import sys
from collections.abc import Iterable

from tvad.answer import NONE, Spans
from tvad.common.errors import InputError
from tvad.data.build import class_questions
from tvad.data.questions import ASKED
from tvad.data.sample import Question


def frame_spans(spans: Iterable[tuple[int, int]], frames: int, name: str) -> set[int]:
    """The frames in spans of (first, last), both within. One that ends behind the video is cut, and said;
    raises InputError for one that begins behind it."""
    found: set[int] = set()
    for first, last in spans:
        if first >= frames:
            raise InputError(f"{name}: frames {first} to {last} are annotated, the video has {frames}")
        if last >= frames:
            print(f"cut {name}: frames {first} to {last} end with frame {frames - 1}", file=sys.stderr)
        found |= set(range(first, min(last, frames - 1) + 1))
    return found


def asked(anomalous: bool, spans: Spans | None, classes: tuple[str, ...]) -> tuple[Question, ...]:
    """The questions that a label, spans and a leading class can answer; spans None: nobody knows when."""
    found = [Question("judgement", ASKED["judgement"], "Yes" if anomalous else "No", None, "judgement")]
    if spans is not None:
        what = "Anomaly" if anomalous else "Normal"
        found.append(Question("temporal", ASKED["temporal"], what, None, "when", None, spans or NONE))
    return (*found, *class_questions(classes))
