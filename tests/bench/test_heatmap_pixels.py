"""Pixels of heatmaps: an area that the maps' scale does not change, and memory that their number does not."""

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bench.metrics import frame
from bench.tasks import heatmap
from bench.tasks.heatmap import Figures, VideoScores
from tvad.data import Sample, Video, masks
from tvad.data.video import Frames
from tvad.detections import resize

SIZE = (48, 64)
SCALES = (1e-2, 1e-4, 2.0**-20, 1e-30)


def clip(count: int, height: int = SIZE[0], width: int = SIZE[1]) -> Frames:
    """`count` frames at 10 a second, four of which are sampled."""
    sampled = np.linspace(0, count - 1, 4).astype(int)
    return Frames(np.zeros((4, height, width, 3), np.uint8), sampled / 10.0, sampled, 10.0, count)


def scored(name, heat, steps, mask, folder) -> VideoScores:
    masks.write(folder / f"{name}.npz", mask)
    sample = Sample(
        name, "s", "test", Video("x.mp4"), label="anomalous", mask=f"{name}.npz", root=str(folder)
    )
    return VideoScores(sample, heat, clip(len(steps)), steps)


@pytest.fixture
def videos():
    """name -> (maps (5, 12, 16), the step of each of 20 frames, mask): overlapping, of other levels."""
    rng = np.random.default_rng(3)
    found = {}
    for n, level in enumerate((0.0, 0.2, 0.5)):
        mask = np.zeros((20, *SIZE), bool)
        mask[4:12, 8:24, 16 + 8 * n : 40] = True
        heat = rng.random((5, 12, 16)) * 0.4 + level / 2
        heat[1:3, 2:6, 5:10] += 0.15
        found[f"v{n}"] = (heat.astype(np.float32), np.repeat(np.arange(5), 4), mask)
    return found


def pixel_auc(videos, folder, change=lambda heat: heat):
    made = [scored(name, change(heat), *more, folder) for name, (heat, *more) in videos.items()]
    return Figures(made).of(np.arange(len(made)))["pixel_auc"]


def test_pixel_auc_is_that_of_all_pixels_on_any_scale(videos, tmp_path):
    lit = np.concatenate([mask.ravel() for *_, mask in videos.values()])
    shown = [resize(heat[step], *SIZE).ravel() for heat, steps, _ in videos.values() for step in steps]
    true = roc_auc_score(lit, np.concatenate(shown))
    assert 0.6 < true < 0.9
    found = pixel_auc(videos, tmp_path)
    assert found == pytest.approx(true, abs=1e-4)
    for scale in SCALES:
        assert pixel_auc(videos, tmp_path, lambda heat, by=scale: heat * by) == pytest.approx(found, abs=1e-6)
    # Rounded to the nearest of float32 near 1, hardly a hundred levels are left.
    assert pixel_auc(videos, tmp_path, lambda heat: 0.9 + 1e-3 * heat) == pytest.approx(found, abs=1e-3)
    assert pixel_auc(videos, tmp_path, np.zeros_like) == 0.5


def test_only_the_order_of_pixels_counts():
    """Any strictly rising map of the scores maps what is kept of them, and changes nothing else."""
    rng = np.random.default_rng(0)
    scores, counts = np.concatenate([rng.random(5000), np.zeros(3000)]), rng.integers(0, 4, 8000)
    kept, shares = frame.condensed(scores, counts, 100)
    assert len(kept) <= 100 and shares.sum() == counts.sum() and kept[0] == 0
    for rising in (np.cbrt, np.exp, lambda s: s * 1e-200, lambda s: 3 * s - 7):
        others, same = frame.condensed(rising(scores), counts, 100)
        assert np.array_equal(others, rising(kept)) and np.array_equal(same, shares)
    few, all_of_them = frame.condensed(np.array([3.0, 1, 3, 2]), np.array([1, 2, 1, 0]), 2)
    assert few.tolist() == [1, 3] and all_of_them.tolist() == [2, 2]


def test_memory_does_not_grow_with_the_frames(tmp_path):
    peaks = []
    for count in (40, 400):
        mask = np.zeros((count, 240, 320), bool)
        mask[5:10, 10:50, 10:50] = True
        masks.write(tmp_path / "x.npz", mask)
        del mask
        sample = Sample("x", "s", "test", Video("x.mp4"), label="anomalous", mask="x.npz", root=str(tmp_path))
        heat = np.random.default_rng(0).random((count, 4, 4)).astype(np.float32)
        frames = clip(count, 240, 320)
        tracemalloc.start()
        made = VideoScores(sample, heat, frames, np.arange(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert made.pixels[2].sum() == count * 240 * 320 and made.pixels[2] @ made.pixels[1] == 5 * 1600
    held = 240 * 320 * 4  # a map in the size of a frame
    assert peaks[1] < peaks[0] + 20 * held  # 400 frames, 360 more


def test_what_an_older_run_kept_is_still_read(tmp_path):
    """Its pixels were counted in bins over 0 to 1."""
    video = VideoScores(
        Sample("x", "s", "test", Video("x.mp4"), label="normal"),
        np.full((4, 2, 2), 0.25),
        clip(4),
        np.arange(4),
    )
    heatmap.save_videos(tmp_path / "new.npz", {"x": video})
    with np.load(tmp_path / "new.npz") as data:
        kept = {name: data[name] for name in data if name != "0_pixels"}
    hist = np.zeros((2, 1000))
    hist[0, 100], hist[1, 300], hist[1, 100] = 6, 2, 2
    np.savez(tmp_path / "old.npz", **kept, **{"0_hist": hist})
    for file, expected in (("new.npz", None), ("old.npz", (6 * 2 + 6 * 2 / 2) / 24)):
        (read,) = heatmap.load_videos(tmp_path / file).values()
        assert Figures([read]).of(np.zeros(1, int))["pixel_auc"] == expected
