"""Where phrases occur in a text as whole words: the options of a question. Word by word and without a pattern
a question, which would have to be compiled for each."""

import re
from collections.abc import Mapping
from functools import lru_cache

from tvad.answer.script import UNSPACED, plain
from tvad.answer.statements import Mention

GAP = 6  # characters between two words of a phrase, at most
_WORD = re.compile(rf"\d+(?:[.,:]\d+)*|[{UNSPACED}]|[^\W\d_{UNSPACED}]+")
_ARTICLES = ("a", "an", "the")
_UNSPACED = re.compile(rf"[{UNSPACED}]")


@lru_cache(maxsize=4096)
def words_of(phrase: str) -> tuple[str, ...]:
    """A phrase's words, lower case; the characters of an unspaced script, numbers whole."""
    return tuple(word.lower() for word in _WORD.findall(plain(phrase)))


def phrases_in(text: str, phrases: Mapping[str, str]) -> list[Mention]:
    """Mentions of the phrases, in order; of several at one place the one that begins first, then the longest.
    Punctuation does not count, nor does a leading article; of equal phrases the first is named."""
    wanted: dict[tuple[str, ...], tuple[str, bool]] = {}
    for key, phrase in phrases.items():
        if words := words_of(phrase):
            # "The man falls" is "A man falls", but "dog" alone is not yet "A dog".
            article = words[0] in _ARTICLES and len(words) > 2
            wanted.setdefault(words[1:] if article else words, (key, article))
    first: dict[str, list[tuple[str, ...]]] = {}
    for words in sorted(wanted, key=len, reverse=True):
        first.setdefault(words[0], []).append(words)
    spans = [match.span() for match in _WORD.finditer(text)]
    said = tuple(text[start:end].lower() for start, end in spans)
    found: list[Mention] = []
    for place, word in enumerate(said):
        for words in first.get(word, ()):
            last = place + len(words) - 1
            if said[place : last + 1] != words or not _whole(text, spans, place, last):
                continue
            key, article = wanted[words]
            start, end = spans[place][0], spans[last][1]
            if article and place and said[place - 1] in _ARTICLES:
                before = spans[place - 1]
                start = before[0] if text[before[1] : start].isspace() else start
            if not found or start >= found[-1].end:
                found.append(Mention(start, end, frozenset((key,))))
            break
    return found


def _whole(text: str, spans: list[tuple[int, int]], first: int, last: int) -> bool:
    """Do words stand close together, and does no letter or digit touch them from outside?"""
    if any(spans[n + 1][0] - spans[n][1] > GAP for n in range(first, last)):
        return False
    start, end = spans[first][0], spans[last][1]
    before, after = text[start - 1 : start] if start else "", text[end : end + 1]
    for inner, outer in ((text[start], before), (text[end - 1], after)):
        if outer.isalnum() and not _UNSPACED.match(outer) and not _UNSPACED.match(inner):
            return False
    return True
