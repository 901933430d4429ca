"""The server: what it takes, what it shows, what it refuses."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from board_fixtures import CARD, rows_of
from conftest import ROOT, free_port, until_up

from leaderboard.board.published import PUBLISHED
from leaderboard.card import Card
from leaderboard.client import Client
from leaderboard.intake import archive, submission, uploads
from leaderboard.intake.archive import Limits
from leaderboard.store import ranking
from leaderboard.store.results import Scored
from leaderboard.store.standings import Standings
from leaderboard.web.app import build_app
from tvad.common.errors import InputError


def test_a_submission_is_taken_scored_and_shown(place):
    answer = place.send(place.packed("oracle", name="seer", open_weights=True))
    assert answer.status_code == 202 and answer.json()["state"] == "queued"
    name = answer.json()["hash"]
    assert place.send(place.packed("oracle", name="seer", open_weights=True)).json()["hash"] == name, (
        "the same content, the same submission"
    )
    place.send(place.packed("random"))
    place.score()
    assert place.client.get(f"/api/submissions/{name}").json()["state"] == "done"
    page = place.client.get("/suites/scenes").text
    assert page.index("seer") < page.index("guess") and "blind baseline" in page and "2.5 M" in page
    assert (
        "seer" in place.client.get("/suites/scenes?open=1").text
        and "guess</a>" not in place.client.get("/suites/scenes?open=1").text
    )
    assert "0 of 2 models" in place.client.get("/suites/scenes?q=nobody").text
    model = place.client.get(f"/models/{name}").text
    assert "mcq.accuracy" in model and "1.000" in model and name in model
    assert [row["card"]["name"] for row in place.client.get("/api/tables/scenes").json()["models"]] == [
        "seer",
        "guess",
    ]
    assert place.client.get("/").url.path == "/suites/scenes" and "OpenAPI" in place.client.get("/api").text
    assert "/api/submissions" in place.client.get("/api/openapi.json").json()["paths"]
    assert [p.name for p in (place.folder / "board/incoming").iterdir()] == ["parts"], (
        "nothing half-taken stays"
    )


def test_tokens_are_asked_for_and_own_only_their_submissions(place):
    data = place.packed()
    for token in ("", "lb_wrong", place.token + "x", place.token[:-1]):
        assert (
            place.client.post(
                "/api/submissions", content=data, headers={"Authorization": f"Bearer {token}"}
            ).status_code
            == 401
        )
    assert place.client.post("/api/submissions", content=data).status_code == 401
    name = place.send(data).json()["hash"]
    strange = place.client.delete(
        f"/api/submissions/{name}", headers={"Authorization": f"Bearer {place.other}"}
    )
    nothing = place.client.delete(
        f"/api/submissions/{'0' * 64}", headers={"Authorization": f"Bearer {place.other}"}
    )
    assert strange.status_code == nothing.status_code == 404 and strange.json() == nothing.json()
    assert place.client.delete(
        f"/api/submissions/{name}", headers={"Authorization": f"Bearer {place.token}"}
    ).json() == {"state": "withdrawn"}
    old, place.token = place.token, place.store.renew_token("lab")
    assert place.send(data, old).status_code == 401, "a stolen token is void once renewed"
    assert place.send(data).json()["state"] == "withdrawn", "what was withdrawn does not come back"


def test_accounts_have_a_daily_limit(place):
    for n in range(5):
        assert place.send(place.packed(name=f"m{n}")).status_code == 202
    kept = sorted((place.folder / "board/submissions").iterdir())
    answer = place.send(place.packed(name="one more"))
    assert sorted((place.folder / "board/submissions").iterdir()) == kept, "what is refused is not kept"
    assert answer.status_code == 429 and "5 submissions within a day" in answer.json()["detail"]
    assert place.send(place.packed(name="m0")).status_code == 202, "the same content costs nothing"


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"x" * 1000, b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_submission_is_one_line(place, data):
    answer = place.send(data)
    assert answer.status_code == 422 and len(answer.json()["detail"]) < 300 and "Traceback" not in answer.text
    assert str(place.folder) not in answer.text


def test_oversized_and_slow_uploads_end(place, monkeypatch):
    monkeypatch.setattr(archive, "LIMITS", Limits(archive=1000))
    assert place.send(os.urandom(5000)).status_code == 413
    monkeypatch.setattr(uploads, "SILENCE", 0.05)

    async def slow():
        yield b"PK"
        await asyncio.sleep(0.5)
        yield b"x"

    async def send():
        transport = httpx.ASGITransport(build_app(place.board, place.store, place.pages))
        async with httpx.AsyncClient(transport=transport, base_url="http://board") as client:
            return await client.post(
                "/api/submissions", content=slow(), headers={"Authorization": f"Bearer {place.token}"}
            )

    assert asyncio.run(send()).status_code in (202, 408, 422)
    assert [p.name for p in (place.folder / "board/incoming").iterdir()] == ["parts"]


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "=cmd|'/C calc'!A0",
    "{{ 7 * 7 }}",
    "'; DROP TABLE submissions; --",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_is_submitted_runs_in_a_page(place, text):
    card = {
        "name": text,
        "organisation": text,
        "licence": text,
        "contamination": text,
        "data": [text],
        "description": text,
    }
    name = place.send(place.packed("random", **card)).json()["hash"]
    place.finish()
    for path in ("/suites/scenes", f"/models/{name}"):
        answer = place.client.get(path)
        assert answer.status_code == 200
        assert (
            "<script" not in answer.text
            and "<img" not in answer.text
            and "49" not in re.findall(r"<h1>(.*?)</h1>", answer.text)
        )
        assert 'href="javascript:' not in answer.text


def test_every_answer_has_a_strict_policy_and_no_page_a_script(place):
    place.send(place.packed())
    known = (
        "/suites/scenes",
        "/submit",
        "/published",
        "/style.css",
        "/api/tables/scenes",
        "/api",
        "/suites/scenes/versions",
    )
    for path in (*known, "/nowhere", "/suites/nowhere", "/api/submissions/x", "/models/x"):
        answer = place.client.get(path)
        policy = answer.headers["content-security-policy"]
        assert (
            "default-src 'none'" in policy
            and "unsafe" not in policy
            and "form-action 'self'" in policy
            and "frame-ancestors 'none'" in policy
        )
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "<script" not in answer.text and " style=" not in answer.text
        assert "set-cookie" not in answer.headers, "no cookie, so nothing to forge a request with"


@pytest.mark.parametrize(
    "query",
    [
        "sort='; DROP TABLE results; --",
        "sort=mcq.accuracy' OR 1=1",
        "sort=__class__",
        "most=1e999",
        "most=nan",
        "q=%25%27",
        "q=" + "x" * 101,
        "open=%00",
        "sort=../../etc/passwd",
    ],
)
def test_filters_take_only_what_they_know(place, query):
    place.send(place.packed())
    place.finish()
    answer = place.client.get(f"/suites/scenes?{query}")
    assert answer.status_code in (200, 400, 422) and "Traceback" not in answer.text
    assert len(rows_of(place.store)) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/models/../../etc/passwd",
        "/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/api/submissions/%2e%2e",
        "/templates/base.html",
    ],
)
def test_paths_stay_inside(place, path):
    answer = place.client.get(path)
    assert answer.status_code in (404, 405) and "root:" not in answer.text


def test_labels_cannot_be_probed_by_what_is_refused(place):
    """A line is refused for its form, or because the suite has no such question, never by what the right
    answer is."""
    texts = []
    for letter in "ABCD":
        lines = [
            json.loads(line) for line in (place.runs / "random" / "samples.jsonl").read_text().splitlines()
        ]
        probe = place.folder / f"probe-{letter}"
        probe.mkdir()
        for name in ("run.json", "metrics.json"):
            (probe / name).write_bytes((place.runs / "random" / name).read_bytes())
        (probe / "samples.jsonl").write_text(
            "".join(json.dumps({**line, "response": f"<answer>{letter}</answer>"}) + "\n" for line in lines)
        )
        submission.pack(
            {"scenes": probe},
            place.folder / "card.yaml" if (place.folder / "card.yaml").exists() else _card(place),
            place.folder / "p.zip",
        )
        answer = place.send((place.folder / "p.zip").read_bytes()).json()
        texts.append({k: v for k, v in answer.items() if k not in ("hash", "url")})
    assert all(text == texts[0] for text in texts)


def _card(place):
    (place.folder / "card.yaml").write_text(json.dumps(CARD))
    return place.folder / "card.yaml"


def test_published_figures_are_cited_and_on_a_page_of_their_own(place):
    page = place.client.get("/published").text
    assert (
        "VAU-R1" in page
        and "arXiv 2505.23504" in page
        and "88.33" in page
        and "67.9 %" in page
        and page.count("<table>") == len(PUBLISHED)
    )
    assert all(
        len(row["values"]) == len(part["columns"]) and row["source"]
        for part in PUBLISHED
        for row in part["rows"]
    )
    assert "VAU-R1" not in place.client.get("/suites/scenes").text


def test_ranks_are_shared_where_intervals_overlap():
    nan = float("nan")
    found = Standings(
        np.arange(4),
        np.array(["c", "a", "b", "d"]),
        np.array([0.5, 0.9, 0.88, nan]),
        np.array([0.4, 0.85, 0.8, nan]),
        np.array([0.6, 0.95, 0.93, nan]),
        np.ones(4, bool),
        *(np.zeros(4, kind) for kind in (float, "datetime64[us]", bool)),
    )

    def ranks(metric):
        return [
            (int(rank), str(found.hashes[place]))
            for rank, place in zip(*ranking.ordered(found, metric), strict=True)
        ]

    assert ranks("mcq.accuracy") == [(1, "a"), (1, "b"), (3, "c"), (0, "d")]
    assert ranks("temporal.false_alarm") == [(1, "c"), (2, "b"), (2, "a"), (0, "d")]
    kinds = (int, str, float, float, float, bool, float, "datetime64[us]", bool)
    empty = Standings(*(np.zeros(0, kind) for kind in kinds))
    assert [len(part) for part in ranking.ordered(empty, "mcq.accuracy")] == [0, 0]
    assert ranking.columns(["x", "judgement.accuracy", "mcq.accuracy"]) == [
        "mcq.accuracy",
        "judgement.accuracy",
    ]


@pytest.mark.parametrize("status", [503, 507])
def test_a_client_that_gives_up_says_what_the_server_said(status):
    def answer(request):
        return httpx.Response(status, json={"detail": "the server's disk is full; nothing was taken"})

    client = Client("http://board.example", tries=2, first=2, pause=0.0)
    client.http = httpx.Client(base_url=client.url, transport=httpx.MockTransport(answer))
    with pytest.raises(InputError, match=rf"status {status}: .*disk is full; nothing was taken"):
        client.data("GET", "/api/submissions/x")


def test_an_order_is_kept_only_until_something_changes(place, monkeypatch):
    asked = []
    real = place.store.standings
    monkeypatch.setattr(place.store, "standings", lambda *given: asked.append(given) or real(*given))
    place.send(place.packed(name="one"))
    place.finish(0.5)
    for _ in range(3):
        assert "one</a>" in place.client.get("/suites/scenes").text
    assert len(asked) == 1
    place.send(place.packed(name="two"))
    place.finish(0.7)
    page = place.client.get("/suites/scenes").text
    assert page.index("two</a>") < page.index("one</a>") and len(asked) == 2


def test_versions_of_a_suite_are_kept_apart(place):
    for n, digest in enumerate(("old", place.version)):
        place.store.submit("lab", f"{n:064x}", Card(f"model-{n}", "x", "mit", "none", ["d"]), ["scenes"])
        place.store.finish(
            place.store.claim(60),
            [
                Scored(
                    "scenes",
                    "public",
                    digest,
                    {"mcq.accuracy": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3}},
                    {},
                )
            ],
        )
    page = place.client.get("/suites/scenes").text
    assert "model-1" in page and "model-0" not in page and f"suite version {place.version}" in page
    page = place.client.get("/suites/scenes?version=old").text
    assert "model-0" in page and "model-1" not in page and "An old version" in page
    page = place.client.get("/suites/scenes/versions").text
    assert "version=old" in page and f"{place.version}</a>, current" in page
    assert "no longer the current one" in place.client.get(f"/models/{0:064x}").text


def test_the_commands_end_to_end(tmp_path, baseline_runs):
    runs = baseline_runs
    port = free_port()
    (tmp_path / "board.yaml").write_text(
        json.dumps(
            {"folder": str(tmp_path / "board"), "suites": {"scenes": {"config": str(runs / "suite.yaml")}}}
        )
    )
    (tmp_path / "card.yaml").write_text(json.dumps(CARD))

    def command(*words, **environment):
        call = [sys.executable, "-m", "leaderboard", *words]
        return subprocess.run(
            call, cwd=ROOT, capture_output=True, text=True, env=os.environ | environment, timeout=120
        )

    token = command("account", "lab", "--config", str(tmp_path / "board.yaml")).stdout.strip()
    assert token.startswith("lb_")
    command(
        "pack",
        f"scenes={runs / 'random'}",
        "--card",
        str(tmp_path / "card.yaml"),
        "--out",
        str(tmp_path / "s.zip"),
    )
    assert zipfile.is_zipfile(tmp_path / "s.zip")
    url = f"http://127.0.0.1:{port}"
    refused = command("submit", str(tmp_path / "s.zip"), "--url", url, LEADERBOARD_TOKEN=token)
    assert refused.returncode == 2 and "cannot be reached" in refused.stderr
    log = tmp_path / "server.txt"
    with log.open("w") as out:
        call = [
            sys.executable,
            "-m",
            "leaderboard",
            "serve",
            "--config",
            str(tmp_path / "board.yaml"),
            "--port",
            str(port),
        ]
        server = subprocess.Popen(call, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    try:
        until_up(server, url, log)
        done = command("submit", str(tmp_path / "s.zip"), "--url", url, "--wait", LEADERBOARD_TOKEN=token)
        assert done.returncode == 0 and done.stdout.strip().endswith("done"), done.stderr
        assert "guess" in httpx.get(f"{url}/suites/scenes").text
        wrong = command("submit", str(tmp_path / "s.zip"), "--url", url, LEADERBOARD_TOKEN="lb_wrong")
        assert wrong.returncode == 2 and "answered 401" in wrong.stderr and "Traceback" not in wrong.stderr
    finally:
        server.terminate()
        server.wait(60)
    deadline = time.monotonic() + 60
    while (left := running(str(tmp_path))) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left, "the scorer ends with the server"


def running(word: str) -> list[str]:
    """Command lines of processes that name `word`."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if word in line]
