"""`bench score` into a folder: what it ends with, and that the folder holds one scoring at a time."""

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from bench import score as scoring
from bench.__main__ import main
from bench.compare import compare
from bench.models.baseline import Baseline
from bench.run import run
from bench.run_folder import METRICS, open_run
from bench.score import score
from bench.suite import Suite
from bench.tasks.heatmap import VIDEOS
from tvad.common.cli import guard
from tvad.common.errors import InputError
from tvad.data import Question, Sample, Video, load, masks, save, video

ASKED = Question("judgement", "Is there an anomaly?", "Yes")
LIT = np.zeros((20, 16, 16), bool)
LIT[5:10, 4:8, 4:8] = True


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four videos with masks, of two seconds each, two of them anomalous."""
    folder = tmp_path_factory.mktemp("four")
    for part in ("videos", "masks"):
        (folder / part).mkdir()
    video.write(folder / "videos/x.mp4", np.full((20, 16, 16, 3), 90, np.uint8), 10.0)
    masks.write(folder / "masks/lit.npz", LIT)
    masks.write(folder / "masks/dark.npz", np.zeros_like(LIT))
    labels = {"a": "anomalous", "b": "anomalous", "c": "normal", "d": "normal"}
    save(
        [
            Sample(
                *(name, "s", "test", Video("videos/x.mp4"), label),
                mask=f"masks/{'lit' if label == 'anomalous' else 'dark'}.npz",
                questions=(replace(ASKED, answer="Yes" if label == "anomalous" else "No"),),
            )
            for name, label in labels.items()
        ],
        folder,
    )
    return folder


@pytest.fixture
def plan(data):
    return Suite("s", str(data), ["judgement", "heatmap"], resamples=10)


def written(path: Path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def scores(names, value=0.5):
    return [
        {"id": n, "task": "heatmap", "frame_scores": [value, 0.9, 0.2, value], "stride": 5} for n in names
    ]


def answers(word):
    return [{"id": name, "task": "judgement", "response": word} for name in "abcd"]


def shape(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_rejected_lines_are_an_exit_status_and_the_report_is_there(data, tmp_path, capsys):
    good, bad = answers("Yes"), [{"id": "nobody", "task": "judgement", "response": "Yes"}]
    for rows, status in ((good, 0), (good + bad, 1)):
        out = tmp_path / f"out{status}"
        path = written(tmp_path / "answers.jsonl", rows)
        command = ["score", path, "--suite", "own", "--data", str(data), "--tasks", "[judgement]"]
        assert guard(main, [*command, "--out", str(out)]) == status
        told = capsys.readouterr()
        assert told.out.splitlines()[-1] == str(out / "report.html") and (out / "report.html").is_file()
        assert ("rejected" in told.err) == bool(status)


def test_lines_left_out_of_an_import_are_an_exit_status(data, tmp_path):
    rows = [{"doc": {"video": f"{s.id}.mp4"}, "filtered_resps": ["Yes"]} for s in load(data)]
    for log, status in ((rows, 0), ([*rows, {"doc": {"video": "z.mp4"}, "filtered_resps": ["Yes"]}], 1)):
        path = written(tmp_path / "samples.jsonl", log)
        command = ["import", path, "--suite", "own", "--data", str(data), "--task", "judgement"]
        assert guard(main, [*command, "--out", str(tmp_path / "answers.jsonl")]) == status


def test_a_folder_holds_the_last_scoring_and_nothing_of_one_before(plan, tmp_path):
    path = written(tmp_path / "lines.jsonl", [*scores("abcd"), *answers("Yes")])
    score(path, plan, tmp_path / "out")
    (tmp_path / "out/judge.json").write_text("{}")
    (tmp_path / "out/mine.txt").write_text("kept")
    written(tmp_path / "lines.jsonl", answers("No"))
    score(path, plan, tmp_path / "out")
    score(path, plan, tmp_path / "fresh")
    assert shape(tmp_path / "out") == shape(tmp_path / "fresh") | {"mine.txt": b"kept"}
    assert not any(d.metric.startswith("heatmap") for d in compare(tmp_path / "out", tmp_path / "out"))


# Scores in a process that dies without a word at its n-th change of a file's name.
DYING = """
import os, sys
from pathlib import Path
from bench.score import score
from bench.suite import Suite

path, data, out, left = *sys.argv[1:4], int(sys.argv[4])

def dying(original):
    def counted(*args, **more):
        global left
        if not left:
            os._exit(9)
        left -= 1
        return original(*args, **more)
    return counted

Path.replace, Path.unlink = dying(Path.replace), dying(Path.unlink)
score(path, Suite("s", data, ["judgement", "heatmap"], resamples=10), out)
"""


def killed_after(count: int, path: str, data: Path, out: Path) -> bool:
    command = [sys.executable, "-c", DYING, path, str(data), str(out), str(count)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120).returncode == 9


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_one_whole_scoring_or_none(data, plan, tmp_path):
    first = [*scores("abcd"), *answers("Yes")]
    last = [*scores("abcd", 0.1), *answers("No")]
    path = tmp_path / "lines.jsonl"
    for name, rows in (("first", first), ("last", last)):
        score(written(path, rows), plan, tmp_path / name)
    whole = [shape(tmp_path / name) for name in ("first", "last")]
    count = unfinished = 0
    while True:
        out = tmp_path / f"out{count}"
        score(written(path, first), plan, out)
        if not killed_after(count, written(path, last), data, out):
            break
        if (out / METRICS).exists():  # nothing says that it is not finished: then it is
            assert {k: v for k, v in shape(out).items() if not k.startswith(".")} in whole
        else:
            unfinished += 1
            with pytest.raises(InputError, match="not a finished run"):
                open_run(out)
        score(path, plan, out)  # and the same command goes through
        left = {k: v for k, v in shape(out).items() if not k.startswith(".")}
        assert left == whole[1]
        count += 1
    assert count > 5 and unfinished > 3


@pytest.mark.parametrize("where", ["score_item", "emptied", "write_record", "write_metrics"])
def test_an_interrupt_leaves_no_temporary_file_and_no_mixture(plan, tmp_path, monkeypatch, where):
    path = written(tmp_path / "lines.jsonl", [*scores("abcd"), *answers("Yes")])
    score(path, plan, tmp_path / "out")
    written(tmp_path / "lines.jsonl", answers("No"))
    before = shape(tmp_path / "out")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(scoring, where, interrupted)
    with suppress(KeyboardInterrupt):
        score(path, plan, tmp_path / "out")
    after = shape(tmp_path / "out")
    assert not [name for name in after if "tmp" in name]
    assert METRICS not in after or after == before


def test_what_a_model_has_answered_is_not_scored_over(plan, tmp_path):
    asked = replace(plan, tasks=["judgement"])
    run(Baseline("oracle"), "baseline:oracle", asked, tmp_path / "run")
    before = shape(tmp_path / "run")
    with pytest.raises(InputError, match=r"holds a run of baseline:oracle on suite .*; choose another --out"):
        score(written(tmp_path / "a.jsonl", answers("No")), asked, tmp_path / "run")
    assert shape(tmp_path / "run") == before


class Mapping(Baseline):
    """With maps of its own."""

    def heatmaps(self, frames):
        return [np.full((-(-len(f.moments) // 2), 4, 4), 0.5) for f in frames]


def test_a_run_that_goes_on_without_maps_keeps_none_of_the_old_ones(plan, tmp_path):
    run(Mapping("oracle"), "m", plan, tmp_path)
    assert (tmp_path / VIDEOS).exists()
    metrics = run(Mapping("oracle"), "m", replace(plan, tasks=["judgement"]), tmp_path)
    assert not any(name.startswith("heatmap") for name in metrics)
    assert not any(d.metric.startswith("heatmap") for d in compare(tmp_path, tmp_path))


def test_maps_of_some_videos_are_scored_and_the_others_are_named(plan, tmp_path):
    rng = np.random.default_rng(0)
    for name in "abc":
        np.savez(tmp_path / f"{name}.npz", heatmap=rng.random((20, 16, 16)).astype(np.float32))
    maps = [{"id": name, "task": "heatmap", "heatmap": f"{name}.npz"} for name in "abc"]
    alone, _ = score(written(tmp_path / "l.jsonl", [*maps, *scores("d")]), plan, tmp_path / "mixed")
    found = alone["heatmap.pixel_auc"]
    assert found.value is not None and found.n == 3
    assert found.note == "1 of 4 videos left out, frame scores alone: d"
    assert alone["heatmap.rbdc"].note.startswith("cannot be had")
    assert alone["heatmap.micro_auc"].n == 4 and alone["heatmap.micro_auc"].note is None
    three, _ = score(written(tmp_path / "l.jsonl", maps), replace(plan, max_videos=3), tmp_path / "three")
    assert three["heatmap.pixel_auc"].value == pytest.approx(found.value)


def test_no_score_is_as_bad_as_none(plan, tmp_path):
    """A video that is left out gains nothing, whatever it would have been given."""
    rng = np.random.default_rng(0)
    rows = [
        {"id": name, "task": "heatmap", "frame_scores": rng.random(4).tolist(), "stride": 5}
        for name in "abcd"
    ]
    whole = score(written(tmp_path / "rows.jsonl", rows), plan, tmp_path / "out")[0]
    for left_out in range(4):
        some = [row for n, row in enumerate(rows) if n != left_out]
        found = score(written(tmp_path / "rows.jsonl", some), plan, tmp_path / "out")[0]
        assert found["heatmap.missing"].value == 0.25
        for metric in ("heatmap.micro_auc", "heatmap.micro_ap"):
            assert found[metric].value < whole[metric].value
