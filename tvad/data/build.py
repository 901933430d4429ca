"""Building a data set folder from other people's: one video after the other, resumable, bad ones refused by
name."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from tqdm import tqdm

from tvad.answer import NONE, Box
from tvad.common.errors import InputError
from tvad.common.files import made, parse_json, write_whole
from tvad.data.check import Problem
from tvad.data.questions import ASKED
from tvad.data.sample import (
    DATASET,
    SAMPLES,
    Question,
    Sample,
    Track,
    from_json,
    to_json,
    to_line,
    write_header,
)
from tvad.data.video import Clock

PARTS = ("videos", "masks")


def build(
    out: str | os.PathLike, names: Iterable[str], make: Callable[[str, Path], list[Sample]], what: str
) -> tuple[list[Sample], list[Problem]]:
    """Make the samples of every name with `make(name, folder)`, which writes below `folder` and raises
    InputError for a bad one.

    Names that an earlier, killed run finished are kept; `samples.jsonl` appears when all are done. Raises
    InputError where it is there already.
    """
    out = Path(out)
    final, partial = out / SAMPLES, out / "samples.partial.jsonl"
    if final.exists():
        raise InputError(f"{final}: exists; choose another --out or delete the folder")
    for part in PARTS:
        made(out / part)
    done: dict[str, list[dict]] = {}
    if partial.exists():
        for line in partial.read_text(encoding="utf-8").splitlines(True):
            if line.endswith("\n"):  # the line that a kill cut is made again
                row = parse_json(line)
                done[row["name"]] = [DATASET.migrate(s, row.get("version", 1)) for s in row["samples"]]
        partial.write_text("".join(_logged(n, s) for n, s in done.items()), encoding="utf-8")
    problems, rows = [], []
    with partial.open("a", encoding="utf-8") as log:
        for name in tqdm(list(names), unit="video", desc=what, disable=None):
            if name not in done:
                # A name is logged when its files are written: what the log holds is whole, the rest is made
                # again.
                try:
                    done[name] = [_checked(sample) for sample in make(name, out)]
                except InputError as error:
                    problems.append(Problem(name, str(error)))
                    continue
                log.write(_logged(name, done[name]))
                log.flush()
            rows += done[name]
    if not rows:
        partial.unlink()
        for part in PARTS:
            if not any((out / part).iterdir()):
                (out / part).rmdir()
        raise InputError(
            f"{out}: no video could be read" + (f"; the first: {problems[0]}" if problems else "")
        )
    write_header(out)
    write_whole(final, "".join(to_line(row, ascii_only=True) for row in rows))
    partial.unlink()
    return [from_json(row, str(out), row["id"]) for row in rows], problems


def _checked(sample: Sample) -> dict:
    """A sample's JSON form. Raises InputError for one that would be a bad row."""
    if found := sample.problems():
        raise InputError(f"{sample.id}: {found[0]}")
    return to_json(sample)


def _logged(name: str, samples: list[dict]) -> str:
    return json.dumps({"name": name, "version": DATASET.version, "samples": samples}, allow_nan=False) + "\n"


def link(source: Path, target: Path) -> None:
    """Put a file into the data set without a copy where the file system allows it."""
    if target.exists() and target.samefile(source):  # a rename onto the same file does nothing
        return
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # another file system
        import shutil

        shutil.copyfile(source, temporary)
    temporary.replace(target)


def spans_of(frames: Iterable[int], clock: Clock | float) -> tuple[tuple[float, float], ...]:
    """Runs of frames -> spans in seconds, each from the first frame's start to the last one's end. clock: the
    video's, or frames a second."""
    chosen = set(frames)
    if not isinstance(clock, Clock):
        clock = Clock.constant(max(chosen, default=0) + 1, clock)
    return clock.spans(chosen)


def grounding_questions(
    spans: tuple[tuple[float, float], ...],
    tracks: tuple[Track, ...],
    clock: Clock | float,
    width: int,
    height: int,
) -> tuple[Question, ...]:
    """The questions that spans and tracks alone can answer: judgement; when, with all the spans; where, at
    the middle of the longest track, if nothing else is anomalous in that frame. clock: the video's, or frames
    a second."""
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
