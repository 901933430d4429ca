"""Text overlap."""

from collections.abc import Sequence


def bleu4(hypothesis: str, references: Sequence[str], smoothing: str = "method1") -> float:
    """NLTK's sentence BLEU-4 over white-space tokens, 0..1; `smoothing` names a method of NLTK's SmoothingFunction."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    method = getattr(SmoothingFunction(), smoothing, None)
    if method is None:
        raise ValueError(f"unknown smoothing {smoothing!r}; expected method0 to method7")
    return float(sentence_bleu([r.split() for r in references], hypothesis.split(), weights=(0.25,) * 4, smoothing_function=method))
