"""Boxes as answers write them: the families' notations, and the one place that converts their units to
0..1000 of the frame's width and height. The suite says the unit and it is never guessed: what contradicts it
is a defect. docs/answers.md lists notations and units with their sources."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from tvad.answer import words
from tvad.answer.script import plain
from tvad.answer.statements import NEAR, clause_before

XYXY = tuple[float, float, float, float]
Unit = Literal["permille", "permille_yx", "unit", "percent", "pixels", "loc"]
# Full scale of a unit. Pixels have the picture's.
SCALES = {"permille": 1000.0, "permille_yx": 1000.0, "unit": 1.0, "percent": 100.0, "loc": 1024.0}
Y_FIRST = ("permille_yx", "loc")
MOST = 100_000  # characters of an element

_KEYS = ("box", "bbox", "bbox_2d", "box_2d", "bounding_box", "boundingbox", "xyxy", "coordinates")
_TIMES = ("t", "time", "timestamp", "seconds")
_CORNERS = (
    ("x1", "y1", "x2", "y2"),
    ("x0", "y0", "x1", "y1"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"),
)
_SIDES = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))

_NUMBER = r"[-+]?(?:\d{1,9}(?:\.\d{0,12})?|\.\d{1,12})"
_MARKED = r"(?:\s?(?:px|%))?"  # what says another unit than the suite, and is looked for by itself
_COMMA = rf"{_MARKED}\s{{0,3}}[,;\s]\s{{0,3}}"
_LIST = re.compile(rf"[\[(]\s{{0,3}}{_COMMA.join([rf'({_NUMBER})'] * 4)}{_MARKED}\s{{0,3}}[\])]")
_BARE = re.compile(_COMMA.join([rf"({_NUMBER})"] * 4) + _MARKED)
# Florence-2, MiniGPT-v2, Kosmos-like tokens.
_BINS = re.compile(r"\{?" + r"<(?:loc_|bin_|[xy]_)?(\d{1,3})>" * 4 + r"\}?")
# Several behind one another in one bracket: CogVLM, Shikra.
_NEXT = re.compile(
    rf"({_NUMBER}(?:\s?,\s?{_NUMBER}){{3}})\s?;(?=\s?{_NUMBER}(?:\s?,\s?{_NUMBER}){{3}}(?![\d.]))"
)
_POINT_TAG = re.compile(r"<points?\s[^<>]{0,4000}>", re.IGNORECASE)  # Molmo's: places without extent
_OF_POINTS = re.compile(r"(?<![a-z])(?:key)?points?(?:_2d)?(?![a-z])", re.IGNORECASE)
_POINT = rf"[\[(]\s{{0,3}}({_NUMBER}){_COMMA}({_NUMBER}){_MARKED}\s{{0,3}}[\])]"
_POINTS = re.compile(rf"{_POINT}[^()\[\]\d]{{0,40}}{_POINT}")
_LOC = re.compile(r"<loc(\d{4})>\s?<loc(\d{4})>\s?<loc(\d{4})>\s?<loc(\d{4})>")
_NAMES = sorted({name for row in (*_CORNERS, *_SIDES) for name in row}, key=len, reverse=True)
_NAMED = re.compile(
    rf"(?<![\w.])({'|'.join(_NAMES)})(?:[\"']?\s{{0,3}}[=:]\s{{0,3}}\"?|>\s?)({_NUMBER})", re.IGNORECASE
)
_ALONE = re.compile(rf"(?<![\w.]){_NUMBER}(?=px|\W|$)")
_FENCE = re.compile(r"```(?:[a-z]{0,12}\n)?", re.IGNORECASE)
_MARKS = re.compile(
    r"<\|?/?(?:object_ref_start|object_ref_end|box_start|box_end|begin_of_box|end_of_box|ref|det|bbox|box|seg)\|?>"
)
_DIGIT = re.compile(r"\d")
_BRACKET = re.compile(r"[\[(]")
_SAID = {"%": "percent", "px": "pixels", "pixel": "pixels"}
# Said of the four numbers: a corner and a size, a centre and a size, or which axis comes first.
_GAP = r"[^\w\d]{1,4}"
_SIZED = re.compile(
    rf"(?<![a-z])(?:c?x_?c?y_?w_?h(?![a-z])|c?x{_GAP}c?y{_GAP}w(?:idth)?{_GAP}h(?:eight)?(?![a-z]))",
    re.IGNORECASE,
)
_X_FIRST = re.compile(rf"(?<![a-z])(?:x_?(?:min|[01]){_GAP}y_?(?:min|[01])|xyxy)(?![a-z])", re.IGNORECASE)
_IS_Y_FIRST = re.compile(rf"(?<![a-z])(?:y_?(?:min|[01]){_GAP}x_?(?:min|[01])|yxyx)(?![a-z])", re.IGNORECASE)
# What may stand between a word that denies and the box it denies.
_PLACED = re.compile(
    r"(?:[\s\"'*(:]{1,3}(?:in|at|within|inside|on|near|the|this|that|an?|is|it|of|with|located|box|bbox|bounding|region"
    r"|area|coordinates)(?![a-z])){1,8}[\s\"'*(:]{0,4}$",
    re.IGNORECASE,
)
_LAST_WORDS = re.compile(r"(?:\S{1,30}\s{0,3}){0,2}$")
_NO_BOX = re.compile(r"(?<!\w)no (?:bounding |such |valid )?box(?:es)?(?!\w)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Box:
    """A box in 0..1000 of the frame's width and height, at `t` seconds (None: the moment that the question
    names)."""

    xyxy: XYXY
    t: float | None = None


Raw = tuple[XYXY | None, float | None]  # four numbers (None: not so) as they are written, and seconds


def in_permille(values: XYXY, unit: Unit, size: tuple[int, int] | None) -> tuple[XYXY | None, str | None]:
    """Four numbers as a family writes them -> (x1, y1, x2, y2) in 0..1000, or a defect. `size`: width and
    height of the picture that pixels are about."""
    if unit in Y_FIRST:
        values = (values[1], values[0], values[3], values[2])
    if unit == "pixels" and size is None:
        return None, "box_without_picture"
    wide, high = (float(side) for side in size) if unit == "pixels" and size else (SCALES[unit],) * 2
    if (unit == "unit" and max(values) > 1) or (unit != "unit" and 0 < max(values) <= 1):
        return None, "box_unit"  # a box of a thousandth of the frame, or of one pixel, is none
    x1, y1, x2, y2 = (value / side * 1000 for value, side in zip(values, (wide, high) * 2, strict=True))
    if min(x1, y1, x2, y2) < 0 or max(x1, y1, x2, y2) > 1000 + 1e-6:
        return None, "box_outside_frame"
    if x2 <= x1 or y2 <= y1:
        return None, "reversed_box"
    return (x1, y1, x2, y2), None


def read_boxes(
    text: str, unit: Unit = "permille", size: tuple[int, int] | None = None
) -> tuple[tuple[Box, ...], list[str]]:
    """Content of a box element -> (boxes, defects). Boxes outside the frame, reversed or in another unit
    keep their defect and are dropped."""
    if len(text) > MOST:
        return (), ["malformed_box"]
    text = _plain(text)
    return _converted(list(_written(text)) or [(None, None)], text, unit, size)


def boxes_in_text(
    text: str, unit: Unit = "permille", size: tuple[int, int] | None = None
) -> tuple[tuple[Box, ...], list[str]]:
    """Boxes in free text, each once; nothing where there are none."""
    if not _DIGIT.search(text):
        return (), []
    text = _plain(text)
    rows = _fenced(text)
    if not rows:
        held, defect = _that_stand(text, _held(text))
        if defect:
            return (), [defect]
        rows = list(_in_words(text, held))
    rows = [*_tokens(text), *rows] or _bare(text)
    return _converted(list(dict.fromkeys(rows)), text, unit, size)


def _that_stand(text: str, held: list[re.Match[str]]) -> tuple[list[re.Match[str]], str | None]:
    """Of lists of four in a free text those that it says, or why none: not what it denies ("it is not at
    [...]"), only what stands behind its last correction, none of alternatives ("[...] or [...]")."""
    said = [match for match in held if not _denied(text, match)]
    if held and not said:
        return [], "denied_box"
    if len(said) > 1:
        corrections = list(words.CORRECTS.finditer(text, said[0].end(), said[-1].start()))
        if corrections:
            said = [match for match in said if match.start() >= corrections[-1].end()]
    if any(words.OPEN.fullmatch(text, a.end(), b.start()) for a, b in pairwise(said)):
        return [], "undecided_box"
    return said, None


def _denied(text: str, box: re.Match[str]) -> bool:
    before = _PLACED.sub(" ", clause_before(text, box.start()))
    near = _LAST_WORDS.search(before)
    return (
        words.BEFORE_DENIES.search(near.group() if near else before) is not None
        or words.AFTER_DENIES.match(text[box.end() : box.end() + NEAR]) is not None
        or _NO_BOX.search(text, max(0, box.start() - NEAR), box.start()) is not None
    )


def _plain(text: str) -> str:
    text = _BINS.sub(r"[\1, \2, \3, \4]", _POINT_TAG.sub(" ", plain(text)))
    return _NEXT.sub(r"\1], [", text) if ";" in text and _BRACKET.search(text) else text


def _bare(text: str) -> list[Raw]:
    """Numbers without brackets, a box a line or between semicolons, where the text holds nothing else."""
    parts = [part for part in re.split(r"[;\n]", _MARKS.sub(" ", text).strip()) if part.strip()]
    found = [_BARE.fullmatch(part.strip()) for part in parts[:1000]]
    if not all(found):
        found = [_BARE.fullmatch(_MARKS.sub(" ", text).strip())]
    return [(_four(list(match.groups())), None) for match in found if match]


def _converted(
    rows: list[Raw], text: str, unit: Unit, size: tuple[int, int] | None
) -> tuple[tuple[Box, ...], list[str]]:
    said = next((said for word, said in _SAID.items() if rows and word in text.lower()), unit)
    if "<loc" in text:
        said = "loc"
    boxes, defects = [], []
    other = _SIZED.search(text) or (_X_FIRST if unit in Y_FIRST else _IS_Y_FIRST).search(text)
    for values, t in rows:
        if values is None:
            defects.append("malformed_box")
        elif other:
            defects.append("box_order")
        elif said != unit or (unit == "loc" and "<loc" not in text):
            defects.append("box_unit")
        else:
            xyxy, defect = in_permille(values, unit, size)
            boxes += [Box(xyxy, t)] if xyxy else []
            defects += [defect] if defect else []
    return tuple(boxes), defects


def _written(text: str) -> Iterator[Raw]:
    """What a box element holds: tokens, JSON, or numbers in some other dress."""
    if rows := list(_tokens(text)):
        yield from rows
        return
    text = _FENCE.sub(" ", _MARKS.sub(" ", text)).strip()
    try:
        yield from _rows(json.loads(text))
    except RecursionError:
        yield None, None
    except ValueError:
        rows = list(_in_words(text, _held(text)))
        numbers = _ALONE.findall(text)
        if not rows and len(numbers) == 4:
            rows = [(_four(numbers), None)]
        yield from rows or _bare(text)


def _tokens(text: str) -> Iterator[Raw]:
    for match in _LOC.finditer(text):
        yield _four(list(match.groups())), None


def _fenced(text: str) -> list[Raw]:
    """JSON in a code fence, or a text that is JSON."""
    for part in text.split("```")[1::2] if "```" in text else [text]:
        if len(part) <= MOST and any(key in part for key in ('"', "[")):
            try:
                rows = [row for row in _rows(json.loads(_FENCE.sub("", f"```{part}").strip())) if row[0]]
            except (ValueError, RecursionError):
                continue
            if rows:
                return rows
    return []


def _held(text: str) -> list[re.Match[str]]:
    """Lists of four and pairs of points, in order."""
    held = [*_LIST.finditer(text), *(m for m in _POINTS.finditer(text) if not _mere_points(text, m))]
    return sorted(held, key=lambda match: match.start())


def _in_words(text: str, held: list[re.Match[str]]) -> Iterator[Raw]:
    """Lists of four and pairs of points, else named corners."""
    for match in held:
        yield _four(list(match.groups())), None
    if not held:
        named: dict[str, Any] = {}
        for match in _NAMED.finditer(text):
            named.setdefault(match.group(1).lower(), match.group(2))
        if (values := _of_names(named)) is not None:
            yield values, None


def _mere_points(text: str, pair: re.Match[str]) -> bool:
    """Are two points called so ("points (1, 2) and (3, 4)")? They are no corners then."""
    said = text[max(0, pair.start() - 40) : pair.start()] + text[pair.end(2) : pair.start(3)]
    return _OF_POINTS.search(said) is not None


def _rows(data: Any) -> Iterator[Raw]:
    """Boxes in a JSON value; one that is none is (None, None)."""
    if isinstance(data, str) and (bare := _BARE.fullmatch(data.strip(" []()"))):
        data = list(bare.groups())
    if (values := _four(data)) is not None:
        yield values, None
    elif isinstance(data, list) and data and all(isinstance(row, (dict, list)) for row in data):
        for row in data:
            yield from _rows(row)
    elif isinstance(data, dict):
        named = {str(key).lower(): value for key, value in data.items()}
        given = next((named[key] for key in _TIMES if key in named), None)
        t = None if given is None else _number(given)
        places = [named[key] for key in _KEYS if key in named]
        if not places and _of_names(named) is None:
            places = [
                value
                for key, value in named.items()
                if isinstance(value, (list, dict)) and not _OF_POINTS.search(key)
            ]
        rows = [row for place in places for row in _rows(place)] or [(_of_names(named), None)]
        for values, inner in rows:
            yield (None if given is not None and t is None else values), (t if inner is None else inner)
    else:
        yield None, None


def _of_names(named: dict[str, Any]) -> XYXY | None:
    """Corners, or a corner with width and height, by their names."""
    for keys in _CORNERS:
        if all(key in named for key in keys):
            return _four([named[key] for key in keys])
    for keys in _SIDES:
        if all(key in named for key in keys) and (values := _four([named[key] for key in keys])):
            x, y, width, height = values
            return x, y, x + width, y + height
    if "top_left" in named and "bottom_right" in named:
        return _four([named["top_left"], named["bottom_right"]])
    return None


def _four(data: Any) -> XYXY | None:
    """Four numbers, or two points."""
    if isinstance(data, list) and len(data) == 2 and all(isinstance(p, list) and len(p) == 2 for p in data):
        data = [*data[0], *data[1]]
    if not isinstance(data, list) or len(data) != 4:
        return None
    numbers = [number for value in data if (number := _number(value)) is not None]
    return (numbers[0], numbers[1], numbers[2], numbers[3]) if len(numbers) == 4 else None


def _number(value: Any) -> float | None:
    """A finite number, also one written as text, with s or px behind it or not."""
    if isinstance(value, str):
        match = re.fullmatch(rf"\s{{0,3}}({_NUMBER})\s{{0,3}}(?:px|s|sec|seconds)?\s{{0,3}}", value)
        value = float(match.group(1)) if match else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) <= 1e6 and math.isfinite(value) else None
