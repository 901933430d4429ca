"""Answers without looking: what a suite's accuracies must be read against, and the readers of the data that
such a baseline learns on."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench import tasks
from bench.tasks import CIRCULAR
from tvad.common.errors import InputError
from tvad.data.check import Problem, readable
from tvad.data.questions import LETTERS
from tvad.data.sample import Question, Sample
from tvad.data.vau_bench import is_table, read_csv

if TYPE_CHECKING:
    from bench.suite import Item

MARGIN = 0.10  # a blind baseline this much above chance flags a suite
FOLDS = 5
# Questions beyond which the bag of words is left out: it would take longer than all the scoring.
MOST_TEXTS = 20_000
# Tasks with one right label a question; mcq_circular asks those of mcq again.
TASKS = tuple(name for name, task in tasks.TASKS.items() if "accuracy" in task.BINARY and name != CIRCULAR)
Row = tuple[Sample, Question]


def read(source: str) -> tuple[Sequence[Sample], list[Problem]]:
    """Samples of a data set folder or of a VAU-Bench CSV, and what was left out."""
    if is_table(source):
        return read_csv(source)
    return readable(source)


def multiple_choice(samples: Sequence[Sample]) -> list[tuple[Sample, Question]]:
    """Multiple-choice questions, of a repeated one the first."""
    seen: set[tuple] = set()
    found = []
    for sample in samples:
        for question in sample.questions:
            key = (sample.id, question.text, question.options)
            if question.kind == "mcq" and key not in seen:
                seen.add(key)
                found.append((sample, question))
    return found


def _pairs_of(rows: list[Row]) -> list[str]:
    return [f"{question.text} [option] {option}" for _, question in rows for option in question.options or ()]


def text_only(train: list[Row], test: list[Row], seed: int = 0) -> list[str]:
    """Letters by a bag of words: logistic regression on question and option, learned on `train`, the
    likeliest option of each.

    Raises InputError where `train` has only right or only wrong options.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    labels = [
        LETTERS[i] == question.answer for _, question in train for i in range(len(question.options or ()))
    ]
    if len(set(labels)) < 2:
        raise InputError("audit: the training questions have only right or only wrong options")
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=1, sublinear_tf=True)
    model = LogisticRegression(max_iter=1000, class_weight="balanced", random_state=seed)
    model.fit(words.fit_transform(_pairs_of(train)), labels)
    chances = model.decision_function(words.transform(_pairs_of(test)))
    letters, at = [], 0
    for _, question in test:
        count = len(question.options or ())
        letters.append(LETTERS[int(np.argmax(chances[at : at + count]))])
        at += count
    return letters


def text_only_in_folds(rows: list[Row], seed: int = 0) -> list[str]:
    """`text_only` where there is no training split: folds by video, each answered by what the others
    teach."""
    videos = sorted({sample.id for sample, _ in rows})
    fold = dict(zip(videos, np.random.default_rng(seed).permutation(len(videos)) % FOLDS, strict=True))
    letters = [""] * len(rows)
    for part in range(FOLDS):
        inside = [i for i, (sample, _) in enumerate(rows) if fold[sample.id] == part]
        outside = [rows[i] for i in range(len(rows)) if fold[rows[i][0].id] != part]
        for i, letter in zip(inside, text_only(outside, [rows[i] for i in inside], seed), strict=True):
            letters[i] = letter
    return letters


def longest(question: Question) -> str:
    """The letter of the longest option, the first of several."""
    lengths = [len(option) for option in question.options or ()]
    return LETTERS[lengths.index(max(lengths))]


def chance(rows: list[Row]) -> float:
    """Accuracy of drawing an option, or one of the answers that occur where there are no options."""
    answers = len({question.answer for _, question in rows})
    return float(
        np.mean([1 / (len(question.options) if question.options else answers) for _, question in rows])
    )


def by_question(rows: list[Row], known: list[Row], seed: int = 0) -> Iterator[tuple[str, list[str]]]:
    """(baseline, its letters): longest option, and text only, learned on `known` or in folds by video where
    they are enough."""
    yield "longest option", [longest(question) for _, question in rows]
    if len(rows) > MOST_TEXTS:
        return
    if known:
        yield "text only, learned on the train split", text_only(known, rows, seed)
    elif len({sample.id for sample, _ in rows}) >= 2 * FOLDS and len({q.answer for _, q in rows}) > 1:
        yield f"text only, {FOLDS} folds by video", text_only_in_folds(rows, seed)


@dataclass(frozen=True)
class Blind:
    """How far a task's questions can be answered blindly: accuracy by drawing, of every baseline, and which
    is the best."""

    chance: float
    baselines: dict[str, float]
    best: str

    @property
    def value(self) -> float:
        return self.baselines[self.best]

    @property
    def flagged(self) -> bool:
        return self.value > self.chance + MARGIN


def of_items(items: list["Item"], seed: int = 0) -> tuple[dict[str, Blind], dict[str, float]]:
    """Per task with one right label what it takes no model to score, and per item id whether the best such
    baseline is right (1 or 0).

    "always" is the most frequent answer of these very questions, thus at least as good as a prior from a
    training split.
    """
    found: dict[str, Blind] = {}
    hits: dict[str, float] = {}
    for task in TASKS:
        chosen = [item for item in items if item.task == task]
        if not chosen:
            continue
        rows = [(item.sample, item.question) for item in chosen]
        top = Counter(question.answer for _, question in rows).most_common(1)[0][0]
        given = {f'always "{top}"': [top] * len(rows)}
        if task == "mcq":
            given |= dict(by_question(rows, [], seed))
        right = {
            name: np.array([a == q.answer for a, (_, q) in zip(answers, rows, strict=True)], float)
            for name, answers in given.items()
        }
        values = {name: float(hit.mean()) for name, hit in right.items()}
        best = max(values, key=lambda name: values[name])
        found[task] = Blind(chance(rows), values, best)
        hits |= dict(zip((item.id for item in chosen), right[best].tolist(), strict=True))
    return found, hits


def record(found: dict[str, Blind]) -> dict:
    """JSON form, as run.json keeps it."""
    return {task: asdict(blind) for task, blind in found.items()}


def warnings(found: dict[str, dict]) -> list[str]:
    """One line for every task of a record that can be answered blindly beyond chance."""
    blinds = {task: Blind(**row) for task, row in found.items()}
    return [
        f"{task}: {blind.best} scores {blind.value:.3f} without looking (chance {blind.chance:.3f}); read the"
        " accuracy beside it"
        for task, blind in blinds.items()
        if blind.flagged
    ]
