"""Annotating a folder: videos in, a data set folder out; resumable, by one process or several."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from tvad.annotate.construct import MOST_RATE, Construction
from tvad.annotate.replies import Replies, Spent, progress
from tvad.annotate.review import decisions_in
from tvad.annotate.rounds import Rounds, annotated, constructed
from tvad.annotate.sources import RECORD, check_apart, check_names, file_names, fingerprint, source_samples
from tvad.annotate.spread import Spread, annotated_by
from tvad.annotate.teacher import DETECT, Ask, Reply, Teacher
from tvad.annotate.trajectories import NORMAL, Trajectories
from tvad.annotate.trajectories import annotate as trajectory
from tvad.annotate.trajectories import write as write_reasoned
from tvad.annotate.write import waits, write
from tvad.common.errors import InputError
from tvad.common.files import made, parse_json, whole_lines, write_whole
from tvad.common.formats import Format
from tvad.common.lock import locked
from tvad.common.text import whole
from tvad.data import load
from tvad.data.build import linked
from tvad.data.check import Problem
from tvad.data.digest import masks_hash, told
from tvad.data.folder import is_data_set
from tvad.data.sample import SAMPLES, Sample, id_fault

ROWS = "annotations.jsonl"
# Since 2 the teacher's name states its options, and what its stage cannot read is no answer. Folders of
# version 1 are reviewed, but not gone on with.
RECIPE = Format("annotation", 2, {1: lambda record: record})
TOGETHER = 16  # videos whose requests are asked together, by default
# Samples that were written, videos left out, what requests came to, counts of what was found.
Told = tuple[list[Sample], list[Problem], Spent, Counter[str]]


def taken_over(sample: Sample, out: Path, names: Mapping[str, str], files: dict[str, str | None]) -> Sample:
    """What is known of a video before it is annotated: video and mask, linked into `out` under the name of
    its id; no label, no words. files: gets the `fingerprint` of its video. Raises InputError for files that
    cannot be linked."""
    try:
        of = linked(replace(sample, id=names[sample.id]), out)
    except OSError as error:
        raise InputError(f"{error.filename or sample.video.path}: {error.strerror}") from error
    files[sample.id] = fingerprint(sample)
    return Sample(sample.id, of.source, of.split, of.video, mask=of.mask, root=of.root)


def run(
    source: str | os.PathLike,
    out: str | os.PathLike,
    teacher: Teacher | None,
    how: Construction,
    together: int = TOGETHER,
    stages: bool = False,
    spread: Spread | None = None,
) -> Told:
    """Annotate every video of `source` into the data set folder `out` by T-VAU's construction; what an
    earlier run finished is kept. spread: by Ray's workers, which open their teacher for themselves, in place
    of `teacher`.

    Raises InputError where `out` holds another run's annotation (other videos, teacher or settings), and
    where the teacher does not answer: the same command goes on from there.
    """
    how.check()
    check_apart(source, out)
    out = made(out)
    with locked(out):
        by = spread or teacher
        if by is None:
            raise ValueError("neither a teacher nor workers that open one")
        asked = {"teacher": by.name, "source": str(source), "stages": stages, **asdict(how)}
        _check_record(out, asked)
        todo, unread, names, of = _left(
            source, out, lambda s: Sample(s.id, s.source, s.split, s.video, mask=s.mask)
        )
        _keep_record(out, asked)
        replies = Replies(out, teacher) if teacher is not None and spread is None else None
        spent = Spent() if replies is None else replies.spent
        files: dict[str, str | None] = {}

        def take(sample: Sample) -> Sample:
            return taken_over(sample, out, names, files)

        def found(bar: Any) -> Iterator[dict[str, Any] | Problem]:
            yield from unread
            if spread is not None:
                bare, lost = _taken(todo, take)
                yield from lost
                yield from annotated_by(spread, bare, out, how, stages, together, spent)
            elif replies is not None:
                make = partial(constructed, how, stages)
                yield from _in_groups(todo, take, make, replies.ask, together, bar)

        rows, problems = _logged(out, todo, len(unread), found, of, files)
        samples = finish(out)
        return samples, [*problems, *waiting(out)], spent, _counted(rows)


def reason(
    source: str | os.PathLike,
    out: str | os.PathLike,
    teacher: Teacher,
    how: Trajectories,
    detector: Teacher | None = None,
    together: int = TOGETHER,
) -> Told:
    """Annotate the sub-clips of the data set `source` into `out` by VANGUARD's trajectories (`tvad data
    windows` cuts sub-clips); what is known of them stays. As `run` otherwise."""
    how.check()
    check_apart(source, out)
    out = made(out)
    with locked(out):
        known = load(source) if is_data_set(source) else ()
        classes = sorted({name for sample in known for name in sample.categories} - {NORMAL})
        asked: dict[str, Any] = {
            "teacher": teacher.name,
            "detector": detector and detector.name,
            "source": str(source),
        }
        asked |= {"classes": classes, **asdict(how)}
        _check_record(out, asked)
        todo, unread, names, of = _left(source, out, lambda sample: sample)
        _keep_record(out, asked)
        replies = Replies(out, teacher)
        boxes = None if detector is None else Replies(out, detector, "detector", replies.spent)

        def ask(asks: list[Ask], bar: Any) -> list[Reply]:
            """Of the teacher, or of the detector what is for it."""
            detects = [each.about.get("stage") == DETECT for each in asks]
            told = iter(replies.ask([a for a, d in zip(asks, detects, strict=True) if not d], bar))
            sought = [a for a, d in zip(asks, detects, strict=True) if d]
            seen = iter(boxes.ask(sought, bar) if boxes is not None else ())
            return [next(seen if d else told) for d in detects]

        files: dict[str, str | None] = {}

        def take(sample: Sample) -> Sample:
            if faults := sample.problems():
                raise InputError(faults[0])
            bare = taken_over(sample, out, names, files)
            return replace(sample, video=bare.video, mask=bare.mask, root=bare.root)

        def found(bar: Any) -> Iterator[dict[str, Any] | Problem]:
            yield from unread
            make = partial(trajectory, how, classes, boxes is not None)
            yield from _in_groups(todo, take, make, ask, together, bar)

        rows, problems = _logged(out, todo, len(unread), found, of, files)
        samples = write_reasoned(sorted(rows, key=lambda row: row["id"]), out, problems)
        return samples, problems, replies.spent, _counted(rows)


def _left(
    source: str | os.PathLike, out: Path, used: Callable[[Sample], Sample]
) -> tuple[list[Sample], list[Problem], dict[str, str], Callable[[str], str | None]]:
    """The videos of which `out` has no row, those that cannot be read, the names of their files, and what
    gives a digest of what is used of one, None of a folder of videos. used: that part of a sample. A row with
    requests that have no answer is made again, unless a person has decided about it; until then it stands.
    Raises InputError before anything is asked where names cannot be told apart or have changed, the source
    tells otherwise of a video that has a row, or has another video in its place."""
    rows, decided = rows_in(out), decisions_in(out)
    again = {row["id"] for row in rows if row.get("unanswered") and row["id"] not in decided}
    done = {row["id"]: row for row in rows if row["id"] not in again}
    listed = is_data_set(source)  # else what is done is not opened, and nothing is told of it
    found = list(source_samples(source, done))
    todo: list[Sample] = []
    for sample in found:
        if isinstance(sample, Problem):
            continue
        if sample.id not in done:
            todo.append(sample)
            continue
        row = done[sample.id]
        if listed and row.get("of") not in (None, _digest(sample, used)):
            raise InputError(
                f"{source}: tells otherwise of {sample.id!r:.80} than when it was annotated; choose another"
                " --out"
            )
        if (known := row.get("files")) is not None and fingerprint(sample) not in (None, known):
            raise InputError(
                f"{source}: the video of {sample.id!r:.80} is another than when it was annotated; choose"
                " another --out"
            )
    if not listed:
        check_names(todo, {row["id"] for row in rows})
    names = file_names([*done, *(sample.id for sample in todo)])
    by_id = {sample.id: sample for sample in todo} if listed else {}

    def of(name: str) -> str | None:
        return _digest(by_id[name], used) if name in by_id else None

    return todo, [problem for problem in found if isinstance(problem, Problem)], names, of


def _digest(sample: Sample, used: Callable[[Sample], Sample]) -> str:
    data = told(used(sample)) + masks_hash([sample]).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def _taken(samples: Sequence[Sample], take: Callable[[Sample], Sample]) -> tuple[list[Sample], list[Problem]]:
    """Samples as `take` gives them, a Problem for each that it cannot take."""
    found, lost = [], []
    for sample in samples:
        try:
            found.append(take(sample))
        except InputError as error:
            lost.append(Problem(sample.id, str(error)))
    return found, lost


def _in_groups(
    todo: Sequence[Sample],
    take: Callable[[Sample], Sample],
    make: Callable[[Sample], Rounds],
    ask: Callable[[list[Ask], Any], list[Reply]],
    together: int,
    bar: Any,
) -> Iterator[dict[str, Any] | Problem]:
    for first in range(0, len(todo), together):
        # Files are linked as their turn comes: of a large data set the first request would wait for all.
        bare, lost = _taken(todo[first : first + together], take)
        yield from lost
        yield from annotated(bare, make, ask, bar)


def _logged(
    out: Path,
    todo: Sequence[Sample],
    unread: int,
    found: Callable[[Any], Iterator[dict[str, Any] | Problem]],
    of: Callable[[str], str | None],
    files: Mapping[str, str | None],
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """All rows of `out`, those that are found among them, each logged as it comes with the digest `of` its
    video's source and the fingerprint of its `files`, and the videos without. Raises InputError where there
    is no row at all."""
    rows, problems = {row["id"]: row for row in rows_in(out)}, []
    again = len({*rows}.intersection(sample.id for sample in todo))
    done = len(rows) - again
    with (
        progress(done + len(todo) + unread, done) as bar,
        (out / ROWS).open("a", encoding="utf-8") as log,
    ):
        for row in found(bar):
            bar.update()
            if isinstance(row, Problem):
                problems.append(row)
                continue
            row |= {"of": of(row["id"]), "files": files[row["id"]]}
            log.write(json.dumps(row, allow_nan=False) + "\n")
            log.flush()
            rows[row["id"]] = row
    if again:  # what stood until it was made again
        write_whole(out / ROWS, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows.values()))
    if not rows:
        raise InputError(
            f"{out}: no video could be annotated" + (f"; the first: {problems[0]}" if problems else "")
        )
    return [*rows.values()], problems


def _counted(rows: Sequence[dict[str, Any]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row["counts"])
    return total


def finish(out: Path) -> list[Sample]:
    """Write the data set of all rows and decisions; in the order of ids, so that it is the same whatever the
    order in which videos were done."""
    seed, rate = check_reviewed(out)
    rows = sorted(rows_in(out), key=lambda row: row["id"])
    return write(rows, decisions_in(out), out, seed, rate)


def check_reviewed(out: Path) -> tuple[int, float]:
    """The seed and the rate of a folder of `tvad annotate run`. Raises InputError for any other folder."""
    record = _record(out)
    if "checks" not in record:
        raise InputError(
            f"{out}: made by `tvad annotate reason`, whose trajectories are kept or dropped, not reviewed"
        )
    seed = record.get("seed", 0)
    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"{out / RECORD}: seed is {seed!r:.80}, expected 0 or more")
    rate = record.get("rate", Construction.rate)
    if not isinstance(rate, (int, float)) or not 0 < rate <= MOST_RATE:
        raise InputError(f"{out / RECORD}: rate is {rate!r:.80}, expected above 0 and at most {MOST_RATE}")
    return seed, rate


def waiting(out: Path) -> list[Problem]:
    """The videos that are not in the data set until a person has decided."""
    decided = decisions_in(out)
    return [
        Problem(row["id"], f"whether something unusual happens waits for `tvad annotate review {out}`")
        for row in rows_in(out)
        if waits(row, decided.get(row["id"], {}))
    ]


def rows_in(out: Path) -> list[dict[str, Any]]:
    """The rows of a folder; the half of a line that a kill left is taken away. Of a video that was made
    again, since requests of it had no answer, the later row."""
    path = out / ROWS
    if not path.exists():
        return []
    rows: dict[str, dict[str, Any]] = {}
    for n, line in enumerate(whole_lines(path).splitlines(), 1):
        try:
            row = parse_json(line)
            name = row["id"]
            if fault := id_fault(name):
                raise ValueError(fault)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}:{n}: not a row of annotations ({error})") from error
        if name in rows and not rows[name].get("unanswered"):
            raise InputError(f"{path}:{n}: {whole(str(name))} appears twice")
        rows[name] = row
    return [*rows.values()]


def _record(out: Path) -> dict[str, Any]:
    path = out / RECORD
    if not path.exists():
        raise InputError(f"{path}: no such file; expected the folder of `tvad annotate run`")
    try:
        found = dict(parse_json(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    RECIPE.version_of(found, str(path))
    return found


def _check_record(out: Path, wanted: dict[str, Any]) -> None:
    """Raises InputError where a folder's run was asked for something else, or its data set is no run's."""
    if (out / RECORD).exists():
        stated = _record(out)
        if RECIPE.version_of(stated, str(out / RECORD)) < RECIPE.version:
            raise InputError(
                f"{out / RECORD}: of an earlier version, which neither stated the teacher's options nor asked"
                " again for what could not be read; its data set can be used and reviewed, but not gone on"
                " with: choose another --out"
            )
        for key, value in {**RECIPE.stamp(), **wanted}.items():
            if stated.get(key) != value:
                raise InputError(
                    f"{out / RECORD}: made with {key} {stated.get(key)!r}, now {value!r}; choose another"
                    " --out"
                )
    elif (out / SAMPLES).exists():  # its labels and words would be replaced
        raise InputError(f"{out}: holds a data set that is no annotation; choose another --out")


def _keep_record(out: Path, wanted: dict[str, Any]) -> None:
    """State what a run is asked for, once its source is known to be one: the next must be the same."""
    if not (out / RECORD).exists():
        stated = {**RECIPE.stamp(), **wanted}
        write_whole(out / RECORD, json.dumps(stated, indent=1, allow_nan=False) + "\n")
