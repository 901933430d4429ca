"""The measurement beside peers runs, and counts the same work: in a step of the same prompts and lengths this
project encodes a clip once a group in either part, TRL once a completion."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_a_step_is_measured_beside_trls(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "tests/perf/grpo_peers.py", "--ways", "ours", "trl, generate"),
            *("--shape", "groups=2,size=4,tokens=8", "--shape", "groups=2,size=2,tokens=8,accumulation=2"),
            *("--turns", "2", "--warm", "0", "--out", str(tmp_path)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "peers.json").read_text(encoding="utf-8"))
    assert [shape["shape"]["accumulation"] for shape in found] == [1, 2]
    clips = [
        {way: [turn["clips"] for turn in turns] for way, turns in shape["turns"].items()} for shape in found
    ]
    assert [c["ours"] for c in clips] == [[4, 4], [4, 4]]  # by the engine, by the trainer
    assert all(min(c["trl, generate"]) > 4 for c in clips)
    assert all(turn["seconds"] > 0 for shape in found for turns in shape["turns"].values() for turn in turns)
    assert "| trl, generate |" in done.stdout


@pytest.mark.slow
def test_a_way_that_dies_is_told_of_and_not_compared(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "tests/perf/grpo_peers.py", "--ways", "--swift", sys.executable),
            *("--shape", "groups=2,size=2,tokens=8", "--turns", "1", "--warm", "0", "--out", str(tmp_path)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert "swift: ended in turn 0 of 2 x 2, tokens 8, see " in done.stderr
    assert json.loads((tmp_path / "peers.json").read_text(encoding="utf-8"))[0]["turns"] == {}
