"""The answer protocol: the one place that writes and reads `<think>…</think><answer>…</answer>` with `<glue>`
and `<box>`.

VAU-R1's tags (arXiv 2505.23504) extended by a box. Rewards and metrics read the same answer, span and boxes
out of a text, as both come through `parse`; an element given twice is unread in both. `parse` never raises
and takes linear time, whatever the text.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tvad.answer import vau_r1
from tvad.answer.boxes import Box, boxes_in_text, read_boxes
from tvad.answer.classes import is_normal
from tvad.answer.elements import elements
from tvad.answer.reading import DEFAULT, Reading
from tvad.answer.reasoning import FOREIGN, marks_in
from tvad.answer.span_labels import read_labels
from tvad.answer.spans import NONE, Span, Spans, first_span, read_spans, read_text
from tvad.answer.timing import Timing

TAGS: dict[str, tuple[str, ...]] = {
    "mcq": ("think", "answer"),
    "judgement": ("think", "answer"),
    "classification": ("think", "answer"),
    "temporal": ("think", "answer", "glue"),
    "spatial": ("think", "answer", "box"),
}
MAX_TEXT = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What a text says. `spans`: seconds, "none" for a normal video, None where not given; `span_labels`: a
    class each, None where not given. `tags`: complete elements in order. `reading`: by which rules it was
    read."""

    think: str | None = None
    answer: str | None = None
    spans: Spans | None = None
    boxes: tuple[Box, ...] = ()
    defects: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    span_labels: tuple[str | None, ...] | None = None
    reading: Reading = field(default=DEFAULT, compare=False, repr=False)

    @property
    def missing(self) -> str:
        """Why there is no answer, where there is none."""
        known = ("not_text", "repeated_answer", "nested_answer", "empty_answer", "unclosed_think")
        return next((name for name in known if name in self.defects), "nothing_said")

    @property
    def span(self) -> Span | Literal["none"] | None:
        """The first of the spans."""
        return first_span(self.spans)


def _several(span: Span | Literal["none"] | None) -> Spans | None:
    return (span,) if isinstance(span, tuple) else span


def render(answer: Answer, task: str) -> str:
    """The canonical text of `answer` for `task`. Without a rationale the think element is left out.

    Raises ValueError for an unknown task or a part that the task needs and the answer lacks.
    """
    if task not in TAGS:
        raise ValueError(f"unknown task {task!r}; known: {', '.join(TAGS)}")
    parts = [] if answer.think is None else [f"<think>{answer.think}</think>"]
    if answer.answer is None:
        raise ValueError(f"{task}: the answer is missing")
    parts.append(f"<answer>{answer.answer}</answer>")
    if "glue" in TAGS[task]:
        if not answer.spans:
            raise ValueError(f"{task}: the span is missing")
        parts.append(f"<glue>{_spans_text(answer.spans, answer.span_labels)}</glue>")
    if "box" in TAGS[task]:
        if not answer.boxes:
            raise ValueError(f"{task}: the box is missing")
        lists = [[round(c) for c in box.xyxy] for box in answer.boxes]
        if len(lists) == 1 and answer.boxes[0].t is None:
            text = json.dumps(lists[0], allow_nan=False)
        else:
            text = json.dumps(
                [{"t": box.t, "box": xyxy} for box, xyxy in zip(answer.boxes, lists, strict=True)],
                allow_nan=False,
            )
        parts.append(f"<box>{text}</box>")
    return "".join(parts)


def written_spans(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Spans in the digits in which `render` writes them: what a reference is compared as, so that who says
    what it says earns all."""
    return tuple((round(a, 2), round(b, 2)) for a, b in spans)


def written_boxes(boxes: Sequence[Box]) -> tuple[Box, ...]:
    """The same of boxes."""
    return tuple(
        Box((float(round(x1)), float(round(y1)), float(round(x2)), float(round(y2))), box.t)
        for box in boxes
        for x1, y1, x2, y2 in (box.xyxy,)
    )


def _spans_text(spans: Spans, labels: Sequence[str | None] | None) -> str:
    if isinstance(spans, str):
        return NONE
    if not labels:
        return ", ".join(f"[{a:.2f}, {b:.2f}]" for a, b in spans)
    rows = [
        {"start": round(a, 2), "end": round(b, 2), "label": label}
        for (a, b), label in zip(spans, labels, strict=True)
    ]
    return json.dumps(rows, ensure_ascii=False, allow_nan=False)


def parse(
    text: str,
    mode: Literal["strict", "lenient", "vau_r1"] = "lenient",
    reading: Reading = DEFAULT,
    opened: bool = False,
    *,
    timing: Timing | None = None,
) -> Answer:
    """Read a completion. Never raises for any `text`; linear time up to 1 MiB, of longer texts the last MiB
    is read (`too_long`). opened: the prompt has opened the reasoning; timing: of the video, for spans in
    frames, percent or words.

    - strict: only well-formed elements, each at most once; everything else is a defect and reads as missing.
    - lenient (metrics): also other marks of reasoning, untagged answers, spans and boxes outside the
      rationale. An element given twice reads as none.
    - vau_r1: spans by the rules of VAU-R1's evaluation script, answers from the first element, for
      paper-comparable numbers.
    """
    if mode not in ("strict", "lenient", "vau_r1"):
        raise ValueError(f"unknown mode {mode!r}; known: strict, lenient, vau_r1")
    if not isinstance(text, str):
        return Answer(defects=("not_text",))
    defects: list[str] = []
    if len(text) > MAX_TEXT:
        text, defects = text[-MAX_TEXT:], ["too_long"]
    if mode == "vau_r1":
        thought, said, when, more = vau_r1.read(text)
        return Answer(thought, said, _several(when), defects=(*defects, *more), reading=reading)
    strict = mode == "strict"
    found, outside, seen = elements(text, reading, strict, opened)
    defects += seen
    by_name: dict[str, list[str]] = {}
    for name, content, closed in found:
        if closed or not strict:
            by_name.setdefault(name, []).append(content)
    for name in ("think", "answer"):
        if name not in by_name:
            defects.append(f"missing_{name}")
    for name, contents in by_name.items():
        if len(contents) > 1:
            defects.append(f"repeated_{name}")
    outside = outside.strip()
    if outside:
        defects.append("text_outside_tags")

    think = "\n".join(by_name["think"]) if "think" in by_name else None
    if think is not None and not think.strip():
        defects.append("empty_think")

    def single(name: str) -> str | None:
        """The element's content; where it is repeated, none."""
        contents = by_name.get(name, [])
        return contents[0].strip() if len(contents) == 1 else None

    said = answer = single("answer")
    inner = marks_in(answer, reading.marks, strict) if answer and ("<" in answer or reading.marks) else []
    if any(mark.name and not mark.family.startswith(FOREIGN) for mark in inner):
        answer = None  # tags inside tags
    if answer is None and not strict and "answer" not in by_name and outside:
        answer = outside
    if answer == "":
        defects.append("empty_answer")
        answer = None

    spans: Spans | None = None
    boxes: tuple[Box, ...] = ()
    glue = single("glue") if len(by_name.get("glue", ())) == 1 else None  # given twice, it is unread
    if glue is not None:
        spans, more = read_spans(glue, None if strict else timing, protocol=strict)
        defects += more
        if strict and more:
            spans = None
    elif not strict and "glue" not in by_name:
        spans, more = _untagged_spans(said, outside, timing)
        defects += more
    places = by_name.get("box", [])
    if places and (len(places) == 1 or not strict):  # families write an element a box
        for place in places:
            read, more = read_boxes(place.strip(), reading.unit, reading.size)
            boxes += () if strict and more else read
            defects += more
    elif not places and not strict:
        boxes, more = boxes_in_text(outside or answer or "", reading.unit, reading.size)
        defects += more
    labels = None
    if isinstance(spans, tuple) and not strict:
        told = (read_labels(part, len(spans)) for part in (glue, said, outside) if part)
        labels = next((names for names in told if names), None)
        if labels and any(map(is_normal, labels)):  # parts that are called normal are not the answer
            kept = [n for n, name in enumerate(labels) if not is_normal(name)]
            spans = tuple(spans[n] for n in kept) or NONE
            labels = tuple(labels[n] for n in kept) or None
    tags = tuple(name for name, _, closed in found if closed)
    defects = list(dict.fromkeys(defects))
    return Answer(think, answer, spans, boxes, tuple(defects), tags, span_labels=labels, reading=reading)


def _untagged_spans(said: str | None, outside: str, timing: Timing | None) -> tuple[Spans | None, list[str]]:
    """Spans of an answer without a glue element: those in the answer element, else in the text outside."""
    found = [read_text(text, timing) for text in (said, outside) if text]
    for spans, defects in found:
        if isinstance(spans, tuple) or defects:
            return spans, defects
    return next((read for read in found if read[0] is not None), (None, []))
