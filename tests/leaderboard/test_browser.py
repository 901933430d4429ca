"""The whole way in a real browser: a token, a submission, its scoring, its page, sorting, filtering,
comparing; accessibility by axe-core."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from board_fixtures import Place
from conftest import ROOT, free_port, until_up

AXE = ROOT / ".venv/axe/node_modules/axe-core/axe.min.js"
INK = "getComputedStyle(document.body).color"
LOOKS = [("light", 1200), ("dark", 390)]  # colour scheme, width in pixels


@pytest.fixture
def site(tmp_path, baseline_runs):
    """(place, URL) of a board served, and scored, by the real command."""
    place = Place(tmp_path, baseline_runs)
    port = free_port()
    log = tmp_path / "server.txt"
    with log.open("w") as out:
        call = [
            sys.executable,
            "-m",
            "leaderboard",
            "serve",
            "--config",
            str(place.config),
            "--port",
            str(port),
        ]
        process = subprocess.Popen(call, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    try:
        until_up(process, f"http://127.0.0.1:{port}", log)
        yield place, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def shown(page, name: str) -> None:
    """Keep a picture where SCREENSHOTS names a folder."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=str(Path(folder, f"{name}.png")), full_page=True)


def test_from_a_token_to_a_comparison(browser, site):
    place, url = site
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"{url}/submit")
    page.get_by_label("Name of your group").fill("browser lab")
    page.get_by_role("button", name="Make an account").click()
    token = page.locator("#token").inner_text()
    assert token.startswith("lb_")
    for which, name in (("random", "first model"), ("oracle", "second model")):
        file = place.folder / f"{which}.zip"
        file.write_bytes(place.packed(which, name=name, open_weights=which == "oracle"))
        page.goto(f"{url}/submit")
        page.get_by_label("Token").fill(token)
        page.get_by_label("Submission (.zip)").set_input_files(str(file))
        page.get_by_role("button", name="Send").click()
        page.wait_for_url("**/models/*")
        page.get_by_text("State: done").wait_for(timeout=120_000)  # the page looks again by itself
    shown(page, "model")
    page.get_by_role("link", name="Look at the answers").click()
    image = page.locator("article img").first
    image.scroll_into_view_if_needed()
    page.wait_for_load_state("networkidle")
    assert image.evaluate("image => image.naturalWidth") > 0
    shown(page, "answers")
    page.get_by_role("link", name="scenes", exact=True).click()
    names = page.locator("tbody th a")
    assert names.all_inner_texts() == ["second model", "first model"]
    page.get_by_title("judgement.accuracy").click()
    assert page.locator("th[aria-sort] .measure").inner_text() == "accuracy"
    page.get_by_label("open weights").check()
    page.get_by_role("button", name="Show").click()
    page.get_by_text("1 of 2 models").wait_for()
    assert names.all_inner_texts() == ["second model"]
    page.get_by_label("open weights").uncheck()
    page.get_by_role("button", name="Show").click()
    page.get_by_label("Compare first model").check()
    page.get_by_label("Compare second model").check()
    shown(page, "table")
    page.get_by_role("button", name="Compare two marked models").click()
    assert "worse" in page.inner_text("tbody"), "from the better one, which stands first, to the other"
    shown(page, "comparison")
    assert complaints == [], "nothing is refused by the policy, nothing is missing"
    context.close()


def test_everything_is_reached_by_keyboard(browser, site):
    _, url = site
    page = browser.new_page()
    page.goto(url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.name || document.activeElement.textContent.trim().split('\\n')[0]"
            )
        )
    assert {
        "scenes",
        "Published",
        "Submit",
        "API",
        "q",
        "most",
        "open",
        "Columns",
        "Show",
        "Compare two marked models",
    } <= reached
    page.close()


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_pages_are_accessible(browser, site, scheme, width):
    if not AXE.exists():
        pytest.skip("axe-core is not installed (npm is missing)")
    place, url = site
    names = [place.scored(which, name=which) for which in ("random", "oracle")]
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    page = context.new_page()
    paths = [
        "/suites/scenes",
        "/suites/scenes/versions",
        "/suites/scenes/plots",
        f"/models/{names[0]}",
        f"/models/{names[0]}/scenes/samples",
        f"/compare?suite=scenes&m={names[0]}&m={names[1]}",
        "/published",
        "/submit",
        "/api",
    ]
    for path in paths:
        assert page.goto(url + path).status == 200
        page.evaluate(AXE.read_text() + ";0")
        serious = [
            v for v in page.evaluate("axe.run()")["violations"] if v["impact"] in ("serious", "critical")
        ]
        assert not serious, f"{path}: {[(v['id'], v['nodes'][0]['html']) for v in serious]}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} scrolls sideways"
    context.close()


@pytest.mark.parametrize(("scheme", "width", "height"), [("light", 1200, 850), ("dark", 390, 844)])
def test_a_model_opens_with_one_screen(browser, site, scheme, width, height):
    """Rank, score, size, licence, warnings and plots, of a model whose card makes the most of its room."""
    place, url = site
    place.scored("random", name="first")
    hostile = {"name": "異常" * 50, "organisation": "x" * 100, "licence": "of our own " * 100}
    name = place.scored("random", **hostile, contamination="some clips", baseline=True, uses_video=False)
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})
    page = context.new_page()
    page.goto(f"{url}/models/{name}")
    for n, part in enumerate(page.locator(".facts > div, .warnings > li").all()):
        box = part.bounding_box()
        assert box["y"] + box["height"] <= height and box["x"] + box["width"] <= width, n
    scores, sizes = (figure.bounding_box() for figure in page.locator(".glance svg.chart").all())
    assert scores["y"] + scores["height"] <= height and sizes["y"] < height
    words = page.locator(".chart.rows text.label").first
    assert words.evaluate("e => parseFloat(getComputedStyle(e).fontSize)") >= 12, "words keep their size"
    lines = page.locator(".chart .interval").first
    colours = {lines.evaluate("e => getComputedStyle(e).stroke"), page.evaluate(INK)}
    assert len(colours) == 2 and "rgb(0, 0, 0)" not in colours, "coloured by the sheet of this scheme"
    page.goto(f"{url}/suites/scenes/plots")
    for chart in page.locator("svg.chart").all():
        outer = chart.bounding_box()
        for mark in chart.locator("circle, text").all():
            box = mark.bounding_box()
            assert box["x"] >= outer["x"] - 1 and box["x"] + box["width"] <= outer["x"] + outer["width"] + 1
    context.close()


@pytest.mark.slow
def test_no_name_moves_a_score_off_a_phone(browser, site):
    """Names as long as they may be, without a space, in Chinese characters, from right to left."""
    place, url = site
    names = ["x" * 100, "異常" * 50, ("نموذج كشف الشذوذ " * 5).strip(), "seer"]
    for which, name in zip(("random", "prior", "random", "oracle"), names, strict=True):
        place.scored(which, name=name, organisation=name[:100], description=name)
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(f"{url}/suites/scenes")
    rows = page.locator("tbody tr:has(a)")
    assert rows.count() == 4
    for row in rows.all():
        boxes = [row.locator(part).first.bounding_box() for part in (".position", ".called a", ".main b")]
        assert all(b["x"] >= 0 and b["x"] + b["width"] <= 390 for b in boxes), row.inner_text()
        assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
        assert boxes[1]["x"] + boxes[1]["width"] <= boxes[2]["x"]
    table, form = page.locator("table").first.bounding_box(), page.get_by_role("search").bounding_box()
    assert table["y"] < form["y"], "the table stands before its filters"
    before = page.locator(".called a").first.bounding_box()["x"]
    page.locator(".wide").first.evaluate("e => { e.scrollLeft = 300 }")
    assert page.locator(".called a").first.bounding_box()["x"] == before, "rank and model stay"
    page.close()
