"""The commands `tvad data …` that read other people's data sets: a new reader gets its command here, and its
line in `COMMANDS`."""

import sys
from typing import Annotated, Literal

from tvad.common import cli


def refuse(problems: list) -> None:
    """A line on stderr for each."""
    for problem in problems:
        print(f"refused {problem}", file=sys.stderr)


def done(count: int, problems: list, where: str) -> int:
    """What a reader ends with: a line a refused video, and exit status 1 where there is one."""
    refuse(problems)
    print(f"{count} clips in {where}; {len(problems)} videos refused")
    return 1 if problems else 0


def vau_bench(
    csv: str, /, out: Annotated[str, cli.FOLDER], videos: str | None = None, split: str = "test"
) -> int:
    """Read a VAU-Bench annotation file; a table of one's own is read by `tvad data table`.

    Args:
        csv: The annotation file.
        out: Folder of the data set.
        videos: Folder with the mp4 files of MSAD, UCF-Crime and ECVA, in it or below it; they are opened and
            linked into the data set. An end that was rounded to up to a second after the file's is cut, times
            that the file has not are refused.
        split: What the rows are called.

    Example:
        tvad data vau-bench test_msad.csv --videos videos/msad --out data/msad
        tvad data vau-bench val.csv --videos videos --split val --out data/vau_val
    """
    from tvad.data.check import doubts_of
    from tvad.data.vau_bench import read

    samples, problems, cuts = read(csv, split, out, videos)
    for cut in cuts:
        print(f"cut {cut}", file=sys.stderr)
    refuse(problems)
    for doubt in (doubt for sample in samples for doubt in doubts_of(sample)):
        print(f"in doubt {doubt}", file=sys.stderr)
    print(f"{len(samples)} of {len(samples) + len(problems)} rows are in {out}")
    return 1 if problems else 0


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
    return done(len(samples), problems, out)


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
    return done(len(samples), problems, out)


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
    return done(len(samples), problems, out)


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
    return done(len(samples), problems, out)


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
    return done(len(samples), problems, out)


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
    return done(len(samples), problems, out)


def msad(
    root: str, /, out: Annotated[str, cli.FOLDER], split: str = "test", listed: str | None = None
) -> int:
    """Read MSAD as it is distributed.

    Args:
        root: Folder `MSAD Dataset`, with anomaly_annotation.csv and the videos below it.
        out: Folder of the data set.
        split: train or test.
        listed: The authors' list of the split (protocol ii), MSAD_I3D_WS_Test.list; without it the split is
            protocol i's: trained on normal videos only.

    Example:
        tvad data msad "MSAD Dataset" --split test --listed MSAD_I3D_WS_Test.list --out data/msad/test
    """
    from tvad.data.readers.msad import read

    samples, problems = read(root, split, out, listed)
    return done(len(samples), problems, out)


def ecva(root: str, /, out: Annotated[str, cli.FOLDER], split: str = "test") -> int:
    """Read ECVA as it is distributed.

    Args:
        root: Folder with Video_Annotation.xlsx (or .csv), and the videos in it or below it.
        out: Folder of the data set.
        split: What the rows are called.

    Example:
        tvad data ecva ECVA --out data/ecva
    """
    from tvad.data.readers.ecva import read

    samples, problems = read(root, split, out)
    return done(len(samples), problems, out)


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
    return done(sum(map(len, parts.values())), problems, where)


COMMANDS: cli.Commands = {
    "vau-bench": vau_bench,
    "ubnormal": ubnormal,
    "shanghaitech": shanghaitech,
    "ucsd": ucsd,
    "avenue": avenue,
    "ucf-crime": ucf_crime,
    "xd-violence": xd_violence,
    "msad": msad,
    "ecva": ecva,
    "tvau": tvau,
}
