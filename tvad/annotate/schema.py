"""The JSON that a teacher is asked for, a frame a request, and how its reply is read. Nothing in a reply is
trusted: whatever is not of the schema is left out and counted, and words are letters, digits and a few signs,
so that no mark of a prompt, page or path gets through."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tvad.annotate.looks import same
from tvad.answer import split
from tvad.data.components import Corners, overlap
from tvad.data.narrate import THIRDS

MOST = 1 << 16  # characters of a reply that are read, behind its reasoning
MOST_THOUGHT = 1 << 20  # ... with it
MOST_TARGETS = 16  # of a frame
MOST_WORD = 40  # characters
PERMILLE = 1000  # boxes are asked for in 0..1000 of width and height (ours)
# What a target looks like, in words: its kind, the colour of a thing, a person's clothes, what is carried.
LOOKS = ("kind", "colour", "upper", "lower", "carries")
_NOTHING = {"", "none", "unknown", "null", "n a", "na", "nothing", "no", "not visible", "unclear"}
# What a teacher answers who keeps to another language than the prompt's.
_NOTHING |= {"无", "没有", "未知", "なし", "不明", "없음", "нет", "ничего", "неизвестно"}
_NOTHING |= {"nada", "ninguno", "ninguna", "desconocido", "aucun", "aucune", "rien", "inconnu"}
_NOTHING |= {"kein", "keine", "keiner", "nichts", "unbekannt"}
_ARTICLE = re.compile(r"^(?:an?|the)\s+(?=\S)")
_DENIES = {"no", "not", "none", "nothing", "without"}
_OBJECT = re.compile(r'\{\s*"')
_STRANGE = re.compile(r"[^\w\s'-]|_")
_UNSEEN = re.compile("[\u034f\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # marks that only choose a form
MOST_MARKS = 3  # of a letter
TWICE = 0.9  # overlap of two boxes of one look that are one target (ours)

_WORD = {"type": "string", "maxLength": 24}
_BOX = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": PERMILLE},
    "minItems": 4,
    "maxItems": 4,
}


def object_of(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_LOOK = dict.fromkeys(LOOKS, _WORD)
_TARGET = object_of(
    **_LOOK,
    action=_WORD,
    box=_BOX,
    region={"type": "string", "enum": list(THIRDS)},
    unusual={"type": "boolean"},
)
FRAME = object_of(targets={"type": "array", "items": _TARGET, "maxItems": MOST_TARGETS})
WHERE = object_of(visible={"type": "boolean"}, box=_BOX)
WHAT = object_of(**_LOOK)


@dataclass(frozen=True)
class Seen:
    """A target in a frame: `look`, the words of LOOKS that are known; box, inclusive pixels."""

    box: Corners
    look: dict[str, str]
    action: str | None = None
    unusual: bool = False


def read_object(text: str) -> dict[str, Any]:
    """The JSON object of a reply, behind its reasoning, which may hold drafts of it. Raises ValueError, whose
    words are the reason, for a reply without, and for several that differ: nobody knows which holds."""
    if not isinstance(text, str) or len(text) > MOST_THOUGHT:
        raise ValueError("too long")
    # What begins with its object has no reasoning: marks in its strings are words.
    said = text if text.lstrip().startswith("{") else split(text)[1]
    if len(said) > MOST:
        raise ValueError("too long")
    start = said.find("{")
    if start < 0:
        raise ValueError("no JSON object")
    found, end = _object_at(said, start)
    while again := _OBJECT.search(said, end):
        other, end = _object_at(said, again.start())
        if other != found:
            raise ValueError("several JSON objects that differ")
    return found


def _object_at(text: str, start: int) -> tuple[dict[str, Any], int]:
    """A JSON object and where it ends."""
    try:
        return json.JSONDecoder(object_pairs_hook=_single).raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise ValueError("malformed JSON") from error


def _single(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def without_signs(text: str, strange: re.Pattern[str]) -> str:
    """A text in one line, a blank for each run of what is `strange`; but what marks a letter before it is
    part of it (vowels of Hindi and Thai, accents), up to MOST_MARKS."""
    found, room = [], 0
    for c in unicodedata.normalize("NFKC", text):
        marks = room > 0 and unicodedata.category(c) in ("Mn", "Mc") and not _UNSEEN.fullmatch(c)
        found.append(" " if not marks and strange.fullmatch(c) else c)
        room = room - 1 if marks else MOST_MARKS if c.isalpha() else 0
    return " ".join("".join(found).split())


def word(value: Any) -> str | None:
    """A teacher's word or two as they may stand in a narrative, lower case; None for nothing said."""
    if not isinstance(value, str):
        return None
    plain = without_signs(value[:200].lower(), _STRANGE)[:MOST_WORD].strip(" '-")
    return None if plain in _NOTHING else plain


def look_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The words of LOOKS that a row states, without their own article ("backpack" for "a backpack"). What
    denies itself ("no bag") says nothing."""
    said = {name: word(row.get(name)) for name in LOOKS}
    bare = {name: _ARTICLE.sub("", text) for name, text in said.items() if text is not None}
    return {name: text for name, text in bare.items() if text.split()[0] not in _DENIES}


def box_of(value: Any, width: int, height: int) -> Corners | None:
    """[x1, y1, x2, y2] in 0..1000 as inclusive pixels; None for what is no box of the picture."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    if not all(isinstance(c, (int, float)) and not isinstance(c, bool) for c in value):
        return None
    if not all(0 <= c <= PERMILLE for c in value):  # which no NaN does
        return None
    if max(value) <= 1:  # shares of 0 to 1: in a large picture they would be a box of a few pixels
        return None
    x1, x2 = (round(c * width / PERMILLE) for c in value[::2])
    y1, y2 = (round(c * height / PERMILLE) for c in value[1::2])
    return (float(x1), float(y1), float(x2 - 1), float(y2 - 1)) if x1 < x2 and y1 < y2 else None


def targets_of(
    text: str, width: int, height: int, counts: Counter[str], doubts: set[str] | None = None
) -> list[Seen] | None:
    """The targets of a frame's reply, None where it says nothing that can be read: no JSON, or targets of
    which none is one. `counts` gets what was left out, by reason; `doubts` the reasons for which a target was
    left out that may be unusual: all but those that are said not to be."""
    try:
        rows = read_object(text).get("targets")
        if not isinstance(rows, list):
            raise ValueError("no targets")
    except ValueError as error:
        counts[f"reply: {error}"] += 1
        return None
    found: list[Seen] = []
    for number, row in enumerate(rows):
        try:
            if number >= MOST_TARGETS:
                raise ValueError("targets beyond the most")
            _join(found, _target_of(row, width, height), counts)
        except ValueError as error:
            counts[str(error)] += 1
            if doubts is not None and not (isinstance(row, dict) and row.get("unusual") is False):
                doubts.add(str(error))
    return found if found or not rows else None


def _join(found: list[Seen], seen: Seen, counts: Counter[str]) -> None:
    """Add a target, unless it is one that is there, told again: then it is unusual where it is so once."""
    for n, other in enumerate(found):
        shared = [name for name in LOOKS if name in seen.look and name in other.look]
        alike = all(same(name, seen.look[name], other.look[name]) for name in shared)
        if alike and overlap(np.array([seen.box]), np.array([other.box]))[0, 0] >= TWICE:
            found[n] = replace(other, unusual=other.unusual or seen.unusual)
            counts["targets told twice"] += 1
            return
    found.append(seen)


def _target_of(row: Any, width: int, height: int) -> Seen:
    """Raises ValueError, whose words are the reason, for a row that is no target."""
    box = box_of(row.get("box"), width, height) if isinstance(row, dict) else None
    if box is None:
        raise ValueError("targets without a box")
    look = look_of(row)
    if "kind" not in look:
        raise ValueError("targets without a kind")
    # A teacher that says left and draws right has not looked (ours); within a tenth of the border either is
    # right.
    centre, region = (box[0] + box[2] + 1) / 2 / width, row.get("region")
    if region in THIRDS and not (
        THIRDS.index(region) / 3 - 0.1 <= centre <= (THIRDS.index(region) + 1) / 3 + 0.1
    ):
        raise ValueError("targets whose region is not their box's")
    if not isinstance(unusual := row.get("unusual"), bool):
        raise ValueError("targets of which it is not said whether they are unusual")
    return Seen(box, look, word(row.get("action")), unusual)


def read_targets(text: str, width: int, height: int) -> list[Seen]:
    """As `targets_of`; raises ValueError where that gives None."""
    if (found := targets_of(text, width, height, Counter())) is None:
        raise ValueError("no targets")
    return found


def place_of(text: str, width: int, height: int) -> Corners | None:
    """Where a reply to WHERE finds its target; None for nowhere. Raises ValueError for no reply."""
    row = read_object(text)
    if not isinstance(visible := row.get("visible"), bool):
        raise ValueError("does not say whether it is visible")
    if not visible:
        return None
    box = box_of(row.get("box"), width, height)
    if box is None:
        raise ValueError("neither a box nor not visible")
    return box


def what_of(text: str) -> dict[str, str]:
    """What a reply to WHAT sees. Raises ValueError for no reply."""
    if not (look := look_of(read_object(text))):
        raise ValueError("says nothing")
    return look
