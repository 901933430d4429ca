"""`make real` and `make real-folds`: what is done is kept, and another UCSD or TRACKS takes effect or is
refused. The commands themselves are a stub, which writes down what it is given and makes the data set."""

import shutil
import subprocess

import pytest
from conftest import ROOT

STUB = """#!/bin/sh
echo "$*" >> calls
while test $# -gt 0; do if test "$1" = --out; then mkdir -p "$2" && touch "$2/samples.jsonl"; fi; shift; done
"""


@pytest.fixture
def make(tmp_path):
    if shutil.which("make") is None:
        pytest.skip("no make")
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "stub").write_text(STUB)
    (tmp_path / "stub").chmod(0o755)
    for name in ("UCSDped2", "other/UCSDped2"):
        (tmp_path / name / "Test").mkdir(parents=True)
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text(name)

    def run(*words):
        (tmp_path / "calls").unlink(missing_ok=True)
        found = subprocess.run(
            ["make", "-s", "-o", "setup", "RUN=./stub", *words], cwd=tmp_path, capture_output=True, text=True
        )
        calls = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
        return (
            found.returncode,
            [call for call in calls if " data ucsd " in call or " windows " in call],
            found,
        )

    return run


def refused(found, *words):
    code, calls, process = found
    (line,) = process.stdout.splitlines()
    assert code and not calls, calls
    for word in words:
        assert word in line


def test_tracks_given_after_real_was_made_without_take_effect(make, tmp_path):
    code, calls, process = make("real", "UCSD=other/UCSDped2")
    assert code == 0 and len(calls) == 2, process.stderr
    footage = tmp_path / "other/UCSDped2"
    assert calls[0] == f"-m tvad data ucsd {footage} --split test --out data/ucsd/test"
    code, calls, process = make("real-folds", "TRACKS=one.jsonl")
    assert code == 0, process.stderr
    assert calls[0].endswith(f"ucsd {footage} --split test --tracks one.jsonl --out data/ucsd/tracked")
    assert "windows data/ucsd/tracked " in calls[1] and "windows data/ucsd/train " in calls[2]
    assert make("real-folds", "TRACKS=one.jsonl")[:2] == (0, [])
    assert make("real", "UCSD=other/UCSDped2")[:2] == (0, []) and make("real")[:2] == (0, [])


def test_other_tracks_and_other_footage_are_refused_in_one_line(make, tmp_path):
    assert make("real-folds", "TRACKS=one.jsonl")[0] == 0
    refused(
        make("real-folds", "TRACKS=two.jsonl"),
        "make real-folds: made with TRACKS=",
        "delete data/ucsd/tracked/",
    )
    refused(
        make("real-folds", "TRACKS=one.jsonl", "UCSD=other/UCSDped2"),
        "made with UCSD=",
        "other/UCSDped2: delete",
    )
    refused(make("real", "UCSD=other/UCSDped2"), "make real: made with UCSD=")
    (tmp_path / "three.jsonl").write_text("one")  # the content counts
    assert make("real-folds", "TRACKS=three.jsonl", f"UCSD={tmp_path}/UCSDped2")[:2] == (0, [])
    assert make("real", "TRACKS=two.jsonl")[0] == 0  # its own test videos
    refused(make("real", "TRACKS=one.jsonl"), "made with TRACKS=", "delete data/ucsd/test and runs/real")
    refused(make("real"), "made with TRACKS=", ", not none: ")
    refused(make("real", "TRACKS=four.jsonl"), "make real TRACKS=FILE: no such file: four.jsonl")


def test_what_an_earlier_version_made_of_nobody_knows_what_is_refused(make, tmp_path):
    folder = tmp_path / "data/ucsd/windows/test"
    folder.mkdir(parents=True)
    (folder / "samples.jsonl").touch()
    refused(make("real-folds", "TRACKS=one.jsonl"), "made with TRACKS=(nothing says it), not ")


def test_what_was_killed_before_it_was_made_may_be_begun_with_other_tracks(make, tmp_path):
    assert make("real-folds", "TRACKS=one.jsonl")[0] == 0
    shutil.rmtree(tmp_path / "data/ucsd/tracked"), shutil.rmtree(tmp_path / "data/ucsd/windows")
    code, calls, _ = make("real-folds", "TRACKS=two.jsonl")
    assert code == 0 and "--tracks two.jsonl" in calls[0]
