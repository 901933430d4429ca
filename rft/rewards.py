"""Verifiable rewards: plain functions over `tvad.answer` and `bench.metrics`, each in [0, 1], in TRL's
signature.

A reward gets `completions` (text or chat messages) and the data set's columns as lists; the reference is in
the column `solution` (the answer protocol's text; plain words for a dialogue turn), the task in `task`,
options of a multiple-choice question in `options`. A reward that does not apply to a task returns None for
it. What cannot be scored raises and names the completion: nothing is scored 0 in silence.
"""

import importlib
import inspect
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import numpy as np

from bench.metrics import choice, spatial, temporal
from bench.metrics.text import rouge_l
from bench.tasks.judgement import judged
from bench.tasks.rationale import names
from tvad.answer import NONE, TAGS, Answer, parse, spans_in_text
from tvad.common.errors import InputError
from tvad.data.questions import LETTERS
from tvad.data.sample import DIALOGUE_TURN

Reward = Callable[..., list[float | None]]


def completion_text(completion: Any) -> str:
    """The text of a completion given as a string or as chat messages."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def per_completion(score: Callable[..., float | None]) -> Reward:
    """Lift `score(text, reference, task, row)` to TRL's signature; `row` holds the completion's columns. A
    dialogue turn's reference is an Answer of plain words."""

    @wraps(score)
    def reward(
        completions: Sequence[Any], *, solution: Sequence[str], task: Sequence[str], **columns: Any
    ) -> list[float | None]:
        count = len(completions)
        listed = {
            name: values
            for name, values in columns.items()
            if isinstance(values, (list, tuple)) and len(values) == count
        }
        values: list[float | None] = []
        for n, (completion, given, kind) in enumerate(zip(completions, solution, task, strict=True)):
            row = {name: column[n] for name, column in listed.items()}
            try:
                if kind not in TAGS and kind != DIALOGUE_TURN:
                    raise ValueError(f"unknown task {kind!r}")
                reference = Answer(answer=given) if kind == DIALOGUE_TURN else parse(given)
                values.append(score(completion_text(completion), reference, kind, row))
            except Exception as error:
                raise RuntimeError(
                    f"reward {score.__name__} failed on completion {n} (sample {row.get('sample_id', n)}):"
                    f" {error}"
                ) from error
        return values

    return reward


@per_completion
def format(text: str, reference: Answer, task: str, row: Mapping[str, Any]) -> float | None:
    """1 iff strict parsing finds exactly the tags of the task, once each, in order, with nothing outside and
    nothing wrong in them."""
    if task == DIALOGUE_TURN:
        return None
    found = parse(text, "strict")
    return float(found.tags == TAGS[task] and not found.defects)


def same_answer(found: Answer, reference: Answer, task: str, options: Any) -> bool:
    """Is the answer right: the letter, the label, or the number (math-verify)?"""
    if found.answer is None or reference.answer is None or "repeated_answer" in found.defects:
        return False
    if task == "mcq":
        return choice.letter(found.answer, options or "ABCD") == reference.answer
    given, wanted = (
        " ".join(a.replace("_", " ").lower().split()).strip(" .!") for a in (found.answer, reference.answer)
    )
    if given == wanted:
        return True
    if any(c.isdigit() for c in wanted) and len(given) <= 100:
        from math_verify import parse as parse_math
        from math_verify import verify

        return bool(
            verify(
                parse_math(wanted, parsing_timeout=None),
                parse_math(given, parsing_timeout=None),
                timeout_seconds=None,
            )
        )
    return False


@per_completion
def answer(text: str, reference: Answer, task: str, row: Mapping[str, Any]) -> float | None:
    """1 iff the answer is right; 0 if several are offered. Of dialogue turns only the yes/no one has a right
    answer."""
    if task == DIALOGUE_TURN:
        wanted = judged(reference.answer)
        return None if wanted is None else float(judged(text) == wanted)
    return float(same_answer(parse(text), reference, task, row.get("options")))


@per_completion
def words(text: str, reference: Answer, task: str, row: Mapping[str, Any]) -> float | None:
    """ROUGE-L of a dialogue turn with its reference; None for other tasks and for the yes/no turn."""
    if task != DIALOGUE_TURN or judged(reference.answer) is not None:
        return None
    return rouge_l(text.lower(), (reference.answer or "").lower())


@per_completion
def temporal_iou(text: str, reference: Answer, task: str, row: Mapping[str, Any]) -> float | None:
    """IoU of the spans in seconds; only for temporal grounding."""
    if task != "temporal":
        return None
    found = parse(text)
    return 0.0 if "repeated_glue" in found.defects else temporal.iou(found.span, reference.span)


@per_completion
def box(text: str, reference: Answer, task: str, row: Mapping[str, Any]) -> float | None:
    """Mean IoU over the asked moments; only for spatial grounding."""
    if task != "spatial":
        return None
    found = parse(text)
    return 0.0 if "repeated_box" in found.defects else spatial.matched_iou(found.boxes, reference.boxes)


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


@per_completion
def evidence(text: str, reference: Answer, task: str, row: Mapping[str, Any]) -> float | None:
    """Agreement of the predicted box with the model's own heatmap at the asked moment (`soft_iou`), paid only
    where the answer is right: it ties words to pixels. Needs the columns `heat` (T', h, w), `times` (T,)
    seconds of the frames, and `moment` in seconds."""
    if task != "spatial":
        return None
    if row.get("heat") is None:
        raise ValueError("no heatmap; the evidence reward needs a model with AHD")
    found = parse(text)
    if (
        len(found.boxes) != 1
        or "repeated_box" in found.defects
        or not same_answer(found, reference, task, None)
    ):
        return 0.0
    heat, times = np.asarray(row["heat"], float), np.asarray(row["times"], float)
    frame = int(np.abs(times - row["moment"]).argmin()) if row.get("moment") is not None else len(times) // 2
    return soft_iou(heat[frame * len(heat) // len(times)], found.boxes[0].xyxy)


@per_completion
def consistency(text: str, reference: Answer, task: str, row: Mapping[str, Any]) -> float | None:
    """1 iff the rationale does not contradict the tags: where it names options, the chosen one is among them;
    where it says that nothing is wrong, so does the answer; where it gives a time span, it overlaps the
    tagged one by half. An empty rationale says nothing: 0."""
    if task == DIALOGUE_TURN:
        return None
    found = parse(text)
    think = (found.think or "").strip()
    if not think or found.answer is None:
        return 0.0
    if task == "mcq" and (options := row.get("options")):
        named = {LETTERS[n] for n, option in enumerate(options) if names(think, option)}
        if named and choice.letter(found.answer, options) not in named:
            return 0.0
    if task in ("judgement", "temporal"):
        quiet = (
            re.search(
                r"\b(?:no anomaly|nothing (?:unusual|anomalous|abnormal)|no one misbehaves)\b",
                think,
                re.IGNORECASE,
            )
            is not None
        )
        loud = judged(found.answer)
        if quiet and loud:
            return 0.0
    if task == "temporal" and isinstance(found.span, tuple):
        told = spans_in_text(think)
        if told and max(temporal.iou(span, found.span) for span in told) < 0.5:
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


def named(name: str) -> Reward:
    """A reward by its name, `vau_r1.TASK.PART` (`vau_r1`), or `package.module:function` of one's own in TRL's
    signature. Raises InputError for an unknown one. Code is imported only because the person who writes the
    configuration names it."""
    if name in REWARDS:
        return REWARDS[name]
    if name.startswith("vau_r1."):
        _, _, rest = name.partition(".")
        task, _, part = rest.partition(".")
        parts = vau_r1(task)
        if part in parts:
            return _over_protocol(parts[part])
        raise InputError(
            f"rewards: {name!r}: expected one of {', '.join(f'vau_r1.{task}.{known}' for known in parts)}"
        )
    if ":" in name:
        module, _, function = name.partition(":")
        try:
            found = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise InputError(f"rewards: {name!r} cannot be imported ({error})") from error
        if not callable(found) or not any(
            p.kind is p.VAR_KEYWORD for p in inspect.signature(found).parameters.values()
        ):
            raise InputError(
                f"rewards: {name!r} must be a function (completions, **columns) -> list of numbers or None"
            )
        return found
    raise InputError(
        f"rewards: unknown reward {name!r}; known: {', '.join(REWARDS)}, vau_r1.TASK.PART,"
        " package.module:function"
    )


def _over_protocol(reward: Reward) -> Reward:
    """A published VAU-R1 reward over this project's rows: references in the protocol's text become what it
    takes."""

    @wraps(reward)
    def converted(
        completions: Sequence[Any], *, solution: Sequence[str], task: Sequence[str], **columns: Any
    ) -> list[float | None]:
        references: list[Any] = []
        for text, kind in zip(solution, task, strict=True):
            reference = parse(text)
            span = (
                [-1.0, -1.0]
                if reference.span in (None, NONE)
                else [float(seconds) for seconds in reference.span]
            )
            references.append(
                {"answer": reference.answer, "glue": span} if kind == "temporal" else reference.answer
            )
        return reward(completions, solution=references)

    return converted


def select(weights: dict[str, float]) -> tuple[list[Reward], list[float]]:
    """Rewards and weights named by a configuration. Raises InputError for an unknown name."""
    return [named(name) for name in weights], list(weights.values())


def select_by_task(by_task: dict[str, dict[str, float]]) -> tuple[list[Reward], list[float]]:
    """Rewards and weights where tasks have their own: a reward that a task does not name is None there.
    Weights that differ between tasks are multiplied into the values."""
    functions, weights = [], []
    for name in dict.fromkeys(name for rewards in by_task.values() for name in rewards):
        own = {task: rewards[name] for task, rewards in by_task.items() if name in rewards}
        same = set(own.values()) if len(own) == len(by_task) else set()
        functions.append(named(name) if len(same) == 1 else _limited(name, own))
        weights.append(same.pop() if len(same) == 1 else 1.0)
    return functions, weights


def _limited(name: str, weights: dict[str, float]) -> Reward:
    inner = named(name)

    @wraps(inner)
    def reward(completions: Sequence[Any], *, task: Sequence[str], **columns: Any) -> list[float | None]:
        values = inner(completions, task=task, **columns)
        return [
            None if v is None or kind not in weights else weights[kind] * v
            for v, kind in zip(values, task, strict=True)
        ]

    return reward


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
    """`[start, end]` as VAU-R1 accepts it: numbers that are Python literals (05 is none), start <= end."""
    match = _INTERVAL.fullmatch(text) if text is not None else None
    if match is None or any(re.fullmatch(r"-?0\d+", part) for part in match.groups()):
        return None
    start, end = (float(part) for part in match.groups())
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
