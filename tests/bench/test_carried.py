"""From which runs a threshold may be carried."""

import json

import numpy as np
import pytest

from bench.__main__ import main
from bench.run_folder import read_record
from bench.tasks import heatmap
from bench.threshold import LEVELS, _figures, _pooled, check_alike, figures, thresholds
from tvad.common.cli import guard
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


def test_a_validation_run_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InputError, match="none"):
        check_alike(run(tmp_path / "tested", "a", "pq"), str(tmp_path / "none"))


def test_a_run_that_was_edited_is_one_line(tmp_path):
    at = tmp_path / "heatmap_videos.npz"
    none = {f"0_{name}": np.zeros((0, 6)) for name in ("tracks", "detections")}
    fine = {"ids": np.array(["a"]), "0_labels": np.array([0, 1]), "0_scores": np.array([0.1, 0.9]), **none}
    fine["0_pixels"] = np.zeros((3, 0))
    np.savez(at, **fine)
    assert heatmap.load_videos(at)["a"].scores.tolist() == [0.1, 0.9]
    for change in (
        {"0_scores": np.array([0.1, np.nan])},
        {"0_scores": np.array([0.1])},
        {"0_scores": np.array(["x", "y"])},
        {"0_labels": np.array([0, 7])},
    ):
        np.savez(at, **fine | change)
        with pytest.raises(InputError, match="not what a run keeps"):
            heatmap.load_videos(at)
    folder = run(tmp_path / "run", "a", "p")
    for suite in ([], "scenes", None):
        record = {"model": "hf:m", "suite": suite, "suite_hash": "a"}
        (tmp_path / "run/run.json").write_text(json.dumps(record))
        with pytest.raises(InputError, match="expected an object"):
            read_record(folder)


@pytest.mark.parametrize("options", [["--frame", "1e400"], ["--video=-1e400"]])
def test_a_threshold_that_is_no_number_is_refused(tmp_path, options, capsys):
    assert guard(main, ["threshold", run(tmp_path / "run", "a", "p"), *options]) == 2
    assert "must be a finite number" in capsys.readouterr().err


def drawn(rng, count, lit, sees, alike=0.5):
    """Videos of 60 frames: a share `lit` has an anomaly, whose scores lie `sees` deviations higher; of a
    score's variance `alike` is its video's."""
    found = {}
    for n in range(count):
        labels = np.zeros(60)
        if rng.random() < lit:
            begin, length = rng.integers(0, 30), rng.integers(10, 30)
            labels[begin : begin + length] = 1
        noise = np.sqrt(alike) * rng.normal() + np.sqrt(1 - alike) * rng.normal(size=60)
        found[str(n)] = labels, 1 / (1 + np.exp(1 - noise - sees * labels))
    return found


@pytest.mark.parametrize(("lit", "sees", "alike"), [(0.5, 0.0, 0.5), (0.15, 1.5, 0.5), (0.5, 1.5, 0.9)])
def test_intervals_at_a_carried_threshold_hold_what_a_long_run_gives(lit, sees, alike):
    """By simulation, also where hardly a video is called normal, or anomalous; blind scores are chance."""
    rng = np.random.default_rng(0)
    at = thresholds(drawn(rng, 400, lit, sees, alike))
    many = [*drawn(rng, 4000, lit, sees, alike).values()]
    truth = {
        f"{level}.{k}": v for level in LEVELS for k, v in _figures(*_pooled(many, level), at[level]).items()
    }
    held = {name: [] for name in truth}
    for _ in range(60):
        for name, one in figures(drawn(rng, 30, lit, sees, alike), at).items():
            if one.low is not None:
                held[name].append(one.low - 1e-9 <= truth[name] <= one.high + 1e-9)
    for name, found in held.items():
        assert len(found) < 5 or np.mean(found) >= 0.9, name
        assert bool(found) or name.endswith((".ece", "precision_normal")), name
    if not sees:
        assert truth["frame.auc"] == pytest.approx(0.5, abs=0.03)
        assert truth["video.balanced"] == pytest.approx(0.5, abs=0.03)


def test_a_share_of_what_is_called_rests_on_what_is_called():
    rng = np.random.default_rng(1)
    videos = drawn(rng, 40, 0.5, 0.0)
    lowest = min(float(s.max()) for _, s in videos.values())
    found = figures(videos, {"video": lowest + 1e-9})["video.precision_normal"]  # one video is called normal
    assert found.high - found.low > 0.9
