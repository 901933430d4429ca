"""Which classes does an answer name? By a table of names and their other spellings, whatever their case,
plural, blanks or hyphens; a class that is denied is none, and a text that names none is not read."""

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tvad.answer.script import UNSPACED, folded, plain
from tvad.answer.statements import MOST, SHORT, Mention, Read, read, stated_before
from tvad.answer.verdict import judged
from tvad.answer.words import AFTER_NO, FOLLOWS_A_LETTER, REFUSES
from tvad.answer.wrapped import unwrapped

Table = Mapping[str, Sequence[str]]  # class: other names of it
Rows = tuple[tuple[str, tuple[str, ...]], ...]  # the same, to be looked up by

_BEFORE = stated_before(
    r"class|category|type|kind|label|anomaly|event|crime|incident|scene|video|clip"
    r"|类别|類別|类型|類型|种类|分类"
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_EDGE = rf"[^\W_{UNSPACED}]"
_LEAD_IN = re.compile(
    r"(?:(?:the |my |final |correct )*(?:answer|class|category|type|object|anomaly|label)(?: is|:| -| =)"
    r"\s{0,3})?(?:an?\s|the\s)?",
    re.IGNORECASE,
)
# Words beside "normal" that leave it one: of parts of a data set, and the sets' own names.
_OF_SETS = (
    "video videos event events clip clips scene scenes scenario class activity activities behavior behaviors"
    " behaviour behaviours testing training test train validation val set split part z for recognition x"
    " label ucf msad ubnormal shanghaitech nwpu tad ecva hivau vau"
)
_BESIDE = frozenset(_OF_SETS.split())
_NORMAL = re.compile(
    r"(?:no|non|not|without|keine)(?: an?)? ?(?:anomal(?:y|ies|ous|ie|ien)|abnormal(?:ity|ities)?"
    r"|(?:abnormal )?events?|incidents?|crimes?)|nothing|keine"
)
# Of a table of classes also these: in a column of labels they may be marks for what is missing.
_NO_CLASS = frozenset(("none", "background", "正常"))


@lru_cache(maxsize=4096)
def key_of(name: str) -> str:
    """A name without case, blanks, hyphens and underscores: spellings of one class have one key."""
    return re.sub(r"[\W_]+", "", folded(name))


def small_words(name: str) -> str:
    """A class's name as small words: NormalVideos, normal_videos and Normal-Videos003 alike."""
    parted = folded(re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", name))
    parted = re.sub(r"(?<![a-z])normal(?=\d|(?:video|event|clip|scene)s?(?![a-z]))", "normal ", parted)
    return re.sub(r"[\s_\-.]+", " ", parted).strip()


def is_normal(name: Any) -> bool:
    """Whether a class's name is the one of normal videos, as data sets write it: "no anomaly",
    Normal_Videos_event, Testing_Normal_Videos_Anomaly, normal_scene_1_scenario_4."""
    return isinstance(name, str) and len(name) <= 60 and _normal(name)


@lru_cache(maxsize=4096)
def _normal(name: str) -> bool:
    text = small_words(name)
    words = {word.rstrip("0123456789") for word in text.split()} - {""}
    # UCF-Crime's folders of normal videos end in Anomaly, as all of its folders do.
    beside = words - _BESIDE - ({"anomaly"} if words & {"video", "videos"} else set())
    return beside == {"normal"} or _NORMAL.fullmatch(text) is not None


def table_of(names: Iterable[str], further: Table | None = None) -> dict[str, list[str]]:
    """The table of a data set's class names, spellings of one class taken together, with the suite's further
    names and classes."""
    further = further or {}
    table: dict[str, list[str]] = {}
    held: dict[str, str] = {}
    for name in [*names, *further]:
        first = held.setdefault(key_of(name), name)
        others = table.setdefault(first, [])
        others += [other for other in (name, *further.get(name, ())) if other not in (first, *others)]
    return table


def rows_of(table: Table) -> Rows:
    """A table in the form in which it is looked up."""
    return tuple((name, tuple(others)) for name, others in table.items())


def read_classes(text: str | None, table: Table | Rows) -> Read:
    """The classes that a text names, in its order; or why there are none: nothing_said, several
    (alternatives), denied, refused, nothing_named."""
    if not text or not text.strip():
        return Read((), "nothing_said")
    rows = table if isinstance(table, tuple) else rows_of(table)
    return _cached(text, rows) if len(text) <= SHORT else _named(text, rows)


def _named(text: str, table: Rows) -> Read:
    named = [_read(part, table) for part in unwrapped(plain(text))]
    keys = tuple(dict.fromkeys(key for each in named for key in each.keys))
    return Read(keys) if keys else named[0]


_cached = lru_cache(maxsize=4096)(_named)


def same_name(text: str | None, wanted: str) -> bool:
    """Is the whole text this name, in any spelling? For answers without a table."""
    pattern = _pattern(re.sub(r"^(?:an?|the)\s", "", wanted, flags=re.IGNORECASE))
    parts = unwrapped(plain(text or ""))
    said = parts[0].strip(" \t\r\n.!*\"'`") if len(parts) == 1 else ""
    return (
        pattern is not None
        and len(said) <= 200
        and re.fullmatch(f"{_LEAD_IN.pattern}{pattern}", said, re.I) is not None
    )


def _read(text: str, table: Rows) -> Read:
    patterns, keys = _compiled(table)
    mentions = []
    for match in deque(patterns.finditer(text), maxlen=4 * MOST) if patterns else ():
        said = match.group()
        if said in ("A", "I") and match.end() < len(text) and not FOLLOWS_A_LETTER.match(text, match.end()):
            continue
        mentions.append(Mention(match.start(), match.end(), frozenset((keys[str(match.lastgroup)],))))
    found = read(text, mentions, _BEFORE, several=True)
    if found.keys:
        return found
    normal = [name for name, _ in table if is_normal(name) or key_of(name) in _NO_CLASS]
    about_one = any(AFTER_NO.match(text, mention.end) for mention in mentions)  # "Fighting? No."
    if normal and not about_one and judged(text) is False:
        return Read((normal[0],))
    return Read((), "refused") if found.reason == "nothing_named" and REFUSES.search(text[-2000:]) else found


@lru_cache(maxsize=64)
def _compiled(
    table: tuple[tuple[str, tuple[str, ...]], ...],
) -> tuple[re.Pattern[str] | None, dict[str, str]]:
    """One pattern of all names, longer ones first, and the class of each of its groups."""
    rows = [
        (pattern, name) for name, others in table for said in (name, *others) if (pattern := _pattern(said))
    ]
    rows.sort(key=lambda row: -len(row[0]))
    groups = {f"n{place}": name for place, (_, name) in enumerate(rows)}
    joined = "|".join(f"(?P<n{place}>{pattern})" for place, (pattern, _) in enumerate(rows))
    return (re.compile(joined) if rows else None), groups


def _pattern(name: str) -> str | None:
    tokens = _WORDS.findall(plain(name))
    if not tokens:
        return None
    code = len("".join(tokens)) <= 2 and name.isupper()  # "A", "B1", "G": letters, not words
    *rest, last = [re.escape(token) for token in tokens]
    if not code and re.fullmatch(r"[A-Za-z]{3,}", last):
        stem = last[:-1] if last.lower().endswith("s") and not last.lower().endswith("ss") else last
        last = rf"{stem[:-1]}(?:y|ies)" if stem.lower().endswith("y") else rf"{stem}(?:s|es)?"
    body = r"[\s_-]{0,3}".join([*rest, last])
    left = "" if re.match(rf"[{UNSPACED}]", tokens[0]) else rf"(?<!{_EDGE})"
    right = "" if re.match(rf"[{UNSPACED}]", tokens[-1][-1]) else rf"(?!{_EDGE})"
    return f"{left}{body}{right}" if code else f"(?i:{left}{body}{right})"
