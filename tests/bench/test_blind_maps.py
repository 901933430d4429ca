"""Heatmaps that look at nothing earn chance, or what a clip's length and the picture's middle give away; and
maps of a sure model keep their order in a run's folder."""

from dataclasses import replace

import numpy as np
import pytest

from bench import suite
from bench.models.baseline import MAPS, Baseline
from bench.run import run
from bench.run_folder import read_maps
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.data.video import Frames


def clip(count: int, name: str) -> Frames:
    return Frames(
        np.zeros((5, 8, 8, 3), np.uint8), np.arange(5.0), np.arange(5), 10.0, total=count, name=name
    )


def maps(which: str, clips: list[Frames]) -> np.ndarray:
    found = Baseline(which).heatmaps(clips)
    assert all(m.shape[0] == 3 and m.min() >= 0 and m.max() <= 1 for m in found)
    return np.stack(found)


def test_they_know_the_length_the_middle_or_nothing():
    clips = [clip(10 * (n + 1), f"{n}.mp4") for n in range(40)]
    length = maps("length", clips)
    assert (np.diff(length.mean((1, 2, 3))) > 0).all() and np.ptp(length[3]) == 0
    constant = maps("constant", clips)
    assert len(np.unique(constant)) == 40 and 0.35 < constant[:, 0, 0, 0].mean() < 0.65
    assert np.array_equal(constant, maps("constant", clips))
    centre = maps("centre", clips)
    assert (centre == centre[0, 0]).all() and centre[0, 0, 16, 16] > 0.95 > 0.1 > centre[0, 0, 0, 0]
    assert np.array_equal(centre, centre[..., ::-1, :]) and np.array_equal(centre, centre[..., ::-1])
    assert Baseline("prior").heatmaps(clips) is None


@pytest.mark.parametrize("which", MAPS)
def test_a_run_scores_them(scenes, tmp_path, which):
    plan = suite.read("scenes", ["--data", str(scenes), "--tasks", "[heatmap, mcq]", "--resamples", "20"])
    found = run(Baseline(which), f"baseline:{which}", plan, tmp_path)
    assert found["heatmap.micro_auc"].value is not None and found["mcq.accuracy"].value is not None
    if which == "centre":  # the same for every frame
        assert found["heatmap.micro_auc"].value == 0.5


def test_the_order_of_maps_near_one_is_kept(scenes, tmp_path):
    """In half precision 0.9990 to 0.9999 are three numbers."""
    plan = replace(
        suite.read("scenes", ["--data", str(scenes), "--tasks", "[heatmap]", "--resamples", "20"]),
        max_videos=2,
    )
    rng = np.random.default_rng(0)

    class Sure(Baseline):
        def heatmaps(self, frames):
            return [0.999 + 9e-4 * rng.random((-(-len(f.images) // 2), 6, 6)) for f in frames]

    run(Sure("prior"), "baseline:prior", plan, tmp_path)
    kept = read_maps(tmp_path / "heatmaps.npz")
    assert len(kept) == 2 and all(len(np.unique(m)) > 0.9 * m.size for m in kept.values())


def test_what_is_asked_beside_does_not_name_the_answer(scenes):
    """A pool of answers read off a batch would be that batch's labels: a suite's rows are often ordered."""
    from bench.models.base import Request, Sampling
    from bench.suite import Item

    samples = [s for s in load(scenes) if s.label == "normal"]
    store = ClipStore(2.0, 4)
    asked = [(s, q) for s in samples for q in s.questions if q.kind == "judgement"]
    requests = [
        Request([], store.frames(s), Item(f"{s.id}{n}", q.kind, s, q), f"{s.id}{n}")
        for n in range(30)
        for s, q in asked[:2]
    ]
    said = [c[0].text for c in Baseline("random").sample(requests, Sampling(1, 1.0))]
    assert {"Yes", "No"} <= {word for word in ("Yes", "No") for text in said if word in text}
