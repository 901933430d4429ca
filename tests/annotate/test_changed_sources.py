"""Sources that change between two runs: another video in one's place, other files of its name, a source that
was mistyped. What is annotated stays what its video shows, once."""

import os
import shutil

import av
import numpy as np
import pytest

from tvad.annotate.construct import Construction
from tvad.annotate.engine import ROWS, reason, rows_in, run
from tvad.annotate.teacher import Reply
from tvad.annotate.trajectories import Trajectories
from tvad.common.errors import InputError
from tvad.data import check, save, video
from tvad.data.sample import Sample, Video

HOW = Construction(rate=1.0, checks=0)
TOLD = (
    '{"observation": "A street without people.", "evidence": ["nobody is to be seen there"], "reasoning":'
    ' "Where nobody is nothing happens.", "conclusion": {"abnormal": false, "category": ""}, "objects": []}'
)


class Says:
    """One reply, whatever is asked; `asked`: how often."""

    name = "says"

    def __init__(self, text='{"targets": []}'):
        self.text, self.asked = text, 0

    def answers(self, asks):
        for n, _ in enumerate(asks):
            self.asked += 1
            yield n, Reply(self.text)


def film(path, frames=8, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    video.write(path, np.full((frames, 32, 32, 3), shade, np.uint8), 4.0)
    return path


def renamed(here, there):
    os.replace(there, here)


@pytest.mark.parametrize("put", [shutil.copyfile, renamed], ids=["written over", "renamed"])
@pytest.mark.parametrize("listed", [False, True])
def test_another_video_in_ones_place_is_not_gone_on_with(tmp_path, put, listed):
    """Its row told of the one before, and of one written over, linked into --out, so did the data set."""
    source, out = tmp_path / "in", tmp_path / "out"
    for name in "ab":
        film(source / f"{name}.mp4")
    if listed:
        save([Sample(name, "x", "train", Video(f"{name}.mp4"), label="normal") for name in "ab"], source)
    works = [lambda: run(source, out, Says(), HOW)]
    if listed:
        works.append(lambda: reason(source, tmp_path / "told", Says(TOLD), Trajectories()))
    for work in works:
        assert len(work()[0]) == 2
        os.utime(source / "a.mp4")  # the same video
        assert len(work()[0]) == 2
    other = film(tmp_path / "other.mp4", 16, 200)
    if put is shutil.copyfile:
        put(other, source / "a.mp4")
    else:
        put(source / "a.mp4", other)
    for work in works:
        with pytest.raises(InputError, match="the video of 'a' is another than when it was annotated"):
            work()


def test_a_video_without_a_row_may_be_another_when_the_run_goes_on(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    film(source / "a.mp4")
    film(source / "b.mp4", 12, 90)

    class Dies(Says):
        def answers(self, asks):
            if self.asked:
                raise InputError("the machine is gone")
            yield from super().answers(asks)

    with pytest.raises(InputError, match="is gone"):
        run(source, out, Dies(), HOW, together=1)
    assert [row["id"] for row in rows_in(out)] == ["a"]
    film(source / "b.mp4", 16, 200)
    teacher = Says()
    samples, problems, *_ = run(source, out, teacher, HOW)
    assert [s.video.frames for s in samples] == [8, 16] and not problems and not check(out)


@pytest.mark.parametrize("before", [["v.mp4"], ["v.mp4", "v.mkv"]])
def test_files_that_change_their_ids_are_not_annotated_twice(tmp_path, before):
    """With a v.mkv beside it v.mp4 has another id than alone: the data set held it under both."""
    source, out, teacher = tmp_path / "in", tmp_path / "out", Says()
    for n, name in enumerate(before):
        film(source / name, 8, 90 * n)
    assert len(run(source, out, teacher, HOW)[0]) == len(before)
    if len(before) == 1:
        film(source / "v.mkv", 8, 90)
    else:
        (source / "v.mkv").unlink()
    rows, asked = (out / ROWS).read_text(), teacher.asked
    with pytest.raises(InputError, match=r"'v\.m(p4|kv)' is 'v(-\w+)?' now .* is annotated already"):
        run(source, out, teacher, HOW)
    assert (out / ROWS).read_text() == rows and teacher.asked == asked
    film(source / "v.mkv", 8, 90) if len(before) == 2 else (source / "v.mkv").rename(source / "w.mkv")
    assert len(run(source, out, teacher, HOW)[0]) == 2


def test_a_video_that_is_gone_from_the_source_stays_in_the_data_set(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    film(source / "a.mp4")
    film(source / "b.mp4", shade=90).rename(source / "gone.mp4")
    run(source, out, Says(), HOW)
    (source / "gone.mp4").unlink()
    (source / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    assert [s.id for s in run(source, out, Says(), HOW)[0]] == ["a", "gone"] and not check(out)


def test_a_source_that_was_mistyped_does_not_bind_the_folder(tmp_path):
    film(tmp_path / "in/a.mp4")
    for work in (run, lambda *args: reason(*args[:3], Trajectories())):
        out = tmp_path / str(work is run)
        with pytest.raises(InputError, match="neither a data set folder"):
            work(tmp_path / "inn", out, Says(), HOW)
        assert not list(out.glob("*.json"))
    assert len(run(tmp_path / "in", tmp_path / "True", Says(), HOW)[0]) == 1


def bare(path):
    """A film without a container, as a camera's card holds it: the stream of an MP4 as it is."""
    mp4 = film(path.with_name("x.mp4"))
    with av.open(str(mp4)) as source, av.open(str(path), "w", format="h264") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    mp4.unlink()


def test_streams_of_cameras_and_recorders_are_videos(tmp_path, capsys):
    """A bare .h264 was passed over without a word; so was that its times are assumed."""
    (tmp_path / "in").mkdir()
    bare(tmp_path / "in/cam.H264")
    film(tmp_path / "in/nvr.mp4").rename(tmp_path / "in/nvr.ts")
    (tmp_path / "in/dead.wmv").write_bytes(b"not a video")
    samples, problems, *_ = run(tmp_path / "in", tmp_path / "out", Says(), HOW)
    assert [s.id for s in samples] == ["cam", "nvr"] and [p.where for p in problems] == ["dead"]
    assert "cam.H264: a bare stream holds no times" in capsys.readouterr().err
