"""From a text to its times: numbers with their units, clock times, the words around them; in one pass.

What comes out is a list of `Item`: times, and between them the words of `tvad.answer.time_words` by what they
do. Which two times make a span is for `tvad.answer.intervals` to say.
"""

import math
import re
from dataclasses import dataclass

from tvad.answer.script import FULL_WIDTH
from tvad.answer.time_words import HAN, KINDS, NUMBERS, SECONDS, TENS, UNITS

TIME = "time"
_WHOLE = ("ms", "frame")
_PLAIN = FULL_WIDTH | {
    **dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2014, 0x2015), "-"),
    **dict.fromkeys((0x301C, 0xFF5E, 0x223C), "~"),
    **dict.fromkeys((0x2192, 0x21D2, 0x2026), "~"),
    **dict.fromkeys((0xFF08, 0x3010), "("),
    **dict.fromkeys((0xFF09, 0x3011), ")"),
    **dict.fromkeys((0xFF5B, 0xFF1C), "{"),
    **dict.fromkeys((0xFF5D, 0xFF1E), "}"),
    0xFF1B: ";",
    0x2019: "'",
    0x201D: '"',
    0x2033: "″",
    0x3003: "″",
}
_THOUSANDS = "\x1f"  # stands for the comma of 10,000
_SPACELESS = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # Thai, kana, Han, Hangul
_SCRIPT = re.compile(f"[{_SPACELESS}]")
# With the marks of Arabic and Hindi, of which none is a letter too: two ways through a word of n letters make
# 2^n through a text.
_LETTER = rf"(?:[^\W\d_{_SPACELESS}]|(?!\w)[\u064b-\u0652\u0900-\u0965])"
_ORDINALS = {"st", "nd", "rd", "th", "e", "er", "re", "ème", "º", "ª"}
_FRACTION = r"(?:\.\d{1,12}|,\d{1,3}(?![\d:])(?!\.\d))?"
_CLOCK = rf"\d{{1,6}}:\d{{1,2}}(?::\d{{1,2}}(?:[:;]\d{{1,2}}(?![\d:]))?)?{_FRACTION}(?!:?\d)(?!\.\d)"
_SPACELESS_WORDS = "|".join(
    re.escape(word) for word in sorted({*KINDS, *UNITS}, key=len, reverse=True) if _SCRIPT.match(word)
)
_TOKEN = re.compile(
    rf"(?P<clock>(?<![\d.:]){_CLOCK})"
    rf"|(?P<number>\d+(?:{_THOUSANDS}\d{{3}})*(?:\.\d+)?(?:e[+-]?\d{{1,3}}(?![^\W\d_]))?|(?<!\d)\.\d+)"
    r"|(?P<dash>-{1,2}>|=>|\.{2,3}(?!\.)|[-~])"
    r"|(?P<open>[\[({<])|(?P<close>[\])}>])|(?P<comma>[,،])|(?P<semi>;)"
    r"|(?P<stop>\.(?!\w)|[!?。！？।؟|\n])"
    rf"|(?P<han>[{''.join(HAN)}]{{1,4}}(?=[到至~-]|{'|'.join(u for u in UNITS if re.match('[㐀-鿿]', u))}))"
    r"|(?P<word>(?:per|pour|por)\s{1,2}c[ei]+nt[o]?\b|(?:percent|porciento)\b|[%″′&+/]"
    rf"|{_SPACELESS_WORDS}|[{_SPACELESS}]|{_LETTER}*?(?-i:[a-z](?=[A-Z]))|{_LETTER}+(?:'{_LETTER}+)*)",
    re.IGNORECASE,
)
# "3,5 s to 7,25 s": a comma between digits is a decimal point where a word or dash parts the two numbers, or
# where a word stands before them and a unit behind. "1,000 ms": three digits behind it may be thousands.
_JOINT = r"(?:-|~|to|bis|a|à|до|по|hasta|until|till|und|and|et|y|e)"
_COMMA = re.compile(
    r"(?<![\d.,:])(?:\d{1,9}(?:,\d{1,12}){1,5}(?:\.\d{1,12})?|\d{1,3}(?:\.\d{3}){1,3},\d{1,12}"
    r"|[1-9]\d{0,2}(?:[ \u00a0\u202f]\d{3}){1,3})(?![\d:])(?!,\d)"
)
_GROUPED = re.compile(r"[1-9]\d{0,2}(?:(?:,\d{3})+(?:\.\d+)?|(?:\.\d{3})+,\d+|(?:\s\d{3})+)")
_JOINED = re.compile(rf"\s{{0,2}}[^\W\d_]{{0,9}}\s{{0,2}}{_JOINT}\s{{0,2}}\d", re.IGNORECASE)
_JOINS = re.compile(rf"\d\s{{0,2}}[^\W\d_]{{0,9}}\s{{0,2}}{_JOINT}\s{{0,2}}$", re.IGNORECASE)
_UNIT = re.compile(r"\s{0,2}(%|[^\W\d_]{1,14})")
_MINUTES = re.compile(r"(?<=\d)(\s?)['′](\s?\d{1,2}(?:[.,]\d{1,6})?\s?)(\"|''|″)|(?<=\d)'(?=\d\d(?![\w.,']))")


@dataclass(slots=True)
class Item:
    """A time (`kind` TIME, or "number" for one in words that no unit has confirmed yet), a bracket, or a word
    by its kind in `time_words`; "word" for any other. `start`, `end`: its place in the text, with the unit
    behind it; `text`: its number, or word. `unit`: of `time_words.UNITS`, "clock", "share" (of the video),
    "bad"; None where none is said. `before`: the unit stands before the number. `parts`: of several numbers
    ("1 min 5 s")."""

    kind: str
    start: int
    end: int
    text: str = ""
    value: float = 0.0
    unit: str | None = None
    before: bool = False
    spelt: bool = False
    parts: bool = False

    @property
    def doubtful(self) -> bool:
        """May it be a thousand times as much, or as little? 1,000 s may be 1 s, 1.000 frames a thousand; of
        ms and frames nobody writes thousandths with a comma."""
        if _THOUSANDS in self.text:
            return self.unit not in _WHOLE and self.text.count(_THOUSANDS) == 1 and "." not in self.text
        return self.unit == "frame" and re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", self.text) is not None


def _leads(unit: Item) -> bool:
    """Can the unit stand before its number? Han's seconds and minutes cannot (they end other words)."""
    return unit.unit not in ("m", "other") and (unit.unit == "frame" or not _SCRIPT.match(unit.text))


def _number(text: str) -> tuple[float, str | None]:
    value = float(text.replace(_THOUSANDS, "")) if len(text) <= 40 else math.inf
    return (value, None) if math.isfinite(value) else (0.0, "bad")


def _clock(text: str) -> tuple[float, str]:
    """Seconds of mm:ss or h:mm:ss with a fraction; "bad" for minutes or seconds beyond 59, "smpte" for a
    frame count behind the seconds."""
    parts = re.split("[:;]", text.replace(",", "."))
    if len(parts) == 4:
        return 0.0, "smpte"
    *hours, minutes, seconds = (float(part) for part in parts)
    if seconds >= 60 or (hours and minutes >= 60):
        return 0.0, "bad"
    return ((hours[0] if hours else 0) * 60 + minutes) * 60 + seconds, "clock"


def _han(text: str) -> float:
    """三, 十二, 二十五: numbers up to 99."""
    tens, ten, ones = text.rpartition("十")
    value = HAN[tens] if len(tens) == 1 else 1 if ten else 0
    return 10 * value + (HAN.get(ones, 0) if len(ones) < 2 else math.inf)


def _plain(text: str) -> str:
    """The text with decimal points for decimal commas, thousands and primes marked; as long as it was."""
    text = text.translate(_PLAIN)
    if "'" in text or "′" in text:
        text = _MINUTES.sub(lambda m: f"{m[1]}′{m[2]}{'″':<{len(m[3])}}" if m[3] else "′", text)
    return _COMMA.sub(_decimal, text)


def _decimal(match: re.Match) -> str:
    said, text, (start, end) = match[0], match.string, match.span()
    grouped, spaced = _GROUPED.fullmatch(said) is not None, "," not in said
    if not grouped and (said.count(",") > 1 or "." in said):
        return said  # a list
    behind, head = _UNIT.match(text, end), text[max(0, start - 24) : start]
    unit = UNITS.get(behind[1].lower()) if behind else None
    told = unit is not None and (grouped or re.search(r"[^\W\d_]\s$", head) is not None)
    onward = _JOINED.match(text, end)
    if spaced:  # "3 100" is one number only where it can be nothing else
        told = unit in _WHOLE
        onward = onward and _COMMA.match(text, onward.end() - 1)
    if not told and not onward and not _JOINS.search(head):
        return said  # two numbers
    if not grouped:
        return said.replace(",", ".")
    if re.search(r"\.\d+,", said):
        return said.replace(".", _THOUSANDS).replace(",", ".")
    return re.sub(r"[,\s]", _THOUSANDS, said)


def items(text: str) -> list[Item]:
    """Every time of the text and the words and brackets around them; articles and the like are left out."""
    text = _plain(text)
    found: list[Item] = []
    for match in _TOKEN.finditer(text):
        _add(found, match, text)
    return _unwrapped(_compound(_confirmed(found)))


def _add(found: list[Item], match: re.Match, text: str) -> None:
    """One token behind those that are found."""
    group, said = str(match.lastgroup), match[0].lower()
    item = Item(group, match.start(), match.end(), said)
    last = found[-1] if found else None
    if group in ("number", "clock"):
        ahead = text[item.start - 1 : item.start]
        known = last is not None and last.end == item.start and last.kind in ("unit", TIME)
        if ahead.isalpha() and not _SCRIPT.match(ahead) and not known:
            return  # the 2 of "person2"
        item.kind = TIME
        item.value, item.unit = _number(said) if group == "number" else _clock(said)
        if last is not None and last.kind == "to" and last.text == "-" and last.end == item.start:
            before = found[-2].kind if len(found) > 1 else "open"
            if before in ("open", "comma", "from", "start", "end", "to", "between", "and"):
                found.pop()
                item.value = -item.value
        if found and found[-1].kind == "unit" and item.unit is None and _leads(found[-1]):
            item.unit, item.before = found.pop().unit, True
    elif group == "han":
        item.kind, item.value, item.spelt = "number", _han(said), True
    elif group == "dash":
        if _opens_line(text, item.start) and text[item.end : item.end + 1].isspace():
            return  # a bullet
        item.kind = "to"
    elif group == "stop":
        if said == "." and last is not None and last.kind == TIME and _listed(text, last, item):
            found.pop()  # the 1. of a list
            return
        if said == "." and last is not None and last.kind == TIME and last.unit not in (None, "clock"):
            following = _TOKEN.match(text, item.end + (text[item.end : item.end + 1] == " "))
            if following and (following.lastgroup == "dash" or KINDS.get(following[0].lower()) == "to"):
                return  # "3 sec. to 7 sec."
    elif group == "word" and not _word(found, item, last):
        return
    elif said in ("f", "fr") and not text[item.end : item.end + 2].strip()[:1].isdigit():
        item.kind = "word"
    found.append(item)


def _opens_line(text: str, place: int) -> bool:
    before = text[max(0, place - 8) : place].rstrip(" \t*")
    return before.endswith("\n") or (not before and place <= 8)


def _listed(text: str, number: Item, stop: Item) -> bool:
    """Is the number with its full stop the mark of an entry in a list?"""
    return (
        number.end == stop.start
        and number.unit is None
        and _opens_line(text, number.start)
        and text[stop.end : stop.end + 1].isspace()
        and bool(text[stop.end : stop.end + 8].strip())
    )


def _word(found: list[Item], item: Item, last: Item | None) -> bool:
    """Give a word its kind, or its meaning to the number before it; False where it is to be left out."""
    said = re.sub(r"\s+", "", item.text)
    said = {"percent": "%", "pourcent": "%", "porciento": "%", "porcento": "%"}.get(said, said)
    if said in _ORDINALS and last is not None and last.kind == TIME and last.end == item.start:
        last.end = item.end
        return False
    unit = UNITS.get(said)
    if unit is not None and last is not None:
        number = last
        if last.kind == "to" and last.text == "-" and last.end == item.start and len(found) > 1:
            number = found[-2] if found[-2].end == last.start else last  # "20-second"
        if number.kind in (TIME, "number") and number.unit is None:
            if number is not last:
                found.pop()
            number.unit, number.end, number.kind = unit, item.end, TIME
            return False
        if number.kind == TIME and number.unit == "clock" and unit in SECONDS and number is last:
            number.unit = "clock" if unit != "h" else "conflict"
            number.end = item.end
            return False
    if said in ("nan", "inf", "infinity"):
        item.kind, item.unit = TIME, "non_finite"
        return True
    if said in NUMBERS or said in TENS:
        tens = found[-2] if last is not None and last.kind == "to" and len(found) > 1 else last
        if said in NUMBERS and tens is not None and tens.kind == "number" and tens.text in TENS:
            if last is not tens:
                found.pop()
            tens.value += NUMBERS[said]
            tens.text, tens.end = said, item.end
            return False
        item.kind, item.spelt = "number", True
        item.value = float(NUMBERS.get(said, TENS.get(said, 0)))
        return True
    if (kind := KINDS.get(said)) is not None:
        item.kind = kind
        return bool(kind)
    if unit is not None:
        item.kind, item.unit = "unit", unit
    return True


def _confirmed(found: list[Item]) -> list[Item]:
    """Numbers in words are times where a unit is said with them, or with the number that they lead to; else
    they are words."""
    for n in range(len(found) - 1, -1, -1):
        item = found[n]
        if item.kind != "number":
            continue
        ahead = found[n + 1 : n + 3]
        known = (
            len(ahead) == 2
            and ahead[0].kind in ("to", "until", "and")
            and ahead[1].kind == TIME
            and ahead[1].unit is not None
        )
        led = n > 0 and found[n - 1].kind == "unit" and _leads(found[n - 1])
        item.kind = TIME if known or led else "word"
        if led:
            item.unit, item.before, found[n - 1].kind = found[n - 1].unit, True, ""
    return [item for item in found if item.kind]


def _compound(found: list[Item]) -> list[Item]:
    """ "1 min 5 s", "1m05s", "1 h 30" as one time each."""
    done: list[Item] = []
    n = 0
    while n < len(found):
        item = found[n]
        if item.kind == TIME and [i.kind for i in done[-2:]] == [TIME, "of"]:
            done.pop()  # "1 of 3": how many there are
            n += 1
            continue
        while item.kind == TIME and n + 1 < len(found):
            step = 1
            if found[n + 1].kind in ("and", "comma") and n + 2 < len(found) and found[n + 2].unit in SECONDS:
                step = 2 if not (done and done[-1].kind in ("between", "open")) else 1
            other = found[n + step]
            # The m of "1m05s" is a minute because seconds follow, that of "1h 2m" because hours lead.
            if item.unit == "m" and other.unit in ("s", "ms") and other.start - item.end <= 1:
                item.unit = "min"
            if other.unit == "m" and item.unit == "h" and other.start - item.end <= 1:
                other.unit = "min"
            scale = SECONDS.get(item.unit or "", 0.0)
            if other.kind != TIME or scale < 1 or (other.unit is None and other.start - item.end > 2):
                break
            smaller = other.unit if other.unit is not None else "min" if item.unit == "h" else "s"
            size = SECONDS.get(smaller, scale)
            if size >= scale or not 0 <= other.value * size < scale or (step == 2 and other.unit is None):
                break
            item.value = item.value * scale + other.value * size
            item.unit, item.end, item.parts = "s", other.end, True
            n += step
            if size < 1:
                break
            if smaller == "min":
                item.value, item.unit = item.value / 60, "min"
        done.append(item)
        n += 1
    return done


def _unwrapped(found: list[Item]) -> list[Item]:
    """Brackets around a single time are left out; behind another time they go with it: "3.0 s (00:03)"."""
    done: list[Item] = []
    n = 0
    while n < len(found):
        inner = found[n : n + 3]
        if [i.kind for i in inner] == ["open", TIME, "close"]:
            if not (done and done[-1].kind == TIME and inner[0].text == "("):
                done.append(inner[1])
            n += 3
        else:
            done.append(found[n])
            n += 1
    return done
