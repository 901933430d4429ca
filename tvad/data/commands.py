"""The commands `tvad data …`: each takes what was typed, calls what does the work, prints. A new reader gets
its command here, and its line in `COMMANDS`."""

import sys
from pathlib import Path

from tvad.common import cli
from tvad.data.scenes.dataset import ScenesConfig, generate


def scenes(out: str, config: ScenesConfig, workers: int = 1) -> int:
    """Generate surveillance scenes with masks, tracks and questions.

    Args:
        out: Folder of the data set.
        workers: Processes that draw.

    Example:
        tvad data scenes --out data/scenes/test --split test --clips 300
    """
    print(f"{len(generate(config, out, workers))} clips in {out}")
    return 0


def vau_bench(csv: str, /, out: str, videos: str | None = None, split: str = "test") -> int:
    """Read a VAU-Bench annotation file.

    Args:
        csv: The annotation file.
        out: Folder of the data set.
        videos: Folder with the mp4 files; they are linked into the data set.
        split: What the rows are called.

    Example:
        tvad data vau-bench test_msad.csv --videos videos/msad --out data/msad
    """
    from tvad.data import save
    from tvad.data.build import link
    from tvad.data.vau_bench import read_csv

    samples, problems = read_csv(csv, split)
    folder = Path(out)
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    kept = []
    for sample in samples:
        if videos:
            name = Path(sample.video.path).name
            source = Path(videos, name)
            if not source.is_file():
                print(f"refused {sample.id}: no file {source}", file=sys.stderr)
                continue
            target = folder / "videos" / name
            if not target.exists():
                link(source, target)
        kept.append(sample)
    for problem in problems:
        print(f"refused {problem}", file=sys.stderr)
    save(kept, folder)
    print(f"{len(kept)} of {len(samples) + len(problems)} rows are in {folder}")
    return 0


def ubnormal(root: str, /, splits: str, out: str, split: str = "train") -> int:
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


def shanghaitech(root: str, /, out: str, split: str = "test", tracks: str | None = None) -> int:
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


def reclip(sources: list[str], /, out: str, seed: int = 0) -> int:
    """T-VAU's re-partition: clips of 8 to 40 frames at 1 frame a second, parted 80 : 20.

    Args:
        sources: Data set folders.
        out: Folder that gets train and test.
        seed: Of the partition.

    Example:
        tvad data reclip data/shanghaitech/test data/shanghaitech/train --out data/tvau
    """
    from tvad.data.reclip import reclip as part

    counts, problems = part(sources, out, seed)
    return _done(sum(counts.values()), problems, ", ".join(f"{out}/{p} ({n})" for p, n in counts.items()))


def check(folder: str, /, no_files: bool = False) -> int:
    """Open everything that a data set names and list every bad row; exit status 1 where there is one.

    Args:
        folder: Data set folder.
        no_files: Do not open videos and masks.

    Example:
        tvad data check data/scenes/test
    """
    from tvad.data.check import check as problems_of

    notes: list = []
    problems = problems_of(folder, not no_files, notes)
    for note in notes:
        print(f"note: {note}")
    for problem in problems:
        print(problem)
    print("no bad rows" if not problems else f"{len({p.where for p in problems})} bad rows")
    return 1 if problems else 0


def _done(count: int, problems: list, where: str) -> int:
    for problem in problems:
        print(f"refused {problem}", file=sys.stderr)
    print(f"{count} clips in {where}; {len(problems)} videos refused")
    return 0


COMMANDS: cli.Commands = {
    "scenes": scenes,
    "vau-bench": vau_bench,
    "ubnormal": ubnormal,
    "shanghaitech": shanghaitech,
    "reclip": reclip,
    "check": check,
}
