"""Decisions of a person: the page, its audit trail, the data set that follows them."""

import json
import os
import re
import signal
import threading

import httpx
import pytest
from fastapi.testclient import TestClient
from ports import free_port

from tvad.__main__ import main
from tvad.annotate.construct import Construction
from tvad.annotate.engine import ROWS, finish, run
from tvad.annotate.page import application, waiting
from tvad.annotate.review import TRAIL, trail_in
from tvad.annotate.spread import Spread
from tvad.common.errors import InputError
from tvad.data import check, load
from tvad.data.scenes.teacher import Scripted

HOW = Construction(rate=4.0)


@pytest.fixture
def told(scenes, tmp_path):
    run(scenes, tmp_path / "told", Scripted(str(scenes), noise=0.4), HOW)
    return tmp_path / "told"


def rows_of(out):
    return [json.loads(line) for line in (out / ROWS).read_text().splitlines()]


def test_decisions_are_kept_and_followed(told):
    open_ = waiting(rows_of(told))
    numbers = [n for n, (_, t) in enumerate(open_) if t["verdict"] == "review" and not t["masked"]][:3]
    page = TestClient(application(told, "alice", ["testserver"]))
    shown = page.get("/").text
    token = re.search(r'name="given" value="([^"]+)"', shown)[1]
    assert "targets are decided" in shown and "script" not in shown
    assert page.get(f"/picture/{numbers[0]}").headers["content-type"] == "image/jpeg"
    before = {s.id: s for s in load(told)}
    edit = {"kind": "robot<script>", "upper": "Gold", "action": "dancing"}
    for number, decision in zip(numbers, ("accept", "edit", "reject"), strict=True):
        form = {
            "number": number,
            "decision": decision,
            "given": token,
            **(edit if decision == "edit" else {}),
        }
        assert page.post("/decide", data=form, follow_redirects=False).status_code == 303
    trail = trail_in(told)
    assert [row["decision"] for row in trail] == ["accept", "edit", "reject"]
    assert all(
        row["reviewer"] == "alice" and row["time"] and row["reasons"] and row["before"] for row in trail
    )
    after = {s.id: s for s in finish(told)}
    rows = rows_of(told)
    looks = {number: (rows[open_[number][0]]["id"], open_[number][1]["id"]) for number in numbers}
    tracks = [{t.id: t for t in after[name].tracks} for name, _ in looks.values()]
    ids = [target for _, target in looks.values()]
    assert ids[0] in tracks[0] and ids[2] not in tracks[2]
    assert (tracks[1][ids[1]].kind, tracks[1][ids[1]].look) == ("robot script", "dressed in gold")
    assert all(
        ids[n] not in {t.id for t in before[name].tracks} for n, (name, _) in enumerate(looks.values())
    )
    assert not check(told) and "by alice" in page.get("/").text


def test_the_page_takes_its_own_forms_from_its_own_address(told):
    page = TestClient(application(told, "alice", ["testserver"]))
    token = re.search(r'name="given" value="([^"]+)"', page.get("/").text)[1]
    for form, status in (
        ({"number": 0, "decision": "accept", "given": "guess"}, 403),
        ({"number": 0, "decision": "explode", "given": token}, 400),
        ({"number": 10**9, "decision": "accept", "given": token}, 404),
        ({"number": "x", "decision": "accept", "given": token}, 422),
    ):
        assert page.post("/decide", data=form).status_code == status
    assert not (told / TRAIL).exists()
    assert page.get("/", headers={"host": "evil.example"}).status_code == 400
    assert page.get("/picture/-1").status_code == 404 and page.get("/?page=99").status_code == 200
    assert "default-src 'none'" in page.get("/").headers["content-security-policy"]
    (told / TRAIL).write_text('{"id": 3}\n')
    with pytest.raises(InputError, match="not a decision"):
        finish(told)


@pytest.mark.parametrize("field", ["kind", "action"])
def test_a_file_in_a_words_place_is_no_edit(told, field):
    """The target lost its looks."""
    page = TestClient(application(told, "alice", ["testserver"]))
    token = re.search(r'name="given" value="([^"]+)"', page.get("/").text)[1]
    form = {"number": 0, "decision": "edit", "given": token, "upper": "red"}
    assert page.post("/decide", data=form, files={field: ("x.txt", b"man")}).status_code == 400
    assert not trail_in(told)


def test_what_a_person_wrote_is_edited_further(told):
    number = next(n for n, (_, t) in enumerate(waiting(rows_of(told))) if t["boxes"])
    page = TestClient(application(told, "alice", ["testserver"]))
    form = {"given": re.search(r'name="given" value="([^"]+)"', page.get("/").text)[1], "number": number}

    def fields():
        shown = page.get(f"/?page={number // 20}").text.split(f'id="t{number}"')[1].split("</article>")[0]
        return dict(re.findall(r'name="(kind|upper|action)"[^>]*value="([^"]*)"', shown))

    before, edit = fields(), {"kind": "robot", "upper": "gold", "action": "dancing"}
    page.post("/decide", data={**form, "decision": "edit", **edit})
    assert fields() == edit != before
    page.post("/decide", data={**form, "decision": "reject"})
    assert fields() == before


def test_a_page_that_is_told_to_end_writes_what_was_decided(told, monkeypatch, capsys):
    """By SIGTERM, as services and containers are."""
    open_ = waiting(rows_of(told))
    row, target = next((n, t) for n, t in open_ if t["verdict"] == "review" and not t["masked"])
    name, port = rows_of(told)[row]["id"], free_port()

    def decide():
        address = f"http://127.0.0.1:{port}"
        retried = httpx.HTTPTransport(retries=6)  # until it is up, with doubling waits
        shown = httpx.Client(transport=retried).get(address).text
        number = next(n for n, (r, t) in enumerate(open_) if (r, t["id"]) == (row, target["id"]))
        form = {"given": re.search(r'name="given" value="([^"]+)"', shown)[1], "number": number}
        httpx.post(f"{address}/decide", data={**form, "decision": "accept"})

    def person_at():
        try:
            decide()
        finally:
            if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:  # else the page has failed already
                os.kill(os.getpid(), signal.SIGTERM)

    ids = {s.id: {t.id for t in s.tracks} for s in load(told)}
    assert target["id"] not in ids[name]
    person = threading.Thread(target=person_at)
    person.start()
    assert main(["annotate", "review", str(told), "--reviewer", "a", "--port", str(port)]) == 0
    person.join()
    assert "1 decisions in the trail; 16 videos" in capsys.readouterr().out
    assert target["id"] in {s.id: {t.id for t in s.tracks} for s in load(told)}[name]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.slow
def test_workers_say_what_is_wrong_with_their_teacher_in_its_words(scenes, tmp_path):
    pytest.importorskip("ray")
    spread = Spread(f"openai:m@http://127.0.0.1:{free_port()}/v1", {"retries": 0, "wait": 0}, 2)
    with pytest.raises(InputError, match=r"^openai:.* requests have no reply; .* cannot be reached"):
        run(scenes, tmp_path / "out", None, HOW, together=4, spread=spread)


@pytest.mark.slow
def test_two_workers_give_what_one_process_gives(scenes, tmp_path):
    pytest.importorskip("ray")
    noise = {"noise": 0.2}
    run(scenes, tmp_path / "one", Scripted(str(scenes), **noise), HOW)
    spread = Spread(f"scripted:{scenes}", noise, 2)
    told = run(scenes, tmp_path / "two", Scripted(str(scenes), **noise), HOW, together=4, spread=spread)
    assert (tmp_path / "one/samples.jsonl").read_bytes() == (tmp_path / "two/samples.jsonl").read_bytes()
    rows = [sorted((tmp_path / d / ROWS).read_text().splitlines()) for d in ("one", "two")]
    assert rows[0] == rows[1] and not told[1]
    files = [f.read_text().splitlines() for f in (tmp_path / "two/replies").glob("ray-*.jsonl")]
    keys = [json.loads(line)["key"] for lines in files for line in lines]
    assert len(files) == 2 and all(files) and len(keys) == len(set(keys)) == told[2].asked
