"""T-VAU's Table 3 (target, trajectory, yes/no) on its first author's annotation of ShanghaiTech, by video and
as published, with what takes no model: the neighbouring training window's text, a random one's, the most
frequent one, and how the references score each other. What cannot be had is stood in for: the windows, but
for four, by one grey clip, which nothing here looks at; the masks by squares at the centroids of
track.json; the authors' list of parts by one drawn as their script draws it (windows at random, 80 : 20).
The four real windows are shown to a checkpoint.

python tests/perf/table3.py --notes ../shared/data/shanghaitech_tvau --out runs/table3
"""

import argparse
import contextlib
import csv
import io
import json
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bench import copying
from bench.__main__ import main as bench
from bench.audit import bounded
from bench.metrics.stats import Interval
from bench.run_folder import open_run
from tvad.__main__ import main as tvad
from tvad.common.cli import guard
from tvad.common.errors import InputError, at_least
from tvad.data import load, video
from tvad.data.build import build
from tvad.data.readers import tvau

SIZE, SCALE = (34, 62), 14  # of placeholders: height, width; how often that is in 476 x 868
HALF = 2  # of a square's side, in placeholder's pixels
TRAIN_SHARE = 0.8
NOTES = ("labels.csv", "track.json", "dataset_track_zh_en.json")
COLUMNS = {"target_bleu4": "target", "trajectory_bleu4": "trajectory", "yes_no": "yes/no"}
ROWS = {
    "neighbour": "the nearest training window's text",
    "window": "a random training window's",
    "prior": "the most frequent text of training",
    "oracle": "the references",
}


def mask_of(row: dict, scale: int = SCALE) -> np.ndarray:
    """(24, H, W) uint8 of a window's row in track.json: squares around the centroids."""
    height, width = (side // scale for side in row["size"])
    half = HALF * SCALE // scale
    lit = np.zeros((row["frame number"], height, width), np.uint8)
    for key, places in row.items():
        if not key.startswith("object ") or not isinstance(places, list):
            continue
        for frame, place in enumerate(places):
            if place is not None:
                x, y = (int(n) // scale for n in place.rpartition("_")[2].strip("()").split(","))
                lit[frame, max(0, y - half) : y + half, max(0, x - half) : x + half] = 1
    return lit


def _write(root: Path, notes: Path, names: Iterable[str], scale: int) -> None:
    """The three files of annotation, cut to the windows `names`, and their masks."""
    names = set(names)
    (root / "gt").mkdir(parents=True, exist_ok=True)
    for file in ("track.json", "dataset_track_zh_en.json"):
        every = json.loads((notes / file).read_text(encoding="utf-8-sig"))
        kept = {key: row for key, row in every.items() if key.removesuffix(".npy") in names}
        (root / file).write_text(json.dumps(kept, allow_nan=False), encoding="utf-8")
        if file == "track.json":
            for key, row in kept.items():
                np.save(root / "gt" / key, mask_of(row, scale))
    with (notes / "labels.csv").open(encoding="utf-8-sig", newline="") as lines:
        rows = [row for row in csv.reader(lines) if row[0] == "video" or Path(row[0]).stem in names]
    with (root / "labels.csv").open("w", encoding="utf-8-sig", newline="") as out:
        csv.writer(out).writerows(rows)


def distributed(notes: Path, root: Path, videos: int | None = None, seed: int = 0) -> int:
    """The authors' layout at `root` with placeholders for the windows of so many source videos (all); returns
    how many windows."""
    every = sorted(n.removesuffix(".npy") for n in json.loads((notes / "track.json").read_text("utf-8-sig")))
    rng = np.random.default_rng(seed)
    sources = rng.permutation(sorted({name.partition("-")[0] for name in every}))[:videos].tolist()
    names = rng.permutation([name for name in every if name.partition("-")[0] in sources]).tolist()
    _write(root, notes, names, SCALE)
    for part in tvau.PARTS:
        (root / part).mkdir()
    video.write(root / "grey.mp4", np.full((24, *SIZE, 3), 128, np.uint8), tvau.FPS)
    for n, name in enumerate(names):
        part = "train" if n < TRAIN_SHARE * len(names) else "val"
        shutil.copyfile(root / "grey.mp4", root / part / f"{name}.mp4")
    return len(names)


def real(notes: Path, out: Path) -> Path:
    """A data set of the windows whose videos are at hand."""
    files = {file.stem: file for file in sorted((notes / "videos").glob("*.mp4"))}
    root = out / "real_layout"
    _write(root, notes, files, 1)
    told = tvau.read_notes(root)
    build(
        out / "real",
        files,
        lambda name, where: [tvau.make_sample(root, files[name], told, "en", where)],
        "shanghaitech of T-VAU",
        {"root": str(root), "notes": str(notes), "language": "en"},
    )
    return out / "real"


def quietly(command, *arguments: str) -> None:
    """A command of the project, its table left out. Raises RuntimeError where it fails."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = command(list(arguments))
    if status:
        raise RuntimeError(f"{' '.join(arguments)}: exit status {status}\n{said.getvalue()}")


def run(model: str, data: Path, out: Path) -> dict[str, Interval]:
    """Column -> what a model earns, by `bench run`."""
    quietly(bench, "run", "--model", model, "--suite", "tvau", "--data", str(data), "--out", str(out))
    rows = open_run(out)[2]
    parts = ("value", "low", "high", "n")
    return {column: Interval(*(rows[f"dialogue.{column}"][part] for part in parts)) for column in COLUMNS}


def cells(found: dict[str, Interval]) -> str:
    return " | ".join(bounded(found[column]) if column in found else "--" for column in COLUMNS)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--notes", type=Path, required=True, help="folder of labels.csv and its neighbours")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--videos", type=int, help="source videos that are drawn; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="hf:tvad-tiny-closed", help="shown the real windows")
    known = parser.parse_args()
    if known.out.exists() and (not known.out.is_dir() or any(known.out.iterdir())):
        raise InputError(f"--out: {known.out} holds something already; name a new folder")
    if known.videos is not None:
        at_least("--videos", known.videos, 2)
    at_least("--seed", known.seed, 0)
    if missing := [name for name in NOTES if not (known.notes / name).is_file()]:
        raise InputError(f"--notes: {known.notes / missing[0]}: no such file")
    began, layout = time.time(), known.out / "layout"
    count = distributed(known.notes, layout, known.videos, known.seed)
    head = f"| | {' | '.join(COLUMNS.values())} |\n|---|{'---|' * len(COLUMNS)}"
    for way, flags in (("by video", ()), ("as published", ("--published",))):
        data = known.out / way.replace(" ", "_")
        quietly(tvad, "data", "tvau", str(layout), *flags, "--out", str(data))
        test, train = load(data / "test"), data / "train"
        if not test or not load(train):
            raise InputError(f"--videos: of {known.videos or 'all'} videos {way} none are left to one part")
        shared, of = tvau.leak({"train": load(train), "test": test})
        print(f"\n{way}: {of} of {count} windows are test, {shared} share frames with training\n\n{head}")
        for which, words in ROWS.items():
            spec = f"baseline:{which}" + ("" if which == "oracle" else f"={train}")
            print(f"| {words} | {cells(run(spec, data / 'test', data / which))} |", flush=True)
        among = {metric: rows[copying.AMONG] for metric, rows in copying.earned(test, None).items()}
        print(f"| {copying.AMONG} | {cells(among)} |", flush=True)
    data = real(known.notes, known.out)
    print(f"\n{len(load(data))} real windows\n\n{head}")
    for spec in (known.model, "baseline:oracle"):
        print(f"| `{spec}` | {cells(run(spec, data, known.out / spec.partition(':')[2]))} |", flush=True)
    print(f"\n{time.time() - began:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(guard(main))
