"""What makes a submission doubtful: answers that are nearly another's, mistakes that are an earlier one's but
for those put right, a score on public labels that the private split does not bear out."""

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bench.tasks import PRIMARIES, TASKS
from leaderboard.store.disclosure import rounded

NEAR_DUPLICATE, ASSEMBLED, TOO_GOOD = "near-duplicate", "assembled", "too good on public"
SAMPLED = 256  # answers of which a signature is made
SAME = 0.9  # share of equal answers, and
SAME_MISTAKES = 0.5  # where either errs: right answers are alike in all good models, mistakes are not
BEYOND = 0.8  # of the agreement that chance leaves room for: who always says Yes has copied nobody
FEWEST = 20  # answers below which nothing is said
SHARED, MISTAKES = 0.85, 1e-2  # of its mistakes an honest relative shares as many at most; by chance
WORSE, TURNED = 0.15, 1e-3  # of the answers it turns as many, at least, from right to wrong; by chance
MARGIN = 0.05  # by which the public score may exceed the private one


def said(line: dict[str, Any]) -> str:
    """What an answer says, without its spelling: as it was read, else what was parsed, else its words. Empty
    for none."""
    parsed = {key: value for key, value in (line.get("parsed") or {}).items() if value not in (None, [], "")}
    if read := line.get("read"):
        return json.dumps([read, parsed.get("spans"), parsed.get("boxes")], allow_nan=False)
    if isinstance(answer := parsed.get("answer"), str):
        parsed["answer"] = _words(answer)
    if parsed:
        return json.dumps(parsed, sort_keys=True, allow_nan=False)
    return _words(line["response"])


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def signature(lines: Sequence[dict[str, Any]], salt: bytes) -> bytes:
    """Up to SAMPLED answers of a scored run (lines of samples.jsonl, in the suite's order), 4 bytes each:
    hashes of what they say, 0 for none; the lowest bit says whether the answer is right. Which answers are
    taken depends on the board's secret `salt`."""
    # Who knew which answers are drawn could change just those of a copy.
    drawn = np.random.default_rng(list(hashlib.sha256(salt).digest())).permutation(len(lines))[:SAMPLED]
    words = []
    for place in sorted(drawn):
        line = lines[place]
        what = said(line)
        key = json.dumps([line["task"], what], allow_nan=False).encode()
        value = int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), "little")
        # 31 bits of what is said: two different answers are equal here once in 2e9.
        right = line["scores"].get(TASKS[line["task"]].PRIMARY, 0.0) >= 0.5
        words.append((value | 2 if what else 0) & ~1 | right)
    return np.array(words, "<u4").tobytes()


def _by_chance(one: np.ndarray, other: np.ndarray) -> float:
    """Share of equal answers of two that know nothing of each other but how often each answer is given."""
    values, counts = np.unique(one, return_counts=True)
    others = dict(zip(*np.unique(other, return_counts=True), strict=True))
    both = sum(int(n) * int(others.get(v, 0)) for v, n in zip(values, counts, strict=True))
    return both / (len(one) * len(other))


def resembling(one: bytes, others: Sequence[bytes]) -> Iterator[tuple[int, str]]:
    """(place among `others`, what is alike) for those that are nearly `one`, by the questions that both
    answer."""
    mine = np.frombuffer(one, "<u4")
    for place in _as_long(one, others):
        theirs = np.frombuffer(others[place], "<u4")
        both = (mine > 1) & (theirs > 1)
        count, equal = int(both.sum()), (mine == theirs) & both
        if count < FEWEST or (share := equal.sum() / count) < SAME:
            continue
        erring = both & (((mine & 1) == 0) | ((theirs & 1) == 0))
        mistakes = (equal & erring).sum() / max(1, erring.sum())
        chance = _by_chance(mine[both] >> 1, theirs[both] >> 1)
        if (mistakes < SAME_MISTAKES and erring.any()) or share - chance < BEYOND * (1 - chance) + 1e-9:
            continue
        yield (
            place,
            f"{share:.0%} of {count} sampled answers say the same, {mistakes:.0%} of those where either errs",
        )


def _as_long(one: bytes, others: Sequence[bytes]) -> list[int]:
    return [n for n, other in enumerate(others) if len(other) == len(one)]


def assembled(one: bytes, others: Sequence[bytes], earlier: Sequence[bool]) -> Iterator[tuple[int, str]]:
    """(place among `others`, why) where the later of two submissions, of which one is `one`, seems put
    together from the earlier by its labels: of the answers that changed hardly any went from right to wrong
    (binomial test against WORSE), and nearly all mistakes that are left are the earlier one's, in the same
    words (against SHARED). Both have to be that unlikely for an honest relative; how often those are flagged:
    docs/measurements/leaderboard.md. earlier: whether each of `others` came before `one`."""
    from scipy.special import bdtr, bdtrc  # binomial distributions; an import that few commands need

    mine = np.frombuffer(one, "<u4")
    places = _as_long(one, others)
    counts = np.zeros((len(places), 5), int)
    for row, place in enumerate(places):
        theirs = np.frombuffer(others[place], "<u4")
        before, after = (theirs, mine) if earlier[place] else (mine, theirs)
        both = (before > 1) & (after > 1)
        right, was = (after[both] & 1) == 1, (before[both] & 1) == 1
        same = before[both] == after[both]
        parts = (both, right & ~was, was & ~right, ~right, same & ~right)
        counts[row] = [np.count_nonzero(part) for part in parts]
    _, better, worse, wrong, common = counts.T
    # All at once: a call for each of ten thousand takes seconds, in which nobody else writes.
    turned = bdtr(worse, better + worse, WORSE) < TURNED
    for row in np.flatnonzero(turned & (bdtrc(common - 1, wrong, SHARED) < MISTAKES)):
        of, better, worse, wrong, common = counts[row].tolist()
        yield (
            places[row],
            f"of {of} sampled answers {better} wrong ones are right now, {worse} right ones"
            f" wrong, and {common} of its {wrong} mistakes are the same",
        )


def too_good(metrics: dict[tuple[str, str], dict[str, dict]]) -> Iterator[tuple[str, str]]:
    """(suite, what differs) for primary metrics {(suite, split): {metric: {value, low, high, n}}} whose
    public value exceeds the private one by more than MARGIN, by the 95 % interval of the difference of two
    independent samples."""
    for suite in sorted({suite for suite, _ in metrics}):
        public, private = metrics.get((suite, "public"), {}), metrics.get((suite, "private"), {})
        for name in PRIMARIES:
            one, other = public.get(name), private.get(name)
            if one is None or other is None or None in (*_bounds(one), *_bounds(other)):
                continue
            # Half the interval of the difference: the two halves that face each other, as independent errors.
            half = math.hypot(one["value"] - one["low"], other["high"] - other["value"])
            if one["value"] - other["value"] - half > MARGIN:
                shown = rounded({name: other})[name]["value"]
                yield (
                    suite,
                    f"{name} is {one['value']:.3f} on public and about {shown:.2f} on private labels",
                )


def _bounds(metric: dict) -> tuple:
    return metric["value"], metric["low"], metric["high"]
