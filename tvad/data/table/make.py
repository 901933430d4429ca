"""The videos of a table become a data set: opened, linked, their times brought to seconds."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tvad.answer import NONE, Box
from tvad.common.errors import InputError
from tvad.common.files import made, write_whole
from tvad.data.build import build, link
from tvad.data.check import Problem, described
from tvad.data.faults import cut
from tvad.data.questions import ASKED
from tvad.data.recipe import folder_of
from tvad.data.sample import SAMPLES, Question, Sample, Video
from tvad.data.table.facts import Box as WrittenBox
from tvad.data.table.facts import Clip
from tvad.data.table.times import seconds
from tvad.data.table.understand import Understood
from tvad.data.video.pictures import pictures_in

RECORD = "table.json"  # of which table a folder is made: a build that goes on must not mix two
OUTSIDE = 0.05  # seconds by which a box may be beside a span: times are rounded
_UNSAFE = str.maketrans({sign: "_" for sign in '/\\#~?!@*"<>|%'})


def ids_of(files: Iterable[str]) -> dict[str, str]:
    """file -> id: its name without the suffix, or as much of its path and suffix as makes it the only one;
    without the signs that part a question's number from its video."""
    found: dict[str, str] = {}
    left = list(files)
    for way in (lambda p: p.stem, lambda p: p.with_suffix("").as_posix(), lambda p: p.as_posix()):
        names = {file: way(Path(file)).translate(_UNSAFE).lstrip(".") or "clip" for file in left}
        counts = Counter(name.casefold() for name in (*names.values(), *found.values()))
        found |= {file: name for file, name in names.items() if counts[name.casefold()] == 1}
        left = [file for file in left if file not in found]
    return found | {file: f"{n}_{file.translate(_UNSAFE)}" for n, file in enumerate(left, 1)}


def build_table(
    understood: Understood, out: str | os.PathLike
) -> tuple[Sequence[Sample], list[Problem], list[str]]:
    """The data set `out` of an understood table: its samples, a problem a row of the videos that cannot be
    read, and which ends were cut to the video's. A killed build goes on. Raises InputError where `out` holds
    one already, or the beginning of another table's, and where no video can be read."""
    out = Path(out)
    record = out / RECORD
    text = json.dumps(understood.recipe, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    opened = _in_seconds(understood)
    fresh = not (out / SAMPLES).exists()  # else the builder refuses it
    if fresh:
        if record.exists() and record.read_text(encoding="utf-8") != text:
            raise InputError(
                f"{record}: here a data set of another table, or of this one as it was, was begun; choose"
                " another --out or delete the folder"
            )
        write_whole(record, text)
    ids = ids_of(understood.clips)
    source = f"table/{understood.rows.path.stem}"

    def make(file: str, folder: Path) -> list[Sample]:
        video = understood.files.root / file
        name = f"videos/{ids[file]}{video.suffix}"
        found = opened.pop(file, None) or described(video, name)[0]
        found = replace(found, path=name)
        sample = sample_of(understood.clips[file], ids[file], source, understood.recipe["split"], found)
        if problems := sample.problems():
            raise InputError("; ".join(problems) + _hint(problems, understood))
        for picture, target in _sources(video, folder / name, understood.files.root):
            link(picture, target)
        return [sample]

    try:
        options = understood.recipe | {"videos": folder_of(understood.files.root)}
        samples, problems = build(out, understood.clips, make, "table", options)
    except InputError:
        if fresh:  # nothing was made of it: the mended table may come here
            record.unlink()
        raise
    # Of what a killed build has made, too.
    files = {name: file for file, name in ids.items()}
    cuts = [
        f"{files[sample.id]!r}: {cut}"
        for sample in samples
        for cut in cut_of(understood.clips[files[sample.id]], sample.video)
    ]
    rows = {file: clip.rows for file, clip in understood.clips.items()}
    refused = [Problem(row, f"{p.where!r}: {p.reason}") for p in problems for row in rows[p.where]]
    return samples, refused, cuts


def _sources(video: Path, target: Path, root: Path) -> Iterator[tuple[Path, Path]]:
    """What is linked where: the file; of a folder its pictures, whose times the sample states. Raises
    InputError for a picture that is a link out of `root`."""
    if not video.is_dir():
        yield video.resolve(), target
        return
    for picture in pictures_in(video):
        if not picture.resolve().is_relative_to(root.resolve()):
            raise InputError(f"{picture.name!r:.60} is a link that leaves the folder")
        yield picture.resolve(), made(target) / picture.name


def _in_seconds(understood: Understood) -> dict[str, Video]:
    """The videos with spans in whole numbers without a unit, opened. Raises InputError where most of them end
    before such a span does: then the numbers are no seconds, those of the other videos neither."""
    columns = [c for name in ("start", "spans") for c in understood.fields.get(name, ())]
    spans = {file: clip.spans for file, clip in understood.clips.items() if isinstance(clip.spans, list)}
    times = [time.value for some in spans.values() for span, _ in some for time in span]
    if any(column.unit for column in columns) or any(value % 1 for value in times):
        return {}
    opened: dict[str, Video] = {}
    outside = []
    for file, some in spans.items():
        try:
            opened[file] = described(understood.files.root / file, file)[0]
        except InputError:  # said when the video is built
            continue
        duration = opened[file].duration or 0.0
        if any(cut(a.value, b.value, duration) > duration for (a, b), _ in some if b.unit == "s"):
            outside.append(file)
    if len(outside) > 1 and len(outside) * 2 > len(opened):
        raise InputError(
            f"{understood.rows.path}: of {len(opened)} videos with spans {len(outside)} end before theirs do,"
            f" the first {outside[0]!r}: these are no seconds; say what they are, in the column's name or by"
            f" --columns '{{start: {{column: {columns[0].name}, unit: frame}}, …}}'"
        )
    return opened


def _hint(problems: list[str], understood: Understood) -> str:
    """Of spans that end after the video, where nothing says what unit they have."""
    columns = [c for name in ("start", "spans") for c in understood.fields.get(name, ())]
    if not any("ends after" in problem for problem in problems) or any(c.unit for c in columns):
        return ""
    return " (read as seconds; another unit stands in the column's name: start_ms, start frame)"


def sample_of(clip: Clip, name: str, source: str, split: str, video: Video) -> Sample:
    """One video's sample, with the questions that its truth answers beside those of the table. Raises
    InputError for a span or a box outside of it."""
    duration = video.duration or 0.0
    spans: tuple[tuple[float, float], ...] | None = () if clip.spans == NONE else None
    kinds: list[str] = []
    if isinstance(clip.spans, list):
        found = _brought(clip, video)
        spans = tuple((start, cut(start, end, duration)) for start, end, _ in found)
        kinds = [kind for _, _, kind in found]
    rationale = clip.words.get("rationale")
    questions = list(clip.questions)

    def ask(kind: str, answer: str, topic: str, **more) -> None:
        text = more.pop("text", ASKED[kind])
        questions.append(Question(kind, text, answer, None, topic, rationale, **more))

    if spans is not None:
        ask("temporal", "Anomaly" if spans else "Normal", "when", spans=spans or NONE)
    if clip.categories:
        ask("classification", clip.categories[0], "class")
    if clip.label is not None:
        ask("judgement", "Yes" if clip.label else "No", "judgement")
    for text, boxes in _boxed(clip, video, spans).items():
        for what, some in boxes.items():
            own = f"{text} Find: {what}." if len(boxes) > 1 else text
            ask("spatial", what, "where", text=own, boxes=tuple(some))
    label = None if clip.label is None else "anomalous" if clip.label else "normal"
    return Sample(
        id=name,
        source=source,
        split=clip.words.get("split", split),
        video=video,
        label=label,
        categories=clip.categories,
        spans=spans,
        span_categories=tuple(kinds) if kinds and all(kinds) else None,
        questions=tuple(questions),
        description=clip.words.get("description"),
        rationale=rationale,
        key_object=clip.words.get("key_object"),
        dialogue=tuple(clip.dialogue) or None,
    )


def _boxed(
    clip: Clip, video: Video, spans: tuple[tuple[float, float], ...] | None
) -> dict[str, dict[str, list[Box]]]:
    """question -> object -> its boxes at that moment. Raises InputError for a moment outside of the video or
    of its spans, and for boxes of one moment some of which name no object."""
    duration = video.duration or 0.0
    found: dict[str, dict[str, list[Box]]] = {}
    for box in clip.boxes:
        at = seconds(box.time, video.timing)
        if at > duration:
            raise InputError(f"a box at {at:.2f} s, after the video's {duration:.2f} s")
        if spans and not any(start - OUTSIDE <= at <= end + OUTSIDE for start, end in spans):
            raise InputError(f"a box at {at:.2f} s, outside of the video's spans; expected one within them")
        alone = clip.words.get("key_object") or (clip.categories[0] if clip.categories else "")
        asked = found.setdefault(ASKED["spatial"].format(seconds=at), {})
        asked.setdefault(box.what or alone, []).append(permille(box, video))
    for text, boxes in found.items():
        if "" in boxes and len(boxes) > 1:
            raise InputError(f"{text!r}: of several boxes one names no object; expected a key object of each")
    return {text: {what or "object": some for what, some in boxes.items()} for text, boxes in found.items()}


def _brought(clip: Clip, video: Video) -> list[tuple[float, float, str]]:
    """(start, end, class or "") of a clip's spans in seconds, in order, before any end is cut."""
    timing = video.timing
    return sorted(
        (seconds(a, timing), seconds(b, timing), kind or "")
        for (a, b), kind in (clip.spans if isinstance(clip.spans, list) else ())
    )


def cut_of(clip: Clip, video: Video) -> list[str]:
    """Ends that are cut, in words; a hundredth of a second is not worth one."""
    duration = video.duration or 0.0
    ends = [(end, cut(start, end, duration)) for start, end, _ in _brought(clip, video)]
    return [f"end {end:g} s to {new:g} s" for end, new in ends if end - new > 0.01]


def permille(box: WrittenBox, video: Video) -> Box:
    """A box in 0..1000 of the frame. Raises InputError for one outside of it."""
    width, height = video.width or 1, video.height or 1
    across, down = {"px": (width, height), "1": (1, 1), "1000": (1000, 1000)}[str(box.column.scale)]
    a, b, c, d = box.numbers
    if box.column.order == "xywh":
        c, d = a + c, b + d
    elif box.column.order == "cxcywh":
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    edges = tuple(round(1000 * v / side, 3) for v, side in ((a, across), (b, down), (c, across), (d, down)))
    if not (0 <= edges[0] < edges[2] <= 1000 and 0 <= edges[1] < edges[3] <= 1000):
        raise InputError(
            f"{box.column.name!r} is {list(box.numbers)}; expected a box ({box.column.order}) inside"
            f" {across:g} x {down:g}"
        )
    return Box((edges[0], edges[1], edges[2], edges[3]))
