"""A suite: which data, which tasks, how clips are sampled and answers decoded. Its hash names what a figure was measured on."""

import hashlib
import json
from dataclasses import asdict, dataclass, field

from bench.tasks import NAMES, TASKS
from tvad import config
from tvad.data import load_checked
from tvad.data.sample import DIALOGUE_TURN, Question, Sample, to_json
from tvad.errors import InputError
from tvad.prompts import DIALOGUE

TOPICS = {asked: topic for topic, asked in DIALOGUE.items()}


@dataclass
class Decode:
    """n answers a question at `temperature` (0: greedy), at most max_tokens each."""

    n: int = 1
    temperature: float = 0.0
    max_tokens: int = 64
    seed: int = 0


@dataclass
class Suite:
    """`data`: a data set folder. `topics`: topics of multiple-choice questions to ask. `rate`, `max_frames`: how clips are sampled."""

    name: str
    data: str
    tasks: list[str]
    topics: list[str] | None = None
    rate: float = 2.0
    max_frames: int = 8
    max_videos: int | None = None
    decode: Decode = field(default_factory=Decode)
    resamples: int = 2000
    seed: int = 0
    drop_bad_rows: bool = False

    def digest(self, samples: list[Sample]) -> str:
        """Hash of what is asked and of the references; where the data lies, how answers are decoded and which of the tasks are run does
        not matter: runs are compared item by item."""
        kept = ("name", "topics", "rate", "max_frames", "max_videos")
        fixed = {k: v for k, v in asdict(self).items() if k in kept}
        text = json.dumps([fixed, [to_json(s) for s in samples]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Item:
    """One question of one video. `turn`: its place in a dialogue, after the model's own replies to the earlier turns."""

    id: str
    task: str
    sample: Sample
    question: Question
    turn: int = 0


def read(path: str, overrides: list[str] | None = None) -> Suite:
    suite = config.build(Suite, config.override(config.read_yaml(path), overrides or []), path)
    for task in suite.tasks:
        if task not in NAMES:
            raise InputError(f"{path}: tasks: unknown task {task!r}; known: {', '.join(NAMES)}")
    return suite


def load(suite: Suite) -> tuple[list[Sample], list[Item]]:
    """The suite's samples and its question items, in a fixed order."""
    samples = load_checked(suite.data, drop=suite.drop_bad_rows)[: suite.max_videos]
    items = []
    for sample in samples:
        for n, question in enumerate(sample.questions):
            if question.kind not in suite.tasks or question.kind not in TASKS:
                continue
            if question.kind == "mcq" and suite.topics is not None and question.topic not in suite.topics:
                continue
            items.append(Item(f"{sample.id}#{n}", question.kind, sample, question))
        if DIALOGUE_TURN in suite.tasks:
            for turn, (asked, replied) in enumerate(sample.dialogue or ()):
                question = Question(DIALOGUE_TURN, asked, replied, None, TOPICS.get(asked))
                items.append(Item(f"{sample.id}@{turn}", DIALOGUE_TURN, sample, question, turn))
    for task in suite.tasks:
        if task in TASKS and not any(item.task == task for item in items):
            raise InputError(f"{suite.data}: no question of kind {task!r}, but suite {suite.name} asks for it")
    return samples, items
