"""One answer as a line of samples.jsonl: what was asked (its hash), what was parsed, its defects, its scores,
and why nothing could be read where that is so."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from bench.suite import Item, Suite
from bench.tasks import COUNTED, DIALOGUES, LABELLED, READERS, TASKS
from tvad.answer import Answer, Read, parse, split
from tvad.data.sample import Question, Sample
from tvad.prompts import asked


def asked_of(item: Item) -> dict[str, Any]:
    """What every line of an item begins with: `source` is the video that a window is cut from."""
    return {"id": item.id, "task": item.task, **video_of(item.sample)}


def video_of(sample: Sample) -> dict[str, str]:
    source = sample.video.source
    return {"sample": sample.id} | ({"source": source} if source not in (None, sample.id) else {})


def cluster(line: Mapping[str, Any]) -> str:
    """What an interval is over: windows of one video move together, and are one."""
    return line.get("source") or line["sample"]


def prompt_hash(item: Item, suite: Suite) -> str:
    """Of what decides an answer apart from the model: a resumed run keeps the lines that still hold."""
    earlier = [text for _, text in item.earlier]
    parts = [
        asked(item.question, suite.prompt, boxes=item.reading.unit),
        item.sample.video.path,
        suite.rate,
        suite.max_frames,
        asdict(suite.decode),
    ]
    # Answers that were drawn by a batch's seed, as they once were, are not the item's own.
    drawn = ["by item"] if suite.decode.temperature else []
    text = json.dumps(
        [*parts, *([earlier] if earlier else []), *(["masked"] if item.masked else []), *drawn],
        allow_nan=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def score_item(
    item: Item,
    response: str,
    mode: Literal["lenient", "strict", "vau_r1"] = "lenient",
    hidden: bool = False,
    opened: bool = False,
) -> dict:
    """{"parsed", "defects", "scores"} of one answer, {"labels"} for a task with classes, {"counts"} of
    n-grams for one with BLEU-4, {"read"}, what was read, or {"unread"}, why nothing was; no scores where the
    references are `hidden`. opened: the prompt has opened the reasoning."""
    task = TASKS[item.task]
    timing = item.sample.video.timing
    if item.task in DIALOGUES:  # plain words: there are no tags to read
        think, words = split(response, item.reading, opened)
        answer = Answer(think, words, reading=item.reading)
    else:
        answer = parse(response, mode, item.reading, opened, timing=timing)
    parsed = {
        "answer": answer.answer,
        "span": answer.span,  # the first of them
        "spans": answer.spans,
        "span_labels": answer.span_labels,
        "boxes": [list(b.xyxy) for b in answer.boxes] or None,
    }
    line: dict[str, Any] = {"parsed": parsed, "defects": list(answer.defects), "scores": {}}
    if hidden:
        return line
    scores = task.score(answer, item.question, item.sample)
    line["scores"] = {name: value for name, value in scores.items() if value is not None}
    if labelled := LABELLED.get(item.task):
        line["labels"] = list(labelled.label(answer, item.question))
    found = read(item.task, answer, item.question, line["scores"])
    if found.keys:
        line["read"] = list(found.keys)
    elif found.reason:
        line["unread"] = found.reason
    if counted := COUNTED.get(item.task):
        line["counts"] = counted.counts(answer, item.question, item.sample)
    return line


def read(task: str, answer: Answer, question: Question, scores: dict[str, float]) -> Read:
    """What a task reads out of an answer (a letter, "yes", classes), or why nothing."""
    if reader := READERS.get(task):
        return reader.read(answer, question)
    if not scores.get("parse_failure"):
        return Read(())
    why = (defect for defect in answer.defects if "span" in defect or "glue" in defect)
    return Read((), next(why, answer.missing if answer.answer is None else "no_span"))


def line_scores(line: dict) -> dict[str, float]:
    """All scores of a line: those that are kept in it, and whether the answer was well formed, which plain
    words always are."""
    if line["task"] in DIALOGUES:
        return line["scores"]
    return {**line["scores"], "well_formed": float(not line["defects"])}
