"""The commands `tvad data …`: each takes what was typed, calls what does the work, prints. A new reader gets
its command here, and its line in `COMMANDS`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from tqdm import tqdm

from tvad.common import cli, config
from tvad.common.errors import InputError
from tvad.common.files import made
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
    _refuse(understood.problems)
    if not understood.clips:
        raise InputError(f"{table}: no row can be used")
    clips = understood.clips.values()
    if not any(kinds_of(clip).total() or "description" in clip.words for clip in clips):
        raise InputError(f"{table}: nothing can be asked: no row has a question, a label, a class or a span")
    if dry or out is None:
        return 1 if understood.problems else 0
    samples, problems, cuts = build_table(understood, out)
    _refuse(problems)
    for cut in cuts:
        print(f"cut {cut}", file=sys.stderr)
    refused = len(understood.problems) + len(problems)
    print(f"{len(samples)} clips in {out}; {refused} rows refused")
    return 1 if refused else 0


def vau_bench(
    csv: str, /, out: Annotated[str, cli.FOLDER], videos: str | None = None, split: str = "test"
) -> int:
    """Read a VAU-Bench annotation file; a table of one's own is read by `tvad data table`.

    Args:
        csv: The annotation file.
        out: Folder of the data set.
        videos: Folder with the mp4 files; they are opened and linked into the data set. An end that was
            rounded to up to a second after the file's is cut, times that the file has not are refused.
        split: What the rows are called.

    Example:
        tvad data vau-bench test_msad.csv --videos videos/msad --out data/msad
    """
    from tvad.data import save
    from tvad.data.build import link
    from tvad.data.check import doubts_of
    from tvad.data.vau_bench import read_csv, with_file

    samples, problems = read_csv(csv, split)
    folder = Path(out)
    made(folder / "videos")
    kept, refused = [], [str(problem) for problem in problems]
    for sample in tqdm(samples, unit="video", desc="vau-bench", disable=None if videos else True):
        if videos:
            name = Path(sample.video.path).name
            source, target = Path(videos, name), folder / "videos" / name
            try:
                whole = with_file(sample, source)
            except InputError as error:
                refused.append(str(error))
                continue
            if whole.spans != sample.spans and whole.spans and sample.spans:
                print(
                    f"cut {sample.id}: end {sample.spans[0][1]:g} s to {whole.spans[0][1]:g} s",
                    file=sys.stderr,
                )
            if not target.exists():
                link(source, target)
            sample = whole
        kept.append(sample)
    for line in refused:
        print(f"refused {line}", file=sys.stderr)
    for doubt in (doubt for sample in kept for doubt in doubts_of(sample)):
        print(f"in doubt {doubt}", file=sys.stderr)
    if not kept:
        raise InputError(f"{csv}: no row could be used" + (f"; the first: {refused[0]}" if refused else ""))
    save(kept, folder)
    print(f"{len(kept)} of {len(samples) + len(problems)} rows are in {folder}")
    return 1 if refused else 0


def ubnormal(root: str, /, splits: str, out: Annotated[str, cli.FOLDER], split: str = "train") -> int:
    """Read UBnormal as it is distributed.

    Args:
        root: Folder with Scene1, Scene2, ...
        splits: Folder with the authors' *_video_names.txt lists.
        out: Folder of the data set.
        split: train, val or test.

    Example:
        tvad data ubnormal UBnormal --splits UBnormal/scripts --split train --out data/ubnormal/train
    """
    from tvad.data.ubnormal import read

    samples, problems = read(root, splits, split, out)
    return _done(len(samples), problems, out)


def shanghaitech(
    root: str, /, out: Annotated[str, cli.FOLDER], split: str = "test", tracks: str | None = None
) -> int:
    """Read ShanghaiTech Campus as it is distributed.

    Args:
        root: Folder with training and testing.
        out: Folder of the data set.
        split: train or test.
        tracks: Folder with anomaly tracks, a .txt a test video.

    Example:
        tvad data shanghaitech shanghaitech --split test --tracks tracks --out data/shanghaitech/test
    """
    from tvad.data.shanghaitech import read

    samples, problems = read(root, split, out, tracks)
    return _done(len(samples), problems, out)


def ucsd(
    root: str, /, out: Annotated[str, cli.FOLDER], split: str = "test", tracks: str | None = None
) -> int:
    """Read UCSD Ped1 or Ped2 as it is distributed.

    Args:
        root: Folder UCSDped1 or UCSDped2, with Train and Test.
        out: Folder of the data set.
        split: train or test.
        tracks: Tracks of the test videos, a line each; without them the masks' components are linked.

    Example:
        tvad data ucsd UCSD_Anomaly_Dataset.v1p2/UCSDped2 --out data/ped2/test
    """
    from tvad.data.readers.ucsd import read

    samples, problems = read(root, split, out, tracks)
    return _done(len(samples), problems, out)


def avenue(
    root: str, /, out: Annotated[str, cli.FOLDER], split: str = "test", labels: str | None = None
) -> int:
    """Read CUHK Avenue as it is distributed.

    Args:
        root: Folder with training_videos and testing_videos.
        out: Folder of the data set.
        split: train or test.
        labels: Folder ground_truth_demo, with the masks of the test videos.

    Example:
        tvad data avenue "Avenue Dataset" --labels ground_truth_demo --out data/avenue/test
    """
    from tvad.data.readers.avenue import read

    samples, problems = read(root, split, out, labels)
    return _done(len(samples), problems, out)


def ucf_crime(
    root: str,
    /,
    listed: str,
    out: Annotated[str, cli.FOLDER],
    split: str = "test",
    captions: str | None = None,
) -> int:
    """Read UCF-Crime as it is distributed, with UCA's captions where they are at hand.

    Args:
        root: Folder with the videos, in it or below it.
        listed: The authors' list of the split: Temporal_Anomaly_Annotation_for_Testing_Videos.txt, or
            Anomaly_Train.txt, which tells no times.
        out: Folder of the data set.
        split: What the rows are called.
        captions: Folder with UCFCrime_Train.json, UCFCrime_Val.json, UCFCrime_Test.json.

    Example:
        tvad data ucf-crime UCF_Crimes --listed Anomaly_Train.txt --split train --out data/ucf/train
    """
    from tvad.data.readers.ucf_crime import read

    samples, problems = read(root, listed, split, out, captions)
    return _done(len(samples), problems, out)


def xd_violence(
    root: str, /, out: Annotated[str, cli.FOLDER], split: str = "test", annotations: str | None = None
) -> int:
    """Read XD-Violence as it is distributed.

    Args:
        root: Folder with the videos of the split, in it or below it.
        out: Folder of the data set.
        split: train or test.
        annotations: annotations.txt of the test videos.

    Example:
        tvad data xd-violence xd/test --annotations annotations.txt --out data/xd/test
    """
    from tvad.data.readers.xd_violence import read

    samples, problems = read(root, split, out, annotations)
    return _done(len(samples), problems, out)


def tvau(
    root: str,
    /,
    out: Annotated[str, cli.FOLDER],
    published: bool = False,
    seed: int = 0,
    language: Literal["en", "zh"] = "en",
) -> int:
    """Read ShanghaiTech as T-VAU's first author cut and described it. Says how many test windows share frames
    with a training window.

    Args:
        root: Folder with train, val, gt, labels.csv, track.json and dataset_track_zh_en.json.
        out: Folder that gets train and test.
        published: The authors' parts, which part windows at random, in place of whole videos parted anew.
        seed: Of the partition.
        language: Of the three paraphrases of where the targets go.

    Example:
        tvad data tvau PG-Thesis-PGADV/shanghaitech --out data/tvau
        tvad data tvau PG-Thesis-PGADV/shanghaitech --published --out data/tvau_published
    """
    from tvad.data.readers import tvau as reader

    parts, problems = reader.read(root, out, published, seed, language)
    shared, of = reader.leak(parts)
    print(f"{shared} of {of} test windows share frames with a training window")
    where = ", ".join(f"{out}/{part} ({len(samples)})" for part, samples in parts.items())
    return _done(sum(map(len, parts.values())), problems, where)


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
    return _done(sum(counts.values()), problems, ", ".join(f"{out}/{p} ({n})" for p, n in counts.items()))


def windows(
    source: str, /, out: Annotated[str, cli.FOLDER], seconds: float = 16.0, stride: float = 8.0
) -> int:
    """Cut long videos into overlapping windows at their own frame rate; masks, tracks and spans are carried
    over, and each window states its video and where it begins there.

    Args:
        source: Data set folder.
        out: Folder of the data set of windows.
        seconds: That a window lasts; a shorter video is one window.
        stride: Seconds from one window's beginning to the next one's; the last window ends with the video.

    Example:
        tvad data windows data/ucf/test --seconds 16 --stride 8 --out data/ucf/windows
    """
    from tvad.data.windows import cut

    samples, problems = cut(source, out, seconds, stride)
    return _done(len(samples), problems, out)


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


def _refuse(problems: list) -> None:
    for problem in problems:
        print(f"refused {problem}", file=sys.stderr)


def _done(count: int, problems: list, where: str) -> int:
    """What a reader ends with: a line a refused video, and exit status 1 where there is one."""
    _refuse(problems)
    print(f"{count} clips in {where}; {len(problems)} videos refused")
    return 1 if problems else 0


COMMANDS: cli.Commands = {
    "scenes": scenes,
    "table": table,
    "vau-bench": vau_bench,
    "ubnormal": ubnormal,
    "shanghaitech": shanghaitech,
    "ucsd": ucsd,
    "avenue": avenue,
    "ucf-crime": ucf_crime,
    "xd-violence": xd_violence,
    "tvau": tvau,
    "reclip": reclip,
    "windows": windows,
    "shards": shards,
    "check": check,
}
