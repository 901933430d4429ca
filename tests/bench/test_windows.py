"""A split by windows measures copying: T-VAU's own split, and clips whose names say nothing."""

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import shared

from bench import audit, windows
from bench.windows import copied, nearest, small_frames, source_of
from tvad.data import load, save
from tvad.data.sample import Sample, Video
from tvad.data.video import decode
from tvad.data.video.writing import write


@pytest.mark.parametrize(
    "name, video, start",
    [
        ("01_0014-168_191", "01_0014", 168),
        ("Abuse001_0-10", "Abuse001", 0),
        ("v 4.0_9.5", "v", 4),
        ("a-b_4.0-9.5", "a-b", 4),
        ("05_018_02", "05_018_02", None),
        ("test_00012", "test_00012", None),
        ("01_0014", "01_0014", None),
        ("Normal_Videos_015_x264", "Normal_Videos_015_x264", None),
        ("x-191_168", "x-191_168", None),
    ],
)
def test_a_window_is_told_from_a_number(name, video, start):
    assert source_of(name) == (video, start)


@pytest.fixture(scope="module")
def authors():
    """Windows with T-VAU's own English paraphrases, parted at random 80 : 20 as its authors part them."""
    file = shared("data/shanghaitech_tvau") / "dataset_track_zh_en.json"
    texts = {n.removesuffix(".npy"): t for n, t in json.loads(file.read_text(encoding="utf-8")).items() if t}
    order = np.random.default_rng(0).permutation(sorted(texts))
    made = [Sample(n, "s", "test", Video(f"{n}.mp4"), description=texts[n][3]) for n in order]
    cut = len(made) // 5
    return made[:cut], made[cut:]


def test_the_published_split_is_found_by_its_names_and_copying_scores(authors):
    test, train = authors
    pairs = nearest(test, train)
    assert len(pairs) > 0.95 * len(test) and {pair.by for pair in pairs} == {"time"}
    assert all(source_of(p.test.id)[0] == source_of(p.train.id)[0] for p in pairs)
    gaps = [abs(source_of(p.test.id)[1] - source_of(p.train.id)[1]) for p in pairs]
    assert np.mean(np.array(gaps) == 12) > 0.9  # the neighbour, of half the same frames
    near, far, count = copied(pairs, train)
    assert count == len(pairs) and near > far + 0.1
    # Parted by video there is nothing to copy.
    sources = sorted({source_of(s.id)[0] for s in [*test, *train]})
    ours = {name: n % 5 == 0 for n, name in enumerate(sources)}
    every = [*test, *train]
    apart = [[s for s in every if ours[source_of(s.id)[0]] == side] for side in (True, False)]
    assert nearest(*apart) == [] and copied([], train) is None


def test_the_same_clip_under_another_name_and_encoding_is_found(scenes, tmp_path):
    """And no other: scenes share cameras."""
    samples = [replace(s, root="") for s in load(scenes)][:8]
    for part, kept in (("test", samples[:4]), ("train", samples[4:])):
        (tmp_path / part / "videos").mkdir(parents=True)
        for sample in kept:
            target = tmp_path / part / sample.video.path
            target.write_bytes((scenes / sample.video.path).read_bytes())
    frames = decode(str(scenes / samples[0].video.path), 25.0, 500)
    small = np.stack([cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA) for image in frames.images])
    write(tmp_path / "train/videos/renamed.mp4", small, frames.sampled_fps, crf=28)
    twin = replace(samples[0], id="renamed", video=Video("videos/renamed.mp4"), mask=None)
    save([replace(s, mask=None) for s in samples[:4]], tmp_path / "test")
    save([replace(s, mask=None) for s in [*samples[4:], twin]], tmp_path / "train")
    test, train = load(tmp_path / "test"), load(tmp_path / "train")
    pairs = nearest(test, train, (small_frames(test, "a"), small_frames(train, "b")))
    assert [(p.test.id, p.train.id, p.by) for p in pairs] == [(samples[0].id, "renamed", "frames")]
    found = audit.audit(str(tmp_path / "test"), str(tmp_path / "train"))
    lines = {f.what: f for f in found.findings}
    assert lines["windows of the train split's videos"].flag
    assert re.search(r"renamed \(by frames\)", str(lines["windows of the train split's videos"].rows))


def test_a_still_scene_is_like_itself_on_every_day(tmp_path):
    still = np.full((5, windows.SIDE**2), 90, np.int16)
    assert windows._alike(still[0], still).all()
