"""Times of a table: seconds, clock times, or in the unit that the column's name or the cell says; never a
unit guessed. Raises ValueError with the value and what was expected.

A time stays as it is written, a frame's number or a share of the video, until the video has been opened
(`seconds`).
"""

import datetime
import json
import re
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from tvad.answer import NONE, Timing
from tvad.common.errors import InputError
from tvad.data.table.cells import MOST_TEXT, folded, is_missing, short, text_of
from tvad.data.table.columns import UNIT_OF, Column, words_of

SPANLESS = ("none", "[]", "no span", "no anomaly", "normal")  # what a span's cell says of a normal video
SAID = {
    None: "seconds or clock times, as no unit is said",
    "s": "seconds",
    "ms": "milliseconds",
    "min": "minutes",
    "h": "hours",
    "frame": "frame numbers from 0 on, a span until its end's frame appears",
    "percent": "percent of the video's length",
    "clock": "clock times",
}
_FACTOR = {"s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0}
_WORDS = "|".join(sorted((word for word in UNIT_OF if UNIT_OF[word] != "clock"), key=len, reverse=True))


def _pattern(decimal: str) -> re.Pattern:
    number = rf"\d{{1,12}}(?:{decimal}\d{{1,12}})?(?:e[+-]?\d{{1,2}})?"
    return re.compile(
        r"(?P<clock>(?:\d{1,3}:)?\d{1,5}:\d{1,2}(?:\.\d{1,12}|,\d{1,3})?)(?![\d:])"
        rf"|(?P<parts>(?:\d{{1,4}}\s?h(?:ours?)?\s?)?\d{{1,5}}\s?m(?:in|inutes?)?\s?{number}\s?s(?:ec|econds?)?\b)"
        rf"|(?:(?P<before>frames?|f)\s?)?(?P<number>{number})(?:\s?(?P<unit>(?:{_WORDS})\b|%))?",
        re.IGNORECASE,
    )


_EITHER, _POINT = _pattern("[.,]"), _pattern(r"\.")  # decimals with a comma too; without
_BETWEEN = re.compile(r"-->|->|→|–|—|−|~|〜|\.\.+|\bto\b|\buntil\b|\bbis\b|至|到", re.IGNORECASE)
_PAIR = r"(?:T-T|\[T[-, ]T\])"
_SPANS = re.compile(rf"\[?{_PAIR}(?:[;,| ]?{_PAIR})*\]?|\[?T[, ]T(?:[, ]T[, ]T)*\]?")
_FILLER = re.compile(r"(?<![\w.:])-1(?:\.0+)?(?![\d.:])")  # what programs write for no time
_HOLE = "\ue000"


class Time(NamedTuple):
    """A moment: `unit` is s, frame or percent."""

    value: float
    unit: str


RawSpan = tuple[Time, Time]


def seconds(time: Time, timing: Timing) -> float:
    """Seconds of a moment in a video, as answers are read (docs/spans.md). Raises InputError for a frame that
    the video has not."""
    if time.unit == "frame":
        if timing.times is None:  # evenly spaced: beyond the end too, which is cut or refused later
            return time.value / (timing.fps or 1.0)
        if (found := timing.frame(time.value)) is None:
            raise InputError(f"frame {time.value:g} is none of the video's {len(timing.times)}")
        return found
    return time.value / 100 * (timing.duration or 0.0) if time.unit == "percent" else time.value


def _float(text: str, comma: bool, value: Any) -> float:
    if "," in text and not comma:
        raise ValueError(
            f"is {short(value)}: the comma may begin decimals or another number; expected a point"
        )
    return float(text.replace(",", "."))


def _of_match(match: re.Match, column: Column, comma: bool, value: Any) -> Time:
    """The moment of a pattern's match. What column and cell say of its unit must not differ."""
    said = column.unit
    if match["clock"] or match["parts"]:
        if said not in (None, "s", "clock"):
            raise ValueError(f"is {short(value)}, but the column says {said}; expected one of the two")
        numbers = [_float(piece, True, value) for piece in re.findall(r"\d+(?:[.,]\d+)?", match.group())]
        if any(number >= 60 for number in numbers[1:]):
            raise ValueError(f"is {short(value)}; expected minutes and seconds below 60")
        return Time(sum(n * 60**power for power, n in enumerate(reversed(numbers))), "s")
    own = "frame" if match["before"] else (match["unit"] or "").replace("%", "percent").lower()
    if match["before"] and match["unit"]:
        raise ValueError(f"is {short(value)}; expected one unit")
    unit = UNIT_OF[own] if own else said
    if own and said not in (None, unit):
        raise ValueError(f"is {short(value)}, but the column says {said}; expected one of the two")
    if unit == "clock":
        raise ValueError(f"is {short(value)}; expected a clock time such as 0:03, as the column says")
    thousand = r"[1-9]\d{0,2}[.,]\d{3}" if comma or unit == "frame" else r"[1-9]\d{0,2},\d{3}"
    if unit in ("ms", "frame") and re.fullmatch(thousand, match["number"]):
        raise ValueError(
            f"is {short(value)}: it may be thousands; expected the number without a point or comma"
        )
    return _in(_float(match["number"], comma, value), unit, value)


def _in(number: float, unit: str | None, value: Any) -> Time:
    if unit is None or unit in _FACTOR:
        return Time(number * _FACTOR[unit or "s"], "s")
    if unit == "frame" and number != int(number):
        raise ValueError(f"is {short(value)}; expected a whole number of frames")
    if unit == "percent" and number > 100:
        raise ValueError(f"is {short(value)}; expected at most 100 percent")
    return Time(number, unit)


def time_of(value: Any, column: Column, comma: bool = False) -> Time | None:
    """A moment; None where the cell is missing. `comma`: decimals may have one."""
    if isinstance(value, datetime.time):
        value = datetime.timedelta(
            hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond
        )
    if isinstance(value, datetime.timedelta) and column.unit in (None, "s", "clock"):
        return Time(value.total_seconds(), "s")
    if isinstance(value, bool) or not isinstance(value, (str, int, float, type(None))):
        raise ValueError(f"is {short(value)}; expected a time in {SAID[column.unit]}")
    if is_missing(value):
        return None
    if isinstance(value, (int, float)) and column.unit != "clock":
        if not 0 <= value < 1e12:
            raise ValueError(f"is {short(value)}; expected a time from 0 on")
        return _in(float(value), column.unit, value)
    text = re.sub(r"^0 days ", "", text_of(value) or "")
    match = _EITHER.fullmatch(text)
    if match is None:
        raise ValueError(f"is {short(value)}; expected seconds, or a clock time such as 0:03 or 00:01:05.5")
    return _of_match(match, column, comma, value)


def pair_of(start: Any, end: Any, one: Column, other: Column, comma: bool = False) -> RawSpan | None:
    """A span of two cells; None where both are missing. Raises ValueError that names the column."""
    found = []
    for value, column in ((start, one), (end, other)):
        try:
            found.append(time_of(value, column, comma))
        except ValueError as error:
            raise ValueError(f"{column.name!r:.60} {error}") from None
    a, b = found
    if a is None and b is None:
        return None
    if one.unit is None and other.unit is None and isinstance(start, str) and isinstance(end, str):
        matches = [_EITHER.fullmatch(text.strip()) for text in (start, end)]
        units = [_own(match) if match and match["number"] else "s" for match in matches]
        if units.count(None) == 1 and not {"s"} & set(units):
            raise ValueError(
                f"{one.name!r:.60} is {short(start)}, {other.name!r:.60} is {short(end)}; expected the unit"
                " in both"
            )
    if a is None or b is None:
        empty, full = (one, other) if a is None else (other, one)
        value = end if a is None else start
        raise ValueError(
            f"{empty.name!r:.60} is empty, but {full.name!r:.60} is {short(value)}; expected both or neither"
        )
    if b.unit == "frame" and "last" in words_of(other.name):
        b = Time(b.value + 1, "frame")  # the last frame still belongs
    return a, b


def spans_of(value: Any, column: Column, comma: bool = False) -> list[RawSpan] | Literal["none"] | None:
    """Spans of one cell: "3-7; 12-15", [[3, 7], [12, 15]], {"start": 3, "end": 7}; "none" where it says that
    there is none, None where it is missing."""
    if isinstance(value, str):
        if folded(value[:40]) in SPANLESS:
            return NONE
        if value.strip()[:1] in ("[", "{") and len(value) <= MOST_TEXT:
            value = _json(value)
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, (list, tuple)):
        return _of_list(list(value), column, comma) if value else NONE
    text = None if is_missing(value) else text_of(value)
    return None if text is None else _of_text(text, column, comma)


def _json(text: str) -> Any:
    """A list of JSON, also one without its outer brackets, else the text."""
    for whole in (text, f"[{text}]"):
        try:
            return json.loads(whole)
        except (ValueError, RecursionError):
            continue
    return text


def _of_list(rows: list, column: Column, comma: bool) -> list[RawSpan]:
    if not any(isinstance(row, (list, tuple, dict, str)) for row in rows):  # 3, 7, 12, 15
        rows = [rows[n : n + 2] for n in range(0, len(rows), 2)]
    elif len(rows) == 2 and all(isinstance(r, str) and _EITHER.fullmatch(r.strip()) for r in rows):
        rows = [rows]  # "0:03", "0:07"
    found: list[RawSpan] = []
    for row in rows:
        if isinstance(row, str):
            found += _of_text(row, column, comma)
            continue
        if isinstance(row, dict):
            if set(row) != {"start", "end"}:
                raise ValueError(
                    f"is {short(row)}; expected the keys start and end (a class of its own: a row a span)"
                )
            row = [row["start"], row["end"]]
        if not isinstance(row, (list, tuple)) or len(row) != 2:
            raise ValueError(f"holds {short(row)}; expected pairs of start and end")
        a, b = (time_of(moment, column, comma) for moment in row)
        found += _whole(a, b, row)
    return found


def _whole(a: Time | None, b: Time | None, value: Any) -> list[RawSpan]:
    if (a is None) != (b is None):
        raise ValueError(f"is {short(value)}; expected both start and end of a span")
    return [] if a is None or b is None else [(a, b)]


def _of_text(text: str, column: Column, comma: bool) -> list[RawSpan]:
    """Pairs parted by a dash, "to" or, in brackets, a comma; pairs are parted by semicolons or commas."""
    found: list[re.Match | None] = []

    def take(match: re.Match) -> str:
        found.append(None if match.group() == _HOLE else match)
        return "T"

    body = _BETWEEN.sub("-", _FILLER.sub(_HOLE, text))
    pattern = _EITHER if comma else _POINT
    skeleton = re.sub(f"{_HOLE}|{pattern.pattern}", take, body, flags=re.IGNORECASE)
    skeleton = re.sub(r"[\s\"']+", " ", skeleton).strip().replace("(", "[").replace(")", "]")
    skeleton = re.sub(r" ?([\[\],;|-]) ?", r"\1", skeleton).rstrip(";,|")
    if not _SPANS.fullmatch(skeleton) or (comma and "," in skeleton):
        raise ValueError(f"is {short(text)}; expected spans such as 3-7; 12-15 or [[3, 7], [12, 15]]")
    spans: list[RawSpan] = []
    pairs = list(zip(found[::2], found[1::2], strict=True))
    units = {_said(pair) for pair in pairs if any(pair)}
    if column.unit is None and None in units and units - {None, "s", "clock"}:
        raise ValueError(f"is {short(text)}; expected the unit of every span")
    for one, other in pairs:
        shared = _shared(one, other, text)
        both = replace(column, unit=shared) if shared and column.unit is None else column
        a, b = (match and _of_match(match, both, comma, text) for match in (one, other))
        spans += _whole(a, b, text)
    return spans


def _shared(one: re.Match | None, other: re.Match | None, text: str) -> str | None:
    """The unit of a pair that one of its numbers alone says: behind the last ("5-80%") or before the first
    ("frame 30-70"). Raises ValueError for one behind the first alone, but seconds."""
    units = [_own(match) if match and match["number"] else None for match in (one, other)]
    if not (one and other and one["number"] and other["number"]) or units.count(None) != 1:
        return None
    if units[0] and not one["before"] and units[0] != "s":
        raise ValueError(f"is {short(text)}; expected the unit behind both times")
    return units[0] or units[1]


def _said(pair: tuple[re.Match | None, re.Match | None]) -> str | None:
    """The unit that a pair says at either end; "clock" for a clock time."""
    units = [_own(match) if match["number"] else "clock" for match in pair if match]
    return next((unit for unit in units if unit), None)


def _own(match: re.Match) -> str | None:
    """The unit that a time itself says."""
    own = "frame" if match["before"] else (match["unit"] or "").replace("%", "percent").lower()
    return UNIT_OF[own] if own else None
