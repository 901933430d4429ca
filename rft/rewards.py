"""Verifiable rewards: plain functions over `tvad.answer` and `bench.metrics`, each in [0, 1], in TRL's signature.

A reward gets `completions` (text or chat messages) and the data set's columns as lists; the reference is in the column `solution`
(the answer protocol's text), the task in `task`, options of a multiple-choice question in `options`. A reward that does not apply
to a task returns None for it. What cannot be scored raises and names the completion: nothing is scored 0 in silence.
"""

import re
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


_NUMBER = r"-?\d+(?:\.\d+)?"
_INTERVAL = re.compile(rf"\[\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\]\n?")
_PREFIXES = ("The best answer is", "The correct answer is", "The answer is", "The answer", "The best option is", "The correct option is",
             "Best answer:Best option:")  # fmt: skip
VAU_R1_TASKS = ("temporal", "qa", "classification")


def _first(tag: str, text: str) -> str | None:
    """Content of the first complete element."""
    start = text.find(f"<{tag}>")
    end = text.find(f"</{tag}>", start) if start != -1 else -1
    return None if end == -1 else text[start + len(tag) + 2 : end]


def _interval(text: str | None) -> tuple[float, float] | None:
    """`[start, end]` as VAU-R1 accepts it: numbers that are Python literals (05 is none), start <= end."""
    match = _INTERVAL.fullmatch(text) if text is not None else None
    if match is None or any(re.fullmatch(r"-?0\d+", part) for part in match.groups()):
        return None
    start, end = (float(part) for part in match.groups())
    return (start, end) if start <= end else None


def _sequence(text: str, tags: Sequence[str]) -> bool:
    """Is the stripped text these elements in order, blanks between them and anything inside, further tags included? The first place where
    one ends and the next begins is as good as any later one, so that one pass decides."""
    text = text.strip()
    if not text.startswith(f"<{tags[0]}>"):
        return False
    position = len(tags[0]) + 2
    for tag, following in zip(tags, tags[1:]):
        match = re.compile(rf"</{tag}>\s*<{following}>").search(text, position)
        if match is None:
            return False
        position = match.end()
    close = f"</{tags[-1]}>"
    return text.endswith(close) and len(text) - len(close) >= position


def _capital(text: str) -> str:
    for prefix in _PREFIXES:
        text = text.replace(prefix, "")
    match = re.search("[A-G]", text)
    return match.group(0) if match else ""


def _joined(spans: Sequence[tuple[float, ...]]) -> list[list[float]]:
    """Spans in order, those that meet or overlap made one."""
    joined: list[list[float]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([start, end])
    return joined


def vau_r1(task: str) -> dict[str, Reward]:
    """VAU-R1's reward functions as published (arXiv 2505.23504; grpo_gqa, grpo_qa, grpo_cls), for paper-comparable training only: they
    pay for what the project's own refuse, such as any answer without a capital A to G to a "Normal" reference.

    task: temporal, qa or classification. `solution` holds, per completion, the answer's text, for temporal a mapping with `answer` and
    `glue` (an interval or a list of them).
    """
    if task not in VAU_R1_TASKS:
        raise InputError(f"unknown task {task!r}; known: {', '.join(VAU_R1_TASKS)}")

    def lifted(score: Callable[[str, Any], float]) -> Reward:
        def reward(completions: Sequence[Any], *, solution: Sequence[Any], **_: Any) -> list[float | None]:
            return [score(completion_text(c), s) for c, s in zip(completions, solution, strict=True)]

        reward.__name__ = f"vau_r1_{score.__name__}"
        return reward

    def format(text: str, solution: Any) -> float:
        tags = ("think", "answer", "glue") if task == "temporal" else ("think", "answer")
        return float(_sequence(text, tags) and (task != "temporal" or _interval(_first("glue", text)) is not None))

    def answer(text: str, solution: Any) -> float:
        wanted = solution["answer"] if isinstance(solution, dict) else solution
        found = _first("answer", text)
        if task == "classification":
            return float(found is not None and found.strip().lower() == str(wanted).strip().lower())
        return float(found is not None and _capital(found) == _capital(str(wanted)))

    def iou(text: str, solution: Any) -> float:
        span = _interval(_first("glue", text))
        glue = solution["glue"]
        wanted = [tuple(map(float, part)) for part in (glue if isinstance(glue[0], (list, tuple)) else [glue])]
        if span is None:
            return 0.0
        normal = (span == (-1.0, -1.0), wanted == [(-1.0, -1.0)])
        if any(normal):
            return float(all(normal))
        overlap = sum(max(0.0, min(span[1], end) - max(span[0], start)) for start, end in _joined(wanted))
        union = sum(end - start for start, end in _joined([*wanted, span]))
        return overlap / union if union > 0 else 1.0

    scores = {"format": format, "answer": answer, **({"iou": iou} if task == "temporal" else {})}
    return {name: lifted(score) for name, score in scores.items()}
