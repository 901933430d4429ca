"""What a batch shows of a clip by `data.region` and `data.also`: parts of the picture, mixed data sets."""

from dataclasses import asdict

import pytest
import torch

from rft.curriculum.config import Data, Losses, Optimiser, Stage, Texts
from rft.curriculum.standing import Plan, facts_of, training_clips
from rft.curriculum.views import View, draw_view
from tvad.common.errors import InputError
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.data.scenes.dataset import ScenesConfig, generate


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two data sets whose clips have the same names and differ."""
    base = tmp_path_factory.mktemp("mixed")
    for seed in (1, 2):
        generate(ScenesConfig(clips=6, seed=seed, frames=8), base / f"seed{seed}")
    return base


def whole_of(folder) -> View:
    store = ClipStore(4.0, 8)
    sample = next(s for s in load(folder) if s.anomalous)
    return View(sample, store.frames(sample), store.mask(sample), sample.tracks)


def test_a_region_is_a_part_of_the_picture_with_all_that_belongs_to_it(folders):
    whole = whole_of(folders / "seed1")
    height, width = whole.frames.images.shape[1:3]
    generator = torch.Generator().manual_seed(0)
    corners, around = set(), 0
    for _ in range(150):
        view = draw_view(whole, Data("d", region=[56, 28]), generator)
        assert view.frames.images.shape[1:3] == view.mask.shape[1:] == (28, 56)
        # Where it was taken from, found again by its pixels.
        (y, x), *others = [
            (y, x)
            for y in range(height - 27)
            for x in range(width - 55)
            if (whole.frames.images[:, y, x] == view.frames.images[:, 0, 0]).all()
            and (whole.frames.images[:, y : y + 28, x : x + 56] == view.frames.images).all()
        ]
        assert not others and torch.equal(view.mask, whole.mask[:, y : y + 28, x : x + 56])
        corners.add((y, x))
        around += bool(view.mask.any())
        for track in view.tracks:
            (before,) = [t for t in whole.tracks if t.id == track.id]
            for frame, box in track.boxes.items():
                a, b, c, d = before.boxes[frame]
                assert box == (max(a - x, 0), max(b - y, 0), min(c - x, 55), min(d - y, 27))
            assert set(track.anomalous) <= set(before.anomalous) & set(track.boxes)
    assert len(corners) > 60 and around > 110  # four of five around the anomaly, and some by chance


def test_a_region_larger_than_the_picture_is_the_picture(folders):
    whole = whole_of(folders / "seed1")
    view = draw_view(whole, Data("d", region=[5000, 5000]), torch.Generator().manual_seed(0))
    assert (view.frames.images == whole.frames.images).all() and view.tracks == whole.tracks


def test_a_share_of_the_views_shows_one_frame_for_all(folders):
    whole = whole_of(folders / "seed1")
    generator = torch.Generator().manual_seed(0)
    seen, moved = set(), 0
    for _ in range(100):
        view = draw_view(whole, Data("d", still=0.25), generator)
        assert view.frames.images.shape == whole.frames.images.shape and len(view.frames.times) == 8
        same = [n for n in range(8) if (view.frames.images == whole.frames.images[n]).all()]
        if not same:
            assert (view.frames.images == whole.frames.images).all()
            assert torch.equal(view.mask, whole.mask)
            moved += 1
            continue
        assert torch.equal(view.mask, whole.mask[same[0]].expand(8, -1, -1))
        seen.add(same[0])
    assert 60 < moved < 90 and len(seen) > 4
    usual = draw_view(whole, Data("d", crop=2), torch.Generator().manual_seed(3))
    again = draw_view(whole, Data("d", crop=2, still=0.0), torch.Generator().manual_seed(3))
    assert (usual.frames.images == again.frames.images).all()  # without, nothing is drawn otherwise


def test_mixed_data_sets_keep_their_masks_apart_and_count_in_the_record(folders):
    one, both = (
        Stage(
            "s",
            ["*"],
            Data(str(folders / "seed1"), also=also),
            Texts(kinds=[]),
            Losses(text=0.0, heatmap=1.0),
            optimiser=Optimiser(steps=1, batch=2),
        )
        for also in (None, [str(folders / "seed2")])
    )
    clips = training_clips(both)
    assert len(training_clips(one)) == 6 and len(clips) == 12
    store = ClipStore(4.0, 8)
    by_name: dict[str, list] = {}
    for clip in clips:
        by_name.setdefault(clip.id, []).append(store.mask(clip))
    assert any(not torch.equal(*pair) for pair in by_name.values())
    hashes = {facts_of(stage, Plan(0, 4.0, 8))["train"] for stage in (one, both)}
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"region": [224]}, "data.region is .*, expected .width, height. in pixels"),
        ({"region": [0, 5]}, "data.region is"),
        ({"still": 1.5}, "data.still is 1.5, expected a share"),
        ({"train": "symbols", "also": ["x"]}, "symbols are not mixed with clips"),
    ],
)
def test_what_no_picture_has_is_refused(data, words):
    stage = Stage("s", ["*"], Data(**{"train": "d"} | data), Texts(kinds=[]), Losses(text=0.0, heatmap=1.0))
    stage.optimiser.steps = 1
    with pytest.raises(InputError, match=words):
        stage.check()
    wordy = Stage("s", ["*"], Data("d", region=[224, 168]), optimiser=Optimiser(steps=1))
    with pytest.raises(InputError, match="words would tell of the whole clip"):
        wordy.check()
    moving = Stage("s", ["*"], Data("d", still=0.5), Texts(kinds=[]), Losses(text=0.0, heatmap=1.0))
    moving.optimiser.steps, moving.read_outs.objects = 1, True
    with pytest.raises(InputError, match="of motion that is not shown"):
        moving.check()
    assert asdict(wordy)["data"]["region"] == [224, 168]
