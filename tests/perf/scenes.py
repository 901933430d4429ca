"""Speed of the scenes generator on one core: drawing alone against drawing, encoding and writing.

python tests/perf/scenes.py --clips 130
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2

from tvad.data.scenes.dataset import ScenesConfig, generate
from tvad.data.scenes.render import make_clip
from tvad.data.scenes.script import ANOMALIES


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--clips", type=int, default=130)
    clips = args.parse_args().clips
    cv2.setNumThreads(1)
    classes = list(ANOMALIES)
    make_clip(0, None)
    begin = time.perf_counter()
    for n in range(clips):
        make_clip(n, classes[n % len(classes)])
    drawing = clips / (time.perf_counter() - begin)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        generate(ScenesConfig(clips=clips, normal=0.0), Path(folder) / "scenes")
        writing = clips / (time.perf_counter() - begin)
    print(f"16 frames of 112 x 112, {clips} anomalous clips of all classes, one core")
    print(
        f"drawn {drawing:.1f} clips/s; drawn, encoded and written {writing:.1f} clips/s; ratio"
        f" {drawing / writing:.2f}"
    )


if __name__ == "__main__":
    main()
