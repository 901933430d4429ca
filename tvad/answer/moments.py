"""The moments that a text names, each with its place: what is moved where a text is put on another clock.

They are the times that make a span or follow a word such as "at"; lengths ("for 3 s", "the first 10
seconds"), shares and frame numbers are the same on every clock and stay out.
"""

import re
from bisect import bisect_left
from dataclasses import replace

from tvad.answer.intervals import Intervals, Said
from tvad.answer.spans import PARTING, with_units
from tvad.answer.time_words import SECONDS
from tvad.answer.times import TIME, Item, items

_GLUE = re.compile(r"<glue>([^<]{1,4000})</glue>", re.IGNORECASE)
_AT = re.compile(
    r"(?<!\w)(?:at|around|about|before|after|by|from|since|until|till|bei|um|ab|bis|seit|à|vers|dès|depuis|desde"
    r"|hasta)\s{1,3}$",
    re.IGNORECASE,
)
_LENGTH = re.compile(r"\s{1,3}(?:later|earlier|long|ago|before|after|apart)(?!\w)", re.IGNORECASE)


def moments_in(text: str) -> list[Item]:
    """The moments in order. Their `unit` is one of time, "clock", or None for seconds that do not say so; one
    that is said once counts for both ends of a span."""
    found = items(text)
    named = _in_tags(text, found)
    taken: set[int] = set()
    for said in with_units(found, list(Intervals(found).spans())):
        taken.update(range(said.first, said.last + 1))
        ends = _units(said) if _is_when(found, said) else ()
        own = {item.start: item for item in found[said.first : said.last + 1] if item.kind == TIME}
        for edge, unit in zip((said.start, said.end), ends, strict=False):
            if edge.unit != "share" and (item := own.get(edge.start)) is not None:
                named[item.start] = replace(item, unit=item.unit or unit)
    for n, item in enumerate(found):
        if n not in taken and item.kind == TIME and _alone(text, found, n):
            named.setdefault(item.start, item)
    kept = [named[start] for start in sorted(named)]
    return [i for i in kept if i.unit in (None, "clock", *SECONDS) and i.value >= 0 and not i.doubtful]


def _in_tags(text: str, found: list[Item]) -> dict[int, Item]:
    """The two bare numbers of <glue>3, 7</glue>."""
    named: dict[int, Item] = {}
    starts = [item.start for item in found]
    for match in _GLUE.finditer(text):
        inside = found[bisect_left(starts, match.start(1)) : bisect_left(starts, match.end(1))]
        times = [item for item in inside if item.kind == TIME]
        if len(times) == 2 and PARTING.fullmatch(text, times[0].end, times[1].start):
            named |= {item.start: item for item in times}
    return named


def _units(said: Said) -> tuple[str | None, ...]:
    """Units of both ends, one that counts for both given to both; none where it may not ("2 min to 3")."""
    start, end = said.start.unit, said.end.unit
    plain = (None, "s", "clock", "share")
    if start is None and end not in plain:
        start = end
    elif end is None and start not in plain:
        if not said.start.before:
            return ()
        end = start
    return start, end


def _is_when(found: list[Item], said: Said) -> bool:
    """Is it a span of time, no length and no count?"""
    inside = found[said.first : said.last + 1]
    kinds = {item.kind for item in inside}
    if said.back or (kinds & {"first", "last"} and not kinds & {"to", "until", "comma"}):
        return False  # "the first 10 seconds"
    if "open" in kinds or any(item.kind == TIME and item.unit is not None for item in inside):
        return True
    before = found[said.first - 1] if said.first else None
    behind = found[said.last + 1] if said.last + 1 < len(found) else None
    if before is not None and before.text in ("x", "y"):
        return False  # "x 100 to 200"
    led = said.start.unit or (before is not None and before.kind in ("from", "since", "between"))
    return bool(led) or behind is None or behind.kind != "word"  # "3 to 5 teenagers"


def _alone(text: str, found: list[Item], n: int) -> bool:
    """Is a time that makes no span a moment ("at 3 s")?"""
    item, before = found[n], found[n - 1].kind if n else "stop"
    if before in ("lasts", "length", "first", "last") or item.unit is None:
        return False
    if item.unit == "clock" or item.before:
        return True
    if _LENGTH.match(text, item.end):
        return False  # "3 s later"
    return before in ("start", "end") or _AT.search(text, max(0, item.start - 12), item.start) is not None
