"""Rollout servers that answer wrongly, are others than they were, or are no rollout servers: plain HTTP
servers of the standard library, which answer what vLLM does but for one thing."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from conftest import SHIPPED
from transformers import AutoProcessor

import tvad.model  # noqa: F401  registers T-VAD with the Auto classes
from bench.models.base import Request, Sampling
from rft.grpo.servers import NoServer, RolloutServers
from tvad.common.errors import InputError
from tvad.data.video import Budget, Frames
from tvad.prompts import messages

CHATS = "v1/chat/completions"
CLIP = Frames(np.zeros((4, 32, 32, 3), np.uint8), np.arange(4) / 2, np.arange(4), 2.0, 4)
TWO = Sampling(2, 1.0, max_tokens=8)
WEIGHTS = [("model.ahd.text_features", torch.ones(2))]


class Foreign:
    """`asked`: the paths, in order; `wrong`: (path, answer) -> what is said instead: content, bytes, or a
    status; None as it is."""

    def __init__(self, mark):
        self.told = {"backend": "shared_files", "folder": "/nowhere", "mark": mark, "max_model_len": 64}
        self.told["pixels"] = {}
        self.version, self.drawn_by, self.asked = "default", [], []
        self.wrong = lambda path, answer: None
        foreign = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                sent = self.rfile.read(int(self.headers.get("content-length", 0)))
                path = self.path.strip("/").partition("?")[0]
                foreign.asked.append(path)
                body = json.loads(sent) if self.headers.get("content-type") == "application/json" else {}
                answer = foreign.answer(path, body)
                said = foreign.wrong(path, answer)
                said = answer if said is None else said
                if isinstance(said, ConnectionError):
                    return
                data = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(said if isinstance(said, int) else 200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_DELETE = do_POST

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path, body):
        if path == "finish_weight_update":
            self.version = body["weight_version"]
        if path == CHATS:
            self.drawn_by.append(self.version)
            parts = {"finish_reason": "stop", "token_ids": [5, 6], "message": {"content": "a"}}
            parts["logprobs"] = {"content": [{"logprob": -0.5}, {"logprob": -0.25}]}
            return {"prompt_token_ids": [1, 2], "choices": [dict(parts) for _ in range(body["n"])]}
        known = {"rollouts": self.told, "weight_info": {"weight_version": self.version}}
        return known.get(path, {"success": True, "file": "x"})


@pytest.fixture
def foreign(monkeypatch):
    monkeypatch.delenv("ROLLOUT_TOKEN", raising=False)
    found = [Foreign("a"), Foreign("b")]
    yield found
    for one in found:
        one.server.shutdown()
        one.server.server_close()


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(SHIPPED)


def engine_of(foreign, processor, **options):
    return RolloutServers(",".join(one.url for one in foreign), processor, **{"wait": 0.0, **options})


def requests(count):
    return [Request(messages(f"What is {n}?"), CLIP) for n in range(count)]


def changed(key, value):
    """Of the first completion."""

    def wrong(path, answer):
        if path != CHATS:
            return None
        (first, *rest) = answer["choices"]
        return {**answer, "choices": [{**first, key: value}, *rest]}

    return wrong


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            lambda path, a: a | {"choices": a["choices"][1:]} if path == CHATS else None,
            "1 completions, asked",
        ),
        (changed("logprobs", {"content": [{"logprob": -0.5}]}), "of 2 tokens"),
        (changed("logprobs", {"content": [{"logprob": float("nan")}, {"logprob": -0.5}]}), "nan"),
        (changed("logprobs", {"content": [{"logprob": None}, {"logprob": -0.5}]}), "TypeError"),
        (changed("logprobs", None), "TypeError"),
        (changed("token_ids", None), "TypeError"),
        (lambda path, _: b"<html>" if path == CHATS else None, "JSONDecodeError"),
        (lambda path, _: [] if path == CHATS else None, "TypeError"),
        (lambda path, _: 500 if path == CHATS else None, "answered 500"),
    ],
)
def test_an_answer_that_is_no_rollout_is_no_completion(foreign, processor, wrong, words):
    foreign[0].wrong = wrong
    with pytest.raises(InputError, match=f"rollout server {foreign[0].url}.*{words}"):
        engine_of(foreign[:1], processor).sample(requests(1), TWO)


@pytest.mark.parametrize("told", [b"<html>", [1], {}, {"folder": "/tmp", "mark": "x"}])
def test_a_server_of_another_kind_is_named(foreign, processor, told):
    foreign[1].wrong = lambda path, _: told if path == "rollouts" else None
    with pytest.raises(InputError, match=f"{foreign[1].url}: expected a server started by"):
        engine_of(foreign, processor)


@pytest.mark.parametrize(
    "url", ["http://[::1:81", "http://", "ftp://h:1", "http://me:pw@h:1", "http://h:1/?key=x", "http://\0:1"]
)
def test_an_address_that_is_none_is_refused_and_tells_no_password(url):
    with pytest.raises(InputError, match="expected server:http://HOST:PORT") as error:
        RolloutServers(url, None)
    assert "pw" not in str(error.value)


def test_one_server_by_two_names_is_refused(foreign, processor):
    for name in ("127.0.0.1", "localhost"):
        urls = f"{foreign[0].url},{foreign[0].url.replace('127.0.0.1', name)}"
        with pytest.raises(InputError, match=f"and http://{name}:.* are one rollout server"):
            RolloutServers(urls, processor)


@pytest.mark.parametrize("token", ["tökén", " ", "a b", "secret\n"])
def test_a_token_that_no_header_holds_is_named(foreign, processor, monkeypatch, token):
    monkeypatch.setenv("ROLLOUT_TOKEN", token)
    with pytest.raises(InputError, match="ROLLOUT_TOKEN: expected ASCII without blanks") as error:
        engine_of(foreign, processor)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "options", [{"wait": "60"}, {"wait": None}, {"wait": True}, {"timeout": 0}, {"timeout": float("nan")}]
)
def test_options_that_are_no_seconds_are_refused(foreign, processor, options):
    with pytest.raises(InputError, match=f"engine_options.{next(iter(options))}"):
        engine_of(foreign, processor, **options)


def test_a_proxy_of_the_environment_sees_nothing(foreign, processor, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, foreign[1].url)
    engine_of(foreign[:1], processor).sample(requests(1), TWO)
    assert not foreign[1].asked


def test_a_part_of_the_weights_goes_to_no_server_that_lacks_the_rest(foreign, processor):
    """One that came back after it was asked whether all have them."""
    engine = engine_of(foreign, processor)
    engine.sync(WEIGHTS)
    first = engine.version
    assert not engine.lacks_some()
    foreign[1].version = "default"
    engine.sync(WEIGHTS, whole=False)
    assert foreign[0].version == engine.version != first and foreign[1].version == "default"
    assert engine.lacks_some()
    engine.sync(WEIGHTS)
    assert foreign[0].version == foreign[1].version == engine.version


def test_what_was_drawn_by_other_weights_in_between_is_drawn_again_by_others(foreign, processor, capfd):
    """Started again while another of its requests waited, or given another training's weights."""
    engine = engine_of(foreign, processor)
    engine.sync(WEIGHTS)
    other = foreign[1]

    def restarted(path, _):
        if path == CHATS:
            other.version = "default"

    other.wrong = restarted
    engine.sample(requests(8), TWO)
    assert set(foreign[0].drawn_by) == {engine.version} and len(foreign[0].drawn_by) == 8
    assert engine.figures["servers/drew"] == 1 and engine.figures["servers/sent_again"] == 4
    assert f"{other.url} is lost (its weights are others by now" in capfd.readouterr().err
    foreign[0].wrong = lambda path, _: setattr(foreign[0], "version", "theirs") if path == CHATS else None
    with pytest.raises(NoServer):
        engine.sample(requests(2), TWO)


def test_a_server_that_is_lost_at_the_end_of_a_transfer_has_forgotten_what_the_old_weights_gave(
    foreign, processor
):
    """It is taken for one that has the weights as soon as it says so."""
    engine = engine_of(foreign, processor)
    one = foreign[0]
    one.wrong = lambda path, _: ConnectionError() if "reset" in path and one.version != "default" else None
    engine.sync([("model.visual.x", torch.ones(2))])
    finished = one.asked.index("finish_weight_update")
    assert {"reset_prefix_cache", "reset_encoder_cache"} <= set(one.asked[:finished])


def test_a_server_that_refuses_to_pause_leaves_no_other_paused(foreign, processor):
    engine = engine_of(foreign, processor)
    foreign[1].wrong = lambda path, _: 400 if path == "pause" else None
    with pytest.raises(InputError, match="answered 400 to pause"):
        engine.sync(WEIGHTS)
    assert foreign[0].asked[-2:] == ["pause", "resume"]


def test_a_server_that_was_started_again_otherwise_is_seen(foreign, processor):
    engine = engine_of(foreign, processor)
    engine.check(64, Budget())
    engine.sync(WEIGHTS)
    foreign[1].version = "default"
    foreign[1].told["max_model_len"] = 32
    assert engine.lacks_some()
    with pytest.raises(InputError, match=f"{foreign[1].url} has room for 32 tokens"):
        engine.sync(WEIGHTS)
    foreign[1].told |= {"max_model_len": 64, "backend": "nccl"}
    with pytest.raises(InputError, match="takes weights by 'nccl'"):
        engine.sync(WEIGHTS)
