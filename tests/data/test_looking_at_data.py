"""`tvad data stats` and `tvad data view` on hostile samples: what is counted is so, texts are escaped, pages
fetch nothing, large sets stay bounded, and a narrow page does not scroll sideways."""

import json
import re
import shutil

import numpy as np
import pytest
from conftest import BROWSERS

from tvad.__main__ import main
from tvad.common.cli import guard
from tvad.data import Question, Sample, Track, Video, load, masks, save, shards, stats, video, view
from tvad.pictures import RED

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"


@pytest.fixture
def folder(tmp_path):
    """Three clips: one with mask and track, one whose names are hostile, one whose video is no video."""
    data = tmp_path / "data"
    for part in ("videos", "masks"):
        (data / part).mkdir(parents=True)
    lit = np.zeros((40, 48, 64), bool)
    lit[20:30, 10:22, 16:32] = True
    video.write(data / "videos/a.mp4", np.full((40, 48, 64, 3), 90, np.uint8), 10)
    masks.write(data / "masks/a.npz", lit)
    (data / "videos/c.mp4").write_bytes(b"no video")
    shutil.copy(data / "videos/a.mp4", data / "videos/b.mp4")
    shown = Video("videos/a.mp4", 10.0, 40, 64, 48)
    options = ("x", "y", "z")
    asked = tuple(Question("mcq", "Which?", letter, options, "event") for letter in "AAC")
    track = Track(1, "person", {f: (16.0, 10.0, 31.0, 21.0) for f in range(15, 30)}, tuple(range(20, 30)))
    save(
        [
            Sample("a", "made", "test", shown, "anomalous", ("fall", "theft"), ((2.0, 3.0),), None, (track,),
                   "masks/a.npz", asked),
            Sample(f"b {HOSTILE}", HOSTILE, "test", Video("videos/b.mp4", 10.0, 40, 64, 48), "normal",
                   (HOSTILE,), (), questions=(Question("mcq", HOSTILE, "B", (HOSTILE, "y")),),
                   description=HOSTILE, conditions={"light": HOSTILE}),
            Sample("c", "made", "test", Video("videos/c.mp4")),
        ],
        data,
    )  # fmt: skip
    return data


def test_what_is_counted(folder, tmp_path, capsys):
    assert main(["data", "stats", str(folder), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "3 clips, 0.00 hours" in told and "Letters of 3 options: A 2 (67%), C 1 (33%)" in told
    assert "\x1b" not in told and "\u202e" not in told and "1 clips state none" in told
    found = json.loads((tmp_path / "out/stats.json").read_text())
    assert found["labels"] == {"anomalous": 1, "normal": 1, "unknown": 1}
    assert found["classes"] == {HOSTILE: 1, "fall": 1, "theft": 1, "unknown": 1}
    assert found["spans"] == {"0": 1, "1": 1, "unknown": 1} and found["questions"] == {"mcq": 4}
    assert found["letters"] == {"2": {"B": 1}, "3": {"A": 2, "C": 1}}
    assert found["duration"]["n"] == 2 and found["duration"]["median"] == 4.0
    assert found["span"]["mean"] == 1.0 and sum(n for *_, n in found["duration"]["bins"]) == 2
    assert found["mask_area"]["median"] == round(100 * 12 * 16 / (48 * 64), 4)
    assert found["without_mask"] == 2 and found["without_duration"] == 1
    (folder / "masks/a.npz").write_bytes(b"x")
    assert stats.stats_of(load(folder))["masks_that_cannot_be_read"] == 1
    assert stats.stats_of(load(folder), files=False)["mask_area"] is None


@pytest.mark.parametrize("seed", range(6))
def test_a_masks_area_is_that_of_its_frames(seed):
    rng = np.random.default_rng(seed)
    lit = rng.random((9, 5, 7)) < rng.choice([0.0, 0.05, 0.5, 1.0], (9, 1, 1))
    mask = masks.Mask(*masks.encode(lit))
    shares = [frame.mean() for frame in lit if frame.any()]
    assert mask.area() == (pytest.approx(np.mean(shares)) if shares else None)


def test_the_view_draws_and_escapes(folder, tmp_path, capsys):
    page = tmp_path / "view.html"
    assert main(["data", "view", str(folder), "--out", str(page)]) == 0
    text = page.read_text()
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text
    assert text.count('<article class="card"') == 3 and text.count("data:image/jpeg") == 2
    assert "Cannot be shown: " in text and "c.mp4" in text and "2 to 3 s" in text
    assert not re.search(r"(src|href)=\"(?!data:)", text) and "default-src 'none'" in text
    sheet, times = view.pictures(load(folder)[0])
    assert sum(2.0 <= t < 3.0 for t in times) == 2 and len(times) == 4
    red = np.abs(sheet.astype(int) - RED).sum(-1) < 60
    assert red.any() and sheet.shape == (480, 640, 3)


def test_the_view_is_bounded_and_drawn_by_seed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tvad.data.folder.MANY", 20)
    one = load(folder)[0]
    many = tmp_path / "many"
    many.mkdir()
    save((Sample(f"s{n}", "made", "test", one.video) for n in range(50)), many)
    samples = load(many)
    assert isinstance(samples, shards.Rows)
    names = [[s.id for s in view.drawn(samples, 5, seed)] for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2] and len(names[0]) == 5
    assert "5 of 50 samples, drawn by seed 3" in view.page("many", samples, 5, 3)
    assert guard(main, ["data", "view", str(many), "--limit", "0", "--out", str(tmp_path / "x.html")]) == 2
    assert not (tmp_path / "x.html").exists() and stats.stats_of(samples)["clips"] == 50


def test_pages_on_a_phone_and_on_a_screen(folder, tmp_path):
    sync = pytest.importorskip("playwright.sync_api")
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        pytest.skip("no chromium")
    main(["data", "view", str(folder), "--out", str(tmp_path / "view.html")])
    main(["data", "stats", str(folder), "--out", str(tmp_path)])
    with sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, scheme in ((390, "light"), (1200, "dark")):
            tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            said: list[str] = []
            tab.on("console", lambda message, said=said: said.append(message.text))
            tab.on("dialog", lambda dialog, said=said: (said.append("dialog"), dialog.dismiss()))
            for name in ("view", "stats"):
                tab.goto((tmp_path / f"{name}.html").as_uri())
                assert tab.evaluate("document.documentElement.scrollWidth") <= width
                assert tab.evaluate("getComputedStyle(document.body).colorScheme") is not None
            tab.goto((tmp_path / "view.html").as_uri())
            tab.select_option('[data-by="task"]', "anomalous")
            assert tab.locator("article:visible").count() == 1
            assert tab.locator("[data-count]").inner_text() == "1 of 3 shown"
            assert said == []
        browser.close()
