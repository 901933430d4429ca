"""Whether the columns of a table go together: what is missing, what is undecided, and what to say about it,
in one line that mends all of it."""

import re
from collections.abc import Callable
from typing import Any

from tvad.answer.classes import is_normal
from tvad.common.errors import InputError
from tvad.data.table import cells
from tvad.data.table.clips import Clips
from tvad.data.table.columns import ALIASES, Fields, likeness, said, words_of
from tvad.data.table.rows import Rows

LOOKED = 200  # rows by which a column is told that may be meant
_YES_NO = re.compile(r"(?:is|has).*|anomalous|abnormal|binary.*")
_XD = frozenset(("B1", "B2", "B4", "B5", "B6", "G"))
_ANOMALOUS = re.compile(r"anomal|abnormal|crime|incident|accident")


def settled(fields: Fields, rows: Rows, files: Clips) -> Fields:
    """The fields, where they go together. Raises InputError with everything that is missing or undecided, and
    what to say."""
    fields = _by_values(fields, rows)
    needs = {"options": ("question", "answer"), "question": ("answer",), "answer": ("question",)}
    needs |= {"end": ("start",), "duration": ("start",), "box": ("box_time",)}
    missing = [] if "video" in fields else ["video"]
    missing += [one for name, some in needs.items() if name in fields for one in some if one not in fields]
    if "start" in fields and not fields.keys() & {"end", "duration"}:
        missing.append("end")
    if missing := list(dict.fromkeys(missing)):
        raise InputError(_missing(missing, fields, rows, files))
    starts, ends = fields.get("start", ()), fields.get("end", ())
    if "duration" not in fields and len(starts) != len(ends):
        raise InputError(f"{len(starts)} columns of start, {len(ends)} of end; expected one of each a span")
    for one, other in zip(starts, (*ends, *fields.get("duration", ())), strict=False):
        if (one.unit is None) != (other.unit is None) and "clock" not in (one.unit, other.unit):
            loud, silent = (one, other) if one.unit else (other, one)
            where = next(name for name, some in fields.items() if silent in some)
            raise InputError(
                f"column {loud.name!r} says {loud.unit}, {silent.name!r} no unit; say it: --columns"
                f" '{{{where}: {{column: \"{silent.name}\", unit: {loud.unit}}}}}'"
            )
    if "spans" in fields and starts:
        raise InputError(
            f"columns {fields['spans'][0].name!r} and {starts[0].name!r} both say when; leave one out:"
            f" {said(spans='null')}"
        )
    for column in fields.get("box", ()):
        if column.order is None or column.scale is None:
            raise InputError(
                f"column {column.name!r}: it is not said what the four numbers of a box are; say --columns"
                f" '{{box: {{column: \"{column.name}\", order: xyxy, scale: px}}}}' (order xyxy, xywh or"
                " cxcywh; scale px, 1 or 1000)"
            )
    if not fields.keys() & {"question", "label", "category", "start", "spans", "description"}:
        raise InputError(
            f"no column says anything of the videos; there are {_listed(rows.columns)}; say --columns"
            " '{label: …}', or question and answer, start and end, category"
        )
    _refuse_bare_numbers(fields, rows)
    _refuse_codes(fields, rows)
    _refuse_ids(fields, rows)
    return fields


def abnormal(fields: Fields, rows: Rows) -> bool:
    """Whether a class other than Normal is an anomaly: the column is called so, or knows a class Normal."""
    if "category" not in fields:
        return False
    name = fields["category"][0].name
    return bool(_ANOMALOUS.search("".join(words_of(name)))) or any(
        is_normal(word) for row in rows.rows for word in cells.names_of(row.cells.get(name))
    )


def alone(fields: Fields, rows: Rows) -> frozenset[str]:
    """Cells of the column of classes, as they stand: classes that are some cell's only one."""
    names = [column.name for column in fields.get("category", ())]
    found = (cells.names_of(row.cells.get(name)) for name in names for row in rows.rows)
    return frozenset(some[0] for some in found if len(some) == 1)


def _refuse_ids(fields: Fields, rows: Rows) -> None:
    """Raise InputError for labels that are numbers of classes: 0 and 1 among them are no yes and no."""
    for column in fields.get("label", ()):
        texts = {str(row.cells.get(column.name)).strip() for row in rows.rows}
        ids = {int(float(text)) for text in texts if re.fullmatch(r"\d{1,6}(\.0)?", text)}
        if max(ids, default=0) > 1 and (ids & {0, 1} or len(ids) > 1):
            raise InputError(
                f"column {column.name!r:.60} holds the numbers {', '.join(map(str, sorted(ids)[:5]))}: of"
                " classes, it seems; write their names in a column class, or 0 and 1;"
                f" {said(label='null')} leaves it out"
            )


def _refuse_codes(fields: Fields, rows: Rows) -> None:
    """Raise InputError for XD-Violence's codes of classes: its A is no anomaly."""
    for column in fields.get("category", ()):
        codes = {word for row in rows.rows for word in cells.names_of(row.cells.get(column.name))}
        parted = {part for code in codes for part in re.split("[-_ ]", code.removeprefix("label_"))}
        if parted <= _XD | {"A", "0"} and parted & _XD and parted & {"A", "0"}:
            raise InputError(
                f"column {column.name!r:.60} holds the codes {', '.join(sorted(codes)[:5])}: of XD-Violence,"
                " it seems, where A is normal and B1, B2, B4, B5, B6, G are anomalies; write the classes'"
                " names, and Normal for A"
            )


def _by_values(fields: Fields, rows: Rows) -> Fields:
    """A column of labels that holds names of classes is one of classes, one of classes that says yes and no
    is one of labels."""
    for name, other in (("label", "category"), ("category", "label")):
        column = fields[name][0] if name in fields else None
        if column is None or other in fields or column.inverted:
            continue
        if name == "label" and _YES_NO.fullmatch("".join(words_of(column.name))):
            continue  # a class is none of these
        values = [v for row in rows.rows if not cells.is_missing(v := row.cells.get(column.name))]
        plain = sum(map(cells.is_verdict, values))
        if name == "category":
            moved = 0 < len(values) == plain
        else:
            moved = plain < len(values) and (
                2 * plain < len(values) or any(is_normal(w) for v in values for w in cells.names_of(v))
            )
        if moved:
            named = {other if key == name else key: some for key, some in fields.items()}
            return {key: named[key] for key in ALIASES if key in named}
    return fields


def _refuse_bare_numbers(fields: Fields, rows: Rows) -> None:
    """Raise InputError where answers are numbers and may be the options' numbers, from 0 or 1 on: reading
    them so fits as many rows as reading them as texts does, and says otherwise in one."""
    column = fields["answer"][0] if "answer" in fields else None
    if column is None or column.first is not None or "options" not in fields:
        return
    texts, numbers, letters, some = 0, 0, False, False
    places = {0: 0, 1: 0}  # rows that fit where the first option has this number
    other = {0: False, 1: False}  # whether one of them is another option by its text, or none
    for row in rows.rows:
        try:
            text = cells.text_of(row.cells.get(column.name), cells.EMPTY)
            options = cells.options_of([row.cells.get(option.name) for option in fields["options"]])
        except ValueError:
            continue  # the row is refused
        if text is None or options is None:
            continue
        plain = [cells.folded(option).rstrip(".") for option in options]
        word = cells.folded(text).rstrip(".")
        texts += word in plain
        if not re.fullmatch(r"-?\d{1,4}(\.0)?", text):
            letters |= cells.is_letter(text)
            continue
        numbers += 1
        some |= word in plain
        for first in places:
            place = int(float(text)) - first
            if 0 <= place < len(options):
                places[first] += 1
                other[first] |= word not in plain or plain.index(word) != place
    if some and any(places[first] >= texts and other[first] for first in places):
        raise InputError(
            f"column {column.name!r} holds numbers that are options and may be their numbers; write"
            f" letters, or say --columns '{{answer: {{column: \"{column.name}\", first: 0}}}}', or first: 1"
        )
    if numbers and not texts and not letters:
        raise InputError(
            f"column {column.name!r} holds numbers, and it is not said whether the first option is 0 or 1;"
            f" say --columns '{{answer: {{column: \"{column.name}\", first: 0}}}}', or first: 1"
        )


def _missing(missing: list[str], fields: Fields, rows: Rows, files: Clips) -> str:
    """One line that names the fields without a column, and the columns that may be meant."""
    taken = {column.name for some in fields.values() for column in some}
    guesses: dict[str, str] = {}
    for name in missing:
        used = taken | set(guesses.values())
        free = [column for column in rows.columns if column not in used]
        guess = _near(name, free)
        if name == "video":
            guess = by_content(rows, files.names, used) or guess
        elif name == "answer" and "options" in fields:
            guess = guess or by_content(rows, _answers(fields), used)
        elif name == "question":
            guess = guess or max(free, key=lambda column: _length(rows, column), default=None)
        if guess:
            guesses[name] = guess
    if headless := [column for column in rows.columns if files.names(column)]:
        return f"the first row holds {headless[0]!r:.60}, a video: expected the columns' names there"
    free = [column for column in rows.columns if column not in taken]
    say = said(**{name: guesses.get(name, "…") for name in missing})
    return (
        f"no column for {', '.join(missing)}; {'did you mean' if guesses else 'say'} {say}?"
        f" Columns that mean nothing yet: {_listed(free)}"
    )


def _length(rows: Rows, column: str) -> int:
    return sum(len(str(row.cells.get(column) or "")) for row in rows.rows[:LOOKED])


def _listed(columns: list[str]) -> str:
    return (
        ", ".join(f"{name!r:.40}" for name in columns[:30]) + (", …" if len(columns) > 30 else "")
    ) or "none"


def _near(name: str, columns: list[str]) -> str | None:
    aliases = [alias for alias in ALIASES[name].split("|") if alias]
    alike = {column: max(likeness(column, alias) for alias in aliases) for column in columns[:50]}
    best = max(alike, key=lambda column: alike[column], default=None)
    return best if best is not None and alike[best] >= 0.6 else None


def by_content(rows: Rows, fits: Callable[[Any, Any], bool], but: set[str]) -> str | None:
    """The column most of whose first cells fit."""
    some = rows.rows[:LOOKED]
    shares = {
        column: sum(fits(row.cells.get(column), row) for row in some)
        for column in rows.columns[:50]
        if column not in but
    }
    best = max(shares, key=lambda column: shares[column], default=None)
    return best if best is not None and shares[best] * 2 > len(some) else None


def _answers(fields: Fields) -> Callable[[Any, Any], bool]:
    def fits(value: Any, row: Any) -> bool:
        try:
            options = cells.options_of([row.cells.get(column.name) for column in fields["options"]])
            return bool(options and cells.letter_of(value, options, None))
        except ValueError:
            return False

    return fits
