"""Tasks of the benchmark. A question task is a file with the names of `Task` below and its line in TASKS:
that is all it takes to add one (and a row in docs/benchmark.md); `heatmap` scores whole data sets instead."""

from typing import Protocol, runtime_checkable

from bench.tasks import (
    classification,
    dialogue,
    faithfulness,
    heatmap,
    judgement,
    mcq,
    mcq_circular,
    rationale,
    spatial,
    temporal,
)
from tvad.answer import Answer, Read
from tvad.data.dialogue import Form
from tvad.data.sample import DIALOGUE_TURN, Question, Sample


class Task(Protocol):
    """A module that scores one answer. PRIMARY: the metric that a table or a picture shows first. LOWER:
    metrics of which less is better. BINARY: right or wrong, an answer each."""

    @property
    def PRIMARY(self) -> str: ...

    @property
    def LOWER(self) -> tuple[str, ...]: ...

    @property
    def BINARY(self) -> tuple[str, ...]: ...

    def score(self, answer: Answer, question: Question, sample: Sample) -> dict[str, float | None]:
        """{metric: value of this item}; None where the metric does not apply to it."""
        ...


@runtime_checkable
class Reads(Protocol):
    """A task that says what it reads out of an answer; its reason, where nothing, stands in the line and its
    rate beside the scores."""

    def read(self, answer: Answer, question: Question) -> Read: ...


@runtime_checkable
class Labelled(Protocol):
    """A task whose answers name a class, scored as a whole too (`bench.metrics.labels`). POSITIVE: the class
    of which F1 is taken; None for the mean over the classes."""

    @property
    def POSITIVE(self) -> str | None: ...

    def label(self, answer: Answer, question: Question) -> tuple[str, str | None]:
        """(truth, prediction); None for an answer that names no class."""
        ...


@runtime_checkable
class Counted(Protocol):
    """A task with BLEU-4, of which two figures are made: the metric itself, the mean over clips of a clip's
    mean, and NAME_corpus, of n-gram counts summed over all answers."""

    def counts(self, answer: Answer, question: Question, sample: Sample) -> dict[str, list[int]]:
        """{metric: `bench.metrics.text.ngram_counts` with the best reference}."""
        ...


CORPUS = "_corpus"  # ends a metric that is made of n-gram counts summed over answers
CIRCULAR, RATIONALE, FAITHFULNESS = "mcq_circular", "rationale", "faithfulness"
# The dialogue in each of its forms (`tvad.data.dialogue.turns`).
DIALOGUES: dict[str, Form] = {
    DIALOGUE_TURN: "stored",
    f"{DIALOGUE_TURN}_talk": "talk",
    f"{DIALOGUE_TURN}_figure": "figure",
}
TASKS: dict[str, Task] = {
    "mcq": mcq,
    CIRCULAR: mcq_circular,
    "judgement": judgement,
    "classification": classification,
    "temporal": temporal,
    "spatial": spatial,
    RATIONALE: rationale,
    **dict.fromkeys(DIALOGUES, dialogue),
    FAITHFULNESS: faithfulness,
}
# What only some tasks do, looked up once: asking every time costs as much as reading an answer.
READERS: dict[str, Reads] = {name: task for name, task in TASKS.items() if isinstance(task, Reads)}
COUNTED: dict[str, Counted] = {name: task for name, task in TASKS.items() if isinstance(task, Counted)}
LABELLED: dict[str, Labelled] = {name: task for name, task in TASKS.items() if isinstance(task, Labelled)}
HEATMAP = "heatmap"
NAMES = (*TASKS, HEATMAP)
# What a table or a picture of a run shows first, in this order.
PRIMARIES = (
    *(f"{task}.{module.PRIMARY}" for task, module in TASKS.items()),
    *(f"{HEATMAP}.{name}" for name in heatmap.PRIMARIES),
)
UNREAD = "unread_"  # begins the rates of answers that could not be read, a reason each
MISSING = "missing"  # share of the questions without an answer (`bench score`), of every task
# Share of the questions without a score for a reason that is not the model's answer (`bench.unscored`), of
# every task that has any. Also the key of the reason in their lines.
UNSCORED = "unscored"
READ_BY_JUDGE = "read_by_judge"  # share of the answers that a judge model read (`bench.readings`)


def lower_is_better(metric: str) -> bool:
    """Of a metric "task.name", also of a slice ("task.name[kind=value]")."""
    task, _, name = metric.partition("[")[0].partition(".")
    return (
        name in (MISSING, READ_BY_JUDGE)
        or name.endswith(UNSCORED)
        or name.startswith(UNREAD)
        or (task in TASKS and name in TASKS[task].LOWER)
    )
