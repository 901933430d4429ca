"""Any OpenAI-compatible endpoint as a model: what is sent, what is tried again, what stops a run."""

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from conftest import KEY, ROOT, SHIPPED

from bench import models, suite
from bench.models.base import Request, Sampling
from bench.models.openai import OpenAiModel, as_mp4
from bench.run import run
from tvad.common.errors import InputError
from tvad.data import video
from tvad.prompts import messages


class Endpoint:
    """A server on loopback that answers what it is told to and keeps what it was asked."""

    def __init__(self):
        self.replies, self.seen = [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.seen.append((self.path, dict(self.headers), body))
                status, answer = outer.replies.pop(0) if outer.replies else (200, None)
                if answer is None:
                    answer = {
                        "choices": [
                            {"message": {"content": f"<answer>{n}</answer>"}} for n in range(body["n"])
                        ]
                    }
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def endpoint():
    found = Endpoint()
    yield found
    found.server.shutdown()


def clip_of(count=4):
    images = np.random.default_rng(0).integers(0, 255, (count, 32, 48, 3), dtype=np.uint8)
    return video.Frames(images, np.arange(count) / 2, np.arange(count), 2.0, count)


def request_of(text="What happens?"):
    return Request(messages(text), clip_of())


def test_a_clip_travels_as_an_exact_mp4(endpoint):
    model = OpenAiModel(f"m@{endpoint.url}")
    assert [c.text for c in model.sample([request_of()], Sampling(2, 0.7, max_tokens=9))[0]] == [
        "<answer>0</answer>",
        "<answer>1</answer>",
    ]
    path, _, body = endpoint.seen[0]
    assert path == "/v1/chat/completions" and (
        body["model"],
        body["n"],
        body["temperature"],
        body["max_tokens"],
    ) == ("m", 2, 0.7, 9)
    parts = body["messages"][1]["content"]
    assert [p["type"] for p in parts] == ["video_url", "text"] and body["messages"][0]["role"] == "system"
    data = base64.b64decode(parts[0]["video_url"]["url"].split(",", 1)[1])
    again = video.decode(io.BytesIO(data))
    assert np.array_equal(again.images, clip_of().images) and again.fps == 2.0


def test_what_is_drawn_is_asked_with_the_requests_own_seed(endpoint):
    model = OpenAiModel(f"m@{endpoint.url}", concurrency=1)
    requests = [Request(messages("What?"), clip_of(), key=key) for key in ("a", "b")]
    model.sample(requests, Sampling(1, 0.7, seed=3))
    model.sample(requests[::-1], Sampling(1, 0.7, seed=3))
    model.sample(requests, Sampling(1, 0.0, seed=3))
    seeds = [body.get("seed") for _, _, body in endpoint.seen]
    assert seeds == [*seeds[:2], seeds[1], seeds[0], None, None] and seeds[0] != seeds[1]


def test_an_endpoint_that_takes_no_seed_is_asked_without(endpoint, capsys):
    endpoint.replies = [
        (422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]})
    ]
    model = OpenAiModel(f"m@{endpoint.url}", concurrency=1)
    for _ in range(2):
        model.sample([request_of()], Sampling(1, 0.7))
    assert ["seed" in body for _, _, body in endpoint.seen] == [True, False, False]
    assert capsys.readouterr().err.count("takes no seed") == 1
    endpoint.replies = [(400, {"error": "bad request"})]
    with pytest.raises(InputError, match="answered 400"):
        model.sample([request_of()], Sampling(1, 0.7))


def test_what_no_endpoint_may_read_as_more_than_text_is_plain(endpoint):
    OpenAiModel(f"m@{endpoint.url}").sample([request_of("Is <|im_end|> \ud83d one?")], Sampling())
    assert endpoint.seen[0][2]["messages"][1]["content"][1]["text"] == "Is < |im_end|> \ufffd one?"


def test_a_clip_travels_as_frames_with_their_times(endpoint):
    OpenAiModel(f"m@{endpoint.url}", video="frames").sample([request_of()], Sampling())
    parts = endpoint.seen[0][2]["messages"][1]["content"]
    assert [p["type"] for p in parts] == ["text", "image_url"] * 4 + ["text"] and parts[2][
        "text"
    ] == "Frame at 0.50 s:"


def test_the_key_is_sent_and_never_shown(endpoint, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    endpoint.replies = [(401, {"error": "who are you"})]
    with pytest.raises(InputError, match="answered 401") as error:
        OpenAiModel(f"m@{endpoint.url}").sample([request_of()], Sampling())
    assert {k.lower(): v for k, v in endpoint.seen[0][1].items()}["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in str(error.value) + "".join(capsys.readouterr())


def test_what_fails_for_the_moment_is_tried_again(endpoint):
    endpoint.replies = [(503, b"busy"), (429, b"slow down"), (200, None)]
    assert (
        OpenAiModel(f"m@{endpoint.url}", wait=0.01).sample([request_of()], Sampling())[0][0].text
        == "<answer>0</answer>"
    )
    assert len(endpoint.seen) == 3


@pytest.mark.parametrize(
    "replies, words",
    [
        ([(503, b"busy")] * 3, "answered 503: busy"),
        ([(400, b"no such model")], "answered 400: no such model"),
        ([(200, b"<html>")] * 2, "no chat completion"),
        ([(200, {"choices": []})], "gave 0 completions, 1 were asked"),
        ([(200, {"choices": [{}]})], "no chat completion"),
    ],
)
def test_what_does_not_get_better_stops_with_its_reason(endpoint, replies, words):
    endpoint.replies = list(replies)
    with pytest.raises(InputError, match=words):
        OpenAiModel(f"m@{endpoint.url}", wait=0.01, retries=2).sample([request_of()], Sampling())


def test_an_endpoint_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"127.0.0.1:9/v1 cannot be reached"):
        OpenAiModel("m@http://127.0.0.1:9/v1", wait=0.01, retries=1).sample([request_of()], Sampling())
    with pytest.raises(InputError, match="expected NAME@URL"):
        OpenAiModel("m")
    with pytest.raises(InputError, match="expected one of file, frames, images"):
        OpenAiModel("m@http://x", video="smoke")


def test_lossless_clips_of_odd_rates():
    clip = video.Frames(clip_of().images, np.arange(4) * 0.7, np.arange(4), 10.0, 4)
    again = video.decode(io.BytesIO(as_mp4(clip)))
    assert again.fps == pytest.approx(1 / 0.7, rel=1e-3) and np.array_equal(again.images, clip.images)


@pytest.mark.slow
def test_three_engines_give_the_same_metrics(server, scenes, tmp_path, monkeypatch):
    """transformers in this process, vLLM's own server over HTTP; vLLM in the process is compared with
    transformers elsewhere."""
    knobs = [
        "--data",
        str(scenes),
        "--max_videos",
        "8",
        "--tasks",
        "[mcq, judgement, temporal, spatial, dialogue]",
        "--resamples",
        "50",
    ]
    plan = suite.read(str(ROOT / "configs/bench/scenes.yaml"), knobs)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    ours = run(models.load(f"hf:{SHIPPED}"), "hf", plan, tmp_path / "hf")
    theirs = run(models.load(f"openai:tiny@{server}"), "openai", plan, tmp_path / "openai")
    assert {k: v.value for k, v in ours.items()} == pytest.approx(
        {k: v.value for k, v in theirs.items()}, abs=1e-9
    )
