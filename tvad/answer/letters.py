"""Multiple choice: which option does a free-form answer name? Never a letter out of the rationale, never a
guess."""

import re
from collections.abc import Mapping, Sequence

LETTERS = "ABCDEFGHIJ"  # of the options of a multiple-choice question, at most so many

_CAPITAL, _ANY = f"([{LETTERS}])", f"([{LETTERS}{LETTERS.lower()}])"
_STATED = re.compile(
    r"(?:\banswer|\boption|\bchoice|\bchoose|\bpick|\bselect|\bgo with|答案|정답)(?:\s+(?:is|would be|should"
    r" be|it is)|\s*[:：是은])*"
    rf"\s*(?:option|letter|choice)?[\s\"'*`(\[（【]*{_ANY}(?![A-Za-z'])",
    re.IGNORECASE,
)
_NEGATED = re.compile(
    r"(?:\bnot|n't|\bneither|\bnor|\brather than|\binstead of|\bexclude|\bwrong|\brule[ds]?"
    r" out)\W+(?:\w+\W+){0,3}$",
    re.IGNORECASE,
)
_MARKED = re.compile(rf"[(\[（【*]+\s*{_CAPITAL}\s*[)\]）】*]+")
_LEAD = re.compile(rf"^[\s\"'*`(\[]*{_ANY}(?:[\s\"'*`)\].,:;!?。、：)-]|$)")
_ALONE = re.compile(rf"(?<![A-Za-z0-9']){_CAPITAL}(?![A-Za-z0-9'])")
_ARTICLE = re.compile(r"[Aa]\s+(?!(?:or|and)\b)[a-z]")
_REFUSAL = re.compile(
    r"\b(?:cannot|can't|unable|not (?:able|sure|possible)|don't know|no idea|none of)\b", re.IGNORECASE
)


def letter(text: str | None, options: Sequence[str] | Mapping[str, str]) -> str | None:
    """The one letter that `text` (an answer without its rationale) names, or None for none, several or
    undecidable.

    Order: the whole answer is a letter; an explicit statement ("the answer is B", the last one that is not
    negated); a leading or a marked letter; the only option whose text occurs; the only capital that stands
    alone.
    """
    if not text:
        return None
    text = text[:20_000].strip()
    texts = dict(options) if isinstance(options, Mapping) else dict(zip(LETTERS, options, strict=False))
    valid = set(texts)
    bare = re.sub(r"[\s\"'*`()\[\]{}.,:;!?。（）【】]+", "", text)
    if len(bare) == 1 and bare.upper() in valid:
        return bare.upper()
    stated = [
        m.group(1).upper()
        for m in _STATED.finditer(text)
        if not _NEGATED.search(text[max(0, m.start(1) - 40) : m.start(1)])
    ]
    stated = [s for s in stated if s in valid]
    if stated:
        return stated[-1] if len(set(stated)) == 1 or stated[-1] != stated[0] else None
    named = _named_option(text, texts)
    if (lead := _LEAD.match(text)) and lead.group(1).upper() in valid:
        found = lead.group(1)
        capitals = {m.group(1) for m in _ALONE.finditer(text)} & valid
        article = _ARTICLE.match(text, lead.start(1)) is not None
        if not article and (found.isupper() or len(bare) == 1) and capitals <= {found.upper()}:
            return found.upper()
    marked = {m.group(1) for m in _MARKED.finditer(text)} & valid
    if len(marked) == 1 and named in (None, *marked):
        return marked.pop()
    if len(marked) > 1:
        return None
    if named is not None:
        return named
    if _REFUSAL.search(text):
        return None
    alone = [m for m in _ALONE.finditer(text) if m.group(1) in valid and not _ARTICLE.match(text, m.start())]
    letters = {m.group(1) for m in alone} - {"I"}
    return letters.pop() if len(letters) == 1 else None


def _named_option(text: str, texts: Mapping[str, str]) -> str | None:
    """The only option whose text occurs in the answer; one inside another counts only where the longer does
    not occur."""
    lowered = " ".join(text.lower().split())
    found = {key: " ".join(option.lower().split()).rstrip(".") for key, option in texts.items()}
    hits = {
        key: option
        for key, option in found.items()
        if option and re.search(rf"(?<!\w){re.escape(option)}(?!\w)", lowered)
    }
    longest = [
        key
        for key, option in hits.items()
        if not any(option != other and option in other for other in hits.values())
    ]
    return longest[0] if len(longest) == 1 else None
