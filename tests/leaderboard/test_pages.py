"""What the pages show beyond the table: models, their answers, comparisons, private splits, the static
export; uploads in pieces; forms."""

import asyncio
import hashlib
import io
import json
import os
import re
import zipfile
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin

import httpx
import pytest
from board_fixtures import CARD, ON_SQLITE_FIRST, Place
from fastapi.testclient import TestClient

from bench import suite as suites
from bench.models.baseline import Baseline
from bench.run import run
from bench.run_folder import open_run
from bench.tasks import PRIMARIES
from leaderboard.__main__ import main
from leaderboard.board import config as boards
from leaderboard.board import private
from leaderboard.build import build
from leaderboard.client import Client
from leaderboard.intake import archive as archives
from leaderboard.intake import uploads
from leaderboard.scoring import comparing, evidence
from leaderboard.store.tables import DONE
from leaderboard.web import access, site
from leaderboard.web.app import build_app
from tvad.common.errors import InputError
from tvad.data import load


def test_a_model_page_opens_to_its_evidence(place):
    first = place.scored("random")
    name = place.scored("oracle", name="seer", organisation="lab two")
    page = place.client.get(f"/models/{name}").text
    assert (
        "Answers given: Anomaly or not" in page
        and "Multiple choice: accuracy, by class" in page
        and "always" in page
        and "Look at the answers" in page
    )
    again = place.scored("prior", name="seer")
    page = place.client.get(f"/models/{again}").text
    assert (
        f'href="/models/{name}"' in page and "this one" in page and f'href="/models/{first}"' not in page
    ), "the history of one name"
    run_zip = place.client.get(f"/api/submissions/{name}/runs/scenes")
    with zipfile.ZipFile(io.BytesIO(run_zip.content)) as archive:
        archive.extractall(place.folder / "fetched")
    record, lines, metrics = open_run(place.folder / "fetched")
    assert metrics["mcq.accuracy"]["value"] == 1.0 and lines and record["model"] == f"submission:{name}"


def test_answers_are_shown_one_by_one(place):
    name = place.scored("random")
    at = f"/models/{name}/scenes/samples"
    page = place.client.get(at).text
    pictures = re.findall(r'src="(/models/[^"]+\.jpg)"', page)
    assert len(pictures) == 12 and "Response" in page and "Reference" in page
    answer = place.client.get(pictures[0])
    assert answer.headers["content-type"] == "image/jpeg" and answer.content[:2] == b"\xff\xd8"
    scores = [
        [
            float(v)
            for v in re.findall(r"accuracy ([\d.]+)<", place.client.get(f"{at}?task=mcq&order={order}").text)
        ]
        for order in ("worst", "best")
    ]
    assert (
        scores[0] == sorted(scores[0])
        and scores[1] == sorted(scores[1], reverse=True)
        and scores[0][0] < scores[1][0]
    )
    total = int(re.search(r"(\d+) answers", page).group(1))
    parts = [
        int(re.search(r"(\d+) answers", place.client.get(f"{at}?task={task}").text).group(1))
        for task in ("mcq", "judgement", "spatial")
    ]
    assert total == sum(parts) and "0 answers" in place.client.get(f"{at}?kind=nothing").text
    assert 'rel="next"' in page and "Page 2 of" in place.client.get(f"{at}?page=2").text
    for wrong in ("99999.jpg", "-1.jpg", "x.jpg"):
        assert place.client.get(f"/models/{name}/scenes/frames/{wrong}").status_code in (404, 422)
    assert (
        place.client.get(f"/models/{'0' * 64}/scenes/samples").status_code
        == place.client.get(f"/models/{name}/other/samples").status_code
        == 404
    )


@ON_SQLITE_FIRST
def test_two_models_are_compared_question_by_question(place):
    one, two = place.scored("random"), place.scored("oracle", name="seer")
    page = place.client.get(f"/compare?suite=scenes&m={one}&m={two}").text
    assert (
        page.index("mcq.accuracy") < page.index("mcq.parse_failure")
        and '<tr class="better">' in page
        and '<tr class="worse">' not in page
    )
    assert '<tr class="worse">' in place.client.get(f"/compare?suite=scenes&m={two}&m={one}").text
    assert (
        place.client.get(f"/compare?suite=scenes&m={one}").status_code
        == place.client.get(f"/compare?suite=scenes&m={one}&m={one}").status_code
        == 400
    )
    assert place.client.get(f"/compare?suite=scenes&m={one}&m={'0' * 64}").status_code == 404
    assert place.client.get(f"/compare?suite=nothing&m={one}&m={two}").status_code == 404


def test_columns_are_chosen_and_pages_turned(place, monkeypatch):
    monkeypatch.setattr("leaderboard.web.pages.tables.ROWS", 2)
    for n in range(5):
        place.send(place.packed(name=f"m{n}"))
        place.finish(0.3 + n / 10)
    page = place.client.get("/suites/scenes?col=judgement.accuracy&sort=judgement.accuracy").text
    assert "m4</a>" in page and "m3</a>" in page and "m2</a>" not in page and 'aria-sort="descending"' in page
    assert re.findall(r'<th scope="col"[^>]*><a [^>]*title="([^"]+)"', page) == ["judgement.accuracy"]
    following = re.search(r'rel="next" href="([^"]+)"', page).group(1).replace("&amp;", "&")
    page = place.client.get(following).text
    assert (
        "m2</a>" in page
        and "Page 2 of 3" in page
        and re.findall(r'<th scope="col"[^>]*><a [^>]*title="([^"]+)"', page) == ["judgement.accuracy"]
    )
    assert "Page 3 of 3" in place.client.get("/suites/scenes?page=99").text


def test_the_table_as_data_comes_in_parts(place):
    for n in range(3):
        place.send(place.packed(name=f"m{n}"))
        place.finish(0.2 + n / 5)
    found = place.client.get("/api/tables/scenes?limit=2").json()
    assert (
        [m["card"]["name"] for m in found["models"]] == ["m2", "m1"]
        and found["total"] == 3
        and found["version"] == place.version
    )
    assert [
        m["card"]["name"] for m in place.client.get("/api/tables/scenes?limit=2&offset=2").json()["models"]
    ] == ["m0"]
    assert (
        place.client.get("/api/tables/scenes?limit=5000").status_code == 422
        and place.client.get("/api/tables/nothing").status_code == 404
    )


@pytest.fixture
def two_splits(tmp_path, baseline_runs, database):
    suite = str(baseline_runs / "suite.yaml")
    render = {"setting": "core", "clips": 12, "normal": 0.5, "max_crowd": 1}
    found = Place(
        tmp_path,
        baseline_runs,
        database,
        suites={
            "scenes": {"config": suite},
            "hidden": {"config": suite, "split": "private", "table": "scenes", "render": render},
        },
    )
    yield found
    found.store.engine.dispose()


def test_a_private_split_gives_out_no_label(two_splits, tmp_path, monkeypatch):
    place = two_splits
    answer = place.client.get("/suites/hidden/inputs.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "given")
    assert len(names) == 15 and not any("mask" in name for name in names)
    given, true = load(tmp_path / "given/hidden"), load(place.board.private("hidden") / "data")
    assert {s.label for s in true} == {"normal", "anomalous"} and {
        q.answer for s in true for q in s.questions if q.kind == "mcq"
    } > {"A"}
    assert all(s.label is s.tracks is s.spans is s.category is s.dialogue is s.mask is None for s in given)
    assert {(q.kind, q.answer) for s in given for q in s.questions} == set(private.BLANK.items())
    kinds = {
        s.label: {
            tuple((q.kind, q.topic) for q in t.questions)
            for t, g in zip(given, true, strict=True)
            if g.label == s.label
        }
        for s in true
    }
    assert kinds["normal"] == kinds["anomalous"], "nor does what is asked tell one"
    assert place.client.get("/suites/scenes/inputs.zip").status_code == 404

    monkeypatch.chdir(tmp_path / "given")
    plan = suites.read("hidden/suite.yaml")
    metrics = run(Baseline("random"), "baseline:random", plan, tmp_path / "private-run")
    assert set(metrics) == {"mcq.well_formed", "judgement.well_formed"}, (
        "nothing is scored against placeholders"
    )
    name = place.send(
        place.packed(runs={"scenes": place.runs / "oracle", "hidden": tmp_path / "private-run"})
    ).json()["hash"]
    place.score()
    assert place.store.status(name)["state"] == DONE
    page = place.client.get("/suites/scenes?split=private").text
    assert "guess</a>" in page and "private labels" in page and "inputs.zip" in page and "Compare" not in page
    assert "shown when this phase ends" in page and "flagged" not in page
    waiting = place.client.get(f"/models/{name}").text
    assert "too good" not in waiting and "shown when the phase ends on" in waiting
    place.board.book("hidden").close()
    assert place.board.turn(place.store.waits) == ["hidden"]
    place.pages.adopt(place.board.open())
    flags = place.client.get(f"/models/{name}").text
    assert "too good on public on scenes" in flags and "flagged" in place.client.get("/suites/scenes").text, (
        "the oracle's public run beside a random one"
    )
    result = next(r for r in place.store.results(name) if r["split"] == "private")
    assert not result["summary"] and not result["folder"] and set(result["metrics"]) <= set(PRIMARIES)
    assert "hidden" not in place.client.get(f"/models/{name}/scenes/samples").text
    assert (
        place.client.get(f"/models/{name}/hidden/samples").status_code
        == place.client.get(f"/api/submissions/{name}/runs/hidden").status_code
        == 404
    )


def test_a_private_split_is_rendered_once_from_the_boards_secret(two_splits, tmp_path):
    place = two_splits
    before = (place.board.private("hidden") / "inputs.zip").read_bytes()
    assert (
        place.board.open().keys() == {"scenes", "hidden"}
        and (place.board.private("hidden") / "inputs.zip").read_bytes() == before
    )
    other = boards.read(str(place.config), ["--folder", str(tmp_path / "other")])
    other.open()
    assert load(other.private("hidden") / "data") != load(place.board.private("hidden") / "data"), (
        "another secret, other clips"
    )
    assert place.board.private("hidden").stat().st_mode & 0o077 == 0


HIDDEN = {"config": "x", "split": "private"}


@pytest.mark.parametrize(
    ("suites_of", "words"),
    [
        ({"a": {"config": "x", "split": "secret"}}, "split is 'secret'"),
        ({"a": {"config": "x", "render": {}}}, "render makes a private split"),
        (
            {"a": {"config": "x"}, "b": {"config": "x", "table": "a"}},
            "a and b are both the public split of table a",
        ),
        ({}, "suites is empty"),
        ({"a": {"config": "x", "phases": {"days": 1}}}, r"suites: a: phases are of a private split"),
        (
            {"a": HIDDEN | {"render": {}, "phases": {"following": ["y"]}}},
            "a: phases: following means nothing",
        ),
        ({"a": {"config": "x", "published": ["No such"]}}, "a: published: no part is called 'No such'"),
        (
            {"a": {"config": "x"}, "b": HIDDEN | {"table": "aa"}},
            "b: table is 'aa', but no suite is called so",
        ),
    ],
)
def test_a_wrong_board_is_one_line(tmp_path, suites_of, words):
    (tmp_path / "board.yaml").write_text(json.dumps({"folder": "x", "suites": suites_of}))
    with pytest.raises(InputError, match=f"board.yaml: .*{words}"):
        boards.read(str(tmp_path / "board.yaml"))


def test_both_halves_of_a_suite_may_name_one_table(tmp_path):
    halves = {"a": {"config": "x", "table": "one"}, "b": HIDDEN | {"table": "one"}}
    (tmp_path / "board.yaml").write_text(json.dumps({"folder": "x", "suites": halves}))
    assert boards.read(str(tmp_path / "board.yaml")).tables == ["one"]


class Page(HTMLParser):
    """Links of a page, and the kinds of its elements."""

    def __init__(self, text: str):
        super().__init__()
        self.links, self.tags = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for key, value in attrs if key in ("href", "src") and value]


def test_the_site_is_exported_and_its_links_hold(two_splits, tmp_path):
    place = two_splits
    for n in range(3):
        place.send(place.packed(name=f"m{n}"))
        place.finish(0.3 + n / 5)
    out = tmp_path / "site"
    out.mkdir()
    (out / "stale.html").touch()
    written = build(place.board, place.store, out)
    files = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert written == sum(name.endswith(".html") for name in files) and "stale.html" not in files
    assert {
        "index.html",
        "suites/scenes/public.html",
        "suites/scenes/private.html",
        "suites/scenes/public-judgement.accuracy.html",
    } <= files
    for name in files:
        if not name.endswith(".html"):
            continue
        page = Page((out / name).read_text())
        assert not page.tags & {"script", "form", "input"}
        for link in page.links:
            if not link.startswith(("http", "#")):
                assert unquote(urljoin(name, link)) in files, f"{name} -> {link}"
    assert str(place.folder) not in "".join(p.read_text() for p in out.rglob("*.html"))


def test_uploads_go_on_where_they_stopped(place):
    data = place.packed()
    name = hashlib.sha256(data).hexdigest()
    at, headers = f"/api/uploads/{name}", place.bearer()
    assert (
        place.client.get(at, headers=headers).json() == {"received": 0}
        and place.client.get(at).status_code == 401
    )
    assert place.client.put(f"{at}?offset=0", content=data[:100], headers=headers).json() == {"received": 100}
    conflict = place.client.put(f"{at}?offset=50", content=data[50:], headers=headers)
    assert conflict.status_code == 409 and conflict.json()["detail"]["received"] == 100
    assert place.client.post(at, headers=headers).status_code == 422, (
        "not all has arrived: it is refused, and gone"
    )
    assert place.client.get(at, headers=headers).json() == {"received": 0}
    place.client.put(f"{at}?offset=0", content=data[:100], headers=headers)
    assert place.client.get(at, headers=place.bearer(place.other)).json() == {"received": 0}, (
        "nobody continues another's upload"
    )
    assert place.client.put(f"{at}?offset=100", content=data[100:], headers=headers).json() == {
        "received": len(data)
    }
    done = place.client.post(at, headers=headers)
    assert done.status_code == 202 and done.json()["state"] == "queued"
    assert place.client.post(at, headers=headers).status_code == 422 and not list(
        (place.folder / "board/incoming/parts").glob("*/*")
    )


@pytest.mark.parametrize("name", ["x", "../" * 3 + "etc", "A" * 64, "0" * 63])
def test_uploads_have_the_name_of_a_hash(place, name):
    answer = place.client.put(f"/api/uploads/{name}?offset=0", content=b"x", headers=place.bearer())
    assert answer.status_code in (404, 422) and not list((place.folder / "board/incoming/parts").iterdir())


def test_uploads_in_pieces_are_bounded(place, monkeypatch):
    monkeypatch.setattr(archives, "LIMITS", archives.Limits(archive=1000))
    headers = place.bearer()
    assert (
        place.client.put(f"/api/uploads/{'0' * 64}?offset=0", content=b"x" * 999, headers=headers).status_code
        == 200
    )
    assert (
        place.client.put(f"/api/uploads/{'0' * 64}?offset=999", content=b"x" * 9, headers=headers).status_code
        == 413
    )
    monkeypatch.setitem(uploads.OPEN, "account", (3, 10**6))
    for n in range(1, 3):
        assert (
            place.client.put(f"/api/uploads/{n:064x}?offset=0", content=b"x", headers=headers).status_code
            == 200
        )
    refused = place.client.put(f"/api/uploads/{'f' * 64}?offset=0", content=b"x", headers=headers)
    assert refused.status_code == 429 and "unfinished" in refused.json()["detail"]
    monkeypatch.setitem(uploads.OPEN, "account", (4, 1000))
    assert (
        place.client.put(f"/api/uploads/{'f' * 64}?offset=0", content=b"x", headers=headers).status_code
        == 429
    )
    monkeypatch.setitem(uploads.OPEN, "account", (3, 10**6))
    old = next((place.folder / "board/incoming/parts").glob("*/*"))
    os.utime(old, (0, 0))
    assert (
        place.client.put(f"/api/uploads/{'f' * 64}?offset=0", content=b"x", headers=headers).status_code
        == 200
        and not old.exists()
    )


def test_the_client_survives_lost_answers(place, tmp_path):
    """Every second answer is lost after the server has acted on it."""
    (tmp_path / "s.zip").write_bytes(place.packed())
    client = Client("http://board", place.token, pause=0.0)
    calls = 0

    def lossy(request):
        nonlocal calls
        calls += 1
        path = request.url.raw_path.decode()
        answer = place.client.request(
            request.method,
            path,
            content=request.read(),
            headers={"Authorization": request.headers["Authorization"]},
        )
        if calls % 2 == 0:
            raise httpx.ReadError("lost", request=request)
        return httpx.Response(answer.status_code, content=answer.content)

    client.http = httpx.Client(
        transport=httpx.MockTransport(lossy), base_url="http://board", headers=place.bearer()
    )
    found = client.send(tmp_path / "s.zip")
    assert found["state"] == "queued" and calls > 3
    assert len(place.client.get("/api/tables/scenes").json()["models"]) == 0 and place.store.status(
        found["hash"]
    )


def test_forms_make_accounts_and_send(place):
    made = place.client.post("/accounts", data={"name": "new group"})
    token = re.search(r'<code id="token">(lb_[^<]+)</code>', made.text).group(1)
    assert (
        made.status_code == 201
        and made.headers["cache-control"] == "no-store"
        and place.store.account_of(token) == "new group"
    )
    for name, words in (
        ("new group", "exists already"),
        ("", "a name takes"),
        ("<b>", "a name takes"),
        ("x" * 101, "a name takes"),
        ("a\nb", "a name takes"),
    ):
        answer = place.client.post("/accounts", data={"name": name})
        assert answer.status_code == 422 and words in answer.text and "<b>" not in answer.text
    place.client.post("/accounts", data={"name": "third"})
    assert place.client.post("/accounts", data={"name": "fourth"}).status_code == 429, (
        "one address makes few accounts a day"
    )
    sent = place.client.post(
        "/submit", data={"token": token}, files={"file": ("s.zip", place.packed())}, follow_redirects=False
    )
    assert (
        sent.status_code == 303
        and place.store.status(sent.headers["location"].rpartition("/")[2])["account"] == "new group"
    )
    waiting = place.client.get(sent.headers["location"]).text
    assert 'http-equiv="refresh"' in waiting and "queued" in waiting
    place.finish()
    assert 'http-equiv="refresh"' not in place.client.get(sent.headers["location"]).text
    for data, files, status in (
        ({"token": "lb_wrong"}, {"file": ("s.zip", b"x")}, 401),
        ({"token": token}, {"file": ("s.zip", b"x")}, 422),
        ({"token": token}, {"other": ("s.zip", b"x")}, 422),
        ({}, {"file": ("s.zip", b"x")}, 422),
    ):
        answer = place.client.post("/submit", data=data, files=files)
        assert answer.status_code == status and 'role="alert"' in answer.text
    assert place.client.post("/submit", data={"token": token}).status_code == 415


def test_other_sites_cannot_send_the_forms(place):
    for headers in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert place.client.post("/accounts", data={"name": "x"}, headers=headers).status_code == 403
        assert (
            place.client.post(
                "/submit", data={"token": place.token}, files={"file": ("s.zip", b"x")}, headers=headers
            ).status_code
            == 403
        )
    assert (
        place.client.post(
            "/accounts", data={"name": "x"}, headers={"Origin": "http://testserver"}
        ).status_code
        == 201
    )


def test_a_proxy_that_gives_the_server_its_own_host_shuts_no_form(place):
    """As nginx's `proxy_pass` does by itself."""
    place.board.address = "https://board.example"
    behind = {"Origin": "https://board.example", "Host": "127.0.0.1:8200"}
    for n, headers in enumerate((behind, behind | {"Sec-Fetch-Site": "same-origin"})):
        made = place.client.post("/accounts", data={"name": f"of {n}"}, headers=headers)
        assert made.status_code == 201, made.text
    place.board.address = ""
    for headers in (behind, behind | {"Sec-Fetch-Site": "cross-site"}):
        assert place.client.post("/accounts", data={"name": "y"}, headers=headers).status_code == 403


def test_a_board_may_keep_accounts_to_its_administrator(place, tmp_path):
    place.board.open_accounts = 0
    client = TestClient(build_app(place.board, place.store, place.pages))
    assert client.post("/accounts", data={"name": "x"}).status_code == 404
    assert "The administrator makes accounts" in client.get("/submit").text


def test_too_many_requests_are_put_off(place):
    place.board.per_minute = 3
    client = TestClient(build_app(place.board, place.store, place.pages))
    codes = [client.get(f"/api/uploads/{'0' * 64}", headers=place.bearer()).status_code for _ in range(5)]
    assert codes == [200] * 3 + [429] * 2
    codes = [
        client.get(f"/api/uploads/{'0' * 64}", headers=place.bearer("lb_guess")).status_code for _ in range(5)
    ]
    assert codes == [401] * 3 + [429] * 2, "tokens cannot be guessed at speed"
    assert client.get(f"/api/uploads/{'0' * 64}", headers=place.bearer(place.other)).status_code == 429
    assert client.get("/suites/scenes").status_code == 200


def test_labels_take_no_part_in_what_is_refused(place, monkeypatch):
    """Neither words nor time of a refusal can depend on labels: no label is opened until a submission is
    scored."""

    def opened(*_):
        raise AssertionError("a label was opened")

    monkeypatch.setattr(suites, "load", opened)
    monkeypatch.setattr("bench.score.load", opened)
    monkeypatch.setattr(type(place.pages), "opened", property(opened), raising=False)
    data = place.packed()
    broken = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(broken, "w") as out:
        for entry in source.infolist():
            out.writestr(entry, source.read(entry) + (b"{" if entry.filename.endswith("jsonl") else b""))
    assert place.send(data).status_code == 202 and place.send(broken.getvalue()).status_code == 422


def test_a_run_is_gated_against_a_row(place, tmp_path, capsys, monkeypatch):
    place.scored("oracle", name="seer")
    place.scored("random", name="guesser")
    (tmp_path / "gate.yaml").write_text("metrics: {mcq.accuracy: 0.05}")

    def through(request):
        answer = place.client.request(request.method, request.url.raw_path.decode())
        return httpx.Response(answer.status_code, content=answer.content)

    made = httpx.Client
    monkeypatch.setattr(
        httpx, "Client", lambda **given: made(**given, transport=httpx.MockTransport(through))
    )
    where = ["--suite", "scenes", "--url", "http://board", "--gate", str(tmp_path / "gate.yaml")]
    assert (
        main(["gate", str(place.runs / "oracle"), "--against", "guesser", *where]) == 0
        and "passed" in capsys.readouterr().out
    )
    assert (
        main(
            [
                "gate",
                str(place.runs / "random"),
                "--against",
                "seer",
                *where,
                "--junit",
                str(tmp_path / "j.xml"),
            ]
        )
        == 1
    )
    assert "regressed" in capsys.readouterr().out and "failure" in (tmp_path / "j.xml").read_text()
    assert main(["gate", "board:guesser", "--against", "seer", *where]) == 1, "two rows"
    with pytest.raises(InputError, match="no scored submission is called 'nobody'"):
        main(["gate", "board:guesser", "--against", "nobody", *where])
    with pytest.raises(InputError, match="no scored run on 'other'"):
        main(["gate", "board:guesser", "--against", "seer", "--suite", "other", "--url", "http://board"])


def test_administrators_see_and_withdraw(place, capsys):
    name = place.scored("random")
    config = ["--config", str(place.config)]
    assert (
        main(["admin", "accounts", *config])
        == main(["admin", "audit", *config])
        == main(["admin", "migrate", *config])
        == 0
    )
    shown = capsys.readouterr().out
    assert (
        "lab" in shown
        and "1 submissions" in shown
        and name in shown
        and "up to date" in shown
        and place.token not in shown
    )
    assert (
        main(["admin", "withdraw", name, *config]) == 0 and place.store.status(name)["state"] == "withdrawn"
    )
    assert (
        "withdrawn" in place.client.get(f"/models/{name}").text
        and place.client.get(f"/models/{name}/scenes/samples").status_code == 404
    )
    assert place.client.get(f"/api/submissions/{name}/runs/scenes").status_code == 404
    with pytest.raises(InputError, match="name the submission's hash"):
        main(["admin", "withdraw", *config])


def test_what_a_command_would_pass_over_is_refused(place):
    config = ["--config", str(place.config)]
    for words, said in (
        (["account", "lab", "--renew", "--disable"], "one of --renew"),
        (["account", "lab", "--renew", "--daily", "3"], "one of --renew"),
        (["account", "lab", "--daily", "-2"], "--daily is -2"),
        (["admin", "queue", "0" * 64], "admin queue: takes no hash"),
        (["admin", "migrate", "whatever"], "admin migrate: takes no hash"),
        (["admin", "migrate", "--most", "3"], "--most goes with audit and queue"),
        (["admin", "audit", "--most", "0"], "--most goes with audit and queue"),
    ):
        with pytest.raises(InputError, match=said):
            main([*words, *config])
    assert place.client.get("/api/account", headers=place.bearer()).status_code == 200, "nothing was done"


def test_the_boards_number_of_today_holds_where_an_account_has_none_of_its_own(place, capsys):
    config = ["--config", str(place.config)]
    main(["account", "new", *config])
    token = capsys.readouterr().out.strip()
    plan = json.loads(place.config.read_text()) | {"daily": 1}
    place.config.write_text(json.dumps(plan))
    place.board.daily = 1
    assert place.send(place.packed(name="m1"), token).status_code == 202
    assert place.send(place.packed(name="m2"), token).status_code == 429
    main(["account", "new", "--daily", "2", *config])
    assert place.send(place.packed(name="m2"), token).status_code == 202
    main(["admin", "accounts", *config])
    assert "2 a day" in capsys.readouterr().out
    main(["account", "new", "--daily", "-1", *config])
    assert place.send(place.packed(name="m3"), token).status_code == 429
    assert "new may send 1 submissions a day" in capsys.readouterr().out


def test_scored_runs_are_named_by_their_content(tmp_path):
    names = []
    for n, text in enumerate(("a", "a", "b")):
        folder = tmp_path / str(n)
        folder.mkdir()
        (folder / "metrics.json").write_text(text)
        names.append(evidence.keep(folder, tmp_path / "scored"))
        assert not folder.exists()
    assert names[0] == names[1] != names[2] and sorted(
        p.name for p in (tmp_path / "scored").iterdir()
    ) == sorted(set(names))


def test_a_card_says_whether_it_is_a_baseline(place):
    place.scored("random", baseline=True)
    assert '<span class="tag">baseline</span>' in place.client.get("/suites/scenes").text
    assert (
        "guess</a>" not in place.client.get("/suites/scenes?no_baselines=1").text and CARD["name"] == "guess"
    )


def test_forms_are_counted_and_long_work_takes_turns(place, monkeypatch):
    monkeypatch.setattr(access, "FORMS", 2)
    monkeypatch.setattr(site, "PATIENCE", 0.01)
    client = TestClient(build_app(place.board, place.store, place.pages))
    assert [client.post("/accounts", data={"name": "<"}).status_code for _ in range(3)] == [422, 422, 429]
    names = [place.scored(which, name=which) for which in ("random", "oracle")]
    at = f"/compare?suite=scenes&m={names[0]}&m={names[1]}"

    async def crowd():
        begun, leave = asyncio.Semaphore(0), asyncio.Event()

        async def slow(*_):
            begun.release()
            await leave.wait()
            return []

        monkeypatch.setattr(comparing, "differences", slow)
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://board") as visitor:
            first = [asyncio.create_task(visitor.get(at)) for _ in range(2)]
            for _ in first:
                await begun.acquire()
            # Many more than there are threads: none of them is held.
            more = await asyncio.gather(*[visitor.get(at) for _ in range(60)])
            assert {answer.status_code for answer in more} <= {429, 503}
            assert (await visitor.get("/suites/scenes")).status_code == 200
            leave.set()
            return [(await task).status_code for task in first]

    assert asyncio.run(crowd()) == [200, 200]
