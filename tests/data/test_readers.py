"""Readers of public data sets, on generated miniatures of the layouts in which they are distributed, and on
damaged copies of them."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import shared

from tvad.__main__ import main
from tvad.common.errors import InputError
from tvad.data import check, load, masks, save, shanghaitech, ubnormal, video
from tvad.data.build import grounding_questions, spans_of
from tvad.data.narrate import narratives
from tvad.data.reclip import LEAST, MOST, reclip, videos_of, windows
from tvad.data.sample import Sample, Track, Video
from tvad.data.windows import cut

HEIGHT, WIDTH = 48, 64


def moving_square(count, start, end, size=10):
    """Frames (T, H, W, 3) with a bright square, and its masks (T, H, W), lit from `start` to `end`
    inclusive."""
    images = np.full((count, HEIGHT, WIDTH, 3), 60, np.uint8)
    lit = np.zeros((count, HEIGHT, WIDTH), bool)
    for f in range(count):
        x = 4 + f
        images[f, 20 : 20 + size, x : x + size] = 220
        if start <= f <= end:
            lit[f, 20 : 20 + size, x : x + size] = True
    return images, lit


@pytest.fixture
def ub(tmp_path):
    """Two videos of scene 3, one of scene 11; the abnormal one has two objects."""
    root, lists = tmp_path / "UBnormal", tmp_path / "scripts"
    lists.mkdir()
    names = {
        "abnormal": ["abnormal_scene_3_scenario_1"],
        "normal": ["normal_scene_3_scenario_2", "normal_scene_11_scenario1_9"],
    }
    for kind, some in names.items():
        (lists / f"{kind}_training_video_names.txt").write_text("\n".join(some) + "\n")
        for name in some:
            folder = root / f"Scene{name.split('_')[2]}"
            folder.mkdir(parents=True, exist_ok=True)
            images, _ = moving_square(20, 0, 0)
            video.write(folder / f"{name}.mp4", images, 30)
    name = "abnormal_scene_3_scenario_1"
    notes = root / "Scene3" / f"{name}_annotations"
    notes.mkdir()
    _, lit = moving_square(20, 5, 12)
    for f in range(20):
        ids = np.where(lit[f], 7, 0).astype(np.uint8)
        if 8 <= f <= 16:
            ids[2:6, 2:9] = 9
        cv2.imwrite(str(notes / f"{name}_{f:04d}_gt.png"), ids)
    (notes / f"{name}_tracks.txt").write_text("7,5,12\n9,8,16\n")
    return root, lists, notes, name


def test_ubnormal_in_its_own_layout(ub, tmp_path):
    root, lists, _, name = ub
    samples, problems = ubnormal.read(root, lists, "train", tmp_path / "out")
    assert not problems and [s.label for s in samples].count("anomalous") == 1
    assert not check(tmp_path / "out")
    sample = next(s for s in load(tmp_path / "out") if s.anomalous)
    assert sample.id == name and sample.spans == ((5 / 30, 17 / 30),)
    assert [t.anomalous for t in sample.tracks] == [tuple(range(5, 13)), tuple(range(8, 17))]
    assert sample.tracks[0].boxes[5] == (9.0, 20.0, 18.0, 29.0) and sample.tracks[1].boxes[8] == (
        2.0,
        2.0,
        8.0,
        5.0,
    )
    lit = masks.read(sample.path(sample.mask))
    assert lit[7].sum() == 100 and lit[10].sum() == 128 and not lit[17:].any()
    assert {q.kind for q in sample.questions} >= {"judgement", "temporal"} and narratives(sample)


@pytest.mark.parametrize(
    "damage, words",
    [
        ("mask", "0006_gt.png: no such mask, but track 7 covers frame 6"),
        ("shape", "0006_gt.png: 32 x 24 pixels, the video has 64 x 48"),
        ("picture", "0006_gt.png: not a picture"),
        ("count", "_tracks.txt:2: frame 30, but the video has 20"),
        ("text", "_tracks.txt:1: expected id, first frame, last frame, found 'seven,5,12'"),
        ("empty", "_tracks.txt: no track in this file"),
        ("tracks", "_tracks.txt: no such track file"),
        ("video", "abnormal_scene_3_scenario_1.mp4: no such video file"),
        ("hidden", "none of the masks shows an object"),
    ],
)
def test_a_damaged_ubnormal_video_is_refused_by_name_and_the_rest_is_read(
    ub, tmp_path, capsys, damage, words
):
    root, lists, notes, name = ub
    picture, tracks = notes / f"{name}_0006_gt.png", notes / f"{name}_tracks.txt"
    match damage:
        case "mask":
            picture.unlink()
        case "shape":
            cv2.imwrite(str(picture), np.zeros((24, 32), np.uint8))
        case "picture":
            picture.write_bytes(b"no picture")
        case "count":
            tracks.write_text("7,5,12\n9,8,30\n")
        case "text":
            tracks.write_text("seven,5,12\n")
        case "empty":
            tracks.write_text("\n")
        case "tracks":
            tracks.unlink()
        case "video":
            (root / "Scene3" / f"{name}.mp4").unlink()
        case "hidden":
            tracks.write_text("3,5,12\n")
    assert main(["data", "ubnormal", str(root), "--splits", str(lists), "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    line = next(line for line in printed.err.splitlines() if line.startswith("refused"))
    assert words in line and name in line and "2 clips" in printed.out
    assert {s.label for s in load(tmp_path / "out")} == {"normal"} and not check(tmp_path / "out")


def test_the_official_lists_of_ubnormal_are_read():
    folder = shared("data/ubnormal")
    counts = {split: len(ubnormal.split_names(folder, split)) for split in ubnormal.SPLITS}
    assert counts == {"train": 268, "val": 64, "test": 211}


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda p: None, "no such split list"),
        (
            lambda p: (p / "normal_training_video_names.txt").write_text("../../etc/passwd\n"),
            "is no UBnormal video name",
        ),
    ],
)
def test_bad_lists_are_refused(tmp_path, make, words):
    make(tmp_path)
    with pytest.raises(InputError, match=words):
        ubnormal.split_names(tmp_path, "train")


@pytest.fixture
def st(tmp_path):
    root, tracks = tmp_path / "shanghaitech", tmp_path / "tracks"
    tracks.mkdir()
    for part in ("test_frame_mask", "test_pixel_mask"):
        (root / "testing" / part).mkdir(parents=True)
    for name, (a, b) in {"01_0014": (6, 11), "02_0128": (99, 99)}.items():
        images, lit = moving_square(20, a, b)
        folder = root / "testing" / "frames" / name
        folder.mkdir(parents=True)
        for f, image in enumerate(images):
            cv2.imwrite(str(folder / f"{f:03d}.jpg"), image)
        np.save(root / "testing" / "test_frame_mask" / f"{name}.npy", lit.any((1, 2)).astype(np.int8))
        np.save(root / "testing" / "test_pixel_mask" / f"{name}.npy", lit.astype(np.uint8))
    (tracks / "01_0014.txt").write_text("".join(f"0,{f},{4 + f},20,{13 + f},29\n" for f in range(6, 12)))
    (root / "training" / "videos").mkdir(parents=True)
    video.write(tmp_path / "x.mp4", moving_square(20, 0, 0)[0], 24)
    shutil.copy(tmp_path / "x.mp4", root / "training" / "videos" / "01_001.avi")
    (root / "training" / "videos" / "._01_001.avi").write_bytes(b"what a Mac leaves")
    return root, tracks


def test_shanghaitech_in_its_own_layout(st, tmp_path):
    root, tracks = st
    _samples, problems = shanghaitech.read(root, "test", tmp_path / "out", tracks)
    assert not problems and not check(tmp_path / "out")
    sample, normal = load(tmp_path / "out")
    assert (sample.label, normal.label) == ("anomalous", "normal") and sample.spans == ((6 / 24, 12 / 24),)
    assert sample.tracks[0].boxes[6] == (10.0, 20.0, 19.0, 29.0)
    assert masks.read(sample.path(sample.mask)).sum() == 600
    shown = video.decode(sample.path(sample.video.path))
    assert shown.images[8, 24, 16].min() > 150 > shown.images[8, 5, 5].max()
    train, refused = shanghaitech.read(root, "train", tmp_path / "train")
    assert [s.label for s in train] == ["normal"] and not refused and not check(tmp_path / "train")


@pytest.mark.parametrize(
    "damage, words",
    [
        ("frame mask", "test_frame_mask/01_0014.npy: no such mask"),
        ("shape", "test_pixel_mask/01_0014.npy: shape (20, 32, 32), expected (20, 48, 64)"),
        ("count", "test_frame_mask/01_0014.npy: shape (19,), expected (20,)"),
        ("pickle", "test_pixel_mask/01_0014.npy: not a .npy array"),
        ("gap", "01_0014: frame 7 is missing (found 008.jpg)"),
        ("picture", "009.jpg: not a picture"),
        ("contradiction", "frame 6 is normal, but its pixel mask is not empty"),
        ("tracks", "01_0014.txt: no such track file"),
        ("track frame", "01_0014.txt:1: frame 99, but the video has 20"),
        ("track box", "01_0014.txt:1: box [60, 20, 90, 29] does not lie in 64 x 48 pixels"),
        ("nan", "test_pixel_mask/01_0014.npy: frame 3: expected 0 or 1, found NaN"),
        ("nan label", "test_frame_mask/01_0014.npy: expected 0 or 1, found NaN"),
    ],
)
def test_a_damaged_shanghaitech_video_is_refused_by_name(st, tmp_path, damage, words):
    root, tracks = st
    pixel, frame = (
        root / "testing" / part / "01_0014.npy" for part in ("test_pixel_mask", "test_frame_mask")
    )
    folder, track = root / "testing" / "frames" / "01_0014", tracks / "01_0014.txt"
    match damage:
        case "frame mask":
            frame.unlink()
        case "shape":
            np.save(pixel, np.zeros((20, 32, 32), np.uint8))
        case "count":
            np.save(frame, np.zeros(19, np.int8))
        case "pickle":
            np.save(pixel, np.array([print], object), allow_pickle=True)
        case "gap":
            (folder / "007.jpg").unlink()
        case "picture":
            (folder / "009.jpg").write_bytes(b"no picture")
        case "contradiction":
            np.save(frame, np.zeros(20, np.int8))
        case "tracks":
            track.unlink()
        case "track frame":
            track.write_text("0,99,1,1,5,5\n")
        case "track box":
            track.write_text("0,7,60,20,90,29\n")
        case "nan":
            lit = np.load(pixel).astype(float)
            lit[3] = np.nan
            np.save(pixel, lit)
        case "nan label":
            np.save(frame, np.full(20, np.nan))
    samples, problems = shanghaitech.read(root, "test", tmp_path / "out", tracks)
    assert [s.id for s in samples] == ["02_0128"] and len(problems) == 1 and words in str(problems[0])
    assert not check(tmp_path / "out")


def test_truth_of_shanghaitech_without_its_frames_is_named(st, tmp_path):
    root, tracks = st
    shutil.rmtree(root / "testing/frames/01_0014")
    samples, problems = shanghaitech.read(root, "test", tmp_path / "out", tracks)
    assert [s.id for s in samples] == ["02_0128"] and [str(p) for p in problems] == [
        f"01_0014: {name} is there, but no frames of it"
        for name in ("test_frame_mask/01_0014.npy", "test_pixel_mask/01_0014.npy", "tracks/01_0014.txt")
    ]


def test_shanghaitechs_odd_pictures_and_their_boxes_are_cut_alike(st, tmp_path):
    root, tracks = st
    for path in (root / "testing/frames/01_0014").iterdir():
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (65, 49)))
    lit = np.zeros((20, 49, 65), np.uint8)
    lit[6:12, 20:49, 40:65] = 1
    np.save(root / "testing/test_pixel_mask/01_0014.npy", lit)
    (tracks / "01_0014.txt").write_text("".join(f"0,{f},40,20,65,49\n" for f in range(6, 12)))
    samples, problems = shanghaitech.read(root, "test", tmp_path / "out", tracks)
    sample = next(s for s in samples if s.id == "01_0014")
    assert not problems and {*sample.tracks[0].boxes.values()} == {(40.0, 20.0, 63.0, 47.0)}


def test_the_real_tracks_are_read():
    for path in sorted(shared("data/shanghaitech_tracks").glob("*.txt")):
        tracks = shanghaitech.read_tracks(path, 2000, 856, 480)
        assert tracks and all(t.anomalous for t in tracks)


def test_a_killed_build_keeps_what_it_has_and_ends_the_same(st, tmp_path, monkeypatch):
    root, tracks = st
    shanghaitech.read(root, "test", tmp_path / "whole", tracks)
    real = shanghaitech.make_test_sample
    made = []

    def dies(base, name, *rest):
        made.append(name)
        if len(made) == 2:
            raise KeyboardInterrupt
        return real(base, name, *rest)

    monkeypatch.setattr(shanghaitech, "make_test_sample", dies)
    with pytest.raises(KeyboardInterrupt):
        shanghaitech.read(root, "test", tmp_path / "cut", tracks)
    assert not (tmp_path / "cut" / "samples.jsonl").exists()
    shanghaitech.read(root, "test", tmp_path / "cut", tracks)
    assert made == ["01_0014", "02_0128", "02_0128"]
    assert (tmp_path / "cut/samples.jsonl").read_bytes() == (tmp_path / "whole/samples.jsonl").read_bytes()


def test_windows_fill_the_video_within_bounds():
    for count in range(0, 500):
        parts = windows(count)
        assert all(LEAST <= b - a <= MOST for a, b in parts)
        assert [i for a, b in parts for i in range(a, b)] == (list(range(count)) if count >= LEAST else [])


def test_reclip_cuts_at_one_frame_a_second_and_parts_by_seed(tmp_path):
    source = tmp_path / "source"
    for part in ("videos", "masks"):
        (source / part).mkdir(parents=True)
    samples = []
    for n in range(6):
        images, lit = (np.repeat(a, 2, 0) for a in moving_square(30, 10, 19))
        video.write(source / f"videos/v{n}.mp4", images, 2)
        masks.write(source / f"masks/v{n}.npz", lit)
        boxes = {f: (4.0 + f // 2, 20.0, 13.0 + f // 2, 29.0) for f in range(60)}
        tracks = (Track(0, "object", boxes, tuple(range(20, 40))),)
        video_of = Video(f"videos/v{n}.mp4", 2.0, 60, WIDTH, HEIGHT)
        samples.append(
            Sample(
                f"v{n}",
                "x",
                "train",
                video_of,
                "anomalous",
                spans=((10.0, 20.0),),
                tracks=tracks,
                mask=f"masks/v{n}.npz",
            )
        )
    images, _ = moving_square(6, 0, 0)
    video.write(source / "videos/short.mp4", images, 2)
    samples.append(
        Sample("short", "x", "train", Video("videos/short.mp4", 2.0, 6, WIDTH, HEIGHT), "normal", spans=())
    )
    save(samples, source)
    counts, problems = reclip([str(source)], tmp_path / "out", seed=1)
    assert counts == {"train": 5, "test": 1} and "short.mp4: 3 frames at 1 a second" in str(problems[0])
    for part in counts:
        assert not check(tmp_path / "out" / part)
        for clip in load(tmp_path / "out" / part):
            assert clip.video.fps == 1.0 and clip.video.frames == 30 and clip.spans == ((10.0, 20.0),)
            assert clip.tracks[0].anomalous == tuple(range(10, 20))
            assert dict(clip.dialogue)["When and why?"] == "From 10.00 to 20.00 s."
            assert masks.read(clip.path(clip.mask)).any((1, 2)).nonzero()[0].tolist() == list(range(10, 20))
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"train", "test"}


def long_videos(folder, names, seconds=100, label="normal"):
    """A data set of videos of as many seconds, so that each becomes several clips."""
    (folder / "videos").mkdir(parents=True)
    video.write(folder / "one.mp4", np.full((seconds, HEIGHT, WIDTH, 3), 60, np.uint8), 1.0)
    shown = Video("", 1.0, seconds, WIDTH, HEIGHT)
    samples = []
    for name in names:
        shutil.copy(folder / "one.mp4", folder / f"videos/{name}.mp4")
        samples.append(
            Sample(
                name,
                "x",
                "train",
                replace(shown, path=f"videos/{name}.mp4"),
                label,
                spans=() if label == "normal" else ((2.0, 5.0),),
            )
        )
    save(samples, folder)
    return folder


def test_all_clips_of_a_video_lie_in_one_part(tmp_path):
    """Of clips parted one by one, half of six long videos were in both."""
    right = long_videos(tmp_path / "right", [f"n{i}" for i in range(5)])
    wrong = long_videos(tmp_path / "wrong", [f"a{i}" for i in range(5)], label="anomalous")
    counts, problems = reclip([str(right), str(wrong)], tmp_path / "out")
    assert counts == {"train": 24, "test": 6} and not problems
    videos = {part: {c.id.rpartition("_")[0] for c in load(tmp_path / "out" / part)} for part in counts}
    assert len(videos["test"]) == 2 and not videos["train"] & videos["test"]
    assert {name[0] for name in videos["test"]} == {"n", "a"}


def test_videos_that_are_one_file_or_windows_of_one_are_not_parted(tmp_path, capsys):
    folder = long_videos(tmp_path / "data", ["a", "b"], 30)
    (folder / "videos/b.mp4").unlink()
    (folder / "videos/b.mp4").hardlink_to(folder / "videos/a.mp4")
    assert reclip([str(folder)], tmp_path / "linked")[0] == {"train": 2, "test": 0}
    assert "all 2 clips are in train" in capsys.readouterr().err
    with pytest.raises(InputError, match="id 'a' is also in"):
        reclip([str(folder), str(folder)], tmp_path / "twice")
    names = [f"0{n}_0014-{a}_{a + 23}" for n in range(1, 6) for a in (0, 12)]
    cut = long_videos(tmp_path / "windows", names, 24)
    with pytest.raises(
        InputError, match=r"'01_0014-0_23' and '01_0014-12_35' look like windows of one video"
    ):
        reclip([str(cut)], tmp_path / "guess")
    with pytest.raises(InputError, match="matches nothing of the id '01_0014-0_23'"):
        reclip([str(cut)], tmp_path / "guess", video="x[0-9]")
    with pytest.raises(InputError, match="no regular expression"):
        reclip([str(cut)], tmp_path / "guess", video="(")
    assert not (tmp_path / "guess").exists()
    assert (
        main(["data", "reclip", str(cut), "--out", str(tmp_path / "out"), "--video", "^[0-9]+_[0-9]+"]) == 0
    )
    parts = [{c.id[:7] for c in load(tmp_path / "out" / part)} for part in ("train", "test")]
    assert [len(part) for part in parts] == [4, 1] and not parts[0] & parts[1]


def test_windows_lie_where_the_video_lies_that_they_were_cut_from(tmp_path):
    whole = long_videos(tmp_path / "whole", [f"v{n}" for n in range(5)], 60)
    cut(whole, tmp_path / "windows", 30.0, 15.0)
    for seed in range(4):
        counts, problems = reclip([str(whole), str(tmp_path / "windows")], tmp_path / f"{seed}", seed)
        assert sum(counts.values()) == 25 and counts["test"] and not problems
        parts = [{c.video.source for c in load(tmp_path / f"{seed}" / part)} for part in counts]
        assert not parts[0] & parts[1]
    # The same video under another name, and the windows of either.
    (whole / "videos/v1.mp4").unlink()
    (whole / "videos/v1.mp4").hardlink_to(whole / "videos/v0.mp4")
    every = [*load(whole), *load(tmp_path / "windows")]
    named = videos_of(every)
    of_one = {name for name in named if name.startswith(("v0", "v1"))}
    assert {named[name] for name in of_one} == {"v0"} and len({*named.values()}) == 4


def test_an_id_with_a_slash_is_a_video_too(tmp_path):
    folder = long_videos(tmp_path / "data", ["a", "b"], 30)
    save([replace(s, id=f"day/{s.id}") for s in load(folder)], folder)
    counts, problems = reclip([str(folder)], tmp_path / "out")
    assert sum(counts.values()) == 2 and not problems
    save([replace(s, id=f"day/{n}_0_1") for n, s in enumerate(load(folder))], folder)
    other = long_videos(tmp_path / "other", ["day_0_0_1"], 30)
    with pytest.raises(InputError, match="id 'day_0_0_1' is also in"):
        reclip([str(folder.rename(tmp_path / "moved")), str(other)], tmp_path / "twice")


def test_a_video_beside_what_looks_like_its_window_is_asked_about():
    some = [Sample(name, "x", "train", Video("no.mp4", 1.0)) for name in ("01_0014", "01_0014-0_23")]
    with pytest.raises(InputError, match="'01_0014' and '01_0014-0_23' look like windows of one video"):
        videos_of(some)
    assert videos_of(some, "^[0-9]+_[0-9]+") == dict.fromkeys(("01_0014", "01_0014-0_23"), "01_0014")


def test_spans_of_runs():
    assert spans_of([3, 4, 5, 9], 2.0) == ((1.5, 3.0), (4.5, 5.0)) and spans_of([], 2.0) == ()


def test_masks_are_encoded_frame_by_frame_as_at_once(tmp_path):
    rng = np.random.default_rng(0)
    for masks_of in (rng.random((5, 7, 9)) > 0.5, np.ones((3, 2, 2), bool), np.zeros((3, 2, 2), bool)):
        masks.write(tmp_path / "a.npz", iter(masks_of))
        assert np.array_equal(masks.read(Path(tmp_path / "a.npz")), masks_of)


@pytest.mark.parametrize("spans", [(), ((1.0, 2.0),), ((1.0, 2.0), (4.0, 5.5))])
def test_when_is_asked_however_many_spans_there_are(spans):
    whether, when = grounding_questions(spans, (), 10.0, 64, 48)
    assert (whether.kind, when.kind) == ("judgement", "temporal")
    assert when.spans == (spans or "none") and when.answer == ("Anomaly" if spans else "Normal")
    told = ", ".join(f"[{a:.2f}, {b:.2f}]" for a, b in spans) or "none"
    assert when.solution() == f"<answer>{when.answer}</answer><glue>{told}</glue>"
