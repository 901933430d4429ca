"""What three readers make of every kind of video file: ours, torchcodec, the ffmpeg command.

python tests/perf/file_kinds.py [--ffmpeg PATH] [--only NAME …]

Frames, seconds from the first to the last one's time stamp, width x height as shown; or that the file is
refused. A reader that is not there is said, and left out; torchcodec needs FFmpeg's shared libraries on
LD_LIBRARY_PATH."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))

from video_kinds import KINDS

from tvad.common.errors import InputError
from tvad.data import video

Found = tuple[int, float, int, int]  # frames, seconds, width, height


def ours(path: Path) -> Found | str:
    try:
        clock, height, width = video.inspect(path)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ").splitlines()[0]
    return len(clock), float(clock.times[-1]), width, height


def torchcodec() -> Callable[[Path], Found | str] | str:
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, OSError, RuntimeError) as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"

    def read(path: Path) -> Found | str:
        try:
            decoder = VideoDecoder(str(path))
            frames = decoder[:]
            stamps = decoder.get_frames_in_range(0, len(frames)).pts_seconds
        except Exception as error:  # whatever a foreign reader raises is what it makes of the file
            return f"{type(error).__name__}"
        return len(frames), float(stamps[-1] - stamps[0]), frames.shape[3], frames.shape[2]

    return read


def ffmpeg(command: str) -> Callable[[Path], Found | str]:
    def read(path: Path) -> Found | str:
        asked = ["-i", f"file:{path}", "-map", "0:V:0", "-fps_mode", "passthrough", "-vf", "showinfo"]
        told = subprocess.run(
            [command, "-hide_banner", "-nostdin", *asked, "-f", "null", "-"],
            capture_output=True,
            text=True,
            errors="replace",
        ).stderr
        shown = re.findall(r"\bn: *\d+ pts: *-?\w+ pts_time:(-?[\d.]+|NOPTS).*? s:(\d+)x(\d+)", told)
        if not shown:
            return "refused"
        stamps = [0.0 if t == "NOPTS" else float(t) for t, _, _ in shown]
        return len(shown), stamps[-1] - stamps[0], int(shown[0][1]), int(shown[0][2])

    return read


def words(found: Found | str) -> str:
    if isinstance(found, str):
        return "refused" if found == "refused" else found
    frames, length, width, height = found
    return f"{frames} in {length:.3f} s, {width} x {height}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ffmpeg", default=shutil.which("ffmpeg"), help="the command")
    parser.add_argument("--only", nargs="*", help="names of kinds")
    given = parser.parse_args()
    readers: dict[str, Callable[[Path], Found | str]] = {"ours": ours}
    if isinstance(found := torchcodec(), str):
        print(f"torchcodec is left out: {found}")
    else:
        readers["torchcodec"] = found
    if given.ffmpeg:
        readers["ffmpeg"] = ffmpeg(given.ffmpeg)
    else:
        print("ffmpeg is left out: no such command")
    print(f"| kind | {' | '.join(readers)} |\n|{'---|' * (len(readers) + 1)}")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for kind in KINDS:
            if given.only and kind.name not in given.only:
                continue
            path = Path(folder, kind.name)
            kind.make(path)
            cells = [words(read(path)) for read in readers.values()]
            print(f"| {kind.name!r} | {' | '.join(cells)} |".replace("'", "`"), flush=True)


if __name__ == "__main__":
    main()
