"""`tvad watch`: what strangers send, connections that are cut, what cannot be kept up with, alarms and where
they are told. Over loopback, no network."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from conftest import ROOT, SHIPPED
from live_streams import Sender, stream
from ports import free_port

from tvad.__main__ import main
from tvad.common.cli import guard
from tvad.common.errors import InputError
from tvad.data import video
from tvad.data.scenes.render import make_clip
from tvad.data.video import live
from tvad.data.video.live import Live, kind_of, shown
from tvad.model.start import load as load_model
from tvad.scores import Rule
from tvad.use.subclips import Step
from tvad.use.timeline import plan_of
from tvad.use.watching import alarms, camera
from tvad.use.watching.alarms import Lines, Webhook
from tvad.use.watching.camera import Camera, View, named
from tvad.use.watching.watch import Judge, Watch, Watcher

CASES = ROOT / "tests/cases"
PLAN = plan_of(2.0, 8, None, None)
QUICK = View(2.0, 8, 4, 8, patience=2.0)


@pytest.fixture(scope="module")
def model():
    return load_model(str(SHIPPED))


@pytest.fixture(scope="module")
def fire():
    """Twelve seconds at 4 frames a second: nothing, a fire, nothing."""
    scenes = [(1, None), (2, "fire"), (3, None)]
    return np.concatenate([make_clip(*s, core=True, max_crowd=1).frames for s in scenes])


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(camera, "FIRST", 0.05)


class Kept:
    """A sink that keeps what it is told."""

    def __init__(self):
        self.alarms, self.counts = [], {}

    def tell(self, alarm):
        self.alarms.append(alarm)

    def close(self):
        pass


def watched(model, sources, view=QUICK, **plan):
    """(alarms, what was counted) of sources that end."""
    kept = Kept()
    pairs = [(f"s{n}", source) for n, source in enumerate(sources)]
    watch = Watch(**{"rule": Rule(0.5), **plan})
    counted = Watcher(*model, pairs, view, watch, [kept], threading.Event()).run()
    return kept.alarms, counted


def read(source, **options):
    """[(seconds, image)] of one connection."""
    return [(seconds, make()) for seconds, make in Live(source, threading.Event(), 5.0, **options).frames()]


@pytest.mark.parametrize("name", ["video/matroska-duration/vfr.mkv", "video/matroska-duration/offset10.mkv"])
def test_peoples_files_sent_over_tcp_keep_their_clock(name):
    data = (CASES / name).read_bytes()
    found = read(Sender([data]).address)
    whole = video.decode(CASES / name)
    assert [t for t, _ in found] == pytest.approx(whole.times.tolist(), abs=0.002)
    assert np.array_equal(np.stack([image for _, image in found]), whole.images)


def told_by(stamps, arrivals, own=True):
    """(seconds, words) of frames with these stamps, ticks of 10 ms, that arrive at these seconds."""
    said = []
    times = live.Times(0.01, 10.0, own, said.append)
    return [times.next(s, 50.0 + a) for s, a in zip(stamps, arrivals, strict=True)], list(dict.fromkeys(said))


def test_stamps_that_stand_still_or_are_missing_give_way_to_when_frames_arrive():
    came = np.arange(300) / 10
    good = [10 * n for n in range(300)]
    assert told_by(good, came) == (pytest.approx(came), [])
    for still in ([7] * 300, [n // 50 for n in range(300)], [n % 9 for n in range(300)]):
        found, said = told_by(still, came)
        assert found[40] < 0.1 and np.diff(found[52:]) == pytest.approx(0.1) and len(said) >= 1
        assert said[-1] == "its time stamps stand still: from now on frames count as shown when they arrive"
    found, said = told_by([None] * 300, came)
    assert found == pytest.approx(came) and len(said) == 1 and "without time stamps" in said[0]
    found, said = told_by(good, came, own=False)
    assert found == pytest.approx(came) and said == [
        "it sends no time stamps: frames count as shown when they arrive"
    ]
    mixed, said = told_by([None if n % 3 else 10 * n for n in range(300)], came)
    assert mixed == pytest.approx(came) and len(said) == 1
    found, said = told_by([10 * (n if n < 100 else n - 95) for n in range(300)], came)
    assert found == pytest.approx(came) and said == ["its time stamps leap or fall back: they are counted on"]
    assert told_by([10 * (n + 9000 * (n > 99)) for n in range(300)], came)[0] == pytest.approx(came)


def test_good_stamps_are_kept_over_a_pause_a_slow_network_and_a_burst():
    good = [10 * n for n in range(300)]
    came = np.arange(300) / 10
    for late in (np.zeros(300), came + 60 * (np.arange(300) > 150), came * 4, np.maximum(came, 20.0)):
        assert told_by(good, late) == (pytest.approx(came), [])


@pytest.mark.parametrize("kind", ["still", "bare"])
def test_a_stream_without_a_clock_is_watched_by_when_it_arrives(model, kind, capfd, monkeypatch):
    monkeypatch.setattr(live, "PROVEN", 0.5)
    noise = np.random.default_rng(0).integers(0, 256, (60, 96, 128, 3), np.uint8)
    data = stream(noise, 10, "h264") if kind == "bare" else stream(noise, 10, "flv", still=True)
    sender = Sender([data] * 2, seconds=4.0)
    _, counted = watched(model, [sender.address], View(2.0, 4, 2, 8, patience=2.0, retries=0))
    said = capfd.readouterr().err
    assert counted["sources"]["s0"]["windows_scored"] >= 2 and sender.calls == 2
    words = "stand still" if kind == "still" else "it sends no time stamps"
    assert said.count(words) == 1  # of both connections


RUBBISH = {
    "words": (b"GET / HTTP/1.0\r\n" * 500, "it ended before it had sent a video"),
    "nothing": (b"", "no kind of video that is known"),
    "noise": (np.random.default_rng(0).bytes(1 << 20), "no kind of video that is known"),
    "a playlist": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", ""),
    "half a packet": (b"\x47" * 100, "no kind of video that is known"),
}


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_is_one_line_and_a_retry(name, model, capfd):
    data, words = RUBBISH[name]
    sender = Sender([data, data])
    _, counted = watched(model, [sender.address], View(2.0, 8, 4, 8, patience=2.0, retries=1))
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("s0: ")]
    assert sender.calls == 2 and len(said) == 2
    assert "again in" in said[0] and "given up after 2 tries" in said[1] and words in said[0]
    assert "/etc/passwd" not in said[0]
    numbers = counted["sources"]["s0"]
    assert numbers["failures"] >= 1 and numbers["frames_read"] == 0 and numbers["failed"]


def test_sound_without_a_picture_and_a_damaged_stream(fire, model):
    with pytest.raises(InputError, match=r"no video|no kind of video"):
        sound = (ROOT / "README.md").read_bytes() * 3
        read(Sender([sound]).address)
    data = bytearray(stream(fire, 4))
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)  # a loss in the middle
    found = read(Sender([bytes(data)]).address)
    assert 30 < len(found) <= 48 and [t for t, _ in found] == sorted(t for t, _ in found)


def test_nobody_and_silence_are_one_line_each(model, capfd):
    nobody = f"tcp://127.0.0.1:{free_port()}"
    silent = Sender([b""], silent=True)
    view = View(2.0, 8, 4, 8, patience=0.5, retries=0)
    _, counted = watched(model, [nobody, silent.address], view)
    silent.close()
    said = capfd.readouterr().err
    assert "s0: connection refused; given up" in said and "s1: nothing came for 0.5 s; given up" in said
    assert [s["failed"] is not None for s in counted["sources"].values()] == [True, True]


def test_a_source_that_is_given_up_has_failed_as_often_as_it_was_tried(model):
    nobody = f"tcp://127.0.0.1:{free_port()}"
    _, counted = watched(model, [nobody], View(2.0, 8, 4, 8, patience=1.0, retries=1))
    numbers = counted["sources"]["s0"]
    assert "given up after 2 tries" in numbers["failed"] and numbers["failures"] == 2


def test_a_stream_that_is_cut_is_taken_up_again(fire, model, capfd):
    """Killed in the middle of the fire: what it had begun ends, what comes after is watched."""
    data = stream(fire, 4)
    sender = Sender([data[: len(data) // 2], data], seconds=1.0)
    told, counted = watched(model, [sender.address], View(2.0, 8, 4, 8, patience=2.0, retries=1))
    numbers = counted["sources"]["s0"]
    assert sender.calls == 2 and numbers["reconnections"] == 1
    assert 48 + 15 <= numbers["frames_read"] <= 48 + 34
    assert "the connection ended; again in 0.05 s" in capfd.readouterr().err
    assert [a["event"] for a in told].count("on") == numbers["alarms"] >= 1
    assert [a["event"] for a in told] == ["on", "off"] * numbers["alarms"]
    starts = [a["start"] for a in told if a["event"] == "on"]
    assert starts == sorted(starts)
    assert numbers["latency_p50"] is not None and numbers["windows_scored"] >= 5


def test_one_bad_camera_disturbs_no_other(fire, model):
    good, bad = Sender([stream(fire, 4)]), Sender([b"rubbish" * 9999] * 3)
    told, counted = watched(model, [good.address, bad.address], View(2.0, 8, 4, 99, patience=2.0, retries=1))
    assert {a["source"] for a in told} == {"s0"} and counted["sources"]["s0"]["alarms"] == 1
    assert counted["sources"]["s0"]["frames_read"] == 48 and counted["sources"]["s1"]["frames_read"] == 0


@pytest.mark.skipif("rtsp" not in av.formats_available, reason="this PyAV knows no RTSP")
def test_rtsp_is_waited_for(tmp_path):
    """A camera that calls (ANNOUNCE), played by a process: within one, PyAV holds the interpreter."""
    port = free_port()
    address = f"rtsp://127.0.0.1:{port}/live"
    pusher = """
import av, numpy, sys, time
for attempt in range(100):
    try:
        container = av.open(sys.argv[1], "w", format="rtsp", options={"rtsp_transport": "tcp"})
        stream = container.add_stream("libx264", rate=10, options={"tune": "zerolatency", "g": "10"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        container.start_encoding()
        break
    except av.FFmpegError:
        time.sleep(0.1)
for n in range(30):
    frame = av.VideoFrame.from_ndarray(numpy.full((64, 64, 3), n * 8, numpy.uint8), format="rgb24")
    frame.pts = n
    for packet in stream.encode(frame):
        container.mux(packet)
    time.sleep(0.03)
container.close()
"""
    process = subprocess.Popen([sys.executable, "-c", pusher, address])
    try:
        found = [t for t, _ in Live(address, threading.Event(), 30.0, listen=True).frames()]
    finally:
        process.kill()
        process.wait()
    # The first stamp is set right by what the camera says of its clock.
    assert 25 <= len(found) <= 30 and np.diff(found)[1:] == pytest.approx(0.1, abs=0.02)


def test_a_device_by_opencv_and_one_that_is_not_there(monkeypatch):
    with pytest.raises(InputError, match=r"/dev/video99: no such device"):
        read("/dev/video99")

    class Fake:
        def __init__(self, path, way):
            assert (path, way) == ("/dev/video99", cv2.CAP_V4L2)
            self.left = 3

        def isOpened(self):
            return True

        def read(self):
            self.left -= 1
            return self.left >= 0, np.full((8, 8, 3), (1, 2, 3), np.uint8)

        def release(self):
            self.left = None

    monkeypatch.setattr(live.os.path, "exists", lambda path: True)
    monkeypatch.setattr(live.cv2, "VideoCapture", Fake)
    found = []
    with pytest.raises(InputError, match="nothing comes any more"):
        for seconds, make in Live("/dev/video99", threading.Event()).frames():
            found.append((seconds, make()))
    assert len(found) == 3 and found[0][0] == 0 and found[0][1][0, 0].tolist() == [3, 2, 1]


def test_addresses_are_told_without_their_passwords():
    assert shown("rtsp://me:secret@10.0.0.5:554/a?key=x") == "rtsp://10.0.0.5:554/a"
    assert [kind_of(s) for s in ("rtsp://h/a", "tcp://h:1", "/dev/video0", "a/b.mp4", "C:x.mp4")] == [
        "rtsp",
        "tcp",
        "device",
        "file",
        "file",
    ]
    for wrong, words in (
        ("http://h/a.m3u8", "expected rtsp"),
        ("tcp://h", "host and port"),
        ("tcp://h:99999", "is no address"),
        ("rtsp://", "no host"),
        ("udp://me:secret@h:1", "expected rtsp"),
    ):
        with pytest.raises(InputError, match=words) as error:
            kind_of(wrong)
        assert "secret" not in str(error.value)
    assert list(named(["door=rtsp://me:pw@h/a?b=c", "x/y.mp4"])) == [
        ("door", "rtsp://me:pw@h/a?b=c"),
        ("y.mp4", "x/y.mp4"),
    ]
    with pytest.raises(InputError, match="two sources of this name"):
        list(named(["a/x.mp4", "b/x.mp4"]))


def idle(view):
    """A camera that nobody reads."""
    return Camera("c", "none.mp4", view, threading.Event(), threading.Event())


def put(one, count, part=1, start=0):
    one._part = part
    for n in range(start, start + count):
        one._put(n / 2, 100.0 + n, np.full((2, 2, 3), n, np.uint8))


def test_windows_slide_and_what_is_too_much_is_dropped_oldest_first():
    one = idle(View(2.0, 4, 2, 2))
    put(one, 3)
    assert one.window() is None
    put(one, 3, start=3)
    frames, arrived, part = one.window()
    assert (frames.images[:, 0, 0, 0].tolist(), arrived, part) == ([0, 1, 2, 3], 103.0, 1)
    assert frames.sampled_fps == 2.0 and frames.moments.tolist() == [0, 0.5, 1, 1.5]
    assert one.window()[0].images[:, 0, 0, 0].tolist() == [2, 3, 4, 5] and one.window() is None
    put(one, 8, start=6)  # 4 and 5 were shown; of 6 to 13 six stay
    assert one.counters.frames_dropped == 2 and one.counters.frames_sampled == 14
    assert one.window()[0].images[:, 0, 0, 0].tolist() == [8, 9, 10, 11]


def test_a_window_is_of_one_connection_and_a_files_last_one_ends_with_it():
    one = idle(View(2.0, 4, 2, 9))
    put(one, 3)
    put(one, 4, part=2, start=3)
    frames, _, part = one.window()
    assert frames.images[:, 0, 0, 0].tolist() == [3, 4, 5, 6] and part == 2
    assert one.counters.frames_dropped == 3
    put(one, 1, part=2, start=7)
    assert one.window() is None
    one.ended = True
    assert one.window()[0].images[:, 0, 0, 0].tolist() == [5, 6, 7] and one.window() is None


@pytest.mark.parametrize(
    ("frames", "stride", "dropped"), [(1, 4, 1), (5, 4, 1), (5, 2, 0), (9, 4, 1), (8, 4, 0)]
)
def test_a_frame_that_is_left_alone_at_the_end_is_counted(frames, stride, dropped):
    one = idle(View(2.0, 4, stride, 9))
    put(one, frames)
    one.ended, seen = True, set()
    while (found := one.window()) is not None:
        seen |= set(found[0].images[:, 0, 0, 0].tolist())
    assert len(seen) == frames - dropped and one.counters.frames_dropped == dropped


def test_a_file_of_one_frame_is_no_watch_without_an_alarm(tmp_path, capfd):
    video.write(tmp_path / "one.mp4", np.zeros((1, 32, 32, 3), np.uint8), 4)
    assert guard(main, ["watch", str(tmp_path / "one.mp4"), "--model", str(SHIPPED)]) == 1
    assert "only 1 frame at 2 frames a second; a clip needs two" in capfd.readouterr().err


def test_a_slow_model_drops_frames_and_tells_how_many(fire, model, tmp_path, monkeypatch):
    from tvad.use.watching import watch

    path = tmp_path / "fire.mp4"
    video.write(path, np.concatenate([fire] * 2), 4)
    own = watch.look
    monkeypatch.setattr(watch, "look", lambda *a: (time.sleep(0.6), own(*a))[1])
    _, counted = watched(model, [str(path)], View(2.0, 8, 4, 4, speed=20.0))
    numbers = counted["sources"]["s0"]
    assert numbers["frames_read"] == 96 and numbers["frames_sampled"] == 48
    assert 0 < numbers["frames_dropped"] < 48 and numbers["latency_p50"] >= 0.6
    monkeypatch.setattr(watch, "look", own)
    _, counted = watched(model, [str(path)], View(2.0, 8, 4, 999, speed=20.0))
    assert counted["sources"]["s0"]["frames_dropped"] == 0
    assert counted["sources"]["s0"]["windows_scored"] == 11  # 48 frames, 8 every 4


def steps(*scores, start=0.0):
    return [Step(start + n + 0.25, s, None, np.empty((0, 5))) for n, s in enumerate(scores)]


def test_a_step_is_judged_once_and_a_cut_ends_what_was_open():
    judge = Judge(Rule(0.5, 0.4), 0.0, "heat", 2.0)
    assert list(judge.judge(steps(0.1, 0.1), 1)) == []
    (found,) = judge.judge(steps(0.9, 0.6, start=1.0), 1)  # the first was seen, and was low
    assert (found[0], found[2].start, found[2].peak) == ("on", 1.75, 0.6)
    (cut,) = judge.judge(steps(0.1, start=9.0), 2)
    assert cut[:2] == ("off", "cut") and cut[2].end == 2.75
    # With smoothing a score that stands alone does not suffice; over a cut nothing is mixed.
    smooth = Judge(Rule(0.6), 1.0, "heat", 2.0)
    assert list(smooth.judge(steps(0.0, 0.0, 0.9), 1)) == []  # weights 1, 0.61 and 0.14: 0.51
    assert [e[0] for e in smooth.judge(steps(0.9, start=20.0), 2)] == ["on"]


class Hook(BaseHTTPRequestHandler):
    """Answers what the server's `answers` say, the last one for ever; keeps bodies."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(json.loads(body))
        answers = self.server.answers
        status = answers.pop(0) if len(answers) > 1 else answers[0]
        if status == "slow":
            time.sleep(1.5)
            status = 200
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def hook():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.bodies, server.answers = [], [200]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def address(server):
    return f"http://127.0.0.1:{server.server_port}/key-in-the-path"


def until(true, seconds=10.0):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    assert true()


def test_a_webhook_is_tried_again_but_not_for_ever(hook, capfd):
    hook.answers = [503, 500, 200]
    sink = Webhook(address(hook), 2.0, pauses=(0.01,))
    sink.tell({"number": 1, "event": "on"})
    until(lambda: sink.counts["told"] == 1)
    assert sink.counts == {"told": 1, "tries": 3, "failed": 0, "dropped": 0}
    assert hook.bodies == [{"number": 1, "event": "on"}] * 3
    for answer, tries in ((500, 4), (404, 1), (302, 1)):
        hook.answers, before = [answer], sink.counts["tries"]
        failed = sink.counts["failed"]
        sink.tell({"number": 2})
        until(lambda failed=failed: sink.counts["failed"] == failed + 1)
        assert sink.counts["tries"] - before == tries
    sink.close()
    said = capfd.readouterr().err
    assert "alarm 2 was not told (answered 404)" in said and "key-in-the-path" not in said


def test_tries_of_a_webhook_share_a_client(hook, monkeypatch):
    """Each makes its own certificates' store: 26 ms of a processor that scores."""
    made, own = [], alarms.httpx.AsyncClient
    monkeypatch.setattr(alarms.httpx, "AsyncClient", lambda **given: made.append(own(**given)) or made[-1])
    hook.answers = [503, 500, 200, 503, 200]
    sink = Webhook(address(hook), 2.0, pauses=(0.01,))
    for n in range(2):
        sink.tell({"number": n})
    until(lambda: sink.counts["told"] == 2)
    sink.close()
    assert sink.counts["tries"] == 5 and len(made) == 1 and made[0].is_closed


def test_a_webhook_that_hangs_holds_nothing_up(hook, monkeypatch):
    monkeypatch.setattr(alarms, "WAITING", 3)
    hook.answers = ["slow"]
    sink = Webhook(address(hook), 0.3, pauses=(0.01,))
    begin = time.monotonic()
    for n in range(50):
        sink.tell({"number": n})
    assert time.monotonic() - begin < 0.3 and sink.counts["dropped"] >= 45
    begin = time.monotonic()
    sink.close()
    assert time.monotonic() - begin < 3
    counts = sink.counts
    assert counts["told"] == 0 and counts["failed"] + counts["dropped"] == 50


@pytest.mark.parametrize("wrong", ["ftp://h/a", "h/a", "http://", "http://[::1"])
def test_what_is_no_address_of_a_webhook_is_refused(wrong):
    with pytest.raises(InputError, match="--webhook"):
        Webhook(wrong)


def test_lines_are_whole_and_a_full_disk_ends_nothing(tmp_path, capfd):
    path = tmp_path / "below/alarms.jsonl"
    path.parent.mkdir()
    path.write_text('{"number": 1}\n{"numb')
    sink = Lines(str(path))
    sink.tell({"number": 2})
    sink.close()
    assert path.read_text() == '{"number": 1}\n{"number": 2}\n'
    path.write_text('{"numb')
    Lines(str(path)).close()
    assert path.read_text() == ""
    path.write_text('{"number": 1}\n{"a": ' + "[" * 100_000)
    Lines(str(path)).close()
    assert path.read_text() == '{"number": 1}\n'
    full = Lines("/dev/full")
    full.tell({"number": 1})
    assert full.counts == {"written": 0, "failed": 1} and "No space left" in capfd.readouterr().err
    with pytest.raises(InputError, match="cannot be written"):
        Lines(str(tmp_path))


@pytest.fixture
def file(fire, tmp_path):
    path = tmp_path / "fire.mp4"
    video.write(path, fire, 4)
    return path


def test_the_command_watches_several_and_writes_what_was_counted(file, hook, tmp_path, capfd):
    out, counters = tmp_path / "alarms.jsonl", tmp_path / "counters.json"
    given = ["watch", f"a={file}", f"b={file}", "--model", str(SHIPPED), "--speed", "6", "--waiting", "60"]
    given += ["--alarms", str(out), "--webhook", address(hook), "--counters", str(counters)]
    assert main(given) == 0
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(a["event"], a["number"]) for a in told if a["source"] == "a"] == [("on", 1), ("off", 1)]
    first = next(a for a in told if a["event"] == "on")
    assert 3 <= first["start"] <= 7 and first["raised"] <= first["told"] and first["boxes"]
    assert all(len(box) == 5 for box in first["boxes"])
    assert next(a for a in told if a["event"] == "off")["reason"] == "score"
    assert sorted(map(str, hook.bodies)) == sorted(map(str, told))
    counted = json.loads(counters.read_text())
    assert counted["format"] == "tvad-watch" and list(counted["sources"]) == ["a", "b"]
    assert counted["sources"]["a"]["frames_read"] == 48 and counted["sources"]["a"]["frames_dropped"] == 0
    assert {"told": 4, "tries": 4, "failed": 0, "dropped": 0} in counted["told"]
    said = capfd.readouterr()
    assert "frames" not in said.err and said.out.splitlines()[0].split()[:3] == ["source", "read", "sampled"]


def test_options_of_watching_have_their_effect(file, tmp_path, capfd):
    def run(*options):
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        given = ["watch", str(file), "--model", str(SHIPPED), "--speed", "8", "--waiting", "60"]
        status = guard(main, [*given, "--counters", str(out), *options])
        said = capfd.readouterr()
        assert status == 0, said.err
        told = [json.loads(line) for line in said.out.splitlines() if line.startswith("{")]
        return told, json.loads(out.read_text())

    def on(told):
        return [a["start"] for a in told if a["event"] == "on"]

    plain, counted = run()
    assert on(plain) and counted["sources"]["fire.mp4"]["windows_scored"] == 5
    assert on(run("--threshold", "1.1")[0]) == on(run("--least", "30")[0]) == []
    assert run("--threshold", "0.5", "--off", "0.001")[0][-1]["end"] > plain[-1]["end"]
    assert run("--smooth", "1.5")[0] != plain
    two = run("--rate", "4", "--window", "2", "--stride", "1", "--by", "mean")[1]
    assert two["settings"]["window_seconds"] == 2 and two["sources"]["fire.mp4"]["windows_scored"] == 11
    assert two["settings"]["by"] == "mean" and two["sources"]["fire.mp4"]["frames_sampled"] == 48
    counted = run("--speed", "1", "--seconds", "2")[1]
    assert counted["sources"]["fire.mp4"]["frames_sampled"] < 10 and counted["seconds"] < 20
    assert run("--cooldown", "9", "--batch", "1")[1]["settings"]["cooldown_seconds"] == 9


def test_what_cannot_be_watched_is_refused_before_a_model_is_loaded(file, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("tvad.model.start.load", None)
    (tmp_path / "rubbish.mp4").write_bytes(b"rubbish" * 999)
    for options, words in (
        ([str(tmp_path / "rubbish.mp4")], "cannot be decoded"),
        ([str(file), "--listen"], "--listen is for rtsp"),
        (["tcp://h:1", "--speed", "2"], "--speed is for files"),
        ([str(file), "--retries", "3"], "--retries is for cameras"),
        ([str(file), "--webhook-timeout", "3"], "--webhook-timeout is of --webhook"),
        ([str(file), "--patience", "0"], "--patience"),
        ([str(file), "--retries", "-1"], "--retries"),
        ([str(file), "--off", "0.6"], "lies above"),
        ([str(file), "--waiting", "0.1"], "--waiting"),
        ([str(file), str(file)], "two sources"),
    ):
        assert guard(main, ["watch", *options, "--model", str(SHIPPED)]) == 2
        said = capfd.readouterr().err.strip().splitlines()
        assert len(said) == 1 and words in said[0]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_ends_it_with_whole_files(file, tmp_path, number):
    out, counters = tmp_path / "alarms.jsonl", tmp_path / "counters.json"
    silent = Sender([b""], silent=True)
    given = [sys.executable, "-m", "tvad", "watch", str(file), silent.address, "--model", str(SHIPPED)]
    given += ["--alarms", str(out), "--counters", str(counters), "--threshold", "0.001", "--patience", "60"]
    given += ["--speed", "0.2", "--window", "1"]  # a minute, of which it needs five seconds
    process = subprocess.Popen(
        given, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ), cwd=ROOT
    )
    try:
        until(lambda: out.exists() and out.stat().st_size > 0, 400)
        process.send_signal(number)
        said, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        silent.close()
    assert process.returncode == 0, errors
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert told[0]["event"] == "on" and told[-1]["event"] == "off" and told[-1]["reason"] == "stopped"
    assert json.loads(counters.read_text())["sources"]["fire.mp4"]["alarms"] == 1
    assert "fire.mp4" in said and "Traceback" not in errors
    assert [p.name for p in Path(tmp_path).iterdir() if p.name.endswith(".tmp")] == []


def test_a_source_that_sends_faster_than_it_claims_is_still_judged_after_a_cut(fire, model):
    first = Sender([stream(np.concatenate([fire[:12]] * 8), 4), stream(fire, 4)])  # 24 s within a moment
    alarms_, counted = watched(model, [first.address], View(2.0, 8, 4, 999, patience=2.0, retries=1))
    assert counted["sources"]["s0"]["reconnections"] == 1
    (on,) = [a for a in alarms_ if a["event"] == "on"]  # the fire of the second connection
    assert on["start"] > 24


def test_a_file_of_alarms_takes_nothing_of_anybody_elses_and_no_half_lines(tmp_path):
    whole = tmp_path / "edited.jsonl"
    whole.write_text('{"number": 1}\n{"number": 2}')  # as an editor leaves it
    sink = Lines(str(whole))
    sink.tell({"number": 3})
    sink.close()
    assert whole.read_text() == '{"number": 1}\n{"number": 2}\n{"number": 3}\n'
    for content in (b"\x00\x01video" * 999, b'{\n "a": 1\n}', b"{" * (1 << 21)):
        other = tmp_path / "other.bin"
        other.write_bytes(content)
        with pytest.raises(InputError, match="is no alarm"):
            Lines(str(other))
        assert other.read_bytes() == content


def test_a_disk_that_fills_up_within_a_line_keeps_none_of_it(tmp_path):
    code = (
        "import resource, sys; from tvad.use.watching.alarms import Lines\n"
        "sink = Lines(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 200))\n"
        "for n in range(4): sink.tell({'number': n, 'pad': 'x' * 30})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))\n"
        "sink.tell({'number': 4})\n"
        "assert sink.counts == {'written': 2, 'failed': 3}, sink.counts"
    )
    out = tmp_path / "alarms.jsonl"
    subprocess.run([sys.executable, "-c", code, str(out)], check=True, cwd=ROOT, capture_output=True)
    assert [json.loads(line)["number"] for line in out.read_text().splitlines()] == [0, 4]


def test_a_name_that_a_terminal_cannot_show_ends_no_watch():
    code = "from tvad.use.watching.alarms import Lines; Lines('-').tell({'source': 'T\u00fcr'})"
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    said = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, check=True)
    assert json.loads(said.stdout) == {"source": "T\u00fcr"}


def test_a_webhook_that_answers_a_byte_at_a_time_or_without_end_holds_no_other_alarm(hook, monkeypatch):
    def drip(self):
        try:
            for _ in range(400):
                self.wfile.write(b"H")
                time.sleep(0.05)
        except OSError:
            pass

    monkeypatch.setattr(Hook, "do_POST", drip)
    sink = Webhook(address(hook), 0.3, pauses=(0.01,))
    sink.tell({"number": 1})
    until(lambda: sink.counts["failed"] == 1, 5)
    assert sink.counts["tries"] == alarms.TRIES

    def endless(self):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x" * (1 << 16))
        except OSError:
            pass

    monkeypatch.setattr(Hook, "do_POST", endless)
    sink.tell({"number": 2})
    until(lambda: sink.counts["told"] == 1, 5)
    sink.close()


def test_what_is_written_takes_no_other_files_place(file, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("tvad.model.start.load", None)
    before, one = file.read_bytes(), str(tmp_path / "one.json")
    (tmp_path / "soft.mp4").symlink_to(file)
    for options in (
        [str(file), "--counters", str(file)],
        [f"a={file}", "--alarms", str(tmp_path / "soft.mp4")],
        [str(file), "--alarms", one, "--counters", f"{tmp_path}/./one.json"],
    ):
        assert guard(main, ["watch", *options, "--model", str(SHIPPED)]) == 2
        assert "are one file" in capfd.readouterr().err
    assert file.read_bytes() == before and not Path(one).exists()


def test_counters_whose_folder_became_a_file_end_no_watch(file, model, tmp_path, capfd):
    (tmp_path / "a").write_text("")
    view = View(2.0, 8, 4, 60, speed=20.0)
    alarms_, counted = watched(model, [str(file)], view, counters=str(tmp_path / "a/counters.json"))
    assert alarms_ and counted["sources"]["s0"]["windows_scored"] == 5
    assert "could not be written" in capfd.readouterr().err


def test_thresholds_that_no_score_reaches_are_said(file, capfd):
    given = ["watch", str(file), "--model", str(SHIPPED), "--seconds", "0.1"]
    for options, words in (
        (["--threshold", "50"], "no score is above 1"),
        (["--off", "0"], "no score is below 0"),
    ):
        assert guard(main, [*given, *options]) == 0
        assert words in capfd.readouterr().err
    assert guard(main, given) == 0
    assert "no score" not in capfd.readouterr().err
