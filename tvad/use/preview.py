"""Clips for the web demo: whether a browser plays one, one that it plays, and some to begin with."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tvad.data import video
from tvad.data.scenes.render import make_clip
from tvad.data.video.file import VideoFile
from tvad.pictures import fit

# Suffix -> codecs that every current browser plays in it, 8 bits, 4:2:0.
PLAYED = {
    ".mp4": ("h264", "av1", "vp9"),
    ".m4v": ("h264",),
    ".webm": ("vp8", "vp9", "av1"),
}
PIXELS = ("yuv420p", "yuvj420p")
EXAMPLES = ["somebody falls", "a car drives in", "nothing happens"]
_SCENES = ((11, "falling"), (5, "vehicle intrusion"), (7, None))  # seed and class of each


def plays(path: str) -> bool:
    """Whether browsers play this file as it is. Raises InputError for one that is no usable video."""
    file = VideoFile(path)
    played = PLAYED.get(Path(path).suffix.lower(), ())
    return file.codec.removeprefix("lib") in played and file.pixels in PIXELS


def make(path: str, folder: Path, told: Callable[[float], None]) -> Path:
    """The video as H.264, small, in a folder of its own below `folder`. `told`: called with the share that is
    done. Raises InputError for a file that is no usable video."""
    made = Path(tempfile.mkdtemp(dir=folder)) / f"{Path(path).stem}.mp4"
    clock, _, _ = video.inspect(path)
    with video.Reader(path) as reader:

        def frames() -> Iterator:
            for index, image in reader.frames():
                if index % 10 == 0:
                    told(float(clock.times[index]) / clock.end)
                yield fit(image)

        video.write(made, frames(), clock, crf=26)
    return made


def examples(folder: Path) -> list[Path]:
    """Generated clips below `folder`, one a name in EXAMPLES."""
    made = []
    for (seed, category), name in zip(_SCENES, EXAMPLES, strict=True):
        path = folder / f"{name.replace(' ', '-')}.mp4"
        video.write(path, make_clip(seed, category, core=True, max_crowd=2).frames, 4)
        made.append(path)
    return made
