"""What strangers send costs a child with limits, never the server; odd input is a refusal in the page's
style."""

import errno
import json
import resource
import time
import zipfile
from urllib.parse import quote

import numpy as np
import pytest
from board_fixtures import CARD, Place
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from leaderboard.board import config as boards
from leaderboard.card import read_card
from leaderboard.intake import submission
from leaderboard.store.tables import Quota
from leaderboard.web.app import build_app
from tvad.common.errors import InputError

HTML = {"accept": "text/html,*/*;q=0.8"}


@pytest.fixture
def place(tmp_path, baseline_runs):
    found = Place(tmp_path, baseline_runs, limited=True)
    yield found
    found.store.engine.dispose()


def hostile(place, which: str) -> bytes:
    """A small .zip that is large or slow to check."""
    folder = place.folder / which
    submission.pack({"scenes": place.runs / "random"}, card_of(place), folder)
    if which == "lines":
        with (folder / "scenes/predictions.jsonl").open("a") as out:
            out.write("\n".join(np.random.default_rng(0).choice(list("123456789"), 1 << 20)) + "\n")
    if which == "long":
        with (folder / "scenes/predictions.jsonl").open("a") as out:
            out.write(np.random.default_rng(0).bytes(3 << 19).hex() + "\n")
    if which == "card":
        (folder / "card.yaml").write_text("name: " + "[" * 60_000)
    manifest = json.dumps(submission.manifest_of(folder))
    (folder / "manifest.json").write_text(manifest if which != "manifest" else "[" + "[]," * 300_000 + "[]]")
    with zipfile.ZipFile(place.folder / f"{which}.zip", "w", zipfile.ZIP_DEFLATED) as out:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            out.write(path, path.relative_to(folder).as_posix())
    return (place.folder / f"{which}.zip").read_bytes()


def card_of(place):
    (place.folder / "card.yaml").write_text(json.dumps(CARD))
    return place.folder / "card.yaml"


def test_small_files_that_are_large_to_check_leave_the_server_small_and_count(place):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = place.send(hostile(place, "lines"))
    assert answer.status_code == 202 and answer.json()["rejected_lines"] == 1 << 20
    assert len(answer.json()["rejected"]) == submission.MOST_REJECTED
    for which, words in (("manifest", "bytes, at most"), ("card", "nested too deeply")):
        data, began = hostile(place, which), time.monotonic()
        answer = place.send(data)
        assert answer.status_code == 422 and words in answer.json()["detail"], answer.text
        assert time.monotonic() - began < 10
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 << 10, f"{grown} KiB"  # the hostile files themselves are made in this process
    for _ in range(3):
        assert place.send(b"x").status_code == 422
    refused = place.send(b"x")
    assert refused.status_code == 429 and "refused within a day" in refused.text
    assert place.send(place.packed(name="good")).status_code == 429, "refused uploads count as others"


def test_the_limits_of_checking_are_those_of_the_configuration(place):
    data = hostile(place, "long")
    place.board.checking.seconds = 0.05
    assert "longer than 0.05 s" in place.send(data).json()["detail"]
    place.board.checking.seconds, place.board.checking.gigabytes = 60.0, 0.01
    assert "memory" in place.send(data).json()["detail"]


def test_a_full_disk_is_no_fault_of_the_sender(place):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    place.client.app.state.site.uploads.check = full
    answer = place.send(place.packed())
    assert answer.status_code == 507 and "disk is full" in answer.json()["detail"]
    assert answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "name",
    [
        "a\u200bb",
        "\u202eevil",
        "\u3164",
        "a\u00a0b",
        " a",
        "e" + "\u0301" * 9,
        "\ufeffa",
        "a\U000e0041",
        "\uff27\uff30\uff34",
        "\U0001d406PT",
    ],
)
def test_names_that_look_like_others_are_refused(name):
    with pytest.raises(InputError, match="name holds"):
        read_card(json.dumps(CARD | {"name": name}))


@pytest.mark.parametrize(
    "line",
    ['name: "\\U00110000"', "parameters: " + "9" * 400, "parameters: 190:20:30", "parameters: 2026-99-99"],
)
def test_odd_values_of_a_card_are_one_line(line):
    kept = "organisation: x\nlicence: mit\ncontamination: none\ndata: [d]\n"
    kept += "" if line.startswith("name") else "name: x\n"
    with pytest.raises(InputError) as error:
        read_card(kept + line)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="parameters"):
        read_card(json.dumps(CARD | {"parameters": 10**400}))


def test_a_date_in_a_card_is_a_text():
    text = "name: 2026-01-01\norganisation: x\nlicence: mit\ncontamination: none\ndata: [2026-01-01, 1:20]\n"
    card = read_card(text)
    assert card.name == "2026-01-01" and card.data == ["2026-01-01", "1:20"]


def test_an_error_is_a_page_for_browsers_and_json_below_the_api(place):
    for path in ("/nowhere", "/models/%00", "/suites/scenes?q=%00", f"/suites/scenes?page={10**400}"):
        answer = place.client.get(path, headers=HTML)
        assert 400 <= answer.status_code < 500 and "<main" in answer.text and 'role="alert"' in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    for path in ("/api/submissions/%00", "/api/tables/scenes?limit=-1"):
        answer = place.client.get(path, headers=HTML)
        assert 400 <= answer.status_code < 500 and isinstance(answer.json()["detail"], str)
    for headers in ({"host": "http://["}, {"host": "a:99999999"}):
        assert place.client.get("/suites/scenes", headers=headers | HTML).status_code == 400
    odd = place.client.post("/accounts", data={"name": "x"}, headers={"origin": "http://["})
    assert odd.status_code == 403


WORDS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["\0", "\u202e", "http://[", "1e400", "-1", "../..", str(10**400), "0" * 64, "scenes"]),
)


def test_no_address_is_a_fault_of_the_server(place):
    """All routes of the application, those of later rooms too."""
    routes = [(r.path, m) for r in place.client.app.routes for m in getattr(r, "methods", None) or ()]
    names = ["q", "page", "split", "version", "sort", "m", "suite", "name", "offset", "limit", "task", "most"]
    place.board.per_minute = 10**6

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(
        st.sampled_from(routes),
        st.lists(WORDS, min_size=4, max_size=4),
        st.dictionaries(st.sampled_from(names), WORDS, max_size=4),
        st.booleans(),
        st.booleans(),
    )
    def asked(route, words, query, browser, known):
        path, method = route
        for name in ("{name_hash}", "{suite}", "{sha256}", "{place}", "{name}"):
            path = path.replace(name, quoted(words.pop() if words else "x"))
        headers = (HTML if browser else {}) | (place.bearer() if known else {})
        query = {key: value.encode("utf-8", "replace") for key, value in query.items()}
        answer = place.client.request(method, path, params=query, headers=headers, follow_redirects=False)
        assert answer.status_code < 500, (method, path, query, answer.text[:300])
        assert "content-security-policy" in answer.headers

    asked()


def quoted(word: str) -> str:
    return quote(word.encode("utf-8", "replace"), safe="")


def test_forwarded_addresses_count_from_named_proxies_only(place):
    def wrong(peer, forwarded, proxies):
        with place.store.engine.begin() as connection:
            connection.execute(delete(Quota))
        place.board.proxies, place.board.per_minute = proxies, 1
        client = TestClient(build_app(place.board, place.store, place.pages), client=(peer, 1))
        return [
            client.get(f"/api/uploads/{'0' * 64}", headers={"X-Forwarded-For": value}).status_code
            for value in forwarded
        ]

    spoofed = ["1.1.1.1", "2.2.2.2"]
    assert wrong("9.9.9.9", spoofed, []) == [401, 429], "nobody's word counts"
    assert wrong("9.9.9.9", spoofed, ["10.0.0.0/8"]) == [401, 429], "a stranger's word does not count"
    assert wrong("10.0.0.1", spoofed, ["10.0.0.0/8"]) == [401, 401], "a proxy's does"
    chain = ["6.6.6.6, 3.3.3.3, 10.0.0.2", "7.7.7.7, 3.3.3.3, 10.0.0.2"]
    assert wrong("10.0.0.1", chain, ["10.0.0.0/8"]) == [401, 429], "what the client put before it does not"
    place.board.proxies = []
    config = json.loads(place.config.read_text()) | {"proxies": ["*"]}
    place.config.write_text(json.dumps(config))
    with pytest.raises(InputError, match="no address or network"):
        boards.read(str(place.config))
