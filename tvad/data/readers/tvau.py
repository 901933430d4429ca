"""Reader of ShanghaiTech as T-VAU's first author cut and described it, as it is distributed.

    ROOT/train/01_0014-168_191.mp4 …, ROOT/val/…    windows of 24 frames, the stride 12; VIDEO-FIRST_LAST
    ROOT/gt/01_0014-168_191.npy                     masks (24, 476, 868)
    ROOT/labels.csv                                 video,description: one of two Chinese phrases
    ROOT/track.json                                 by window: objects, each a region and a centroid a frame
    ROOT/dataset_track_zh_en.json                   by window: three Chinese, then three English
                                                    paraphrases of where the targets go; none where
                                                    nothing is anomalous

The authors part windows at random, so that a test window shares half of its frames with a training window
almost always. By default whole videos are parted anew instead; `published` keeps the authors' parts. Windows
that lie in ROOT/videos have no part of theirs. Without masks, times are those at which track.json shows an
object, and there are no boxes.
"""

import csv
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tvad.common.errors import InputError, at_least
from tvad.data import masks
from tvad.data.build import grounding_questions, link, spans_of
from tvad.data.check import Problem, described
from tvad.data.components import tracks_of
from tvad.data.dialogue import Turns, turns
from tvad.data.parting import build_parts
from tvad.data.questions import DIALOGUE
from tvad.data.readers.files import check_head, object_of, text_of, visible
from tvad.data.recipe import files_of, folder_of
from tvad.data.reclip import parted
from tvad.data.sample import Sample
from tvad.data.shards import chosen, ids_of

FPS = 24.0  # of ShanghaiTech; a window's name counts in its frames
PARTS = {"train": "train", "val": "test"}
LABELS = {"有异常": True, "没有异常": False}
LANGUAGES = ("zh", "en")  # of the paraphrases, in this order, three each
TEXTS = 3
_WINDOW = re.compile(r"(\d+_\d+)-(\d+)_(\d+)")


@dataclass(frozen=True)
class Notes:
    """What is written of all windows, by name: whether it is anomalous; the frames in which an object is
    seen; the paraphrases."""

    labels: dict[str, bool]
    seen: dict[str, list[int]]
    texts: dict[str, list[str]]

    def of(self, name: str, language: str) -> tuple[str, ...]:
        """The paraphrases of a window in one language. Raises InputError."""
        told = self.texts.get(name, [])
        if told and len(told) != TEXTS * len(LANGUAGES):
            raise InputError(f"{name}: {len(told)} paraphrases, expected {TEXTS} a language or none")
        first = TEXTS * LANGUAGES.index(language)
        return tuple(" ".join(t.replace("\ufeff", " ").split()) for t in told[first : first + TEXTS])


NOTES = ("labels.csv", "track.json", "dataset_track_zh_en.json")


def read_notes(root: Path) -> Notes:
    """Raises InputError that names the file and the row or window."""
    labels: dict[str, bool] = {}
    path = root / "labels.csv"
    try:
        table = csv.DictReader(text_of(path).splitlines())
        check_head(path, table.fieldnames, {"video", "description"} & set(table.fieldnames or ()))
        rows = list(table)
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV file ({error})") from error
    for n, row in enumerate(rows, 2):
        video, said = row.get("video"), row.get("description")
        if not video or said not in LABELS:
            raise InputError(f"{path}:{n}: expected video,description with {' or '.join(LABELS)}")
        if labels.setdefault(name := Path(video).stem, LABELS[said]) != LABELS[said]:
            raise InputError(f"{path}:{n}: {name} is there twice, once with and once without an anomaly")
    seen, texts = {}, {}
    for name, row in _by_window(root / "track.json").items():
        if not isinstance(row, dict):
            raise InputError(f"{root / 'track.json'}: {name}: expected an object")
        every = [v for key, v in row.items() if re.fullmatch(r"object \d+", key)]
        if not all(isinstance(places, list) for places in every):
            raise InputError(f"{root / 'track.json'}: {name}: expected a list of places an object")
        seen[name] = sorted({f for places in every for f, place in enumerate(places) if place is not None})
    for name, told in _by_window(root / "dataset_track_zh_en.json").items():
        if not (isinstance(told, list) and all(isinstance(text, str) for text in told)):
            raise InputError(f"{root / 'dataset_track_zh_en.json'}: {name}: expected a list of texts")
        texts[name] = told
    return Notes(labels, seen, texts)


def _by_window(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, row in object_of(path).items():
        if found.setdefault(name := name.removesuffix(".npy"), row) != row:
            raise InputError(f"{path}: {name} is there twice")
    return found


def _mask(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """(T, H, W) bool. Raises InputError that names the file."""
    if not path.is_file():
        raise InputError(f"{path}: no such mask")
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a .npy array ({str(error).splitlines()[0]})") from error
    if found.shape != shape:
        raise InputError(f"{path}: shape {found.shape}, the window has {shape} (frames, height, width)")
    return masks.two_valued(found, str(path))


def make_sample(root: Path, file: Path, notes: Notes, language: str, out: Path) -> Sample:
    """One window. Raises InputError that names the file."""
    name = file.stem
    match = _WINDOW.fullmatch(name)
    if match is None:
        raise InputError(f"{file}: its name is not VIDEO-FIRST_LAST, such as 01_0014-168_191")
    if name not in notes.labels:
        raise InputError(f"{file}: labels.csv has no row for it")
    first, last = int(match.group(2)), int(match.group(3))
    shown, clock = described(file, f"videos/{file.name}")
    if len(clock) != last - first + 1:
        raise InputError(f"{file}: {len(clock)} frames, its name counts {last - first + 1}")
    shape = (len(clock), shown.height or 0, shown.width or 0)
    mask, tracks, wrong = None, None, notes.seen.get(name, [])
    if (root / "gt").is_dir():
        lit = _mask(root / "gt" / f"{name}.npy", shape)
        mask = f"masks/{name}.npz"
        masks.write(out / mask, lit)
        tracks, wrong = tracks_of(lit), np.flatnonzero(lit.any((1, 2))).tolist()
    if wrong and wrong[-1] >= len(clock):
        raise InputError(f"{root / 'track.json'}: {name}: frame {wrong[-1] + 1} of {len(clock)}")
    if bool(wrong) != notes.labels[name]:
        raise InputError(
            f"{name}: labels.csv says {'an anomaly' if notes.labels[name] else 'none'},"
            f" {'the mask' if mask else 'track.json'} shows {'one' if wrong else 'none'}"
        )
    link(file, out / shown.path)
    spans = spans_of(wrong, clock)
    sample = Sample(
        id=name,
        source="shanghaitech_tvau",
        split="test",
        video=replace(shown, source=match.group(1), offset=first / FPS),
        label="anomalous" if wrong else "normal",
        spans=spans,
        tracks=tracks,
        mask=mask,
        questions=grounding_questions(spans, tracks or (), clock, shape[2], shape[1]),
    )
    return replace(sample, dialogue=_with(turns(sample, "protocol"), notes.of(name, language)))


def _with(told: Turns, ways: tuple[str, ...]) -> Turns:
    """A dialogue with the authors' words of where the targets go, each a reference of its own."""
    if not ways:
        return told
    asked = DIALOGUE["trajectory"]
    place = next((n for n, turn in enumerate(told) if turn[0] == asked), min(1, len(told)))
    rest = tuple(turn for turn in told if turn[0] != asked)
    return (*rest[:place], *((asked, way) for way in ways), *rest[place:])


def leak(parts: Mapping[str, Sequence[Sample]]) -> tuple[int, int]:
    """How many test windows share frames with a training window, and of how many."""
    train: dict[str | None, list[tuple[float, float]]] = {}
    for sample in parts["train"]:
        train.setdefault(sample.video.source, []).append(_inside(sample))
    shared = 0
    for sample in parts["test"]:
        start, end = _inside(sample)
        shared += any(start < b and a < end for a, b in train.get(sample.video.source, ()))
    return shared, len(parts["test"])


def _inside(sample: Sample) -> tuple[float, float]:
    """Seconds of its video that a window shows."""
    start = sample.video.offset or 0.0
    return start, start + (sample.video.duration or 0.0)


def _files(root: Path) -> dict[str, Path]:
    """Windows by name. Raises InputError for one that lies there twice, or where there are none."""
    found: dict[str, Path] = {}
    for file in sorted(p for part in (*PARTS, "videos") for p in visible(root / part, "*.mp4")):
        if (other := found.setdefault(file.stem, file)) != file:
            raise InputError(f"{file}: lies in {other.parent.name}, too")
    if not found:
        raise InputError(f"{root}: no .mp4 in {', '.join(PARTS)} or videos")
    return found


def _published(samples: Sequence[Sample], files: dict[str, Path]) -> dict[str, Sequence[Sample]]:
    places: dict[str, list[int]] = {"train": [], "test": []}
    for place, name in enumerate(ids_of(samples)):
        places[PARTS[files[name].parent.name]].append(place)
    return {part: chosen(samples, own) for part, own in places.items()}


def read(
    root: str | os.PathLike,
    out: str | os.PathLike,
    published: bool = False,
    seed: int = 0,
    language: Literal["en", "zh"] = "en",
) -> tuple[dict[str, Sequence[Sample]], list[Problem]]:
    """The windows as the data sets `out`/train and `out`/test: the samples of each, and the refused windows
    with their reasons. A killed run continues. Raises InputError where nothing lies in this layout."""
    at_least("seed", seed, 0)
    base = Path(root)
    if published and seed:
        raise InputError(f"seed is {seed}, but the authors' parts are not drawn")
    files, notes = _files(base), read_notes(base)
    if published and not any(file.parent.name in PARTS for file in files.values()):
        raise InputError(
            f"published: {base} has no {' and no '.join(PARTS)}, in which the authors' parts lie"
        )
    if published and (odd := [file for file in files.values() if file.parent.name not in PARTS]):
        raise InputError(f"{odd[0]}: lies in no part of the authors' (train, val)")

    def parts_of(samples: Sequence[Sample]) -> dict[str, Sequence[Sample]]:
        if published:
            return _published(samples, files)
        return parted(samples, {sample.id: sample.video.source or sample.id for sample in samples}, seed)

    parts, problems = build_parts(
        out,
        files,
        lambda name, where: [make_sample(base, files[name], notes, language, where)],
        "tvau",
        {
            "root": folder_of(base),
            "notes": files_of(*(base / name for name in NOTES)),
            "published": published,
            "seed": seed,
            "language": language,
        },
        parts_of,
    )
    if missing := sorted(set(notes.labels) - set(files)):
        problems.append(
            Problem("labels.csv", f"{len(missing)} windows have no video, the first {missing[0]}")
        )
    return parts, problems
