"""Building a data set folder from other people's: one video after the other, resumable, bad ones refused by
name."""

import errno
import functools
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from tvad.answer import NONE, Box
from tvad.common.errors import InputError
from tvad.common.files import made, parse_json
from tvad.common.lock import locked
from tvad.data import faults
from tvad.data.check import Problem
from tvad.data.folder import load, write_lines
from tvad.data.questions import ASKED
from tvad.data.recipe import MADE, Recipe, as_json
from tvad.data.recipe import check as refuse_another
from tvad.data.sample import DATASET, Question, Sample, Track, file_stem, to_json, to_line
from tvad.data.shards import taken
from tvad.data.video import Clock

PARTS = ("videos", "masks")
PARTIAL = "samples.partial.jsonl"  # the recipe, then a line a name that is done


def build(
    out: str | os.PathLike,
    names: Iterable[str],
    make: Callable[[str, Path], list[Sample]],
    what: str,
    options: Recipe,
    workers: int = 1,
    before_rows: Callable[[list[Problem]], None] = lambda _: None,
) -> tuple[Sequence[Sample], list[Problem]]:
    """Make the samples of every name with `make(name, folder)`, which writes below `folder` and raises
    InputError for a bad one; in so many processes, to which `make` is sent. options: all that decide the
    rows; `what` is made with them. before_rows: takes what was refused before there is a data set; where it
    raises, there is none, and what was made is kept.

    Names that an earlier, killed run finished are kept; the rows appear when all are done. Raises
    InputError where it is there already, where that run had other options, where another process is at
    it, and where there is no room left.
    """
    refuse_taken(Path(out))
    with writing(out):
        return build_here(Path(out), names, make, what, options, workers, before_rows)


@contextmanager
def writing(out: str | os.PathLike) -> Iterator[None]:
    """Hold the folder of a data set; a full disk is one line, behind which the same command goes on."""
    try:
        with locked(out):
            yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"{out}: {error.strerror}; the same command goes on") from error


def build_here(
    out: Path,
    names: Iterable[str],
    make: Callable[[str, Path], list[Sample]],
    what: str,
    options: Recipe,
    workers: int,
    before_rows: Callable[[list[Problem]], None],
) -> tuple[Sequence[Sample], list[Problem]]:
    """`build` in a folder that is held (`writing`)."""
    partial = out / PARTIAL
    refuse_taken(out)
    for part in PARTS:
        made(out / part)
    done = _standing(partial, {MADE: what, **options})
    problems, order = [], []
    names = list(dict.fromkeys(names))
    with partial.open("ab") as log, closing(_attempts(make, out, names, set(done), workers)) as attempts:
        for name in tqdm(names, unit="video", desc=what, disable=None):
            if name not in done:
                made_of = next(attempts)
                if isinstance(made_of, str):
                    problems.append(Problem(name, made_of))
                    continue
                # A name is logged when its files are written: what the log holds is whole, the rest is made
                # again.
                done[name] = log.tell()
                log.write(_logged(name, made_of))
                log.flush()
            order.append(done[name])
    if not any(_rows_at(partial, order)):
        partial.unlink()
        for part in PARTS:
            if not any((out / part).iterdir()):
                (out / part).rmdir()
        raise InputError(
            f"{out}: no video could be read" + (f"; the first: {problems[0]}" if problems else "")
        )
    before_rows(problems)
    write_lines((to_line(row, ascii_only=True) for row in _rows_at(partial, order)), out)
    partial.unlink()
    return load(out), problems


def refuse_taken(out: Path) -> None:
    """Raises InputError where a data set lies in a folder already."""
    if (final := taken(out)) is not None:
        raise InputError(f"{final}: exists; choose another --out or delete the folder")


def _attempt(make: Callable[[str, Path], list[Sample]], out: Path, name: str) -> list[dict] | str:
    """The rows of a name, or why there are none."""
    try:
        return [_checked(sample) for sample in make(name, out)]
    except InputError as error:
        return str(error)


def _attempts(
    make: Callable[[str, Path], list[Sample]], out: Path, names: list[str], done: set[str], workers: int
) -> Generator[list[dict] | str]:
    """`_attempt` of the names that are not done, in their order."""
    attempt, left = functools.partial(_attempt, make, out), [name for name in names if name not in done]
    if workers < 2 or len(left) < 2:
        yield from map(attempt, left)
        return
    with multiprocessing.get_context("spawn").Pool(min(workers, len(left))) as pool:
        yield from pool.imap(attempt, left)


def _standing(partial: Path, recipe: Recipe) -> dict[str, int]:
    """Names that a killed run has logged, and where: rows stay in the file, of a large data set they are
    gigabytes. The line that a kill cut goes, it is made again. The first line states the recipe; raises
    InputError where another one has made them."""
    done: dict[str, int] = {}
    stated, end = None, 0
    if partial.exists():
        with partial.open("rb+") as log:
            for line in iter(log.readline, b""):
                if not line.endswith(b"\n"):
                    log.truncate(end)
                    break
                row = parse_json(line)
                if end:
                    done[row["name"]] = end
                else:
                    stated = row.get("recipe")
                    if stated is None:
                        raise InputError(
                            f"{partial}: begun by an earlier version, which did not say by which options;"
                            " choose another --out or delete the folder"
                        )
                end += len(line)
    if done:
        refuse_another(partial, stated or {}, recipe)
    else:
        partial.write_text(json.dumps({"recipe": as_json(recipe)}, allow_nan=False) + "\n", encoding="utf-8")
    return done


def _rows_at(partial: Path, places: Iterable[int]) -> Iterator[dict]:
    """The rows that stand at these places of the log, of this version."""
    with partial.open("rb") as log:
        for place in places:
            log.seek(place)
            line = parse_json(log.readline())
            yield from (DATASET.migrate(row, line.get("version", 1)) for row in line["samples"])


def _checked(sample: Sample) -> dict:
    """A sample's JSON form. Raises InputError for one that would be a bad row."""
    if found := sample.problems():
        raise InputError(f"{sample.id}: {found[0]}")
    return to_json(sample)


def _logged(name: str, samples: list[dict]) -> bytes:
    row = {"name": name, "version": DATASET.version, "samples": samples}
    return json.dumps(row, allow_nan=False).encode() + b"\n"


def check_stems(names: Iterable[str]) -> None:
    """Raises InputError for two ids whose files would have one name: one would be written over the other."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(file_stem(name), name)) != name:
            raise InputError(
                f"ids {other!r} and {name!r} name one file, {file_stem(name)!r}: rename one of them"
            )


def link(source: Path, target: Path) -> None:
    """Put a file into the data set without a copy where the file system allows it. Raises InputError that
    names the file where it is not there, or cannot be read."""
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    if target.exists() and target.samefile(source):  # a rename onto the same file does nothing
        return
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), temporary)  # of a link what it leads to: it may be relative
    except OSError:  # another file system
        try:
            shutil.copyfile(source, temporary)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):  # no fault of this video's
                raise
            raise InputError(f"{source}: cannot be put into {target.parent} ({error.strerror})") from error
    temporary.replace(target)


def link_all(files: Sequence[tuple[Path, str]], folder: Path) -> None:
    """Put files, each under its name, into a folder that holds no others: those of a killed run, of other
    footage, would be frames behind these."""
    for file, name in files:
        link(file, made(folder) / name)
    if any(file.parent.samefile(folder) for file, _ in files):
        return
    names = {name for _, name in files}
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()


def linked(sample: Sample, out: Path) -> Sample:
    """A sample of another data set with its video and mask linked into `out`, named by its id."""
    stem = name = file_stem(sample.id)
    shown, mask = sample.video, None
    if shown.pictures is not None:
        files = [(path, f"{n:06d}{path.suffix}") for n, path in enumerate(sample.files())]
        shown = replace(shown, pictures=tuple(f"videos/{name}/{target}" for _, target in files))
    elif (path := sample.path(shown.path)).is_dir():  # with the times of its pictures
        files = [(file, file.name) for file in sorted(path.iterdir()) if file.is_file()]
    else:
        link(path, made(out / "videos") / (name + path.suffix))
        files, name = [], name + path.suffix
    if files:
        link_all(files, out / "videos" / name)
    if sample.mask:
        mask = f"masks/{stem}{Path(sample.mask).suffix}"
        link(sample.path(sample.mask), made(out / "masks") / Path(mask).name)
    return replace(sample, video=replace(shown, path=f"videos/{name}"), mask=mask, root=str(out))


def spans_of(frames: Iterable[int], clock: Clock | float) -> tuple[tuple[float, float], ...]:
    """Runs of frames -> spans in seconds, each from the first frame's start to the last one's end. clock: the
    video's, or frames a second."""
    chosen = set(frames)
    if not isinstance(clock, Clock):
        clock = Clock.constant(max(chosen, default=0) + 1, clock)
    return clock.spans(chosen)


def in_picture(tracks: Iterable[Track], width: int, height: int) -> Iterator[Track]:
    """Tracks cut to a picture of `width` x `height` pixels, of which an odd last row or column was left out
    (H.264 needs even sizes), without those of which nothing is left."""
    for track in tracks:
        boxes = {
            frame: (x1, y1, min(x2, width - 1.0), min(y2, height - 1.0))
            for frame, (x1, y1, x2, y2) in track.boxes.items()
            if x1 <= width - 1 and y1 <= height - 1
        }
        if boxes:
            yield replace(track, boxes=boxes, anomalous=tuple(f for f in track.anomalous if f in boxes))


def class_questions(classes: tuple[str, ...]) -> tuple[Question, ...]:
    """The question for the leading class, where there is one."""
    return tuple(
        Question("classification", ASKED["classification"], name, None, "class") for name in classes[:1]
    )


def leading(shown: Iterable[tuple[str, float]]) -> tuple[str, ...]:
    """Classes of (class, how long it is shown) pairs, the one that is shown longest first."""
    total: dict[str, float] = {}
    for name, length in shown:
        total[name] = total.get(name, 0.0) + length
    return tuple(sorted(total, key=lambda name: (-total[name], name)))


def classes_of(tracks: Iterable[Track]) -> tuple[str, ...]:
    """Classes of what is anomalous, the one of most frames first."""
    return leading((track.kind, len(track.anomalous)) for track in tracks if track.anomalous)


def grounding_questions(
    spans: tuple[tuple[float, float], ...],
    tracks: tuple[Track, ...],
    clock: Clock | float,
    width: int,
    height: int,
) -> tuple[Question, ...]:
    """The questions that spans and tracks alone can answer: judgement; when, with all the spans; where, at
    the middle of the longest track, if nothing else is anomalous in that frame. clock: the video's, or frames
    a second. Raises InputError for a box that is none."""
    whether, what = ("Yes", "Anomaly") if spans else ("No", "Normal")
    questions = [
        Question("judgement", ASKED["judgement"], whether, None, "judgement"),
        Question("temporal", ASKED["temporal"], what, None, "when", None, spans or NONE),
    ]
    wrong = [track for track in tracks if track.anomalous]
    if wrong:
        longest = max(wrong, key=lambda t: (len(t.anomalous), -t.id))
        frame = sorted(longest.anomalous)[len(longest.anomalous) // 2]
        if sum(frame in t.anomalous for t in wrong) == 1:
            if fault := faults.of_box(longest.boxes[frame]):
                raise InputError(f"track {longest.id}, frame {frame}: {fault}")
            x1, y1, x2, y2 = longest.boxes[frame]
            edges = (x1 / width, y1 / height, (x2 + 1) / width, (y2 + 1) / height)
            a, b, c, d = (float(min(1000, max(0, round(1000 * e)))) for e in edges)
            if a < c and b < d:
                moment = float(clock.times[frame]) if isinstance(clock, Clock) else frame / clock
                text = ASKED["spatial"].format(seconds=moment)
                questions.append(
                    Question("spatial", text, longest.kind, None, "where", None, None, (Box((a, b, c, d)),))
                )
    return tuple(questions)
