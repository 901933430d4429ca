"""Latency, memory and processor time of `tvad watch` by number of cameras: one file, played at its own speed
as so many sources that share one model, in one process (docs/measurements/long-video.md).

python tests/perf/watch_cameras.py data/long/videos/long.mp4 --cameras 1,2,4 --seconds 60

What the model takes before the first camera is told apart; a first run of two windows warms it up.
"""

import argparse
import threading
import time
from pathlib import Path

from tvad.common.shipped import checkpoint
from tvad.model.start import load
from tvad.scores import Rule
from tvad.use.timeline import plan_of
from tvad.use.watching.camera import View
from tvad.use.watching.watch import Watch, Watcher


def resident() -> float:
    """MiB of memory that this process holds now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("video")
    args.add_argument("--model", default="tvad-tiny-closed")
    args.add_argument("--cameras", default="1,2,4")
    args.add_argument("--seconds", type=float, default=60.0)
    args.add_argument("--rate", type=float, default=4.0)
    args.add_argument("--max-frames", type=int, default=16)
    given = args.parse_args()
    model = load(checkpoint(given.model))
    plan = plan_of(given.rate, given.max_frames, None, None)
    view = View(plan.rate, plan.window, plan.stride, plan.window)
    print(f"{resident():.0f} MiB with the model alone", flush=True)
    print("| cameras | p50 s | p95 s | sampled | dropped | MiB | processor seconds a camera and minute |")
    print("|---|---|---|---|---|---|---|")
    warm = (1, 3 * plan.window / plan.rate / 2)
    for count, seconds in [warm, *((int(n), given.seconds) for n in given.cameras.split(","))]:
        sources = [(f"c{n}", given.video) for n in range(count)]
        watch = Watch(Rule(), smooth=0.5, seconds=seconds)
        watcher = Watcher(*model, sources, view, watch, [], threading.Event())
        begin, used = time.perf_counter(), time.process_time()
        found = watcher.run()["sources"]
        spent, used = time.perf_counter() - begin, time.process_time() - used
        if seconds == warm[1]:
            continue
        middle, high = (
            max((c[key] for c in found.values() if c[key] is not None), default=float("nan"))
            for key in ("latency_p50", "latency_p95")
        )
        sampled, dropped = (
            sum(c[key] for c in found.values()) for key in ("frames_sampled", "frames_dropped")
        )
        each = used / count / spent * 60
        row = (count, f"{middle:.2f}", f"{high:.2f}", sampled, dropped, f"{resident():.0f}", f"{each:.2f}")
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()
