"""`tvad infer`: a video file in; spans, objects, pictures and a dialogue out. Bad files give one line
each."""

import json
import struct
import sys
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from conftest import ROOT, SHIPPED, shared
from transformers import GenerationConfig

from tvad.__main__ import main
from tvad.answer import parse
from tvad.data import load, video
from tvad.data.scenes.render import make_clip
from tvad.detections import box_iou, link, nearest
from tvad.model.start import load as load_model
from tvad.use import infer
from tvad.use.analysis import Analysis
from tvad.use.infer import Dialogue, analyse, merged, videos_in, why_unread, write


@pytest.fixture(scope="module")
def model():
    return load_model(str(SHIPPED))


@pytest.fixture
def long_video(tmp_path):
    """Three clips in a row, the middle one with an anomaly: 12 seconds at 4 frames a second."""
    parts = [
        make_clip(seed, category, core=True, max_crowd=1).frames
        for seed, category in ((1, None), (2, "fire"), (3, None))
    ]
    video.write(tmp_path / "long.mp4", np.concatenate(parts), 4)
    return tmp_path / "long.mp4"


def test_windows_cover_the_video_and_overlap(long_video):
    whole = video.decode(long_video, 2.0)
    found = list(video.windows(long_video, 2.0, 8, 4))
    assert [len(w.images) for w in found] == [8] * len(found) and found[-1].total == whole.total == 48
    assert sorted({int(i) for w in found for i in w.indices}) == whole.indices.tolist()
    assert [int(w.indices[0]) for w in found] == [0, 8, 16, 24, 32]
    (only,) = video.windows(long_video, 0.5, 8, 4)
    assert only.indices.tolist() == [0, 8, 16, 24, 32, 40] and only.total == 48
    assert np.array_equal(found[1].images, whole.images[4:12])


def test_a_video_is_analysed_window_by_window(model, long_video, tmp_path):
    analysis = analyse(*model, str(long_video))
    assert (analysis.windows, analysis.frames, len(analysis.centres)) == (5, 48, 12)
    assert analysis.maps.shape[0] == 12 and analysis.maps.min() >= 0 and analysis.maps.max() <= 1
    scores = analysis.frame_scores()
    assert scores[20:32].max() > 0.5 > scores[:12].max()  # the fire is seen, and not before it burns
    assert any(a < 8 and b > 5 for a, b in analysis.spans)
    assert 4 <= analysis.clip.times[0] <= 6
    dialogue = Dialogue(*model, analysis.clip)
    turns = list(dialogue.standard())
    assert turns[0][0] == "Is there an anomaly?" and len(turns) in (1, 5)
    result = write(analysis, dialogue, tmp_path / "out")
    assert json.loads((tmp_path / "out/result.json").read_text()) == json.loads(json.dumps(result))
    assert len(result["frame_scores"]) == 48 and result["objects"]
    overlay = video.decode(tmp_path / "out/overlay.mp4")
    assert overlay.total == 48 and overlay.images.shape[2] == 320
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "result.json",
        "overlay.mp4",
        "heatmap.jpg",
        "trajectory.jpg",
        "timeline.jpg",
    }
    lit = int(scores.argmax())
    assert (overlay.images[lit, -2, 0] > 150)[0] and overlay.images[
        0, -2, 200
    ].max() < 90  # the bar of the score


def test_a_variable_rate_is_analysed_on_its_clock(model, long_video, tmp_path):
    """The same 12 s, lying on its side; the recorder dropped three of four frames while nothing happened."""
    whole = video.decode(long_video)
    kept = [n for n in range(48) if n % 4 == 0 or 18 <= n < 34]
    clock = video.Clock.of([250 * n for n in kept], Fraction(1, 1000), (), 1000)
    video.write(tmp_path / "dropped.mp4", whole.images[kept], clock, crf=12)
    even, changing = analyse(*model, str(long_video)), analyse(*model, str(tmp_path / "dropped.mp4"))
    assert changing.duration == even.duration == 12.0 and changing.frames == len(kept)
    assert changing.centres == pytest.approx(even.centres) and changing.windows == even.windows
    lit = changing.clock.times[changing.frame_scores() > 0.5]
    assert len(lit) and lit.min() >= 4 and lit.max() <= 8, "where the fire is, by its seconds"
    result = write(changing, Dialogue(*model, changing.clip), tmp_path / "out")
    assert result["seconds"] == 12.0 and result["times"] == [n / 4 for n in kept]
    overlay = video.decode(tmp_path / "out/overlay.mp4")
    assert overlay.times == pytest.approx(changing.clock.times) and overlay.duration == pytest.approx(12.0)


def test_the_trajectory_shows_truth_in_green_and_prediction_in_red(model, scenes, tmp_path):
    samples = [s for s in load(scenes) if s.anomalous]
    for sample in samples:
        analysis = analyse(*model, str(sample.path(sample.video.path)))
        if analysis.objects:
            break
    write(analysis, Dialogue(*model, analysis.clip), tmp_path, sample)
    image = cv2.imread(str(tmp_path / "trajectory.jpg")).astype(int)
    assert ((image[..., 1] > 170) & (image[..., 2] < 120) & (image[..., 0] < 140)).any()  # green
    assert ((image[..., 2] > 200) & (image[..., 1] < 120)).any()  # red


def test_real_surveillance_video(model, tmp_path):
    path = shared("data/ubnormal/normal_scene_28_scenario_7.mp4")
    analysis = analyse(*model, str(path), rate=1.0)
    assert (analysis.width, analysis.height, analysis.frames) == (1280, 720, 451) and analysis.windows >= 3


def run(capsys, *arguments):
    """Exit status and lines of a command in this process."""
    from tvad.common import cli

    status = cli.guard(lambda: main([str(a) for a in arguments]))
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def audio_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)


def four_hours(path):
    """A second of video whose header says four hours."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=4)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(4):
            for packet in stream.encode(
                av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            ):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    data = path.read_bytes()
    at = data.index(b"\x44\x89\x88")  # Duration, a float of 8 bytes, in milliseconds
    path.write_bytes(data[: at + 3] + struct.pack(">d", 4 * 3600 * 1000.0) + data[at + 11 :])


def cut_short(path):
    """An mp4 whose index is in front and whose pictures end early."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=4, options={"g": "1"})
        stream.width = stream.height = 64
        rng = np.random.default_rng(0)
        for _ in range(40):
            for packet in stream.encode(
                av.VideoFrame.from_ndarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), format="rgb24")
            ):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    "make, words",
    [
        (audio_only, "no video stream"),
        (lambda p: video.write(p, np.zeros((1, 64, 64, 3), np.uint8), 4), "only 1 frame"),
        (cut_short, "cannot be decoded"),
        (lambda p: p.write_text("just words"), "cannot be decoded"),
        (lambda p: p.write_bytes(b""), "cannot be decoded"),
        (lambda p: None, "no such video file"),
    ],
    ids=["audio", "one frame", "cut short", "text", "empty", "missing"],
)
def test_a_file_that_is_no_usable_video_gives_one_line(capsys, tmp_path, make, words):
    path = tmp_path / "odd.mp4"
    make(path)
    status, _out, err = run(capsys, "infer", "--model", SHIPPED, "--video", path, "--out", tmp_path / "out")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 2 and len(errors) == 1 and words in errors[0] and "odd.mp4" in errors[0]
    assert not (tmp_path / "out" / "result.json").exists()


def test_a_file_that_has_all_its_bytes_is_read_whatever_its_header_says(capsys, tmp_path):
    path = tmp_path / "odd.mp4"
    four_hours(path)
    status, out, err = run(capsys, "infer", "--model", SHIPPED, "--video", path, "--out", tmp_path / "out")
    assert status == 0 and "the header says 14400.0 s, the picture ends at 1.0 s" in out + err


def test_a_folder_of_videos_is_seen_one_by_one_and_bad_ones_are_named(capsys, tmp_path, scenes):
    folder = tmp_path / "in"
    folder.mkdir()
    for sample in load(scenes)[:2]:
        (folder / f"{sample.id}.mp4").write_bytes(sample.path(sample.video.path).read_bytes())
    (folder / "broken.mp4").write_text("no video")
    (folder / "notes.txt").write_text("not looked at")
    status, _out, err = run(capsys, "infer", "--model", SHIPPED, "--video", folder, "--out", tmp_path / "out")
    assert status == 1 and "broken.mp4" in err and "1 of 3 videos refused" in err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(s.id for s in load(scenes)[:2])
    assert next(p.name for p in videos_in(str(folder))) == "broken.mp4"


def test_videos_of_one_stem_leave_a_folder_each(capsys, tmp_path, scenes):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    one, other = load(scenes)[:2]
    for name, sample in (("a.mp4", one), ("a.mov", other), ("A.m4v", one), ("b.mp4", one)):
        (folder / name).write_bytes(sample.path(sample.video.path).read_bytes())
    status, said, _err = run(capsys, "infer", "--model", SHIPPED, "--video", folder, "--out", out)
    assert status == 0 and sorted(p.name for p in out.iterdir()) == ["A.m4v", "a.mov", "a.mp4", "b"]
    assert {
        name: json.loads((out / name / "result.json").read_text())["video"] for name in ("a.mov", "b")
    } == {
        "a.mov": str(folder / "a.mov"),
        "b": str(folder / "b.mp4"),
    }
    assert said.count("written to ") == 4


def test_free_questions_follow_the_protocol(capsys, monkeypatch, scenes):
    sample = next(s for s in load(scenes) if s.anomalous)
    lines = iter(["What colour is it?", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    status, out, _ = run(
        capsys,
        "infer",
        "--model",
        SHIPPED,
        "--video",
        sample.path(sample.video.path),
        "--chat",
        "--ask",
        "Who is it?",
        "--json",
    )
    result = json.loads(out.splitlines()[-1])
    asked = [turn["question"] for turn in result["dialogue"]["turns"]]
    assert (
        status == 0
        and asked[0] == "Is there an anomaly?"
        and asked[-2:] == ["Who is it?", "What colour is it?"]
    )


def test_every_span_of_a_window_is_kept_on_the_videos_clock(monkeypatch, long_video):
    said = iter(
        [
            "<answer>Anomaly</answer><glue>[0.5, 1], [2, 3]</glue>",
            "The last 25% of the clip, and 0:01-0:02.",
            "<glue>frames 3 to 5</glue>",
            "<glue>[1, 60]</glue>",
            "no anomaly",
        ]
    )
    monkeypatch.setattr(infer, "heatmaps_of", lambda *_: None)
    monkeypatch.setattr(infer, "ask", lambda _m, _p, clips, _text: ([next(said) for _ in clips], False))
    analysis = analyse(None, None, str(long_video))
    # Windows of 4 s begin at 0, 2, 4, 6, 8 s: the second says 5 to 6 s and 3 to 4 s, the third's frames are
    # nobody's, the fourth is cut at 10 s.
    assert analysis.spans == [(0.5, 1.0), (2.0, 4.0), (5.0, 6.0), (7.0, 10.0)]
    dialogue = Dialogue(None, None, analysis.clip)
    dialogue.turns = [
        ("When?", "From 1 to 2 s and from 3 s to the end."),
        ("Who?", "A man."),
        ("Is it?", "No."),
    ]
    turns = infer.as_json(analysis, dialogue)["dialogue"]["turns"]
    assert [turn["spans"] for turn in turns] == [((1.0, 2.0), (3.0, 4.0)), None, "none"]
    assert turns[0]["span"] == (1.0, 2.0)


@pytest.mark.parametrize(
    ("end", "spans", "unread"),
    [("", [(1.0, 2.0)], {}), ("<think>\n", [], {"unclosed_think": 1})],
)
def test_reasoning_that_the_prompt_has_opened_is_no_answer(monkeypatch, long_video, end, spans, unread):
    """A template that ends in <think>: the reply begins inside the reasoning, and none of it is an answer."""
    said = "First I look at the man. He might steal from 1 to 2 s, or maybe nothing"

    class Processor:
        tokenizer, eos_token_id = None, 2

        def encode(self, prompts, clips, **_):
            return Inputs(input_ids=np.zeros((len(prompts), 1), int))

        def batch_decode(self, rows, **_):
            return [said for _ in rows]

    class Inputs(dict):
        def to(self, _device):
            return self

    class Model:
        device, generation_config = "cpu", GenerationConfig()

        def generate(self, input_ids, **_):
            return input_ids

    processor = Processor()
    processor.tokenizer = processor
    monkeypatch.setattr(infer, "chat", lambda _processor, _messages: f"When?{end}")
    monkeypatch.setattr(infer, "heatmaps_of", lambda *_: None)
    analysis = analyse(Model(), processor, str(long_video), max_frames=64)
    assert (analysis.spans, analysis.unread) == (spans, unread)
    dialogue = Dialogue(Model(), processor, analysis.clip)
    reply = dialogue.ask("When?")
    assert (reply.reasoning is None, reply.spans is None) == (not end, bool(end))
    assert [shown.spans for _, shown in dialogue.shown()] == [reply.spans]


def test_spans_of_windows_are_merged():
    assert merged([(3, 5), (0, 1), (1.4, 2), (4, 6)], 0.5) == [(0, 2), (3, 6)] and merged([], 1) == []


def test_boxes_are_linked_to_objects_by_overlap():
    def box(x, score=0.9):
        return [x, 10, x + 9, 19, score]

    steps = [
        np.array([box(0), box(50)]),
        np.array([box(52), box(3)]),
        np.zeros((0, 5)),
        np.array([box(6)]),
        np.array([box(80), box(8, 0.95)]),
    ]
    paths = link(steps)
    assert [sorted(p.boxes) for p in paths] == [[0, 1], [0, 1], [3, 4], [4]]
    assert paths[0].boxes[1][0] == 3 and paths[2].score == 0.95
    assert link([]) == [] and box_iou(np.array([0, 0, 9, 9]), np.array([0, 0, 9, 9])) == 1


def test_frames_go_to_the_nearest_step():
    assert nearest(np.array([0.5, 1.5, 9.0]), np.arange(6.0)).tolist() == [0, 0, 1, 1, 1, 1]


def test_the_documents_name_the_files_that_are_written():
    text = (ROOT / "docs/serving.md").read_text()
    assert "overlay.mp4" in text and "trajectory.jpg" in text


@pytest.mark.parametrize(
    ("spans", "unread", "words"),
    [
        ([], {}, "none"),
        ([(1.0, 2.5)], {}, "1.0 to 2.5 s"),
        ([], {"nothing_said": 3}, "not read (nothing_said 3)"),
        ([], {"malformed_span": 1}, "none in 2 windows; 1 not read (malformed_span 1)"),
        ([(1.0, 2.5)], {"malformed_span": 1}, "1.0 to 2.5 s; 1 not read (malformed_span 1)"),
    ],
)
def test_an_answer_that_was_not_read_is_no_video_without_an_anomaly(spans, unread, words):
    clock = video.Clock.constant(8, 4.0)
    analysis = Analysis("v.mp4", "v.mp4", clock, 8, 8, 3, np.zeros(2), None, [], [], spans, None, unread)
    assert analysis.anomaly() == words


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("<answer>Yes</answer><glue>[1, 2]</glue>", None),
        ("<answer>No</answer><glue>none</glue>", None),
        ("<answer>Normal</answer>", None),
        ("", "nothing_said"),
        ("<answer>Yes</answer>", "no_span"),
        ("<glue>[2, 1]</glue>", "reversed_span"),
        ("<think>It begins", "unclosed_think"),
    ],
)
def test_what_says_neither_when_nor_that_there_is_nothing_is_unread(reply, reason):
    assert why_unread(parse(reply)) == reason
