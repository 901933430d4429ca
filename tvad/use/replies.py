"""A model's reply as it is shown to people: without tags, its times on the video's clock. A model sees one
window of a video and counts from the window's first frame."""

import re
from dataclasses import dataclass

from tvad.answer import NONE, Span, Timing, parse

_TIME = r"(?<![\d.:])(\d{1,6}(?:\.\d{1,3})?)"
_UNIT = r"\s?(?:s|sec|seconds?)\b"
# Words that name moments; "for 3 s" and "3 s later" are lengths, the same on every clock.
_PAIR = re.compile(
    rf"\b(?P<head>from|between)\s{{1,3}}{_TIME}(?P<middle>(?:{_UNIT})?\s{{1,3}}(?:to|and|until)\s{{1,3}})"
    rf"{_TIME}(?={_UNIT})",
    re.IGNORECASE,
)
_ONE = re.compile(
    rf"\b(?P<head>at|around|about|before|after|until|since|by)\s{{1,3}}{_TIME}(?={_UNIT})", re.I
)
_GLUE = re.compile(rf"(?P<head><glue>[^<]{{0,40}}?){_TIME}(?P<middle>[\s,\-]{{1,5}}){_TIME}", re.IGNORECASE)
_CLOCK = re.compile(r"(?<![\d:.])(?:(\d{1,2}):)?(\d{1,2}):(\d{2})(?![\d:.])")  # always a moment


def moved(text: str, seconds: float) -> str:
    """The text with the moments that it names ("from 1.25 to 4.00 s", "at 2 s", a span in <glue>) moved by
    `seconds`; lengths of time stay. Linear in the text's length."""
    if not seconds:
        return text

    def shifted(match: re.Match) -> str:
        words = match[0]
        for group in reversed(range(1, match.re.groups + 1)):
            if group not in match.re.groupindex.values():
                start, end = (place - match.start() for place in match.span(group))
                words = f"{words[:start]}{_written(match[group], seconds)}{words[end:]}"
        return words

    for pattern in (_PAIR, _ONE, _GLUE):
        text = pattern.sub(shifted, text)
    return _CLOCK.sub(lambda match: _clock(_seconds(match) + seconds), text)


def _seconds(match: re.Match) -> int:
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return (hours * 60 + minutes) * 60 + seconds


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _written(number: str, seconds: float) -> str:
    decimals = max(len(number.partition(".")[2]), 0 if float(seconds).is_integer() else 2)
    return f"{float(number) + seconds:.{decimals}f}"


def moments(text: str) -> list[float]:
    """Seconds of the moments that a text names."""
    found = [float(_seconds(match)) for match in _CLOCK.finditer(text)]
    for pattern in (_PAIR, _ONE):
        for match in pattern.finditer(text):
            found += [
                float(match[group])
                for group in range(1, match.re.groups + 1)
                if group not in match.re.groupindex.values()
            ]
    return found


@dataclass(frozen=True)
class Reply:
    """`words`: the answer; `reasoning`: what came before it, if any; spans in seconds of the video, "none"
    for a normal one, None where the reply gives none; boxes 0..1000."""

    words: str
    reasoning: str | None
    spans: tuple[Span, ...] | str | None
    boxes: tuple[tuple[float, float, float, float], ...]
    answer: str | None

    @property
    def span(self) -> Span | str | None:
        """The first of the spans."""
        return self.spans[0] if isinstance(self.spans, tuple) else self.spans


def read(text: str, start: float = 0.0, timing: Timing | None = None) -> Reply:
    """A reply about the window that begins `start` seconds into the video. timing: of the window."""
    found = parse(text, timing=timing)
    spans: tuple[Span, ...] | str | None = found.spans
    if isinstance(spans, tuple):
        spans = tuple((round(a + start, 3), round(b + start, 3)) for a, b in spans)
    boxes = tuple(box.xyxy for box in found.boxes)
    answer = None if found.answer is None else moved(found.answer, start)
    thought = None if found.think is None else moved(found.think, start).strip() or None
    return Reply(_words(text, found.tags, answer, spans, boxes, start), thought, spans, boxes, answer)


def _words(text, tags, answer, spans, boxes, start) -> str:
    if not tags:  # plain words, as the dialogue's
        return moved(text, start).strip() or "(no words)"
    parts = [answer] if answer else []
    if isinstance(spans, tuple):
        parts.append(", ".join(f"from {a:.2f} to {b:.2f} s" for a, b in spans))
    elif spans == NONE:
        parts.append("at no time")
    parts += ["at x {:.0f} to {:.0f}, y {:.0f} to {:.0f} of 1000".format(*_by_axis(box)) for box in boxes]
    if not parts:
        return f"(no answer could be read from: {text.strip()[:200]})"
    return "; ".join(parts)


def _by_axis(box):
    x1, y1, x2, y2 = box
    return x1, x2, y1, y2
