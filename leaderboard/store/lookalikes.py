"""Names that are read as another's: the same letters to the eye, of other alphabets or in other case. By
Unicode's table of confusables (UTS 39), as the package confusable-homoglyphs has it; that package tells
whether a name mixes alphabets, which an honest "β-VAE" does, and has no skeleton to compare two names by."""

import unicodedata
from collections import defaultdict
from functools import cache

from confusable_homoglyphs.confusables import confusables_data
from sqlalchemy import select
from sqlalchemy.orm import Session

from leaderboard.card import UNSEEN
from leaderboard.store.tables import DONE, REVIEW, Submission

LOOKALIKE = "look-alike name"
LEFT_TO_RIGHT = "\u200e"  # stands around right-to-left letters of the table


@cache
def _table() -> dict[int, str]:
    """{code point: what it looks like}: one letter of each group of look-alikes, or several ("rn" for m)."""
    group: dict[str, str] = {}

    def first(letter: str) -> str:
        while (up := group.get(letter, letter)) != letter:
            letter = up
        return letter

    several: dict[str, str] = {}
    for key, others in confusables_data.items():
        one = key.strip(LEFT_TO_RIGHT)
        for other in (entry["c"].strip(LEFT_TO_RIGHT) for entry in others):
            if len(one) == len(other) == 1:
                a, b = sorted((first(one), first(other)))
                group[b] = a
            elif len(one) == 1 < len(other):
                several[one] = min(several.get(one, other), other)
    of_group: dict[str, set[str]] = defaultdict(set)
    for letter in (*group, *several):
        of_group[first(letter)].add(letter)
    found = {}
    for head, letters in of_group.items():
        spelt = min((several[letter] for letter in (*letters, head) if letter in several), default=head)
        for letter in (*letters, head):
            found[ord(letter)] = "".join(first(part) for part in spelt)
    return found


def looks(name: str) -> frozenset[str]:
    """What a name is read as; two that share one look alike. As written and in lower case, for I is read as l
    in one way and as i in the other."""
    plain = UNSEEN.sub("", unicodedata.normalize("NFKC", name))
    texts = (plain, plain.casefold())
    return frozenset(unicodedata.normalize("NFD", text).translate(_table()) for text in texts)


def resembled(session: Session, submission: Submission) -> tuple[Submission, Submission] | None:
    """(the later, the earlier) of a submission and the first of another account whose name is another and
    looks the same; None where there is none. Of what waits to be approved nothing is told."""
    own = looks(submission.name)
    names = session.scalars(
        select(Submission.name)
        .where(Submission.account_id != submission.account_id, Submission.state.in_((DONE, REVIEW)))
        .where(Submission.name != submission.name, Submission.approved)
        .distinct()
    )
    alike = [name for name in names if own & looks(name)]
    if not alike:
        return None
    other = session.scalars(
        select(Submission)
        .where(Submission.account_id != submission.account_id, Submission.state.in_((DONE, REVIEW)))
        .where(Submission.name.in_(alike), Submission.approved)
        .order_by(Submission.created, Submission.hash)
    ).first()
    if other is None:
        return None
    first, later = sorted((submission, other), key=lambda row: (row.created, row.hash))
    return later, first
