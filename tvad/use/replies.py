"""A model's reply as it is shown to people: without tags, its times on the video's clock. A model sees one
window of a video and counts from the window's first frame."""

from dataclasses import dataclass

from tvad.answer import NONE, Span, Timing, parse
from tvad.answer.moments import moments_in
from tvad.answer.time_words import SECONDS
from tvad.answer.times import Item


def moved(text: str, seconds: float) -> str:
    """The text with the moments that it names ("from 1.25 to 4.00 s", "at 0:02") moved by `seconds`, to 0 at
    the earliest; lengths of time stay. Linear in the text's length."""
    if not seconds:
        return text
    parts, done = [], 0
    for item in moments_in(text):
        end, words = _written(item, max(0.0, _seconds(item) + seconds), float(seconds).is_integer())
        parts += [text[done : item.start], words]
        done = end
    return "".join([*parts, text[done:]])


def moments(text: str) -> list[float]:
    """Seconds of the moments that a text names."""
    return [_seconds(item) for item in moments_in(text)]


def _seconds(item: Item) -> float:
    return item.value * SECONDS.get(item.unit or "s", 1.0)


def _written(item: Item, seconds: float, whole: bool) -> tuple[int, str]:
    """Where the written time ends, and what stands there for `seconds`: the same unit, minutes and hours as a
    clock time. `whole`: moved by whole seconds."""
    number = item.start + len(item.text)
    decimals = len(item.text.partition(".")[2])
    if item.unit == "clock":
        return number, _clock(seconds, decimals)
    if item.parts or item.unit in ("min", "h"):
        return item.end, _clock(seconds, 0 if float(_seconds(item)).is_integer() else 2)
    if item.spelt:
        return item.end, f"{seconds:g}" + " s" * (item.unit is not None and item.end > number)
    if item.unit == "ms":
        return number, f"{seconds * 1000:.{decimals}f}"
    return number, f"{seconds:.{max(decimals, 0 if whole else 2)}f}"


def _clock(seconds: float, decimals: int) -> str:
    minutes, rest = divmod(round(seconds, decimals), 60)
    width = 2 if not decimals else 3 + decimals
    hours, minutes = divmod(int(minutes), 60)
    shown = f"{minutes:02d}" if hours else f"{minutes}"
    return (f"{hours}:" if hours else "") + f"{shown}:{rest:0{width}.{decimals}f}"


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


def read(text: str, start: float = 0.0, timing: Timing | None = None, opened: bool = False) -> Reply:
    """A reply about the window that begins `start` seconds into the video. timing: of the window; opened: the
    prompt has opened the reasoning."""
    found = parse(text, opened=opened, timing=timing)
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
