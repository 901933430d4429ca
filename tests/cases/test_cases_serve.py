"""Cases of strangers: serving and the demo (`serve/README.md`)."""

import asyncio
import functools
import json
import os
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from conftest import KEY, ROOT, SHIPPED, free_port, until_up
from small_server import SmallServer, chat, url_of

from tvad.__main__ import main
from tvad.common import cli
from tvad.data import video
from tvad.data.scenes.render import make_clip
from tvad.use.serving import heatmaps

CASES = Path(__file__).parent / "serve"
QUESTION = "Is there an anomaly?"


def ask(server: str, body: dict, key: str | None = KEY, path: str = "chat/completions") -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = {"model": "tiny", "max_tokens": 8} | body
    return httpx.post(f"{server}/{path}", json=body, headers=headers, timeout=120)


@pytest.mark.parametrize("url", ["data:video/mp4;base64,AAAA", "http://127.0.0.1:1/x", "whole"])
def test_without_a_key_nothing_is_looked_at(server, url):
    whole = url_of((CASES / "heatmap-of-other-frames/clip.mp4").read_bytes())
    body = chat(QUESTION, whole if url == "whole" else url)
    for heatmap in (False, True):
        assert ask(server, body | {"heatmap": heatmap}, None).status_code == 401
        assert ask(server, body | {"heatmap": heatmap}, "wrong").status_code == 401
    for path in ("tokenize", "invocations"):  # vLLM itself guards /v1 only
        assert ask(server, body, None, f"../{path}").status_code == 401
    named = ask(server, body | {"heatmap": True, "model": "other"})
    assert named.status_code == 404 and "heatmap" not in named.json()


def test_answer_and_heatmap_are_of_the_same_frames(server):
    body = chat(QUESTION, url_of((CASES / "heatmap-of-other-frames/clip.mp4").read_bytes()), heatmap=True)
    found = {}
    for knobs in ({}, {"num_frames": 4}, {"fps": 0.5}, {"fps": 1.0}):
        answer = ask(server, body | ({"media_io_kwargs": {"video": knobs}} if knobs else {})).json()
        found[str(knobs)] = (answer["usage"]["prompt_tokens"], answer["heatmap"])
    sizes = {name: (tokens, len(heat["steps"]), len(heat["times"])) for name, (tokens, heat) in found.items()}
    most = sizes["{}"]
    assert most[1:] == (4, 8) and sizes["{'fps': 1.0}"] == most  # 1 a second fills the 8 frames as well
    assert sizes["{'num_frames': 4}"][1:] == sizes["{'fps': 0.5}"][1:] == (2, 4)
    assert sizes["{'num_frames': 4}"][0] == sizes["{'fps': 0.5}"][0] < most[0]
    assert found["{'num_frames': 4}"][1]["times"] != found["{'fps': 0.5}"][1]["times"]
    for knobs, name in (
        ({"mm_processor_kwargs": {"fps": 1}}, "mm_processor_kwargs (fps)"),
        ({"media_io_kwargs": {"video": {"num_frames": 64}}}, "limit, 2 to 8 frames"),
        ({"media_io_kwargs": {"video": {"fps": 30}}}, "at most 2 frames a second"),
        ({"fps": 1}, "fps: without effect"),
    ):
        for heatmap in (True, False):
            refused = ask(server, body | knobs | {"heatmap": heatmap})
            assert refused.status_code == 400 and name in refused.json()["error"]["message"]


@pytest.fixture(scope="module")
def files():
    """(URL of a web server on this machine, addresses that were asked of it)."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path == "/moved.mp4":
                self.send_response(302)
                self.send_header("Location", "/ok.mp4")
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(CASES / "serve-fetches"))
    web = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{web.server_address[1]}", asked
    web.shutdown()


@pytest.mark.parametrize(
    "url, reached, words",
    [
        ("http://HOST/ok.mp4", True, None),  # the operator has named this very address
        ("http://HOST/moved.mp4", True, "answers 302"),
        ("http://HOST/none.mp4", True, "answers 404"),
        ("http://localhost:PORT/ok.mp4", False, "cannot be fetched"),  # named, but leads inside
        ("http://2130706433:PORT/ok.mp4", False, "not from a domain"),
        ("http://[::1]:PORT/ok.mp4", False, "not from a domain"),
        ("http://[::ffff:127.0.0.1]:PORT/ok.mp4", False, "not from a domain"),
        ("http://127.0.0.1@0.0.0.0:PORT/ok.mp4", False, "not from a domain"),
        ("http://127.0.0.1:1/ok.mp4", False, "cannot be fetched"),
        ("file:///etc/passwd", False, "expected a data:video"),
        ("ftp://HOST/ok.mp4", False, "expected a data:video"),
        ("data:video/mp4;base64,%%%", False, "not base64"),
        ("data:video/mp4;base64,bm8gdmlkZW8=", False, "cannot be decoded"),
    ],
)
def test_only_named_addresses_are_fetched_and_bad_media_is_a_line(server, files, url, reached, words):
    host, asked = files
    asked.clear()
    url = url.replace("HOST", host).replace("PORT", host.partition(":")[2])
    for heatmap in (False, True):
        answer = ask(server, chat(QUESTION, url, heatmap=heatmap))
        if words is None:
            assert answer.status_code == 200 and ("heatmap" in answer.json()) == heatmap
        else:
            said = answer.json()["error"]["message"]
            assert answer.status_code == 400 and words in said and "\n" not in said
            assert str(ROOT) not in said and "Errno 111" not in said and "Traceback" not in said
    assert len(asked) == (2 if reached else 0)


def test_health_is_answered_while_a_video_is_decoded(monkeypatch):
    media = pytest.importorskip("tvad.use.serving.media", exc_type=ImportError)
    answered, order = threading.Event(), []
    decode = media.sampled

    def slow(*arguments):
        answered.wait(20)  # in the event loop nobody could answer meanwhile
        order.append("decoded")
        return decode(*arguments)

    monkeypatch.setattr(media, "sampled", slow)
    monkeypatch.setattr(heatmaps.Heatmaps, "_patches", lambda self, clip: ())
    server = SmallServer(np.zeros((4, 8, 8), np.float32))
    body = chat(QUESTION, url_of((CASES / "heatmap-of-other-frames/clip.mp4").read_bytes()), heatmap=True)

    async def both():
        async with server.client() as client:
            big = asyncio.create_task(client.post("/v1/chat/completions", json=body))
            while not server.seen:
                await asyncio.sleep(0.01)
            order.append((await client.get("/health")).status_code)
            answered.set()
            return await big

    found = asyncio.run(both())
    assert order == [200, "decoded"] and "heatmap" in found.json()  # and decoded once


def test_times_in_words_and_result_are_the_videos(tmp_path, capsys):
    """Twelve seconds, a fire in the middle four: the window that is talked about begins at 4 s."""
    parts = [
        make_clip(seed, category, core=True, max_crowd=1).frames
        for seed, category in ((1, None), (2, "fire"), (3, None))
    ]
    video.write(tmp_path / "long.mp4", np.concatenate(parts), 4)
    call = ["infer", "--model", str(SHIPPED), "--video", str(tmp_path / "long.mp4")]
    call += ["--ask", "When does the anomaly happen?", "--ask", "Where is the anomaly at 6.0 s?"]
    call += ["--ask", "Where is the anomaly at 1.0 s?", "--out", str(tmp_path / "out")]
    assert cli.guard(lambda: main(call)) == 0
    printed = capsys.readouterr()
    dialogue = json.loads((tmp_path / "out/result.json").read_text())["dialogue"]
    assert dialogue["from"] == 4.0 and f"about 4.0 to {dialogue['to']:.1f} s of the video" in printed.out
    turns = {turn["question"]: turn for turn in dialogue["turns"]}
    cause, when = turns["When and why?"], turns["When does the anomaly happen?"]
    for turn in (cause, when):
        start, end = turn["span"]
        assert 4 <= start < end <= 8.5 and f"rom {start:.2f} to {end:.2f} s" in turn["response"]
    assert cause["response"] in printed.out and "<answer>" not in printed.out
    assert turns["Where is the anomaly at 6.0 s?"]["boxes"]
    assert "not asked: 1 s: the dialogue is about 4.0" in printed.out  # the model does not see that moment
    assert "generated scenes only" in printed.err


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """(URL of the page, the folder for temporary files, the process)."""
    folder, port = tmp_path_factory.mktemp("demo"), free_port()
    log = folder / "log.txt"
    (folder / "tmp").mkdir()
    call = [sys.executable, "-m", "tvad", "demo", "--model", str(SHIPPED), "--port", str(port)]
    environment = {k: v for k, v in os.environ.items() if k != "GRADIO_TEMP_DIR"}
    with log.open("w") as out:
        process = subprocess.Popen(
            call,
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment | {"TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"},
        )
    try:
        until_up(process, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}", folder / "tmp", process
    finally:
        process.kill()
        process.wait(60)


def as_avi(path: Path) -> Path:
    """Four seconds in a form that no browser plays."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width = stream.height = 112
        for image in make_clip(2, "fire", core=True, max_crowd=1).frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_the_page_forgets_a_clip_with_its_findings_and_the_server_its_files(browser, demo, tmp_path):
    url, temporary, process = demo
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(url)
    question = page.locator("#ask textarea, #ask input").first
    words, player = page.locator("#words textarea"), page.locator("#video video")

    def taken(path):
        page.locator("#video input[type=file]").set_input_files(path)

    def looked():
        page.locator("#look").click()
        page.wait_for_function("document.querySelector('#words textarea').value", timeout=60_000)

    def gone():
        page.wait_for_function(
            "!document.querySelector('#words textarea').value && !document.querySelector('#overlay video')"
            " && !document.querySelector('#picture img, #timeline img, #trajectory img')"
            " && !document.querySelector('#chat .message')",
            timeout=30_000,
        )
        return question.is_disabled()

    page.get_by_text("generated scenes only").wait_for()
    words.wait_for()
    assert gone() and page.locator("#look").is_disabled()
    taken(as_avi(tmp_path / "fire.avi"))
    page.wait_for_function(
        "document.querySelector('#video video')?.readyState >= 2", timeout=30_000
    )  # a preview that plays
    assert not page.get_by_text("Video not playable").count()
    looked()
    assert words.input_value().startswith("anomaly: ") and question.is_enabled()
    page.locator("#later").get_by_text("Which class of anomaly appears?").click()
    page.locator("#chat").get_by_text("fire", exact=True).wait_for()
    shown = page.locator("#chat").inner_text()
    assert "of the video" in shown and "<answer>" not in shown and "<think>" not in shown
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#video button[aria-label=Clear]").click()
    assert gone() and not player.count()
    (tmp_path / "broken.mp4").write_text("no video")
    taken(tmp_path / "broken.mp4")
    page.get_by_text("broken.mp4: cannot be decoded").first.wait_for()
    assert gone() and str(temporary) not in page.locator("body").inner_text()
    page.locator("#examples").get_by_text("nothing happens").click()
    page.wait_for_function("document.querySelector('#video video')?.readyState >= 2", timeout=30_000)
    looked()
    page.locator("#examples").get_by_text("somebody falls").click()
    assert gone()
    assert not list(temporary.rglob("overlay.mp4"))  # went with the clip that it was of
    assert [p for p in temporary.rglob("*") if p.is_file()]
    page.close()
    process.terminate()
    assert process.wait(60) == 0
    assert not [p for p in temporary.rglob("*") if p.is_file()]
