"""Folders of videos as strangers have them: one name twice, damaged and hidden files, --out among them, ids
that are no names."""

import json
import os

import numpy as np
import pytest

from tvad.__main__ import main
from tvad.annotate import engine
from tvad.annotate.construct import Construction
from tvad.annotate.engine import reason, run
from tvad.annotate.sources import source_samples
from tvad.annotate.teacher import Reply
from tvad.annotate.trajectories import Trajectories
from tvad.common.errors import InputError
from tvad.data import check, load, save, video
from tvad.data.sample import Sample, Track, Video, file_stem

HOW = Construction(rate=1.0, checks=0)
NOBODY = '{"targets": []}'


class Says:
    """One reply, whatever is asked; `asked`: how often."""

    at_once, name = 8, "says"

    def __init__(self, text=NOBODY, failed=None):
        self.reply, self.asked = Reply(text, failed), 0

    def answers(self, asks):
        for n, _ in enumerate(asks):
            self.asked += 1
            yield n, self.reply


def film(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    video.write(path, np.full((8, 32, 32, 3), shade, np.uint8), 4.0)
    return path


def shades(out):
    """First pixel of the video of each sample."""
    return sorted(round(int(video.decode(s.clip(), 1.0).images[0, 0, 0, 0]), -1) for s in load(out))


def test_one_name_twice_gives_each_video_its_own_file(tmp_path):
    source = tmp_path / "in"
    for n, name in enumerate(("a/b.mp4", "a_b.mp4", "a.mp4", "a.mkv", "c/a.mp4")):
        film(source / name, 40 * n)
    samples, problems, *_ = run(source, tmp_path / "out", Says(), HOW)
    assert not problems and len({s.id for s in samples}) == 5
    assert len({s.video.path for s in samples}) == 5 and shades(tmp_path / "out") == [0, 40, 80, 120, 160]
    again = Says()
    assert len(run(source, tmp_path / "out", again, HOW)[0]) == 5 and not again.asked


def test_ids_with_one_file_name_give_each_video_its_own(tmp_path):
    source = tmp_path / "in"
    ids = ("a/b", "a_b", "a\\b", "x" * 300, "x" * 301, "\u00e9" * 150, "\ud83d", "\ud83e")
    rows = []
    for n in range(len(ids)):
        film(source / f"{n}.mp4", 30 * n)
        rows.append(Sample(ids[n], "x", "train", Video(f"{n}.mp4", 4.0, 8, 32, 32)))
    save(rows, source)
    samples, problems, *_ = run(source, tmp_path / "out", Says(), HOW)
    assert not problems and {s.id for s in samples} == set(ids)
    assert shades(tmp_path / "out") == [30 * n for n in range(len(ids))]
    stems = [file_stem(name) for name in ids[3:]]
    assert len(set(stems)) == len(stems) and max(len(stem.encode()) for stem in stems) <= 200


@pytest.mark.parametrize("name", [7, 1.5, None, True, ["a"], "", "  ", "a\0b", "a\nb", "a\rb"])
def test_an_id_that_is_no_name_is_one_line(name, tmp_path):
    film(tmp_path / "in/v.mp4")
    row = {"id": name, "source": "x", "split": "train", "video": {"path": "v.mp4"}}
    (tmp_path / "in/samples.jsonl").write_text(json.dumps(row) + "\n")
    for work in (
        lambda: run(tmp_path / "in", tmp_path / "out", Says(), HOW),
        lambda: reason(tmp_path / "in", tmp_path / "told", Says(), Trajectories()),
        lambda: load(tmp_path / "in"),
    ):
        with pytest.raises(InputError, match=r"samples\.jsonl:1: id ") as refused:
            work()
        assert str(refused.value).isprintable()
    assert Sample(name, "x", "train", Video("v.mp4")).problems()


def test_what_lies_in_out_is_no_source(tmp_path):
    source = tmp_path / "in"
    film(source / "a.mp4")
    for out in (source / "told", source / "deep/er"):
        for _ in range(2):
            assert [s.id for s in run(source, out, Says(), HOW)[0]] == ["a"]
    for out in (source, tmp_path):
        with pytest.raises(InputError, match="choose a folder beside or below"):
            run(source, out, Says(), HOW)
    assert sorted(p.name for p in source.iterdir()) == ["a.mp4", "deep", "told"]


def test_damaged_files_are_set_aside_and_hidden_ones_are_none(tmp_path, capsys):
    source = tmp_path / "in"
    good = film(source / "good.mp4")
    (source / "._good.mp4").write_bytes(b"\0\5\x16\7" + bytes(100))
    film(source / ".trash/old.mp4")
    (source / "bad.mp4").write_bytes(b"not a video")
    (source / "empty.avi").touch()
    (source / "cut.mp4").write_bytes(good.read_bytes()[:500])
    (source / "folder.mp4").mkdir()
    (source / "nowhere.mp4").symlink_to(tmp_path / "gone.mp4")
    os.mkfifo(source / "pipe.mp4")
    samples, problems, *_ = run(source, tmp_path / "out", Says(), HOW)
    assert [s.id for s in samples] == ["good"]
    assert {p.where for p in problems} == {"bad", "empty", "cut", "nowhere", "pipe"}
    assert engine.rows_in(tmp_path / "out")[0]["id"] == "good"
    film(source / "bad.mp4", 90)  # mended: the next run takes it
    assert {s.id for s in run(source, tmp_path / "out", Says(), HOW)[0]} == {"good", "bad"}
    good.unlink()
    (source / "bad.mp4").write_bytes(b"not a video")
    with pytest.raises(InputError, match="no video could be annotated; the first: "):
        run(source, tmp_path / "none", Says(), HOW)


def test_a_data_set_without_one_of_its_videos_goes_on_without_it(tmp_path, scenes, capsys):
    film(tmp_path / "in/a.mp4")
    there = [Sample(name, "x", "train", Video(f"{name}.mp4", 4.0, 8, 32, 32)) for name in ("a", "b")]
    save(there, tmp_path / "in")
    samples, problems, *_ = run(tmp_path / "in", tmp_path / "out", Says(), HOW)
    assert [s.id for s in samples] == ["a"] and [p.where for p in problems] == ["b"]


def test_names_of_files_that_are_no_text_are_ids_all_the_same(tmp_path):
    film(tmp_path / "in/plain.mp4").rename(tmp_path / "in" / "a\nb\x1b.mp4")
    (tmp_path / "in" / os.fsdecode(b"\xff.mp4")).write_bytes(film(tmp_path / "x.mp4", 90).read_bytes())
    samples, problems, *_ = run(tmp_path / "in", tmp_path / "out", Says(), HOW)
    assert not problems and {s.id for s in samples} == {"a_b_", "\ufffd"} and len(load(tmp_path / "out")) == 2


def test_the_exit_status_and_a_line_say_what_was_set_aside(tmp_path, scenes, capsys):
    (tmp_path / "in").mkdir()
    for sample in list(load(scenes))[:2]:
        os.link(sample.clip(), tmp_path / "in" / f"{sample.id}.mp4")
    (tmp_path / "in/bad.mp4").write_bytes(b"no")
    command = ["annotate", "run", str(tmp_path / "in"), "--teacher", f"scripted:{scenes}", "--checks", "0"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert "set aside bad: " in said and "2 videos in " in said and said.endswith("; 1 set aside\n")


def test_folders_that_are_links_are_gone_into_once(tmp_path):
    """Parts of a set on several disks; a link back to where it lies ends nothing."""
    for place in ("in", "disk/cam"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "a.mp4").write_bytes(b"x")
    (tmp_path / "in/cam").symlink_to(tmp_path / "disk/cam")
    (tmp_path / "disk/cam/back").symlink_to(tmp_path / "in")
    (tmp_path / "in/again").symlink_to(tmp_path / "disk/cam")
    assert sorted(found.where for found in source_samples(tmp_path / "in")) == ["a", "again_a"]


class Tells:
    """A person on the left, who fights in all frames; where it should, a trajectory."""

    name = "tells"

    def answers(self, asks):
        target = {"kind": "man", "box": [0, 100, 250, 900], "action": "fighting", "unusual": True}
        told = {"observation": "A man hits another.", "evidence": ["He hits him several times."]}
        told |= {"reasoning": "One who hits is fighting.", "conclusion": {"abnormal": True, "category": ""}}
        for n, ask in enumerate(asks):
            said = {"trajectory": told, "frame": {"targets": [target]}, "refine": {"targets": [target]}}
            yield n, Reply(json.dumps(said[ask.about["stage"]]))


def test_what_a_row_does_not_state_of_its_video_is_taken_from_the_file(tmp_path):
    """Rate and size may be left out: times were then counted at one frame a second, places of one pixel."""
    film(tmp_path / "in/a.mp4")
    save([Sample("a", "x", "train", Video("a.mp4"))], tmp_path / "in")
    ((sample,), problems, *_) = run(tmp_path / "in", tmp_path / "out", Tells(), HOW)
    assert not problems and not check(tmp_path / "out")
    assert (sample.video.fps, sample.video.frames, sample.video.width) == (4.0, 8, 32)
    assert sample.spans == ((0.0, 1.25),)
    assert ("What is its trajectory?", "From the left to the left.") in sample.dialogue


def test_what_reason_is_not_told_of_a_video_is_taken_from_the_file(tmp_path):
    film(tmp_path / "in/a.mp4")
    track = Track(0, "man", {4: (0.0, 0.0, 9.0, 9.0)}, (4,))
    bare = Sample("a", "x", "train", Video("a.mp4"), "anomalous", spans=((1.0, 1.25),), tracks=(track,))
    save([bare], tmp_path / "in")
    ((sample,), problems, *_) = reason(tmp_path / "in", tmp_path / "out", Tells(), Trajectories(frames=2))
    assert not problems and not check(tmp_path / "out") and sample.video.width == 32
    (asked,) = [q for q in sample.questions if q.boxes]
    assert max(asked.boxes[0].xyxy) < 500


@pytest.mark.parametrize("stated", [{"fps": 25.0}, {"frames": 9}, {"width": 64}])
def test_a_row_that_says_otherwise_than_its_video_is_set_aside(tmp_path, stated):
    film(tmp_path / "in/a.mp4")
    film(tmp_path / "in/b.mp4")
    rows = [Sample("a", "x", "train", Video("a.mp4", **stated)), Sample("b", "x", "train", Video("b.mp4"))]
    save(rows, tmp_path / "in")
    samples, (problem,), *_ = run(tmp_path / "in", tmp_path / "out", Tells(), HOW)
    assert problem.where == "a" and "the sample states" in problem.reason
    assert [s.id for s in samples] == ["b"]


def test_rows_of_former_versions_that_state_no_rate_are_not_counted_at_one_a_second(tmp_path):
    film(tmp_path / "in/a.mp4")
    run(tmp_path / "in", tmp_path / "out", Tells(), HOW)
    row = json.loads((tmp_path / "out" / engine.ROWS).read_text())
    row["sample"]["video"].pop("fps")
    (tmp_path / "out" / engine.ROWS).write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match="states neither fps nor times"):
        engine.finish(tmp_path / "out")
