"""Composites: measured on real normal footage where it is at hand (UCSD Ped2), on drawn walkers otherwise;
exact masks, normal twins, videos apart, the same by the seed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tvad.__main__ import main
from tvad.common.errors import InputError
from tvad.data import load, masks, save, video
from tvad.data.check import check
from tvad.data.composite.actors import DRAWN, SPEEDS, TWIN, WRONG, Actor, Cast, Piece, Place
from tvad.data.composite.clips import Light, compose
from tvad.data.composite.config import CompositeConfig
from tvad.data.composite.cutouts import cutouts_of
from tvad.data.composite.dataset import LOOKING, composites, normal_videos, parted
from tvad.data.composite.footage import Looking, blobs_of, looking_of
from tvad.data.readers import ucsd
from tvad.data.sample import Sample, Video
from tvad.data.scenes import actors as draw
from tvad.data.scenes.dataset import ScenesConfig, generate

PED2 = Path(__file__).resolve().parents[3] / "shared" / "data" / "ucsd_ped2" / "UCSDped2"
SIZE = 320, 240
SPEED = 1.2  # heights a second
CAMERA = Looking(336, 252, 5.0, 10.0, 0.2, 0.2, 1.5, False, 99)  # near to what is measured of `footage`


def walkers(path: Path, seed: int, seconds: float = 8.0, fps: float = 10.0, colour: bool = True) -> None:
    """People who walk past each other before a wall, taller where they are nearer, in a noisy picture."""
    rng = np.random.default_rng(seed)
    ground = np.full((SIZE[1], SIZE[0], 3), 150, np.uint8)
    ground[:80] = (110, 120, 100)
    people = []
    for n in range(5):
        foot = 110 + 26 * n
        tall = 10 + 0.2 * foot
        top, bottom = rng.choice(["red", "blue", "green", "purple", "black"], 2)
        look = draw.Look(str(top), str(bottom), int(rng.integers(3)), 1.75)
        people.append((foot, tall, look, 1 if n % 2 else -1, rng.uniform(0, SIZE[0])))
    with video.Writer(path, fps, crf=12) as out:
        for t in range(round(seconds * fps)):
            canvas = np.dstack([ground, np.zeros(SIZE[::-1], np.uint8)])
            for foot, tall, look, way, start in people:
                u = (start + way * SPEED * tall * t / fps) % (SIZE[0] + 60) - 30
                pose = draw.Pose(6 * t / fps + start, 0.5, 0.7)
                draw.person(canvas, u, foot, tall / 1.75, 0.0 if way > 0 else np.pi, look, pose, 1)
            image = canvas[..., 2::-1] + rng.normal(0, 1.5, canvas[..., :3].shape)
            if not colour:
                image = np.repeat(image.mean(2, keepdims=True), 3, 2)
            out.add(np.clip(image, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    for n in range(3):
        walkers(folder / f"cam_{n}.mp4", n)
    return folder


@pytest.fixture(scope="module")
def made(footage, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("composites")
    command = ["data", "composite", str(footage), "--out", str(out), "--clips", "24", "--plain", "0"]
    assert main(command) == 0
    return out


def looking(folder: Path) -> Looking:
    found = json.loads((folder / "train" / LOOKING).read_text())
    return Looking(**{key: value for key, value in found.items() if key != "config"})


def test_how_people_look_is_measured(made):
    found = looking(made)
    scale = found.height / SIZE[1]
    for foot in (130, 200):
        assert found.tall(foot * scale) == pytest.approx((10 + 0.2 * foot) * scale, rel=0.15)
    assert found.walk * found.rate == pytest.approx(SPEED, rel=0.2)
    way = found.walk * found.tall(0.7 * found.height)  # pixels a step: what looking is chosen for
    assert 2.0 < way < 6.5 and found.width % 28 == found.height % 28 == 0 and not found.grey


@pytest.mark.slow
def test_several_processes_make_the_same_clips_and_taller_people_larger_ones(footage, made, tmp_path):
    command = ["data", "composite", str(footage), "--clips", "24", "--plain", "0"]
    assert main([*command, "--workers", "2", "--out", str(tmp_path / "two")]) == 0
    for file in sorted((made / "train").rglob("*.*")):
        other = tmp_path / "two" / file.relative_to(made)
        assert file.is_dir() or file.read_bytes() == other.read_bytes(), file
    assert main([*command[:3], "--clips", "2", "--tall", "48", "--out", str(tmp_path / "tall")]) == 0
    usual, tall = looking(made), looking(tmp_path / "tall")
    assert tall.tall(0.7 * tall.height) == pytest.approx(1.5 * usual.tall(0.7 * usual.height), rel=0.12)
    assert tall.rate == usual.rate  # the step is of heights


def test_the_clips_are_a_data_set_with_exact_masks(made):
    for split in ("train", "val"):
        assert not check(made / split)
        samples = load(made / split)
        labels = {sample.label for sample in samples}
        assert labels == {"normal", "anomalous"}
        for sample in samples:
            mask = masks.read(sample.path(sample.mask))
            assert mask.any() == sample.anomalous
            for track in sample.tracks:
                for frame in track.anomalous:
                    x0, y0, x1, y1 = (int(c) for c in track.boxes[frame])
                    assert mask[frame, y0 : y1 + 1, x0 : x1 + 1].any() and track.kind in WRONG


def test_beside_each_clip_lies_its_twin_which_differs_only_in_what_is_wrong(made):
    samples = {sample.id: sample for sample in load(made / "train")}
    pairs = [
        (s, samples[f"{s.id[:-1]}b"])
        for s in samples.values()
        if s.id.endswith("a") and f"{s.id[:-1]}b" in samples
    ]
    assert len(pairs) >= 8
    told = [[track.kind for track in twin.tracks] for _, twin in pairs]
    assert all(kind not in WRONG for kinds in told for kind in kinds) and any(told)
    for sample, twin in pairs:
        one, other = (video.decode(each.clip(), 100, 8).images.astype(int) for each in (sample, twin))
        away = np.abs(one - other).max(-1)
        # Far from all actors both show the same footage in the same light.
        quiet = np.ones(away.shape, bool)
        for each in (sample, twin):
            for track in each.tracks:
                for frame, (x0, y0, x1, y1) in track.boxes.items():
                    quiet[frame, max(0, int(y0) - 40) : int(y1) + 40, max(0, int(x0) - 40) : int(x1) + 40] = (
                        False
                    )
        if quiet.any():
            assert np.median(away[quiet]) <= 3


def test_no_video_is_in_both_parts_nor_a_window_of_one(footage, made):
    sources = [{sample.video.source for sample in load(made / split)} for split in ("train", "val")]
    assert not sources[0] & sources[1] and len(sources[0] | sources[1]) == 3
    windows = [
        Sample(f"w{n}", "x", "train", Video(f"{n}.mp4", source=f"cam{n // 4}"), label="normal")
        for n in range(12)
    ]
    parts = parted(windows, CompositeConfig(validation=0.3))
    apart = [{sample.video.source for sample in part} for part in parts.values()]
    assert not apart[0] & apart[1] and len(parts["train"]) == 8
    with pytest.raises(InputError, match="validation needs one of its own"):
        parted(windows[:4], CompositeConfig())


def test_another_seed_gives_other_clips(footage, made, tmp_path):
    composites(footage, tmp_path, CompositeConfig(clips=4, plain=0.0, seed=1))
    rows = [load(folder / "train")[0] for folder in (made, tmp_path)]
    assert rows[0].tracks != rows[1].tracks


def test_a_killed_run_goes_on_and_another_one_is_refused(footage, made, tmp_path, monkeypatch):
    from tvad.data.composite import dataset

    of_video, calls = dataset._of_video, []

    def dies(*given):
        calls.append(given[-2])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return of_video(*given)

    monkeypatch.setattr(dataset, "_of_video", dies)
    config = CompositeConfig(clips=24, plain=0.0)
    with pytest.raises(KeyboardInterrupt):
        composites(footage, tmp_path / "out", config)
    composites(footage, tmp_path / "out", config)
    assert calls[0] not in calls[1:]  # what was done is kept
    for split in ("train", "val"):
        rows = [(folder / split / "samples.jsonl").read_text() for folder in (made, tmp_path / "out")]
        assert rows[0] == rows[1]
    for sample in load(made / "train")[:4]:  # the same seed, the same files
        same = tmp_path / "out" / "train" / sample.video.path
        assert same.read_bytes() == sample.path(sample.video.path).read_bytes()
    count = len(calls)
    assert len(composites(footage, tmp_path / "out", config)["train"]) == 24 and len(calls) == count
    with pytest.raises(InputError, match="another configuration; choose another --out") as error:
        composites(footage, tmp_path / "out", CompositeConfig(clips=24, plain=0.0, seed=1))
    assert "config.seed was 0, is 1" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_a_set_of_which_a_part_failed_is_not_finished(footage, made, tmp_path, monkeypatch):
    """It was: the same command went on with what there was, and trained on fewer clips."""
    from tvad.data.composite import dataset

    real, out = dataset._of_video, tmp_path / "out"
    config = CompositeConfig(clips=24, plain=0.0)

    def fails(*given):
        if given[-2] == bad:
            raise InputError(f"{bad}: no space left")
        return real(*given)

    bad = load(made / "train")[-1].video.source
    with monkeypatch.context() as patched:
        patched.setattr(dataset, "_of_video", fails)
        for _ in range(2):
            with pytest.raises(InputError, match=f"{bad}: no space left"):
                composites(footage, out, config)
            assert not (out / "train/samples.jsonl").exists() and not (out / "val").exists()
    assert len(composites(footage, out, config)["train"]) == 24
    for split in ("train", "val"):
        rows = [(folder / split / "samples.jsonl").read_text() for folder in (made, out)]
        assert rows[0] == rows[1]
    # One of an earlier version, which took it for finished.
    lines = (out / "train/samples.jsonl").read_text().splitlines(True)
    (out / "train/samples.jsonl").write_text("".join(lines[:-3]))
    with pytest.raises(InputError, match="train: 21 clips, expected 24; choose another --out"):
        composites(footage, out, config)


def test_a_killed_set_of_other_shares_is_not_gone_on_with(footage, tmp_path, monkeypatch):
    """Longer footage of the same camera gives every video another number of clips."""
    from tvad.data.composite import dataset

    real, calls = dataset._of_video, []

    def dies(*given):
        calls.append(given[-2])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(dataset, "_of_video", dies)
    monkeypatch.setattr(dataset, "looking_of", lambda *_: CAMERA)
    config = CompositeConfig(clips=12, plain=0.0)
    with pytest.raises(KeyboardInterrupt):
        composites(footage, tmp_path / "out", config)
    longer = tmp_path / "longer"
    shutil.copytree(footage, longer)
    walkers(longer / f"{calls[1]}.mp4", 9, 12.0)
    with pytest.raises(InputError, match=rf"clips\.{calls[0]} was 6, is [345]"):
        composites(longer, tmp_path / "out", config)


def test_files_of_one_video_and_windows_that_do_not_state_theirs_lie_in_one_part(tmp_path):
    folder = tmp_path / "footage"
    folder.mkdir()
    for name in ("a", "b", "c"):
        video.write(folder / f"{name}.mp4", np.full((4, 48, 64, 3), 90, np.uint8), 2.0)
    for name in ("d", "e"):
        (folder / f"{name}.mp4").hardlink_to(folder / "a.mp4")
    for seed in range(6):
        parts = parted(normal_videos(folder), CompositeConfig(validation=0.4, seed=seed))
        split = [{sample.id for sample in part} for part in parts.values()]
        assert any({"a", "d", "e"} <= part for part in split) and all(split)
        stated = {s.id: (s.video.source, s.video.offset) for part in parts.values() for s in part}
        assert stated["d"] == stated["e"] == ("a", 0.0) and stated["b"] == (None, None)
    windows = tmp_path / "windows"
    windows.mkdir()
    for name in ("01_0014-0_23", "01_0014-12_35", "01_0020-0_23"):
        video.write(windows / f"{name}.mp4", np.full((4, 48, 64, 3), 90, np.uint8), 2.0)
    with pytest.raises(InputError, match=r"look like windows of one video, .* say by --video"):
        parted(normal_videos(windows), CompositeConfig())
    parts = parted(normal_videos(windows), CompositeConfig(), "^[0-9]+_[0-9]+")
    split = [{s.video.source for s in part} for part in parts.values()]
    assert sorted(map(len, parts.values())) == [1, 2] and not split[0] & split[1]
    assert {s.video.offset for part in parts.values() for s in part} == {None}
    call = ["data", "composite", str(windows), "--out", str(tmp_path / "out")]
    with pytest.raises(InputError, match="look like windows of one video"):
        main(call)
    with pytest.raises(InputError, match="matches nothing of the id"):
        main([*call, "--video", "x[0-9]"])


def test_a_clip_states_where_in_its_video_it_begins(footage, tmp_path, monkeypatch):
    """Its frames are the footage's of that time, and of no other: people walk."""
    from tvad.data.composite import dataset

    monkeypatch.setattr(dataset, "looking_of", lambda *_: CAMERA)
    base = tmp_path / "windows"
    base.mkdir()
    samples = normal_videos(footage)
    for sample in samples:
        (base / sample.video.path).hardlink_to(sample.clip())
    later = replace(samples[0], video=replace(samples[0].video, source="day", offset=100.0))
    save([replace(sample, root="") for sample in (later, *samples[1:])], base)
    made = composites(base, tmp_path / "out", CompositeConfig(clips=12, plain=0.99))
    own = {("day" if n == 0 else s.id): video.decode(s.clip()) for n, s in enumerate(samples)}
    seen = set()
    for sample in (*made["train"], *made["val"]):
        whole = own[sample.video.source]
        begins = sample.video.offset - (100.0 if sample.video.source == "day" else 0.0)
        shown = video.decode(sample.clip())
        first = cv2.resize(shown.images[0], SIZE, interpolation=cv2.INTER_AREA).astype(int)
        away = np.abs(whole.images.astype(int) - first).mean((1, 2, 3))
        assert whole.moments[away.argmin()] == pytest.approx(begins, abs=1e-3)
        seen.add((sample.video.source, sample.video.offset))
    assert len(seen) > 4 and len({source for source, _ in seen}) == 3


def test_every_kind_of_actor_stands_on_its_feet_and_moves_at_its_speed(footage, made):
    camera = looking(made)
    rng = np.random.default_rng(0)
    cutouts = cutouts_of(normal_videos(footage), camera, 4, 0)
    cast = Cast(camera, cutouts, 4, rng)
    ground = np.full((4, camera.height, camera.width, 3), 128, np.uint8)
    for kind in SPEEDS:
        place = Place(camera.width / 2, camera.height * 0.75, 0.0)
        actor = cast.make(kind, place, kind in WRONG)
        assert (kind in TWIN) == (kind in WRONG) and len(actor.pieces) == 4
        found = compose(ground, ground[0], [actor], camera, Light(1, 0, 0), [0])
        _, y0, _, y1 = found.boxes[0][0]
        tall = camera.tall(place.foot)
        assert abs(y1 - place.foot) < 0.25 * tall and 0.6 * tall < y1 - y0 < 1.7 * tall, kind
        assert found.mask.any() == (kind in WRONG)
        low, high = SPEEDS[kind]
        if kind in DRAWN:
            ways = [b.x + b.alpha.shape[1] / 2 for b in actor.pieces]
            step = abs(ways[-1] - ways[0]) / 3 / (camera.walk * tall)
            assert low - 0.3 <= step <= high + 0.3, kind


def test_what_stands_in_front_hides_an_actor(made):
    camera = replace(looking(made), grain=0.0)
    ground = np.full((1, camera.height, camera.width, 3), 128, np.uint8)
    shown = ground.copy()
    shown[0, 60:200, 100:130] = 20  # a pillar that stands in row 200
    alpha = np.ones((40, 60), np.float32)
    behind = Actor("cart", True, [Piece(np.full((40, 60, 3), 250, np.float32), alpha, 90, 120, 160.0)])
    found = compose(shown, ground[0], [behind], camera, Light(1, 0, 0), [0])
    assert (found.frames[0, 130, 105:125] < 40).all() and (found.frames[0, 130, 135:145] > 200).all()
    assert not found.mask[0, 130, 105:125].any() and found.mask[0, 130, 135:145].all()
    before = Actor("cart", True, [Piece(np.full((40, 60, 3), 250, np.float32), alpha, 90, 170, 210.0)])
    assert compose(shown, ground[0], [before], camera, Light(1, 0, 0), [0]).mask[0, 180, 92:148].all()


def test_footage_that_cannot_be_used_is_one_line(footage, tmp_path):
    def refused(folder, words, config=None):
        with pytest.raises(InputError, match=words) as error:
            composites(folder, tmp_path / "out", config or CompositeConfig(clips=8))
        assert "\n" not in str(error.value)

    refused(tmp_path / "none", "no such folder")
    refused(footage, "validation must lie", CompositeConfig(validation=0.0))
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(empty, "neither a data set nor video files")
    still = tmp_path / "still"
    still.mkdir()
    for n in range(2):
        video.write(still / f"{n}.mp4", np.full((60, 120, 160, 3), 90, np.uint8), 10.0)
    refused(still, "times somebody walking .* give footage in which people walk")
    two = tmp_path / "two"
    two.mkdir()
    walkers(two / "a.mp4", 0, 4)
    video.write(two / "b.mp4", np.full((60, 120, 160, 3), 90, np.uint8), 10.0)
    walkers(two / "c.mp4", 1, 4)
    for seed in range(4):  # whichever of them is held out
        few = CompositeConfig(clips=8, validation=0.01, seed=seed)
        refused(two, "160 x 120 pixels, a has 320 x 240; composite the footage of each camera", few)
    slow = tmp_path / "slow"
    slow.mkdir()
    walkers(slow / "a.mp4", 0, 4)
    walkers(slow / "b.mp4", 1, 20, fps=1.0)
    held = CompositeConfig(clips=8, validation=0.5, seed=next(s for s in range(9) if _held(s) == "b"))
    refused(slow, "b: its frames are 1 s apart, those of clips 0.1 s; composite the footage of each", held)


def _held(seed):
    """Which of the videos a and b is held out."""
    samples = [Sample(n, "s", "train", Video(f"{n}.mp4"), label="normal", spans=()) for n in "ab"]
    return parted(samples, CompositeConfig(validation=0.5, seed=seed))["val"][0].id


def test_clips_are_called_by_names_of_files_whatever_the_ids(tmp_path, monkeypatch):
    """An id with a slash, one that climbs and is longer than a file's name may be, one that is no UTF-8."""
    from tvad.data.composite import dataset

    monkeypatch.setattr(dataset, "looking_of", lambda *_: CAMERA)
    folder = tmp_path / "set"
    (folder / "videos").mkdir(parents=True)
    ids = ("cam/1", "../" + "y" * 230, "half \ud83d")
    for n in range(len(ids)):
        walkers(folder / f"videos/{n}.mp4", n, 4)
    made = [Sample(name, "s", "train", Video(f"videos/{n}.mp4"), label="normal", spans=())
            for n, name in enumerate(ids)]  # fmt: skip
    save(made, folder)
    parts = composites(folder, tmp_path / "out", CompositeConfig(clips=6, frames=2, plain=0.0))
    found = [sample for part in parts.values() for sample in part]
    assert {sample.video.source for sample in found} == set(ids)
    assert all(sample.path(sample.video.path).parent.name == "videos" for sample in found)
    assert not [*check(tmp_path / "out/train"), *check(tmp_path / "out/val")]
    save([made[0], replace(made[1], id="cam_1")], folder)
    with pytest.raises(InputError, match="ids 'cam/1' and 'cam_1' name one file"):
        composites(folder, tmp_path / "again", CompositeConfig(clips=6))


def test_a_damaged_file_and_a_macs_are_left_out_and_the_others_used(footage, tmp_path, capsys):
    folder = tmp_path / "footage"
    shutil.copytree(footage, folder)
    (folder / "._cam_0.mp4").write_bytes(b"what a Mac leaves")
    (folder / "broken.mp4").write_bytes((folder / "cam_0.mp4").read_bytes()[:3000])
    call = ["data", "composite", str(folder), "--clips", "4", "--plain", "0", "--out"]
    assert main([*call, str(tmp_path / "out")]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("refused")]
    assert len(said) == 1 and "broken" in said[0] and "._cam_0" not in said[0]
    (folder / "broken.mp4").unlink()
    assert main([*call, str(tmp_path / "again")]) == 0
    rows = [(tmp_path / out / "train/samples.jsonl").read_text() for out in ("out", "again")]
    assert rows[0] == rows[1]
    for name in ("cam_0", "cam_1"):
        (folder / f"{name}.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match="validation needs one of its own"):
        main([*call, str(tmp_path / "one")])
    assert capsys.readouterr().err.count("refused cam_") == 2


def test_footage_that_is_labelled_anomalous_is_refused(tmp_path):
    generate(ScenesConfig(clips=4, seed=1), tmp_path / "scenes")
    with pytest.raises(InputError, match="are not labelled normal, the first"):
        composites(tmp_path / "scenes", tmp_path / "out", CompositeConfig(clips=4))


@pytest.mark.skipif(not PED2.is_dir(), reason="UCSD Ped2 is not here")
def test_real_footage_is_looked_at_by_how_tall_people_are(tmp_path):
    """Ped2: people of 20 to 45 pixels, 0.8 pixels a frame; so about its own size, 0.4 s apart."""
    part = tmp_path / "UCSDped2" / "Train"
    part.mkdir(parents=True)
    for name in ("Train001.mp4", "Train005.mp4", "Train009.mp4"):
        (part / name).symlink_to(PED2 / "Train" / name)
    samples, _ = ucsd.read(part.parent, "train", tmp_path / "data")
    found = looking_of(samples)
    assert found.grey and 2 < found.rate < 5.1 and found.people > 300
    assert 0.85 < found.width / 360 < 1.25 and 25 < found.tall(0.6 * found.height) < 45
    out = tmp_path / "composites"
    assert main(["data", "composite", str(tmp_path / "data"), "--out", str(out), "--clips", "8"]) == 0
    first = next(s for s in load(out / "train") if s.anomalous)
    images = video.decode(first.clip(), 100, 8).images
    spread = np.abs(images.astype(int) - images[..., :1]).max()
    assert spread <= 6 and images.shape[1:3] == (found.height, found.width)  # as grey as the footage


def test_blobs_are_what_is_not_background():
    ground = np.full((60, 80, 3), 100, np.uint8)
    image = ground.copy()
    cv2.rectangle(image, (20, 10), (29, 39), (200, 200, 200), -1)
    (blob,) = blobs_of(image, ground)
    assert (
        (blob.x, blob.y, blob.width, blob.height) == (20, 10, 10, 30)
        and blob.lit.mean() > 0.95
        and blob.foot == 40
    )
