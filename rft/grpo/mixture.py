"""Which questions are asked in reinforcement fine-tuning: a mixture of tasks in given shares, each with its
own rewards where it has any."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from tvad.answer import TAGS, Reading
from tvad.answer.reading import DEFAULT
from tvad.common import config
from tvad.common.errors import InputError
from tvad.common.text import whole
from tvad.data.dialogue import once
from tvad.data.sample import DIALOGUE_TURN, Question, Sample
from tvad.prompts import STYLES, asked

KINDS = (*TAGS, DIALOGUE_TURN)
_MOMENT = re.compile(r"\bat\s+(\d+(?:\.\d+)?)\s*s\b")


@dataclass
class Task:
    """A task of the mixture."""

    share: float = 1.0
    """Of the prompts, relative to the other tasks'."""
    rewards: dict[str, float] = field(default_factory=dict)
    """Reward: its weight, where they differ from the run's."""


def tasks_of(tasks: dict[str, Any], where: str = "tasks") -> dict[str, Task]:
    """Tasks of a configuration: `name: share` or `name: {share: …, rewards: {…}}`. Raises InputError for an
    unknown or worthless one."""
    found = {}
    for name, plan in tasks.items():
        if name not in KINDS:
            raise InputError(f"{where}: unknown task {name!r}; known: {', '.join(KINDS)}")
        share = {"share": plan} if isinstance(plan, (int, float)) and not isinstance(plan, bool) else plan
        found[name] = config.build(Task, share, f"{where}: {name}")
        if not found[name].share > 0:
            raise InputError(f"{where}: {name}: share must be above 0, found {found[name].share}")
    return found


def moment_of(question: Question) -> float | None:
    """Seconds of the moment that a question about a place names."""
    if question.boxes and question.boxes[0].t is not None:
        return question.boxes[0].t
    match = _MOMENT.search(question.text)
    return float(match.group(1)) if match else None


def _turns(sample: Sample) -> list[tuple[Question, tuple[tuple[str, str], ...]]]:
    """Dialogue turns as questions, each after the reference's earlier turns."""
    turns = once(sample.dialogue or ())
    return [(Question(DIALOGUE_TURN, text, reply), turns[:n]) for n, (text, reply) in enumerate(turns)]


def _asked(
    sample: Sample, task: str, topics: list[str] | None
) -> list[tuple[Question, tuple[tuple[str, str], ...]]]:
    """The questions of a task about a sample, with their earlier turns."""
    if task == DIALOGUE_TURN:
        return _turns(sample)
    return [
        (q, ())
        for q in sample.questions
        if q.kind == task and (topics is None or q.kind != "mcq" or q.topic in topics)
    ]


def pool_of(samples: Sequence[Sample], task: str, topics: list[str] | None = None) -> list[tuple[int, int]]:
    """Every question of a task: its sample's place, and its own among those that `_asked` gives. Numbers, so
    that of a large data set only what is drawn is held."""
    return [(n, k) for n, s in enumerate(samples) for k in range(len(_asked(s, task, topics)))]


def row_of(
    sample: Sample,
    question: Question,
    history: tuple[tuple[str, str], ...] = (),
    style: str = "tvad",
    reading: Reading = DEFAULT,
) -> dict[str, Any]:
    """A row of the trainer's data set: the prompt, and the columns `rft.rewards.base.FROM_DATA`. reading: how
    answers about this sample are read."""
    timing = sample.video.timing
    if "glue" not in TAGS.get(question.kind, ()):  # an hour of frames one by one is a megabyte
        timing = replace(timing, times=None)
    told = asdict(reading)
    table = [[name, *others] for name, others in told.pop("classes").items()]
    path = sample.clip()
    row = {
        "prompt": asked(question, style, path, history),
        "solution": question.solution(),
        "task": question.kind,
        "options": list(question.options) if question.options else None,
        "sample_id": sample.id,
        "video": path,
        "moment": moment_of(question),
        "timing": asdict(timing),
        "reading": told,
        "classes": table if table and question.kind == "classification" else None,
    }
    # Arrow's texts are UTF-8, which half a surrogate pair is not.
    return json.loads(whole(json.dumps(row, ensure_ascii=False, allow_nan=False)))


def counts(tasks: dict[str, Task], count: int) -> dict[str, int]:
    """How many of `count` prompts each task has by its share (largest remainders), one at least: of fewer
    prompts than tasks there are as many as tasks."""
    count = max(count, len(tasks))
    total = sum(task.share for task in tasks.values())
    exact = {name: count * task.share / total for name, task in tasks.items()}
    found = {name: max(1, int(share)) for name, share in exact.items()}
    while (left := count - sum(found.values())) != 0:
        # Towards the share: up for the task that most lacks, down for the one that has most too many.
        best = max if left > 0 else min
        movable = [name for name in found if left > 0 or found[name] > 1]
        found[best(movable, key=lambda name: exact[name] - found[name])] += 1 if left > 0 else -1
    return found


def draw(
    samples: Sequence[Sample],
    tasks: dict[str, Task],
    count: int,
    seed: int,
    topics: list[str] | None = None,
    weights: dict[tuple[str, str], float] | None = None,
) -> list[tuple[Sample, Question, tuple[tuple[str, str], ...]]]:
    """`count` questions, tasks in their shares, every question used before one is used again.

    weights: (sample id, question text) -> chance of a question relative to the others of its task (a
    curriculum by difficulty); with them, questions are drawn with replacement. Raises InputError for a task
    that the data does not have.
    """
    rng = np.random.default_rng([seed, 5])
    chosen = []
    for name, wanted in counts(tasks, count).items():
        pool = pool_of(samples, name, topics)
        if not pool:
            raise InputError(f"tasks: the data has no question of kind {name!r}")
        if weights is None:
            # As many shuffles of the pool as are needed, cut at what is wanted: nothing twice before all
            # once.
            order = np.concatenate([rng.permutation(len(pool)) for _ in range(-(-wanted // len(pool)))])[
                :wanted
            ]
        else:
            chances = np.array(
                [weights.get((s.id, q.text), 1.0) for s in samples for q, _ in _asked(s, name, topics)]
            )
            if not chances.sum() > 0:
                raise InputError(
                    f"tasks: no question of kind {name!r} is neither always nor never answered by the start;"
                    " nothing to learn from"
                )
            order = rng.choice(len(pool), wanted, p=chances / chances.sum())
        chosen += [(name, *pool[i]) for i in order]
    held = {n: samples[n] for n in sorted({n for _, n, _ in chosen})}
    return [
        (held[n], *_asked(held[n], name, topics)[k])
        for name, n, k in (chosen[i] for i in rng.permutation(len(chosen)))
    ]


def rows(
    samples: Sequence[Sample],
    tasks: dict[str, Task],
    count: int,
    seed: int,
    topics: list[str] | None = None,
    style: str = "tvad",
    weights: dict[tuple[str, str], float] | None = None,
    reading: Callable[[Sample], Reading] = lambda sample: DEFAULT,
) -> list[dict[str, Any]]:
    """Rows of the trainer's data set: `draw` as prompts in a style; `reading`: how answers about a sample are
    read."""
    if style not in STYLES:
        raise InputError(f"prompt: unknown style {style!r}; known: {', '.join(STYLES)}")
    chosen = draw(samples, tasks, count, seed, topics, weights)
    return [row_of(*question, style=style, reading=reading(question[0])) for question in chosen]
