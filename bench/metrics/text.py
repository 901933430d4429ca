"""Text overlap. Raises ValueError for what is no text: an empty cell that a table program wrote as NaN."""

from collections.abc import Sequence


def _texts(*given: str) -> None:
    for text in given:
        if not isinstance(text, str):
            raise ValueError(f"expected text, found {text!r}")


def bleu4(hypothesis: str, references: Sequence[str], smoothing: str = "method1") -> float:
    """NLTK's sentence BLEU-4 over white-space tokens, 0..1; `smoothing` names a method of NLTK's
    SmoothingFunction."""
    _texts(hypothesis, *references)
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    method = getattr(SmoothingFunction(), smoothing, None)
    if method is None:
        raise ValueError(f"unknown smoothing {smoothing!r}; expected method0 to method7")
    return float(
        sentence_bleu(
            [r.split() for r in references],
            hypothesis.split(),
            weights=(0.25,) * 4,
            smoothing_function=method,
        )
    )


def rouge_l(hypothesis: str, reference: str) -> float:
    """ROUGE-L F1 over lower-case white-space tokens (Lin, 2004): longest common subsequence, 0..1; 0 where
    either is empty."""
    _texts(hypothesis, reference)
    a, b = hypothesis.lower().split(), reference.lower().split()
    if not a or not b:
        return 0.0
    # One row of the table of common subsequences at a time; a runaway answer is cut, since time is |a| x |b|.
    row = [0] * (len(b) + 1)
    for word in a[:5000]:
        diagonal = 0
        for j, other in enumerate(b, 1):
            diagonal, row[j] = row[j], diagonal + 1 if word == other else max(row[j], row[j - 1])
    common = row[-1]
    return 2 * common / (len(a) + len(b))
