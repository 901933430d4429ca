"""What the columns of a table mean: by their names, whatever case, spaces and underscores, or as `--columns`
says.

What a name says of a unit (`start_ms`, "end (s)", "start frame"), of an index's first number ("answer
(0-based)") or of a box ("bbox xywh px") counts.
"""

import functools
import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any

from tvad.common.config import nearest
from tvad.common.errors import InputError

# Field -> names by which a column is taken for it; after || those that count only where no other does. Spaces
# are for the eye.
ALIASES = {
    "video": "video|video name|video file|video file name|video path|video id|vid|file|file name|file path"
    "|clip|clip name|clip file|clip id|clip path|media|recording|footage||name|path|id",
    "question": "question|q|query|question text|prompt",
    "options": "options|choices|candidates|alternatives|answer options|answer choices|option list",
    "answer": "answer|correct option|correct answer|correct choice|correct|right answer|right option|gold"
    "|gold answer|solution|answer key|answer letter|correct letter|answer index|answer idx|correct index"
    "|correct idx|answer text||key",
    "label": "is anomaly|is anomalous|is abnormal|has anomaly|anomaly|anomalous|abnormal|abnormality"
    "|anomaly label|binary label|label|is normal|normal|no anomaly|is no anomaly|not anomaly|is not anomaly"
    "|non anomaly|not anomalous|is not anomalous|non anomalous|is non anomalous|not abnormal|is not abnormal"
    "|non abnormal|without anomaly|anomaly free|is anomaly free",
    "category": "category|class|anomaly class|anomaly type|anomaly category|crime|crime type|event class"
    "|event type|event category|class name|class label|category name|categories|classes",
    "start": "start|start time|begin|begin time|onset|from|start second|anomaly start|event start|t start"
    "|time start|first frame",
    "end": "end|end time|stop|stop time|finish|to|until|end second|anomaly end|event end|t end|time end"
    "|last frame|offset",
    "duration": "event duration|anomaly duration|span duration|segment duration",
    "spans": "spans|span|intervals|interval|segments|segment|time spans|time span|time range|anomaly spans"
    "|anomaly span|timestamps|windows|relevant windows|temporal|when||times|time",
    "description": "description|caption|summary|video description|event description",
    "rationale": "rationale|reasoning|explanation|reason|why|justification|chain of thought|cot",
    "key_object": "key object|main object|target object||object|subject",
    "box": "box|bbox|bounding box|boxes",
    "box_time": "box time|bbox time|box timestamp|bbox timestamp|box frame|bbox frame",
    "topic": "topic|question topic",
    "split": "split|subset|partition",
}
TIMES = ("start", "end", "duration", "spans", "box_time")
SEVERAL = ("options", "start", "end")  # fields that may have more than one column
SINGLE = ("question", "answer", "label", "category", "duration", "spans", "box", "box_time")
UNITS = {
    "s": "s sec secs second seconds",
    "ms": "ms msec msecs millis millisecond milliseconds",
    "min": "min mins minute minutes",
    "h": "h hour hours",
    "frame": "frame frames frameno framenumber frameindex frameidx",
    "percent": "percent pct",
    "clock": "clock mmss hhmmss hms timecode",
}
UNIT_OF = {word: unit for unit, words in UNITS.items() for word in words.split()}
# Units that are written in names, but not known here: refused, never left out.
_NO_UNITS = (
    "us usec usecs microsecond microseconds ns nanosecond nanoseconds cs centisecond centiseconds ds"
    " tick ticks day days pts hhmm hmm sample samples"
)
NO_UNITS = frozenset(_NO_UNITS.split())
INVERTED = re.compile(r"(?:is)?(?:normal|(?:no|not|non|without).*|anomalyfree)")
ORDERS = ("xyxy", "xywh", "cxcywh")
SCALES = {
    "px": "px",
    "pixel": "px",
    "pixels": "px",
    "01": "1",
    "normalized": "1",
    "normalised": "1",
    "01000": "1000",
    "permille": "1000",
}
NEAR = 0.85  # likeness from which a column that nobody awaits is taken for a slip of the pen


@dataclass(frozen=True, slots=True)
class Column:
    """A field's column. `unit` of times, None where nothing says one; `first`: number of the first option, of
    an index; `order` and `scale` of a box; `inverted`: yes means normal."""

    name: str
    unit: str | None = None
    first: int | None = None
    order: str | None = None
    scale: str | None = None
    inverted: bool = False


Fields = dict[str, tuple[Column, ...]]


def said(**fields: str | Sequence[str]) -> str:
    """`--columns` for a shell: {field: "column"}."""

    def word(value: Any) -> str:
        return (
            value if value in ("…", "null") else json.dumps(value[:60], ensure_ascii=False, allow_nan=False)
        )

    parts = (
        f"{field}: {word(value) if isinstance(value, str) else '[' + ', '.join(map(word, value)) + ']'}"
        for field, value in fields.items()
    )
    return f"--columns '{{{', '.join(parts)}}}'"


@functools.lru_cache(maxsize=4096)
def words_of(name: str) -> tuple[str, ...]:
    """A column's name as small words."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", " ", unicodedata.normalize("NFKC", name[:200]))
    words = re.findall(r"[^\W_]+", name.replace("%", " percent ").lower())
    return tuple(word for word in words if word != "in")


def _aliases(part: str) -> list[str]:
    return [alias.replace(" ", "") for alias in part.split("|") if alias]


# (names that count, names that count where no other does)
_NAMES = {field: tuple(map(_aliases, (text + "||").split("||")[:2])) for field, text in ALIASES.items()}
_OPTION = re.compile(
    r"(option|opt|choice|candidate|alternative|answer|ans|a)([0-9]{1,2})"
    r"|(option|opt|choice|candidate|alternative|answer|ans|)([a-z])"
)
_INDEX = re.compile(r"(?:index|idx)?(?:from(0|1|zero|one)|(0|1|zero|one)(?:based|indexed|index))")


def _column(field: str, name: str, alias: str, rest: Sequence[str]) -> Column | None:
    """The column called `alias` of a field, where the words `rest` beside say something of it; None where
    they do not."""
    said = "".join(rest)
    if field in TIMES:
        unit = next((u for u in ("frame", "second") if alias.endswith(u)), said)
        return Column(name, unit=UNIT_OF.get(unit)) if not said or UNIT_OF.get(unit) else None
    if not said:
        return Column(name, inverted=field == "label" and bool(INVERTED.fullmatch(alias)))
    if field == "answer" and (index := _INDEX.fullmatch(said)):
        return Column(name, first=int((index[1] or index[2]) in ("1", "one")))
    if field == "box":
        order = next((o for o in ("cxcywh", "xyxy", "xywh") if said.startswith(o)), None)
        scale = said.removeprefix(order or "")
        if not scale or scale in SCALES:
            return Column(name, order=order, scale=SCALES.get(scale))
    return None


def _match(name: str, field: str) -> tuple[Column, bool] | None:
    """(the column, whether by a strong name) where `name` is one of the field's."""
    words = words_of(name)
    for strong, aliases in zip((True, False), _NAMES[field], strict=True):
        for n in range(len(words), 0, -1):
            alias = "".join(words[:n])
            if alias in aliases and (found := _column(field, name, alias, words[n:])):
                return found, strong
        if field in TIMES and len(words) > 1 and words[0] in UNIT_OF:  # ms start
            alias = "".join(words[1:])
            if alias in aliases:
                return Column(name, unit=UNIT_OF[words[0]]), strong
        if field in TIMES and len(words) == 1:  # startframe
            for unit in sorted((word for word in UNIT_OF if len(word) > 1), key=len, reverse=True):
                if words[0].endswith(unit) and words[0].removesuffix(unit) in aliases:
                    return Column(name, unit=UNIT_OF[unit]), strong
    return None


def is_known(name: str) -> bool:
    """Whether a column of this name would be taken for a field."""
    return bool(_OPTION.fullmatch("".join(words_of(name)))) or any(_match(name, field) for field in ALIASES)


def _numbered(columns: Sequence[str], field: str) -> dict[int, Column]:
    """start1, start2, start.1 … in order: columns of one field, each with a number."""
    found = {}
    for name in columns:
        cut = re.fullmatch(r"(.*?)[\s_.-]{0,3}(\d{1,2})([\s_(\[].*)?", name.strip()[:200])
        if cut and (match := _match(cut[1] + (cut[3] or ""), field)) and match[1]:
            found[int(cut[2])] = replace(match[0], name=name)
    return dict(sorted(found.items()))


def _options(columns: Sequence[str], asked: bool) -> list[str]:
    """Columns that hold an option each, in order: from A, from 0 or from 1 on, without a gap. Raises
    InputError where two sets of them are there, and for a gap where a question is `asked`."""
    sets: dict[tuple[str, bool], dict[int, str]] = {}
    for name in columns:
        if match := _OPTION.fullmatch("".join(words_of(name))):
            kind, number, other, letter = match.groups()
            place = int(number) if number else ord(letter) - ord("a")
            sets.setdefault((kind or other or "", number is not None), {})[place] = name
    whole: list[list[str]] = []
    broken: list[list[str]] = []
    for (_, numbered), found in sets.items():
        places = sorted(found)
        if not numbered:  # Q and T are no options, but behind J
            places = [n for n in places if n < 10 or all(k in found for k in range(n))]
        firsts = (0, 1) if numbered else (0,)
        if len(places) > 1:
            names = [found[n] for n in places]
            is_whole = places[0] in firsts and places == list(range(places[0], places[-1] + 1))
            (whole if is_whole else broken).append(names)
    if broken and asked and not whole:
        names = broken[0]
        raise InputError(
            f"columns {', '.join(map(repr, names[:10]))}: options with a gap; expected them from the first"
            f" on, or say them in order: {said(options=names)}"
        )
    if len(whole) > 1:
        raise InputError(
            f"columns {whole[0][0]!r} and {whole[1][0]!r} both begin a set of options; say which:"
            f" {said(options=whole[0])}"
        )
    return whole[0] if whole else []


def by_name(columns: Sequence[str], given: Fields) -> Fields:
    """Fields by the columns' names, beside those that are `given`. Raises InputError for two columns of one
    field and for a name that nearly is one of a field without a column."""
    found = dict(given)
    free = [name for name in columns if name not in _taken(given)]
    free = _without_offsets(free, given)
    asked = "question" in given or any(_match(name, "question") for name in free)
    options = [] if "options" in given else _options(free, asked)
    free = [name for name in free if name not in options]
    for field in (field for field in ALIASES if field not in given):
        matches = [match for name in free if name not in _taken(found) and (match := _match(name, field))]
        for strong in (True, False):
            if field == "spans" and not strong and "start" in found:
                break  # "time" beside a start and an end is no span
            chosen = [column for column, sure in matches if sure == strong]
            if len(chosen) > 1:
                raise InputError(
                    f"columns {chosen[0].name!r:.60} and {chosen[1].name!r:.60} both look like {field}; say"
                    f" which: {said(**{field: chosen[0].name})}"
                )
            if chosen:
                found[field] = (chosen[0],)
                break
    if options and "options" not in found:
        found["options"] = tuple(map(Column, options))
    elif options and "options" not in given:
        raise InputError(
            f"columns {found['options'][0].name!r:.60} and {options[0]!r:.60} both look like options; say"
            f" which: {said(options=found['options'][0].name)}"
        )
    further = {field: _numbered(free, field) for field in ("start", "end") if field not in given}
    if len(further) == 2 and len(further["start"]) == len(further["end"]) and "duration" not in found:
        for one, other in zip(further["start"].items(), further["end"].items(), strict=True):
            if one[0] != other[0]:
                raise InputError(
                    f"column {one[1].name!r:.60} goes with no end, {other[1].name!r:.60} no start"
                )
    for field, several in further.items():
        if several:
            found[field] = (*found.get(field, ()), *several.values())
    for field in SINGLE:
        if field not in given and (more := _numbered([n for n in free if n not in _taken(found)], field)):
            extra = next(iter(more.values())).name
            kept = found[field][0].name if field in found else extra
            raise InputError(
                f"column {extra!r:.60} looks like one more {field}; expected one a row, further ones in rows"
                f" of their own; to leave it out say {said(**{field: kept})}"
            )
    for name in columns:
        if name not in _taken(found):
            _refuse_unit(name, given)
    for name in free:
        if name not in _taken(found):
            _refuse_slip(name, [field for field in ALIASES if field not in found and _wanted(field, found)])
    return {field: found[field] for field in ALIASES if found.get(field)}


def _without_offsets(columns: Sequence[str], given: Fields) -> list[str]:
    """The columns, without those called offset where none is called onset: those (of a clock, of frames) are
    no ends."""

    def says(word: str, names: Sequence[str]) -> list[str]:
        return [name for name in names if word in "".join(words_of(name))]

    starts = [column.name for column in given.get("start", ())] or columns
    offsets = [] if says("onset", starts) else says("offset", columns)
    return [name for name in columns if name not in offsets]


def _taken(fields: Fields) -> set[str]:
    return {column.name for columns in fields.values() for column in columns}


def _wanted(field: str, found: Fields) -> bool:
    """Whether a field without a column would say more: not when, where that is said."""
    if field in ("spans", "start", "end", "duration"):
        return not {"spans", "start"} & found.keys()
    return field != "box_time" or "box" in found


def _unit_in(name: str) -> str | None:
    """The unit that a column's name says, whatever the name. Raises InputError for one that is not known."""
    words = words_of(name)
    tails = ["".join(words[n:]) for n in range(len(words))] + list(words[:1])
    tails = [tail for tail in tails if tail != name.lower() or len(tail) > 1]
    known = next((UNIT_OF[tail] for tail in tails if tail in UNIT_OF), None)
    held = re.search(r"[(\[]([^()\[\]]{1,20})[)\]]\s*$", name[:200])
    if known is None and (held or any(tail in NO_UNITS for tail in tails)):
        unit = held[1] if held else words[-1]
        raise InputError(
            f"column {name!r:.60} says {unit!r}, which is no unit that is known; expected {', '.join(UNITS)}:"
            ' such as "(ms)" or "(mm:ss)", or unit: in --columns'
        )
    return known


def _refuse_unit(name: str, given: Fields) -> None:
    """Raise InputError for a column of times whose name says a unit that is not known."""
    words = words_of(name)
    heads = {"".join(words[:n]) for n in range(1, len(words))}
    for field in TIMES:
        if field not in given and heads & set(_NAMES[field][0]):
            _unit_in(name)


def _refuse_slip(name: str, fields: Sequence[str]) -> None:
    """Raise InputError for a column whose name nearly is one of a field's that has no column."""
    for field in fields if len(name) < 40 else ():
        for alias in ALIASES[field].partition("||")[0].split("|"):
            if len(alias) > 3 and likeness(name, alias) >= NEAR:
                say = said(**{field: name})
                if field == "label" and {"no", "not", "non", "without"} & set(words_of(name)):
                    written = json.dumps(name, allow_nan=False)
                    say = f"--columns '{{label: {{column: {written}, inverted: true}}}}'"
                raise InputError(
                    f"column {name!r:.60} is nearly {alias!r}, a name of {field}, which has no column; say"
                    f" {say}, or {said(**{field: 'null'})} if it is none"
                )


def likeness(name: str, alias: str) -> float:
    """0 to 1, of a column's name and one of `ALIASES`."""
    return SequenceMatcher(None, "".join(words_of(name)), alias.replace(" ", "")).ratio()


def declared(data: Any, columns: Sequence[str], where: str = "--columns") -> Fields:
    """What `--columns` says: {field: column, or several, or {column: …, unit: …}, or null for none}. Raises
    InputError that names the field or column, and the nearest that there is."""
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: expected {{field: column, …}}, found {data!r:.80}")
    found: Fields = {}
    for field, value in data.items():
        if field not in ALIASES:
            raise InputError(f"{where}: unknown field {field!r:.60}; {nearest(str(field), ALIASES)}")
        entries = value if isinstance(value, list) else [] if value is None else [value]
        if len(entries) > 1 and field not in SEVERAL:
            raise InputError(f"{where}: {field}: expected one column, found {len(entries)}")
        found[field] = tuple(_declared(field, entry, columns, f"{where}: {field}") for entry in entries)
    return found


def _declared(field: str, value: Any, columns: Sequence[str], place: str) -> Column:
    allowed: dict[str, Callable[[Any], bool]] = {"column": lambda v: True}
    allowed |= {"unit": lambda v: v in UNITS} if field in TIMES else {}
    allowed |= {"first": lambda v: v in (0, 1)} if field == "answer" else {}
    allowed |= {"inverted": lambda v: isinstance(v, bool)} if field == "label" else {}
    if field == "box":
        allowed |= {"order": lambda v: v in ORDERS, "scale": lambda v: str(v) in SCALES.values()}
    expected = {
        "unit": ", ".join(UNITS),
        "first": "0 or 1",
        "inverted": "true or false",
        "order": ", ".join(ORDERS),
        "scale": "px, 1 or 1000",
    }
    data = value if isinstance(value, Mapping) else {"column": value}
    for key, setting in data.items():
        if key not in allowed:
            raise InputError(f"{place}: unknown key {key!r:.60}; {nearest(str(key), allowed)}")
        if not allowed[key](setting):
            raise InputError(f"{place}: {key} is {setting!r:.40}; expected {expected[key]}")
    if isinstance(data.get("column"), bool):
        raise InputError(f"{place}: YAML reads this name as {data['column']}; put it in quotes")
    name = str(data.get("column"))
    alike = [column for column in columns if words_of(column) == words_of(name)]
    if name not in columns and len(alike) != 1:
        hint = nearest(name, columns).replace("known keys:", "there are")
        raise InputError(f"{place}: no column {name!r:.60}; {hint}")
    name = name if name in columns else alike[0]
    match = _match(name, field)  # what the name itself says holds where nothing else is said
    given: dict[str, Any] = {
        key: str(v) if key == "scale" else v for key, v in data.items() if key != "column"
    }
    column = match[0] if match else Column(name)
    if field in TIMES and column.unit is None and "unit" not in given:
        column = replace(column, unit=_unit_in(name))
    return replace(column, **given)
