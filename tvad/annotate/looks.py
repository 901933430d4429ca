"""Looks of targets in a teacher's words, and when two are of one thing: teachers vary their words (ours)."""

from collections.abc import Mapping

STILL = ("kind", "colour", "upper", "lower")  # what of a look makes an identity: it does not change
# Kinds of which several words are true of one thing.
_WORDS = (
    "person people human man woman boy girl child kid adult pedestrian walker runner guy lady"
    " cyclist bicyclist biker rider skater skateboarder",
    "car vehicle van truck lorry bus cart automobile",
    "bicycle bike motorcycle motorbike vehicle cyclist bicyclist biker rider",
    "bag backpack suitcase case luggage handbag briefcase thing object",
)
GROUPS = [set(words.split()) for words in _WORDS]

Look = Mapping[str, str]


def same(name: str, one: str, other: str) -> bool:
    """Whether two words for this field of a look may be of one thing: one says the other with more ("blue",
    "dark blue"), or they are kinds of a thing of which both can be true ("man", "pedestrian")."""
    words = [set(said.split()) for said in (one, other)]
    if words[0] <= words[1] or words[1] <= words[0]:
        return True
    return name in ("kind", "carries") and any(words[0] & group and words[1] & group for group in GROUPS)


def told_apart(one: Look, other: Look) -> bool:
    """Whether no target looks both ways. Of what only one of them states, both may be true."""
    return any(not same(name, one[name], other[name]) for name in STILL if name in one and name in other)


def unlike(one: Look, other: Look) -> float:
    """0..1: the share of what both looks state that differs; half where they state nothing in common."""
    shared = [name for name in STILL if name in one and name in other]
    return sum(not same(n, one[n], other[n]) for n in shared) / len(shared) if shared else 0.5
