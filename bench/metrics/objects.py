"""Which of the objects that a phrase or a list names does a text speak of?

Annotators write "man in blue shirt, bystander" or "The man's sudden fall"; a rationale never repeats such a
cell word for word. A part of the list counts as named where its head noun is, inflection aside: the last word
before "in", "with" and their like. English; a part in another script counts where it occurs as it stands.
"""

import re
from functools import lru_cache

MOST = 100_000  # characters of a text that are looked at
_PARTS = re.compile(r"[,;/()&\n]|\b(?:and|or|e\.g\.?|i\.e\.?|etc\.?)(?!\w)", re.IGNORECASE)
_WORD = re.compile(r"\w+(?:-\w+)*")
_POSSESSIVE = re.compile(r"['’]s?(?!\w)")
# Behind these a part says where, whose or what kind of; the head stands before.
_BEHIND = re.compile(
    r"in|on|at|of|with|from|by|to|for|near|into|onto|under|over|behind|beside|between|inside|outside|along"
    r"|during|through|around|towards?|against|without|including|who|which|that|where|while|as|being"
    r"|wearing|holding|carrying|riding|driving|dressed|used"
)
_BEFORE = re.compile(
    r"an?|the|this|that|these|those|his|her|their|its|some|several|many|multiple|one|two|three|four|five"
    r"|other|another|both|all"
)


@lru_cache(1 << 16)
def _stem(word: str) -> str:
    from nltk.stem import SnowballStemmer

    return str(SnowballStemmer("english").stem(word))


def _words(text: str) -> list[str]:
    return _WORD.findall(_POSSESSIVE.sub(" ", text.lower()))


def heads(phrase: str) -> list[set[str]]:
    """Stems of the words that may be the head noun of every part of a phrase or list; a verb's form within a
    part may end it ("man pacing back and forth") or be its noun ("brick building")."""
    found = []
    for part in _PARTS.split(phrase[:MOST]):
        kept: list[str] = []
        for word in _words(part):
            if _BEHIND.fullmatch(word):
                if kept:
                    break
            elif not _BEFORE.fullmatch(word):
                kept.append(word)
        if kept:
            verb = next((n for n, word in enumerate(kept) if n and word.endswith(("ing", "ed"))), len(kept))
            found.append({_stem(word.rpartition("-")[2]) for word in (kept[-1], kept[verb - 1])})
    return found


def share_named(text: str, phrase: str) -> float | None:
    """Share of the parts of `phrase` that `text` names, 0..1; None for a phrase without a word."""
    wanted = heads(phrase)
    if not wanted:
        return None
    text = text[:MOST].lower()
    if re.search(rf"(?<![a-z0-9]){re.escape(phrase.strip().lower())}(?![a-z0-9])", text):
        return 1.0
    spoken = {_stem(piece) for word in set(_words(text)) for piece in {word, *word.split("-")}}
    return sum(bool(part & spoken) for part in wanted) / len(wanted)
