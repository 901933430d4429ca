"""A suite: which data, which tasks, how clips are sampled and answers decoded. Its hash names what a figure
was measured on."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar, Literal

from bench.metrics.stats import Interval
from bench.tasks import CIRCULAR, FAITHFULNESS, NAMES, RATIONALE, TASKS
from bench.tasks.mcq_circular import rotations
from tvad.common import config
from tvad.common.errors import InputError
from tvad.data import load_checked
from tvad.data.faults import names_others
from tvad.data.questions import DIALOGUE
from tvad.data.sample import DIALOGUE_TURN, Question, Sample, to_json
from tvad.data.video import MAX_FRAMES, RATE
from tvad.prompts import STYLES

TOPICS = {asked: topic for topic, asked in DIALOGUE.items()}


@dataclass
class Decode:
    """How answers are drawn."""

    n: int = 1
    """Answers a question."""
    temperature: float = 0.0
    """0: greedy."""
    max_tokens: int = 64
    """Of an answer, at most."""
    seed: int = 0
    """Of the draws, where the temperature is above 0."""


@dataclass
class Suite:
    """Which data, which tasks, how clips are sampled, how questions are put and answers read."""

    FOLDER: ClassVar[str] = "bench"

    name: str
    """What runs and reports call it."""
    data: str
    """Data set folder."""
    tasks: list[str]
    """Names of `bench list tasks`."""
    topics: list[str] | None = None
    """Topics of the multiple-choice questions that are asked; default all."""
    rate: float = RATE
    """Frames a second that are shown."""
    max_frames: int = MAX_FRAMES
    """Frames of a clip, at most; longer videos are sampled more thinly."""
    max_videos: int | None = None
    """Only the first so many videos; default all."""
    decode: Decode = field(default_factory=Decode)
    """How answers are drawn."""
    resamples: int = 2000
    """Of the bootstrap behind every interval (heatmaps: at most 300)."""
    seed: int = 0
    """Of the bootstrap and of the blind baselines."""
    drop_bad_rows: bool = False
    """Leave bad rows out and name them, in place of refusing the data set."""
    prompt: str = "tvad"
    """How questions are put: tvad, vau_r1 or vau_r1_no_think (`tvad.prompts.STYLES`)."""
    parse: Literal["lenient", "strict", "vau_r1"] = "lenient"
    """How answers are read (`tvad.answer.parse`)."""
    odds: bool = False
    """Also ask engines that give log-probabilities how likely Yes is against No, and each letter."""
    hidden: bool = False
    """References are placeholders (a leaderboard's private split): answers are kept, nothing is scored."""

    def __post_init__(self) -> None:
        for task in self.tasks:
            if task not in NAMES:
                raise InputError(f"tasks: unknown task {task!r}; known: {', '.join(NAMES)}")
        if self.hidden and self.odds:
            raise InputError("odds are measured against references, which this suite hides")
        if self.prompt not in STYLES:
            raise InputError(f"prompt: unknown style {self.prompt!r}; known: {', '.join(STYLES)}")

    def digest(self, samples: list[Sample]) -> str:
        """Hash of what is asked and of the references; where the data lies, how answers are decoded and which
        of the tasks are run does not matter: runs are compared item by item."""
        kept = ("name", "topics", "rate", "max_frames", "max_videos")
        fixed = {k: v for k, v in asdict(self).items() if k in kept}
        fixed |= {
            k: v for k, v in (("prompt", self.prompt), ("parse", self.parse)) if v not in ("tvad", "lenient")
        }
        found = hashlib.sha256(f"[{json.dumps(fixed, sort_keys=True, allow_nan=False)}, [".encode())
        for n, sample in enumerate(samples):  # one by one: all together they may be gigabytes of text
            found.update(
                (", " if n else "").encode()
                + json.dumps(to_json(sample), sort_keys=True, allow_nan=False).encode()
            )
        found.update(b"]]")
        return found.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Item:
    """One question of one video. `turn`: its place in a dialogue, after the model's own replies to the
    earlier turns; `masked`: the video is shown without its anomalous seconds."""

    id: str
    task: str
    sample: Sample
    question: Question
    turn: int = 0
    masked: bool = False


def read(path: str, overrides: list[str] | None = None) -> Suite:
    """A suite from a YAML file or a shipped one's name, with `--a.b value` overrides. Raises InputError."""
    return config.read(Suite, path, overrides or [])


def _about(sample: Sample, suite: Suite) -> list[Item]:
    """Items that are not questions of the sample as they stand: its rationale, and the judgement without its
    anomaly."""
    items = []
    if RATIONALE in suite.tasks:
        told = [q for q in sample.questions if q.rationale and q.kind in ("mcq", "judgement")]
        if told:
            items.append(
                Item(f"{sample.id}?", RATIONALE, sample, min(told, key=lambda q: q.topic != "event"))
            )
    if FAITHFULNESS in suite.tasks and sample.spans:
        asked = [q for q in sample.questions if q.kind == "judgement"]
        if asked:
            items.append(
                Item(
                    f"{sample.id}!",
                    FAITHFULNESS,
                    sample,
                    replace(asked[0], answer="No", rationale=None),
                    masked=True,
                )
            )
    return items


def load(suite: Suite) -> tuple[list[Sample], list[Item]]:
    """The suite's samples and its question items, in a fixed order."""
    samples = load_checked(suite.data, drop=suite.drop_bad_rows)[: suite.max_videos]
    items = []
    for sample in samples:
        for n, question in enumerate(sample.questions):
            if question.kind == "mcq" and suite.topics is not None and question.topic not in suite.topics:
                continue
            if question.kind in suite.tasks and question.kind in TASKS:
                items.append(Item(f"{sample.id}#{n}", question.kind, sample, question))
            if question.kind == "mcq" and CIRCULAR in suite.tasks and not _bound(question):
                items += [
                    Item(f"{sample.id}#{n}~{k}", CIRCULAR, sample, q)
                    for k, q in enumerate(rotations(question))
                ]
        items += _about(sample, suite)
        if DIALOGUE_TURN in suite.tasks:
            for turn, (asked, replied) in enumerate(sample.dialogue or ()):
                question = Question(DIALOGUE_TURN, asked, replied, None, TOPICS.get(asked))
                items.append(Item(f"{sample.id}@{turn}", DIALOGUE_TURN, sample, question, turn))
    for task in suite.tasks:
        if task in TASKS and not any(item.task == task for item in items):
            why = f" ({left})" if (left := left_out(suite, samples).get(task)) else ""
            raise InputError(
                f"{suite.data}: no question of kind {task!r}, but suite {suite.name} asks for it{why}"
            )
    return samples, items


def _bound(question: Question) -> bool:
    """Whether its options speak of each other: "Both A and B" is another answer after a rotation."""
    return any(names_others(option) for option in question.options or ())


def left_out(suite: Suite, samples: list[Sample]) -> dict[str, str]:
    """{task: which questions of it are not asked, and why}."""
    if CIRCULAR not in (suite.tasks or ()):
        return {}
    bound = [
        f"{sample.id}#{n}"
        for sample in samples
        for n, question in enumerate(sample.questions)
        if question.kind == "mcq" and _bound(question)
    ]
    more = f" and {len(bound) - 3} more" if len(bound) > 3 else ""
    why = f"{len(bound)} questions left out, their options speak of others: {', '.join(bound[:3])}{more}"
    return {CIRCULAR: why} if bound else {}


def with_notes(metrics: dict[str, Interval], suite: Suite, samples: list[Sample]) -> dict[str, Interval]:
    """The metrics, each task's with what it leaves out, and its first one with the reason where it cannot be
    had."""
    notes = left_out(suite, samples)
    found = {
        name: replace(m, note=note) if (note := notes.get(name.partition(".")[0])) else m
        for name, m in metrics.items()
    }
    for task in dict.fromkeys(name.partition(".")[0] for name in metrics):
        primary = f"{task}.{TASKS[task].PRIMARY}"
        if not suite.hidden and primary not in found:
            found[primary] = Interval(None, None, None, 0, "cannot be had: no question's reference has it")
    return found
