"""Scores answers made elsewhere: lines {"id", "task", "response"}; id is a question's (sample#number) or, if
one task asks it once, a sample's.

A line that cannot be used is rejected by number with its reason, the rest is scored; a question without an
answer counts as wrong and is counted as `task.missing`. A line {"id": video, "task": "heatmap", "heatmap":
FILE.npz} or {..., "frame_scores": [...]} gives a video's heatmap (array `heatmap`, T' x h x w, in a file
below the predictions' folder) or only its frame scores, placed on its frames by `bench.placing`. Frame AUC
and AP take any scale, the rest needs 0..1; a video without a line is wrong in every frame: normal ones get
the highest score of all, anomalous ones the lowest.
"""

import gc
import hashlib
import json
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bench import blind, logs, oracle
from bench.answers import asked_of, score_item
from bench.by_slice import BySlice
from bench.intervals import Columns
from bench.metrics.stats import Interval, mean_interval
from bench.placing import placed
from bench.run_folder import ANSWERS, emptied, record_of, write_metrics, write_record
from bench.suite import Item, Loaded, Suite, load, settled, with_notes
from bench.tasks import HEATMAP, MISSING, heatmap
from tvad.common.errors import InputError
from tvad.common.files import parse_json, replacing
from tvad.common.lock import locked
from tvad.common.places import public
from tvad.data import truth
from tvad.data.check import Problem
from tvad.data.dataset import ClipStore
from tvad.data.sample import Sample
from tvad.data.video import Frames

MOST_VALUES = 64 << 20  # of a heatmap
KEYS = ("id", "task", "response")
PREDICTIONS = "predictions:"  # of which run.json says that they are the model


def _row(line: bytes | None) -> dict:
    """One line. Raises ValueError with the reason."""
    if line is None:
        raise ValueError(f"more than {logs.MOST_LINE} bytes")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 ({error.reason} at byte {error.start})") from None
    try:
        row = parse_json(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(row, dict):
        raise ValueError(f"expected an object, found {type(row).__name__}")
    for key in KEYS if row.get("task") != HEATMAP else KEYS[:2]:
        if key not in row:
            raise ValueError(f"missing key {key!r}")
        if not isinstance(row[key], str):
            raise ValueError(f"{key!r} must be text, found {type(row[key]).__name__}")
    return row


def read_predictions(path: str | Path, rejected: list[Problem]) -> Iterator[tuple[int, dict]]:
    """Numbered rows of a predictions file; what cannot be a row goes to `rejected`. Raises InputError for a
    file that cannot be read."""
    try:
        with Path(path).open("rb") as file:
            for n, line in enumerate(logs.bounded_lines(file), 1):
                if line is None or line.strip():
                    try:
                        yield n, _row(line)
                    except ValueError as error:
                        rejected.append(Problem(f"{path}:{n}", str(error)))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def read_heat(row: dict, folder: Path) -> np.ndarray:
    """Maps (T', h, w) of a heatmap line; frame scores are maps of one place. Raises ValueError with the
    reason."""
    if ("heatmap" in row) == ("frame_scores" in row):
        raise ValueError("expected either heatmap or frame_scores")
    if "frame_scores" in row:
        given = row["frame_scores"]
        if (
            not isinstance(given, list)
            or not given
            or any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in given)
        ):
            raise ValueError("frame_scores must be a list of numbers")
        try:
            heat = np.array(given, float).reshape(-1, 1, 1)
        except OverflowError:  # a whole number beyond what a float holds
            raise ValueError("frame_scores must be finite numbers") from None
    else:
        if not isinstance(row["heatmap"], str):
            raise ValueError("heatmap must be a file name")
        file = (folder / row["heatmap"]).resolve()
        if not file.is_relative_to(folder.resolve()):
            raise ValueError(f"heatmap {row['heatmap'][:80]!r} leaves the predictions' folder")
        try:
            with np.load(file, allow_pickle=False) as data:
                shape = data["heatmap"].shape
                if len(shape) != 3 or not 0 < int(np.prod(np.array(shape, object))) <= MOST_VALUES:
                    raise ValueError(f"shape {shape} is not (T, h, w) of at most {MOST_VALUES} values")
                heat = data["heatmap"].astype(np.float32)
        except (OSError, KeyError, EOFError, zipfile.BadZipFile, TypeError) as error:
            raise ValueError(
                f"heatmap {row['heatmap'][:80]!r} cannot be read ({type(error).__name__})"
            ) from None
    if bad := int((~np.isfinite(heat)).sum()):
        what = "frame_scores" if "frame_scores" in row else "heatmap values"
        raise ValueError(f"{bad} of {heat.size} {what} are NaN or infinite")
    return heat


def _anomalous(sample: Sample, frames: Frames) -> np.ndarray:
    """(T,) int, 1 for an anomalous frame; 0 where it is not known."""
    mask = truth.open_mask(sample, frames.total, *frames.images.shape[1:3])
    labels = truth.frame_labels(sample, frames.clock.times, mask)
    return np.zeros(frames.total, int) if labels is None else labels


def read_maps(
    rows: list[tuple[int, dict]],
    path: str | Path,
    samples: list[Sample],
    store: ClipStore,
    rejected: list[Problem],
) -> list[tuple[Sample, np.ndarray, np.ndarray, dict]]:
    """(sample, maps, which of them holds for every frame, line) of the heatmap lines `rows` that are scored:
    of several lines of a video the first that can be used. The others go to `rejected`. What is shown of a
    heatmap is read here too, so that it is what was scored. Raises InputError for a bad data set."""
    by_id = {sample.id: sample for sample in samples}
    found: dict[str, tuple[Sample, np.ndarray, np.ndarray, dict]] = {}
    for n, row in tqdm(rows, unit="video", desc="read heatmaps", disable=None):
        try:
            if row["id"] not in by_id:
                raise ValueError(f"id {row['id'][:80]!r} is no video of this suite")
            if row["id"] in found:
                raise ValueError(f"a second heatmap of {row['id']!r}")
            sample, heat = by_id[row["id"]], read_heat(row, Path(path).parent)
            found[sample.id] = sample, heat, placed(len(heat), row, store.frames(sample)), row
        except InputError:  # of the data set, not of the line
            raise
        except ValueError as error:
            rejected.append(Problem(f"{path}:{n}", str(error)))
    return list(found.values())


def _score_heatmaps(
    rows: list[tuple[int, dict]], path: Path, samples: list[Sample], suite: Suite
) -> tuple[dict[str, heatmap.VideoScores], dict[str, Interval], list[Problem]]:
    """Videos and heatmap metrics of the lines; of frame scores alone only those of frames, and of maps among
    them those of the videos that have maps. A video without a line is wrong in every frame: no other score
    that it might have been given is worse, so that none gains by being left out."""
    store = ClipStore(suite.rate, suite.max_frames)
    rejected: list[Problem] = []
    read = read_maps(rows, path, samples, store, rejected)
    maps = {sample.id: (heat, steps) for sample, heat, steps, _ in read}  # steps: which map a frame has
    mapped = any("heatmap" in row for _, _, _, row in read)
    if not maps:
        # That there are none is said where the suite asks for them: else it would be no answer left out.
        asked = HEATMAP in (suite.tasks or ())
        none = mean_interval(np.ones(len(samples)), np.arange(len(samples)))
        return {}, {f"{HEATMAP}.{MISSING}": replace(none, oracle=0.0)} if asked else {}, rejected
    low = min(0.0, *(float(heat.min()) for heat, _ in maps.values()))
    high = max(1.0, *(float(heat.max()) for heat, _ in maps.values()))
    side = 2 if mapped else 1
    wrong = np.broadcast_to(np.array([high, low], np.float32)[:, None, None], (2, side, side))
    videos = {}
    for sample in tqdm(samples, unit="video", desc="heatmaps", disable=None):
        frames = store.frames(sample)
        heat, steps = maps.get(sample.id) or (wrong, _anomalous(sample, frames))
        videos[sample.id] = heatmap.VideoScores(sample, heat, frames, steps)
    found = heatmap.metrics(videos, suite.resamples, suite.seed)
    kept = {name: m for name, m in found.items() if mapped or name.partition(":")[0] in heatmap.OF_FRAMES}
    # Of every video the share of frames without a score.
    unscored = [float((maps[s.id][1] < 0).mean()) if s.id in maps else 1.0 for s in samples]
    missing = mean_interval(np.array(unscored), np.arange(len(samples)))
    if partly := sum(0 < share < 1 for share in unscored):
        missing = replace(missing, note=f"frames behind the last snippet of {partly} videos take no part")
    missing = replace(missing, oracle=0.0)
    metrics = {f"{HEATMAP}.{name}": value for name, value in {**kept, MISSING: missing}.items()}
    return videos, metrics, rejected


class Answers:
    """Responses to the items of a suite, by the item's place; a line that is no answer to one of them goes to
    `rejected`."""

    def __init__(self, path: str | Path, items: list[Item], rejected: list[Problem]):
        self.path, self.items, self.rejected = path, items, rejected
        self.found: list[str | None] = [None] * len(items)
        self._by_id = {item.id: place for place, item in enumerate(items)}
        self._by_sample: dict[tuple[str, str], list[int]] = {}
        for place, item in enumerate(items):
            self._by_sample.setdefault((item.sample.id, item.task), []).append(place)

    def add(self, n: int, row: dict) -> None:
        name, task = row["id"], row["task"]
        place = self._by_id.get(name)
        candidates = [place] if place is not None else self._by_sample.get((name, task), [])
        reason = None
        if len(candidates) > 1:
            reason = f"id {name[:80]!r} with task {task[:40]!r} names several questions"
        elif not candidates or self.items[candidates[0]].task != task:
            reason = f"id {name[:80]!r} with task {task[:40]!r} is no question of this suite"
        elif self.found[candidates[0]] is not None:
            reason = f"a second answer to {self.items[candidates[0]].id!r}"
        if reason:
            self.rejected.append(Problem(f"{self.path}:{n}", reason))
        else:
            self.found[candidates[0]] = row["response"]


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the cycle collector: a million questions stay to the end, walking over them again and again
    takes a sixth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@uncollected()
def score(
    predictions: str | Path,
    suite: Suite,
    out: str | Path,
    loaded: Loaded | None = None,
    form: str | None = None,
    task: str | None = None,
) -> tuple[dict[str, Interval], list[Problem]]:
    """Score a predictions file, or with `form` the log of another tool (`bench.logs.FORMATS`), whose answers
    are to `task`; returns the metrics and the lines rejected. loaded: the suite's samples and items, where
    they have been loaded before. Raises InputError where no line could be used, and for a folder that holds
    another run; an earlier scoring of the same file in it stays whole until this one can take its place."""
    if suite.hidden:
        raise InputError(
            f"suite {suite.name}: its references are hidden; only the leaderboard that made it can score"
            " answers"
        )
    samples, items = loaded or load(suite)
    named, suite = bool(suite.tasks), settled(suite, samples)
    rejected: list[Problem] = []
    answers, of_heatmaps = Answers(predictions, items, rejected), []
    rows = read_predictions(predictions, rejected)
    if form is not None:
        rows = logs.rows_of(predictions, items, logs.task_of(predictions, form, task), form, rejected)
    for n, row in rows:
        if row["task"] == HEATMAP:
            of_heatmaps.append((n, row))
        else:
            answers.add(n, row)
    with locked(out):
        return _into(Path(out), predictions, suite, named, samples, answers, of_heatmaps, rejected)


def _into(
    out: Path,
    predictions: str | Path,
    suite: Suite,
    named: bool,
    samples: list[Sample],
    answers: "Answers",
    of_heatmaps: list[tuple[int, dict]],
    rejected: list[Problem],
) -> tuple[dict[str, Interval], list[Problem]]:
    """`score` into a folder that is held."""
    items, digest = answers.items, suite.digest(samples)
    place = _place(predictions)
    own = public(f"{PREDICTIONS}{predictions}"), place, digest
    earlier = record_of(out, lambda r: (r["model"], r.get("place", place), r["suite_hash"]) != own)
    videos, maps, of_maps = _score_heatmaps(of_heatmaps, Path(predictions), samples, suite)
    rejected = sorted([*rejected, *of_maps], key=lambda problem: int(problem.where.rpartition(":")[2]))
    answered = sum(response is not None for response in answers.found)
    if not answered and not videos:
        raise InputError(
            f"{predictions}: no line could be used" + (f"; the first: {rejected[0]}" if rejected else "")
        )
    blinds, hits = blind.of_items(items, suite.seed)
    columns, by_slice = Columns(hits), BySlice(samples, suite)
    with replacing(out / ANSWERS) as temporary:
        with temporary.open("w") as file:
            for line in _scored(items, answers.found, suite):
                columns.add(line)
                by_slice.add(line)
                file.write(json.dumps(line, allow_nan=False) + "\n")
        metrics = (
            oracle.beside(with_notes(columns.intervals(suite), suite, samples), items, suite, hits) | maps
        )
        record = {
            "model": public(f"{PREDICTIONS}{predictions}"),
            "place": place,
            "suite": asdict(suite),
            "suite_hash": digest,
            "tasks_from": "suite" if named else "data",
            "videos": len(samples),
            "answered": answered,
            "questions": len(items),
            "rejected": len(rejected),
            "blind": blind.record(blinds),
        }
        if "reader" in earlier:
            print(
                f"{out}: what {earlier['reader']['judge']} had read is read by rules again; `bench read {out}"
                f" --judge openai:{earlier['reader']['judge']}` asks it about what is new",
                file=sys.stderr,
            )
        emptied(out)
        write_record(out, record)
        if videos:
            heatmap.save_videos(out / heatmap.VIDEOS, videos)
    by_slice.write(out)
    write_metrics(out, metrics)
    return metrics, rejected


def _place(predictions: str | Path) -> str:
    """Tells files of one name apart, whose folders are not published."""
    return hashlib.sha256(str(Path(predictions).resolve()).encode(errors="surrogateescape")).hexdigest()[:16]


def _scored(items: list[Item], responses: list[str | None], suite: Suite) -> Iterator[dict]:
    """A line an item; one without a response counts as wrong and as missing."""
    for item, given in zip(tqdm(items, unit="answer", desc="score", disable=None), responses, strict=True):
        response = given or ""
        line = {
            **asked_of(item),
            "attempt": 0,
            "response": response,
            **score_item(item, response, suite.parse),
        }
        line["scores"][MISSING] = float(given is None or not given.strip())
        yield line
