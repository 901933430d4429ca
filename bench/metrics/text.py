"""Text overlap. Words of scripts that set none apart (Han, kana, Thai, …) are their characters. Raises
ValueError for what is no text: an empty cell that a table program wrote as NaN."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from tvad.answer.script import tokens

ORDERS = 4  # of BLEU-4: n-grams of 1 to 4 words
Tokens = Literal["space", "script"]


def _texts(*given: str) -> None:
    for text in given:
        if not isinstance(text, str):
            raise ValueError(f"expected text, found {text!r}")


def bleu4(
    hypothesis: str, references: Sequence[str], smoothing: str = "method1", by: Tokens = "space"
) -> float:
    """NLTK's sentence BLEU-4, 0..1; `smoothing` names a method of NLTK's SmoothingFunction.

    by: "space" splits at white space, as published figures do; "script" also sets the characters of unspaced
    scripts apart and takes shorter n-grams of a hypothesis below four words (NLTK's auto_reweigh, sacreBLEU's
    effective order), so that a reference against itself is 1.
    """
    _texts(hypothesis, *references)
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    method = getattr(SmoothingFunction(), smoothing, None)
    if method is None:
        raise ValueError(f"unknown smoothing {smoothing!r}; expected method0 to method7")
    split = tokens if by == "script" else str.split
    return float(
        sentence_bleu(
            [split(r) for r in references],
            split(hypothesis),
            weights=(0.25,) * 4,
            smoothing_function=method,
            auto_reweigh=by == "script",
        )
    )


def best_bleu4(hypothesis: str, references: Sequence[str]) -> tuple[float, str]:
    """The best BLEU-4 of a hypothesis with one of several references, lower case, by script, and which. A
    sentence of fewer than four words is compared by as many: a reference against itself is 1."""
    scores = [bleu4(hypothesis.lower(), [reference.lower()], by="script") for reference in references]
    best = int(np.argmax(scores))
    return scores[best], references[best]


def ngram_counts(hypothesis: str, reference: str) -> list[int]:
    """What corpus BLEU-4 sums over sentences: n-grams of the hypothesis that the reference has too, for n of
    1 to 4, all n-grams of the hypothesis, and the words of both. Lower case, words by script."""
    _texts(hypothesis, reference)
    said, right = tokens(hypothesis.lower()), tokens(reference.lower())
    grams = [
        [Counter(zip(*(w[i:] for i in range(n)), strict=False)) for w in (said, right)] for n in range(1, 5)
    ]
    found = [(mine & theirs).total() for mine, theirs in grams]
    return [*found, *(mine.total() for mine, _ in grams), len(said), len(right)]


def corpus_bleu4(counts: np.ndarray) -> np.ndarray:
    """Corpus BLEU-4 (Papineni et al., 2002) of summed `ngram_counts` (..., 10) -> (...), 0..1, not smoothed.
    Orders of which no hypothesis has an n-gram are left out (sacreBLEU's effective order), so that references
    against themselves are 1; NaN where nothing is asked."""
    counts = np.asarray(counts, float)
    found, tried = counts[..., :ORDERS], counts[..., ORDERS : 2 * ORDERS]
    said, right = counts[..., -2], counts[..., -1]
    has = tried > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(has, np.log(found / tried), 0.0).sum(-1) / np.maximum(has.sum(-1), 1)
        penalty = np.minimum(0.0, 1 - right / said)
        value = np.where(said > 0, np.exp(logs + penalty), 0.0)
    return np.where(right > 0, value, np.nan)


def rouge_l(hypothesis: str, reference: str) -> float:
    """ROUGE-L F1 over lower-case words (Lin, 2004): longest common subsequence, 0..1; 0 where either is
    empty. Texts without characters of unspaced scripts are split at white space."""
    _texts(hypothesis, reference)
    a, b = tokens(hypothesis.lower()), tokens(reference.lower())
    if not a or not b:
        return 0.0
    return 2 * _common(a, b) / (len(a) + len(b))


def _common(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence, by rows of bits (Hyyrö, 2004): |a| steps over |b| bits, so
    that nothing has to be cut."""
    if len(a) < len(b):
        a, b = b, a
    places: dict[str, int] = {}
    for n, word in enumerate(b):
        places[word] = places.get(word, 0) | 1 << n
    row = full = (1 << len(b)) - 1
    for word in a:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & full
    return len(b) - row.bit_count()
