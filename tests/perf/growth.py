"""How time and memory grow with the length of a video and the number of samples, beside the state before.

python tests/perf/growth.py --before DIR [--minutes 1 10 60] [--samples 100 1000 10000] [--rounds 3]

Each piece of work is a process of its own, given to this tree and to DIR (a checkout of an older commit) in
turns; medians of the rounds. Videos: 320 x 240 at 25 frames a second, as mp4 and as Matroska, whose header
states no number of frames. "decode": at 2 frames a second, at most 8, as training does; "probe": what
`tvad data check` does; "windows": what `tvad infer` reads. Samples: one multiple-choice question each; "load"
and "check" (their text, no files), "score" (`bench score`).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

MOST = 3072  # MiB of address space that a process may take: beyond it the table says so
HERE = Path(__file__).resolve().parents[2]

# Runs in either tree: only what both have. VmHWM is the process's own peak; another counter begins with its
# parent's.
WORK = r"""
import json, re, resource, sys, time
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[4]) << 20, -1))
what, given = sys.argv[1], sys.argv[2]
from tvad.data import check, load, video
from tvad.data.check import probe
if what == "score":
    from bench.score import score
    from bench.suite import read
    suite, out = read(str(Path(given, "suite.yaml"))), Path(given, "run-" + sys.argv[3])
def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
start, began = peak(), time.perf_counter()
if what == "decode":
    video.decode(given, 2.0, 8)
elif what == "probe":
    probe(Path(given))
elif what == "windows":
    sum(1 for _ in video.windows(given, 2.0, 8, 4))
elif what == "load":
    load(given)
elif what == "check":
    check(given, files=False)
else:
    score(Path(given, "answers.jsonl"), suite, out)
print(json.dumps([time.perf_counter() - began, peak() - start]))
"""


def make_video(path: Path, minutes: float) -> None:
    """Moving noise of 320 x 240 pixels, 25 frames a second."""
    import av
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "32", "g": "250"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for n in range(round(minutes * 60 * 25)):
            moved = np.roll(noise, n % 320, 1)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        out.mux(stream.encode())


def repacked(source: Path, path: Path) -> None:
    """The same pictures in another container."""
    import av

    with av.open(str(source)) as old, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)


def make_samples(folder: Path, count: int) -> None:
    """Samples that both trees read (version 1 of the format: no header), with answers and a suite."""
    folder.mkdir()
    options = ["a car", "a dog", "a fire", "nothing"]
    with (folder / "samples.jsonl").open("w") as rows, (folder / "answers.jsonl").open("w") as answers:
        for n in range(count):
            question = {"kind": "mcq", "text": "What is it?", "answer": "ABCD"[n % 4], "options": options}
            video = {"path": f"videos/v{n}.mp4", "fps": 4.0, "frames": 16, "width": 64, "height": 64}
            row = {"id": f"v{n}", "source": "s", "split": "test", "video": video, "label": "anomalous"}
            row |= {"spans": [[1.0, 2.0]], "questions": [question]}
            rows.write(json.dumps(row) + "\n")
            answers.write(json.dumps({"id": f"v{n}", "task": "mcq", "response": "ABCD"[n % 3]}) + "\n")
    suite = {"name": "growth", "data": str(folder), "tasks": ["mcq"], "resamples": 200}
    (folder / "suite.yaml").write_text(json.dumps(suite))


def measured(tree: Path, what: str, given: Path, turn: str) -> tuple[float, float]:
    """(seconds, MiB more at the peak)."""
    done = subprocess.run(
        [sys.executable, "-c", WORK, what, str(given), turn, str(MOST)],
        env=os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
        cwd=tree,
        capture_output=True,
        text=True,
    )
    if done.returncode and "MemoryError" in done.stderr:
        return float("nan"), float("inf")
    if done.returncode:
        raise SystemExit(f"{what} {given} in {tree}:\n{done.stderr}")
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, required=True, help="checkout of the commit to compare with")
    parser.add_argument("--minutes", type=float, nargs="*", default=[1, 10, 60])
    parser.add_argument("--samples", type=int, nargs="*", default=[100, 1000, 10000])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    trees = {"before": given.before.resolve(), "now": HERE}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        works: list[tuple[str, str, Path]] = []
        for minutes in given.minutes:
            first = folder / f"{minutes:g}.mp4"
            make_video(first, minutes)
            repacked(first, first.with_suffix(".mkv"))
            for path in (first, first.with_suffix(".mkv")):
                for what in ("decode", "probe", "windows"):
                    works.append((what, f"{minutes:g} min {path.suffix}", path))
        for count in given.samples:
            make_samples(folder / str(count), count)
            works += [
                (what, f"{count:,d} samples", folder / str(count)) for what in ("load", "check", "score")
            ]
        print("| work | on | before, s | now, s | ratio | before, MiB | now, MiB | ratio |\n|" + "---|" * 8)
        for what, on, path in works:
            found = defaultdict(list)
            for turn in range(given.rounds):
                for tree, root in trees.items():
                    found[tree].append(measured(root, what, path, f"{tree}{turn}"))
            seconds, memory = (
                [statistics.median(row[n] for row in found[tree]) for tree in trees] for n in (0, 1)
            )
            cells = [f"{v:.2f}" for v in (*seconds, seconds[1] / seconds[0])]
            cells += [f"{memory[0]:.0f}", f"{memory[1]:.0f}", f"{(memory[1] + 1) / (memory[0] + 1):.2f}"]
            cells = [{"nan": "–", "inf": f"over {MOST}", "0.00": "below 0.01"}.get(c, c) for c in cells]
            print(f"| {what} | {on} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
