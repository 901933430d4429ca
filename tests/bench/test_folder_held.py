"""A run's folder belongs to one run, and to one process at a time; what stands in the way of a run is said
before a model is loaded. Which videos a smaller run asks about, and how much of them it holds."""

import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from clip_files import write_clip
from conftest import ROOT

from bench import asking
from bench import suite as suites
from bench.__main__ import main
from bench.models.base import Completion
from bench.models.baseline import Baseline
from bench.run import run
from bench.score import score
from tvad.common.cli import guard
from tvad.common.errors import InputError
from tvad.common.lock import NAME, locked
from tvad.data import Question, Sample, Video, check, save
from tvad.data import load as load_samples
from tvad.data.dataset import ClipStore
from tvad.data.video import Frames

MCQ = Question("mcq", "What is seen?", "A", ("a car", "a man"))
JUDGED = Question("judgement", "Is there an anomaly?", "No")


def samples(count, path="videos/x.mp4"):
    video = Video(path)
    return [Sample(f"v{n:02d}", "s", "test", video, "normal", questions=(MCQ, JUDGED)) for n in range(count)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held")
    write_clip(folder / "videos/x.mp4", frames=20)
    save(samples(12), folder)
    return folder


@pytest.fixture
def plan(data):
    return suites.Suite("own", str(data), ["mcq"], resamples=5)


def never():
    raise AssertionError("a model was loaded")


def shape(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_nothing_of_another_run_is_written_over_and_no_model_is_loaded_for_it(plan, tmp_path):
    both = replace(plan, tasks=["mcq", "judgement"])
    run(Baseline("oracle"), "a", both, tmp_path / "run")
    before = shape(tmp_path / "run")
    for name, suite, words in (
        ("b", both, "holds a run of a"),
        ("a", replace(both, rate=1.0), "holds a run of a"),
        ("a", plan, "holds answers to judgement"),
    ):
        with pytest.raises(InputError, match=words):
            run(never, name, suite, tmp_path / "run")
        assert shape(tmp_path / "run") == before
    run(Baseline("oracle"), "a", replace(both, tasks=["mcq", "judgement", "mcq_circular"]), tmp_path / "run")
    (tmp_path / "run/run.json").unlink()
    with pytest.raises(InputError, match=r"holds samples\.jsonl without run\.json"):
        run(never, "a", both, tmp_path / "run")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="no folder can be made there"):
        run(never, "a", both, tmp_path / "file")


def test_a_scoring_is_written_over_by_its_own_file_alone(plan, tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text('{"id": "v00#0", "task": "mcq", "response": "A"}\n')
    score(tmp_path / "one.jsonl", plan, tmp_path / "out")
    before = shape(tmp_path / "out")
    with pytest.raises(InputError, match=r"holds a run of predictions:.*one\.jsonl"):
        score(tmp_path / "two.jsonl", plan, tmp_path / "out")
    with pytest.raises(InputError, match="choose another --out"):
        score(tmp_path / "one.jsonl", replace(plan, rate=1.0), tmp_path / "out")
    assert shape(tmp_path / "out") == before
    score(tmp_path / "one.jsonl", plan, tmp_path / "out")
    assert shape(tmp_path / "out") == before


HOLDS = """
import os, sys, time
from tvad.common.lock import locked
with locked(sys.argv[1]):
    if sys.argv[2:] and not os.fork():
        time.sleep(60)
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder):
    found = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, cwd=ROOT)
    assert found.stdout.readline() == b"held\n"
    return found


def test_the_second_of_two_processes_says_so_and_a_kill_lets_go(plan, data, tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(f"name: own\ndata: {data}\ntasks: [mcq]\nresamples: 5\n")
    command = ["run", "--model", "baseline:oracle", "--suite", str(tmp_path / "s.yaml"), "--out"]
    one = holder(tmp_path / "run")
    try:
        assert guard(main, [*command, str(tmp_path / "run")]) == 2
        said = capsys.readouterr().err
        assert f"process {one.pid} is writing this run" in said and len(said.strip().splitlines()) == 1
        (tmp_path / "a.jsonl").write_text('{"id": "v00#0", "task": "mcq", "response": "A"}\n')
        with pytest.raises(InputError, match="is writing this run"):
            score(tmp_path / "a.jsonl", plan, tmp_path / "run")
    finally:
        one.kill()
        one.wait()
    assert (tmp_path / "run" / NAME).exists()
    assert guard(main, [*command, str(tmp_path / "run")]) == 0
    assert not (tmp_path / "run" / NAME).exists()
    with locked(tmp_path / "other"):
        pass
    assert not os.listdir(tmp_path / "other")


@pytest.mark.parametrize(
    "given, words",
    [
        ("resamples: 0", "resamples is 0"),
        ("rate: 0", "rate must be positive"),
        ("rate: -1", "rate must be positive"),
        ("rate: .nan", "rate must be positive"),
        ("max_frames: 0", "max-frames at least 2"),
        ("decode: {n: 0}", "decode.n is 0"),
        ("decode: {seed: -1}", "decode.seed is -1"),
        ("seed: -1", "seed is -1"),
        ("limit: 0", "limit is 0"),
        ("max_videos: 0", "max_videos is 0"),
        ("decode: {max_tokens: -4}", "decode.max_tokens is -4"),
    ],
)
def test_numbers_that_nothing_can_be_made_of_are_refused_in_one_line(data, tmp_path, capsys, given, words):
    (tmp_path / "s.yaml").write_text(f"name: own\ndata: {data}\ntasks: [mcq]\n{given}\n")
    command = ["run", "--model", "baseline:oracle", "--suite", str(tmp_path / "s.yaml"), "--out"]
    assert guard(main, [*command, str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.strip().splitlines()) == 1


def test_a_limit_draws_videos_by_its_seed_whatever_their_order(plan, data, tmp_path):
    def names(suite):
        return [sample.id for sample in suites.load(suite)[0]]

    few, more = names(replace(plan, limit=4)), names(replace(plan, limit=8))
    assert len(few) == 4 and few == sorted(few) and set(few) < set(more)
    assert few != names(plan)[:4] and few != names(replace(plan, limit=4, seed=1))
    assert (
        names(replace(plan, limit=99)) == names(plan)
        and names(replace(plan, max_videos=3)) == names(plan)[:3]
    )
    turned = tmp_path / "turned"
    write_clip(turned / "videos/x.mp4", frames=20)
    save(samples(12)[::-1], turned)
    assert sorted(names(replace(plan, limit=4, data=str(turned)))) == few


def test_videos_of_a_hubs_cache_are_links_and_read_and_checked_alike(tmp_path):
    cache = tmp_path / "hub/datasets--org--name"
    write_clip(cache / "blobs/x.mp4").rename(cache / "blobs/0a1b2c")
    root = cache / "snapshots/main"
    (root / "videos").mkdir(parents=True)
    (root / "videos/x.mp4").symlink_to("../../../blobs/0a1b2c")
    save(samples(2), root)
    assert check(root) == []
    assert ClipStore(2.0, 4).frames(load_samples(root)[0]).images.shape[0] == 4
    outside = replace(load_samples(root)[0], video=Video("../../blobs/0a1b2c"))
    with pytest.raises(InputError, match="leaves the data set's folder"):
        outside.clip()


class Dumb(Baseline):
    def sample(self, requests, sampling):
        return [[Completion("<answer>A</answer>")] for _ in requests]

    def heatmaps(self, frames):
        return [np.zeros((2, 2, 2), np.float32) for _ in frames]


def test_memory_does_not_grow_with_the_pixels_of_a_batch(data, tmp_path, monkeypatch):
    """64 clips of 12 MB, at most 40 MB at a time."""
    folder = tmp_path / "many"
    write_clip(folder / "videos/x.mp4", frames=20)
    save(samples(64), folder)

    def decode(self, key):
        images = np.zeros((4, 1000, 1000, 3), np.uint8)
        return Frames(images, np.arange(4) / 2, np.arange(4), 2.0, 4)

    monkeypatch.setattr(ClipStore, "decode", decode)
    monkeypatch.setattr(asking, "MOST_BYTES", 40_000_000)
    monkeypatch.setattr("bench.run.MOST_BYTES", 40_000_000)
    suite = suites.Suite("own", str(folder), ["mcq", "judgement", "heatmap"], resamples=5)
    tracemalloc.start()
    try:
        run(Dumb("oracle"), "m", suite, tmp_path / "run")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 150_000_000  # 770 of all
