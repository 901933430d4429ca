"""What a reward is: a function (completions, **columns) -> a value or None for each completion, TRL's
signature.

`COLUMNS` lists what it may read. None says that it does not apply to a task. What cannot be scored raises and
names the completion: nothing is scored 0 in silence."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Literal

from tvad.answer import TAGS, Answer, Reading, Timing, ends_open, parse, split
from tvad.data.sample import DIALOGUE_TURN

Reward = Callable[..., list[float | None]]

# The columns that a reward may read: the data set's (`rft.grpo.mixture.row_of`), and what the rollout engine
# adds.
FROM_DATA = {
    "solution": "the reference: the answer protocol's text, plain words for a dialogue turn",
    "task": "mcq, temporal, spatial, judgement, classification or dialogue",
    "options": "list of texts of a multiple-choice question, else None",
    "sample_id": "the sample, for messages",
    "video": "path of its file",
    "moment": "seconds that a question about a place names, else None",
    "timing": "of the video {duration, fps, times} (`tvad.answer.Timing`), each None where not known; times"
    " only of a question about time",
    "reading": "how its answer is read, `tvad.answer.Reading` but for the classes",
    "classes": "of a classification question: the classes, each a list of its name and its other names",
}
FROM_ENGINE = {
    "prompt_ends": "the end of the prompt as the model read it, which may open the reasoning",
    "heat": "the model's own heatmap (T', h, w) in [0, 1], for rewards that say that they need it",
    "max_completion_length": "tokens at which a completion is cut",
    "times": "seconds that the sampled frames stand for (T,), beside `heat`",
}
COLUMNS = FROM_DATA | FROM_ENGINE


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
            row = {name: column[n] for name, column in listed.items()} | {"task": kind}
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


def parsed(text: str, row: Mapping[str, Any], mode: Literal["strict", "lenient"] = "lenient") -> Answer:
    """A completion as the benchmark reads it, by the row's reading, classes and timing and the end of its
    prompt (`prompt_ends`, else what TRL hands on as `prompts`)."""
    classes = {name: list(others) for name, *others in row.get("classes") or []}
    reading = Reading(**row.get("reading") or {}, classes=classes)
    opened = ends_open(str(row.get("prompt_ends") or _end_of(row.get("prompts"))))
    if row.get("task") == DIALOGUE_TURN:  # plain words: there are no tags to read
        think, words = split(text, reading, opened)
        return Answer(think, words, reading=reading)
    timing = Timing(**row["timing"]) if row.get("timing") else None
    return parse(text, mode, reading, opened, timing=timing)


def defect_shares(completions: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The share of completions with any defect (`defective`) and with each, of those that have tags."""
    defects = [
        parsed(completion_text(completion), row, "strict").defects
        for completion, row in zip(completions, rows, strict=True)
        if row["task"] != DIALOGUE_TURN
    ]
    if not defects:
        return {}
    names = sorted({name for found in defects for name in found})
    shares = {name: sum(name in found for found in defects) / len(defects) for name in names}
    return {"defective": sum(map(bool, defects)) / len(defects)} | shares


def _end_of(prompt: Any) -> str:
    """The end of a prompt that is text, or whose last message the model is to continue."""
    if isinstance(prompt, list):
        last = prompt[-1] if prompt and isinstance(prompt[-1], Mapping) else {}
        return completion_text(prompt) if last.get("role") == "assistant" else ""
    return prompt if isinstance(prompt, str) else ""


def needing(*columns: str) -> Callable[[Any], Any]:
    """Say which columns of `FROM_ENGINE` a reward needs. It is the function's attribute `needs`, which a
    reward of one's own may set by hand."""

    def marked(reward: Any) -> Any:
        reward.needs = columns
        return reward

    return marked


def needs_of(reward: Any) -> tuple[str, ...]:
    """The columns of `FROM_ENGINE` that a reward needs."""
    return tuple(getattr(reward, "needs", ()))
