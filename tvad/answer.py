"""The answer protocol: the one place that writes and reads `<think>…</think><answer>…</answer>` with `<glue>`
and `<box>`.

VAU-R1's tags (arXiv 2505.23504) extended by a box. Rewards and metrics read the same answer, span and boxes
out of a text, as both come through `parse`; what counts as right is each one's own, and a reward may be the
stricter (an answer or a span given twice earns nothing; "Anomaly" is no "Yes"). `parse` never raises and
takes linear time, whatever the text.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Literal

Span = tuple[float, float]
TAGS: dict[str, tuple[str, ...]] = {
    "mcq": ("think", "answer"),
    "judgement": ("think", "answer"),
    "classification": ("think", "answer"),
    "temporal": ("think", "answer", "glue"),
    "spatial": ("think", "answer", "box"),
}
NONE: Literal["none"] = "none"  # the span of a normal video
MAX_TEXT = 1 << 20

_TAG = re.compile(r"<(/?)(think|answer|glue|box)>", re.IGNORECASE)
_TIME = re.compile(
    r"(?P<sign>-?)(?:(?P<h>\d{1,6}):)?(?P<m>\d{1,6}):(?P<s>\d{1,2}(?:\.\d{0,12})?)(?!\d)|(?P<plain>-?(?:\d{1,18}\.?\d{0,18}|\.\d{1,18})(?:e[+-]?\d{1,3})?)(?P<pct>\s?%)?"
    r"|(?P<bad>-?\b(?:nan|inf(?:inity)?)\b)",
    re.IGNORECASE,
)
_NONE = re.compile(r"(?:none|no\s?anomaly|normal|n/a|null|\[\s{0,9}\])", re.IGNORECASE)
_FULL_WIDTH = {0xFF10 + i: ord("0") + i for i in range(10)} | {
    0xFF0C: ",",
    0xFF0E: ".",
    0xFF1A: ":",
    0xFF3B: "[",
    0xFF3D: "]",
    0xFF0D: "-",
    0x2212: "-",
    0x2013: "-",
    0xFF05: "%",
    0x3001: ",",
}
_BRACKETED = re.compile(r"\[([^\[\]]{1,80})\]")
_FROM_TO = re.compile(
    r"\bfrom\s{1,3}([\d:.]{1,12})\s{0,3}s?(?:ec(?:onds?)?)?\s{1,3}to\s{1,3}([\d:.]{1,12})", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Box:
    """A box in 0..1000 of the frame's width and height, at `t` seconds (None: the moment that the question
    names)."""

    xyxy: tuple[float, float, float, float]
    t: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a text says. `span`: seconds, "none" for a normal video, None where not given. `tags`: complete
    elements in order."""

    think: str | None = None
    answer: str | None = None
    span: Span | Literal["none"] | None = None
    boxes: tuple[Box, ...] = ()
    defects: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


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
        if answer.span is None:
            raise ValueError(f"{task}: the span is missing")
        span = NONE if answer.span == NONE else f"[{answer.span[0]:.2f}, {answer.span[1]:.2f}]"
        parts.append(f"<glue>{span}</glue>")
    if "box" in TAGS[task]:
        if not answer.boxes:
            raise ValueError(f"{task}: the box is missing")
        lists = [[round(c) for c in box.xyxy] for box in answer.boxes]
        if len(lists) == 1 and answer.boxes[0].t is None:
            text = json.dumps(lists[0])
        else:
            text = json.dumps(
                [{"t": box.t, "box": xyxy} for box, xyxy in zip(answer.boxes, lists, strict=True)]
            )
        parts.append(f"<box>{text}</box>")
    return "".join(parts)


def _elements(text: str) -> tuple[list[tuple[str, str, bool]], str, list[str]]:
    """Top-level elements as (name, content, closed), the text outside of them, and defects. One pass.

    Nothing inside `<think>` counts as another element. An unclosed think ends where an answer element begins;
    a think that is closed but never opened starts at the text's beginning (chat templates that open it for
    the model).
    """
    marks = list(_TAG.finditer(text))
    found: list[tuple[str, str, bool]] = []
    outside: list[str] = []
    defects: list[str] = []
    position, i = 0, 0
    names = [(m.group(2).lower(), m.group(1) == "") for m in marks]
    closing_thinks = [j for j, n in enumerate(names) if n == ("think", False)]
    if closing_thinks and ("think", True) not in names[: closing_thinks[0] + 1]:
        end = closing_thinks[0]
        found.append(("think", text[: marks[end].start()], True))
        defects.append("unopened_think")
        position, i = marks[end].end(), end + 1
    # The closing tags of each name that are still to come, the next one last: looking for the partner of
    # every opening tag anew would be quadratic in a text of nothing but opening tags.
    closers: dict[str, list[int]] = {}
    for j in range(len(marks) - 1, -1, -1):
        if not names[j][1]:
            closers.setdefault(names[j][0], []).append(j)
    while i < len(marks):
        name, opening = names[i]
        outside.append(text[position : marks[i].start()])
        position = marks[i].end()
        if not opening:
            defects.append(f"stray_close_{name}")
            i += 1
            continue
        coming = closers.get(name, [])
        while coming and coming[-1] < i:
            coming.pop()
        if not coming:
            defects.append(f"unclosed_{name}")
            # It ends where another element begins, so that an unclosed rationale does not swallow the answer.
            stop = i + 1
            while stop < len(marks) and not (names[stop][1] and names[stop][0] != name):
                stop += 1
            end = marks[stop].start() if stop < len(marks) else len(text)
            found.append((name, text[position:end], False))
            position, i = end, stop
            continue
        j = coming[-1]
        if any(k[0] != name or k[1] for k in names[i + 1 : j]):
            defects.append(f"nested_{name}")
        found.append((name, text[position : marks[j].start()], True))
        position, i = marks[j].end(), j + 1
    outside.append(text[position:])
    return found, "".join(outside), defects


def _seconds(match: re.Match) -> float | None:
    """Seconds of a `_TIME` match; None for NaN, inf, percentages and clock times beyond 59."""
    if match.group("bad") or match.group("pct"):
        return None
    if match.group("plain") is not None:
        value = float(match.group("plain"))
    else:
        minutes, seconds = int(match.group("m")), float(match.group("s"))
        hours = match.group("h")
        if seconds >= 60 or (hours is not None and minutes >= 60):
            return None
        value = (int(hours or 0) * 60 + minutes) * 60 + seconds
        value = -value if match.group("sign") else value
    return value if math.isfinite(value) else None


def read_span(text: str) -> tuple[Span | Literal["none"] | None, list[str]]:
    """Content of a glue element -> (span, defects). A reversed or empty span is returned as it stands, with
    its defect."""
    text = text.translate(_FULL_WIDTH).strip()
    if len(text) <= 40 and _NONE.fullmatch(text.strip(" []().")):
        return NONE, []
    if not text.strip(" []"):
        return None, ["malformed_span"]
    if len(text) > 400:
        return None, ["malformed_span"]
    # In "5-9" the dash separates; it is a sign only where no digit stands before it.
    found = list(_TIME.finditer(re.sub(r"(?<=[\ds])\s?-\s?(?=[\d:.])", " , ", text)))
    if any(m.group("pct") for m in found):
        return None, ["percent_span"]
    if any(m.group("bad") for m in found):
        return None, ["non_finite_span"]
    if len(found) != 2:
        return None, ["malformed_span"]
    start, end = (_seconds(m) for m in found)
    if start is None or end is None or max(abs(start), abs(end)) > 1e9:
        return None, ["malformed_span"]
    if (start, end) in ((0, 0), (-1, -1)):  # how VAU-Bench and VAU-R1's prompt write a normal video
        return NONE, []
    if start < 0 or end < 0:
        return None, ["negative_span"]
    defect = ["reversed_span"] if end < start else ["empty_span"] if end == start else []
    return (start, end), defect


def _box_of(values) -> tuple[float, float, float, float] | None:
    if not isinstance(values, list) or len(values) != 4:
        return None
    if not all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) and abs(v) <= 1e6
        for v in values
    ):
        return None
    x1, y1, x2, y2 = (float(v) for v in values)
    return x1, y1, x2, y2


def read_boxes(text: str) -> tuple[tuple[Box, ...], list[str]]:
    """Content of a box element -> (boxes, defects). Boxes outside 0..1000 or with x2 <= x1 keep their defect
    and are dropped."""
    if len(text) > 20_000:
        return (), ["malformed_box"]
    try:
        data = json.loads(text.translate(_FULL_WIDTH).strip())
    except (ValueError, RecursionError):
        return (), ["malformed_box"]
    if isinstance(data, dict):
        data = [data]
    if not isinstance(data, list):
        return (), ["malformed_box"]
    rows = data if data and all(isinstance(row, (dict, list)) for row in data) else [data]
    boxes, defects = [], []
    for row in rows:
        t = row.get("t") if isinstance(row, dict) else None
        xyxy = _box_of(row.get("box") if isinstance(row, dict) else row)
        if xyxy is None or not (
            t is None or (isinstance(t, (int, float)) and not isinstance(t, bool) and math.isfinite(t))
        ):
            defects.append("malformed_box")
        elif min(xyxy) < 0 or max(xyxy) > 1000:
            defects.append("box_outside_frame")
        elif xyxy[2] <= xyxy[0] or xyxy[3] <= xyxy[1]:
            defects.append("reversed_box")
        else:
            boxes.append(Box(xyxy, None if t is None else float(t)))
    return tuple(boxes), defects


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
        return _parse_vau_r1(text, defects)
    strict = mode == "strict"
    found, outside, seen = _elements(text)
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
    if answer is not None and _TAG.search(answer):
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
        for match in _BRACKETED.finditer(outside):
            untagged, more = read_boxes(match.group(0))
            if untagged and not more:
                boxes = untagged
    tags = tuple(name for name, _, closed in found if closed)
    return Answer(think, answer, span, boxes, tuple(dict.fromkeys(defects)), tags)


def spans_in_text(text: str) -> list[Span | Literal["none"]]:
    """Every "from a to b" and then every `[a, b]` in free text."""
    found = []
    for pattern in (_FROM_TO, _BRACKETED):
        for match in pattern.finditer(text):
            span, defects = read_span(", ".join(match.groups()))
            if span is not None and not defects:
                found.append(span)
    return found


_VAU_CLOCK = re.compile(r"(?:(\d{1,2}):)?(\d{1,2}):(\d{1,2})(?:\.(\d{1,6}))?")


def _vau_r1_seconds(part: str) -> float | None:
    """M:S or H:M:S with minutes and seconds below 60, as datetime.strptime reads them; None where the
    reference raises."""
    part = ".".join(part.split(".")[:2]) if part.count(".") > 1 else part
    match = _VAU_CLOCK.fullmatch(part)
    if match is None:
        return None
    hours, minutes, seconds, fraction = match.groups()
    if int(minutes) >= 60 or int(seconds) >= 62 or int(hours or 0) >= 24:
        return None
    return (
        int(hours or 0) * 3600
        + int(minutes) * 60
        + int(seconds)
        + (float(f"0.{fraction}") if fraction else 0.0)
    )


def _parse_vau_r1(text: str, defects: list[str]) -> Answer:
    """VAU-R1's TemporalEvaluator for the span (0, 0 where nothing is read); its reward functions' first
    answer element.

    Where the reference raises, the span is None with defect `vau_r1_error`.
    """
    # The first <glue>…</glue> within a line, by hand: a lazy regular expression takes quadratic time here.
    body = None
    start = text.find("<glue>")
    while start != -1 and body is None:
        line_end = text.find("\n", start)
        end = text.find("</glue>", start + 6, len(text) if line_end == -1 else line_end)
        if end != -1:
            body = text[start + 6 : end]
        start = text.find("<glue>", line_end) if line_end != -1 else -1
    if body is None:
        for line in text.split("\n"):
            opened = line.find("[")
            closed = line.find("]", opened + 1) if opened != -1 else -1
            if closed != -1:
                body = line[opened + 1 : closed]
                break
    span: Span | None = (0.0, 0.0)
    if body is not None:
        parts = re.sub(r"[^0-9:.,\-]", "", body).split(",")
        if len(parts) == 2:
            clock = all(":" in p for p in parts)
            try:
                start_at, end_at = (_vau_r1_seconds(p) if clock else float(p) for p in parts)
            except ValueError:
                start_at = end_at = None
            span = None if start_at is None or end_at is None else (start_at, end_at)
            if span is None:
                defects.append("vau_r1_error")
    opened = text.find("<answer>")
    closed = text.find("</answer>", opened)
    answer = text[opened + 8 : closed] if opened != -1 and closed != -1 else None
    thought, end = text.find("<think>"), text.find("</think>")
    think = text[thought + 7 : end] if -1 < thought < end else None
    return Answer(think, answer, span, defects=tuple(defects))
