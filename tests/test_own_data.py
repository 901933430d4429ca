"""docs/own_data.md, done as it is written: six clips of six kinds and a messy table, to a report in the two
commands of its first block."""

import json
import re
import shlex
from pathlib import Path

import pytest
from clip_files import write_clip
from conftest import ROOT

from bench.__main__ import main as bench
from tvad.__main__ import main as tvad
from tvad.common.cli import guard
from tvad.data import check, load

PAGE = (ROOT / "docs/own_data.md").read_text()
CLIPS = {
    "cam 1.mp4": "libx264",
    "cam 2.avi": "mpeg4",
    "yard/cam 3.mkv": "libx264",
    "yard/cam 4.MOV": "libx264",
    "cam 5.webm": "libvpx",
    "cam 6.gif": "gif",
}
# A mark, semicolons, decimal commas, quoted line breaks, a column more, clock times, two and four options, a
# second question, a label that is not known.
MESSY = (
    "\ufeffFile Name;Camera;Is Anomaly;Anomaly Class;Begin (s);End (s);"
    "Question;Option 1;Option 2;Option 3;Option 4;Correct Option\r\n"
    'cam 1;north;Yes;Light on;3,0;5,5;"What happens,\r\nand when?";a light;a fire;a fight;nothing;A\r\n'
    "cam 1;north;yes;Light on;3,0;5,5;How many lamps?;1;2;;;1\r\n"
    "CAM 2.avi;north;no;Normal;;;What happens?;a light;a fire;a fight;nothing;nothing\r\n"
    "cam 3;yard;anomalous;Light on;0:03;00:00:05.5;What happens?;a light;a fire;a fight;;a light\r\n"
    "yard\\cam 4.MOV;yard;1;Light on;3;9;Is it dark at first?;;;;;yes\r\n"
    "cam 5;yard;?;;nan;-1;What goes on?;;;;;A lamp goes on and off again.\r\n"
    "cam 6;yard;normal;normal;;;What happens?;a light;a fire;a fight;nothing;D. nothing\r\n"
)


def documented():
    """The two commands, as words."""
    block = re.search(r"```sh\n(.*?)```", PAGE, re.S)[1]
    return [shlex.split(line) for line in block.splitlines()]


def test_the_two_commands_of_the_page_lead_to_a_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, codec in CLIPS.items():
        write_clip(tmp_path / "clips" / name, codec)
    (tmp_path / "my.csv").write_bytes(MESSY.encode())
    commands = documented()
    assert [words[0] for words in commands] == ["tvad", "bench"]
    assert guard(tvad, commands[0][1:]) == 0
    said = capsys.readouterr()
    assert "unused         'Camera'" in said.out and "separated by a semicolon" in said.out
    assert "6 clips in data/own; 0 rows refused" in said.out and said.err.splitlines()[-1].startswith("cut ")

    samples = {sample.id: sample for sample in load("data/own")}
    assert not check("data/own") and set(samples) == {f"cam {n}" for n in range(1, 7)}
    assert [s.label for s in samples.values()] == [
        "anomalous",
        "normal",
        "anomalous",
        "anomalous",
        None,
        "normal",
    ]
    assert (
        samples["cam 3"].spans == ((3.0, 5.5),)
        and samples["cam 4"].spans[0][1] == samples["cam 4"].video.duration
    )
    assert [q.answer for q in samples["cam 1"].questions[:2]] == ["A", "A"]
    assert samples["cam 5"].dialogue == (("What goes on?", "A lamp goes on and off again."),)

    assert guard(bench, commands[1][1:]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert all(task in first for task in ("mcq", "judgement", "classification", "temporal", "dialogue"))
    page = (tmp_path / "runs/own/report.html").read_text()
    assert "cam 1" in page and str(tmp_path) not in page
    metrics = json.loads((tmp_path / "runs/own/metrics.json").read_text())
    assert metrics["mcq.accuracy"]["n"] == 6 and metrics["judgement.accuracy"]["n"] == 5


def test_the_table_on_the_page_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cam 1.mp4", "cam 2.mp4", "cam 7.avi"):
        write_clip(tmp_path / "clips" / name, "mpeg4" if name.endswith("avi") else "libx264")
    (tmp_path / "my.csv").write_text(re.search(r"```text\n(file,.*?)```", PAGE, re.S)[1])
    assert guard(tvad, documented()[0][1:]) == 0 and len(load("data/own")) == 3


@pytest.mark.slow
def test_a_model_with_heatmaps_on_a_table_without_masks_leads_to_a_report(tmp_path, monkeypatch, capsys):
    """Normal videos have regions (none), the others have no mask: no curve of regions can be drawn."""
    monkeypatch.chdir(tmp_path)
    for name in ("cam 1.mp4", "cam 2.mp4", "cam 7.avi"):
        write_clip(tmp_path / "clips" / name, "mpeg4" if name.endswith("avi") else "libx264")
    (tmp_path / "my.csv").write_text(re.search(r"```text\n(file,.*?)```", PAGE, re.S)[1])
    first, second = documented()[:2]
    assert guard(tvad, first[1:]) == 0
    model = f"hf:{Path(__file__).parents[1] / 'assets/tvad-tiny'}"
    assert guard(bench, [model if word == "baseline:random" else word for word in second[1:]]) == 0
    assert "heatmap.rbdc, heatmap.tbdc: cannot be had" in capsys.readouterr().out
    page = (tmp_path / "runs/own/report.html").read_text()
    assert "frame ROC" in page and "regions found by false positives" not in page
