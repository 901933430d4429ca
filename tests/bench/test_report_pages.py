"""Pages that stand alone: hostile words, videos and their limits, plots, and what a real browser makes of
them."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import av
import numpy as np
import pytest
from conftest import ROOT
from markupsafe import Markup

from bench import audit, suite
from bench.families import Difference
from bench.metrics.stats import Interval
from bench.models.base import Completion
from bench.models.baseline import Baseline
from bench.pages import Section, media, plots, render, settings
from bench.pages.media import Reel, Shown
from bench.report import write_report
from bench.run import run
from rft.grpo.run_page import write_run_page
from tvad.data import Question, Sample, Video, load, video

HOSTILE = [
    "<script>document.title='taken'</script>",
    "\"'><img src=x onerror=\"document.title='taken'\">",
    "</script></style></svg><svg onload=\"document.title='taken'\">",
    "{{ 7 * 7 }}{% for x in y %}",
    "lone \ud800 surrogate, \x00 and \x1b",
    "$\\frac{$ `$x$` 事件",
    "javascript:document.title='taken'",
    "x" * 1_000_000,
]
NO_LINE = {"parsed": {"boxes": None}}


class Page(HTMLParser):
    """Tags and attributes of a page, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def every_section(words: str) -> list[Section]:
    """Each template with these words wherever it takes some."""
    metric = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3}
    difference = Difference(words, 0.1, 0.2, Interval(0.1, 0.05, 0.2, 9), 0.01)
    card = {
        "label": words,
        "task": words,
        "kind": words,
        "tags": (words, "b"),
        "shown": Shown(note=words),
        "question": Question("mcq", words, "A", (words, "b")),
        "response": words,
        "reference": words,
    }
    curve = plots.curve(range(60), np.linspace(0, 1, 60).tolist(), words)
    return [
        Section(words, "words.html", {"lines": [words]}),
        Section(words, "metrics.html", {"metrics": {words: metric}}),
        Section(words, "differences.html", {"rows": [difference]}),
        Section(words, "plots.html", {"plots": [(plots.bars([plots.Bar(words, 0.5)], words), words)]}),
        Section(words, "plots.html", {"plots": [(plots.histogram(np.full(3, 0.5), words), "")]}),
        Section(words, "curves.html", {"curves": [(curve, words)], "note": words}),
        Section(words, "confusion.html", {"tables": [(words, [words], [(words, [(3, 1.0)])])]}),
        Section(words, "audit.html", {"findings": [audit.Finding(words, words, True, (words,))]}),
        Section(
            words, "pictures.html", {"pictures": [(media.picture(np.zeros((8, 8, 3), np.uint8)), words)]}
        ),
        Section(words, "samples.html", {"cards": [card], "tasks": [words], "kinds": [words]}),
        settings(words, {words: words, "a": {words: words}, "b": [words]}),
    ]


def test_settings_show_what_is_zero_and_leave_out_what_is_off():
    values = {"seed": 0, "temperature": 0.0, "cot": False, "data": None, "tasks": [], "options": {}}
    assert [row[0] for row in settings("s", values).values["rows"]] == ["seed", "temperature"]


@pytest.fixture(scope="module")
def usual() -> str:
    return render("words", "words", every_section("words"))


@pytest.mark.parametrize("words", HOSTILE, ids=lambda words: words[:12].encode("ascii", "replace").decode())
def test_hostile_words_stay_words(words, usual):
    benign = Page(usual)
    text = render(words, words, every_section(words))
    page = Page(text)
    assert page.tags == benign.tags, "no element more, none less"
    assert [key for key, _ in page.attributes] == [key for key, _ in benign.attributes]
    assert all(value.startswith("data:") for key, value in page.attributes if key == "src")
    assert len(text) < len(usual) + 150_000 and "49" not in page.text[:200]
    text.encode("utf-8")


def test_a_browser_runs_nothing_that_a_page_holds(browser, tmp_path):
    sections = [s for words in HOSTILE[:-1] for s in every_section(words)]
    # Were a template to forget escaping, the policy would still refuse what is not its own.
    bad = Markup("<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">")
    sections.append(Section("Forgotten", "words.html", {"lines": [bad]}))
    file = tmp_path / "page.html"
    file.write_text(render("Mine", "", sections), encoding="utf-8")
    page = browser.new_page()
    asked, shown = [], []
    page.on("requestfinished", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: (shown.append(dialog.message), dialog.dismiss()))
    page.goto(file.as_uri())
    page.wait_for_selector(".curve .plotly")
    page.wait_for_timeout(300)
    assert page.title() == "Mine" and shown == []
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()], "nothing is fetched"
    page.close()


def test_a_page_of_words_has_no_script():
    page = Page(
        render("A title", "and what it is", [Section("Words", "words.html", {"lines": ["one", "two"]})])
    )
    assert "script" not in page.tags and {"h1", "h2", "style", "main"} <= set(page.tags)
    assert any(key == "content" and "script-src 'none'" in value for key, value in page.attributes)


def test_the_same_values_give_the_same_page(usual):
    assert render("words", "words", every_section("words")) == usual
    assert "matplotlib" not in re.sub(r"<script>.*?</script>", "", usual, flags=re.S)


def test_plots_say_their_values_in_the_colours_of_the_page():
    plot = plots.bars([plots.Bar("one", 0.25, 0.1, 0.4), plots.Bar("two", None)], "two bars")
    assert "<title>one: value 0.250, 95 % interval 0.100 to 0.400</title>" in plot
    assert 'role="img"' in plot and 'aria-label="two bars"' in plot and "http" not in plot
    assert "var(--bar)" in plot and not re.search(r"#(?!var)[0-9a-f]{6}\b", plot), "no colour of its own"
    paired = plots.bars([plots.Bar("one", 0.5, old=0.25)], "before and after")
    assert "one: before 0.250" in paired and "one: after 0.500" in paired
    line = plots.line(np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.8, 1.0]), "x", "y", "a curve")
    assert line.count("<title>") == 3 and "x 0.500, y 0.800" in line
    many = plots.bars([plots.Bar(f"class {n}", 0.5) for n in range(100)], "many")
    assert many.count("<title>") == plots.MOST_BARS


def test_curves_are_thinned_and_skip_what_is_no_number():
    steps = list(range(5000))
    values = [float("nan") if n == 7 else float(n) for n in steps]
    curve = plots.curve(steps, values, "reward")
    assert len(curve["x"]) == len(curve["y"]) == len(curve["mean"]) == plots.MOST_POINTS
    assert curve["x"][0] == 0 and curve["x"][-1] == 4999 and 7 not in curve["x"]
    assert curve["mean"][-1] == pytest.approx(np.mean(values[-249:]), abs=0.6)
    assert "mean" not in plots.curve([1, 2], [0.5, 0.6], "short") and plots.curve([], [], "none")["x"] == []


def sample_of(path, frames: int, fps: float, size=(64, 96)) -> Sample:
    """A sample of a new video of moving noise, as large as noise is."""
    rng = np.random.default_rng(0)
    video.write(path, rng.integers(0, 255, (frames, *size, 3), dtype=np.uint8), fps)
    return Sample(
        path.stem, "test", "test", Video(path.name, fps, frames, *size[::-1]), "normal", root=str(path.parent)
    )


def test_an_answers_video_stands_in_its_card(scenes):
    sample = next(s for s in load(scenes) if s.anomalous and s.tracks)
    shown = Reel().show(sample, {"parsed": {"boxes": [(100, 100, 500, 500)]}}, np.ones((4, 3, 3), np.float32))
    assert shown.video.startswith("data:video/mp4;base64,") and len(shown.video) <= media.CLIP
    assert shown.picture.startswith("data:image/jpeg;base64,") and shown.note == ""
    again = Reel().show(sample, {"parsed": {"boxes": [(100, 100, 500, 500)]}}, np.ones((4, 3, 3), np.float32))
    assert shown == again, "the same video gives the same bytes"


def test_a_video_is_re_encoded_small(tmp_path):
    sample = sample_of(tmp_path / "odd.mp4", 30, 30.0, (70, 130))
    frames, fps, speed = media._frames(sample, NO_LINE, None)
    (tmp_path / "clip.mp4").write_bytes(media._encoded(frames, fps, 1.0, 28))
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.width % 2 == stream.height % 2 == 0 and stream.width <= media.WIDTH
        assert stream.frames == 8 and float(stream.average_rate) == 8.0 and speed == 1
    assert len(frames) == 8


def test_a_long_video_is_thinned_and_shown_faster(tmp_path):
    frames, fps, speed = media._frames(sample_of(tmp_path / "long.mp4", 1500, 8.0, (16, 16)), NO_LINE, None)
    assert media.MOST_FRAMES <= len(frames) < 2 * media.MOST_FRAMES
    assert fps == 4.0 and speed == 4.0 and len(frames) / fps * speed == pytest.approx(1500 / 8, abs=1)


def test_what_is_too_large_becomes_frames(tmp_path, monkeypatch):
    sample = sample_of(tmp_path / "noise.mp4", 8, 8.0)
    size = len(Reel().show(sample, NO_LINE, None).video)
    reel = Reel(left=size + size // 2)
    first, second = (reel.show(sample, NO_LINE, None) for _ in range(2))
    assert (
        first.video and second.video is None and second.picture and "as many videos as it may" in second.note
    )
    assert reel.left == size + size // 2 - len(first.video)
    monkeypatch.setattr(media, "CLIP", 1000)
    shown = Reel().show(sample, NO_LINE, None)
    assert shown.video is None and shown.picture and "too large" in shown.note
    assert media.PAGE == 20_000_000 and Reel().left == media.PAGE


def test_the_second_try_is_smaller(tmp_path, monkeypatch):
    sample = sample_of(tmp_path / "noise.mp4", 8, 8.0)
    size = len(Reel().show(sample, NO_LINE, None).video)
    monkeypatch.setattr(media, "CLIP", size - 1)
    assert 0 < len(Reel().show(sample, NO_LINE, None).video) < size


@pytest.fixture
def plan(scenes):
    found = suite.read(str(ROOT / "configs/bench/scenes.yaml"), ["--data", str(scenes), "--resamples", "20"])
    return replace(found, tasks=["mcq", "judgement", "spatial"])


def test_a_report_outlives_its_videos(scenes, plan, tmp_path):
    shutil.copytree(scenes, tmp_path / "data")
    run(Baseline("random"), "m", replace(plan, data=str(tmp_path / "data")), tmp_path / "run")
    for n, file in enumerate(sorted((tmp_path / "data/videos").iterdir())):
        if n % 3 == 1:
            file.unlink()
        elif n % 3 == 2:
            file.write_bytes(file.read_bytes()[:700])
    page = write_report(tmp_path / "run").read_text()
    assert page.count("no such video file") and page.count("cannot be decoded") and "data:video/mp4" in page


def test_a_report_is_read_and_filtered_in_a_browser(browser, plan, tmp_path):
    class Hostile(Baseline):
        def sample(self, requests, sampling):
            return [[Completion(HOSTILE[i % len(HOSTILE)])] for i in range(len(requests))]

    run(Hostile("random"), "hostile <b>", plan, tmp_path)
    file = write_report(tmp_path)
    for scheme, width in (("light", 1200), ("dark", 390)):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
        page = context.new_page()
        complaints = []
        page.on("console", lambda message, into=complaints: into.append(message.text))
        page.goto(file.resolve().as_uri())
        assert page.title() == "Benchmark report" and complaints == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing scrolls sideways"
        cards = page.locator("article")
        total = cards.count()
        page.get_by_label("Task").select_option("spatial")
        shown = cards.filter(visible=True).count()
        assert 0 < shown < total and page.get_by_role("status").inner_text() == f"{shown} of {total} shown"
        page.get_by_label("Words").fill("no such words")
        assert cards.filter(visible=True).count() == 0
        clip = page.locator("video").first
        assert clip.evaluate("v => v.muted && v.loop && v.controls && v.playsInline")
        playable = clip.evaluate("v => v.canPlayType('video/mp4; codecs=\"avc1.42E01E\"')")
        if playable:  # some builds of Chromium come without H.264
            assert clip.evaluate(
                "v => new Promise((done, no) => {"
                " v.onloadeddata = () => done(v.videoWidth); v.onerror = no; v.load() })"
            )
        context.close()


def test_a_phone_shows_what_was_found_first_and_no_page_names_a_folder(browser, plan, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "sys.argv", [str(tmp_path / "bin/bench"), "run", "--data", str(tmp_path / "x y/data")]
    )
    model = tmp_path / "models/mine"
    for name, which in (("before", "random"), ("after", "oracle")):
        run(Baseline(which), f"hf:{model}-{name}", plan, tmp_path / name)
    pages = [write_report(tmp_path / "before"), write_report(tmp_path / "after", tmp_path / "before")]
    (tmp_path / "grpo").mkdir()
    log = [{"step": n, "reward": 1 + n / 9, "rewards/format/mean": 0.9} for n in range(1, 9)]
    (tmp_path / "grpo/log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    record = {"model": str(model), "data": str(tmp_path / "data"), "training": {"output_dir": str(tmp_path)}}
    (tmp_path / "grpo/grpo.json").write_text(json.dumps(record))
    pages.append(write_run_page(tmp_path / "grpo"))
    for n, file in enumerate(pages):
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto(file.resolve().as_uri())
        assert page.locator("h2").first.inner_text() == "In short"
        assert page.locator(".lead").first.bounding_box()["y"] < 400
        text = page.inner_text("main")
        assert str(tmp_path) not in text and "mine" in text
        if n == 1:
            row = page.locator("tr", has_text="mcq.accuracy").first
            verdict = row.locator("td.verdict").last.bounding_box()
            assert (
                verdict["x"] + verdict["width"] < 390
                and row.locator("td.verdict").last.inner_text() == "better"
            )
            assert "Better, p adjusted by family: mcq.accuracy +" in text
        if n == 2:
            page.wait_for_function("document.querySelectorAll('.curve .main-svg').length >= 2")
            lowest = "e => [e.layout.xaxis.range[0], e.layout.yaxis.range[0]]"
            assert all(at <= 0 for at in page.locator(".curve").first.evaluate(lowest))
        page.close()
        # Not in what is not shown either.
        assert str(tmp_path) not in file.read_text()
    assert json.loads((tmp_path / "after/run.json").read_text())["command"] == [
        "bench",
        "run",
        "--data",
        "data",
    ]


def test_a_runs_page_stands_on_its_logs(browser, tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {
            "step": n,
            "reward": 1 + n / 60,
            "rewards/<b>/mean": rng.random(),
            "tasks/mcq": rng.random(),
            "loss": 0.1,
        }
        for n in range(1, 60)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = {
        "step": 1,
        "question": "?",
        "completion": HOSTILE[0],
        "rewards": {"a": 1.0, "b": None},
        "advantage": 0.1,
    }
    (tmp_path / "rollouts.jsonl").write_text(json.dumps(line) + '\n{"step": 2, "cut')
    (tmp_path / "grpo.json").write_text(
        json.dumps({"model": "m", "training": {"max_steps": 59}, "lora": None})
    )
    text = write_run_page(tmp_path).read_text()
    assert text.count("plotly.js v") == 1, "the library once"
    page = browser.new_page()
    page.goto((tmp_path / "run.html").resolve().as_uri())
    page.wait_for_function("document.querySelectorAll('.curve .main-svg').length >= 4")
    assert page.locator(".curve").first.get_attribute("aria-label") == "reward over steps"
    for words in ("Every reward", "<b>, mean", "Reward by task", "Completions of the first", "max_steps: 59"):
        assert words in page.inner_text("main")
    before = page.locator(".curve .lines path, .curve .js-line").first.evaluate(
        "e => getComputedStyle(e).stroke"
    )
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(500)
    after = page.locator(".curve .lines path, .curve .js-line").first.evaluate(
        "e => getComputedStyle(e).stroke"
    )
    assert before != after, "the curves follow light and dark"
    page.close()


def test_no_page_is_written_by_hand():
    # <img> alone is InternVL's control token; a page's picture has attributes.
    tags = r"<(div|table|svg|span|td|tr|html|script|video)\b|<img\s"
    words = re.compile(rf"{tags}|addEventListener|querySelector")
    for package in ("tvad", "rft", "bench", "leaderboard"):
        for file in (ROOT / package).rglob("*.py"):
            found = words.search(file.read_text(encoding="utf-8"))
            assert not found, f"{file}: {found.group()} belongs into a template"
