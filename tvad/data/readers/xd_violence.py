"""Reader of XD-Violence (Wu et al., ECCV 2020) as it is distributed.

    ROOT/**/NAME.mp4          the class codes stand in the name: …_label_B1-0-0.mp4, …_label_A.mp4
    ANNOTATIONS               annotations.txt of the test videos: NAME start end start end …, in frames

Codes: A normal, B1 fighting, B2 shooting, B4 riot, B5 abuse, B6 car accident, G explosion; 0 fills up. A
video has up to three classes, the first leading. Names in the list end with .mp4 or not. Which class a span
has is not distributed. The list counts frames of the file as it is, from 0 on (ours: nothing says whether the
last one is meant; it is taken as anomalous). Most files are segments of a film or of a video of YouTube,
named before "__#": no split parts it. A training video has its classes, and nobody knows when."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tvad.answer import Span
from tvad.common.errors import InputError
from tvad.data.build import build, link, spans_of
from tvad.data.check import Problem, described
from tvad.data.readers.files import below, only, text_of
from tvad.data.readers.labels import asked, frame_spans
from tvad.data.recipe import file_of, folder_of
from tvad.data.sample import Sample

CLASSES = {
    "B1": "fighting",
    "B2": "shooting",
    "B4": "riot",
    "B5": "abuse",
    "B6": "car accident",
    "G": "explosion",
}
NORMAL = "A"
_LABEL = re.compile(r"_label_([A-Z0-9]+(?:-[A-Z0-9]+)*)$")


def classes_of(name: str) -> tuple[str, ...]:
    """The classes that a video's name tells, leading one first; none for a normal video. Raises InputError
    for a name without them, or with one that is not known."""
    match = _LABEL.search(name)
    codes = [code for code in match.group(1).split("-") if code != "0"] if match else []
    if not codes or (NORMAL in codes and len(codes) > 1):
        raise InputError(f"{name}: its name tells no class (…_label_A, …_label_B1-0-0)")
    if unknown := [code for code in codes if code not in CLASSES and code != NORMAL]:
        raise InputError(f"{name}: class {unknown[0]} is none of {NORMAL}, {', '.join(CLASSES)}")
    return tuple(dict.fromkeys(CLASSES[code] for code in codes if code != NORMAL))


def read_annotations(path: Path) -> dict[str, list[tuple[int, int]]]:
    """Video -> (first, last) frames of its spans. Raises InputError that names the line."""
    found: dict[str, list[tuple[int, int]]] = {}
    for n, line in enumerate(text_of(path, lossy=True).splitlines(), 1):
        if not line.strip():
            continue
        # Names of films hold no blanks, but for the numbers nothing else is at the end.
        match = re.fullmatch(r"(.+?)((?:\s+\d+)+)\s*", line)
        words = match.group(2).split() if match else []
        numbers = [int(word) if len(word) < 10 else -1 for word in words]
        pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
        if match is None or len(numbers) % 2 or any(not 0 <= first <= last for first, last in pairs):
            raise InputError(f"{path}:{n}: expected a name and pairs of frames, found {line[:60]!r}")
        name = match.group(1).strip().removesuffix(".mp4")
        if name in found:
            raise InputError(f"{path}:{n}: {name} is there twice")
        found[name] = pairs
    if not found:
        raise InputError(f"{path}: no video in this file")
    return found


def _offset(name: str) -> float | None:
    """Seconds at which a segment of a film begins, which its name has as hours, minutes and seconds; None
    where it counts segments ("v=…__#1")."""
    if (match := re.search(r"__#(\d\d)-(\d\d)-(\d\d)_", name)) is None:
        return None
    hours, minutes, seconds = (int(part) for part in match.groups())
    return hours * 3600.0 + minutes * 60.0 + seconds


def make_sample(source: Path, split: str, spans_by_frames: list[tuple[int, int]] | None, out: Path) -> Sample:
    """One video; spans_by_frames None: not annotated. Raises InputError that names the file."""
    name = source.stem
    classes = classes_of(name)
    shown, clock = described(source, f"videos/{source.name}")
    shown = replace(shown, source=name.partition("__#")[0] if "__#" in name else None, offset=_offset(name))
    if classes and split == "test" and not spans_by_frames:
        raise InputError(f"{name}: violent by its name, but the annotations hold no span of it")
    if not classes and spans_by_frames:
        raise InputError(f"{name}: normal by its name, but the annotations hold spans of it")
    link(source, out / shown.path)
    spans: tuple[Span, ...] | None = None if classes and spans_by_frames is None else ()
    if spans_by_frames:
        spans = spans_of(frame_spans(spans_by_frames, len(clock), name), clock)
    return Sample(
        id=name,
        source="xd_violence",
        split=split,
        video=shown,
        label="anomalous" if classes else "normal",
        categories=classes,
        spans=spans,
        questions=asked(bool(classes), spans, classes),
    )


def read(
    root: str | os.PathLike,
    split: str,
    out: str | os.PathLike,
    annotations: str | os.PathLike | None = None,
) -> tuple[Sequence[Sample], list[Problem]]:
    """A split as a data set folder `out`: the samples, and the refused videos with their reasons. The test
    videos are those in and below ROOT, of copies the first; their list is `annotations`."""
    base = Path(root)
    if split not in ("train", "test"):
        raise InputError(f"split is {split!r}, expected train or test")
    if (split == "test") != (annotations is not None):
        raise InputError(
            "annotations: annotations.txt is needed for the test videos"
            if split == "test"
            else "annotations: training videos have none"
        )
    files = below(base)
    listed = read_annotations(Path(annotations)) if annotations is not None else None
    missing = sorted(set(listed or ()) - set(files))
    found, problems = build(
        out,
        files,
        lambda name, folder: [
            make_sample(
                only(files, name), split, listed.get(name, []) if listed is not None else None, folder
            )
        ],
        f"xd-violence {split}",
        {"root": folder_of(base), "annotations": file_of(annotations)},
    )
    return found, problems + [
        Problem(name, "in the annotations, but not among the videos") for name in missing
    ]
