"""Yes or no: does an answer say that there is an anomaly? By the words of `tvad.answer.languages`, of what is
said to be there as well. An answer that contradicts itself is not read."""

import re
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

from tvad.answer import words
from tvad.answer.languages import (
    ALL_WELL,
    ANOMALY,
    ANOMALY_ANYWHERE,
    DENIED_BEHIND,
    FURTHER,
    LANGUAGES,
    NORMAL,
    NORMAL_ANYWHERE,
    SCORED_BEFORE,
    SCORED_BEHIND,
    UNDECIDED,
)
from tvad.answer.script import UNSPACED, plain
from tvad.answer.statements import (
    MOST,
    NEAR,
    SHORT,
    Group,
    Mention,
    Rank,
    Read,
    asked,
    clause_before,
    corrected,
    decided,
    rank_of,
    stated_before,
    weighed,
)
from tvad.answer.words import either
from tvad.answer.wrapped import answer_in, json_in, unwrapped

YES, NO = "yes", "no"


def _alone(found: str, anywhere: str = "") -> str:
    return rf"(?<![^\W_{UNSPACED}])(?:{found})(?![^\W_{UNSPACED}])" + (f"|{anywhere}" if anywhere else "")


def _words(place: int) -> str:
    said = {word for pair in LANGUAGES.values() for word in pair[place].split()}
    return either(*(re.escape(word.replace("_", " ")) for word in sorted(said, key=len, reverse=True)))


_TOKEN = re.compile(rf"(?P<yes>{_alone(_words(0))})|(?P<no>{_alone(_words(1))})", re.IGNORECASE)
_CLAIM = re.compile(
    rf"(?P<odd>{_alone(ANOMALY, ANOMALY_ANYWHERE)})"
    rf"|(?P<plain>{_alone(either(ALL_WELL, NORMAL), NORMAL_ANYWHERE)})",
    re.IGNORECASE,
)
_BEFORE = stated_before(r"anomaly(?: present| detected)?|anomalous|abnormal|result|judgement|label|异常")
_DENIED_BEHIND, _UNDECIDED, _SCORED_BEHIND, _SCORED_BEFORE, _FURTHER, _WHOLE = (
    re.compile(found, re.IGNORECASE)
    for found in (DENIED_BEHIND, UNDECIDED, SCORED_BEHIND, SCORED_BEFORE, FURTHER, ALL_WELL)
)
# "No (anomaly present)" denies none.
_AFTER_A_NO = re.compile(r"(?:^|[.;:!?\n])[\s\"'*]{0,4}no[\s*\"']{0,3}\($", re.IGNORECASE)
_NOTHING = frozenset(("none", "no", "n/a", "null", "normal", "nothing", "unknown"))
# A yes or no is an answer where nothing follows that it belongs to ("no man", "no anomaly").
_ENDS = re.compile(
    r"[\s\"'*_`)\]}]{0,6}(?:$|[.,;:!?\n|/(\[☐☑–—-]|(?:there|it|the|this|he|she|they|i|we|because|since|as"
    r"|or|and"
    r"|there's|it's)(?!\w))",
    re.IGNORECASE,
)
_STARTS = re.compile(
    r"(?:^|[.,;:!?\n|/–—→>-]|[\"'*_`(\[\]{☐☑]|(?<!\w)(?:answer|is|say|says|think|a|actually|so|or|and|wait"
    r"|probably|definitely|certainly|clearly|absolutely|likely|course|maybe|both|therefore|thus"
    r"|hence)\s)\s{0,3}$",
    re.IGNORECASE,
)
# "Normal" is a verdict where it is said of the video or of everything ("the normal flow" is none).
_COPULA = either(
    r"s|is|are|was|were|(?:is|are|was|were|does|do|did)n['’]t(?: be)?|be",
    r"seems?|looks?|appears?|remains?|stays?|behaves?|acts?|goes|proceeds?|shows?",
    r"all|everything|nothing but|an?|only|just|mostly|est|ist|es|é|è|sono|sont|están?",
    r"alles|tout|todo|tudo|tutto|все|всё",
)
_PREDICATE = re.compile(
    rf"(?:(?:(?<!\w)|(?<=['’]))(?:{_COPULA})(?: to be)?\s(?:(?:\w{{1,12}}ly|very|quite|all|a|not"
    rf"|far from)\s){{0,2}}"
    r"|(?:^[\s\"'*(]{0,4}|[.:;,!?\n]\s{0,3}[\"'*(]{0,3})(?:(?:not|far from|hardly|scarcely|barely"
    r"|all)\s|(?:non|un)-?\s?)?)$",
    re.IGNORECASE,
)
_THINGS = either(
    r"video|clip|scene|footage|situation|behaviou?r|activit(?:y|ies)|events?|conditions?|case|day"
    r"|traffic|sequence"
)
_OF_THINGS = re.compile(
    rf"(?:\s(?:\w{{1,12}}\s)?(?:{_THINGS})|的?(?:活动|行为|情况|视频|场景|現象)|です|である|입니다|합니다)?"
    r"[\s\"'*)]{0,3}(?:$|[.,;:!?\n)–—-]|(?:and|with|here|throughout|in|at|for|of|without|but|on|so)(?!\w))",
    re.IGNORECASE,
)
# What may be answered, in front of what is: "Yes/No: no".
_EITHER = r"(?:yes|no|normal|abnormal|anomal(?:y|ous)|true|false)"
_TEMPLATE = re.compile(
    rf"(?<!\w)\(?{_EITHER}\s?(?:/|\||or\s)\s?{_EITHER}\)?\s?(?::|=|->|→)(?=\s?[\w*\"'(\[])", re.IGNORECASE
)
# Keys of objects: those that ask whether there is an anomaly, and further ones about it.
_ODD = r"anomal(?:y|ies|ous)|abnormal(?:ity|ities)?|unusual|suspicious|异常|異常"
_ASKS = re.compile(
    rf"(?P<denied>no|not|non)?_?(?:is|has|have|contains?|any|the|video|there|are)?_?(?:{_ODD})"
    r"_?(?:event|activity|behaviou?r)?s?_?(?:present|detected|exists?|found|flag|status|observed|count|number)?"
    r"|(?P<plain>(?:is|video)?_?normal(?:_video)?|正常)",
    re.IGNORECASE,
)
_KEY = re.compile(r"anomal|abnormal|unusual|suspicious|异常|異常", re.IGNORECASE)


def judged(text: str | None) -> bool | None:
    """True for an anomaly, False for none, None where it is not said, or said and denied."""
    found = read_verdict(text)
    return None if not found.keys else found.keys[0] == YES


def read_verdict(text: str | None) -> Read:
    """As `judged`, "yes" or "no", with the reason where there is none: nothing_said, several, refused,
    nothing_named."""
    if not text or not text.strip():
        return Read((), "nothing_said")
    return _cached(text) if len(text) <= SHORT else _verdict(text)


def _verdict(text: str) -> Read:
    text = plain(text)
    if isinstance(data := json_in(text), dict) and (said := _of_object(data, text)):
        return said
    found = [_read(part) for part in unwrapped(text)]
    if len(found) == 1:
        return found[0]
    keys = {key for each in found for key in each.keys}
    return Read(tuple(keys)) if len(keys) == 1 and all(each.keys for each in found) else Read((), "several")


def _of_object(data: dict[str, Any], text: str) -> Read | None:
    """What an object says ({"anomaly": true}): by the keys that ask for it, else by those about it. None
    where it has none of them, or an answer of its own."""
    asking, about = set(), set()
    known = False
    for key, value in data.items():
        name = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s-]+", "_", str(key).strip())
        asks = _ASKS.fullmatch(name)
        known = known or asks is not None or _KEY.search(name) is not None
        said = _of_value(value)
        if asks and said:
            turned = asks["denied"] or asks["plain"]
            asking.add({YES: NO, NO: YES}[said] if turned else said)
        elif said and _KEY.search(name) and isinstance(value, str):
            about.add(said)
    if not known or (not asking and answer_in(data)):
        return None
    if keys := tuple(asking or about):
        return Read(keys) if len(keys) == 1 else Read((), "several")
    return _read(text[: text.find("{")]) if text.find("{") > 0 else Read((), "nothing_named")


def _leaves(value: Any) -> Iterator[Any]:
    """The values inside of lists and objects, however deep."""
    held = [value]
    while held:
        inside = held.pop()
        if isinstance(inside, (list, dict)):
            held += inside if isinstance(inside, list) else inside.values()
        else:
            yield inside


def _is_nothing(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, str) and value.strip().lower() in _NOTHING)


def _of_value(value: Any) -> str | None:
    """Yes or no, of a value: an empty list and 0 are none, a score (0.02) is neither."""
    if isinstance(value, str):
        return next(iter(_read(value).keys), None)
    if isinstance(value, (bool, int)):
        return YES if value else NO
    if isinstance(value, (list, dict)):
        return NO if not value else None if any(map(_is_nothing, _leaves(value))) else YES
    return None


_cached = lru_cache(maxsize=4096)(_verdict)


def _read(text: str) -> Read:
    text = _TEMPLATE.sub(" ", text)
    bare = re.sub(r"[\W_]+", "", text)
    if bare in ("0", "1"):
        return Read((YES if bare == "1" else NO,))
    claims = claims_in(text)
    groups = corrected(
        text, sorted([*weighed(text, _tokens(text), _BEFORE, ticked=False), *claims], key=lambda g: g.start)
    )
    said = decided([group for group in groups if group not in claims])
    claimed = decided([group for group in groups if group in claims], several=True)
    if said.keys:
        denied = claimed.keys and said.keys[0] not in claimed.keys
        return Read((), "several") if denied else said
    claims = [group for group in claims if not _WHOLE.fullmatch(text, group.start, group.end)]
    claimed = decided([group for group in groups if group in claims], several=True)  # "fine" alone is neither
    if said.reason == "several" or len(claimed.keys) > 1:
        return Read((), "several")
    if claimed.keys:
        return claimed
    return Read((), "refused") if words.REFUSES.search(text[-2000:]) else Read((), "nothing_named")


def _tokens(text: str) -> list[Mention]:
    """Every yes and no that stands as an answer."""
    found = []
    for match in deque(_TOKEN.finditer(text), maxlen=4 * MOST):
        start, end = match.span()
        left = text[max(0, start - NEAR) : start]
        if text[end : end + 1] == ":" and match.group() in ("是", "有"):
            continue  # the link of "答案是:"
        if text[end : end + 1] == "-" and text[end + 1 : end + 2].isalpha():
            continue  # a part of a word ("non-normal")
        if match.group().lower() == "not" and not re.match(
            r"[\"'*)]{0,3}(?:$|[.,;!?\n])", text[end : end + 4]
        ):
            continue  # it denies what follows
        if _ENDS.match(text, end) and (_STARTS.search(left[-20:]) or _BEFORE.search(left)):
            found.append(Mention(start, end, frozenset((YES if match.lastgroup == "yes" else NO,))))
    return found


def _not_left_open(text: str, claims: list[re.Match[str]]) -> list[re.Match[str]]:
    """Without "normal/anomaly", "normal or abnormal": nothing is chosen."""
    left_open = set()
    for n, (one, other) in enumerate(pairwise(claims)):
        between = text[one.end() : other.start()][:41]
        if one.lastgroup != other.lastgroup and (words.OPEN.fullmatch(between) or between.strip() == "|"):
            left_open |= {n, n + 1}
    return [claim for n, claim in enumerate(claims) if n not in left_open]


def claims_in(text: str) -> list[Group]:
    """Where a text (`script.plain`) calls something an anomaly or normal, as yes or no: denied, the other way
    round."""
    found = []
    for match in _not_left_open(text, list(deque(_CLAIM.finditer(text), maxlen=MOST))):
        start, end = match.span()
        left, right = text[max(0, start - NEAR) : start], text[end : end + NEAR]
        clause = clause_before(text, start)
        rest = right[: stop.start()] if (stop := words.CLAUSE.search(right)) else right
        if asked(text, end) or _UNDECIDED.search(clause) or _UNDECIDED.search(rest):
            continue
        if _SCORED_BEHIND.match(right) or _SCORED_BEFORE.search(clause) or _FURTHER.search(clause):
            continue
        if words.BEFORE_OPEN.search(clause) or words.AFTER_OPEN.match(right):
            continue
        told = words.FALSE_THAT.search(clause)
        spaced = match.group().isascii()
        if (
            match.lastgroup == "plain"
            and not _WHOLE.fullmatch(match.group())
            and not (_OF_THINGS.match(right) and (not spaced or _PREDICATE.search(left)))
        ):
            continue
        rank = rank_of(text, start, end, _BEFORE, ticked=False)
        denied = rank is Rank.DENIED and not _AFTER_A_NO.search(left)
        if told:  # "it is not true that there is no anomaly"
            denied = not words.BEFORE_DENIES.search(clause[told.end() :])
        behind = _DENIED_BEHIND.match(right) is not None and not words.AFTER_TWICE.match(right)
        denied = denied or behind
        key = YES if (match.lastgroup == "odd") != denied else NO
        found.append(Group(start, end, (key,), False, Rank.STATED if rank >= Rank.STATED else Rank.NAMED))
    return found
