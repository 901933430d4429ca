"""Options of `tvad annotate`: what can change a reply is pinned, what has no effect is refused, and the model
is opened where it is asked, once."""

import json
import shutil
import sys

import numpy as np
import pytest
from conftest import ROOT, SHIPPED
from fastapi.testclient import TestClient

from bench import models
from bench.models.base import Completion
from tvad.__main__ import main
from tvad.annotate import engine
from tvad.annotate.construct import Construction
from tvad.annotate.engine import run
from tvad.annotate.page import answers_to, application
from tvad.annotate.replies import FOLDER
from tvad.annotate.sources import RECORD
from tvad.annotate.teacher import Ask, Reply, named, opened
from tvad.common.errors import InputError
from tvad.data import load, video

sys.path.insert(0, str(ROOT / "tests/bench"))

from test_openai import Endpoint

NOBODY = '{"targets": []}'
HOW = Construction(rate=1.0, checks=0)


@pytest.fixture
def film(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    video.write(folder / "v.mp4", np.full((24, 32, 32, 3), 90, np.uint8), 4.0)
    return folder


@pytest.fixture
def endpoint():
    found = Endpoint()
    answer = {"choices": [{"message": {"content": NOBODY}, "finish_reason": "stop"}]}
    found.replies = [(200, answer)] * 1000
    yield found
    found.server.shutdown()


def command(film, endpoint, tmp_path, *options):
    given = [part for option in options for part in ("--option", option)]
    words = ["annotate", "run", str(film), "--teacher", f"openai:m@{endpoint.url}", "--rate", "1", *given]
    return [*words, "--out", str(tmp_path / "out")]


def test_options_that_can_change_a_reply_are_the_recipes(film, endpoint, tmp_path):
    assert main(command(film, endpoint, tmp_path, "video=frames", "concurrency=2", "timeout=50")) == 0
    stated = json.loads((tmp_path / "out" / RECORD).read_text())
    assert stated["teacher"] == f'openai:m@{endpoint.url} {{"video": "frames"}}' and stated["version"] == 2
    asked = len(endpoint.seen)
    for other in (["video=images"], [], ["video=frames", "extra_body={top_k: 1}"]):
        with pytest.raises(InputError, match=r"made with teacher .* choose another --out"):
            main(command(film, endpoint, tmp_path, *other))
    assert (
        main(command(film, endpoint, tmp_path, "video=frames", "concurrency=5", "retries=1", "wait=0")) == 0
    )
    assert len(endpoint.seen) == asked == 6


def test_replies_of_other_options_are_not_taken(film, endpoint, tmp_path):
    """Even where the recipe of the folder is gone."""
    assert main(command(film, endpoint, tmp_path, "video=frames")) == 0
    out = tmp_path / "out"
    for path in out.glob("*.json*"):
        path.unlink()
    assert main(command(film, endpoint, tmp_path, "video=images")) == 0 and len(endpoint.seen) == 12
    keys = [json.loads(line)["key"] for line in (out / FOLDER / "0.jsonl").read_text().splitlines()]
    assert len(set(keys)) == 12


def test_a_folder_of_an_earlier_version_is_not_gone_on_with(film, endpoint, tmp_path):
    assert main(command(film, endpoint, tmp_path)) == 0
    out = tmp_path / "out"
    stated = json.loads((out / RECORD).read_text())
    for key in ("format", "version"):
        del stated[key]
    (out / RECORD).write_text(json.dumps(stated))
    with pytest.raises(InputError, match=r"annotate\.json: of an earlier version, .* choose another --out"):
        main(command(film, endpoint, tmp_path))
    assert [s.label for s in engine.finish(out)] == ["normal"], "it can still be reviewed"
    (out / RECORD).write_text(json.dumps(stated | {"version": 3}))
    with pytest.raises(InputError, match="newer than this installation"):
        engine.finish(out)


def test_a_checkpoint_is_named_by_what_its_files_hold(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "model", ignore=shutil.ignore_patterns("*.md"))
    spec = f"hf:{tmp_path / 'model'}"
    first = named(spec, {})
    assert first.startswith(f"{spec} ") and first == named(spec, {"budget": 1000, "at_once": 3})
    assert named(spec, {"dtype": "float32"}) != first
    with (tmp_path / "model/config.json").open("a") as file:
        file.write("\n")
    assert named(spec, {}) != first


def test_the_name_is_the_teachers(scenes, endpoint):
    for spec, own in (
        (f"scripted:{scenes}", {"noise": 0.2}),
        (f"openai:m@{endpoint.url}", {"video": "images", "concurrency": 3}),
        (f"hf:{SHIPPED}", {"dtype": "float32", "at_once": 2}),
    ):
        assert named(spec, dict(own)) == opened(spec, dict(own)).name


class Counted:
    """An engine of this process; `batches`: how many requests it was given together."""

    def __init__(self, *_, **options):
        self.batches = []

    def sample(self, requests, sampling):
        self.batches.append(len(requests))
        return [[Completion(NOBODY)] for _ in requests]


@pytest.mark.parametrize(("given", "batches"), [({"at_once": 2}, [2, 2, 1]), ({}, [5])])
def test_at_once_is_what_an_engine_is_given_together(monkeypatch, given, batches):
    monkeypatch.setattr(models, "load", lambda spec, **options: Counted(spec, **options))
    teacher = opened(f"hf:{SHIPPED}", given)
    image = np.zeros((1, 8, 8, 3), np.uint8)
    found = dict(teacher.answers([Ask(str(n), {}, image, (0.0,), 8) for n in range(5)]))
    assert teacher.engine.batches == batches and sorted(found) == list(range(5))


@pytest.mark.parametrize("value", ["4", "true"])
def test_at_once_of_an_endpoint_is_refused(film, endpoint, tmp_path, value):
    with pytest.raises(InputError, match=r"openai: at_once is .*; give concurrency"):
        main(command(film, endpoint, tmp_path, f"at_once={value}"))
    assert not endpoint.seen and not (tmp_path / "out").exists()


def test_with_workers_no_model_is_opened_beside_them(film, tmp_path, monkeypatch):
    run(film, tmp_path / "one", opened_once(), HOW)
    (row,), given = engine.rows_in(tmp_path / "one"), []

    def told(by, samples, *_):
        given.append((by.name, [s.id for s in samples]))
        yield row

    monkeypatch.setattr(engine, "annotated_by", told)
    monkeypatch.setattr(models, "load", lambda *_, **__: pytest.fail("a second copy"))
    words = ["annotate", "run", str(film), "--teacher", f"hf:{SHIPPED}", "--workers", "2", "--option"]
    words += ["dtype=float32", "--out", str(tmp_path / "out"), "--rate", "1", "--checks", "0"]
    assert main(words) == 0 and len(load(tmp_path / "out")) == 1
    assert given == [(named(f"hf:{SHIPPED}", {"dtype": "float32"}), ["v"])]
    for option, said in (("loud=1", "unknown option 'loud'"), ("at_once=0", "at_once is 0")):
        with pytest.raises(InputError, match=said):
            main([*words[:8], option, "--out", str(tmp_path / "refused")])


def opened_once():
    class Says:
        name = "says"

        def answers(self, asks):
            for n, _ in enumerate(asks):
                yield n, Reply(NOBODY)

    return Says()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--seed", "-1"], "seed is -1, expected 0 or more"),
        (["--rate", "nan"], "rate must be above 0"),
        (["--rate", "1e9"], "rate must be above 0 and at most 1000"),
        (["--gap", "inf"], "gap at least 0"),
        (["--gap", "nan"], "gap at least 0"),
        (["--checks", "-1"], "checks must be at least 0"),
        (["--max_tokens", "0"], "max_tokens 1"),
        (["--together", "0"], "--together"),
        (["--workers", "2", "--gpus", ".nan"], "--gpus"),
        (["--workers", "2", "--gpus", ".inf"], "--gpus"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_asked(film, endpoint, tmp_path, given, said):
    words = [word for word in command(film, endpoint, tmp_path) if word not in ("--rate", "1")]
    with pytest.raises(InputError, match=said):
        main([*words, *given])
    assert not endpoint.seen and not (tmp_path / "out").exists()


def test_a_policy_that_is_none_is_refused():
    with pytest.raises(InputError, match="contradictions is 'keep', expected review or drop"):
        Construction(contradictions="keep").check()


@pytest.mark.parametrize("how", [{"rate": 1e-300}, {"rate": 1000.0}, {"gap": 1e308}, {"checks": 10**9}])
def test_numbers_at_the_ends_of_their_ranges_do(film, tmp_path, how):
    samples, *_ = run(film, tmp_path / "out", opened_once(), Construction(**how))
    assert [s.label for s in samples] == ["normal"]


def test_the_page_answers_to_the_names_that_it_is_given(film, tmp_path):
    run(film, tmp_path / "out", opened_once(), HOW)
    for host in ("0.0.0.0", "", "0", "0x0", "00.0.0.0"):  # as sockets read them
        with pytest.raises(InputError, match=r"all addresses of this machine; state with --names"):
            answers_to(host, ())
    with pytest.raises(InputError, match="an IPv6 address"):
        answers_to("::1", ())
    for name in ("*", "a b", "*.example.com", "http://a", "a:80", ""):
        with pytest.raises(InputError, match="--names"):
            answers_to("127.0.0.1", (name,))
    page = TestClient(application(tmp_path / "out", "a", answers_to("0.0.0.0", ["reviews.example"])))
    for host, status in (
        ("reviews.example:7861", 200),
        ("Reviews.Example", 200),
        ("localhost:7861", 200),
        ("evil.example", 400),
    ):
        assert page.get("/", headers={"host": host}).status_code == status
    assert answers_to("127.0.0.1", ()) == ["127.0.0.1", "localhost"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--host", "0.0.0.0"], "--names"),
        (["--names", "*"], "expected names of hosts"),
        (["--port", "0"], "--port is 0, expected 1 to 65535"),
        (["--port", "70000"], "--port is 70000"),
    ],
)
def test_a_page_that_would_answer_nobody_is_not_opened(film, tmp_path, given, said):
    run(film, tmp_path / "out", opened_once(), HOW)
    with pytest.raises(InputError, match=said):
        main(["annotate", "review", str(tmp_path / "out"), "--reviewer", "a", *given])


def test_an_option_that_is_given_twice_is_refused(film, endpoint, tmp_path):
    """The last one held, without a word."""
    command = ["annotate", "run", str(film), "--teacher", f"openai:m@{endpoint.url}"]
    command += ["--option", "concurrency=2", "--option", "concurrency=4", "--out", str(tmp_path / "out")]
    with pytest.raises(InputError, match="concurrency is given twice"):
        main(command)
