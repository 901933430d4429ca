"""Text overlap. Words of scripts that set none apart (Han, kana, Thai, …) are their characters. Raises
ValueError for what is no text: an empty cell that a table program wrote as NaN."""

from collections.abc import Sequence
from typing import Literal

from tvad.answer.script import tokens

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
