"""A long untrimmed video out of generated scenes with known anomalies, as a data set of one video: what
`tvad timeline` and `tvad watch` are measured on (docs/measurements/long-video.md).

python tests/perf/long_video.py --minutes 10 --out data/long

Clips of `tvad data scenes` (4 frames a second, four seconds each) one after the other, most of them normal;
every cut is as hard as between two cameras. Spans are those of the clips, moved.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tvad.data import load, save, video
from tvad.data.sample import Sample, Video, write_header
from tvad.data.scenes.dataset import ScenesConfig, generate

FPS, FRAMES = 4.0, 16  # of a clip


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--minutes", type=float, default=10.0)
    args.add_argument("--out", required=True)
    args.add_argument("--normal", type=float, default=0.8, help="share of clips without an anomaly")
    args.add_argument("--setting", default="closed")
    args.add_argument("--size", type=int, default=112)
    args.add_argument("--seed", type=int, default=20)
    given = args.parse_args()
    count = max(1, round(given.minutes * 60 * FPS / FRAMES))
    out = Path(given.out)
    (out / "videos").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        plan = ScenesConfig(
            split="test",
            setting=given.setting,
            clips=count,
            seed=given.seed,
            size=given.size,
            normal=given.normal,
        )
        generate(plan, Path(folder))
        clips = list(load(folder))
        spans, classes, start = [], [], 0.0
        for clip in clips:
            for a, b in clip.spans or ():
                spans.append((round(a + start, 6), round(b + start, 6)))
                classes.append(clip.category or "unknown")
            start += FRAMES / FPS

        def frames() -> Iterator[np.ndarray]:
            for clip in clips:
                yield from video.decode(clip.clip()).images

        video.write(out / "videos/long.mp4", frames(), FPS)
    made = Sample(
        "long",
        "scenes",
        "test",
        Video("videos/long.mp4", FPS, count * FRAMES, given.size, given.size),
        label="anomalous" if spans else "normal",
        categories=tuple(dict.fromkeys(classes)),
        spans=tuple(spans),
        span_categories=tuple(classes),
    )
    save([made], out)
    write_header(out)
    lit = sum(b - a for a, b in spans)
    print(f"{start:.0f} s of video, {len(spans)} anomalies of {lit:.0f} s in {out}")


if __name__ == "__main__":
    main()
