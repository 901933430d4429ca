"""Multiple choice: which option does a free-form answer name? Never a letter out of the rationale, never a
guess; docs/answers.md has the rules."""

import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Mapping, Sequence

from tvad.answer.phrases import phrases_in
from tvad.answer.script import folded, plain
from tvad.answer.statements import (
    CHOOSE,
    MOST,
    NEAR,
    NOUN,
    Group,
    Mention,
    Rank,
    Read,
    corrected,
    read,
    stated_before,
    weighed,
)
from tvad.answer.words import AFTER_NO, BEFORE_NO, FOLLOWS_A_LETTER, REFUSES, either
from tvad.answer.wrapped import json_in, unwrapped

LETTERS = "ABCDEFGHIJ"  # of the options of a multiple-choice question, at most so many

_BEFORE = stated_before("")
_CAPITAL = re.compile(rf"(?<![A-Za-z0-9_])(?<!\w['’-])[{LETTERS}](?![A-Za-z0-9_+#]|['’-][A-Za-z])")
_SMALL = re.compile(r"(?<![A-Za-z0-9'’_-])[a-j](?![A-Za-z0-9'’_-])")
_GLUED = re.compile(rf"(?<![A-Za-z])(?:[Aa]nswer|[Aa]ns|[Oo]ption)([{LETTERS}])(?![A-Za-z0-9'’_])")
_LABELLED = re.compile(r"(?:^|\W)(?:option|choice|letter)\s{1,2}[\"'*(\[]{0,2}$", re.IGNORECASE)
_BRACKETED = re.compile(r"[(\[{]\s?$")
# A capital behind one of these words may be a letter; behind any other word it is a part of a name.
_MAY_PRECEDE = re.compile(
    either(
        r"\w*ly|\w*n't",
        CHOOSE,  # and the last words of its longer ones: für, por, with, …
        NOUN,
        r"a|actually|adalah|all|also|although|and|answer's|anything|are|as|assume|be|because",
        r"believe|best|between|both|buchstabe|but|by|certainly|choosing|compare|comparing|consider",
        r"considering|correct|definitely|die|dismiss|e|either|el|eliminate|else|es|est|et",
        r"everything|except|exclude|excluding|favor|favour|final|for|guess|hence|if|il|instead|is",
        r"ist|it|it's|its|je|la|lautet|le|leaves|leaving|letra|letter|lettera|lettre|like|likely",
        r"là|maybe|mean|meaning|meant|must|my|namely|neither|no|nor|not|o|of|on|only|opt|options",
        r"or|out|over|perhaps|picking|possibly|prefer|probably|rather|really|reject|remains|right",
        r"rule|ruled|ruling|say|see|selecting|should|since|so|suspect|than|that|that's|the|then",
        r"therefore|think|though|thought|thus|to|und|unlike|versus|vs|wait|was|whereas|while|will",
        r"with|would|write|wrong|y|yes|án|è|é|nicht|sondern|pas|mais|plutôt|sino|pero|não|mas|non",
        r"ma|bensì|niet|maar|nie|lecz|inte|utan|ikke|men|bukan|melainkan|ich|nehme|statt|weder",
        r"noch|ni|für|pour|por|per|con|com|voor",
    ),
    re.IGNORECASE,
)
_WORD_BEFORE = re.compile(r"([A-Za-zÀ-ɏḀ-ỿ'’]{1,24})\s{1,3}$")
_LOOKS_LIKE_A_WORD = "AEIO"  # a letter that is a word of some language when written with a capital
_LABEL_OF_A_WORD = re.compile(rf"\s{{0,9}}[{LETTERS}](?=[A-Z][a-z])")
_NOT_SAID = re.compile(r"(?<!\w)N\s?/\s?A(?!\w)", re.IGNORECASE)
# A discussion of the options that breaks off before it comes to an answer.
_DISCUSSES = re.compile(
    either(
        r"\b(?:let me|let['’]?s|i(?:['’]ll| will| need to| should)) (?:first )?(?:look|consider|analy[sz]e",
        r"examine|check|evaluate|go (?:through|over)|compare|assess|think|review)\b",
        r"\b(?:each|every) option\b|one by one",
        rf"\b(?:option )?(?-i:[{LETTERS}])\s{{1,2}}(?:says|states|mentions|claims|reads|suggests)\b",
    ),
    re.IGNORECASE,
)
_SETTLES = re.compile(r"\b(?:fits|matches|best|correct|right|describes|corresponds)\b", re.IGNORECASE)
_BROKEN_OFF = re.compile(r"[\w,;-]$")
_TO_OWN_TEXT = re.compile(r"[\s.:,;)\]\"'*_–—\-(]{0,6}(?:because\s)?", re.IGNORECASE)


def letter(text: str | None, options: Sequence[str] | Mapping[str, str]) -> str | None:
    """The one letter that `text` (an answer without its rationale) names, or None for none, several or
    undecidable."""
    found = read_letter(text, options)
    return found.keys[0] if found.keys else None


def read_letter(text: str | None, options: Sequence[str] | Mapping[str, str]) -> Read:
    """As `letter`, with the reason where there is none: nothing_said, several, denied, refused,
    nothing_named. Of options with the same text the first one is named by it."""
    if not text or not text.strip():
        return Read((), "nothing_said")
    texts = dict(options) if isinstance(options, Mapping) else dict(zip(LETTERS, options, strict=False))
    if text in texts:
        return Read((text,))
    if (chosen := _of_table(text, texts)) is not None:
        return chosen
    parts = unwrapped(plain(text))
    found = [_read(part, texts) for part in parts]
    if len(found) == 1:
        return found[0]
    keys = {key for each in found for key in each.keys}
    return Read(tuple(keys)) if len(keys) == 1 and all(each.keys for each in found) else Read((), "several")


def same_option(found: str, wanted: str, options: Sequence[str]) -> bool:
    """Is the option `found` the one that is `wanted`, or one with the same text?"""
    if found == wanted:
        return True
    texts = dict(zip(LETTERS, options, strict=False))
    said = [same_text(texts[key]) for key in (found, wanted) if key in texts]
    return len(said) == 2 and said[0] == said[1]


def same_text(option: str) -> str:
    """An option as it is compared with others: case, white space and punctuation at its ends aside."""
    return folded(option).strip(" .,;!?")


def options_named(text: str, options: Sequence[str]) -> set[str]:
    """Letters of the options whose texts occur in a text (a rationale), those that it denies left out."""
    texts = dict(zip(LETTERS, options, strict=False))
    text = plain(text)
    groups = weighed(text, _texts_in(text, texts), _BEFORE)
    return {key for group in groups if group.rank is not Rank.DENIED for key in group.keys}


def options_in(text: str, options: Sequence[str], further: Sequence[Mention]) -> list[Group]:
    """All that a text says of the options, by letter, by text and by `further` mentions, however it is
    meant (`Group.rank`)."""
    texts = dict(zip(LETTERS, options, strict=False))
    text = plain(text)
    named = _texts_in(text, texts)
    own = _joined(text, _letters_in(text, texts, named), named)
    return weighed(text, sorted([*own, *further]), _BEFORE)


def _of_table(text: str, texts: Mapping[str, str]) -> Read | None:
    """The letter of a JSON object with a verdict on every letter, {"A": false, "B": true}."""
    if not text.strip().startswith(("{", "```")) or not isinstance(data := json_in(text), dict):
        return None
    if len(data) < 2 or not set(data) <= set(texts):
        return None
    keys = [key for key, said in data.items() if str(said).strip().lower() in ("true", "yes", "correct")]
    return Read((keys[0],)) if len(keys) == 1 else Read((), "several")


def _read(text: str, texts: Mapping[str, str]) -> Read:
    text = _NOT_SAID.sub(lambda match: " " * len(match.group()), text)
    bare = re.sub(r"[\W_]+", "", text)
    if len(bare) == 1 and bare.upper() in texts and not _crossed_out(text, bare):
        return Read((bare.upper(),))
    named = _texts_in(text, texts)
    mentions = _joined(text, _letters_in(text, texts, named), named)
    found = read(text, mentions, _BEFORE)
    if found.keys and _BROKEN_OFF.search(text) and _DISCUSSES.search(text[-2000:]):
        groups = corrected(text, weighed(text, mentions, _BEFORE))
        settled = _SETTLES.search(text, groups[-1].end)
        if not settled and max(group.rank for group in groups) <= Rank.NAMED:
            return Read((), "nothing_said")
    if not found.keys and found.reason == "nothing_named" and REFUSES.search(text[-2000:]):
        return Read((), "refused")
    return found


def _crossed_out(text: str, bare: str) -> bool:
    """Is the one letter of a text marked as wrong ("B ✗", "¬B")?"""
    at = text.index(bare)
    return bool(BEFORE_NO.search(text[max(0, at - NEAR) : at]) or AFTER_NO.match(text, at + 1))


def _texts_in(text: str, texts: Mapping[str, str]) -> list[Mention]:
    """Where options' texts occur, but for those that are a letter themselves and read as one."""
    texts = {key: option for key, option in texts.items() if option.strip() not in LETTERS}
    # A letter may be glued to the text that it labels ("DBecause …"): it is no part of a word then.
    if not (glued := _LABEL_OF_A_WORD.match(text)):
        return phrases_in(text, texts)
    at = glued.end()
    rest = [Mention(m.start + at, m.end + at, m.keys) for m in phrases_in(text[at:], texts)]
    if rest and rest[0].start == at:
        return [Mention(at - 1, at, frozenset(text[at - 1])), *rest]
    return phrases_in(text, texts)


def _letters_in(text: str, texts: Mapping[str, str], named: list[Mention]) -> list[Mention]:
    """Where letters of the options stand as letters."""
    found = []
    for match in _last(_CAPITAL, text):
        key, start, end = match.group(), match.start(), match.end()
        before = text[max(0, start - 40) : start]
        word = _WORD_BEFORE.search(before)
        if word and len(word.group(1)) > 1 and not _MAY_PRECEDE.fullmatch(word.group(1)):
            continue
        if (
            key in _LOOKS_LIKE_A_WORD
            and not FOLLOWS_A_LETTER.match(text, end)
            and not _own_text(text, end, key, named)
        ):
            continue
        found.append((key, start, end))
    for match in _last(_GLUED, text):
        found.append((match.group(1), match.start(1), match.end(1)))
    for match in _last(_SMALL, text):
        start, end = match.span()
        before = text[max(0, start - 60) : start]
        if not FOLLOWS_A_LETTER.match(text, end):
            continue
        alone = text[end : end + 1] in (".", ")", ":") and not before.strip()
        if alone or _LABELLED.search(before) or _BRACKETED.search(before) or _BEFORE.search(before):
            found.append((match.group().upper(), start, end))
    starts = [mention.start for mention in named]

    def inside(start: int, end: int) -> bool:
        at = bisect_right(starts, start) - 1
        return at >= 0 and end <= named[at].end and named[at].end - named[at].start > 1

    return sorted({Mention(s, e, frozenset(k)) for k, s, e in found if k in texts and not inside(s, e)})


def _last(pattern: re.Pattern[str], text: str) -> deque[re.Match[str]]:
    """The last matches, more than are weighed: some are words and not letters."""
    return deque(pattern.finditer(text), maxlen=4 * MOST)


def _own_text(text: str, end: int, key: str, named: list[Mention]) -> bool:
    """Does the option's own text follow the letter?"""
    after = named[bisect_left(named, (end,)) :][:1]
    return any(
        key in m.keys and m.start - end <= 8 and not text[end : m.start].strip(" .:)*\"'") for m in after
    )


def _joined(text: str, letters: list[Mention], named: list[Mention]) -> list[Mention]:
    """Letters and texts in order; a letter right before a text is one mention with it, of both keys."""
    found: list[Mention] = []
    for mention in sorted([*letters, *named]):
        last = found[-1] if found else None
        if (
            last is not None
            and last.end - last.start == 1
            and mention.end - mention.start > 1
            and mention.start - last.end <= 14
            and _TO_OWN_TEXT.fullmatch(text, last.end, mention.start)
        ):
            found[-1] = Mention(last.start, mention.end, last.keys | mention.keys)
        else:
            found.append(mention)
    return found
