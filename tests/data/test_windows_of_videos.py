"""`tvad data windows`: what is true of a frame in a video is true of it in every window that shows it."""

import json
import shutil
from dataclasses import replace

import av
import numpy as np
import pytest
from conftest import shared

from tvad.__main__ import main
from tvad.common.cli import guard
from tvad.common.errors import InputError
from tvad.data import check, load, masks, save, truth, video, windows
from tvad.data.readers import ucsd
from tvad.data.reclip import parted, reclip, videos_of
from tvad.data.sample import Question, Sample, Track, Video, file_stem
from tvad.data.video import Clock

SIZE = (48, 64)


def frames(count):
    """Frames whose grey level is their number."""
    return np.stack([np.full((*SIZE, 3), 20 + 2 * f, np.uint8) for f in range(count)])


@pytest.fixture
def long(tmp_path):
    """A video of 50 frames at 10 a second, anomalous from 1.0 to 1.5 and from 3.6 to 4.4 s."""
    folder = tmp_path / "long"
    (folder / "videos").mkdir(parents=True), (folder / "masks").mkdir()
    video.write(folder / "videos/a.mp4", frames(50), 10)
    lit = np.zeros((50, *SIZE), bool)
    lit[10:15, 3:9, 4:12] = True
    lit[36:44, 20:30, 30:50] = True
    masks.write(folder / "masks/a.npz", lit)
    one = Track(0, "car", {f: (4.0, 3.0, 11.0, 8.0) for f in range(5, 20)}, tuple(range(10, 15)), "red")
    two = Track(1, "dog", {f: (30.0, 20.0, 49.0, 29.0) for f in range(36, 44)}, tuple(range(36, 44)))
    sample = Sample(
        "a", "mine", "test", Video("videos/a.mp4", 10.0, 50, 64, 48), "anomalous", ("theft",),
        ((1.0, 1.5), (3.6, 4.4)), ("theft", "fire"), (one, two), "masks/a.npz", description="all of it",
    )  # fmt: skip
    save([sample, replace(sample, id="b", label="normal", categories=(), spans=(), span_categories=None,
                          tracks=None, mask=None, description=None)], folder)  # fmt: skip
    return folder, lit


def test_every_frame_keeps_its_truth(long, tmp_path):
    folder, lit = long
    call = [
        "data",
        "windows",
        str(folder),
        "--seconds",
        "2",
        "--stride",
        "1.5",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(call) == 0 and not check(tmp_path / "out")
    found = {s.id: s for s in load(tmp_path / "out")}
    assert [found[f"a_w{n:04d}"].video.offset for n in range(3)] == [0.0, 1.5, 3.0]
    assert {s.video.source for s in found.values()} == {"a", "b"} and len(found) == 6
    for n, first in enumerate((0, 15, 30)):
        sample = found[f"a_w{n:04d}"]
        shown = video.decode(sample.clip())
        assert (
            np.abs(shown.images[:, 5, 5, 0].astype(int) - (20 + 2 * np.arange(first, first + 20))).max() <= 3
        )
        assert np.array_equal(masks.read(sample.path(sample.mask)), lit[first : first + 20])
        for track in sample.tracks:
            assert all(lit[first + f].any() for f in track.anomalous)
    one, none, two = (found[f"a_w{n:04d}"] for n in range(3))
    assert one.spans == ((1.0, 1.5),) and one.span_categories == ("theft",) and one.tracks[0].look == "red"
    assert (
        none.label == "normal" and none.spans == () and none.categories == () and not none.tracks[0].anomalous
    )
    assert two.spans[0] == pytest.approx((0.6, 1.4)) and two.span_categories == ("fire",)
    assert two.description is None and sorted(two.tracks[0].boxes) == list(range(6, 14))
    assert all(found[f"b_w{n:04d}"].label == "normal" for n in range(3))
    parts = parted(list(found.values()), videos_of(list(found.values())), 0)
    assert all(len({s.video.source for s in p}) == len({s.id[0] for s in p}) for p in parts.values())


def test_options_have_their_effect_and_odd_ones_are_refused(long, tmp_path):
    folder, _ = long
    counts = {}
    for seconds, stride in ((2.0, 2.0), (2.0, 0.5), (4.0, 2.0), (60.0, 9.0)):
        out = tmp_path / f"{seconds}-{stride}"
        counts[seconds, stride] = len(windows.cut(folder, out, seconds, stride)[0])
    assert counts == {(2.0, 2.0): 6, (2.0, 0.5): 14, (4.0, 2.0): 4, (60.0, 9.0): 2}
    for seconds, stride in ((2.0, 0.0), (2.0, 3.0), (float("inf"), 1.0), (float("nan"), 1.0), (-1.0, -2.0)):
        with pytest.raises(InputError, match="stride must be positive"):
            windows.cut(folder, tmp_path / "no", seconds, stride)


@pytest.mark.parametrize("seconds, stride", ((16.0, 1e-7), (16.0, 0.1), (1e-7, 1e-7), (1e9, 1e-3)))
def test_windows_without_end_are_refused(long, tmp_path, seconds, stride, capsys):
    call = ["data", "windows", str(long[0]), "--out", str(tmp_path / "no")]
    assert guard(main, [*call, "--seconds", str(seconds), "--stride", str(stride)]) == 2
    assert "stride must be at least 0.01 s and a 100th of the windows'" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("edge, kept", ((64.0, 63.0), (65.0, 63.0), (62.0, 62.0)))
def test_boxes_are_cut_with_an_odd_picture(tmp_path, edge, kept):
    """65 x 49 pixels become 64 x 48; a box's edge may be counted from 0 to 65 or to 64."""
    folder = tmp_path / "odd"
    (folder / "videos").mkdir(parents=True)
    with av.open(str(folder / "videos/a.avi"), "w") as out:
        stream = out.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 65, 49, "rgb24"
        for f in range(20):
            image = np.full((49, 65, 3), 9 * f, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())
    car = Track(0, "car", {f: (50.0, 20.0, edge, 48.0) for f in range(5, 9)}, (5, 6, 7, 8))
    gone = Track(1, "bird", {f: (64.0, 0.0, 64.0, 9.0) for f in range(4)}, (0,))
    shown = Video("videos/a.avi", 1.0, 20, 65, 49)
    save([Sample("a", "m", "test", shown, "anomalous", spans=((5.0, 9.0),), tracks=(car, gone))], folder)
    assert not check(folder)
    cut, problems = windows.cut(folder, tmp_path / "windows", 20.0, 20.0)
    counts, others = reclip([str(folder)], tmp_path / "clips")
    assert not problems and not others and counts["train"] == 1
    for sample in (*cut, *load(tmp_path / "clips/train")):
        assert (sample.video.width, sample.video.height) == (64, 48) and not sample.problems()
        (track,) = sample.tracks
        assert {*track.boxes.values()} == {(50.0, 20.0, kept, 47.0)} and track.anomalous == (5, 6, 7, 8)


def test_a_windows_frames_are_all_frames_whatever_the_clock():
    rng = np.random.default_rng(0)
    for _ in range(200):
        gaps = rng.exponential(0.1, rng.integers(2, 80)) + 1e-3
        times = np.append(0.0, np.cumsum(gaps)[:-1])
        clock = Clock(times, float(gaps.sum()))
        seconds = float(rng.uniform(0.2, 4))
        found = windows.cuts(clock, seconds, float(rng.uniform(0.1, 1)) * seconds)
        shown = sorted({f for w in found for f in range(w.first, w.last)})
        assert shown == list(range(len(times))), "no frame is lost"
        for window in found:
            own = windows.within(clock, window)
            assert own.times[0] == 0 and len(own) == window.last - window.first
            assert np.allclose(own.times + times[window.first], times[window.first : window.last])


def test_pictures_are_linked_and_a_changing_clock_is_kept(tmp_path):
    folder = tmp_path / "set"
    (folder / "videos").mkdir(parents=True)
    times = np.append(0.0, np.cumsum(np.where(np.arange(29) % 3, 0.05, 0.2)))
    video.write(folder / "videos/v.mp4", frames(30), Clock(times, float(times[-1]) + 0.1))
    shown, _ = check_described(folder / "videos/v.mp4")
    save([Sample("v", "mine", "test", shown, "anomalous", spans=((0.5, 1.0),))], folder)
    (one, *_), problems = windows.cut(folder, tmp_path / "out", 1.0, 1.0)
    assert not problems and not check(tmp_path / "out") and one.video.times is not None
    assert one.spans == ((0.5, 1.0),)


def check_described(path):
    from tvad.data.check import described

    return described(path, "videos/v.mp4")


def test_unknown_truth_is_refused_never_taken_for_normal(long, tmp_path):
    folder, _ = long
    sample = load(folder)[0]
    save([replace(sample, spans=None, span_categories=None, tracks=None, mask=None), load(folder)[1]], folder)
    samples, problems = windows.cut(folder, tmp_path / "out", 2.0, 1.0)
    assert {s.id[0] for s in samples} == {"b"} and truth.NO_FRAMES in str(problems[0])


def test_real_footage(tmp_path):
    root = shared("data/ucsd_ped2")
    ucsd.read(root / "UCSDped2", "test", tmp_path / "whole", root / "tracks.jsonl")
    samples, problems = windows.cut(tmp_path / "whole", tmp_path / "out", 4.0, 2.0)
    assert not problems and not check(tmp_path / "out")
    whole = {s.id: s for s in load(tmp_path / "whole")}
    for sample in samples:
        source, first = whole[sample.video.source], round(sample.video.offset * 10)
        count = sample.video.frames
        lit = masks.read(source.path(source.mask))[first : first + count]
        assert np.array_equal(masks.read(sample.path(sample.mask)), lit)
        assert [p.read_bytes() for p in sample.files()] == [
            p.read_bytes() for p in source.files()[first : first + count]
        ]
        assert sample.anomalous == lit.any()


def test_what_is_lit_outside_of_the_spans_is_no_window_that_contradicts_itself(long, tmp_path):
    folder, _ = long
    sample = load(folder)[0]
    save([replace(sample, spans=sample.spans[:1], span_categories=sample.span_categories[:1])], folder)
    for window in windows.cut(folder, tmp_path / "out", 2.0, 1.5)[0]:
        (judged,) = (q.answer for q in window.questions if q.kind == "judgement")
        assert (window.label == "anomalous") == bool(window.spans) == (judged == "Yes")
    assert not check(tmp_path / "out")
    last = load(tmp_path / "out")[-1]
    assert last.label == "anomalous" and last.span_categories is None


def test_questions_of_whole_videos_are_left_out_and_counted(long, tmp_path, capsys):
    folder, _ = long
    sample = load(folder)[0]
    open_ = Question("description", "What happens?", "A theft.")
    save([replace(sample, questions=(*sample.questions, open_))], folder)
    windows.cut(folder, tmp_path / "out", 2.0, 2.0)
    assert "windows: 1 questions are of whole videos" in capsys.readouterr().err


def test_a_mask_that_nobody_reads_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(masks, "MOST_PIXELS", 100)
    with pytest.raises(InputError, match=r"more than 100 pixels, 2 frames of \(8, 8\)"):
        masks.write(tmp_path / "m.npz", np.zeros((3, 8, 8), bool))
    assert not [*tmp_path.iterdir()]


def test_an_id_is_no_way_out_of_the_folder(scenes, tmp_path):
    """Ids are other people's text."""
    (tmp_path / "precious_w0000").mkdir()
    kept = tmp_path / "precious_w0000" / "thesis.txt"
    kept.write_text("years")
    given = tmp_path / "in"
    shutil.copytree(scenes, given)
    lines = (given / "samples.jsonl").read_text().splitlines()
    row = json.loads(lines[0]) | {"id": "../../precious"}
    (given / "samples.jsonl").write_text(json.dumps(row) + "\n")
    out = tmp_path / "out"
    assert main(["data", "windows", str(given), "--seconds", "2", "--stride", "1", "--out", str(out)]) == 0
    found = {p.name for p in tmp_path.iterdir()}
    assert kept.read_text() == "years" and found == {"in", "out", "precious_w0000"}
    names = [file_stem(name) for name in ("../../x", "..", ".hidden", "cam/01", "a\\b\0", "Test001")]
    assert names == ["_._.._x", "_.", "_hidden", "cam_01", "a_b_", "Test001"]
