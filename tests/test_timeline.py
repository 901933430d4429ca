"""`tvad timeline`: a long video's scores, spans, page. People's odd files first; then ours."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SHIPPED

from tvad.__main__ import main
from tvad.common.cli import guard
from tvad.common.errors import InputError
from tvad.data import video
from tvad.data.scenes.render import make_clip
from tvad.data.timeline import RESULT, read
from tvad.detections import nearest
from tvad.model.start import load as load_model
from tvad.pictures import save
from tvad.scores import Rule
from tvad.use import subclips, timeline
from tvad.use.infer import analyse
from tvad.use.subclips import Steps, SubClip
from tvad.use.timeline import PAGE, PROGRESS, plan_of

CASES = ROOT / "tests/cases"


@pytest.fixture(scope="module")
def model():
    return load_model(str(SHIPPED))


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """Three clips in a row, the middle one with a fire: 12 seconds at 4 frames a second."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    scenes = [(1, None), (2, "fire"), (3, None)]
    video.write(path, np.concatenate([make_clip(*s, core=True, max_crowd=1).frames for s in scenes]), 4)
    return path


def run(model, source, out, **changes):
    pixels = changes.pop("pixels", {})
    sizes = {"rate": 2.0, "most": 8, "window": None, "stride": None} | {
        k: changes.pop(k) for k in ("rate", "most", "window", "stride") if k in changes
    }
    return timeline.run(*model, str(SHIPPED), str(source), plan_of(**sizes, **changes), str(out), pixels)


@pytest.fixture(scope="module")
def made(model, long, tmp_path_factory):
    """(timeline, folder)."""
    out = tmp_path_factory.mktemp("made")
    return run(model, long, out, rule=Rule(0.5)), out


FOREIGN = {
    "video/matroska-duration/vfr.mkv": (6.0, True),
    "video/matroska-duration/offset10.mkv": (6.0, False),
    "video/phone-rotation/rot90.mp4": (None, False),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_peoples_files_keep_their_clock_and_their_way_up(model, tmp_path, name):
    path, (seconds, varies) = CASES / name, FOREIGN[name]
    found = run(model, path, tmp_path, explain=False)
    clock, height, width = video.inspect(path)
    assert found["seconds"] == round(clock.end, 3) == pytest.approx(seconds or clock.end, abs=0.01)
    assert (found["width"], found["height"], found["frames"]) == (width, height, len(clock))
    assert (clock.rate is None) is varies
    edges = found["steps"]["from"]
    assert edges[0] == 0 and edges == sorted(edges) and edges[-1] < clock.end
    assert len(edges) == len(found["steps"]["score"]) == -(-clock.count(2.0) // 2)


def test_a_cut_file_and_rubbish_are_one_line_and_leave_no_result(long, tmp_path, capsys):
    whole = long.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    (tmp_path / "rubbish.mp4").write_bytes(b"rubbish" * 999)
    for name in ("cut.mp4", "rubbish.mp4", "none.mp4"):
        arguments = ["timeline", str(tmp_path / name), "--model", str(SHIPPED), "--out", str(tmp_path / "o")]
        assert guard(main, arguments) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1 and name in said[0]
    assert not (tmp_path / "o").exists()


def test_the_anomaly_is_flagged_on_the_videos_clock(made):
    found, out = made
    assert json.loads((out / RESULT).read_text()) == found == read(out)
    assert (found["seconds"], found["frames"], len(found["subclips"])) == (12.0, 48, 5)
    (span,) = found["spans"]
    assert 3.5 <= span["start"] <= 7 and 7 <= span["end"] <= 9 and span["peak"] > 0.5
    assert span["boxes"] and all(span["start"] <= b["t"] <= span["end"] for b in span["boxes"])
    assert span["explanation"]["turns"][0]["question"] == "Is there an anomaly?"
    assert span["explanation"]["from"] <= span["peak_at"] <= span["explanation"]["to"] + 0.5
    assert found["settings"]["window_seconds"] == 4 and found["settings"]["off"] == 0.375
    assert {"frames", "score", "raw", "spans", "step"} <= found["conventions"].keys()
    assert found["versions"]["torch"] and found["format"] == "tvad-timeline"


def test_scores_are_those_of_infer(model, long, made):
    """One rule for both: not smoothed, a frame has the score that `tvad infer` gives it."""
    whole, (found, _) = analyse(*model, str(long)), made
    edges = np.array(found["steps"]["from"])
    raw = np.array(found["steps"]["raw"])
    placed = raw[np.searchsorted(edges, whole.clock.times, side="left").clip(1) - 1]
    placed[whole.clock.times == 0] = raw[0]
    assert placed == pytest.approx(whole.frame_scores(), abs=2e-4)
    assert len(raw) == len(whole.centres)
    assert (nearest(whole.centres, whole.clock.times) == whole.steps()).all()


def test_a_killed_run_goes_on_and_scores_nothing_again(model, long, made, tmp_path, monkeypatch):
    """To the bit what one that was not killed gives, wherever it was."""
    _, whole = made
    lines = (whole / PROGRESS).read_bytes().splitlines(keepends=True)
    looks = []

    def counted(model, processor, clips, by):
        looks.append(len(clips))
        return subclips.look(model, processor, clips, by)

    monkeypatch.setattr(timeline, "look", counted)
    one = tmp_path / "one"
    run(model, long, one, rule=Rule(0.5), batch=1)
    assert looks == [1] * 5
    kept = (one / PROGRESS).read_bytes().splitlines(keepends=True)
    for done, half in ((1, b""), (3, b'{"subcl'), (5, b""), (6, b"{")):
        out = tmp_path / f"killed-{done}"
        out.mkdir()
        (out / PROGRESS).write_bytes(b"".join(kept[: 1 + done]) + half)
        looks.clear()
        run(model, long, out, rule=Rule(0.5), batch=1)
        assert looks == [1] * max(0, 5 - done)
        assert (out / RESULT).read_bytes() == (one / RESULT).read_bytes()
    assert len(lines) < len(kept)  # a batch a line
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / PROGRESS).write_bytes(kept[0] + b"[]\n" + kept[1])
    with pytest.raises(ValueError, match="damaged"):
        run(model, long, damaged)


def test_other_thresholds_need_no_scoring_and_another_window_is_refused(
    model, long, made, tmp_path, monkeypatch
):
    _, whole = made
    (tmp_path / PROGRESS).write_bytes((whole / PROGRESS).read_bytes())
    monkeypatch.setattr(timeline, "look", None)
    first = run(model, long, tmp_path, rule=Rule(0.5))
    assert first == made[0]
    with monkeypatch.context() as nothing:
        nothing.setattr(timeline, "Dialogue", None)
        assert run(model, long, tmp_path, rule=Rule(0.5)) == first  # its words are kept, too
    assert run(model, long, tmp_path, rule=Rule(1.1))["spans"] == []
    raw, smooth = first["steps"]["raw"], run(model, long, tmp_path, smooth=1.0)["steps"]
    assert smooth["raw"] == raw and max(smooth["score"]) < max(raw)
    assert all(
        s["end"] - s["start"] >= 3 for s in run(model, long, tmp_path, rule=Rule(0.3, 0.3, 3))["spans"]
    )
    low = run(model, long, tmp_path, rule=Rule(0.5, 0.001))["spans"][0]
    assert low["start"] == first["spans"][0]["start"] and low["end"] > first["spans"][0]["end"]
    assert run(model, long, tmp_path, explain=False)["spans"][0]["explanation"] is None
    for change, named in (
        ({"window": 2.0}, "sampling"),
        ({"stride": 1.0}, "sampling"),
        ({"rate": 4.0}, "sampling"),
        ({"pixels": {"max_pixels": 3136}}, "sampling"),
        ({"by": "judgement"}, "by"),
    ):
        with pytest.raises(ValueError, match=f"another {named}"):
            run(model, long, tmp_path, **change)
    (tmp_path / "other.mp4").write_bytes(long.read_bytes() + b"\0\0\0\10free")
    with pytest.raises(ValueError, match="another video"):
        run(model, tmp_path / "other.mp4", tmp_path)


@pytest.mark.parametrize("name", ["chat_template.jinja", "config.json", "merges.txt"])
def test_a_timeline_does_not_go_on_with_a_model_of_which_any_file_is_another(model, long, tmp_path, name):
    """How it is asked lies in its template."""
    own, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(SHIPPED, own)
    plan = plan_of(2.0, 8, None, None, explain=False)
    timeline.run(*model, str(own), str(long), plan, str(out), {})
    with (own / name).open("a") as file:
        file.write("\n")
    with pytest.raises(InputError, match="was begun with another model"):
        timeline.run(*model, str(own), str(long), plan, str(out), {})


def test_windows_strides_and_rates_are_seconds(model, long, tmp_path):
    def starts(**changes):
        out = tmp_path / "-".join(f"{k}{v}" for k, v in changes.items())
        found = run(model, long, out, explain=False, **changes)
        return [s["start"] for s in found["subclips"]], found["subclips"][0]["end"]

    assert starts(window=3.0) == ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 3)
    assert starts(window=4.0, stride=4.0) == ([0, 4, 8], 4)
    assert starts(rate=4.0, most=16) == ([0, 2, 4, 6, 8], 4)
    for wrong, words in (
        ({"window": 2.0, "stride": 3.0}, "longer than the window"),
        ({"window": 0.1}, "temporal step"),
        ({"stride": -1.0}, "temporal step"),
        ({"batch": 0}, "--batch"),
        ({"smooth": -1.0}, "--smooth"),
    ):
        with pytest.raises(ValueError, match=words):
            run(model, long, tmp_path / "wrong", **wrong)


def pictures(folder, frames):
    folder.mkdir(exist_ok=True)
    for n, image in enumerate(frames):
        save(folder / f"{n}.png", image)
    return folder


def test_a_timeline_does_not_go_on_with_other_pictures_or_times(model, tmp_path):
    frames = make_clip(2, "fire", core=True, max_crowd=1).frames
    folder = pictures(tmp_path / "pictures", frames)
    source, out = video.as_text(str(folder), 4.0), tmp_path / "out"
    first = run(model, source, out, explain=False)
    assert run(model, source, out, explain=False) == first
    save(folder / "3.png", frames[4])
    with pytest.raises(InputError, match="another video"):
        run(model, source, out, explain=False)
    save(folder / "3.png", frames[3])
    assert run(model, source, out, explain=False) == first
    with pytest.raises(InputError, match="another video"):
        run(model, video.as_text(str(folder), 5.0), out, explain=False)


def test_a_sub_clip_lasts_as_long_as_its_moments_where_one_picture_stays(model, tmp_path):
    """Slides: by the pictures' own times sub-clips of 8 s lasted 6 to 12 s."""
    frames = make_clip(2, "fire", core=True, max_crowd=1).frames[:11]
    folder = pictures(tmp_path / "pictures", frames)
    (folder / "times.txt").write_text("\n".join(map(str, [0, 5, 10, 11, 12, 13, 14, 15, 16, 21, 26])))
    found = run(model, str(folder), tmp_path / "out", explain=False, rate=1.0)
    assert {round(s["end"] - s["start"], 3) for s in found["subclips"]} == {8.0}


def test_a_rate_above_the_videos_own_is_its_own(long, tmp_path, capsys):
    """Else a window of four seconds at 100 frames a second is of 400 frames, of which there are 48."""
    given = ["timeline", str(long), "--model", str(SHIPPED), "--without-words", "--window", "4"]
    assert main([*given, "--rate", "100", "--out", str(tmp_path / "a")]) == 0
    assert "has 4 frames a second, 100 are asked for" in capsys.readouterr().err
    assert main([*given, "--rate", "4", "--out", str(tmp_path / "b")]) == 0
    assert "are asked for" not in capsys.readouterr().err
    fast, own = (read(tmp_path / name) for name in "ab")
    assert fast == own and (own["settings"]["window_frames"], own["subclips"][0]["end"]) == (16, 4)


def test_a_sub_clip_is_whole_steps():
    for odd, even in ((3, 2), (5, 4), (9, 8)):
        assert plan_of(2.0, odd, None, None) == plan_of(2.0, even, None, None)


def test_a_models_judgement_is_a_score(model, long, tmp_path):
    said = run(model, long, tmp_path / "j", by="judgement", explain=False)
    assert {s["judged"] for s in said["subclips"]} <= {True, False, None}
    assert any(s["judged"] for s in said["subclips"]) and all("heat" not in s for s in said["subclips"])
    heat = run(model, long, tmp_path / "h", explain=False)["steps"]["raw"]
    mean = run(model, long, tmp_path / "m", by="mean", explain=False)["steps"]["raw"]
    both = [(a + b) / 2 for a, b in zip(heat, said["steps"]["raw"], strict=True)]
    assert mean == pytest.approx(both, abs=2e-4)
    assert all(s["boxes"] == [] for s in said["spans"])


def test_a_step_has_the_mean_map_of_those_that_saw_it():
    clip = video.Frames(np.zeros((4, 8, 8, 3), np.uint8), np.arange(4) / 2, np.arange(4), 2.0, 8)
    later = video.Frames(
        clip.images, clip.times + 1, np.arange(4) + 2, 2.0, 8, moments=clip.times + 1, clock=clip.clock
    )
    steps = Steps()
    a, b = np.zeros((2, 2, 2), np.float32), np.zeros((2, 2, 2), np.float32)
    a[1, 0, 0], b[0, 1, 1] = 0.8, 0.4  # the highest of the mean, 0.4, not the mean of the highest, 0.6
    steps.add(clip, a, True)
    steps.add(later, b, None)
    again = Steps.again(json.loads(json.dumps(steps.kept())), (8, 8))
    (first,) = steps.final(1.0)
    assert (first.centre, first.heat, first.judgement) == (0.25, 0.0, 1.0)
    rest = steps.final()
    assert [s.centre for s in rest] == [1.25, 2.25] and rest[0].heat == pytest.approx(0.4)
    assert [(s.centre, s.heat) for s in again.final()] == [(s.centre, s.heat) for s in (first, *rest)]
    assert rest[0].score("mean") == pytest.approx(0.7) and rest[1].score("judgement") == 0.0


def test_the_words_are_about_the_sub_clip_that_shows_most():
    episode = timeline.Episode(4.0, 8.0, 0.9, 6.0, 5.0)
    rows = [SubClip(n * 2.0, n * 2.0 + 4, heat, None) for n, heat in enumerate([0.99, 0.2, 0.8, 0.8, 0.9])]
    assert timeline.strongest(rows, episode, "heat") == 2  # of equals that see 6.0 s the one around it
    # By what was asked for alone: heatmaps that are there as well, and high, are not what was flagged.
    both = [SubClip(4.0, 8.0, 0.9, 0.3), SubClip(5.0, 9.0, 0.1, 0.8)]
    assert timeline.strongest(both, episode, "classifier") == 1
    assert timeline.strongest(both, episode, "heat") == timeline.strongest(both, episode, "mean") == 0


def test_the_best_sub_clip_is_looked_for_around_the_peak_alone(monkeypatch):
    """Thousands of spans in a day of video: each looked at all sub-clips of the day."""
    looked = []
    step = timeline.Step
    monkeypatch.setattr(timeline, "Step", lambda *given: looked.append(1) or step(*given))
    rows = [SubClip(2.0 * n, 2.0 * n + 4, 0.1 + n % 7 / 10, None) for n in range(5000)]
    for peak in range(0, 10_000, 10):
        best = timeline.strongest(rows, timeline.Episode(peak, peak + 2, 0.9, peak), "heat")
        assert rows[best].start <= peak < rows[best].end
    assert len(looked) <= 2 * 1000
    # One that no sub-clip sees, as where the same picture stays for hours: the last one before.
    apart = [SubClip(0.0, 4.0, 0.2, None), SubClip(50.0, 54.0, 0.9, None)]
    assert timeline.strongest(apart, timeline.Episode(20.0, 22.0, 0.9, 20.0), "heat") == 0


def test_the_command_writes_a_page_that_stands_alone(long, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["timeline", str(long), "--model", str(SHIPPED), "--out", str(out), "--threshold", "0.4"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert re.search(r"\d+\.\d to \d+\.\d s, highest score 0\.\d+: ", said) and "5 sub-clips" in said
    page = (out / PAGE).read_text()
    assert "default-src 'none'" in page and "media-src data:" in page and "script-src 'sha256-" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page) and page.count("data:video/mp4") == 1
    starts = [str(s["start"]) for s in read(out)["spans"]]
    assert re.findall(r'<button type="button" data-start="([^"]+)"', page) == starts != []
    assert str(tmp_path) not in page and str(tmp_path) not in (out / RESULT).read_text()
    assert sorted(p.name for p in out.iterdir()) == [PROGRESS, PAGE, RESULT]
    # Every option reaches what it is of.
    others = [
        "--window",
        "2",
        "--stride",
        "2",
        "--off",
        "0.3",
        "--least",
        "1",
        "--smooth",
        "0.5",
        "--rate",
        "4",
    ]
    others += ["--batch", "2", "--without-words", "--max-pixels", "6272", "--by", "mean"]
    assert main([*arguments, *others, "--out", str(tmp_path / "other")]) == 0
    found = read(tmp_path / "other")
    assert (
        found["settings"]
        | {
            "rate": 4.0,
            "window_seconds": 2.0,
            "stride_seconds": 2.0,
            "off": 0.3,
            "on": 0.4,
            "least_seconds": 1.0,
            "smooth_seconds": 0.5,
            "by": "mean",
            "explain": False,
            "max_pixels": 6272,
        }
        == found["settings"]
    )
    assert all(span["explanation"] is None for span in found["spans"])


def test_judgements_that_cannot_be_read_are_told_of(long, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "tvad.use.subclips.ask", lambda model, processor, clips, words: ([""] * len(clips), False)
    )
    told = [
        str(long),
        "--model",
        str(SHIPPED),
        "--out",
        str(tmp_path),
        "--by",
        "judgement",
        "--without-words",
    ]
    assert main(["timeline", *told]) == 0
    count = json.loads((tmp_path / "timeline.json").read_text())["unread"]
    assert (
        count
        and f"note: {count} of {count} judgements of sub-clips cannot be read" in capsys.readouterr().out
    )


def test_a_video_that_is_too_long_for_a_page_is_shown_by_pictures(long, made, tmp_path, monkeypatch):
    from tvad.use import timeline_page

    monkeypatch.setattr(timeline_page, "MOST_BYTES", 1000)
    page = timeline_page.page(made[0], str(long))
    assert "<video" not in page and "too long for this page" in page and "data:image/jpeg" in page
    assert "disabled>" in page


def test_pictures_with_times_and_several_videos(model, tmp_path, capsys):
    folder = pictures(tmp_path / "pictures", make_clip(2, "fire", core=True, max_crowd=1).frames)
    given = [
        "timeline",
        str(folder),
        "--model",
        str(SHIPPED),
        "--without-words",
        "--out",
        str(tmp_path / "o"),
    ]
    assert guard(main, given) == 2 and "rate" in capsys.readouterr().err
    assert main([*given, "--fps", "4"]) == 0
    assert read(tmp_path / "o")["seconds"] == 4.0
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    assert guard(main, ["timeline", str(tmp_path), *given[2:]]) == 2
    assert "2 videos, expected one" in capsys.readouterr().err


def test_a_click_on_a_span_shows_it(browser, long, tmp_path):
    out = tmp_path / "out"
    main(["timeline", str(long), "--model", str(SHIPPED), "--out", str(out), "--threshold", "0.4"])
    start = read(out)["spans"][0]["start"]
    tab = browser.new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.goto(Path(out, PAGE).as_uri())
    tab.wait_for_function(
        "document.querySelector('video').readyState >= 2 || document.querySelector('video').error"
    )
    tab.locator("button[data-start]").first.click()
    tab.wait_for_function(f"document.querySelector('video').currentTime >= {start} - 0.01")
    assert said == []
