"""Tables as strangers bring them (`tests/cases/table`), to a report; and readers that lose rows say so."""

import json
from pathlib import Path

import pytest
from clip_files import LIT, RATE, write_clip

from bench.__main__ import main as bench
from tvad.__main__ import main as tvad
from tvad.common.cli import guard
from tvad.data import check, load
from tvad.data.vau_bench import COLUMNS

CASES = Path(__file__).parent / "table"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("case") / "clips"
    for number in range(1, 6):
        write_clip(folder / f"cam {number}.mp4")
    write_clip(folder / "cam 7.avi", "mpeg4")
    return folder


def test_clips_and_a_table_become_a_report_in_two_commands(clips, tmp_path, capsys):
    data, run = tmp_path / "data", tmp_path / "run"
    table = CASES / "own-table" / "table.csv"
    assert guard(tvad, ["data", "table", str(table), "--videos", str(clips), "--out", str(data)]) == 0
    said = capsys.readouterr()
    assert "6 clips" in said.out and "0 rows refused" in said.out and "refused" not in said.err
    samples = {sample.id: sample for sample in load(data)}
    assert not check(data) and list(samples) == ["cam 1", "cam 2", "cam 3", "cam 4", "cam 5", "cam 7"]
    assert [s.label for s in samples.values()] == [
        *("anomalous", "normal", "anomalous", "anomalous", "normal", "anomalous")
    ]
    assert samples["cam 1"].spans == ((LIT[0] / RATE, (LIT[-1] + 1) / RATE),)
    assert samples["cam 4"].spans == ((3.0, 5.0),) and samples["cam 2"].spans == ()
    assert samples["cam 7"].video.path == "videos/cam 7.avi"
    assert samples["cam 7"].questions[0].options == ("a light goes on", "a fire", "a fight")

    asked = ["run", "--model", "baseline:random", "--suite", "own", "--data", str(data), "--out", str(run)]
    assert guard(bench, asked) == 0
    first = capsys.readouterr().out.splitlines()[0]
    record = json.loads((run / "run.json").read_text())
    assert {"mcq", "temporal", "judgement"} <= set(record["suite"]["tasks"]) and record[
        "tasks_from"
    ] == "data"
    assert all(task in first for task in record["suite"]["tasks"])
    assert (run / "report.html").stat().st_size > 10_000
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["mcq.accuracy"]["n"] == metrics["judgement.accuracy"]["n"] == 6


def test_a_reader_that_lost_rows_ends_with_status_1(clips, tmp_path, capsys):
    """A second question of one clip, three options, a clock time, an .avi: VAU-Bench's format has none of
    them, and what is lost is not passed over."""
    row = dict.fromkeys(COLUMNS, "-1") | {"Video Name": "cam 1.mp4", "Start Time": "0", "End Time": "0"}
    bad = [row, {"Start Time": "0:03"}, {"Video Name": "cam 7.avi"}]
    table = tmp_path / "rows.csv"
    lines = [",".join(COLUMNS), *(",".join((row | more).values()) for more in ({}, *bad))]
    table.write_text("\n".join(lines) + "\n")
    command = ["data", "vau-bench", str(table), "--videos", str(clips), "--out", str(tmp_path / "out")]
    assert guard(tvad, command) == 1
    said = capsys.readouterr()
    assert len([line for line in said.err.splitlines() if line.startswith("refused")]) == 3
    assert [sample.id for sample in load(tmp_path / "out")] == ["cam 1"]
