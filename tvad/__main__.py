"""The command `tvad`: data sets, checks, inference."""

import argparse
import os
import sys
from pathlib import Path

from tvad import cli
from tvad.errors import InputError

EXAMPLES = """examples:
  tvad data scenes --out data/scenes/test --split test --clips 300
  tvad data vau-bench test_msad.csv --videos videos/msad --out data/msad
  tvad data ubnormal UBnormal --splits UBnormal/scripts --split train --out data/ubnormal/train
  tvad data shanghaitech shanghaitech --split test --tracks tracks --out data/shanghaitech/test
  tvad data reclip data/shanghaitech/test data/shanghaitech/train --out data/tvau
  tvad data check data/scenes/test
  tvad infer --model assets/tvad-tiny --video clip.mp4 --out runs/clip
"""


def build_parser() -> argparse.ArgumentParser:
    def make(commands, name, text, example):
        return commands.add_parser(
            name, help=text, description=text, epilog=f"example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter
        )

    lines = [line.strip() for line in EXAMPLES.splitlines()[1:]]
    parser = argparse.ArgumentParser(prog="tvad", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    data = make(commands, "data", "make, read and check data sets", lines[0]).add_subparsers(dest="action", required=True)
    scenes = make(data, "scenes", "generate surveillance scenes with masks, tracks and questions", lines[0])
    scenes.add_argument("--out", required=True)
    scenes.add_argument("--split", default="train", help="train, val or test: other clips, and in the open setting other classes")
    scenes.add_argument("--setting", default="closed", help="closed: all classes in every split; open: disjoint classes; core: plain to see")
    scenes.add_argument("--clips", type=int, default=100)
    scenes.add_argument("--seed", type=int, default=0)
    scenes.add_argument("--size", type=int, default=112, help="pixels")
    scenes.add_argument("--frames", type=int, default=16)
    scenes.add_argument("--fps", type=float, default=4.0)
    scenes.add_argument("--normal", type=float, default=0.4, help="share of normal clips")
    scenes.add_argument("--max-crowd", type=int, default=12)
    scenes.add_argument("--workers", type=int, default=1)
    vau = make(data, "vau-bench", "read a VAU-Bench annotation file", lines[1])
    vau.add_argument("csv")
    vau.add_argument("--videos", help="folder with the mp4 files; they are linked into the data set")
    vau.add_argument("--out", required=True)
    vau.add_argument("--split", default="test")
    ubnormal = make(data, "ubnormal", "read UBnormal as it is distributed", lines[2])
    ubnormal.add_argument("root", help="folder with Scene1, Scene2, ...")
    ubnormal.add_argument("--splits", required=True, help="folder with the authors' *_video_names.txt lists")
    ubnormal.add_argument("--split", default="train", help="train, val or test")
    ubnormal.add_argument("--out", required=True)
    shanghai = make(data, "shanghaitech", "read ShanghaiTech Campus as it is distributed", lines[3])
    shanghai.add_argument("root", help="folder with training and testing")
    shanghai.add_argument("--split", default="test", help="train or test")
    shanghai.add_argument("--tracks", help="folder with anomaly tracks, a .txt a test video")
    shanghai.add_argument("--out", required=True)
    again = make(data, "reclip", "T-VAU's re-partition: clips of 8 to 40 frames at 1 frame a second, parted 80 : 20", lines[4])
    again.add_argument("sources", nargs="+", help="data set folders")
    again.add_argument("--out", required=True, help="gets train and test")
    again.add_argument("--seed", type=int, default=0)
    check = make(data, "check", "open everything a data set names and list every bad row", lines[5])
    check.add_argument("folder")
    check.add_argument("--no-files", action="store_true", help="do not open videos and masks")
    infer = make(commands, "infer", "ask a T-VAD model about a video", lines[6])
    infer.add_argument("--model", required=True)
    infer.add_argument("--video", required=True)
    infer.add_argument("--ask", action="append", default=[], help="a further question; may be given several times")
    infer.add_argument("--out", help="folder for result.json and heatmap pictures")
    infer.add_argument("--rate", type=float, default=2.0, help="frames a second")
    infer.add_argument("--max-frames", type=int, default=8)
    return parser


def main(arguments: list[str] | None = None) -> int:
    known = build_parser().parse_args(arguments)
    if known.command == "infer":
        return _infer(known)
    if known.action == "scenes":
        from tvad.data.scenes.dataset import ScenesConfig, generate

        keys = ("split", "setting", "clips", "seed", "size", "frames", "fps", "normal", "max_crowd")
        samples = generate(ScenesConfig(**{k: getattr(known, k) for k in keys}), known.out, known.workers)
        print(f"{len(samples)} clips in {known.out}")
        return 0
    if known.action == "vau-bench":
        return _vau_bench(known)
    if known.action in ("ubnormal", "shanghaitech"):
        from tvad.data import shanghaitech, ubnormal

        if known.action == "ubnormal":
            samples, problems = ubnormal.read(known.root, known.splits, known.split, known.out)
        else:
            samples, problems = shanghaitech.read(known.root, known.split, known.out, known.tracks)
        return _done(len(samples), problems, known.out)
    if known.action == "reclip":
        from tvad.data.reclip import reclip

        counts, problems = reclip(known.sources, known.out, known.seed)
        return _done(sum(counts.values()), problems, ", ".join(f"{known.out}/{part} ({n})" for part, n in counts.items()))
    from tvad.data import check

    problems = check(known.folder, files=not known.no_files)
    for problem in problems:
        print(problem)
    print("no bad rows" if not problems else f"{len({p.where for p in problems})} bad rows")
    return 1 if problems else 0


def _done(count: int, problems: list, where: str) -> int:
    for problem in problems:
        print(f"refused {problem}", file=sys.stderr)
    print(f"{count} clips in {where}; {len(problems)} videos refused")
    return 0


def _vau_bench(known) -> int:
    from tvad.data import save
    from tvad.data.vau_bench import read_csv

    samples, problems = read_csv(known.csv, known.split)
    out = Path(known.out)
    (out / "videos").mkdir(parents=True, exist_ok=True)
    kept = []
    for sample in samples:
        if known.videos:
            name = Path(sample.video.path).name
            source = Path(known.videos, name)
            if not source.is_file():
                print(f"refused {sample.id}: no file {source}", file=sys.stderr)
                continue
            link = out / "videos" / name
            if not link.exists():
                os.link(source, link)
        kept.append(sample)
    for problem in problems:
        print(f"refused {problem}", file=sys.stderr)
    save(kept, out)
    print(f"{len(kept)} of {len(samples) + len(problems)} rows are in {out}")
    return 0


def _infer(known) -> int:
    import json

    from tvad.data import video
    from tvad.infer import infer
    from tvad.model.start import load

    if known.rate <= 0 or known.max_frames < 2:
        raise InputError("--rate must be positive and --max-frames at least 2")
    video.decode(known.video, known.rate, known.max_frames)  # a bad file is refused before a model is loaded
    model, processor = load(known.model)
    result = infer(model, processor, known.video, known.ask, known.out, known.rate, known.max_frames)
    for turn in result["dialogue"]:
        print(f"> {turn['question']}\n{turn['response']}")
    print(f"highest frame score {max(result['frame_scores']):.3f}, {len(result['detections'])} detections")
    if known.out:
        print(f"written to {known.out}")
    else:
        print(json.dumps(result["detections"][:5]))
    return 0


def entry() -> None:
    """Console script."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(cli.guard(main))


if __name__ == "__main__":
    entry()
