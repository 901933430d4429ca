"""What a run has seen: a video that has changed since, other weights, other frames in another run."""

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
from clip_files import write_clip
from conftest import SHIPPED
from safetensors.torch import load_file

from bench import inputs, models, suite
from bench.cache import identity
from bench.compare import pairs
from bench.models.baseline import Baseline
from bench.report import write_report
from bench.run import run
from tvad.common.errors import InputError
from tvad.data import Question, Sample, Video, save


@pytest.fixture
def plan(tmp_path):
    folder = tmp_path / "data"
    asked = (Question("judgement", "Is there an anomaly?", "No"),)
    for n in range(3):
        write_clip(folder / f"videos/{n}.mp4", frames=30)
    save(
        [Sample(f"v{n}", "s", "test", Video(f"videos/{n}.mp4"), "normal", questions=asked) for n in range(3)],
        folder,
    )
    return suite.Suite("own", str(folder), ["judgement"], resamples=5)


def never():
    raise AssertionError("a model was loaded")


def test_a_run_does_not_go_on_with_another_video(plan, tmp_path, monkeypatch):
    run(Baseline("oracle"), "m", plan, tmp_path / "a")
    first = {file.name: file.read_bytes() for file in (tmp_path / "a").iterdir() if file.name != "run.json"}
    lines = [json.loads(line) for line in (tmp_path / "a/samples.jsonl").read_text().splitlines()]
    assert all(len(line["video"]) == len(line["shown"]) == 16 for line in lines)
    with monkeypatch.context() as patched:  # what has not changed is not read again
        patched.setattr(inputs, "file_hash", lambda file: never())
        run(Baseline("oracle"), "m", plan, tmp_path / "a")
    assert first == {f.name: f.read_bytes() for f in (tmp_path / "a").iterdir() if f.name != "run.json"}
    video = tmp_path / "data/videos/1.mp4"
    stamp = video.stat()
    write_clip(video, frames=30, lit=range(3))
    with pytest.raises(InputError, match=r"v1: videos/1\.mp4 was .*another video; choose another --out"):
        run(never, "m", plan, tmp_path / "a")
    (tmp_path / "a/inputs.jsonl").unlink()  # as a kill leaves it
    with pytest.raises(InputError, match=r"v1: videos/1\.mp4 was"):
        run(never, "m", plan, tmp_path / "a")
    run(Baseline("oracle"), "m", plan, tmp_path / "b")
    assert pairs(tmp_path / "a", tmp_path / "b").difference.endswith("the bytes of video v1 differ")
    os.utime(video, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    run(Baseline("oracle"), "m", plan, tmp_path / "b")  # touched: the same bytes


def test_videos_that_heatmaps_alone_are_made_of_are_inputs(plan, tmp_path):
    run(Baseline("constant"), "m", replace(plan, tasks=["heatmap"]), tmp_path / "a")
    lines = (tmp_path / "a/inputs.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["v0", "v1", "v2"]
    write_clip(tmp_path / "data/videos/1.mp4", frames=30, lit=range(3))
    with pytest.raises(InputError, match=r"v1: videos/1\.mp4 was .*another video"):
        run(never, "m", replace(plan, tasks=["heatmap"]), tmp_path / "a")


def test_what_was_in_effect_without_saying_so_is_no_other_run(plan, tmp_path):
    spec = f"hf:{SHIPPED}"
    run(Baseline("oracle"), spec, plan, tmp_path / "a", opened={"opened": {}})
    run(Baseline("oracle"), spec, plan, tmp_path / "a", opened={"opened": {"dtype": "auto"}})
    with pytest.raises(InputError, match="opened with dtype 'auto', not 'float16'"):
        run(never, spec, plan, tmp_path / "a", opened={"opened": {"dtype": "float16"}})


def test_the_first_input_that_differs_between_runs_is_named(plan, tmp_path):
    run(Baseline("oracle"), "m", plan, tmp_path / "a")
    run(Baseline("oracle"), "m", plan, tmp_path / "same")
    assert pairs(tmp_path / "a", tmp_path / "same").difference == ""
    run(Baseline("oracle"), "m", replace(plan, decode=suite.Decode(max_tokens=9)), tmp_path / "b")
    assert pairs(tmp_path / "a", tmp_path / "b").difference.endswith(
        "v0#0 was asked in another way (prompt or decoding)"
    )
    page = write_report(tmp_path / "b", tmp_path / "a").read_text()
    assert "The first input that differs: v0#0 was asked in another way" in page
    file = tmp_path / "b/samples.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[0]["shown"] = "0" * 16
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "other frames of video v0 were shown for v0#0" in pairs(tmp_path / "a", tmp_path / "b").difference


def test_a_run_does_not_go_on_with_other_weights(plan, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"one")
    run(Baseline("oracle"), f"hf:{folder}", plan, tmp_path / "a")
    assert json.loads((tmp_path / "a/run.json").read_text())["weights"]["digest"]
    run(Baseline("oracle"), f"hf:{folder}", plan, tmp_path / "a")
    (folder / "model.safetensors").write_bytes(b"two")
    with pytest.raises(InputError, match="other weights; choose another --out"):
        run(never, f"hf:{folder}", plan, tmp_path / "a")


def test_a_run_does_not_go_on_with_other_code_of_the_checkpoints(plan, tmp_path):
    """trust_remote_code runs it: it decides the answers as the weights do."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "modeling_odd.py").write_text("A = 1")
    run(Baseline("oracle"), f"hf:{folder}", plan, tmp_path / "a")
    before = identity(f"hf:{folder}")
    (folder / "modeling_odd.py").write_text("A = 2")
    assert identity(f"hf:{folder}") != before  # nor does --cache give the one's answers for the other
    with pytest.raises(InputError, match="other weights; choose another --out"):
        run(never, f"hf:{folder}", plan, tmp_path / "a")


@pytest.mark.parametrize("kind", ["hf", "vllm"])
def test_pickled_weights_are_not_opened(kind, tmp_path):
    """No digest counts them."""
    folder = tmp_path / "model"
    shutil.copytree(SHIPPED, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"its weights are pickled \(pytorch_model\.bin\), expected"):
        models.load(f"{kind}:{folder}")
