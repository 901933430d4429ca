"""Numbers as answers to counting and timing questions: the one that a text gives, compared by math-verify."""

import re
from fractions import Fraction
from functools import lru_cache

from tvad.answer.script import plain
from tvad.answer.statements import MOST, Mention, Read, read, stated_before
from tvad.answer.wrapped import unwrapped

_DIGITS = r"[-+]?(?:\d{1,3}(?:,\d{3}){1,6}(?!\d)|\d{1,15})(?:\.\d{1,15})?(?:e[-+]?\d{1,3})?|[-+]?\.\d{1,15}"
_FRACTION = rf"(?:{_DIGITS})\s?/\s?\d{{1,15}}|\\d?frac\{{-?\d{{1,15}}\}}\{{\d{{1,15}}\}}"
_NUMBER = re.compile(rf"(?<![\w.])(?:{_FRACTION}|{_DIGITS})(?:\s?%)?(?![\d_])", re.IGNORECASE)
_ONLY = re.compile(
    rf"\s{{0,3}}(?:{_FRACTION}|{_DIGITS})\s?(?P<unit>%|[^\W\d_]{{1,20}}\.?)?\s{{0,3}}\.?\s{{0,3}}",
    re.IGNORECASE,
)
_UNIT = re.compile(r"\s?(?P<unit>[^\W\d_]{1,20})")
_BEFORE = stated_before("number|count|total|time|duration")
SECONDS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), Fraction(1, 1000)),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "秒"), Fraction(1)),
    **dict.fromkeys(("min", "mins", "minute", "minutes", "分钟"), Fraction(60)),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "小时"), Fraction(3600)),
}


@lru_cache(maxsize=1024)
def is_number(text: str) -> bool:
    """Is a reference one number, with a unit or not?"""
    return _ONLY.fullmatch(plain(text)) is not None


def read_number(text: str | None) -> Read:
    """The one number that a text gives, with its unit where that is one of time ("2 min"); or why there is
    none: nothing_said, several ("1, 2, 3"), denied, nothing_named."""
    if not text or not text.strip():
        return Read((), "nothing_said")
    parts = unwrapped(plain(text))
    if len(parts) != 1:
        return Read((), "several")
    mentions = []
    for match in list(_NUMBER.finditer(parts[0]))[-MOST:]:
        said = re.sub(r"[\s,]", "", match.group())
        unit = _UNIT.match(parts[0], match.end())
        timed = unit is not None and unit.group("unit").lower() in SECONDS
        end = unit.end() if unit and timed else match.end()
        mentions.append(
            Mention(
                match.start(), end, frozenset((f"{said} {unit.group('unit')}" if unit and timed else said,))
            )
        )
    return read(parts[0], mentions, _BEFORE)


def same_number(text: str | None, wanted: str) -> bool:
    """Does the text give this number, by math-verify's equality? Units of time are converted where both have
    one."""
    found = read_number(text).keys
    if not found:
        return False
    given, unit = _parted(found[0])
    right, wanted_unit = _parted(plain(wanted).replace(",", ""))
    if unit and wanted_unit and unit != wanted_unit:
        given, right = f"({given})*{unit}", f"({right})*{wanted_unit}"
    from math_verify import parse, verify

    parsed = [parse(each.removeprefix("+"), parsing_timeout=None) for each in (right, given)]
    return bool(verify(*parsed, timeout_seconds=None))


def _parted(said: str) -> tuple[str, Fraction | None]:
    """The number, and how many seconds its unit has."""
    match = _NUMBER.search(said)
    assert match is not None
    unit = _UNIT.match(said, match.end())
    return match.group(), SECONDS.get(unit.group("unit").lower()) if unit else None
