"""The project's own rewards: plain functions over `tvad.answer` and `bench.metrics`, each in [0, 1].

A reward that does not apply to a task returns None for it. To add one: a function here and its place in
`REWARDS`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bench.metrics import spatial, temporal
from bench.metrics.text import rouge_l
from bench.tasks import TASKS
from rft.rewards.base import Reward, needing, parsed, per_completion
from tvad.answer import TAGS, Answer, judged, letter, spans_in_text
from tvad.answer.letters import options_named
from tvad.data.sample import DIALOGUE_TURN, Question, Sample, Video

UNSEEN = Sample("", "", "", Video(""))  # the benchmark's rules for answers look at no sample


@per_completion
def format(text: str, reference: Answer, task: str, row: Mapping[str, Any]) -> float | None:
    """1 iff strict parsing finds exactly the tags of the task, once each, in order, with nothing outside and
    nothing wrong in them. Where the prompt has opened the reasoning the completion only closes it."""
    if task == DIALOGUE_TURN:
        return None
    found = parsed(text, row, "strict")
    return float(found.tags == TAGS[task] and not found.defects)


def is_right(found: Answer, reference: Answer, task: str, options: Any = None) -> bool:
    """Is the answer right, by the benchmark's own rule for the task? Of a time and a place, whose metrics are
    about span and box: the verdict where the reference is one, else the number or the name."""
    if reference.answer is None:
        return False
    # A letter without its options, as foreign rows have it, is one of four.
    offered = tuple(options or "ABCD") if task == "mcq" else None
    if task in ("temporal", "spatial"):
        task = "classification" if judged(reference.answer) is None else "judgement"
    question = Question(task, "", reference.answer, offered)
    return TASKS[task].score(found, question, UNSEEN)["accuracy"] == 1.0


@per_completion
def answer(text: str, reference: Answer, task: str, row: Mapping[str, Any]) -> float | None:
    """1 iff the answer is right (`is_right`). Of dialogue turns only the yes/no one has a right answer."""
    found = parsed(text, row)
    if task == DIALOGUE_TURN:
        wanted = judged(reference.answer)
        return None if wanted is None else float(judged(found.answer) == wanted)
    return float(is_right(found, reference, task, row.get("options")))


@per_completion
def words(text: str, reference: Answer, task: str, row: Mapping[str, Any]) -> float | None:
    """ROUGE-L of a dialogue turn with its reference; None for other tasks and for the yes/no turn."""
    if task != DIALOGUE_TURN or judged(reference.answer) is not None:
        return None
    return rouge_l(parsed(text, row).answer or "", reference.answer or "")


def spans_reward(name: str, compare: Callable[[temporal.Several, temporal.Several], float]) -> Reward:
    """A reward for temporal grounding: `compare` of the answer's spans and the reference's, in seconds."""

    def score(text: str, reference: Answer, task: str, row: Mapping[str, Any]) -> float | None:
        if task != "temporal":
            return None
        return compare(parsed(text, row).spans, reference.spans)

    score.__name__ = name
    return per_completion(score)


# IoU of the spans' unions, as the metric temporal.miou; of one span and one reference, their IoU.
temporal_iou = spans_reward("temporal_iou", temporal.union_iou)


@per_completion
def box(text: str, reference: Answer, task: str, row: Mapping[str, Any]) -> float | None:
    """Mean IoU over the asked moments; only for spatial grounding, and where the reference holds a box: an
    answer without one would have all of nothing."""
    if task != "spatial" or not reference.boxes:
        return None
    return spatial.matched_iou(parsed(text, row).boxes, reference.boxes)


def soft_iou(heat: np.ndarray, xyxy: tuple[float, float, float, float]) -> float:
    """Overlap of a heatmap (h, w) in [0, 1] with a box in 0..1000: sum of the heat inside over the sum of
    heat and box's area together.

    Each cell counts by how much of it the box covers. A box over the whole frame gets no more than the heat's
    mean.
    """
    h, w = heat.shape
    x1, y1, x2, y2 = (c / 1000 for c in xyxy)

    def covered(low: float, high: float, cells: int) -> np.ndarray:
        edges = np.arange(cells + 1) / cells
        return np.clip(np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1]), 0, None) * cells

    inside = np.outer(covered(y1, y2, h), covered(x1, x2, w))
    overlap = float((heat * inside).sum())
    union = float(heat.sum() + inside.sum()) - overlap
    return overlap / union if union > 0 else 0.0


@needing("heat", "times")
@per_completion
def evidence(text: str, reference: Answer, task: str, row: Mapping[str, Any]) -> float | None:
    """Agreement of the predicted box with the model's own heatmap at the asked moment (`soft_iou`), paid only
    where the answer is right: it ties words to pixels. Needs the columns `heat` (T', h, w), `times` (T,)
    seconds of the frames, and `moment` in seconds (the middle of the clip where it is None)."""
    if task != "spatial":
        return None
    if row.get("heat") is None:
        raise ValueError("no heatmap; the evidence reward needs a model with AHD")
    found = parsed(text, row)
    if len(found.boxes) != 1 or not is_right(found, reference, task):
        return 0.0
    heat, times = np.asarray(row["heat"], float), np.asarray(row["times"], float)
    # The sampled frame next to the asked moment; the T frames share T' maps, two frames a map.
    frame = int(np.abs(times - row["moment"]).argmin()) if row.get("moment") is not None else len(times) // 2
    return soft_iou(heat[frame * len(heat) // len(times)], found.boxes[0].xyxy)


@per_completion
def consistency(text: str, reference: Answer, task: str, row: Mapping[str, Any]) -> float | None:
    """1 iff the rationale does not contradict the tags: where it names options, the chosen one is among them;
    where it says that something is wrong, or nothing, so does the answer; where it gives time spans, one of
    them overlaps a tagged one by half. An empty rationale says nothing: 0."""
    if task == DIALOGUE_TURN:
        return None
    found = parsed(text, row)
    think = (found.think or "").strip()
    if not think or found.answer is None:
        return 0.0
    if task == "mcq" and (options := row.get("options")):
        named = options_named(think, options)
        if named and letter(found.answer, options) not in named:
            return 0.0
    if task in ("judgement", "temporal"):
        said = judged(think)
        if said is not None and judged(found.answer) is (not said):
            return 0.0
    if task == "temporal" and isinstance(found.spans, tuple):
        told = dict.fromkeys(spans_in_text(think))
        # One by one: a rationale may hold a hundred thousand, an answer a thousand.
        if told and not any((temporal.ious([span], found.spans) >= 0.5).any() for span in told):
            return 0.0
    return 1.0


REWARDS: dict[str, Reward] = {
    "format": format,
    "answer": answer,
    "temporal_iou": temporal_iou,
    "box": box,
    "evidence": evidence,
    "consistency": consistency,
    "words": words,
}
# The same by another rule, named in a configuration like the others.
VARIANTS: dict[str, Reward] = {
    # Spans matched one to one, as the metric temporal.matched_iou: how an anomaly is cut into spans counts.
    "temporal_iou.matching": spans_reward("temporal_iou_matching", temporal.matched_iou),
}
