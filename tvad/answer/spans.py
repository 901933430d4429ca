"""Spans of time as answers write them, in seconds: read from an element's content or from free text.

A unit is never passed over: frame numbers, percentages and "the end" need the video's `Timing` and are a
defect without it. docs/spans.md lists the forms and where they come from.
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from tvad.answer.intervals import Intervals, Said, denied, quiet, whole
from tvad.answer.time_words import SECONDS
from tvad.answer.times import TIME, Item, items
from tvad.answer.timing import Timing
from tvad.answer.words import CORRECTS

Span = tuple[float, float]
Spans = tuple[Span, ...] | Literal["none"]
NONE: Literal["none"] = "none"  # the span of a normal video
WHOLE = 0.05  # seconds by which a span of the whole video may differ from it
MAX_SPANS = 1000  # of an answer
TAIL = 1 << 16  # characters of a free text that are read, its last ones: what counts is said at the end
ROUNDED = 0.011  # seconds past the end that rounding to hundredths explains

_EMPTY = re.compile(r"[^\w]*(?:n/a|[^\[\]]{0,60}[:=]\s{0,9}\[\s{0,9}\]|\[\s{0,9}\])[^\w]*", re.IGNORECASE)

NEXT_TO = 120  # characters behind a correction in which the right times stand
MOST_CORRECTIONS = 50
_INSTEAD = re.compile(r"(?<!\w)(?:instead of|rather than)(?!\w)", re.IGNORECASE)
_CORRECTS = re.compile(
    CORRECTS.pattern + r"|(?<!\w)(?:first|initially|originally) (?:thought|guessed|said|believed)"
    r"[^.;\n]{1,60}(?<!\w)but(?!\w)",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
PARTING = re.compile(r"[\W_]*(?:t(?:ime|imestamp)?[\W_]*\d?[\W_]*)?")  # between two bare times


def first_span(spans: Spans | None) -> Span | Literal["none"] | None:
    """The first of several spans; "none" and None as they are."""
    return (spans[0] if spans else None) if isinstance(spans, tuple) else spans


def read_span(text: str, timing: Timing | None = None) -> tuple[Span | Literal["none"] | None, list[str]]:
    """Content of a glue element with one span -> (span, defects); several are malformed. A reversed or empty
    span is returned as it stands, with its defect."""
    spans, defects = read_spans(text, timing)
    if isinstance(spans, tuple) and len(spans) > 1:
        return None, ["malformed_span"]
    return first_span(spans), defects


def read_spans(
    text: str, timing: Timing | None = None, protocol: bool = False
) -> tuple[Spans | None, list[str]]:
    """Content of a glue element -> (spans, defects), in the order in which they are written. One that cannot
    be read leaves all unread. protocol: in seconds or clock times alone."""
    if len(text) > 40 * MAX_SPANS:
        return None, ["malformed_span"]
    found = items(text)
    said = _distinct(found)
    if said is None:
        return None, ["undecided_span"]
    if not said:
        if _empty(text) or (not any(i.kind == TIME for i in found) and quiet(found)):
            return NONE, []
        if (all_of_it := whole(found)) is not None:
            return (None, ["malformed_span"]) if protocol else _resolved(found, [all_of_it], timing)
        times = [n for n, item in enumerate(found) if item.kind == TIME]
        if len(times) != 2 or {"or", "not", "none", "normal"} & {item.kind for item in found}:
            return None, ["non_finite_span" if _non_finite(found) else "malformed_span"]
        if not PARTING.fullmatch(text, found[times[0]].end, found[times[1]].start):
            return None, ["malformed_span"]  # "camera 3, clip 7"
        said = [Intervals(found).said(found[times[0]], found[times[1]], times[0], times[1])]
    within = {n for s in said for n in range(s.first, s.last + 1)}
    if any(i.kind == TIME and i.unit in (None, "bad") and n not in within for n, i in enumerate(found)):
        return None, ["malformed_span"]
    spans, defects = _resolved(found, said, timing)
    plain = all(i.unit in (None, "s", "clock") and not i.spelt for s in said for i in (s.start, s.end))
    return (None, ["malformed_span"]) if protocol and not plain and not defects else (spans, defects)


def read_text(text: str, timing: Timing | None = None) -> tuple[Spans | None, list[str]]:
    """Spans of a free text -> (spans, defects): those behind the last "answer" where there is one, else all
    that are not denied, each once; "none" where it says that nothing happens. No time said: (None, [])."""
    cut = []
    if len(text) > TAIL:
        start = len(text) - TAIL
        text, cut = text[max(start, text.find(" ", start, start + 100)) :], ["long_text"]  # at a word's end
    found = items(_corrected(_INSTEAD.sub("not", text)))
    said = _distinct(found)
    if said is None:
        return None, [*cut, "undecided_span"]
    last = said[-1].first if said else 0
    cue = max((n for n, item in enumerate(found[:last]) if item.kind == "answer"), default=-1)
    said = [s for s in said if s.first > cue]
    said = [s for s in said if not {"m", "other"} & {s.start.unit, s.end.unit}]
    said = [s for s in said if not s.start.unit == s.end.unit == "share"] or said
    if not said and (_empty(text) or quiet(found)):
        return NONE, cut
    if not said and (all_of_it := whole(found)) is not None:
        said = [all_of_it]
    if not said:
        return None, cut
    spans, defects = _resolved(found, said, timing)
    defects = [*cut, *defects]
    return _parts(tuple(dict.fromkeys(spans)), timing) if isinstance(spans, tuple) else spans, defects


def _parts(spans: tuple[Span, ...], timing: Timing | None) -> tuple[Span, ...]:
    """Without the whole video where parts of it are said too: "the clip runs from 0 to 20 s" says how long it
    is."""
    end = timing.duration if timing else None
    parts = tuple(s for s in spans if end is None or s[0] > WHOLE or s[1] < end - WHOLE)
    return parts or spans


def _corrected(text: str) -> str:
    """What stands behind the last correction that gives times anew; all of it where there is none."""
    for match in reversed(deque(_CORRECTS.finditer(text), maxlen=MOST_CORRECTIONS)):
        if not _DIGIT.search(text, 0, match.end()):
            break
        said = match.group().lower()
        if said.strip(" ,.") == "wait" and text[: match.start()].rstrip()[-1:].isalnum():
            continue  # "the people wait from …"
        if _distinct(items(text[match.end() :][:NEXT_TO])):
            return text[match.end() :]
    return text


def spans_in_text(text: str) -> list[Span]:
    """Every span of a free text, such as a rationale, that needs no clock and has no defect."""
    found = items(text)
    spans: list[Span] = []
    for said in _distinct(found) or ():
        read, defects = _resolved(found, [said], None)
        if isinstance(read, tuple) and not defects:
            spans += read
    return spans


def _distinct(found: list[Item]) -> list[Said] | None:
    """The spans that are not denied; None where there are alternatives ("3 to 7 s or 8 to 12 s"). One in
    round brackets behind another says the same in another unit: it stands in where that cannot be read."""
    kept: list[Said] = []
    last, held = -1, False
    for said in Intervals(found).spans():
        between = [item.kind for item in found[last + 1 : said.first]]
        if "or" in between and last >= 0 and {*between} <= {"or", "comma", "from", "between"}:
            if held:
                return None
        elif last >= 0 and between[:1] == ["open"] and found[last + 1].text == "(":
            if held:
                kept[-1].aside = said
        elif held := not denied(found, said, last):
            kept.append(said)
        last = said.last
    return kept


def _resolved(
    found: list[Item], said: Sequence[Said], timing: Timing | None
) -> tuple[Spans | None, list[str]]:
    """Seconds of spans as they were said. Several that cannot all be read are all unread."""
    if len(said) > MAX_SPANS:
        return None, ["malformed_span"]
    spans: list[Span] = []
    defects: list[str] = []
    nothing = 0
    for one in with_units(found, said):
        span, more = _seconds(one, timing)
        if span is None and one.aside is not None:
            span, more = _seconds(one.aside, timing)
        if span is None:
            return None, list(dict.fromkeys(more))
        defects += more
        if span == NONE:
            nothing += 1
        else:
            spans.append(span)
    if nothing:
        return (NONE, []) if not spans else (None, ["malformed_span"])
    return tuple(spans), list(dict.fromkeys(defects))


def with_units(found: list[Item], said: Sequence[Said]) -> list[Said]:
    """A unit said once counts for all that it is listed with: "frames 3-5 and 8-9", "1-2, 4-5 min"."""
    done = list(said)
    for n in range(len(done) - 1, 0, -1):
        if not done[n].start.before:
            done[n - 1] = _given(found, done[n - 1], done[n].end.unit, done[n - 1], done[n])
    for n in range(1, len(done)):
        if done[n - 1].start.before:
            done[n] = _given(found, done[n], done[n - 1].start.unit, done[n - 1], done[n])
    return done


def _given(found: list[Item], said: Said, unit: str | None, one: Said, other: Said) -> Said:
    """The span with the unit, where it has none of its own and `one` and `other` are listed side by side."""
    if unit not in _SCALED or said.start.unit is not None or said.end.unit is not None:
        return said
    if not {i.kind for i in found[one.last + 1 : other.first]} <= {"comma", "and", "semi", "from", "between"}:
        return said
    return replace(said, start=replace(said.start, unit=unit), end=replace(said.end, unit=unit))


_SCALED = (*SECONDS, "frame", "percent", "m", "other")
_DEFECTS = {
    "frame": "frame_span",
    "smpte": "frame_span",
    "percent": "percent_span",
    "share": "relative_span",
    "m": "unknown_unit_span",
    "other": "unknown_unit_span",
    "conflict": "mixed_unit_span",
    "non_finite": "non_finite_span",
    "bad": "malformed_span",
}


def seconds_of(time: Item, timing: Timing) -> float | None:
    """Seconds of one time; None where its unit needs a clock that is not known."""
    if time.unit in (None, "clock"):
        return time.value
    if time.unit in SECONDS:
        return time.value * SECONDS[time.unit]
    if time.unit == "share" and time.value == 0:
        return 0.0
    if time.unit == "frame":
        return timing.frame(time.value)
    if time.unit in ("share", "percent") and timing.duration is not None:
        return time.value * timing.duration / (100 if time.unit == "percent" else 1)
    return None


def _seconds(said: Said, timing: Timing | None) -> tuple[Span | Literal["none"] | None, list[str]]:
    """(span in seconds, defects) of one span as it was said, cut at the video's end where that is known."""
    timing = timing or Timing()
    start, end = said.start, said.end
    if start.unit is None and end.unit in _SCALED:
        start = replace(start, unit=end.unit)  # "3 to 7 min"
    elif end.unit is None and start.unit in _SCALED and start.unit != "s":
        if not start.before:
            return None, ["mixed_unit_span"]  # "2 min to 3"
        end = replace(end, unit=start.unit)  # "frames 40 to 90"
    if start.doubtful or end.doubtful:
        return None, ["malformed_span"]  # "1,000 s"
    a, b = seconds_of(start, timing), seconds_of(end, timing)
    if a is None or b is None:
        return None, [_DEFECTS[(start if a is None else end).unit or "bad"]]
    if said.back:
        a = max(0.0, b - a)
    if max(abs(a), abs(b)) > 1e9:
        return None, ["malformed_span"]
    if (a, b) in ((0, 0), (-1, -1)):  # how VAU-Bench and VAU-R1's prompt write a normal video
        return NONE, []
    if a < 0 or b < 0:
        return None, ["negative_span"]
    if b <= a:
        return (a, b), ["reversed_span" if b < a else "empty_span"]
    defects = ["open_span"] if said.open else []
    if timing.duration is not None and b > timing.duration:
        if b > timing.duration + ROUNDED:
            defects.append("span_beyond_video")
        b = timing.duration if a < timing.duration else b
    return (a, b), defects


def _empty(text: str) -> bool:
    return len(text) <= 200 and _EMPTY.fullmatch(text) is not None


def _non_finite(found: list[Item]) -> bool:
    return any(item.unit == "non_finite" for item in found)
