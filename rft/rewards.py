"""Verifiable rewards: plain functions over `tvad.answer` and `bench.metrics`, each in [0, 1], in TRL's signature.

A reward gets `completions` (text or chat messages) and the data set's columns as lists; the reference is in the column `solution`
(the answer protocol's text), the task in `task`, options of a multiple-choice question in `options`. A reward that does not apply
to a task returns None for it. What cannot be scored raises and names the completion: nothing is scored 0 in silence.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from bench.metrics import choice, spatial, temporal
from tvad.answer import TAGS, Answer, parse
from tvad.errors import InputError

Reward = Callable[..., list[float | None]]


def completion_text(completion: Any) -> str:
    """The text of a completion given as a string or as chat messages."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def per_completion(score: Callable[..., float | None]) -> Reward:
    """Lift `score(text, reference, task, options)` to TRL's signature."""

    @wraps(score)
    def reward(completions: Sequence[Any], *, solution: Sequence[str], task: Sequence[str], **columns: Any) -> list[float | None]:
        options = columns.get("options") or [None] * len(completions)
        ids = columns.get("sample_id") or range(len(completions))
        values: list[float | None] = []
        for n, (completion, reference, kind, choices) in enumerate(zip(completions, solution, task, options, strict=True)):
            try:
                if kind not in TAGS:
                    raise ValueError(f"unknown task {kind!r}")
                values.append(score(completion_text(completion), parse(reference), kind, choices))
            except Exception as error:
                raise RuntimeError(f"reward {score.__name__} failed on completion {n} (sample {list(ids)[n]}): {error}") from error
        return values

    return reward


@per_completion
def format(text: str, reference: Answer, task: str, options: Any) -> float:
    """1 iff strict parsing finds exactly the tags of the task, once each, in order, with nothing outside and nothing wrong in them."""
    found = parse(text, "strict")
    return float(found.tags == TAGS[task] and not found.defects)


def same_answer(found: Answer, reference: Answer, task: str, options: Any) -> bool:
    """Is the answer right: the letter, the label, or the number (math-verify)?"""
    if found.answer is None or reference.answer is None or "repeated_answer" in found.defects:
        return False
    if task == "mcq":
        return choice.letter(found.answer, options or "ABCD") == reference.answer
    given, wanted = (" ".join(a.replace("_", " ").lower().split()).strip(" .!") for a in (found.answer, reference.answer))
    if given == wanted:
        return True
    if any(c.isdigit() for c in wanted) and len(given) <= 100:
        from math_verify import parse as parse_math
        from math_verify import verify

        return bool(verify(parse_math(wanted, parsing_timeout=None), parse_math(given, parsing_timeout=None), timeout_seconds=None))
    return False


@per_completion
def answer(text: str, reference: Answer, task: str, options: Any) -> float:
    """1 iff the answer is right; 0 if several are offered."""
    return float(same_answer(parse(text), reference, task, options))


@per_completion
def temporal_iou(text: str, reference: Answer, task: str, options: Any) -> float | None:
    """IoU of the spans in seconds; only for temporal grounding."""
    if task != "temporal":
        return None
    found = parse(text)
    return 0.0 if "repeated_glue" in found.defects else temporal.iou(found.span, reference.span)


@per_completion
def box(text: str, reference: Answer, task: str, options: Any) -> float | None:
    """Mean IoU over the asked moments; only for spatial grounding."""
    if task != "spatial":
        return None
    found = parse(text)
    return 0.0 if "repeated_box" in found.defects else spatial.matched_iou(found.boxes, reference.boxes)


REWARDS: dict[str, Reward] = {"format": format, "answer": answer, "temporal_iou": temporal_iou, "box": box}


def select(weights: dict[str, float]) -> tuple[list[Reward], list[float]]:
    """Rewards and weights named by a configuration. Raises InputError for an unknown name."""
    for name in weights:
        if name not in REWARDS:
            raise InputError(f"rewards: unknown reward {name!r}; known: {', '.join(REWARDS)}")
    return [REWARDS[name] for name in weights], list(weights.values())
