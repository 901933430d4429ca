"""What stands behind a row: the scored run, kept under the hash of its content, its summary, and its answers
to be looked at."""

import hashlib
import json
import shutil
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.compare import compare
from bench.families import Difference
from bench.run_folder import read_lines
from bench.score import read_maps, read_predictions
from bench.shown import QUALITY, class_means, picture
from bench.suite import Item, Suite
from bench.tasks import HEATMAP
from leaderboard.intake.submission import PREDICTIONS
from tvad.answer import read_verdict
from tvad.answer.classes import key_of
from tvad.common.errors import InputError
from tvad.common.files import file_hash, settle
from tvad.data.dataset import ClipStore
from tvad.data.sample import Sample
from tvad.pictures import jpeg

MOST_BYTES = 64 << 20  # of answers that the pages open
SHOWN_ANSWERS = 30  # different answers of a task that are counted one by one


def summary(lines: list[dict], samples: list[Sample], items: list[Item]) -> dict[str, Any]:
    """{"by_class": {task: {class: [mean, n]}}, "answers": {task: {answer: [given, right ones]}}}: how often
    each answer was given and how often it is the reference, for tasks with lettered or named answers."""
    truths = {item.id: item.question.answer for item in items}
    answers: dict[str, dict[str, list[int]]] = {}
    for task in dict.fromkeys(line["task"] for line in lines):
        of_task = [line for line in lines if line["task"] == task]
        true = Counter(truths[line["id"]] for line in of_task)
        if len(true) > SHOWN_ANSWERS or task not in ("mcq", "judgement", "classification"):
            continue
        spelt = {_read_as(task, word): word for word in true}
        given = Counter(spelt.get(_read_as(task, "".join(line.get("read", ()))), "other") for line in of_task)
        answers[task] = {word: [given[word], true[word]] for word in (*sorted(true), "other")}
    return {"by_class": class_means(lines, samples), "answers": answers}


def _read_as(task: str, word: str) -> str:
    """An answer as `bench.tasks` reads it, without its spelling."""
    return (read_verdict(word).keys or ("",))[0] if task == "judgement" else key_of(word)


def keep(run: Path, scored: Path) -> str:
    """Move a scored run to SCORED/HASH, named by its content; returns the hash. The same content twice is
    kept once."""
    files = sorted(path for path in run.iterdir() if path.is_file())
    name = hashlib.sha256("".join(f"{path.name} {file_hash(path)}\n" for path in files).encode()).hexdigest()
    # Settled before a result names it: a kill in between leaves a folder that the next try finds in its
    # place.
    settle(run, scored / name)
    shutil.rmtree(run, ignore_errors=True)  # where the same content lay there already
    return name


@lru_cache(maxsize=4)
def answers(folder: Path) -> list[dict]:
    """Lines of a scored run. Raises InputError where they are too many for a page."""
    path = folder / "samples.jsonl"
    size = path.stat().st_size if path.exists() else 0
    if size > MOST_BYTES:
        raise InputError(
            f"{size >> 20} MiB of answers are too many to be shown; the run can be had as a file"
        )
    return read_lines(path)


@lru_cache(maxsize=256)
def differences(before: Path, after: Path) -> list[Difference]:
    """Paired comparison of two scored runs, which never change."""
    return compare(before, after)


@lru_cache(maxsize=8)
def _heatmap_rows(predictions: Path) -> dict[str, list[tuple[int, dict]]]:
    """Heatmap lines by video, with their numbers in the file."""
    found: dict[str, list[tuple[int, dict]]] = {}
    for n, row in read_predictions(predictions, []):
        if row["task"] == HEATMAP:
            found.setdefault(row["id"], []).append((n, row))
    return found


class Pictures:
    """Frames of clips with boxes and heatmaps, as JPEG."""

    def __init__(self, suite: Suite):
        self.store = ClipStore(suite.rate, suite.max_frames, 1 << 30)

    def of(self, sample: Sample, line: dict, submitted: Path) -> bytes:
        """submitted: the folder of the suite's part of the submission, whose heatmap is drawn where it has a
        usable one: the one that was scored, by the same reader."""
        predictions = submitted / PREDICTIONS
        rows = _heatmap_rows(predictions).get(sample.id, [])
        read = read_maps(rows, predictions, [sample], self.store, [])
        heat = next((heat for _, heat, _, row in read if "heatmap" in row), None)
        return jpeg(picture(sample, line, self.store, heat), QUALITY)


def anonymous(run: Path, name_hash: str) -> None:
    """Take this machine's paths out of a scored run's record."""
    file = run / "run.json"
    record = json.loads(file.read_text())
    record["model"] = f"submission:{name_hash}"
    record["suite"]["data"] = ""
    file.write_text(json.dumps(record, indent=1, allow_nan=False))
