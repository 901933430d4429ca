"""From which runs a threshold may be carried."""

import json

import pytest

from bench.threshold import check_alike
from tvad.common.errors import InputError


def run(folder, suite_hash, digests):
    folder.mkdir()
    record = {"model": "hf:m", "suite": {"rate": 2.0}, "suite_hash": suite_hash}
    (folder / "run.json").write_text(json.dumps(record))
    rows = [{"id": str(n), "file": f"{n}.mp4", "digest": digest} for n, digest in enumerate(digests)]
    (folder / "inputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def test_a_threshold_of_the_same_videos_is_none(tmp_path, capsys):
    """Another run, or a copy, of the videos that are tested is no validation: that F1 is the best one."""
    tested = run(tmp_path / "tested", "a", "pq")
    for name, suite, videos in (("again", "a", ""), ("other suite", "b", "qpr")):
        with pytest.raises(InputError, match="has the run's own videos"):
            check_alike(tested, run(tmp_path / name, suite, videos))
    check_alike(tested, run(tmp_path / "partly", "b", "qr"))
    assert "1 of the run's 2 videos are in" in capsys.readouterr().err
    check_alike(tested, run(tmp_path / "others", "b", "rs"))
    assert not capsys.readouterr().err
