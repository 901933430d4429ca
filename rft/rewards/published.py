"""VAU-R1's reward functions as published (arXiv 2505.23504; grpo_gqa, grpo_qa, grpo_cls), for
paper-comparable training only; golden values of the published code hold them to it. Where they pay for what
the project's own refuse, they still do so."""

import ast
import itertools
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rft.rewards.base import Reward, completion_text
from tvad.common.errors import InputError

_NUMBER = r"-?\d+(?:\.\d+)?"
_INTERVAL = re.compile(rf"\[\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\]\n?")
_PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option is",
    "The correct option is",
    "Best answer:Best option:",
)
VAU_R1_TASKS = ("temporal", "qa", "classification")


def _first(tag: str, text: str) -> str | None:
    """Content of the first complete element."""
    start = text.find(f"<{tag}>")
    end = text.find(f"</{tag}>", start) if start != -1 else -1
    return None if end == -1 else text[start + len(tag) + 2 : end]


def _interval(text: str | None) -> tuple[float, float] | None:
    """`[start, end]` as VAU-R1 accepts it: the pattern, whose digits and blanks are Unicode's, and a Python
    literal, whose digits and blanks are ASCII's (05 is none, 00 is one); start <= end."""
    if text is None or not _INTERVAL.fullmatch(text):
        return None
    try:
        start, end = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return None
    return (start, end) if start <= end else None


def _sequence(text: str, tags: Sequence[str]) -> bool:
    """Is the stripped text these elements in order, blanks between them and anything inside, further tags
    included? The first place where one ends and the next begins is as good as any later one, so that one pass
    decides."""
    text = text.strip()
    if not text.startswith(f"<{tags[0]}>"):
        return False
    position = len(tags[0]) + 2
    for tag, following in itertools.pairwise(tags):
        match = re.compile(rf"</{tag}>\s*<{following}>").search(text, position)
        if match is None:
            return False
        position = match.end()
    close = f"</{tags[-1]}>"
    return text.endswith(close) and len(text) - len(close) >= position


def _capital(text: str) -> str:
    """What VAU-R1 takes for the letter: the first capital A to G that is left, "" where there is none (as in
    "Normal")."""
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
    """VAU-R1's reward functions as published (arXiv 2505.23504; grpo_gqa, grpo_qa, grpo_cls), for
    paper-comparable training only: they pay for what the project's own refuse, such as any answer without a
    capital A to G to a "Normal" reference.

    task: temporal, qa or classification. `solution` holds, per completion, the answer's text, for temporal a
    mapping with `answer` and `glue` (an interval or a list of them).
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
        return float(
            _sequence(text, tags) and (task != "temporal" or _interval(_first("glue", text)) is not None)
        )

    def answer(text: str, solution: Any) -> float:
        wanted = solution["answer"] if isinstance(solution, dict) else solution
        found = _first("answer", text)
        if task == "classification":
            return float(found is not None and found.strip().lower() == str(wanted).strip().lower())
        return float(found is not None and _capital(found) == _capital(str(wanted)))

    def iou(text: str, solution: Any) -> float:
        span = _interval(_first("glue", text))
        glue = solution["glue"]
        wanted = [
            tuple(map(float, part)) for part in (glue if isinstance(glue[0], (list, tuple)) else [glue])
        ]
        if span is None or not all(abs(bound) <= sys.float_info.max for bound in span):
            return 0.0
        normal = (span == (-1.0, -1.0), wanted == [(-1.0, -1.0)])
        if any(normal):
            return float(all(normal))
        overlap = sum(max(0.0, min(span[1], end) - max(span[0], start)) for start, end in _joined(wanted))
        union = sum(end - start for start, end in _joined([*wanted, span]))
        return overlap / union if union > 0 else 1.0

    scores = {"format": format, "answer": answer, **({"iou": iou} if task == "temporal" else {})}
    return {name: lifted(score) for name, score in scores.items()}
