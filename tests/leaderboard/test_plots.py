"""Plots of tables and comparisons, a model's summary, results by slice: drawn by the server, without a
script, and of nothing that the tables hold back."""

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from board_fixtures import CARD, Place
from test_disclosure import board_of
from test_disclosure import time as time

from bench import suite as suites
from bench.families import Difference, judged
from bench.metrics.stats import Interval
from bench.models.baseline import Baseline
from bench.run import run
from leaderboard.board import phases
from leaderboard.build import build
from leaderboard.card import Card
from leaderboard.store.results import Scored
from leaderboard.web.pages import plots
from leaderboard.web.pages.plots import Point

HOSTILE = '<script>alert("x")</script>'


class Drawn(HTMLParser):
    """The plots of a page: their titles, and whether all that they hold may stand there."""

    def __init__(self, text: str):
        super().__init__()
        self.charts, self.tags, self.styles, self.ids, self.names = 0, set(), [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.add(tag)
        self.styles += [value for key, value in attrs if key == "style" or key.startswith("on")]
        self.ids += [given["id"]] if "id" in given else []
        if tag == "svg" and "chart" in (given.get("class") or "").split():
            self.charts += 1
            assert given["role"] == "img"
            self.names += given["aria-labelledby"].split()


def scored(place, name, value, day, half=0.05, **card):
    """A finished submission of a day, with made-up figures."""
    store = place.store
    stated = Card(name, "lab", "mit", "none known", ["d"], **card)
    name_hash = f"{day:04x}{sum(map(ord, name)):060x}"
    store.submit("lab", name_hash, stated, ["scenes"])
    bounds = {"low": None, "high": None} if half is None else {"low": value - half, "high": value + half}
    metrics = {"mcq.accuracy": {"value": value, **bounds, "n": 40}}
    metrics["temporal.false_alarm"] = {"value": 1 - value, "low": 0.9 - value, "high": 1.0 - value, "n": 40}
    store.finish(store.claim(60), [Scored("scenes", "public", place.version, metrics, {})])
    return name_hash


@pytest.fixture
def place(tmp_path, baseline_runs):
    """A board on SQLite: what is drawn has been asked of the store."""
    found = Place(tmp_path, baseline_runs)
    yield found
    found.store.engine.dispose()


@pytest.fixture
def filled(place, monkeypatch):
    """(place, hashes by name) of a board with odd submissions, one a day."""
    days = [datetime(2026, 3, 1)]
    monkeypatch.setattr(phases, "clock", lambda: days[0])
    rows = [
        ("small", 0.5, 0.05, {"parameters": 1e9}),
        (HOSTILE, 0.6, 0.05, {"parameters": 3e9}),
        ("small", 0.4, 0.05, {"parameters": 1e9}),
        ("unsized", 0.55, 0.05, {}),
        ("baseline", 0.9, 0.05, {"parameters": 2e9, "baseline": True}),
        ("bare", 0.95, None, {"parameters": 2e9}),
    ]
    found = {}
    for day, (name, value, half, card) in enumerate(rows):
        days[0] += timedelta(days=1)
        if day % 5 == 0 and day:  # five a day
            days[0] += timedelta(days=1)
        found.setdefault(name, []).append(scored(place, name, value, day, half, **card))
    return place, found


def test_a_table_is_drawn_by_size_and_over_time(filled):
    place, names = filled
    page = place.client.get("/suites/scenes/plots").text
    drawn = Drawn(page)
    assert drawn.charts == 2 and not drawn.styles and "script" not in drawn.tags
    assert set(drawn.names) <= set(drawn.ids) and len(set(drawn.ids)) == len(drawn.ids)
    size, _, time = page.partition('aria-labelledby="over-time"')
    assert "1 without an interval or a rank is not drawn" in page and "bare" not in page
    assert f'href="/models/{names["unsized"][0]}"' in size and "Without a stated size" in size
    assert "0.400" in size and "0.500" not in size, "of one name the newest"
    assert "0.500" in time and "0.600" in time and "0.900" not in time, (
        "replaced ones count, baselines do not"
    )
    assert "best of its size" in size and "&lt;script&gt;" in page and HOSTILE not in page
    less = place.client.get("/suites/scenes/plots?sort=temporal.false_alarm").text
    assert "less is better" in less and "0.400" in less.partition("over-time")[2]
    for odd in ("?sort=nothing", "?sort=" + "x" * 100):
        assert place.client.get(f"/suites/scenes/plots{odd}").text == page
    assert place.client.get("/suites/none/plots").status_code == 404
    assert place.client.get("/suites/scenes/plots?split=private").status_code == 404


def test_plots_of_an_empty_table_say_so(place, tmp_path):
    assert "Nothing to draw yet" in place.client.get("/suites/scenes/plots").text
    build(place.board, place.store, tmp_path / "site")
    assert (tmp_path / "site/suites/scenes/public-plots.html").exists()


def test_plots_hold_back_what_tables_hold_back(tmp_path, baseline_runs, time):
    """While a phase lasts the plots of two boards that differ in private labels are the same, and show no
    figure of them; afterwards they show what the table shows, rounded, of what stands."""
    boards = [board_of(tmp_path / str(n), baseline_runs, n) for n in range(2)]
    paths = ["/suites/scenes/plots?split=private", "/suites/scenes/plots?split=private&sort=mcq.accuracy"]
    paths += ["/suites/scenes/plots", *(f"/models/{name}" for name in boards[0][1])]
    texts = [[place.client.get(path).text for path in paths] for place, *_ in boards]
    assert texts[0] == texts[1] and "Nothing to draw yet" in texts[0][0] and not Drawn(texts[0][0]).charts
    assert "private labels: " not in "".join(texts[0])
    time[0] += timedelta(days=91)
    after = []
    for place, names, _ in boards:
        place.board.turn(place.store.waits)
        place.pages.adopt(place.board.open())
        page = place.client.get(paths[0]).text
        after.append(page)
        data = place.client.get("/api/tables/scenes?split=private").json()["models"]
        given = {f"{row['metrics']['mcq.accuracy']['value']:.3f}" for row in data}
        cells = re.findall(r'<td class="num">(\d\.\d{3})</td>', page)
        assert cells and set(cells) <= given, "as the table has them"
        assert names[0] not in page, "a replaced submission stands nowhere"
        place.store.engine.dispose()
    assert after[0] != after[1]


def test_verdicts_are_adjusted_for_the_number_of_metrics_and_say_so(place):
    """Of twenty metrics that are told apart by p = 0.03 each none is, together."""
    change = Interval(0.1, 0.02, 0.18, 40)
    names = [f"mcq.extra{n}" for n in range(20)]
    rows = judged([Difference(name, 0.4, 0.5, change, 0.03, videos=40) for name in names])
    alone = judged([Difference(names[0], 0.4, 0.5, change, 0.03, videos=40)])
    card = {"hash": "0" * 64, "card": CARD}
    pages = [place.pages.compare("scenes", {"model": card}, {"model": card}, each) for each in (rows, alone)]
    assert "adjusted for 20 metrics (Holm)" in pages[0] and "0 better, 0 worse, 20 not told apart" in pages[0]
    assert "One metric is tested" in pages[1] and "1 better, 0 worse" in pages[1]
    assert '<tr class="better">' not in pages[0] and '<tr class="better">' in pages[1]


def test_two_models_are_drawn_beside_no_change(place):
    one, two = place.scored("random"), place.scored("oracle", name="seer")
    page = place.client.get(f"/compare?suite=scenes&m={one}&m={two}").text
    drawn = Drawn(page)
    assert drawn.charts >= 1 and not drawn.styles and 'class="zero"' in page
    tested = int(re.search(r"adjusted for (\d+) metrics", page).group(1))
    assert tested == page.partition("<h2")[2].partition("</section>")[0].count("<tr class=")
    assert "better</text>" in page and page.index("zero") < page.index("<table")


def test_a_model_opens_with_a_summary(filled):
    place, names = filled
    page = place.client.get(f"/models/{names[HOSTILE][0]}").text
    summary = page[page.index('class="summary"') : page.index("</section>")]
    assert "Rank on scenes" in summary and "0.600" in summary and "0.550–0.650" in summary
    assert "3 B" in summary and "mit" in summary and Drawn(summary).charts == 2
    assert "a newer submission stands" in place.client.get(f"/models/{names['small'][0]}").text
    baseline = place.client.get(f"/models/{names['baseline'][0]}").text
    assert "A baseline, not a contender" in baseline
    bare = place.client.get(f"/models/{names['bare'][0]}").text
    assert "has none" in bare and Drawn(bare).charts == 1, "without an interval it has no rank and no plot"
    queued = place.send(place.packed()).json()["hash"]
    assert Drawn(place.client.get(f"/models/{queued}").text).charts == 0


def test_results_by_slice_say_how_few_videos_they_rest_on(tmp_path, scenes, baseline_runs):
    plan = {"name": "scenes", "data": str(scenes), "tasks": ["mcq", "judgement"], "resamples": 50}
    (tmp_path / "suite.yaml").write_text(json.dumps({**plan, "slices": ["class", "light"]}))
    run(Baseline("random"), "baseline:random", suites.read(str(tmp_path / "suite.yaml")), tmp_path / "run")
    place = Place(tmp_path, baseline_runs, suites={"scenes": {"config": str(tmp_path / "suite.yaml")}})
    name = place.send(place.packed(runs={"scenes": tmp_path / "run"})).json()["hash"]
    place.score()
    page = place.client.get(f"/models/{name}").text
    part = page[page.index("<h3>By slice</h3>") :].partition("<h3>")[2].partition("<h3>")[0]
    kept = place.store.results(name)[0]["summary"]["slices"]
    assert set(kept["videos"]) == {"class", "light"} and sum(kept["videos"]["class"].values()) == kept["all"]
    few = [value for of in kept["videos"].values() for value, videos in of.items() if videos < 6]
    assert few and part.count('<tr class="few">') == len(few) and "fewer than 6 videos" in part
    value = kept["metrics"][f"mcq.accuracy[class={next(iter(kept['videos']['class']))}]"]
    assert f"{value['value']:.3f}" in part and f"n {value['n']}" in part
    plain = Place(tmp_path / "plain", baseline_runs) if (tmp_path / "plain").mkdir() is None else None
    assert "By slice" not in plain.client.get(f"/models/{plain.scored('random')}").text
    for each in (place, plain):
        each.store.engine.dispose()


def points(values, kind=""):
    return [Point(f"m{n}", f"{n:064x}", 10.0**n, v, v - 0.1, v + 0.1, "", kind) for n, v in enumerate(values)]


def test_nothing_of_a_plot_leaves_it():
    rng = np.random.default_rng(0)
    for less in (False, True):
        for count in (1, 2, 60):
            found = [
                replace(p, at=float(10 ** rng.uniform(-3, 15)), name="名" * 100)
                for p in points(rng.random(count))
            ]
            dated = [replace(p, at=1.7e9 + n**3) for n, p in enumerate(found)]
            for plot in (plots.sizes(found, less), plots.history(dated, 1.8e9, less)):
                for mark in plot.marks:
                    assert 0 <= mark.x <= 100 and 0 <= mark.top <= mark.y <= mark.bottom <= plot.height
                labels = sorted(mark.label[3] for mark in plot.marks if mark.label)
                assert all(b - a >= plots.APART - 0.2 for a, b in pairwise(labels))
                assert all(len(mark.label[0]) <= 13 for mark in plot.marks if mark.label)
                assert len(plot.along) <= 6 and all(0 <= x <= 100 for x, _ in plot.along)
    assert plots.sizes([], False) is plots.history([], 0.0, False) is plots.dots([], 0, 1) is None


def test_the_best_of_its_size_is_what_no_smaller_one_beats():
    found = points([0.2, 0.5, 0.4, 0.5, 0.6])
    assert plots.leading(found, False) == {f"{n:064x}" for n in (0, 1, 4)}
    assert plots.leading(found, True) == {f"{0:064x}"}
    assert plots.leading([*points([0.9], "dim"), *found[1:]], False) == {f"{n:064x}" for n in (1, 4)}


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.3, 0.42), (0.61, 0.6100001), (-1, 0), (0, 9e9)])
def test_ticks_are_few_and_round(low, high):
    found = plots.ticks(low, high)
    assert len(found) <= 6 and found == sorted(set(found)) and all(low <= v <= high for v in found)
