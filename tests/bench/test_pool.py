"""`bench pool`: the runs of folds joined are what one run on all videos would be, and nothing is asked of a
model that saw the video."""

import json
import shutil

import numpy as np
import pytest

from bench.__main__ import main
from bench.models.baseline import Baseline
from bench.pool import pool
from bench.run import run
from bench.suite import Suite, load
from tvad.common.errors import InputError
from tvad.data.folds import folds

TASKS = ["mcq", "judgement", "temporal", "spatial", "dialogue", "heatmap"]


@pytest.fixture(scope="module")
def parted(scenes, tmp_path_factory):
    """Two folds of the scenes, each run by a baseline of another name, and one run on all."""
    out = tmp_path_factory.mktemp("pooled")
    folds([scenes], out / "data", 2)
    for n in range(2):
        _run(out / f"data/fold-{n}/test", out / f"run-{n}")
    _run(out / "data/all", out / "whole")
    return out


def suite(data, **other):
    return Suite("folds", str(data), TASKS, resamples=50, odds=True, **other)


class Both(Baseline):
    """Answers from the references, with maps and log-probabilities."""

    def odds(self, requests, opening, choices):
        rngs = [np.random.default_rng(list(str(request.messages).encode())) for request in requests]
        return [(-rng.random(len(some))).tolist() for rng, some in zip(rngs, choices, strict=True)]

    def heatmaps(self, frames):
        return [clip.images[::2].mean(-1).astype(np.float32) / 255 for clip in frames]


def _run(data, out, **other):
    return run(Both("oracle"), "m", suite(data, **other), out)


def pooled(parted, runs, out, **other):
    whole = suite(parted / "data/all", **other)
    return pool([str(run) for run in runs], whole, load(whole), out)


def test_folds_joined_are_one_run(parted, tmp_path, capsys):
    found = pooled(parted, [parted / "run-1", parted / "run-0"], tmp_path / "out")
    for name in ("metrics.json", "samples.jsonl", "odds.jsonl"):
        one, other = ((folder / name).read_text() for folder in (tmp_path / "out", parted / "whole"))
        assert one == other, name
    assert found["judgement.accuracy"].value == 1 and found["heatmap.micro_auc"].value is not None
    assert found["judgement.roc_auc"].value is not None
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["model"] == "pooled:m"
    sizes = [len(load(suite(parted / f"data/fold-{n}/test"))[0]) for n in (1, 0)]
    assert [part["videos"] for part in record["pooled"]] == sizes
    assert main(["compare", str(parted / "whole"), str(tmp_path / "out")]) == 0
    assert main(["report", str(tmp_path / "out")]) == 0
    capsys.readouterr()


def test_the_command_joins_them_with_a_report(parted, tmp_path, capsys):
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"version: 1\nname: folds\ndata: {parted / 'data/all'}\n"
        f"tasks: [{', '.join(TASKS)}]\nresamples: 50\nodds: true\n"
    )
    runs = [str(parted / f"run-{n}") for n in (0, 1)]
    assert main(["pool", *runs, "--suite", str(plan), "--out", str(tmp_path / "out")]) == 0
    assert "judgement.balanced_accuracy" in capsys.readouterr().out
    assert (tmp_path / "out/report.html").exists()


def test_what_cannot_be_joined_is_named_and_leaves_nothing(parted, tmp_path):
    out, (one, other) = tmp_path / "out", (parted / "run-0", parted / "run-1")
    again = tmp_path / "again"
    _run(parted / "data/fold-1/test", again, rate=1.0)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(other, unfinished)
    (unfinished / "metrics.json").unlink()
    fewer = tmp_path / "fewer"
    one_task = Suite("folds", str(parted / "data/fold-1/test"), ["judgement"], resamples=50, odds=True)
    run(Both("oracle"), "m", one_task, fewer)
    for runs, said in (
        ([one], "videos are in no run, the first"),
        ([one, other, other], "is also in"),
        ([one, again], "again: was made with rate 1.0, the suite says"),
        ([one, unfinished], "not a finished run"),
        ([one, fewer], "fewer: was not asked for dialogue, heatmap"),
        ([parted / "whole", one], "is also in"),
    ):
        with pytest.raises(InputError, match=said):
            pooled(parted, runs, out)
        assert not out.exists() or not [p for p in out.iterdir() if p.name != ".lock"]


def test_a_fold_without_heatmaps_or_log_probabilities_is_named(parted, tmp_path, capsys):
    bare = tmp_path / "bare"
    run(Baseline("oracle"), "m", suite(parted / "data/fold-1/test"), bare)
    capsys.readouterr()
    pooled(parted, [parted / "run-0", parted / "run-1"], tmp_path / "whole")
    assert capsys.readouterr().err == ""
    found = pooled(parted, [parted / "run-0", bare], tmp_path / "out")
    sizes = [len(load(suite(parted / f"data/fold-{n}/test"))[0]) for n in (0, 1)]
    of = f"their metrics are of {sizes[0]} of {sum(sizes)} videos"
    assert capsys.readouterr().err.splitlines() == [
        f"{bare}: has no {what}; {of}" for what in ("heatmaps", "log-probabilities")
    ]
    assert found["heatmap.micro_auc"].value is not None
    other = tmp_path / "other"
    run(Baseline("oracle"), "m", suite(parted / "data/fold-0/test"), other)
    capsys.readouterr()
    pooled(parted, [other, bare], tmp_path / "none")
    assert capsys.readouterr().err.splitlines() == [
        f"{one}: has no heatmaps; nor has any other" for one in (other, bare)
    ]


def test_data_that_have_changed_since_are_not_joined(parted, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(parted / "data", data)
    rows = data / "all/samples.jsonl"
    text = rows.read_text()
    assert '"Yes"' in text
    rows.write_text(text.replace('"Yes"', '"No"', 1))
    whole = suite(data / "all")
    with pytest.raises(InputError, match="tell otherwise"):
        pool([str(parted / "run-0"), str(parted / "run-1")], whole, load(whole), tmp_path / "out")
