"""The web demo's folder: gone when the server ends, however it is asked to, and swept where it was killed."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from tvad.common.errors import InputError
from tvad.data import video
from tvad.use import preview
from tvad.use.page_folder import LOCK, own_folder, sweep

# What the demo's server does with its folder, without its page.
SERVER = """
import sys
from tvad.use.page_folder import own_folder

with own_folder() as (folder, stop):
    (folder / "upload.mp4").write_text("a visitor's")
    print("building", flush=True)
    sys.stdin.readline()
    if not stop.is_set():
        print("serving", flush=True)
    stop.wait()
"""


@pytest.fixture
def begun(tmp_path):
    """Starts servers whose temporary files lie in tmp_path, up to "building"."""
    running = []

    def begin(*before):
        running.append(
            subprocess.Popen(
                [*before, sys.executable, "-c", SERVER],
                env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert running[-1].stdout.readline() == "building\n"
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait(60)


def go_on(process):
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("serving", [False, True])
def test_a_server_that_is_asked_to_end_leaves_nothing(begun, tmp_path, number, serving):
    process = begun("env", "--default-signal=HUP")  # these tests may run under nohup themselves
    assert list(tmp_path.glob("tvad-demo-*/upload.mp4"))
    if serving:
        go_on(process)
        assert process.stdout.readline() == "serving\n"
    process.send_signal(number)
    if not serving:
        go_on(process)
    assert process.wait(60) == 0 and not list(tmp_path.iterdir())
    assert process.stdout.read() == ""  # one that was asked while it began serves nobody


def test_what_a_killed_server_left_is_swept_by_the_next_and_nothing_else(begun, tmp_path):
    lives, killed = begun(), begun()
    killed.kill()
    killed.wait(60)
    (tmp_path / "tvad-demo-unlocked").mkdir()  # not the demo's, or just being made
    (tmp_path / "tvad-demo-unlocked" / "upload.mp4").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / LOCK).write_text("")
    os.symlink("other", tmp_path / "tvad-demo-link")
    (tmp_path / "tvad-demo-file").write_text("mine")
    (tmp_path / "tvad-demo-turned").mkdir()
    os.symlink("../other/lock", tmp_path / "tvad-demo-turned" / LOCK)
    assert len(list(tmp_path.glob("tvad-demo-*/upload.mp4"))) == 3
    begun()
    assert len(list(tmp_path.glob("tvad-demo-*/upload.mp4"))) == 3  # the killed one's went, a new one came
    kept = {"other", "tvad-demo-link", "tvad-demo-file", "tvad-demo-turned", "tvad-demo-unlocked"}
    assert kept < {p.name for p in tmp_path.iterdir()} and (tmp_path / "other" / LOCK).exists()
    assert lives.poll() is None


def test_nohup_keeps_a_server(begun):
    process = begun("nohup")
    process.send_signal(signal.SIGHUP)
    go_on(process)
    assert process.stdout.readline() == "serving\n"


def test_another_users_folder_is_not_swept(tmp_path, monkeypatch):
    monkeypatch.setattr("signal.signal", lambda *_: None)  # those of the tests stay
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with own_folder() as (folder, _):
        sweep()  # held: by this very process
        assert (folder / LOCK).exists()
    left = tmp_path / "tvad-demo-left"
    left.mkdir()
    (left / LOCK).write_text("")
    with monkeypatch.context() as other:
        other.setattr("os.getuid", lambda: 12345678)
        sweep()
    assert left.exists()
    sweep()
    assert not left.exists()


def test_a_preview_opens_no_other_file_than_the_one_given(tmp_path):
    """FFmpeg reads a playlist as the files that it names."""
    video.write(tmp_path / "ok.mp4", np.zeros((8, 64, 64, 3), np.uint8), 4)
    assert preview.plays(str(tmp_path / "ok.mp4"))
    evil = tmp_path / "evil.mp4"
    for text in (
        "ffconcat version 1.0\nfile ok.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nok.mp4\n",
    ):
        evil.write_text(text)
        for look in (preview.plays, lambda path: preview.make(path, tmp_path, print)):
            with pytest.raises(InputError, match=r"evil\.mp4: cannot be decoded"):
                look(str(evil))
    with pytest.raises(InputError, match="no such video file"):
        preview.plays(f"concat:{tmp_path / 'ok.mp4'}")
