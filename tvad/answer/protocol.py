"""The answer protocol: the one place that writes and reads `<think>…</think><answer>…</answer>` with `<glue>`
and `<box>`.

VAU-R1's tags (arXiv 2505.23504) extended by a box. Rewards and metrics read the same answer, span and boxes
out of a text, as both come through `parse`; what counts as right is each one's own, and a reward may be the
stricter (an answer or a span given twice earns nothing; "Anomaly" is no "Yes"). `parse` never raises and
takes linear time, whatever the text.
"""

import json
from dataclasses import dataclass
from typing import Literal

from tvad.answer import vau_r1
from tvad.answer.boxes import Box, read_boxes
from tvad.answer.elements import TAG, elements
from tvad.answer.spans import BRACKETED, NONE, Span, Spans, first_span, read_span, spans_in_text

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
    """What a text says. `spans`: seconds, "none" for a normal video, None where not given. `tags`: complete
    elements in order."""

    think: str | None = None
    answer: str | None = None
    spans: Spans | None = None
    boxes: tuple[Box, ...] = ()
    defects: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

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
        spans = NONE if answer.spans == NONE else ", ".join(f"[{a:.2f}, {b:.2f}]" for a, b in answer.spans)
        parts.append(f"<glue>{spans}</glue>")
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


def parse(text: str, mode: Literal["strict", "lenient", "vau_r1"] = "lenient") -> Answer:
    """Read a completion. Never raises for any `text`; linear time up to 1 MiB, longer texts are cut there
    (`too_long`).

    - strict: only well-formed elements, each at most once; everything else is a defect and reads as missing.
    - lenient (metrics): also untagged answers, spans and boxes outside the rationale. Several different
      answers read as none.
    - vau_r1: spans by the rules of VAU-R1's evaluation script, answers from the first element, for
      paper-comparable numbers.
    """
    if mode not in ("strict", "lenient", "vau_r1"):
        raise ValueError(f"unknown mode {mode!r}; known: strict, lenient, vau_r1")
    if not isinstance(text, str):
        return Answer(defects=("not_text",))
    defects: list[str] = []
    if len(text) > MAX_TEXT:
        text, defects = text[:MAX_TEXT], ["too_long"]
    if mode == "vau_r1":
        thought, said, when, more = vau_r1.read(text)
        return Answer(thought, said, _several(when), defects=(*defects, *more))
    strict = mode == "strict"
    found, outside, seen = elements(text)
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
        """The element's content; where repeated, only if all agree (lenient), never (strict)."""
        contents = [c.strip() for c in by_name.get(name, [])]
        return (
            contents[0]
            if contents and (len(contents) == 1 or (not strict and len(set(contents)) == 1))
            else None
        )

    answer = single("answer")
    if answer is not None and TAG.search(answer):
        answer = None  # tags inside tags
    if answer is None and not strict and "answer" not in by_name and outside:
        answer = outside
    if answer == "":
        defects.append("empty_answer")
        answer = None

    span: Span | Literal["none"] | None = None
    boxes: tuple[Box, ...] = ()
    if (glue := single("glue")) is not None:
        span, more = read_span(glue)
        defects += more
        if strict and more:
            span = None
    elif outside and not strict and "glue" not in by_name:
        span = spans[-1] if (spans := spans_in_text(outside)) else None
    if (place := single("box")) is not None:
        boxes, more = read_boxes(place)
        defects += more
        if strict and more:
            boxes = ()
    elif outside and not strict and "box" not in by_name:
        for match in BRACKETED.finditer(outside):
            untagged, more = read_boxes(match.group(0))
            if untagged and not more:
                boxes = untagged
    tags = tuple(name for name, _, closed in found if closed)
    return Answer(think, answer, _several(span), boxes, tuple(dict.fromkeys(defects)), tags)
