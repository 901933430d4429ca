"""One sample, one schema: `Sample` and its JSON form (`samples.jsonl` beside `videos/` and `masks/`).

Missing is None, never -1. Spans are seconds, boxes of tracks inclusive pixels of the video's own resolution,
boxes of questions 0..1000 of width and height.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, Literal

from tvad.answer import NONE, TAGS, Answer, Box, Span, Spans, Timing, first_span, judged, render
from tvad.common.errors import InputError
from tvad.common.files import json_text, parse_json, parse_measures, write_whole
from tvad.common.formats import Format
from tvad.common.text import whole
from tvad.data import faults
from tvad.data.video import as_text, pictures_in

SAMPLES = "samples.jsonl"
# Where a data set states its version: `dataset.json`, for generated scenes the file with their recipe.
# A folder with neither was written before there were versions.
HEADER, RECIPE = "dataset.json", "scenes.json"
DATASET = Format("tvad-dataset", 2, {1: lambda row: _from_version_1(row)})
MOST_STEM = 200  # bytes of a file's name without suffix: file systems take 255, with what stands around it
_BREAKS = re.compile(r"[\0\n\r]")
DIALOGUE_TURN = "dialogue"  # kind of a question made from a turn of `Sample.dialogue`


@dataclass(frozen=True, slots=True)
class Video:
    """A video. `path`: a file, or a folder of pictures in natural order, relative to the data set's folder; a
    list of pictures in JSON, kept in `pictures`. fps: frames a second, the mean where they vary; frames,
    width, height: as it is shown. seconds: until the last frame goes, and times: at which each frame appears,
    from the first one's on, where these are not frame / fps. What is not known is None; pictures need fps or
    times. source, offset: of a window, the video that it was cut from and the seconds at which it begins
    there."""

    path: str
    fps: float | None = None
    frames: int | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    times: tuple[float, ...] | None = None
    pictures: tuple[str, ...] | None = None
    source: str | None = None
    offset: float | None = None

    @property
    def duration(self) -> float | None:
        """Seconds."""
        if self.seconds is not None:
            return self.seconds
        return self.frames / self.fps if self.frames and self.fps else None

    @property
    def timing(self) -> Timing:
        """By what frame numbers, percentages and "the end" in an answer are read."""
        if self.times is None:
            return Timing(self.duration, self.fps)
        return Timing(self.duration, None, self.times)

    def problems(self) -> list[str]:
        """What is wrong with it by itself."""
        found = faults.of_video(self.fps, self.frames, self.width, self.height, self.seconds)
        if not found and self.times is not None:
            count = len(self.pictures) if self.pictures is not None else self.frames
            found += faults.of_times(self.times, count, self.seconds)
        return found + faults.of_window(self.source, self.offset)


@dataclass(frozen=True, slots=True)
class Track:
    """An object's visible boxes: frame -> (x1, y1, x2, y2), inclusive pixels. `anomalous`: frames in which it
    misbehaves; `look`: its appearance in words."""

    id: int
    kind: str
    boxes: dict[int, tuple[float, float, float, float]]
    anomalous: tuple[int, ...] = ()
    look: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its reference. `kind` is a task of `tvad.answer.TAGS`; `topic` says what it asks
    about."""

    kind: str
    text: str
    answer: str
    options: tuple[str, ...] | None = None
    topic: str | None = None
    rationale: str | None = None
    spans: Spans | None = None
    boxes: tuple[Box, ...] = ()

    @property
    def span(self) -> Span | Literal["none"] | None:
        """The first of the spans."""
        return first_span(self.spans)

    def solution(self, labels: tuple[str, ...] | None = None) -> str:
        """The reference in the answer protocol, as rewards and metrics read it; a dialogue turn's is plain
        words. labels: a class for each span."""
        if self.kind == DIALOGUE_TURN:
            return self.answer
        answer = Answer(self.rationale, self.answer, self.spans, self.boxes, span_labels=labels)
        return render(answer, self.kind)

    def problems(self, duration: float | None = None) -> list[str]:
        """What is wrong with it, for a video of `duration` seconds (None: unknown)."""
        if self.kind not in TAGS:
            return [f"kind is {self.kind!r}, expected one of {', '.join(TAGS)}"]
        found = []
        for name, text in (("text", self.text), ("answer", self.answer)):
            if not isinstance(text, str) or not text.strip():
                found.append(f"{name} is {text!r}, expected words")
        if self.kind == "mcq":
            found += faults.of_options(self.options or (), self.answer)
        elif self.kind == "judgement" and not found and judged(self.answer) is None:
            found.append(f"answer {self.answer!r} says neither yes nor no")
        if isinstance(self.spans, str) and self.spans != NONE:
            return [*found, f"spans is {self.spans!r}, expected a list or {NONE!r}"]
        if isinstance(self.spans, tuple):
            found += faults.of_spans(self.spans, duration)
        found += faults.of_boxes([(box.xyxy, box.t) for box in self.boxes], duration)
        if not found and self.kind != DIALOGUE_TURN:
            try:
                found += faults.of_writing(self.solution(), self.kind, self.spans, self.boxes)
            except ValueError as error:
                found.append(str(error))
        return found

    def doubts(self) -> list[str]:
        """Why an answer to it, which can be scored, may not tell what was meant."""
        return faults.doubts_of_options(self.options or ()) if self.kind == "mcq" else []


def id_fault(name: Any) -> str | None:
    """What is wrong with an id; None for text that can be shown, and name a file (`file_stem`)."""
    if not isinstance(name, str) or not name.strip():
        return f"id is {name!r:.80}, expected text"
    if _BREAKS.search(name):
        return f"id {name!r:.80} holds a line break or NUL"
    return None


def file_stem(name: str) -> str:
    """An id as the name of a file without suffix: within the folder where it is written, never hidden. One
    that is too long for a file system, or no text of UTF-8, is told apart by a digest of it."""
    flat = whole(re.sub(r"[/\\\0]", "_", name))
    flat = f"_{flat[1:]}" if flat.startswith(".") else flat
    data = flat.encode()
    if len(data) <= MOST_STEM and flat.count("\ufffd") == name.count("\ufffd"):
        return flat
    return f"{data[: MOST_STEM - 9].decode(errors='ignore')}-{short_digest(name)}"


def short_digest(name: str) -> str:
    """Of an id, to tell names apart."""
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Sample:
    """One video with everything known about it; what is not known is None. `label` is "normal" or
    "anomalous"; `categories` its classes, the leading one first; `spans` seconds, `span_categories` a class
    each; `mask` a run-length file; `conditions` what else is said of it, by kind (light: night)."""

    id: str
    source: str
    split: str
    video: Video
    label: str | None = None
    categories: tuple[str, ...] = ()
    spans: tuple[Span, ...] | None = None
    span_categories: tuple[str, ...] | None = None
    tracks: tuple[Track, ...] | None = None
    mask: str | None = None
    questions: tuple[Question, ...] = ()
    description: str | None = None
    rationale: str | None = None
    key_object: str | None = None
    dialogue: tuple[tuple[str, str], ...] | None = None
    conditions: dict[str, str] | None = None
    root: str = field(default="", compare=False)

    @property
    def anomalous(self) -> bool | None:
        """None where it is not known."""
        return None if self.label is None else self.label == "anomalous"

    @property
    def category(self) -> str | None:
        """The leading one of the categories."""
        return self.categories[0] if self.categories else None

    def path(self, relative: str) -> Path:
        """A file of this sample inside the data set's folder, where a link may stand for it, as in a hub's
        cache (snapshots/ -> blobs/). Raises InputError for a path that leaves it."""
        root = Path(self.root).absolute()
        # By its words: what a link stands for was put there by who made the folder, not by who wrote the row.
        target = Path(os.path.normpath(root / relative))
        if not target.is_relative_to(os.path.normpath(root)):
            raise InputError(f"{self.id}: path {relative!r} leaves the data set's folder {root}")
        return target

    def clip(self) -> str:
        """What `tvad.data.video` reads: the video's path, or its pictures with their rate or times."""
        video = self.video
        if video.pictures is not None:
            source: str | list[str] = [str(self.path(p)) for p in video.pictures]
        elif (path := self.path(video.path)).is_dir():
            source = str(path)
            if video.fps is None and video.times is None:
                return source  # which states its times, or is refused
        else:
            return str(path)
        return as_text(source, video.fps if video.times is None else None, video.times)

    def solution(self, question: Question) -> str:
        """`Question.solution`, with the spans' classes where they are known: all that an answer may say."""
        labels = self.span_categories if question.spans == self.spans else None
        return question.solution(labels if question.kind == "temporal" else None)

    def files(self) -> list[Path]:
        """The video's file, or its pictures."""
        if self.video.pictures is not None:
            return [self.path(p) for p in self.video.pictures]
        path = self.path(self.video.path)
        return pictures_in(path) if path.is_dir() else [path]

    def problems(self) -> list[str]:
        """What is wrong with this sample by itself, without opening files."""
        video, found = self.video, self.video.problems()
        if found:
            return found  # the rest is measured in frames and seconds
        if fault := id_fault(self.id):
            found.append(fault)
        if self.label not in ("normal", "anomalous", None):
            found.append(f"label is {self.label!r}, expected 'normal' or 'anomalous'")
        for name in ("description", "rationale", "key_object"):
            if not isinstance(text := getattr(self, name), (str, NoneType)):
                found.append(f"{name} is {text!r}, expected text")
        conditions = self.conditions if self.conditions is not None else {}
        if not isinstance(conditions, dict) or not all(
            isinstance(text, str) and text.strip() for pair in conditions.items() for text in pair
        ):
            found.append(f"conditions is {conditions!r}, expected kinds with a word each")
        if self.span_categories is not None and len(self.span_categories) != len(self.spans or ()):
            found.append(f"{len(self.span_categories)} span_categories for {len(self.spans or ())} spans")
        found += faults.of_spans(self.spans or (), video.duration)
        if self.label == "normal" and self.spans:
            found.append("a normal sample has spans")
        if self.label == "anomalous" and self.spans == ():
            found.append("an anomalous sample has an empty list of spans; unknown is null")
        for track in self.tracks or ():
            size = video.frames, video.width, video.height
            if fault := faults.of_kind(track.kind) or faults.of_track(track.boxes, track.anomalous, *size):
                found.append(f"track {track.id} {fault}")
        for n, question in enumerate(self.questions):
            found += [f"question {n}: {fault}" for fault in question.problems(video.duration)]
        return found

    def doubts(self) -> list[str]:
        """What a sample without problems leaves in doubt: it is used, and `tvad data check` and the audit
        name it."""
        return [f"question {n}: {doubt}" for n, q in enumerate(self.questions) for doubt in q.doubts()]


def to_json(sample: Sample) -> dict[str, Any]:
    """The JSON form; fields that hold their default are left out."""

    def plain(value):
        if value is None or isinstance(value, (str, int, float)):
            return value
        if isinstance(value, (list, tuple)):
            return [plain(v) for v in value]
        if isinstance(value, dict):
            return {str(k): plain(v) for k, v in value.items()}
        pairs = ((name, getattr(value, name), default) for name, default in _defaults(type(value)))
        return {name: plain(v) for name, v, default in pairs if v != default}

    return plain(sample)


@cache
def _defaults(cls) -> tuple[tuple[str, Any], ...]:
    """Names and defaults of a dataclass's JSON form."""
    return tuple((f.name, f.default) for f in dataclasses.fields(cls) if f.name != "root")


@cache
def _keys(cls) -> tuple[frozenset[str], frozenset[str]]:
    """Keys of a dataclass's JSON form, and those that it must have."""
    fields = dataclasses.fields(cls)
    required = {
        f.name
        for f in fields
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    return frozenset(f.name for f in fields) - {"root"}, frozenset(required)


def _known(data: Any, cls, where: str) -> dict:
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected an object, found {type(data).__name__}")
    names, required = _keys(cls)
    if unknown := data.keys() - names:
        raise InputError(f"{where}: unknown key {sorted(unknown)[0]!r}; known: {', '.join(sorted(names))}")
    if missing := required - data.keys():
        raise InputError(f"{where}: missing key {sorted(missing)[0]!r}")
    return dict(data)


def _from_version_1(row: Any) -> Any:
    """Version 1 had one class a video and one span a question."""
    if not isinstance(row, dict):
        return row
    new = dict(row)
    if "category" in new:
        category = new.pop("category")
        new["categories"] = [] if category is None else [category]
    if isinstance(row.get("questions"), list):
        new["questions"] = [
            {
                ("spans" if k == "span" else k): [v] if k == "span" and isinstance(v, list) else v
                for k, v in q.items()
            }
            if isinstance(q, dict)
            else q
            for q in row["questions"]
        ]
    return new


def _video(row: dict) -> Video:
    if isinstance(row["path"], list):
        row["pictures"] = row["path"]
        row["path"] = os.path.commonpath([os.path.dirname(str(p)) or "." for p in row["pictures"]] or ["."])
    for key, kind in (("pictures", str), ("times", float)):
        if row.get(key) is not None:
            row[key] = tuple(kind(value) for value in row[key])
    return Video(**row)


def from_json(data: Any, root: str = "", where: str = "sample") -> Sample:
    """Build a Sample from its JSON form. Raises InputError that names `where` and the key."""
    row = _known(data, Sample, where)
    if fault := id_fault(row["id"]):
        raise InputError(f"{where}: {fault}")
    try:
        row["video"] = _video(_known(row["video"], Video, f"{where}.video"))
        if row.get("spans") is not None:
            row["spans"] = tuple((float(a), float(b)) for a, b in row["spans"])
        for key in ("categories", "span_categories"):
            if isinstance(row.get(key), str):
                raise InputError(f"{where}: {key} is {row[key]!r}, expected a list")
            if row.get(key) is not None:
                row[key] = tuple(str(name) for name in row[key])
        if row.get("tracks") is not None:
            tracks = []
            for n, entry in enumerate(row["tracks"]):
                track = _known(entry, Track, f"{where}.tracks[{n}]")
                track["boxes"] = {int(k): tuple(v) for k, v in track["boxes"].items()}
                track["anomalous"] = tuple(track.get("anomalous", ()))
                tracks.append(Track(**track))
            row["tracks"] = tuple(tracks)
        questions = []
        for n, entry in enumerate(row.get("questions", ())):
            question = _known(entry, Question, f"{where}.questions[{n}]")
            if question.get("options") is not None:
                question["options"] = tuple(question["options"])
            if isinstance(question.get("spans"), list):
                question["spans"] = tuple((float(a), float(b)) for a, b in question["spans"])
            boxes = (_known(b, Box, f"{where}.questions[{n}].boxes") for b in question.get("boxes", ()))
            question["boxes"] = tuple(Box(tuple(b["xyxy"]), b.get("t")) for b in boxes)
            questions.append(Question(**question))
        row["questions"] = tuple(questions)
        if row.get("dialogue") is not None:
            row["dialogue"] = tuple((str(q), str(a)) for q, a in row["dialogue"])
        return Sample(**row, root=root)
    except InputError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{where}: {error}") from error


def rows_file(path: str | os.PathLike) -> Path:
    """The samples.jsonl of a data set folder (or the file itself). Raises InputError where there is none."""
    file = Path(path)
    file = file / SAMPLES if file.is_dir() else file
    if not file.is_file():
        raise InputError(f"{file}: no such file; expected a data set folder with {SAMPLES}")
    return file


def rows_version(file: Path) -> int:
    """Version of the rows of a samples.jsonl, for `DATASET.migrate`. Raises InputError for one that this code
    does not read."""
    for name in (HEADER, RECIPE):
        header = file.parent / name
        if header.is_file():
            try:
                stated = parse_json(header.read_text(encoding="utf-8"))
            except ValueError as error:
                raise InputError(f"{header}: not JSON ({error})") from error
            if not isinstance(stated, dict):
                raise InputError(f"{header}: expected an object, found {type(stated).__name__}")
            return DATASET.version_of(stated, str(header))
    return 1


def write_header(folder: Path) -> None:
    """State the version of the rows that this code writes."""
    write_whole(folder / HEADER, json.dumps(DATASET.stamp(), allow_nan=False) + "\n")


def numbered(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a samples.jsonl by number, without blank ones."""
    with file.open("rb") as lines:
        yield from ((n, line) for n, line in enumerate(lines, 1) if line.strip())


def read_row(line: bytes, version: int, root: str, where: str) -> Sample:
    """A line of a samples.jsonl of this version. Raises InputError that names `where` it stands, and the
    key."""
    try:
        data = parse_measures(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 ({error.reason} at byte {error.start})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error})") from error
    return from_json(DATASET.migrate(data, version), root, where)


def to_line(row: dict[str, Any], ascii_only: bool = False) -> str:
    """A sample's JSON form as a line of samples.jsonl. Raises InputError that names it for a number that JSON
    has not."""
    return json_text(row, str(row.get("id")), ensure_ascii=ascii_only, separators=(",", ":")) + "\n"
