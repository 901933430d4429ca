"""A private split: scenes rendered from a secret seed, given out as clips and questions without their
answers. What is asked, and in which order, must not tell what a clip shows either."""

import fcntl
import hashlib
import json
import shutil
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.suite import Suite
from bench.tasks import NAMES
from tvad.common.files import made
from tvad.data import load, save
from tvad.data.questions import LETTERS
from tvad.data.sample import HEADER, SAMPLES, Question, Sample
from tvad.data.scenes.dataset import ScenesConfig, generate
from tvad.data.scenes.describe import NOTHING
from tvad.data.scenes.script import classes_of

INPUTS = "inputs.zip"
BLANK = {
    "mcq": "A",
    "judgement": "No",
    "classification": "normal",
    "temporal": "Normal",
}  # kind -> answer put where the true one stood


@dataclass
class Render:
    """Which scenes are rendered; see `tvad.data.scenes.dataset.ScenesConfig`."""

    setting: str = "core"
    """Which classes of anomaly: closed, open or core."""
    clips: int = 200
    """How many."""
    normal: float = 0.35
    """Share of clips without an anomaly, 0 to 1."""
    max_crowd: int = 2
    """Most bystanders in a clip, 0 to 12."""


def labelled(template: Suite, folder: Path) -> Suite:
    """The suite over the rendered clips, with their labels: what of `template` tells nothing by being
    asked."""
    return replace(
        template,
        data=str(folder / "data"),
        tasks=[task for task in template.tasks or NAMES if task in (*BLANK, "heatmap")],
        max_videos=None,
    )


def _askable(samples: list[Sample]) -> set[tuple[str, str | None]]:
    """(kind, topic) of questions that every clip has: that a question is there must not tell what the clip
    shows."""
    everywhere = [{(q.kind, q.topic) for q in sample.questions if q.kind in BLANK} for sample in samples]
    return set.intersection(*everywhere)


def blank(sample: Sample) -> Sample:
    """The clip and its questions, no answer among them."""
    questions = tuple(
        Question(
            q.kind, q.text, BLANK[q.kind], q.options, q.topic, spans="none" if q.kind == "temporal" else None
        )
        for q in sample.questions
    )
    return Sample(sample.id, sample.source, sample.split, sample.video, questions=questions, root=sample.root)


def asked(suite: Suite, samples: list[Sample]) -> str:
    """Hash of what is given out of a private split, no label in it."""
    rows = [
        [s.id, s.video.path, [[q.kind, q.topic, q.text, q.options] for q in s.questions]] for s in samples
    ]
    return hashlib.sha256(json.dumps([suite.name, rows], allow_nan=False).encode()).hexdigest()


def _pack(suite: Suite, name: str, samples: list[Sample], data: Path, archive: Path) -> None:
    """Write what is given out: clips, questions with blank answers, and the suite that asks them."""
    given = archive.with_name("given")
    shutil.rmtree(given, ignore_errors=True)  # of a killed try
    save([blank(sample) for sample in load(data)], given)
    chosen = {
        "name": suite.name,
        "data": name,
        "tasks": suite.tasks,
        "topics": suite.topics,
        "rate": suite.rate,
        "max_frames": suite.max_frames,
        "decode": vars(suite.decode),
        "prompt": suite.prompt,
        "parse": suite.parse,
        "hidden": True,
    }
    temporary = archive.with_suffix(".tmp")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as out:
        out.writestr(f"{name}/suite.yaml", json.dumps(chosen, indent=1, allow_nan=False))  # JSON is YAML
        for file in (HEADER, SAMPLES):
            out.write(given / file, f"{name}/{file}")
        for sample in samples:  # clips, and never masks, which are labels
            out.write(data / sample.video.path, f"{name}/{sample.video.path}")
    temporary.replace(archive)
    shutil.rmtree(given)


def redrawn(samples: list[Sample], setting: str, seed: int) -> list[Sample]:
    """The clips with other wrong options of their event: those that are drawn for public clips are of all
    classes, the right ones of the setting's only, so that an option's class told which it is not."""
    classes = list(classes_of(setting, "test"))
    rng = np.random.default_rng([seed, 31])

    def of(question: Question) -> Question:
        if (question.kind, question.topic) != ("mcq", "event") or not question.options:
            return question
        place = LETTERS.index(question.answer)
        right = question.options[place]
        pool = [name for name in classes if name != right]
        others = [str(name) for name in rng.permutation(pool)[:3]]
        if right != NOTHING:
            others[int(rng.integers(3))] = NOTHING  # it is always among them
        options = (*others[:place], right, *others[place:])
        return replace(question, options=options)

    return [replace(s, questions=tuple(of(q) for q in s.questions)) for s in samples]


def prepare(render: Render, template: Suite, name: str, folder: Path, secret: bytes, phase: int = 1) -> Path:
    """Render the split into FOLDER/data and what is given out into FOLDER/inputs.zip, where they are missing;
    several processes may try at once, a killed one is continued. Raises InputError where the folder holds a
    split rendered otherwise."""
    made(folder).chmod(0o700)
    archive, data = folder / INPUTS, folder / "data"
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # goes with its holder, however that ends
        seed = int.from_bytes(secret[:8], "big") >> 1  # fits a signed 64-bit number
        samples = generate(ScenesConfig(split="test", seed=seed, **vars(render)), data)
        if archive.exists():  # written last: all else is there
            return archive
        asked = _askable(samples)
        samples = [
            replace(
                s,
                id=f"phase{phase}_{n:05d}",  # answers to another phase's clips name none of these
                questions=tuple(q for q in s.questions if (q.kind, q.topic) in asked),
                dialogue=None,
            )
            for n, s in enumerate(redrawn(samples, render.setting, seed))
        ]
        save(samples, data)
        _pack(labelled(template, folder), name, samples, data, archive)
    return archive
