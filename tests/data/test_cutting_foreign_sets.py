"""Data sets that others wrote are cut: what contradicts their files is refused by name, what is left keeps
its time to the frame."""

import bisect
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import video_kinds as kinds

from tvad.common.errors import InputError
from tvad.data import load, masks, reclip, save, video, windows
from tvad.data.sample import Sample, Track, Video

CUT = {
    "windows": lambda folder, out: windows.cut(folder, out, 4.0, 3.0)[1],
    "reclip": lambda folder, out: reclip.reclip([str(folder)], out)[1],
}


def parts(out):
    """The samples of a data set, or of its parts."""
    folders = [out] if (out / "samples.jsonl").exists() else [out / "train", out / "test"]
    return [sample for folder in folders for sample in load(folder)]


PLAIN = Sample("odd", "mine", "test", Video("videos/odd.mp4"), "anomalous", ("theft",), ((2.0, 3.0),))
ODD = {
    "reversed": (replace(PLAIN, spans=((5.0, 2.0),)), "span [5.0, 2.0] must satisfy 0 <= start < end"),
    "behind the end": (replace(PLAIN, spans=((20.0, 25.0),)), "ends after the video's 10.00 s"),
    "over the end": (replace(PLAIN, spans=((9.0, 25.0),)), "ends after the video's 10.00 s"),
    "empty": (replace(PLAIN, spans=()), "an anomalous sample has an empty list of spans"),
    "normal": (replace(PLAIN, label="normal"), "a normal sample has spans"),
    "a frame that is not there": (
        replace(PLAIN, spans=None, tracks=(Track(0, "car", {200: (1.0, 1.0, 5.0, 5.0)}, (200,)),)),
        "track 0 has frame 200, the video has 100",
    ),
    "another rate": (
        replace(PLAIN, video=replace(PLAIN.video, fps=25.0)),
        "has 10 fps, the sample states 25",
    ),
    "other frames": (
        replace(PLAIN, video=replace(PLAIN.video, frames=90)),
        "has frames 100, the sample states 90",
    ),
    "nothing lit": (
        replace(PLAIN, spans=None, mask="masks/odd.npz"),
        "no anomalous pixel in an anomalous video",
    ),
}


@pytest.mark.parametrize("how", CUT)
@pytest.mark.parametrize("odd", ODD)
def test_a_row_that_its_files_contradict_is_refused_and_the_others_are_cut(tmp_path, odd, how):
    """Each of these was cut into clips that were called normal, or lost a part of its truth."""
    folder = tmp_path / "set"
    (folder / "videos").mkdir(parents=True), (folder / "masks").mkdir()
    for name in ("odd", "fine"):
        kinds.video(folder / f"videos/{name}.mp4", [100 * n for n in range(100)])
    masks.write(folder / "masks/odd.npz", np.zeros((100, 48, 64), bool))
    sample, said = ODD[odd]
    save([sample, replace(PLAIN, id="fine", video=Video("videos/fine.mp4"))], folder)
    (problem,) = CUT[how](folder, tmp_path / "out")
    assert said in problem.reason and problem.where.endswith("odd")
    assert {s.video.source for s in parts(tmp_path / "out")} == {"fine"}


NTSC = Fraction(24000, 1001)
FILES = {
    "film.mp4": lambda p: kinds.video(p, range(250), 1 / NTSC, rate=NTSC, options={"bf": "2", "g": "48"}),
    "film.mkv": lambda p: kinds.video(p, [round(1000 * n / NTSC) for n in range(250)], rate=NTSC),
    "late.mp4": lambda p: kinds.video(p, [3000 + 40 * n for n in range(250)], rate=25, options={"bf": "2"}),
    "changes.mp4": lambda p: kinds.video(
        p, [200 * n for n in range(40)] + [8000 + 50 * n for n in range(160)], options={"bf": "2"}
    ),
    "pause.mp4": lambda p: kinds.video(
        p, [100 * n for n in range(60)] + [20_000 + 100 * n for n in range(60)]
    ),
    "hourly.mp4": lambda p: kinds.video(p, [2000 * n for n in range(30)], rate=Fraction(1, 2)),
    "now and then.mkv": lambda p: kinds.video(p, [2000 * n + n % 3 * 300 for n in range(30)], rate=1),
    "long % ä.avi": lambda p: kinds.video(
        p, range(250), Fraction(1, 25), codec="ffv1", pix="bgr0", rate=25, size=(67, 49)
    ),
}  # fmt: skip
TOO_SLOW = {"hourly.mp4": "2 s apart, clips have 1", "now and then.mkv": "1.4 s apart, clips have 1"}


@pytest.mark.parametrize("how", CUT)
def test_every_frame_is_the_one_of_its_second_in_its_video(tmp_path, how):
    """The number drawn into each frame is read back. Of a video with a frame in two seconds `reclip` made
    clips of one a second, which showed it twice as fast."""
    folder = tmp_path / "set"
    (folder / "videos").mkdir(parents=True)
    samples = []
    for name, make in FILES.items():
        make(folder / "videos" / name)
        clock = video.inspect(folder / "videos" / name)[0]
        third = len(clock) // 3
        spans = clock.spans(range(third, 2 * third))
        samples.append(Sample(name, "mine", "test", Video(f"videos/{name}"), "anomalous", ("a",), spans))
    save(samples, folder)
    problems = CUT[how](folder, tmp_path / "out")
    told = {p.where.partition("/")[2]: p.reason for p in problems}
    assert set(told) == (set(TOO_SLOW) if how == "reclip" else set())
    assert all(TOO_SLOW[name] in reason for name, reason in told.items())
    whole = {s.id: (s, video.decode(s.clip())) for s in load(folder)}
    made = parts(tmp_path / "out")
    assert {s.video.source for s in made} == set(whole) - set(told)
    for clip in made:
        source, frames = whole[clip.video.source]
        shown = video.decode(clip.clip())
        numbers = [kinds.number_of(image) for image in shown.images]
        for number, t in zip(numbers, shown.times.tolist(), strict=True):
            moment = clip.video.offset + t
            near = int(np.abs(frames.times - moment).argmin())
            on_screen = bisect.bisect_right(frames.times.tolist(), moment + 1e-3) - 1
            assert number in (near, on_screen), (clip.id, t)
        of_source = np.flatnonzero(video_truth(source, frames.times))
        assert [number in of_source for number in numbers] == video_truth(clip, shown.times).tolist()


def video_truth(sample, times):
    """Which of the times lie in a sample's spans."""
    return np.array([any(a - 1e-6 <= t < b - 1e-6 for a, b in sample.spans) for t in times])


def test_two_ids_whose_windows_would_have_one_name_are_refused_before_any_is_written(tmp_path):
    """One's windows were written over the other's, and the folder could not be read."""
    (tmp_path / "set/videos").mkdir(parents=True)
    kinds.video(tmp_path / "set/videos/a.mp4")
    plain = replace(PLAIN, label="normal", categories=(), spans=(), video=Video("videos/a.mp4"))
    save([replace(plain, id="a/b"), replace(plain, id="a_b")], tmp_path / "set")
    with pytest.raises(InputError, match="ids 'a/b' and 'a_b' name one file"):
        windows.cut(tmp_path / "set", tmp_path / "out", 1.0, 1.0)
    assert not (tmp_path / "out").exists()
