"""What makes a submission doubtful: answers that are nearly another's, a score on public labels that the
private split does not bear out."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bench.tasks import PRIMARIES, TASKS

NEAR_DUPLICATE, TOO_GOOD = "near-duplicate", "too good on public"
SAMPLED = 256  # answers of which a signature is made
SAME = 0.9  # share of equal answers, and
SAME_MISTAKES = 0.5  # where either errs: right answers are alike in all good models, mistakes are not
FEWEST = 20  # answers below which nothing is said
MARGIN = 0.05  # by which the public score may exceed the private one


def signature(lines: Sequence[dict[str, Any]], salt: bytes) -> bytes:
    """Hashes of up to SAMPLED answers of a scored run (lines of samples.jsonl, in the suite's order), 4 bytes
    each; the lowest bit says whether the answer is right. Which answers are taken depends on the board's
    secret `salt`."""
    # Who knew which answers are drawn could change just those of a copy.
    drawn = np.random.default_rng(list(hashlib.sha256(salt).digest())).permutation(len(lines))[:SAMPLED]
    words = []
    for place in sorted(drawn):
        line = lines[place]
        text = " ".join(line["response"].split())
        value = int.from_bytes(
            hashlib.blake2b(json.dumps([line["id"], text], allow_nan=False).encode(), digest_size=4).digest(),
            "little",
        )
        # 31 bits of the text: two different answers are equal here once in 2e9.
        right = line["scores"].get(TASKS[line["task"]].PRIMARY, 0.0) >= 0.5
        words.append(value & ~1 | right)
    return np.array(words, "<u4").tobytes()


def resembling(one: bytes, others: Sequence[bytes]) -> Iterator[tuple[int, str]]:
    """(place among `others`, what is alike) for those that are nearly `one`."""
    mine = np.frombuffer(one, "<u4")
    places = [n for n, other in enumerate(others) if len(other) == len(one)]
    if len(mine) < FEWEST or not places:
        return
    theirs = np.stack([np.frombuffer(others[n], "<u4") for n in places])
    equal = mine == theirs
    erring = ((mine & 1) == 0) | ((theirs & 1) == 0)
    share = equal.mean(1)
    mistakes = (equal & erring).sum(1) / np.maximum(1, erring.sum(1))
    for row in np.flatnonzero((share >= SAME) & ((mistakes >= SAME_MISTAKES) | ~erring.any(1))):
        yield (
            places[row],
            (
                f"{share[row]:.0%} of {len(mine)} sampled answers are the same text, {mistakes[row]:.0%} of"
                " those where either errs"
            ),
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
                yield (
                    suite,
                    f"{name} is {one['value']:.3f} on public and {other['value']:.3f} on private labels",
                )


def _bounds(metric: dict) -> tuple:
    return metric["value"], metric["low"], metric["high"]
