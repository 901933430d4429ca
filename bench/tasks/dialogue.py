"""Multi-turn dialogue in plain words (T-VAU's), in one of its forms: Yes/No, and BLEU-4 of target, features,
motion, trajectory, cause and surroundings, each asked in a turn or a part of the figure's one answer.

Each turn is asked after the model's own replies to the earlier ones. The references of an answer are all
replies that a video has to the same words; the best of them counts.
"""

from bench.metrics.text import best_bleu4, ngram_counts
from tvad.answer import Answer, Read, judged, read_verdict
from tvad.data.dialogue import parts_of
from tvad.data.sample import Question, Sample

PRIMARY, LOWER, BINARY = "yes_no", (), ("yes_no",)
STRUCTURED = "structured"  # topic of the figure's one answer


def read(answer: Answer, question: Question) -> Read:
    """The verdict of the first turn; of the others, plain words, everything is read."""
    if question.topic in ("judgement", STRUCTURED):
        return read_verdict(_said(answer, question).get("judgement"))
    return Read(("words",)) if (answer.answer or "").strip() else Read((), "nothing_said")


def score(answer: Answer, question: Question, sample: Sample) -> dict[str, float | None]:
    said, wanted = _said(answer, question), _parts(question.answer, question)
    scores: dict[str, float | None] = {}
    if "judgement" in wanted:
        scores |= _verdict(said.get("judgement", ""), wanted.pop("judgement"))
    for topic in wanted:
        scores[f"{topic}_bleu4"] = best_bleu4(said.get(topic, ""), _references(topic, question, sample))[0]
    return scores


def counts(answer: Answer, question: Question, sample: Sample) -> dict[str, list[int]]:
    said, found = _said(answer, question), {}
    for topic in _parts(question.answer, question).keys() - {"judgement"}:
        text = said.get(topic, "")
        best = best_bleu4(text, _references(topic, question, sample))[1]
        found[f"{topic}_bleu4"] = ngram_counts(text, best)
    return found


def _verdict(said: str, wanted: str) -> dict[str, float | None]:
    found, true = judged(said), judged(wanted)
    right = float(found is not None and found == true)
    return {
        "yes_no": right,
        "sensitivity": right if true else None,
        "specificity": right if true is False else None,
    }


def _said(answer: Answer, question: Question) -> dict[str, str]:
    return _parts((answer.answer or "").strip(), question)


def _parts(text: str, question: Question) -> dict[str, str]:
    """Topic -> words; of all turns but the figure's one answer there is one topic."""
    return parts_of(text) if question.topic == STRUCTURED else {question.topic or "other": text}


def _references(topic: str, question: Question, sample: Sample) -> list[str]:
    """What a video's turns with the same words reply about the topic, each turn once."""
    told = [reply for asked, reply in sample.dialogue or () if asked == question.text]
    every = told if question.answer in told else [question.answer, *told]
    return [words for reply in every if (words := _parts(reply, question).get(topic))]


def among_themselves(question: Question, sample: Sample) -> dict[str, float]:
    """How the references score each other: each as an answer against the others, never against itself, the
    mean over them; empty where there is one reference alone."""
    found = {}
    for topic in _parts(question.answer, question).keys() - {"judgement"}:
        told = _references(topic, question, sample)
        if len(told) > 1:
            each = [best_bleu4(words, told[:n] + told[n + 1 :])[0] for n, words in enumerate(told)]
            found[f"{topic}_bleu4"] = sum(each) / len(each)
    return found
