"""Decoding and preprocessing of clips, clips a second by threads: PyAV (`tvad.data.video`, with clock and
checks), torchcodec and decord where they install, then what the model's processor makes of the frames.

python tests/perf/decode.py --clips 16 --workers 1,2,4

All ways take the same frames: those at `--rate` a second, `--frames` at most. The ways take turns, and the
ratio is of the medians of what they did in one run. torchcodec needs FFmpeg's libraries: PyAV's own are given
to it, in a process of its own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

ROUNDS = 3


def clips(folder: Path, count: int, seconds: float, width: int, height: int) -> list[str]:
    """Files of moving noise at 25 frames a second: all codecs' tools are used, nothing is flat."""
    from tvad.data import video

    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (height, width * 2, 3), np.uint8)
    made = []
    for n in range(count):
        path = folder / f"{n}.mp4"
        frames = (ground[:, (n + 3 * t) % width :][:, :width] for t in range(int(seconds * 25)))
        video.write(path, frames, 25)
        made.append(str(path))
    return made


def readers(rate: float, most: int) -> dict[str, Callable[[str], np.ndarray] | str]:
    """Name: what decodes a file's sampled frames (T, H, W, 3), or why it is not there."""
    from tvad.data import video

    found: dict[str, Callable[[str], np.ndarray] | str] = {}
    found["PyAV"] = lambda path: video.decode(path, rate, most).images

    def places(path: str) -> list[int]:
        clock = video.inspect(path)[0]
        return clock.taken(rate, most)[0].tolist()

    frames_of = cache(places)  # asked once, before: which frames there are is no part of the others' work

    try:
        import av  # noqa: F401  what its FFmpeg needs is loaded with it
        from torchcodec.decoders import VideoDecoder

        found["torchcodec"] = lambda path: (
            VideoDecoder(path, dimension_order="NHWC", seek_mode="approximate")
            .get_frames_at(frames_of(path))
            .data.numpy()
        )
    except (ImportError, OSError, RuntimeError) as error:
        found["torchcodec"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:90]}"
    if find_spec("decord") is None:
        found["decord"] = "is not installed"
    else:
        import decord

        found["decord"] = lambda path: decord.VideoReader(path).get_batch(frames_of(path)).asnumpy()
    return found


def preprocessing(checkpoint: str) -> Callable[[np.ndarray, str], object]:
    from transformers import AutoProcessor

    import tvad.model  # noqa: F401  registers T-VAD with the Auto classes
    from tvad.data import video

    processor = AutoProcessor.from_pretrained(checkpoint)

    def prepare(images: np.ndarray, path: str) -> object:
        count = len(images)
        frames = video.Frames(images, np.arange(count) / 2.0, np.arange(count), 2.0, count, name=path)
        return processor.vision_inputs([frames])

    return prepare


def measure(given: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        width, height = map(int, given.size.split("x"))
        paths = clips(Path(folder), given.clips, given.seconds, width, height)
        ways = readers(given.rate, given.frames)
        prepare = preprocessing(given.model)
        for name, way in [*ways.items()]:
            if isinstance(way, str):
                print(f"{name}: {way}")
                del ways[name]
        reference = next(iter(ways.values()))(paths[0])
        shapes = {name: way(paths[0]).shape for name, way in ways.items()}
        off = {
            name: float(np.abs(way(paths[0]).astype(int) - reference).mean()) for name, way in ways.items()
        }
        for way in ways.values():  # every file once: places are known, disks warm
            for path in paths:
                way(path)
        print(f"{given.clips} clips of {given.seconds:g} s, {given.size}, 25 fps; frames {shapes}; off {off}")
        print(f"{'workers':>7} {'reader':12} {'decoded/s':>10} {'prepared/s':>11} {'PyAV x':>7}")
        for workers in map(int, given.workers.split(",")):
            times: dict[tuple[str, bool], list[float]] = {}
            with ThreadPoolExecutor(workers) as pool:
                for _ in range(ROUNDS):
                    for name, way in ways.items():
                        for whole in (False, True):
                            begin = time.perf_counter()
                            if whole:
                                list(pool.map(lambda path, way=way: prepare(way(path), path), paths))
                            else:
                                list(pool.map(way, paths))
                            times.setdefault((name, whole), []).append(time.perf_counter() - begin)
            speed = {key: len(paths) / statistics.median(found) for key, found in times.items()}
            for name in ways:
                ratio = speed[name, False] / speed["PyAV", False]
                print(
                    f"{workers:7} {name:12} {speed[name, False]:10.2f} {speed[name, True]:11.2f} {ratio:7.2f}"
                )


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--clips", type=int, default=16)
    args.add_argument("--seconds", type=float, default=8.0)
    args.add_argument("--size", default="640x360")
    args.add_argument("--rate", type=float, default=2.0)
    args.add_argument("--frames", type=int, default=8)
    args.add_argument("--workers", default="1,2,4")
    args.add_argument("--model", default="assets/tvad-tiny")
    args.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = args.parse_args()
    if given.inside:
        measure(given)
        return
    import av

    with tempfile.TemporaryDirectory() as folder:
        for found in Path(av.__file__).parents[1].glob("av.libs/lib[as][vw]*-*.so.*"):
            name, version = found.name.split("-")[0], found.name.split(".so.")[1].split(".")[0]
            (Path(folder) / f"{name}.so.{version}").symlink_to(found)
        path = os.pathsep.join(filter(None, (folder, os.environ.get("LD_LIBRARY_PATH"))))
        code = subprocess.run(
            [sys.executable, *sys.argv, "--inside"], env=os.environ | {"LD_LIBRARY_PATH": path}
        ).returncode
    sys.exit(code)


if __name__ == "__main__":
    main()
