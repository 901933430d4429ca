"""One answer as a line of samples.jsonl: what was asked (its hash), what was parsed, its defects, its
scores."""

import hashlib
import json
from dataclasses import asdict
from typing import Any, Literal

from bench.suite import Item, Suite
from bench.tasks import TASKS, Labelled
from tvad.answer import Answer, parse
from tvad.data.sample import DIALOGUE_TURN
from tvad.prompts import asked


def prompt_hash(item: Item, suite: Suite) -> str:
    """Of what decides an answer apart from the model: a resumed run keeps the lines that still hold."""
    earlier = [turn for turn, _ in (item.sample.dialogue or ())[: item.turn]]
    parts = [
        asked(item.question, suite.prompt),
        item.sample.video.path,
        suite.rate,
        suite.max_frames,
        asdict(suite.decode),
    ]
    # Answers that were drawn by a batch's seed, as they once were, are not the item's own.
    drawn = ["by item"] if suite.decode.temperature else []
    text = json.dumps([*parts, *([earlier] if earlier else []), *(["masked"] if item.masked else []), *drawn])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def score_item(
    item: Item, response: str, mode: Literal["lenient", "strict", "vau_r1"] = "lenient", hidden: bool = False
) -> dict:
    """{"parsed", "defects", "scores"} of one answer, and {"labels"} for a task with classes; no scores where
    the references are `hidden`."""
    task = TASKS[item.task]
    # A dialogue is answered in plain words: there are no tags to read.
    answer = Answer(answer=response) if item.task == DIALOGUE_TURN else parse(response, mode)
    parsed = {
        "answer": answer.answer,
        "span": answer.span,
        "boxes": [list(b.xyxy) for b in answer.boxes] or None,
    }
    line: dict[str, Any] = {"parsed": parsed, "defects": list(answer.defects), "scores": {}}
    if hidden:
        return line
    scores = task.score(answer, item.question, item.sample)
    line["scores"] = {name: value for name, value in scores.items() if value is not None}
    if isinstance(task, Labelled):
        line["labels"] = list(task.label(answer, item.question))
    return line


def line_scores(line: dict) -> dict[str, float]:
    """All scores of a line: those that are kept in it, and whether the answer was well formed, which plain
    words always are."""
    if line["task"] == DIALOGUE_TURN:
        return line["scores"]
    return {**line["scores"], "well_formed": float(not line["defects"])}
