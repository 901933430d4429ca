"""Heatmaps of every frame: which pairs, what a frame's map is, smoothing by time, baselines of what moves."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from bench.__main__ import main
from bench.dense import Dense, frame_maps
from bench.models.baseline import Baseline
from bench.run_folder import MAPS, read_maps
from tvad.common.errors import InputError
from tvad.data import save, video
from tvad.data.sample import Sample, Video
from tvad.data.video import Frames
from tvad.scores import smoothed


@dataclass
class Reads:
    """A model whose map is the brightness of its first frame, and which remembers what it was shown."""

    name: str = "reads"

    def __post_init__(self):
        self.seen: list[tuple[float, float]] = []

    def sample(self, requests, sampling):
        raise NotImplementedError

    def heatmaps(self, frames: list[Frames]):
        self.seen += [tuple(np.round(clip.times + clip.clock.times[clip.indices[0]], 3)) for clip in frames]
        return [np.full((1, 2, 2), clip.images[0].mean() / 255, np.float32) for clip in frames]


def clip_of(folder, levels, fps=10.0, times=None) -> Sample:
    """A video whose frames are evenly grey."""
    images = np.repeat(np.array(levels, np.uint8)[:, None, None, None], 32, 1).repeat(48, 2).repeat(3, 3)
    clock = fps if times is None else video.Clock(np.array(times, float), float(times[-1]) + 0.1)
    video.write(folder / "v.mp4", images, clock, 0)
    return Sample("v", "x", "test", Video("v.mp4"), label="normal", spans=(), root=str(folder))


def test_a_frame_has_the_mean_of_the_pairs_that_hold_it(tmp_path):
    levels = [20 * n for n in range(12)]
    sample, model = clip_of(tmp_path, levels), Reads()
    maps = frame_maps(model, sample, 2.5, Dense(starts=2))
    firsts = [0, 2, 4, 6, 7]  # every 0.2 s a pair, 0.4 s apart, and one that ends with the video
    assert model.seen == [(n / 10, (n + 4) / 10) for n in firsts]
    for frame in range(12):
        held = [levels[n] / 255 for n in firsts if n <= frame <= n + 4]
        assert maps[frame] == pytest.approx(np.full((2, 2), np.mean(held)), abs=0.02)


def test_starts_and_smooth_have_their_effect(tmp_path):
    sample = clip_of(tmp_path, [20 * n for n in range(12)])
    few, many = Reads(), Reads()
    rough = frame_maps(few, sample, 2.5, Dense(starts=1))
    fine = frame_maps(many, sample, 2.5, Dense(starts=4))
    assert len(few.seen) == 3 and len(many.seen) == 8 and not np.allclose(rough, fine)
    smooth = frame_maps(Reads(), sample, 2.5, Dense(starts=4, smooth=0.3))
    assert np.abs(np.diff(smooth[:, 0, 0])).max() < np.abs(np.diff(fine[:, 0, 0])).max()


def test_still_shows_the_frame_in_the_middle_twice(tmp_path):
    levels = [20 * n for n in range(12)]
    shown = []

    class Sees(Reads):
        def heatmaps(self, frames):
            shown.extend(clip.images.mean((1, 2, 3)).round().tolist() for clip in frames)
            return super().heatmaps(frames)

    model = Sees()
    frame_maps(model, clip_of(tmp_path, levels), 2.5, Dense(starts=2, still=True))
    assert model.seen == [(n / 10, (n + 4) / 10) for n in (0, 2, 4, 6, 7)]  # the pairs are the same ones
    for (one, other), n in zip(shown, (0, 2, 4, 6, 7), strict=True):
        assert one == other == pytest.approx(levels[n + 2], abs=3)


def test_pairs_follow_the_clock_where_frames_come_unevenly(tmp_path):
    times = [0, 0.1, 0.2, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4]
    model = Reads()
    frame_maps(model, clip_of(tmp_path, [9 * n for n in range(9)], times=times), 2.0, Dense(starts=1))
    # The frame nearest to half a second behind the first one.
    assert model.seen[0] == (0.0, 0.2) or model.seen[0] == (0.0, 0.9)
    for first, second in model.seen:
        behind = [abs(t - first - 0.5) for t in times if t > first]
        assert abs(second - first - 0.5) <= min(behind) + 0.11 or second == times[-1]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_video_shorter_than_a_step_has_a_map_for_every_frame(tmp_path, count):
    model = Reads()
    maps = frame_maps(model, clip_of(tmp_path, [100] * count), 2.5, Dense())
    assert maps.shape == (count, 2, 2) and len(model.seen) == 1 and maps == pytest.approx(100 / 255, abs=0.02)


def test_smoothing_is_by_seconds_not_by_frames():
    times = np.array([0.0, 0.1, 0.2, 5.0, 5.1])
    maps = np.array([1.0, 1, 1, 0, 0], np.float32)[:, None, None]
    found = smoothed(maps, times, 0.2)[:, 0, 0]
    assert found.tolist() == [1, 1, 1, 0, 0]  # 4.8 s apart: neighbours in number alone
    even = smoothed(maps, np.arange(5) / 10, 0.2)[:, 0, 0]
    assert 0 < even[3] < even[2] < 1 and smoothed(maps, times, 0) is maps


def moving(folder, name: str, speed: float, label: str) -> Sample:
    """A bright square that goes `speed` pixels a frame before noise."""
    rng = np.random.default_rng(len(name))
    images = rng.integers(90, 110, (30, 60, 90, 1)).astype(np.uint8).repeat(3, 3)
    for n in range(30):
        x = int(5 + speed * n) % 70
        images[n, 20:36, x : x + 12] = 230
    video.write(folder / f"{name}.mp4", images, 10.0)
    return Sample(
        name, "x", "test", Video(f"{name}.mp4"), label=label, spans=((0.0, 3.0),) if label != "normal" else ()
    )


@pytest.mark.parametrize("which", ["difference", "flow"])
def test_what_moves_faster_is_hotter_and_normal_footage_sets_the_half(tmp_path, which):
    slow, fast = moving(tmp_path, "slow", 0.5, "normal"), moving(tmp_path, "fast", 4.0, "anomalous")
    save([slow, fast], tmp_path)
    given = Baseline(f"{which}={tmp_path}")
    maps = {}
    for sample in (slow, fast):
        with video.Reader(tmp_path / sample.video.path) as reader:
            maps[sample.id] = given.frame_maps(image for _, image in reader.frames())
    assert maps["fast"].max() > maps["slow"].max() and maps["slow"].shape == (30, 15, 22)
    assert np.quantile(maps["slow"], 0.995) == pytest.approx(0.5, abs=0.02)  # set on the normal video
    with video.Reader(tmp_path / "fast.mp4") as reader:
        usual = Baseline(which).frame_maps(image for _, image in reader.frames())
    assert not np.allclose(usual, maps["fast"])


def test_the_background_is_no_foreground(tmp_path):
    moving(tmp_path, "fast", 2.0, "anomalous")
    with video.Reader(tmp_path / "fast.mp4") as reader:
        maps = Baseline("mog2").frame_maps(image for _, image in reader.frames())
    late = maps[15:]
    assert late.shape[1:] == (15, 22) and late[:, 5:9].max() > 0.5 > late[:, 11:].max()


def test_names_of_baselines_that_are_given_too_much_or_too_little_are_refused(tmp_path):
    save([moving(tmp_path, "fast", 2.0, "anomalous")], tmp_path)
    for which, words in (
        ("text", "unknown"),
        ("centre=x", "unknown"),
        (f"flow={tmp_path}", "no normal video"),
    ):
        with pytest.raises(InputError, match=words):
            Baseline(which)


def test_a_run_keeps_a_map_of_every_frame_and_says_so(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    save([moving(data, "slow", 0.5, "normal"), moving(data, "fast", 4.0, "anomalous")], data)
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        f"version: 1\nname: s\ndata: {data}\ntasks: [heatmap]\nrate: 2.5\ndense: {{starts: 2, smooth: 0.3}}\n"
    )
    run = tmp_path / "run"
    assert main(["run", "--model", f"baseline:flow={data}", "--suite", str(suite), "--out", str(run)]) == 0
    maps = read_maps(run / MAPS)
    assert {name: len(each) for name, each in maps.items()} == {"slow": 30, "fast": 30}
    record = json.loads((run / "run.json").read_text())
    assert record["suite"]["dense"] == {"starts": 2, "smooth": 0.3, "still": False}
    found = json.loads((run / "metrics.json").read_text())
    assert found["heatmap.micro_auc"]["value"] > 0.9
    thin = tmp_path / "thin"
    assert (
        main(
            ["run", "--model", "baseline:flow", "--suite", str(suite), "--dense", "null", "--out", str(thin)]
        )
        == 0
    )
    assert len(read_maps(thin / MAPS)["slow"]) == 4  # eight sampled frames
    assert json.loads((thin / "run.json").read_text())["suite_hash"] != record["suite_hash"]
    still = ["run", "--model", "baseline:flow", "--suite", str(suite), "--dense.still", "true"]
    with pytest.raises(InputError, match="sees frames one after the other"):
        main([*still, "--out", str(tmp_path / "still")])
    with pytest.raises(InputError, match=r"dense\.starts is 0"):
        main(["run", "--model", "baseline:flow", "--suite", str(suite), "--dense.starts", "0", "--out", "x"])
