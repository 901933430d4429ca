"""What stands behind a row: the scored run, kept under the hash of its content, its summary, and its answers
to be looked at."""

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import by_slice
from bench.score import read_maps, read_predictions
from bench.shown import QUALITY, class_means, picture
from bench.slices import BINS
from bench.suite import Item, Suite
from bench.tasks import HEATMAP, TASKS
from leaderboard.intake.objects import run_hash
from leaderboard.intake.submission import PREDICTIONS
from leaderboard.scoring.blurring import blurred, is_outlined
from tvad.answer import read_verdict
from tvad.answer.classes import key_of
from tvad.common.errors import InputError
from tvad.common.files import made, settle, write_whole
from tvad.data.dataset import ClipStore
from tvad.data.sample import SAMPLES, Sample
from tvad.pictures import jpeg

SHOWN = "shown"  # folder in a scored run, of what pages show
INDEX = f"{SHOWN}/index.json"
MOST_BYTES = 64 << 20  # of a run's pictures
MOST_LINE = 1 << 20  # bytes of an answer that a page shows
CLIPS = 64 << 20  # bytes of decoded clips that are held while pictures are drawn
BLURRED = "pictures_blurred"  # key of a run's record
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


def slices(run: Path) -> dict[str, Any]:
    """{"slices": …} of a scored run, {} where its suite asks for none: what was said of how many videos, how
    many lie in each slice, and the metrics' rows."""
    if (sliced := by_slice.read(run)) is None:
        return {}
    counts = {kind: dict[str, int]() for kind in sliced.kinds}
    for kind, value in (place for of_video in sliced.videos.values() for place in of_video.items()):
        counts[kind][value] = counts[kind].get(value, 0) + 1
    kept = {"videos": counts, "all": len(sliced.videos), "metrics": sliced.metrics}
    return {"slices": {**kept, "bins": {kind: BINS[kind].told for kind in sliced.kinds if kind in BINS}}}


def _read_as(task: str, word: str) -> str:
    """An answer as `bench.tasks` reads it, without its spelling."""
    return (read_verdict(word).keys or ("",))[0] if task == "judgement" else key_of(word)


def keep(run: Path, scored: Path) -> str:
    """Move a scored run to SCORED/HASH, named by its content; returns the hash. The same content twice is
    kept once."""
    name = run_hash(run)
    # Settled before a result names it: a kill in between leaves a folder that the next try finds in its
    # place.
    settle(run, scored / name)
    shutil.rmtree(run, ignore_errors=True)  # where the same content lay there already
    return name


@dataclass(frozen=True)
class Place:
    """Where an answer stands in a scored run, so that a page reads the answers that it shows and no others.
    at, size: bytes of its line in samples.jsonl."""

    at: int
    size: int
    id: str
    task: str
    sample: str
    score: float


def kept_picture(run: Path, number: int) -> Path | None:
    """The picture of an answer of a scored run, a JPEG, where one is kept."""
    path = run / SHOWN / f"{number}.jpg"
    return path if path.is_file() else None


class Answers:
    """The answers of a scored run, to be looked at. Raises InputError for a run that was scored before there
    was an index."""

    def __init__(self, run: Path):
        self.run, file = run, run / INDEX
        if not file.is_file():
            raise InputError("this run was scored before its answers could be shown; it can be had as a file")
        self.places = [Place(*row) for row in json.loads(file.read_text())]

    def line(self, number: int) -> dict:
        """One answer, as samples.jsonl has it; a line of more than MOST_LINE bytes without its words."""
        place = self.places[number]
        with (self.run / SAMPLES).open("rb") as file:
            file.seek(place.at)
            if place.size > MOST_LINE:
                said = f"(an answer of {place.size} bytes is not shown; the run can be had as a file)"
                return {"id": place.id, "task": place.task, "sample": place.sample, "response": said,
                        "parsed": {"boxes": None, "spans": None}, "scores": {}}  # fmt: skip
            return json.loads(file.read(place.size))

    def picture(self, number: int) -> Path | None:
        """The picture of an answer, a JPEG, where one is kept."""
        return kept_picture(self.run, number)


def show(
    run: Path,
    suite: Suite,
    samples: list[Sample],
    items: list[Item],
    submitted: Path,
    most: int,
    blur: bool = False,
) -> None:
    """Write what the pages show of a scored run into it: where each answer stands, and the pictures of the
    `most` answers with the lowest scores, each with the heatmap that was scored. submitted: the folder of the
    suite's part of the submission. blur: all that is outlined (`leaderboard.scoring.blurring`), of which the
    run's record says so. To be called where memory and time have limits: a heatmap is a stranger's file."""
    places: list[Place] = []
    with (run / SAMPLES).open("rb") as file:
        at = 0
        for raw in file:
            line = json.loads(raw)
            score = line["scores"].get(TASKS[line["task"]].PRIMARY)
            places.append(Place(at, len(raw), line["id"], line["task"], line["sample"], score or 0.0))
            at += len(raw)
    made(run / SHOWN)
    if blur:
        _note(run, BLURRED, True)
    write_whole(run / INDEX, json.dumps([list(vars(p).values()) for p in places], allow_nan=False))
    by_id = {sample.id: sample for sample in samples if not blur or is_outlined(sample)}
    chosen = sorted(range(len(places)), key=lambda n: (places[n].score, n))
    chosen = [n for n in chosen if places[n].sample in by_id][:most]
    if not chosen:
        return
    shown = Answers(run)
    store = ClipStore(suite.rate, suite.max_frames, CLIPS)
    rows: dict[str, list[tuple[int, dict]]] = {}
    for n, row in read_predictions(submitted / PREDICTIONS, []):
        if row["task"] == HEATMAP:
            rows.setdefault(row["id"], []).append((n, row))
    heat, of, room = None, "", MOST_BYTES
    for number in sorted(chosen, key=lambda n: (places[n].sample, n)):  # a clip is decoded once
        sample = by_id[places[number].sample]
        if sample.id != of:
            own = rows.get(sample.id, [])
            read = read_maps(own, submitted / PREDICTIONS, [sample], store, [])
            heat, of = next((heat for _, heat, _, row in read if "heatmap" in row), None), sample.id
        drawn = picture(sample, shown.line(number), store, heat, blurred if blur else None)
        data = jpeg(drawn, QUALITY)
        if (room := room - len(data)) < 0:
            return
        (run / SHOWN / f"{number}.jpg").write_bytes(data)


def _note(run: Path, key: str, value: Any) -> None:
    """Say one more thing in a scored run's record."""
    file = run / "run.json"
    write_whole(file, json.dumps(json.loads(file.read_text()) | {key: value}, indent=1, allow_nan=False))


def is_blurred(run: Path) -> bool:
    """Whether what is outlined in a scored run's pictures is blurred."""
    return bool(json.loads((run / "run.json").read_text()).get(BLURRED))


def anonymous(run: Path, name_hash: str) -> None:
    """Take this machine's paths out of a scored run's record."""
    file = run / "run.json"
    record = json.loads(file.read_text())
    record["model"] = f"submission:{name_hash}"
    record["suite"]["data"] = ""
    file.write_text(json.dumps(record, indent=1, allow_nan=False))
