"""What VAU-R1's published scripts compute (arXiv 2505.23504, GVCLab/VAU-R1), for numbers comparable with the
paper's.

Reimplemented from a description of their behaviour, quirks included; the project's own metrics are elsewhere
and differ on purpose: here a missing prediction costs nothing in temporal grounding, false alarms on normal
videos cost nothing, and letters are read out of the rationale. Where a script would stop with an exception,
these functions raise ValueError.
"""

import re
from collections.abc import Sequence
from html.parser import HTMLParser

from tvad.answer import parse
from tvad.prompts import VAU_R1_CLASSES

CLASSES = VAU_R1_CLASSES
RECALLS = (0.3, 0.5, 0.7)


def _percent(share: float) -> float:
    return round(share, 4) * 100


def _with_suffix(name: str) -> str:
    return name if name.endswith(".mp4") else f"{name}.mp4"


def _first_of_each(rows: Sequence[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in rows:
        found.setdefault(name, text)
    return found


def period(text: str) -> tuple[float, float]:
    """The predicted start and end in seconds; (0, 0) where nothing is read. Raises ValueError where the
    script stops."""
    span = parse(text, "vau_r1").span
    if not isinstance(span, tuple):
        raise ValueError(f"the script cannot convert the period of {text[:80]!r}")
    return span


def temporal_iou(start: float, end: float, true_start: float, true_end: float) -> float:
    """Overlap over the hull; 0 where the prediction is empty or reversed."""
    if start == end:
        return 0.0
    hull = max(end, true_end) - min(start, true_start)
    return max(0.0, min(end, true_end) - max(start, true_start)) / hull if hull > 0 else 0.0


def temporal_scores(
    predictions: Sequence[tuple[str, str]], truth: dict[str, tuple[float, float]]
) -> dict[str, float]:
    """`evaluation_tag.py`: (video name, response) rows against {name.mp4: (start, end)} -> mean IoU and
    recalls in percent, and how many predictions were scored. Raises ValueError where the script stops: an
    empty or unreadable answer, or nothing to average."""
    first = _first_of_each([(_with_suffix(name), text) for name, text in predictions])
    values = []
    for name in dict.fromkeys(name for name, _ in predictions):  # repeats are told apart before .mp4 is added
        name = _with_suffix(name)
        if name not in truth or truth[name] == (0, 0):
            continue
        if not first[name]:
            raise ValueError(f"{name}: empty answer")
        values.append(temporal_iou(*period(first[name]), *truth[name]))
    if not values:
        raise ValueError("no anomalous video has a prediction")
    recalls = {f"r@{t}": _percent(sum(v >= t for v in values) / len(values)) for t in RECALLS}
    return {"mean_iou": _percent(sum(values) / len(values)), **recalls, "num_scored": len(values)}


_ALONE = re.compile(r"(?<![A-Za-z0-9])([A-Da-d])(?![A-Za-z0-9])")
_IN_ANSWER = re.compile(r"<answer>\s*([A-Da-d])\s*</answer>", re.IGNORECASE)
_TAG_LETTER = re.compile(r"<([A-Da-d])\s*/?>")


def letter_qwen(text: str) -> str:
    """`inference_qa_qwen.py`: a letter, or "" for none."""
    for pattern in (_IN_ANSWER, _TAG_LETTER):
        if match := pattern.search(text):
            return match.group(1).upper()
    rest = text.rpartition("</think>")[2]
    for part in (rest, text):
        if found := _ALONE.findall(part):
            return found[-1].upper()
    return ""


def letter_internvl(text: str) -> str:
    """`evaluate_qa_internvl.py`: a letter, or "" for none."""
    if match := _IN_ANSWER.search(text):
        return match.group(1).upper()
    match = re.search(r"\b([A-D])\b", text)
    return match.group(1) if match else ""


def qa_accuracy(predictions: Sequence[tuple[str, str]], truth: dict[str, str]) -> float:
    """`evaluate_qa.py`: (video name, predicted cell) rows against {name: correct cell} -> percent with two
    decimals. Raises ValueError where the script stops: a video without a prediction or with an empty one."""
    first = _first_of_each(predictions)
    right = 0
    for name, wanted in truth.items():
        if not first.get(name):
            raise ValueError(f"{name}: no answer")
        right += first[name].lower() == wanted.lower()
    return round(100 * right / len(truth), 2)


class _Answer(HTMLParser):
    """Text of the first answer element, without comments; an unclosed one runs to the end."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.depth, self.done, self.parts = 0, False, []

    def handle_starttag(self, tag, attrs):
        if tag == "answer" and not self.done:
            self.depth += 1

    def handle_endtag(self, tag):
        if tag == "answer" and self.depth:
            self.depth -= 1
            self.done = self.depth == 0

    def handle_data(self, data):
        if self.depth and not self.done:
            self.parts.append(data)


def _key(name: str) -> str:
    return re.sub(r"[\s_]+", "_", name.lower())


_CLASS = re.compile(
    r"\b(?:" + "|".join(r"[\s_]*".join(map(re.escape, re.split(r"[\s_]", c))) for c in CLASSES) + r")\b",
    re.IGNORECASE,
)
_CANONICAL = {_key(name): name for name in CLASSES}


def classes_found(text: str) -> list[str]:
    """`evaluation_cls.py`: class names in the answer element (the whole text without one), each once, from
    left to right."""
    if "<answer>" in text:
        parser = _Answer()
        parser.feed(text)
        parser.close()
        text = "".join(parser.parts)
    return list(
        dict.fromkeys(
            _CANONICAL[key] for m in _CLASS.finditer(text) if (key := _key(m.group(0))) in _CANONICAL
        )
    )


def classification_scores(predictions: Sequence[tuple[str, str]], truth: dict[str, str]) -> dict[str, float]:
    """`evaluation_cls.py`: (video name, response) rows against {name: class} -> binary and class accuracy in
    percent over all rows of the truth. Raises ValueError for an empty answer, where the script stops."""
    first = _first_of_each(predictions)
    binary = exact = 0
    for name, wanted in truth.items():
        text = first.get(_with_suffix(name))
        if text is None:
            continue
        if text == "":
            raise ValueError(f"{name}: empty answer")
        found = classes_found(text)
        if found:
            binary += (found[0].lower() == "normal") == (wanted.lower() == "normal")
            exact += found[0].lower() == wanted.lower()
    return {"binary_accuracy": _percent(binary / len(truth)), "class_accuracy": _percent(exact / len(truth))}
