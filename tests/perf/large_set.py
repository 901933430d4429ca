"""A data set of many clips, held as objects against read from shards: seconds and megabytes to open it, to
shuffle it, to read the first batch and every row once, each way and size in a process of its own.

python tests/perf/large_set.py --clips 1000,100000
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH = 64
DONE = ("pack", "open", "shuffle", "first batch", "every row")


def memory() -> float:
    """Megabytes that this process holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def rows(folder: Path, clips: int) -> None:
    """samples.jsonl with the rows of generated scenes, under other names: no video is drawn."""
    from tvad.data.sample import SAMPLES, to_json, to_line, write_header
    from tvad.data.scenes.dataset import ScenesConfig, generate

    made = [to_json(s) for s in generate(ScenesConfig(clips=8), folder.with_name("scenes"))]
    folder.mkdir(parents=True)
    with (folder / SAMPLES).open("w", encoding="utf-8") as out:
        out.writelines(to_line(made[n % len(made)] | {"id": f"clip_{n:07d}"}, True) for n in range(clips))
    write_header(folder)


def measure(folder: Path, way: str) -> dict[str, tuple[float, float]]:
    """What is done: (seconds, megabytes more than before anything was opened)."""
    import numpy as np
    import pyarrow
    import pyarrow.parquet  # noqa: F401  before the count begins

    from tvad.data import load_checked, shards

    if way == "shards":
        begin = time.perf_counter()
        shards.pack(folder)
        packed = time.perf_counter() - begin
    found, before = {}, memory()

    def done(name: str) -> None:
        nonlocal begin
        found[name] = (time.perf_counter() - begin, memory() - before)
        begin = time.perf_counter()

    begin = time.perf_counter()
    samples = load_checked(folder)
    done("open")
    order = np.random.default_rng(0).permutation(len(samples))
    done("shuffle")
    held = [samples[int(n)] for n in order[:BATCH]]
    done("first batch")
    assert sum(1 for sample in samples if sample.questions) == len(samples) and len(held) == BATCH
    done("every row")
    if way == "shards":
        found["pack"] = (packed, 0.0)
    return found


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--clips", default="1000,100000")
    args.add_argument("--folder", help="of the rows; by default a temporary one")
    args.add_argument("--measure", choices=("objects", "shards"), help=argparse.SUPPRESS)
    given = args.parse_args()
    if given.measure:
        print(json.dumps(measure(Path(given.folder), given.measure)))
        return
    print(f"{'clips':>8} {'way':8} " + " ".join(f"{name + ' s':>13} {'MB':>7}" for name in DONE))
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        for clips in map(int, given.clips.split(",")):
            table = {}
            folder = Path(temporary, str(clips), "data")
            rows(folder, clips)
            for way in ("objects", "shards"):
                run = [sys.executable, __file__, "--measure", way, "--folder", str(folder)]
                told = subprocess.run(run, capture_output=True, text=True, check=True).stdout
                found = table[way] = json.loads(told.splitlines()[-1])
                cells = (found.get(name) for name in DONE)
                line = " ".join(f"{c[0]:13.2f} {c[1]:7.1f}" if c else f"{'':13} {'':7}" for c in cells)
                print(f"{clips:8} {way:8} {line}", flush=True)
            ratio = sum(s for s, _ in table["objects"].values()) / sum(
                table["shards"][name][0] for name in DONE[1:]
            )
            most = {way: max(mb for _, mb in found.values()) for way, found in table.items()}
            print(
                f"{clips:8} objects against shards: {ratio:.2f} x the time from opening on,"
                f" {most['objects'] / max(1.0, most['shards']):.1f} x the memory"
            )


if __name__ == "__main__":
    main()
