"""A build that was killed and is run again: with the same options it goes on and loses nothing, neither a
file nor what it refused; with others it is refused in one line that says what differs."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tvad.__main__ import main
from tvad.common.cli import guard
from tvad.common.errors import InputError
from tvad.data import (
    check,
    load,
    masks,
    parting,
    recipe,
    reclip,
    save,
    vau_bench,
    video,
    windows,
)
from tvad.data.build import build
from tvad.data.readers import ucf_crime, ucsd, xd_violence
from tvad.data.sample import Question, Sample, Video
from tvad.data.table import make as table

SIZE = 48, 64


def dies(monkeypatch, module, name, call=2):
    """Whoever calls a function so often for the first time is killed there."""
    real, calls = getattr(module, name), []

    def killed(*given, **named):
        calls.append(given)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*given, **named)

    monkeypatch.setattr(module, name, killed)


def killed(call):
    assert guard(main, [str(word) for word in call]) == 130


def refused(capsys, call, *words):
    """The one line of a command that is refused."""
    capsys.readouterr()
    assert guard(main, [str(word) for word in call]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    for word in ("error: ", "begun with another configuration; choose another --out or delete", *words):
        assert word in line
    return line


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def movie(path, seconds=3, shade=60):
    path.parent.mkdir(parents=True, exist_ok=True)
    video.write(path, np.full((4 * seconds, *SIZE, 3), shade, np.uint8), 4)


@pytest.fixture
def videos(tmp_path):
    """A data set of six videos of 100 s at 1 frame a second, every other one anomalous; and one of 3 s."""
    folder = tmp_path / "in"
    (folder / "videos").mkdir(parents=True), (folder / "masks").mkdir()
    samples = []
    for n in range(6):
        lit = np.zeros((100, *SIZE), bool)
        lit[10:20, 4:12, 4:12] = n % 2
        video.write(folder / f"videos/v{n}.mp4", np.full((100, *SIZE, 3), 20 * n, np.uint8), 1)
        masks.write(folder / f"masks/v{n}.npz", lit)
        samples.append(
            Sample(f"v{n}", "x", "train", Video(f"videos/v{n}.mp4", 1.0, 100, 64, 48),
                   "anomalous" if n % 2 else "normal", spans=((10.0, 20.0),) if n % 2 else (),
                   mask=f"masks/v{n}.npz", questions=(Question("description", "What?", "A dog."),))
        )  # fmt: skip
    video.write(folder / "videos/short.mp4", np.full((3, *SIZE, 3), 9, np.uint8), 1)
    samples.append(
        Sample("short", "x", "train", Video("videos/short.mp4", 1.0, 3, 64, 48), "normal", spans=())
    )
    save(samples, folder)
    return folder


def test_windows_of_two_strides_do_not_mix(videos, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    call = ["data", "windows", videos, "--out", out, "--seconds", "40", "--stride", "20"]
    dies(monkeypatch, windows, "windows_of", 3)
    killed(call)
    refused(capsys, [*call[:-1], "40"], "(stride was 20.0, is 40.0)")
    refused(
        capsys, [*call[:-1], "10", "--seconds", "30"], "(seconds was 40.0, is 30.0; stride was 20.0, is 10.0)"
    )
    refused(capsys, ["data", "reclip", videos, "--out", out], "(made was windows, is reclip)")
    lines = (out / "samples.partial.jsonl").read_text().splitlines()
    assert len(lines) == 3 and json.loads(lines[1])["name"] == "v0"
    assert guard(main, [str(word) for word in call]) == 0
    # Also of the videos that the killed run has cut: the whole count.
    assert "windows: 6 questions are of whole videos" in capsys.readouterr().err
    assert guard(main, [*map(str, call[:4]), str(tmp_path / "whole"), *call[5:]]) == 0
    assert files_of(out) == files_of(tmp_path / "whole")


def test_a_data_set_that_says_otherwise_since_is_another_one(videos, tmp_path, capsys, monkeypatch):
    call = ["data", "windows", videos, "--out", tmp_path / "out", "--seconds", "40", "--stride", "20"]
    dies(monkeypatch, windows, "windows_of")
    killed(call)
    save([replace(s, label="normal", spans=(), mask=None) for s in load(videos)], videos)
    refused(capsys, call, "source was in/samples.jsonl (SHA-256 ", ", is in/samples.jsonl (SHA-256 ")


def test_what_has_made_nothing_yet_may_be_begun_with_other_options(videos, tmp_path, monkeypatch):
    call = ["data", "windows", videos, "--out", tmp_path / "out", "--seconds", "40", "--stride", "20"]
    dies(monkeypatch, windows, "windows_of", 1)
    killed(call)
    assert main([str(word) for word in [*call[:-1], "40"]]) == 0
    assert {s.video.offset for s in load(tmp_path / "out")} == {0.0, 40.0, 60.0}


def test_a_build_of_an_earlier_version_said_nothing_and_is_refused(tmp_path):
    tmp_path.joinpath("samples.partial.jsonl").write_text('{"name": "a", "version": 1, "samples": []}\n')
    with pytest.raises(InputError, match=r"samples\.partial\.jsonl: begun by an earlier version") as error:
        build(tmp_path, ["a", "b"], lambda *_: [], "test", {})
    assert "\n" not in str(error.value)


def test_a_line_that_a_kill_has_cut_is_made_again_also_the_first(tmp_path):
    made = []

    def make(name, folder):
        made.append(name)
        return [Sample(name, "x", "train", Video(f"{name}.mp4"), "normal")]

    log = tmp_path / "samples.partial.jsonl"
    log.write_text('{"recipe": {"ma')
    build(tmp_path, ["a"], make, "test", {"seed": 1})
    assert made == ["a"] and [s.id for s in load(tmp_path)] == ["a"] and not log.exists()


def ucf(root):
    for name in ("Abuse001_x264", "Normal_Videos_003_x264", "Arson001_x264"):
        movie(root / f"videos/{name}.mp4")
    (root / "list.txt").write_text(
        "Abuse001_x264.mp4 Abuse 2 5 -1 -1\nArson001_x264.mp4 Arson 1 3 -1 -1\n"
        "Normal_Videos_003_x264.mp4 Normal -1 -1 -1 -1\n"
    )
    (root / "other").mkdir()
    shutil.copy(root / "list.txt", root / "other")
    (root / "uca").mkdir()
    told = {"timestamps": [[0.0, 1.5]], "sentences": ["A dog."]}
    (root / "uca/UCFCrime_Test.json").write_text(json.dumps({"Abuse001_x264": told}))
    return ["ucf-crime", root / "videos", "--listed", root / "list.txt"], ucf_crime, "make_sample"


def xd(root):
    names = ("v=a__#1_label_A", "v=b__#1_label_B1-0-0", "v=c__#1_label_B2-0-0")
    for name in names:
        movie(root / f"videos/{name}.mp4")
    (root / "annotations.txt").write_text(f"{names[1]}.mp4 2 5\n{names[2]} 1 4\n")
    (root / "later.txt").write_text(f"{names[1]}.mp4 3 6\n{names[2]} 1 4\n")
    return (
        ["xd-violence", root / "videos", "--annotations", root / "annotations.txt"],
        xd_violence,
        "make_sample",
    )


def ped(root):
    for name in ("Test001", "Test002"):
        (root / "UCSDped2/Test" / name).mkdir(parents=True)
        for n in range(1, 7):
            cv2.imwrite(str(root / f"UCSDped2/Test/{name}/{n:03d}.tif"), np.full(SIZE, 9 * n, np.uint8))
    (root / "UCSDped2/Test/UCSDped2.m").write_text("TestVideoFile{end+1}.gt_frame = [2:4];\n" * 2)
    rows = [
        {"video": name, "track": 1, "class": "cart", "boxes": [[f, 2, 2, 9, 9] for f in (2, 3, 4)]}
        for name in ("Test001", "Test002")
    ]
    (root / "tracks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["ucsd", root / "UCSDped2"], ucsd, "make_test_sample"


def vau(root):
    names = ("Assault_1", "Assault_2")
    rows = []
    for name in names:
        movie(root / f"videos/{name}.mp4", 5)
        row = dict.fromkeys(vau_bench.COLUMNS, "-1")
        rows.append(
            row
            | {"Video Name": f"{name}.mp4", "Anomaly Class": "Assault", "Start Time": "1", "End Time": "5.6"}
        )
    lines = [",".join(vau_bench.COLUMNS), *(",".join(row.values()) for row in rows)]
    (root / "val.csv").write_text("\n".join(lines) + "\n")
    return ["vau-bench", root / "val.csv", "--videos", root / "videos"], vau_bench, "with_file"


def own(root):
    for name in ("a", "b"):
        movie(root / f"videos/{name}.mp4")
        movie(root / f"others/{name}.mp4")
    (root / "own.csv").write_text(
        "video,question,answer\na,Who?,Caf\N{LATIN SMALL LETTER E WITH ACUTE}\nb,Who?,One\n", "cp1252"
    )
    return (
        ["table", root / "own.csv", "--videos", root / "videos", "--encoding", "cp1252"],
        table,
        "described",
    )


OPTIONS = [
    (ucf, ["--captions", "{root}/uca"], "captions was not given, is "),
    (ucf, ["--split", "train"], "made was ucf-crime test, is ucf-crime train"),
    (xd, ["--annotations", "{root}/later.txt"], "annotations was annotations.txt (SHA-256 "),
    (ped, ["--tracks", "{root}/tracks.jsonl"], "tracks was not given, is tracks.jsonl (SHA-256 "),
    (vau, ["--split", "val"], "split was test, is val"),
    (own, ["--videos", "{root}/others"], "videos was "),
    (own, ["--encoding", "cp437"], "another table"),
]  # fmt: skip


@pytest.mark.parametrize("layout, option, said", OPTIONS)
def test_a_reader_goes_on_with_its_options_alone(tmp_path, capsys, monkeypatch, layout, option, said):
    reader, module, name = layout(tmp_path)
    call = ["data", *reader, "--out", tmp_path / "out"]
    with monkeypatch.context() as patched:
        dies(patched, module, name)
        killed(call)
    begun = files_of(tmp_path / "out")
    other = [*call, *(word.format(root=tmp_path) for word in option)]
    assert guard(main, [str(word) for word in other]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert said in line and "choose another --out or delete the folder" in line
    kept = files_of(tmp_path / "out")
    assert kept["samples.partial.jsonl"] == begun["samples.partial.jsonl"]
    assert guard(main, [str(word) for word in call]) == 0
    told = capsys.readouterr().err
    assert guard(main, [str(word) for word in [*call[:-1], tmp_path / "whole"]]) == 0
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")
    # What was said of the rows is said of all of them, those of the killed run too.
    assert told.count("\ncut ") + told.startswith("cut ") == (2 if layout is vau else 0)


def test_a_list_of_the_same_content_elsewhere_goes_on(tmp_path, monkeypatch):
    reader, module, name = ucf(tmp_path)
    call = ["data", *reader, "--out", tmp_path / "out"]
    with monkeypatch.context() as patched:
        dies(patched, module, name)
        killed(call)
    assert main([str(word) for word in [*call, "--listed", tmp_path / "other/list.txt"]]) == 0


def test_a_recipe_names_what_differs_and_no_more_than_a_line():
    was = {f"key{n}": n for n in range(9)} | {"same": 1, "deep": {"a": [1, 2], "b": None}}
    recipe.check("x", was, was | {"deep": {"a": (1, 2)}})
    with pytest.raises(InputError) as error:
        recipe.check("x", was, {"same": 1, "deep": {"a": [1, 3]}, "text": "é" * 200})
    said = str(error.value)
    assert "key0 was 0, is not given; key1" in said and "and 7 more" in said and len(said) < 300
    with pytest.raises(InputError, match=r"\(deep\.a was \[1, 2\], is \[1, 3\]\)"):
        recipe.check("x", was, was | {"deep": {"a": [1, 3]}})


PLACES = [
    ("os.replace", 1),
    ("os.replace", 9),
    ("save", 1),
    ("save", 2),
    ("_emptied", 1),
    ("shutil.rmtree", 1),
    ("shutil.rmtree", 3),
]


def dies_parting(monkeypatch, name, call):
    """Where parting alone calls it."""
    module, _, function = name.rpartition(".")
    if module:
        monkeypatch.setattr(parting, module, SimpleNamespace(**vars(getattr(parting, module))))
    dies(monkeypatch, getattr(parting, module) if module else parting, function, call)


@pytest.mark.parametrize("name, call", PLACES)
def test_a_parting_that_was_killed_loses_nothing(videos, tmp_path, capsys, monkeypatch, name, call):
    words = ["data", "reclip", str(videos), "--seed", "1", "--out"]
    assert main([*words, str(tmp_path / "whole")]) == 1
    said = capsys.readouterr().err
    assert said.count("refused x/short: ") == 1
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        dies_parting(patched, name, call)
        killed([*words, out])
    begun = files_of(out)
    other = next(seed for seed in range(2, 99) if _test_videos(videos, seed) != _test_videos(videos, 1))
    refused(capsys, ["data", "reclip", videos, "--seed", other, "--out", out], f"seed was 1, is {other}")
    refused(capsys, [*words, out, "--video", ".+"], "video was not given, is .+")
    assert files_of(out) == begun
    assert guard(main, [*words, str(out)]) == 1
    assert capsys.readouterr().err.count("refused x/short: ") == 1
    assert files_of(out) == files_of(tmp_path / "whole")
    assert {path.name for path in out.iterdir()} == {"train", "test"}
    assert not check(out / "train") and not check(out / "test")


def _test_videos(folder, seed):
    clips = [replace(s, id=f"{s.id}_{n}") for s in load(folder) if s.id != "short" for n in range(3)]
    parts = reclip.parted(clips, {clip.id: clip.id.rpartition("_")[0] for clip in clips}, seed)
    return {clip.id for clip in parts["test"]}


def test_clips_lost_on_the_way_are_named_and_no_part_is_short(videos, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        dies(patched, parting, "save", 1)
        with pytest.raises(KeyboardInterrupt):
            reclip.reclip([str(videos)], tmp_path / "out")
    gone = sorted((tmp_path / "out").rglob("v0_01.mp4"))
    gone[0].unlink()
    with pytest.raises(InputError, match=r"videos/v0_01\.mp4: no such file, of the clip 'v0_01'"):
        reclip.reclip([str(videos)], tmp_path / "out")


def test_what_lies_where_parts_are_to_lie_is_left_alone(videos, tmp_path):
    """Its own sources, or a data set that was made before: parts took their place, file by file."""
    for part in ("train", "test"):
        shutil.copytree(videos, tmp_path / "set" / part)
    before = files_of(tmp_path / "set")
    for out, sources in ((tmp_path / "set", ["train", "test"]), (tmp_path / "set/train", ["test"])):
        with pytest.raises(InputError, match=r"samples\.jsonl: exists; choose another --out"):
            reclip.reclip([str(tmp_path / "set" / name) for name in sources[:1]], out)
    assert files_of(tmp_path / "set") == before
    reclip.reclip([str(videos)], tmp_path / "out")
    before = files_of(tmp_path / "out")
    for seed in (0, 1):
        with pytest.raises(InputError, match=r"train/samples\.jsonl: exists; choose another --out"):
            reclip.reclip([str(videos)], tmp_path / "out", seed)
    assert files_of(tmp_path / "out") == before


@pytest.fixture
def shanghai(tmp_path):
    """T-VAU's layout: five videos of two windows, one window damaged."""
    root = tmp_path / "tvau"
    names = [f"01_{n:04d}-{first:03d}_{first + 23:03d}" for n in range(5) for first in (0, 12)]
    for k, name in enumerate(names):
        part = root / ("val" if k % 4 == 1 else "train")
        part.mkdir(parents=True, exist_ok=True), (root / "gt").mkdir(exist_ok=True)
        video.write(part / f"{name}.mp4", np.full((24, *SIZE, 3), 60, np.uint8), 24)
        np.save(root / f"gt/{name}.npy", np.zeros((24, *SIZE), np.uint8))
    next(root.glob(f"*/{names[-1]}.mp4")).write_bytes(b"no video")
    rows = "".join(f"{name}.mp4,没有异常\n" for name in names)
    (root / "labels.csv").write_text("video,description\n" + rows, encoding="utf-8")
    (root / "track.json").write_text("{}")
    (root / "dataset_track_zh_en.json").write_text("{}")
    return root


def test_t_vaus_windows_are_parted_by_the_options_that_began_it(shanghai, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    call = ["data", "tvau", shanghai, "--out", out]
    with monkeypatch.context() as patched:
        dies_parting(patched, "os.replace", 5)
        killed(call)
    begun = files_of(out)
    refused(capsys, [*call, "--published"], "published was false, is true")
    refused(capsys, [*call, "--seed", "3"], "seed was 0, is 3")
    refused(capsys, [*call, "--language", "zh"], "language was en, is zh")
    assert files_of(out) == begun
    assert guard(main, [str(word) for word in call]) == 1
    assert capsys.readouterr().err.count("refused 01_0004-012_035: ") == 1
    assert guard(main, [str(word) for word in [*call[:-1], tmp_path / "whole"]]) == 1
    assert files_of(out) == files_of(tmp_path / "whole") and len(files_of(out)) == 2 * 9 + 4
    call = ["data", "tvau", str(shanghai), "--published", "--seed", "3", "--out", str(tmp_path / "no")]
    assert (
        guard(main, call) == 2
        and "seed is 3, but the authors' parts are not drawn" in capsys.readouterr().err
    )


def test_a_window_of_a_window_that_does_not_know_its_place_knows_none(videos, tmp_path):
    """XD-Violence's "v=…__#1" state their video and not where they begin in it."""
    one, two, *_ = load(videos)
    shown = replace(one.video, source="film")
    save(
        [replace(one, video=shown), replace(two, video=replace(shown, path=two.video.path, offset=30.0))],
        videos,
    )
    cut, _ = windows.cut(videos, tmp_path / "windows", 50.0, 50.0)
    reclip.reclip([str(videos)], tmp_path / "clips")
    clips = load(tmp_path / "clips/train")
    for made, step in ((cut, 50.0), (clips, 33.0)):
        assert {s.video.source for s in made} == {"film"}
        assert {s.video.offset for s in made if s.id.startswith("v0")} == {None}
        assert sorted(s.video.offset for s in made if s.id.startswith("v1"))[:2] == [30.0, 30.0 + step]


def test_a_parting_takes_away_no_file_that_it_did_not_make(videos, tmp_path):
    (tmp_path / "out/videos").mkdir(parents=True)
    (tmp_path / "out/videos/holiday.mp4").write_bytes(b"mine")
    with pytest.raises(InputError, match="holds files already; choose another --out"):
        reclip.reclip([str(videos)], tmp_path / "out")
    assert (tmp_path / "out/videos/holiday.mp4").read_bytes() == b"mine"
