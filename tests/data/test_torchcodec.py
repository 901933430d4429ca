"""Every kind of video file that torchcodec reads is read alike: frames, their times, the size as shown. It
runs in a process of its own, on PyAV's FFmpeg, so that nothing of it stays in this one."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import av
import pytest
from video_kinds import KINDS

from tvad.data import video

FEWER = {  # what torchcodec does not read: none of these may be one that it reads and we refuse
    *("b-frames.avi", "stream.ts", "joined.ts", "mpeg2.mpg", "interlaced.mpg", "bare.h264", "resized.mkv"),
    *("late-key.ts", "late-key.avi", "late-key.h264", "still.avi", "still.mp4", "still.m4v", "packed.avi"),
    *("pause-b.avi", "pause-b4.avi", "joined-short.ts", "joined-b.ts", "joined.mpg"),
    *("bare-30.h264", "bare-ntsc.h264", "bare.hevc", "bare.m2v"),
}
SILENT = {
    "playlist.mp4",
    "cut.mp4",
    "cut.mkv",
    "cut.avi",
}  # read by it as if they were whole files of their own

READ = """
import json, sys
import av  # what its FFmpeg needs is loaded with it
from torchcodec.decoders import VideoDecoder
print("imported", flush=True)
for path in json.load(sys.stdin):
    try:
        decoder = VideoDecoder(path)
        frames = decoder.get_frames_in_range(0, len(decoder[:]))
        found = [frames.pts_seconds.tolist(), *frames.data.shape[2:]]
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    print(json.dumps(found))
"""


def libraries(folder: Path) -> Path:
    """PyAV's FFmpeg under the names by which torchcodec asks for it."""
    for found in Path(av.__file__).parents[1].glob("av.libs/lib[as][vw]*-*.so.*"):
        name, version = found.name.split("-")[0], found.name.split(".so.")[1].split(".")[0]
        (folder / f"{name}.so.{version}").symlink_to(found)
    return folder


@pytest.fixture(scope="module")
def kinds(tmp_path_factory) -> dict[str, tuple[Path, list | str]]:
    """What torchcodec makes of each kind: [seconds of frames, height, width], or an error's words."""
    if find_spec("torchcodec") is None:
        pytest.skip("torchcodec is not installed")
    folder = tmp_path_factory.mktemp("kinds")
    for name in ("files", "libraries"):
        (folder / name).mkdir()
    places = os.pathsep.join([str(libraries(folder / "libraries")), os.environ.get("LD_LIBRARY_PATH", "")])
    paths = [folder / "files" / kind.name for kind in KINDS]
    for kind, path in zip(KINDS, paths, strict=True):
        kind.make(path)
    done = subprocess.run(
        [sys.executable, "-c", READ],
        input=json.dumps([str(path) for path in paths]),
        cwd=folder / "files",
        env=os.environ | {"LD_LIBRARY_PATH": places, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if not done.stdout:
        pytest.skip(f"torchcodec does not import: {done.stderr.strip().splitlines()[-1]}")
    found = [json.loads(line) for line in done.stdout.splitlines()[1:]]
    if lost := next((one for one in found if "Could not load libtorchcodec" in one), None):
        pytest.skip(f"torchcodec does not run: {lost.splitlines()[0]}")
    return {kind.name: (path, one) for kind, path, one in zip(KINDS, paths, found, strict=True)}


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_it_is_read_as_torchcodec_reads_it(kinds, kind):
    path, theirs = kinds[kind.name]
    if isinstance(theirs, str):
        assert kind.name in FEWER or kind.words or kind.times is None, theirs
        return
    if kind.name in SILENT:
        assert kind.words  # `test_file_kinds.py` holds that we refuse it
        return
    stamps, height, width = theirs
    clock, *size = video.inspect(path)
    assert clock.times == pytest.approx([t - stamps[0] for t in stamps], abs=0.0011)
    assert size == [height, width]
