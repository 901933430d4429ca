"""A suite: which data, which tasks, how clips are sampled and answers decoded. Its hash names what a figure
was measured on."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench.dense import Dense
from bench.families import compared
from bench.metrics.stats import Interval
from bench.models.options import ModelOptions
from bench.slices import places
from bench.subclips import SubClips
from bench.tasks import CIRCULAR, DIALOGUES, FAITHFULNESS, HEATMAP, NAMES, RATIONALE, TASKS
from bench.tasks.mcq_circular import rotations
from tvad.answer import Reading, table_of
from tvad.answer.classes import key_of
from tvad.answer.numbers import is_number
from tvad.answer.reading import DEFAULT
from tvad.common import config, quiet
from tvad.common.errors import InputError
from tvad.data import load_checked
from tvad.data.dialogue import Turns, once, turns
from tvad.data.digest import masks_hash, spelt
from tvad.data.faults import names_others
from tvad.data.questions import TOPICS
from tvad.data.sample import DIALOGUE_TURN, Question, Sample
from tvad.data.shards import chosen, ids_of
from tvad.data.vau_bench import is_table, read_csv
from tvad.data.video import MAX_FRAMES, RATE, Budget, check_sampling
from tvad.prompts import STYLES, VAU_R1_CLASSES

STATED = "the suite's reading.boxes"  # who says the unit of boxes, in a record
# Tasks that ask once more what others have asked: only where they are named.
AGAIN = (CIRCULAR, FAITHFULNESS, *(task for task in DIALOGUES if task != DIALOGUE_TURN))


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
    tasks: list[str] | None = None
    """Names of `bench list tasks`; default what the data can answer."""
    topics: list[str] | None = None
    """Topics of the multiple-choice questions that are asked; default all."""
    rate: float = RATE
    """Frames a second that are shown."""
    max_frames: int = MAX_FRAMES
    """Frames of a clip, at most; longer videos are sampled more thinly."""
    min_pixels: int | None = None
    """At least so many pixels of a frame after resizing; by default as the checkpoint has it."""
    max_pixels: int | None = None
    """At most so many pixels of a frame after resizing; by default as the checkpoint has it."""
    total_pixels: int | None = None
    """At most so many pixels of a clip, counted once a time step: 3584 x 28 x 28 are 3584 video tokens of
    Qwen2.5-VL, whatever the number of frames."""
    dense: Dense | None = None
    """Heatmaps of every frame; by default one for every two frames that are shown."""
    subclips: SubClips | None = None
    """Frame scores from overlapping sub-clips, in place of heatmaps (task heatmap)."""
    max_videos: int | None = None
    """Only the first so many videos, in the data set's order, which may be by class; default all."""
    limit: int | None = None
    """Only so many videos, drawn at random by `seed`: the same of any order, those of a smaller number among
    them; default all."""
    decode: Decode = field(default_factory=Decode)
    """How answers are drawn."""
    families: dict[str, list[str]] | None = None
    """Metrics (task.metric) that are judged together when two runs are compared: family: metrics, the first
    ones first. Default: primary, the first metrics of the tasks; what no family names is the family other."""
    slices: list[str] | None = None
    """Kinds of slices by which the first metric of every task is given too: class, size, motion, length,
    video, light, crowd, occlusion (`bench.slices`), or what samples state as `conditions`; default none."""
    resamples: int = 2000
    """Into so many parts at most the videos are parted, each left out once, for the intervals of what is no
    mean (heatmaps: at most 300 parts)."""
    seed: int = 0
    """Of those parts, where there are more videos, and of the blind baselines."""
    drop_bad_rows: bool = False
    """Leave bad rows out and name them, in place of refusing the data set."""
    prompt: str = "tvad"
    """How questions are put: tvad, vau_r1 or vau_r1_no_think (`tvad.prompts.STYLES`)."""
    parse: Literal["lenient", "strict", "vau_r1"] = "lenient"
    """How answers are read (`tvad.answer.parse`)."""
    reading: Reading = field(default_factory=Reading)
    """What the protocol leaves open: marks of reasoning, the unit of boxes, names of classes."""
    model: ModelOptions = field(default_factory=ModelOptions)
    """How the model is opened; on the command line --model.KEY VALUE."""
    odds: bool = False
    """Also ask engines that give log-probabilities how likely Yes is against No, and each letter."""
    hidden: bool = False
    """References are placeholders (a leaderboard's private split): answers are kept, nothing is scored."""

    def __post_init__(self) -> None:
        for task in self.tasks or ():
            if task not in NAMES:
                raise InputError(f"tasks: unknown task {task!r}; known: {', '.join(NAMES)}")
        named: dict[str, str] = {}
        for family, metrics in (self.families or {}).items():
            for metric in metrics:
                if metric.partition(".")[0] not in NAMES or not metric.partition(".")[2]:
                    raise InputError(f"families.{family}: {metric!r} is no task.metric of a known task")
                if not compared(metric):
                    raise InputError(f"families.{family}: two runs are not compared by {metric!r}")
                if (first := named.setdefault(metric, family)) != family or metrics.count(metric) > 1:
                    raise InputError(f"families.{family}: {metric!r} is in {first} already")
        for key, value, least in (
            ("resamples", self.resamples, 1),
            ("decode.n", self.decode.n, 1),
            ("decode.max_tokens", self.decode.max_tokens, 1),
            ("decode.temperature", self.decode.temperature, 0),
            ("max_videos", self.max_videos, 1),
            ("limit", self.limit, 1),
            ("seed", self.seed, 0),
            ("decode.seed", self.decode.seed, 0),
        ):
            if value is not None and not least <= value < math.inf:
                raise InputError(f"{key} is {value:g}, expected {least} or more")
        check_sampling(self.rate, self.max_frames)
        if self.dense is not None:
            self.dense.check()
        if self.subclips is not None:
            self.subclips.check(self.rate)
            if HEATMAP not in (self.tasks or ()):
                raise InputError(
                    f"subclips score frames, which tasks do not ask for: name {HEATMAP} in tasks"
                )
            if self.dense is not None:
                raise InputError("dense and subclips are two ways to score frames; expected one")
        Budget.of(self)
        if self.decode.n > 1 and self.decode.temperature == 0:
            raise InputError(
                f"decode.n is {self.decode.n}, but temperature 0 gives the same answer each time"
            )
        if self.slices and len({*self.slices}) < len(self.slices):
            raise InputError(f"slices: {', '.join(self.slices)}: expected each kind once")
        if self.hidden and self.slices:
            raise InputError("slices are made of references, which this suite hides")
        if self.hidden and self.odds:
            raise InputError("odds are measured against references, which this suite hides")
        self.reading.check()
        if self.prompt not in STYLES:
            raise InputError(f"prompt: unknown style {self.prompt!r}; known: {', '.join(STYLES)}")

    def digest(self, samples: Sequence[Sample]) -> str:
        """Hash of what is asked and of the references, masks among them; where the data lies, how answers are
        decoded and which of the tasks are run does not matter: runs are compared item by item."""
        kept = ("name", "topics", "rate", "max_frames", "max_videos")
        fixed = {k: v for k, v in asdict(self).items() if k in kept}
        fixed |= {
            k: v for k, v in (("prompt", self.prompt), ("parse", self.parse)) if v not in ("tvad", "lenient")
        }
        fixed |= {"limit": self.limit} if self.limit is not None else {}
        fixed |= {"dense": asdict(self.dense)} if self.dense is not None else {}
        fixed |= {"subclips": asdict(self.subclips)} if self.subclips is not None else {}
        fixed |= Budget.of(self).given
        # What a family answers in is no part of what is asked, but what the suite states is.
        reading = replace(self.reading, boxes=self.reading.unit)
        fixed |= {"reading": asdict(reading)} if reading != Reading(boxes="permille") else {}
        found = hashlib.sha256(f"[{json.dumps(fixed, sort_keys=True, allow_nan=False)}, [".encode())
        for n, sample in enumerate(samples):  # one by one: all together they may be gigabytes of text
            found.update((b", " if n else b"") + spelt(sample))
        found.update(b"]]" + masks_hash(samples).encode())
        return found.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Item:
    """One question of one video. `earlier`: the turns of a dialogue before it (item's id, words), which it is
    asked after, with the model's own replies; `masked`: the video is shown without its anomalous seconds;
    `reading`: how its answer is read, the video's size and the data's classes filled in."""

    id: str
    task: str
    sample: Sample
    question: Question
    earlier: tuple[tuple[str, str], ...] = ()
    masked: bool = False
    reading: Reading = DEFAULT


def read(path: str, overrides: list[str] | None = None) -> Suite:
    """A suite from a YAML file or a shipped one's name, with `--a.b value` overrides. Raises InputError."""
    return config.read(Suite, path, overrides or [])


def _about(sample: Sample, tasks: list[str]) -> list[Item]:
    """Items that are not questions of the sample as they stand: its rationale, and the judgement without its
    anomaly."""
    items = []
    if RATIONALE in tasks:
        told = [q for q in sample.questions if q.rationale and q.kind in ("mcq", "judgement")]
        if told:
            items.append(
                Item(f"{sample.id}?", RATIONALE, sample, min(told, key=lambda q: q.topic != "event"))
            )
    if FAITHFULNESS in tasks and sample.spans:
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


def _items(sample: Sample, suite: Suite, tasks: list[str]) -> list[Item]:
    """A sample's items of these tasks."""
    items = []
    for n, question in enumerate(sample.questions):
        if question.kind == "mcq" and suite.topics is not None and question.topic not in suite.topics:
            continue
        if question.kind in tasks and question.kind in TASKS:
            items.append(Item(f"{sample.id}#{n}", question.kind, sample, question))
        if question.kind == "mcq" and CIRCULAR in tasks and not _bound(question):
            items += [
                Item(f"{sample.id}#{n}~{k}", CIRCULAR, sample, q) for k, q in enumerate(rotations(question))
            ]
    items += _about(sample, tasks)
    for task, form in DIALOGUES.items():
        if task in tasks:
            items += dialogue_items(sample, task, turns(sample, form))
    return items


def dialogue_items(sample: Sample, task: str, told: Turns) -> list[Item]:
    """The turns of a dialogue, each after the earlier ones."""
    mark = "@" if task == DIALOGUE_TURN else f"@{task.removeprefix(f'{DIALOGUE_TURN}_')}"
    earlier: list[tuple[str, str]] = []
    items = []
    for n, (asked, replied) in enumerate(once(told)):
        question = Question(DIALOGUE_TURN, asked, replied, None, TOPICS.get(asked))
        items.append(Item(f"{sample.id}{mark}{n}", task, sample, question, tuple(earlier)))
        earlier.append((items[-1].id, asked))
    return items


def tasks_of(suite: Suite, samples: Sequence[Sample]) -> list[str]:
    """The tasks that are asked: the suite's, else those that the samples hold a reference for, but for those
    that ask their questions once more (AGAIN)."""
    if suite.tasks:
        return suite.tasks
    every = [task for task in TASKS if task not in AGAIN]
    found = {item.task for sample in samples for item in _items(sample, suite, every)}
    lit = any(sample.mask or (sample.anomalous and sample.spans) for sample in samples)
    return [task for task in NAMES if task in found or (task == HEATMAP and lit)]


def settled(suite: Suite, samples: Sequence[Sample]) -> Suite:
    """The suite with its tasks named. Raises InputError where it names none and the samples answer none."""
    tasks = tasks_of(suite, samples)
    if not tasks:
        raise InputError(f"{suite.data}: holds no reference that a task could ask for")
    return replace(suite, tasks=tasks)


def drawn(samples: Sequence[Sample], limit: int | None, seed: int) -> Sequence[Sample]:
    """At most `limit` of the samples, drawn by their names, in their order."""
    if limit is None:
        return samples
    marks = [
        hashlib.sha256(f"{seed} {name}".encode(errors="backslashreplace")).digest()
        for name in ids_of(samples)
    ]
    return chosen(samples, sorted(sorted(range(len(marks)), key=marks.__getitem__)[:limit]))


def _samples(suite: Suite) -> Sequence[Sample]:
    """Of a data set's folder; of a VAU-Bench CSV, whose answers can be scored without its videos."""
    if not is_table(suite.data):
        return load_checked(suite.data, drop=suite.drop_bad_rows)
    samples, problems = read_csv(suite.data)
    if problems and not suite.drop_bad_rows:
        raise InputError(f"{suite.data}: {problems[0]} (drop_bad_rows leaves such rows out)")
    for problem in problems:
        quiet.note(f"dropped {problem}")
    return samples


Loaded = tuple[list[Sample], list[Item]]


def load(suite: Suite) -> Loaded:
    """The suite's samples and its question items, in a fixed order."""
    every = _samples(suite)
    # What is asked is held; of a large data set that `limit` draws from, the rest is not.
    samples = list(drawn(every[: suite.max_videos], suite.limit, suite.seed))
    places(samples, suite.slices or ())  # a kind that nothing says is refused before a model is loaded
    suite = settled(suite, samples)
    items = [item for sample in samples for item in _items(sample, suite, suite.tasks or [])]
    asked = {item.task for item in items}
    for task in suite.tasks or []:
        if task in TASKS and task not in asked:
            why = f" ({left})" if (left := left_out(suite, samples).get(task)) else ""
            raise InputError(
                f"{suite.data}: no question of kind {task!r}, but suite {suite.name} asks for it{why}"
            )
    resolve = reader_of(suite, every)
    return samples, [replace(item, reading=resolve(item.sample)) for item in items]


def suite_of(run: str | Path, record: dict[str, Any]) -> Suite:
    """Of a run's `record` (run.json). Raises InputError for one that cannot be read."""
    suite = config.build(Suite, record["suite"], str(Path(run, "run.json")))
    family = record.get("family", {})
    if family and family.get("source") != STATED:  # of a record from before the unit could be left open
        return replace(suite, reading=replace(suite.reading, boxes=None))
    return suite


def load_run(run: str | Path, record: dict[str, Any]) -> tuple[Suite, Loaded]:
    """The suite of a run's `record` (run.json) and what it loads: the data that the run was asked about.
    Raises InputError where the data set is another by now."""
    suite = suite_of(run, record)
    loaded = load(suite)
    if (now := suite.digest(loaded[0])) != record["suite_hash"]:
        raise InputError(
            f"{run}: its data set has changed since: suite hash {record['suite_hash']}, now {now}"
        )
    return suite, loaded


def check_pixels(suite: Suite, name: str, pixels: Budget) -> None:
    """Raise InputError where a suite states other bounds of a clip than `pixels`, with which the model `name`
    was opened."""
    if (asked := Budget.of(suite)).given and asked != pixels:
        raise InputError(f"{suite.name}: asks for {asked.stated}, {name} was opened with {pixels.stated}")


def class_names(samples: Sequence[Sample]) -> list[str]:
    """Classes that the samples and their questions name, in order; an answer of several is their parts."""
    names = dict.fromkeys(n for s in samples for n in (*s.categories, *(s.span_categories or ())))
    answers = [q.answer for s in samples for q in s.questions if q.kind == "classification"]
    known = {key_of(name) for name in [*names, *answers]}
    for answer in answers:
        parts = [part.strip() for part in re.split(r"[,;/|&]", answer)]
        several = len(parts) > 1 and all(key_of(part) in known for part in parts)
        names |= dict.fromkeys(parts if several else [] if is_number(answer) else [answer])
    return list(names)


def class_table(
    samples: Sequence[Sample], prompt: str, further: dict[str, list[str]]
) -> dict[str, list[str]]:
    """The classes of a data set and of the style in which it is asked, with `further` names of them."""
    return table_of([*class_names(samples), *(() if prompt == "tvad" else VAU_R1_CLASSES)], further)


def reader_of(suite: Suite, samples: Sequence[Sample]) -> Callable[[Sample], Reading]:
    """How the answers about a sample are read: `resolved` of the suite's `reading`."""
    return resolved(suite.reading, samples, suite.prompt, tasks_of(suite, samples))


def resolved(
    told: Reading, samples: Sequence[Sample], prompt: str, tasks: Collection[str]
) -> Callable[[Sample], Reading]:
    """What a suite or a reinforcement run says of reading, by sample: with the data's classes, and with the
    video's own size where boxes are in pixels of no other picture. Raises InputError where that is not
    known."""
    reading = replace(told, classes=class_table(samples, prompt, told.classes))
    if reading.unit != "pixels" or reading.picture is not None or "spatial" not in tasks:
        return lambda sample: reading
    sizes: dict[tuple[int, int], Reading] = {}

    def resolve(sample: Sample) -> Reading:
        width, height = sample.video.width, sample.video.height
        if not width or not height:
            raise InputError(
                f"reading.boxes: pixels, but the size of {sample.id!r} is not known; set reading.picture"
            )
        return sizes.setdefault((width, height), replace(reading, picture=[width, height]))

    return resolve


def _bound(question: Question) -> bool:
    """Whether its options speak of each other: "Both A and B" is another answer after a rotation."""
    return any(names_others(option) for option in question.options or ())


def left_out(suite: Suite, samples: Sequence[Sample]) -> dict[str, str]:
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
