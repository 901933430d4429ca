"""Tables as files, badges, results in the Hub's forms: what strangers wrote stays text, what is held stays
hidden, nothing comes from another host."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET

import pyarrow.parquet
import pytest
import yaml
from board_fixtures import CARD, Place
from huggingface_hub import parse_eval_result_entries
from test_disclosure import hidden

from leaderboard.board import config as boards
from leaderboard.build import build
from leaderboard.card import Card
from leaderboard.store.results import Scored
from tvad.common.errors import InputError

FORMULAS = ["=cmd|'/C calc'!A0", "+1+1", "-1+1", "@SUM(1)", "  =1+1", "＝1+1"]
PLAIN = ["guess", "<svg onload=alert(1)>&\"'", "x=1"]
LEADING = "mcq.accuracy"
RERUN = {"answers": {"same": 3, "of": 3}, "metrics": {}}


@pytest.fixture
def place(tmp_path, baseline_runs):
    scenes = {"config": str(baseline_runs / "suite.yaml"), "hub": "a-lab/scenes"}
    private = {"config": hidden(tmp_path, 1), "split": "private", "table": "scenes"}
    private["hub"] = "a-lab/scenes-private"
    found = Place(
        tmp_path,
        baseline_runs,
        suites={"scenes": scenes, "scenes-private": private},
        daily=50,
        address="https://board.example",
        title="Board <&>",
    )
    found.store.create_account("many", 100)
    yield found
    found.store.engine.dispose()


def add(place, name: str, value: float | None, private: float | None = None, **card) -> str:
    """A submission with made-up figures."""

    name_hash = f"{abs(hash((name, value))):064x}"[-64:]
    place.store.submit("many", name_hash, Card(**(CARD | {"name": name} | card)), ["scenes"])
    job = place.store.claim(60)
    bounds = (
        {"low": value - 0.1234, "high": value + 0.1234} if value is not None else {"low": None, "high": None}
    )
    results = [Scored("scenes", "public", place.version, {LEADING: {"value": value, "n": 3} | bounds}, {})]
    if private is not None:
        figures = {LEADING: {"value": private, "low": private - 0.1, "high": private + 0.1, "n": 77}}
        version = place.pages.versions["scenes", "private"]
        results.append(Scored("scenes", "private", version, figures, {}))
    assert place.store.finish(job, results)
    return job.hash


def table(place, kind, split=""):
    answer = place.client.get(f"/suites/scenes/table.{kind}" + (f"?split={split}" if split else ""))
    assert answer.status_code == 200, answer.text
    return answer


def test_no_text_of_a_csv_is_a_formula_and_numbers_are_numbers(place):
    for n, name in enumerate(FORMULAS + PLAIN):
        add(place, name, n / 20 - 0.2, organisation=name, licence=name)
    answer = table(place, "csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == len(FORMULAS + PLAIN)
    assert {row["name"] for row in rows} == {f"'{name}" for name in FORMULAS} | set(PLAIN)
    for row in rows:
        for key, cell in row.items():
            number = re.fullmatch(r"-?[0-9.e-]+", cell)
            assert number or not cell.strip()[:1] or cell.strip()[0] not in "=+-@＝＋－＠\t\r", (key, cell)
    lowest = min(rows, key=lambda row: float(row[LEADING]))
    assert float(lowest[LEADING]) == -0.2 and lowest["name"] == f"'{FORMULAS[0]}"
    assert float(lowest[f"{LEADING}.low"]) == pytest.approx(-0.3234) and lowest[f"{LEADING}.n"] == "3"


def test_the_three_files_and_the_api_say_the_same(place):
    names = [
        add(place, f"model {n}", n / 5 if n else None, parameters=None if n else 2.5e6) for n in range(3)
    ]
    place.store.note_rerun(names[2], "scenes", place.version, "hub:a/b", True, RERUN)
    api = place.client.get("/api/tables/scenes").json()["models"]
    assert table(place, "json").json()["models"] == api
    found = pyarrow.parquet.read_table(io.BytesIO(table(place, "parquet").content)).to_pylist()
    read = list(csv.DictReader(io.StringIO(table(place, "csv").text)))
    for row, one, other in zip(api, found, read, strict=True):
        value = row["metrics"].get(LEADING, {}).get("value")
        assert one["hash"] == other["hash"] == row["hash"] and one[LEADING] == value
        assert other[LEADING] == ("" if value is None else str(value))
        assert one["rank"] == row["rank"] and one["parameters"] == row["card"]["parameters"]
        for key in ("unranked", "rerun"):
            assert one[key] == row[key] and other[key] == (row[key] or "")
    assert [row["rerun"] for row in api] == [None if n else "verified" for n in range(3)]
    assert all(row["unranked"] for row in api), "on a board with a private split that they do not answer"
    add(place, "one more", 0.9)
    assert "one more" in table(place, "csv").text, "a kept file is of now"


@pytest.mark.parametrize(
    "path", ["/api/tables/scenes", "/suites/scenes", "/suites/scenes/table.csv", "badge"]
)
def test_one_that_is_withdrawn_while_a_page_is_made_is_passed_over(place, monkeypatch, path):
    stays, gone = add(place, "stays", 0.5), add(place, "gone", 0.7)
    rows = place.store.rows

    def late(numbers, metrics):
        if place.store.status(gone)["state"] == "done":
            place.store.withdraw(None, gone)
        return rows(numbers, metrics)

    monkeypatch.setattr(place.store, "rows", late)
    answer = place.client.get(path if path != "badge" else f"/models/{gone}/scenes/badge.svg")
    assert place.store.status(gone)["state"] == "withdrawn" and "gone" not in answer.text
    assert answer.status_code == 404 if path == "badge" else stays in answer.text


def test_an_empty_table_is_a_file_too(place):
    assert table(place, "csv").text.count("\n") == 1
    found = pyarrow.parquet.read_table(io.BytesIO(table(place, "parquet").content))
    assert found.num_rows == 0 and "name" in found.column_names


def test_what_is_held_of_private_labels_stands_in_no_file_and_later_rounded(place, tmp_path):
    name_hash = add(place, "seen", 0.5, private=0.734567)
    version = place.pages.versions["scenes", "private"]
    for kind in ("csv", "json", "parquet"):
        assert b"0.7345" not in table(place, kind, "private").content
    place.store.release("scenes", [version])
    (row,) = csv.DictReader(io.StringIO(table(place, "csv", "private").text))
    assert float(row[LEADING]) in (0.7, 0.75) and row[f"{LEADING}.n"] == ""
    assert "0.7345" not in table(place, "json", "private").text
    build(place.board, place.store, tmp_path / "site")
    for file in (tmp_path / "site").rglob("*"):
        assert not file.is_file() or b"0.7345" not in file.read_bytes(), file
    text = (tmp_path / f"site/hub/scenes-private/eval_results/{name_hash}.yaml").read_text()
    (entry,) = parse_eval_result_entries(yaml.safe_load(text))
    assert entry.value in (0.7, 0.75) and entry.dataset_id == "a-lab/scenes-private"


@pytest.mark.parametrize(
    "path",
    [
        "/suites/nothing/table.csv",
        "/suites/scenes/table.csv?split=secret",
        "/suites/scenes/table.xlsx",
        "/suites/scenes/table.csv/../x",
        f"/models/{'0' * 64}/scenes/badge.svg",
        "/models/x/scenes/badge.svg",
        f"/models/{'0' * 64}/nothing/badge.svg",
    ],
)
def test_what_is_not_there_is_not_found(place, path):
    assert place.client.get(path).status_code in (404, 422)


def test_a_badge_is_plain_drawing_without_another_host_or_script(place):
    first, second = add(place, "best", 0.9), add(place, "</text><script>alert(1)</script>", 0.1)
    old = add(place, "best", 0.95)
    answer = place.client.get(f"/models/{second}/scenes/badge.svg")
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    root = ET.fromstring(answer.content)
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names == {"svg", "title", "rect", "g", "text"} and "Board <&>: scenes" in root[0].text
    assert re.findall(rb"https?://[^\"]*", answer.content) == [b"http://www.w3.org/2000/svg"]
    assert "0.100" in root[0].text
    assert "not in the current table" in place.client.get(f"/models/{first}/scenes/badge.svg").text
    assert "0.950" in place.client.get(f"/models/{old}/scenes/badge.svg").text
    place.store.withdraw(None, second)
    assert place.client.get(f"/models/{second}/scenes/badge.svg").status_code == 404


def test_the_export_holds_files_badges_and_the_hubs_forms(place, tmp_path):
    hostile = "- {a: [}\n: '\" #"
    name_hash = add(place, "x: !!python/object [" + hostile.replace("\n", " "), 0.25, private=0.25)
    # By private labels it has no rank: no figure of it goes where nobody says so.
    cheat = add(place, "public only", 1.0)
    place.store.note_rerun(name_hash, "scenes", place.version, "hub:a/b", False, RERUN)
    build(place.board, place.store, tmp_path / "site")
    site = tmp_path / "site"
    assert (site / "suites/scenes/public.csv").read_bytes() == table(place, "csv").content
    page = (site / "suites/scenes/public.html").read_text()
    for kind in ("csv", "parquet", "json"):
        assert f'href="../../suites/scenes/public.{kind}"' in page
        assert (site / f"suites/scenes/public.{kind}").stat().st_size
    badge = place.client.get(f"/models/{name_hash}/scenes/badge.svg").text
    assert (site / f"models/{name_hash}-scenes.svg").read_text() == badge and "rank 1 of 1" in badge
    assert "1.000, no rank" in (site / f"models/{cheat}-scenes.svg").read_text()
    assert [file.stem for file in (site / "hub/scenes/eval_results").iterdir()] == [name_hash]
    assert f"models/{name_hash}-scenes.svg" in (site / f"models/{name_hash}.html").read_text()
    about = yaml.safe_load((site / "hub/scenes/eval.yaml").read_text())
    assert list(about) == ["name", "description", "evaluation_framework", "tasks"]
    assert about["tasks"] == [{"id": LEADING, "config": "default", "split": "test"}]
    data = yaml.safe_load((site / f"hub/scenes/eval_results/{name_hash}.yaml").read_text())
    (entry,) = parse_eval_result_entries(data)
    assert (entry.dataset_id, entry.task_id, entry.value) == ("a-lab/scenes", LEADING, 0.25)
    assert entry.source_url == f"https://board.example/models/{name_hash}" and place.version in entry.notes
    assert entry.date.endswith("Z") and entry.notes.endswith("run again: differs")


def test_every_link_of_the_export_leads_somewhere(place, tmp_path):
    for n, state in enumerate(("failed", "queued", "done")):
        hashed = f"{n + 1:064x}"
        place.store.submit("many", hashed, Card(**(CARD | {"name": "again and again"})), ["scenes"])
        if state == "queued":
            continue
        while (job := place.store.claim(60)) is not None and job.hash != hashed:
            pass
        if state == "failed":
            place.store.fail(job, "no line")
        else:
            figures = {LEADING: {"value": 0.5, "n": 3, "low": 0.4, "high": 0.6}}
            place.store.finish(job, [Scored("scenes", "public", place.version, figures, {})])
    build(place.board, place.store, tmp_path / "site")
    assert (tmp_path / "site/models" / f"{3:064x}.html").is_file()
    for page in (tmp_path / "site").rglob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"#?:]+)["#?]', page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_times_say_their_zone_everywhere(place):
    name_hash = add(place, "one", 0.5)
    place.store.note_rerun(name_hash, "scenes", place.version, "hub:a/b", True, RERUN)
    owner = place.bearer(place.store.renew_token("many", "admin"))
    told = [
        place.client.get(path, headers=owner).json()
        for path in (
            f"/api/submissions/{name_hash}",
            "/api/account",
            "/api/models?name=one",
            "/api/tables/scenes",
            "/suites/scenes/table.json",
        )
    ]
    for answer in told:
        times = re.findall(r"\d{4}-\d\d-\d\dT[^\"]*", json.dumps(answer, allow_nan=False))
        assert times and all(re.fullmatch(r"[-0-9]+T[0-9:]+Z", time) for time in times), answer


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"address": "javascript:alert(1)"}, "address"),
        ({"address": "https://board.example/x"}, "address"),
        ({"suites": {"s": {"config": "x", "hub": "../x"}}}, "hub"),
    ],
)
def test_an_address_or_a_data_set_that_is_none_is_refused(tmp_path, settings, words):
    plan = {"folder": str(tmp_path), "suites": {"s": {"config": "x"}}} | settings
    (tmp_path / "b.yaml").write_text(json.dumps(plan))
    with pytest.raises(InputError, match=words):
        boards.read(str(tmp_path / "b.yaml"))
