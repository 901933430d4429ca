"""The commands `tvad data …`: each takes what was typed, calls what does the work, prints. Those that read
other people's data sets are in `tvad.data.readers.commands`."""

import sys
from pathlib import Path
from typing import Annotated

from tvad.common import cli, config
from tvad.common.errors import InputError
from tvad.data.composite.config import CompositeConfig
from tvad.data.readers import commands as readers
from tvad.data.readers.commands import done, refuse
from tvad.data.scenes.dataset import ScenesConfig, generate


def scenes(out: Annotated[str, cli.FOLDER], config: ScenesConfig, workers: int = 1) -> int:
    """Generate surveillance scenes with masks, tracks and questions.

    Args:
        out: Folder of the data set.
        workers: Processes that draw.

    Example:
        tvad data scenes --out data/scenes/test --split test --clips 300
    """
    print(f"{len(generate(config, out, workers))} clips in {out}")
    return 0


def table(
    table: str,
    /,
    videos: str,
    out: Annotated[str | None, cli.FOLDER] = None,
    columns: str | None = None,
    split: str = "test",
    encoding: str | None = None,
    dry: bool = False,
) -> int:
    """Read a table of your own: CSV, TSV, JSON Lines or Parquet. Says what it understood, then builds the
    data set; exit status 1 where rows were refused.

    Args:
        table: The table, a row a question or a video.
        videos: Folder of the videos; the table names files in it or below it.
        out: Folder of the data set; only a dry look needs none.
        columns: Which column is which field, where its name does not say: {question: Frage}.
        split: What the rows are called, where no column says it.
        encoding: Of a CSV that is neither UTF-8 nor UTF-16, such as cp1252.
        dry: Only say what was understood, and open no video.

    Example:
        tvad data table my.csv --videos clips --out data/own
        tvad data table my.csv --videos clips --out data/own --columns '{question: Frage, answer: Antwort}'
    """
    from tvad.data.table import build_table, kinds_of, lines, understand

    if out is None and not dry:
        raise InputError("missing: out; it is not needed with --dry alone")
    chosen = config.mapping_of(columns, "--columns") if columns is not None else None
    understood = understand(table, videos, chosen, split, encoding, out)
    print("\n".join(lines(understood)), flush=True)
    refuse(understood.problems)
    if not understood.clips:
        raise InputError(f"{table}: no row can be used")
    clips = understood.clips.values()
    if not any(kinds_of(clip).total() or "description" in clip.words for clip in clips):
        raise InputError(f"{table}: nothing can be asked: no row has a question, a label, a class or a span")
    if dry or out is None:
        return 1 if understood.problems else 0
    samples, problems, cuts = build_table(understood, out)
    refuse(problems)
    for cut in cuts:
        print(f"cut {cut}", file=sys.stderr)
    refused = len(understood.problems) + len(problems)
    print(f"{len(samples)} clips in {out}; {refused} rows refused")
    return 1 if refused else 0


def folds(
    sources: list[str],
    /,
    out: Annotated[str, cli.FOLDER],
    folds: int = 4,
    seed: int = 0,
    video: str | None = None,
) -> int:
    """Parts for cross-validation that leave whole videos out: fold-N/train and fold-N/test, and all clips in
    all, as which `bench pool` joins the runs of the folds.

    Args:
        sources: Data set folders.
        out: Folder that gets the folds.
        folds: How many; each video is tested in one of them.
        seed: Of which videos go together.
        video: Regular expression: what it matches of a sample's id (its first group, where it has one) names
            the video, where samples are windows that do not state theirs.

    Example:
        tvad data folds data/ucsd/windows/test data/ucsd/windows/train --folds 4 --out data/ucsd/folds
    """
    from tvad.data.folds import folds as part

    for n, counts in enumerate(part(sources, out, folds, seed, video)):
        print(f"{out}/fold-{n}: {counts['train']} clips to train on, {counts['test']} to test")
    return 0


def reclip(
    sources: list[str], /, out: Annotated[str, cli.FOLDER], seed: int = 0, video: str | None = None
) -> int:
    """T-VAU's re-partition: clips of 8 to 40 frames at 1 frame a second, parted 80 : 20, all clips of a video
    in one part.

    Args:
        sources: Data set folders.
        out: Folder that gets train and test.
        seed: Of the partition.
        video: Regular expression: what it matches of a sample's id (its first group, where it has one) names
            the video, where samples are windows of longer ones; by default each file is a video.

    Example:
        tvad data reclip data/shanghaitech/test data/shanghaitech/train --out data/tvau
        tvad data reclip data/windows --out data/tvau --video '^[0-9]+_[0-9]+'
    """
    from tvad.data.reclip import reclip as part

    counts, problems = part(sources, out, seed, video)
    return done(sum(counts.values()), problems, ", ".join(f"{out}/{p} ({n})" for p, n in counts.items()))


def windows(
    source: str, /, out: Annotated[str, cli.FOLDER], seconds: float = 16.0, stride: float = 8.0
) -> int:
    """Cut long videos into overlapping windows at their own frame rate; masks, tracks and spans are carried
    over, and each window states its video and where it begins there.

    Args:
        source: Data set folder.
        out: Folder of the data set of windows.
        seconds: That a window lasts; a shorter video is one window.
        stride: Seconds from one window's beginning to the next one's, at least 0.01 and a hundredth of a
            window; the last window ends with the video.

    Example:
        tvad data windows data/ucf/test --seconds 16 --stride 8 --out data/ucf/windows
    """
    from tvad.data.windows import cut

    samples, problems = cut(source, out, seconds, stride)
    return done(len(samples), problems, out)


def shards(folder: str, /) -> int:
    """Pack the rows of a large data set into shards, which are read where they are asked for instead of being
    held; they take the place of samples.jsonl. What was killed goes on.

    Args:
        folder: Data set folder.

    Example:
        tvad data shards data/windows
    """
    from tvad.data.shards import pack

    rows = pack(folder)
    print(f"{len(rows)} clips in {len(rows.store.files)} shards in {folder}")
    return 0


def stats(folder: str, /, out: Annotated[str | None, cli.FOLDER] = None, no_files: bool = False) -> int:
    """Count what a data set holds: classes, durations, lengths of spans, mask areas, questions and letters.
    Exit status 1 where there are bad rows, which `tvad data check` lists.

    Args:
        folder: Data set folder.
        out: Folder that gets stats.json and a page, stats.html.
        no_files: Do not open the masks.

    Example:
        tvad data stats data/scenes/test --out runs/stats
    """
    from tvad.data import load
    from tvad.data.stats import lines, stats_of, write

    found = stats_of(load(folder), not no_files)
    print("\n".join(lines(found)))
    if out is not None:
        write(folder, found, out)
        print(f"{out}/stats.json, {out}/stats.html")
    return 1 if found["bad_rows"] else 0


def view(folder: str, /, out: Annotated[str, cli.FILE], limit: int = 48, seed: int = 0) -> int:
    """Write a page to look through samples: four frames of each with boxes and masks, and what is said of it.

    Args:
        folder: Data set folder.
        out: The page, an HTML file that stands alone.
        limit: Samples shown at most, drawn by seed.
        seed: Of the drawing.

    Example:
        tvad data view data/scenes/test --limit 24 --out runs/view.html
    """
    from tvad.common.files import write_whole
    from tvad.data import load
    from tvad.data.view import page

    write_whole(out, page(folder, load(folder), limit, seed))
    print(out)
    return 0


def composite(
    footage: str,
    /,
    out: Annotated[str, cli.FOLDER],
    config: CompositeConfig,
    workers: int = 1,
    video: str | None = None,
) -> int:
    """Put anomalies into real normal footage of one camera: bicycles, carts, skateboarders, runners, in its
    perspective, light and grain, with exact masks and tracks, beside each such clip a normal one of the same
    making. Says at which size and rate the footage is to be looked at (looking.json). Videos that cannot be
    read are left out and named; exit status 1 where there is one.

    Args:
        footage: Data set folder of normal videos, or a folder of video files in which nothing happens.
        out: Folder of two data sets, train and val, of different videos.
        workers: Processes that make them, a video each.
        video: Regular expression: what it matches of a sample's id (its first group, where it has one) names
            the video, where samples are windows that do not state theirs.

    Example:
        tvad data composite data/ucsd/train --clips 2400 --out data/ucsd/composites
    """
    from tvad.data.composite.dataset import composites

    problems: list = []
    made = composites(footage, out, config, workers, problems, video)
    print(", ".join(f"{len(samples)} clips in {Path(out, split)}" for split, samples in made.items()))
    return 1 if problems else 0


def check(folder: str, /, no_files: bool = False, gold: bool = False) -> int:
    """Open everything that a data set names and list every bad row, and those whose answers may not tell what
    was meant; exit status 1 where there is one.

    Args:
        folder: Data set folder.
        no_files: Do not open videos and masks.
        gold: Instead, hold every reference against reading, metrics and rewards: it must be read back without
            a defect and earn the most of each, and less once it is corrupted.

    Example:
        tvad data check data/scenes/test
        tvad data check --gold data/scenes/test
    """
    if gold:
        return _check_gold(folder)
    from tvad.data.check import check as problems_of

    notes: list = []
    problems = problems_of(folder, not no_files, notes)
    for note in notes:
        print(f"note: {note}")
    for problem in problems:
        print(problem)
    looked = " by what samples.jsonl says; no video and no mask was opened" if no_files else ""
    bad, doubtful = (len({p.where for p in problems if p.doubt is doubt}) for doubt in (False, True))
    said = f"{bad} bad rows, {doubtful} in doubt (which are used)" if doubtful else f"{bad or 'no'} bad rows"
    print(said + looked)
    return 1 if problems else 0


def _check_gold(folder: str) -> int:
    from tvad.data import gold, load_checked

    samples = load_checked(folder)
    scorers = gold.scorers(samples)
    count, problems = gold.check(samples, scorers)
    for problem in problems:
        print(problem)
    by = (
        f"read, and scored by {', '.join(scorers)}"
        if scorers
        else "read alone: nothing that scores is installed"
    )
    print(f"{count} references {by}; {len(problems)} of their promises broken")
    return 1 if problems else 0


COMMANDS: cli.Commands = {
    "scenes": scenes,
    "table": table,
    **readers.COMMANDS,
    "folds": folds,
    "reclip": reclip,
    "windows": windows,
    "shards": shards,
    "stats": stats,
    "view": view,
    "composite": composite,
    "check": check,
}
