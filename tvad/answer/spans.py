"""Spans of time as answers write them: read from an element's content or from free text. Seconds."""

import math
import re
from typing import Literal

from tvad.answer.script import FULL_WIDTH

Span = tuple[float, float]
Spans = tuple[Span, ...] | Literal["none"]
NONE: Literal["none"] = "none"  # the span of a normal video

_TIME = re.compile(
    r"(?P<sign>-?)(?:(?P<h>\d{1,6}):)?(?P<m>\d{1,6}):(?P<s>\d{1,2}(?:\.\d{0,12})?)(?!\d)|(?P<plain>-?(?:\d{1,18}\.?\d{0,18}|\.\d{1,18})(?:e[+-]?\d{1,3})?)(?P<pct>\s?%)?"
    r"|(?P<bad>-?\b(?:nan|inf(?:inity)?)\b)",
    re.IGNORECASE,
)
_NONE = re.compile(r"(?:none|no\s?anomaly|normal|n/a|null|\[\s{0,9}\])", re.IGNORECASE)
BRACKETED = re.compile(r"\[([^\[\]]{1,80})\]")
_FROM_TO = re.compile(
    r"\bfrom\s{1,3}([\d:.]{1,12})\s{0,3}s?(?:ec(?:onds?)?)?\s{1,3}to\s{1,3}([\d:.]{1,12})", re.IGNORECASE
)


def first_span(spans: Spans | None) -> Span | Literal["none"] | None:
    """The first of several spans; "none" and None as they are."""
    return (spans[0] if spans else None) if isinstance(spans, tuple) else spans


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
    text = text.translate(FULL_WIDTH).strip()
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


def spans_in_text(text: str) -> list[Span | Literal["none"]]:
    """Every "from a to b" and then every `[a, b]` in free text."""
    found = []
    for pattern in (_FROM_TO, BRACKETED):
        for match in pattern.finditer(text):
            span, defects = read_span(", ".join(match.groups()))
            if span is not None and not defects:
                found.append(span)
    return found
