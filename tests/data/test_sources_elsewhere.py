"""Sources as people's disks hold them: links that are relative, folders that are links, upper-case suffixes,
tables that are mended meanwhile, a full disk, two processes at once."""

import errno
import json
import os
import shutil

import cv2
import numpy as np
import pytest
from test_killed_builds import SIZE, dies, files_of, killed, ped, refused, ucf

from tvad.__main__ import main
from tvad.common.cli import guard
from tvad.common.lock import locked
from tvad.data import build, load, video
from tvad.data.readers import files


def run(call):
    return guard(main, [str(word) for word in call])


def store(root):
    """UCF-Crime as a cache of blobs holds it: each video is a relative link."""
    words, *_ = ucf(root)
    (root / "blobs").mkdir()
    for n, path in enumerate(sorted((root / "videos").glob("*.mp4"))):
        shutil.move(path, root / f"blobs/{n}")
        path.symlink_to(f"../blobs/{n}")
    return words


def test_relative_links_are_put_into_a_set_as_what_they_lead_to(tmp_path):
    out = tmp_path / "far/away/out"
    assert run(["data", *store(tmp_path), "--split", "test", "--out", out]) == 0
    samples = load(out)
    assert len(samples) == 3
    assert all(not (out / s.video.path).is_symlink() for s in samples)
    assert all(video.decode(out / s.video.path).total == 12 for s in samples)


def test_parts_of_a_set_lie_in_folders_that_are_links(tmp_path):
    words, *_ = ucf(tmp_path)
    shutil.move(tmp_path / "videos", tmp_path / "disk")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/part").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/back").symlink_to(tmp_path / "videos")  # and round again
    os.rename(tmp_path / "disk/Abuse001_x264.mp4", tmp_path / "disk/Abuse001_x264.MP4")
    assert run(["data", *words, "--split", "test", "--out", tmp_path / "out"]) == 0
    assert len(load(tmp_path / "out")) == 3
    assert all(len(found) == 1 for found in files.below(tmp_path / "videos").values())


def captions(root):
    words, module, name = ucf(root)
    words = [*words, "--split", "test", "--captions", root / "uca"]
    return words, module, name, root / "uca/UCFCrime_Test.json", "A dog.", "A cat."


def listed(root):
    words, module, name = ped(root)
    return [*words, "--split", "test"], module, name, root / "UCSDped2/Test/UCSDped2.m", "[2:4]", "[2:5]"


@pytest.mark.parametrize("layout", [captions, listed])
def test_a_table_that_was_mended_meanwhile_is_another_one(tmp_path, capsys, monkeypatch, layout):
    words, module, name, table, old, new = layout(tmp_path)
    call = ["data", *words, "--out", tmp_path / "out"]
    with monkeypatch.context() as patched:
        dies(patched, module, name)
        killed(call)
    before = table.read_text()
    assert old in before
    table.write_text(before.replace(old, new))
    assert table.name in refused(capsys, call)
    table.write_text(before)
    assert run(call) == 0


@pytest.mark.parametrize("where", ["link", "write_lines"])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path, capsys, monkeypatch, where):
    """No fault of the video that was being linked: it is not left out of the set."""
    call = ["data", *ucf(tmp_path)[0], "--split", "test", "--out", tmp_path / "out"]
    inner, calls = shutil.copyfile, []

    def full(*given):
        calls.append(given)
        if where == "link" and len(calls) < 2:
            return inner(*given)
        raise OSError(errno.ENOSPC, "No space left on device")

    def elsewhere(*given):
        raise OSError(errno.EXDEV, "another file system")

    with monkeypatch.context() as patched:
        if where == "link":
            patched.setattr(build.os, "link", elsewhere)
            patched.setattr(build.shutil, "copyfile", full)
        else:
            patched.setattr(build, "write_lines", full)
        assert run(call) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line == f"error: {tmp_path / 'out'}: No space left on device; the same command goes on"
    assert not (tmp_path / "out/samples.jsonl").exists()
    assert run(call) == 0 and len(load(tmp_path / "out")) == 3


def test_two_processes_do_not_make_one_set(tmp_path, capsys):
    call = ["data", *ucf(tmp_path)[0], "--split", "test", "--out", tmp_path / "out"]
    with locked(tmp_path / "out"):
        assert run(call) == 2
        assert "is writing" in capsys.readouterr().err
    assert run(call) == 0 and {p.name for p in (tmp_path / "out").iterdir()} >= {"samples.jsonl", "videos"}
    assert not (tmp_path / "out/.lock").exists() and files_of(tmp_path / "out")


def test_masks_that_light_nothing_do_not_make_an_anomaly_normal(tmp_path, capsys):
    words, *_ = ped(tmp_path)
    folder = tmp_path / "UCSDped2/Test/Test001_gt"
    folder.mkdir()
    for n in range(1, 7):
        cv2.imwrite(str(folder / f"{n:03d}.bmp"), np.zeros(SIZE, np.uint8))
    assert run(["data", *words, "--split", "test", "--out", tmp_path / "out"]) == 1
    assert "nothing is lit, but 3 frames are listed as anomalous" in capsys.readouterr().err
    rows = [json.loads(line) for line in (tmp_path / "out/samples.jsonl").read_text().splitlines()]
    assert [(row["id"], row["label"]) for row in rows] == [("Test002", "anomalous")]
