"""`tvad data folds`: whole videos are left out, each once, whether they are whole or cut into windows."""

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import shared

from tvad.__main__ import main
from tvad.common.cli import guard
from tvad.common.errors import InputError
from tvad.data import check, load, masks, save, video
from tvad.data.build import linked
from tvad.data.folds import dealt, folds
from tvad.data.readers import ucsd
from tvad.data.reclip import videos_of
from tvad.data.sample import Sample, Video


def sample(name, anomalous=True, source=None):
    label = "anomalous" if anomalous else "normal"
    return Sample(name, "mine", "test", Video(f"videos/{name}.mp4", 10.0, source=source), label)


def of_videos(folder):
    return {s.video.source or s.id for s in load(folder)}


def test_real_videos_are_each_tested_once_and_never_trained_on_beside(tmp_path):
    root, out = shared("data/ucsd_ped2") / "UCSDped2", tmp_path / "folds"
    for split in ("test", "train"):
        ucsd.read(root, split, tmp_path / split)
    call = [
        "data",
        "folds",
        str(tmp_path / "test"),
        str(tmp_path / "train"),
        "--folds",
        "4",
        "--out",
        str(out),
    ]
    assert main(call) == 0
    names = of_videos(out / "all")
    assert len(names) == 24
    tested = []
    for n in range(4):
        train, test = load(out / f"fold-{n}/train"), load(out / f"fold-{n}/test")
        assert {s.split for s in train} == {"train"} and {s.split for s in test} == {"test"}
        assert not of_videos(out / f"fold-{n}/train") & of_videos(out / f"fold-{n}/test")
        assert [sum(s.anomalous for s in part) for part in (train, test)] == [6, 2]
        assert not check(out / f"fold-{n}/test")
        tested += [s.id for s in test]
    assert sorted(tested) == sorted(names)
    for one in load(tmp_path / "test"):
        other = next(s for s in load(out / "all") if s.id == one.id)
        assert [a.read_bytes() for a in one.files()] == [b.read_bytes() for b in other.files()]
        assert one.path(one.mask).read_bytes() == other.path(other.mask).read_bytes()


def test_windows_fall_where_their_whole_videos_fall_and_the_seed_decides():
    whole = [sample(f"v{n:02d}", n % 3 > 0) for n in range(20)]
    cut = [sample(f"{s.id}_w{k}", bool(s.anomalous and k == 1), s.id) for s in whole[::-1] for k in (0, 1, 2)]
    ways = []
    for seed in (0, 1):
        found = dealt(whole, videos_of(whole), 4, seed)
        assert {s.id: found[s.video.source] for s in cut} == dealt(cut, videos_of(cut), 4, seed)
        for kind in (True, False):
            sizes = np.bincount([found[s.id] for s in whole if s.anomalous is kind], minlength=4)
            assert np.ptp(sizes) <= 1
        ways.append(found)
    assert ways[0] != ways[1] and np.ptp(np.bincount(list(ways[0].values()))) <= 1


@pytest.mark.parametrize("count", (0, 1, 6))
def test_as_many_folds_as_there_are_videos_at_most(count):
    some = [sample(f"v{n}") for n in range(5)]
    with pytest.raises(InputError, match=f"folds is {count}, expected 2 to 5"):
        dealt(some, videos_of(some), count, 0)


def test_a_video_beside_its_windows_is_one_and_each_may_be_called_one():
    whole = [sample(f"v{n}", n < 3) for n in range(6)]
    cut = [sample(f"{s.id}_w{k}", s.anomalous, s.id) for s in whole for k in (0, 1)]
    found = dealt([*whole, *cut], videos_of([*whole, *cut]), 3, 0)
    assert all(found[s.id] == found[s.video.source] for s in cut)
    assert found == found | dealt(whole, videos_of(whole), 3, 0)
    alone = dealt([*whole, *cut], videos_of([*whole, *cut], ".+"), 3, 0)
    assert len(alone) == 18 and np.bincount([*alone.values()]).tolist() == [6, 6, 6]


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "own"
    (folder / "videos").mkdir(parents=True)
    for n in range(4):
        images = np.full((8, 48, 64, 3), 20 * n, np.uint8)
        video.write(folder / f"videos/v{n}.mp4", images, 10)
    save([sample(f"v{n}", n < 2) for n in range(4)], folder)
    return folder


def test_a_killed_run_goes_on_and_other_folds_do_not_mix(source, tmp_path):
    out = tmp_path / "folds"
    assert folds([source], out, 2) == [{"train": 2, "test": 2}] * 2
    before = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    shutil.rmtree(out / "fold-1/test")
    (out / "fold-1/train/samples.jsonl").unlink()  # as a kill leaves it: files, no rows
    assert folds([source], out, 2) == [{"train": 2, "test": 2}] * 2
    assert {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    other = next(seed for seed in range(1, 20) if _parts(source, seed) != _parts(source, 0))
    with pytest.raises(InputError, match="fold-0/train: holds other clips; choose another --out"):
        folds([source], out, 2, seed=other)


@pytest.mark.parametrize("what", ("label", "mask"))
def test_folds_of_what_the_data_set_no_longer_says_are_refused(source, tmp_path, what):
    (source / "masks").mkdir()
    masks.write(source / "masks/v0.npz", np.ones((8, 48, 64), bool))
    one, *others = load(source)
    save([replace(one, mask="masks/v0.npz"), *others], source)
    assert main(["data", "folds", str(source), "--folds", "2", "--out", str(tmp_path / "folds")]) == 0
    assert main(["data", "folds", str(source), "--folds", "2", "--out", str(tmp_path / "folds")]) == 0
    if what == "label":
        save([replace(one, label="normal"), *others], source)
    else:
        masks.write(source / "masks/v0.npz", np.eye(48, 64, dtype=bool)[None].repeat(8, 0))
    with pytest.raises(InputError, match=r"all: says of 'v0' what its data set no longer says"):
        folds([source], tmp_path / "folds", 2)


@pytest.mark.parametrize("lost", ("videos/v1.mp4", "masks/v1.npz"))
def test_a_file_that_is_not_there_is_one_line_that_names_it(source, tmp_path, lost, capsys):
    (source / "masks").mkdir()
    masks.write(source / "masks/v1.npz", np.ones((8, 48, 64), bool))
    save([replace(s, mask="masks/v1.npz") if s.id == "v1" else s for s in load(source)], source)
    (source / lost).unlink()
    assert guard(main, ["data", "folds", str(source), "--folds", "2", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"error: {source / lost}: no such file\n"


def _parts(source, seed):
    some = load(source)
    return dealt(some, videos_of(some), 2, seed)


def test_an_id_that_is_there_twice_is_named(source, tmp_path):
    with pytest.raises(InputError, match=r"id 'v0' is also in .*own"):
        folds([source, source], tmp_path / "folds", 2)


def test_pictures_keep_their_times_wherever_they_are_linked(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "shots").mkdir(parents=True)
    for n in range(3):
        cv2.imwrite(str(folder / f"shots/{n}.png"), np.full((16, 16, 3), n, np.uint8))
    (folder / "shots/times.txt").write_text("0\n0.5\n2.5\n")
    told = replace(sample("a/b"), video=Video("shots"), root=str(folder))
    moved = linked(told, tmp_path / "out")
    assert moved.video.path == "videos/a_b" and moved.clip() == str(tmp_path / "out/videos/a_b")
    listed = replace(told, video=Video("shots", 2.0, pictures=("shots/2.png", "shots/0.png")))
    moved = linked(listed, tmp_path / "other")
    assert [p.read_bytes() for p in moved.files()] == [p.read_bytes() for p in listed.files()]
    assert moved.files()[0].name == "000000.png"
