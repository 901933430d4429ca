"""The OpenAI-compatible server: chat with a video, heatmap statistics beside the answer."""

import asyncio
import base64
import json
import types
import urllib.request

import numpy as np
import pytest
from conftest import SHIPPED

from tvad import pictures
from tvad.common.errors import InputError
from tvad.data import load, video
from tvad.data.vllm_clips import LOADER, register_loader, sampled, sampled_pictures
from tvad.prompts import messages
from tvad.use import serving


def url_of(path):
    return "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()


def chat(text, url, **extra):
    turns = messages(text, url)
    for turn in turns:
        turn["content"] = [
            {"type": "video_url", "video_url": {"url": p["video"]}} if p["type"] == "video" else p
            for p in turn["content"]
        ]
    return {"messages": turns, "temperature": 0, "max_tokens": 24, **extra}


def through(body: bytes, found=None, path=serving.CHAT):
    """One request through the middleware around an application that echoes: (status, answer, what the
    application saw)."""
    seen, sent = [], []

    async def app(scope, receive, send):
        seen.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"choices": []}'})

    async def rpc(method, args):
        assert method == "tvad_heatmap" and len(args[0]) == np.prod(args[1])
        return [found]

    state = types.SimpleNamespace(
        args=types.SimpleNamespace(media_io_kwargs={"video": {"fps": 2.0, "num_frames": 8}}),
        engine_client=types.SimpleNamespace(collective_rpc=rpc),
    )
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(b"content-length", b"%d" % len(body))],
        "app": types.SimpleNamespace(state=state),
    }
    pieces = [
        {"type": "http.request", "body": body[:10], "more_body": True},
        {"type": "http.request", "body": body[10:], "more_body": False},
    ]

    async def receive():
        return pieces.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(serving.HeatmapMiddleware(app)(scope, receive, send))
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent[1:]), seen


def test_a_request_without_the_flag_passes_untouched(scenes):
    for body in (json.dumps({"messages": []}).encode(), b"not json, but long enough", b"[1, 2, 3, 4, 5, 6]"):
        assert through(body) == (200, b'{"choices": []}', [body])
    other = json.dumps({"heatmap": True, "messages": []}).encode()
    assert through(other, path="/v1/completions")[2] == [other[:10]]


def test_the_flag_adds_statistics_and_is_not_passed_on(scenes):
    sample = next(s for s in load(scenes) if s.anomalous)
    heat = np.zeros((4, 8, 8), np.float32)
    heat[1:3, 2:4, 2:4] = 0.9
    body = json.dumps(chat("When?", url_of(sample.path(sample.video.path)), heatmap=True)).encode()
    status, answer, seen = through(body, {"shape": [4, 8, 8], "values": heat.flatten().tolist()})
    found = json.loads(answer)["heatmap"]
    assert status == 200 and found["peak"] == 0.9 and "heatmap" not in json.loads(seen[0])
    assert [s["score"] for s in found["steps"]] == [0.0, 0.9, 0.9, 0.0] and found["steps"][1]["hot"] == round(
        4 / 64, 4
    )
    (only,) = found["objects"]
    x1, y1, x2, y2 = only["boxes"][0]["box"]
    assert (
        [b["t"] for b in only["boxes"]] == [1.25, 2.25]
        and 25 <= x1 <= 35
        and 50 <= x2 <= 60
        and (y1, y2) == (x1, x2)
    )
    off = json.dumps(chat("When?", url_of(sample.path(sample.video.path)), heatmap=False)).encode()
    assert "heatmap" not in json.loads(through(off)[1])


@pytest.mark.parametrize(
    "change, words",
    [
        ({"stream": True}, "not with stream"),
        ({"messages": []}, "found 0"),
        (
            {
                "messages": [
                    {"content": [{"type": "video_url", "video_url": {"url": "http://127.0.0.1/secret"}}]}
                ]
            },
            "must be a data:video",
        ),
        (
            {"messages": [{"content": [{"type": "video_url", "video_url": {"url": "file:///etc/passwd"}}]}]},
            "must be a data:video",
        ),
        (
            {
                "messages": [
                    {"content": [{"type": "video_url", "video_url": {"url": "data:video/mp4;base64,@@"}}]}
                ]
            },
            "not base64",
        ),
        (
            {
                "messages": [
                    {
                        "content": [
                            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,aGVsbG8="}}
                        ]
                    }
                ]
            },
            "cannot be decoded",
        ),
        ({"messages": [{"content": [{"type": "video_url", "video_url": 7}]}, 3, {"content": 5}]}, "found 0"),
    ],
)
def test_bad_heatmap_requests_are_answered_with_their_reason(change, words):
    status, answer, seen = through(json.dumps({"heatmap": True, "messages": [], **change}).encode())
    assert status == 400 and words in json.loads(answer)["error"]["message"] and not seen


def test_a_model_without_a_decoder_says_so(scenes):
    sample = load(scenes)[0]
    status, answer, _ = through(
        json.dumps(chat("When?", url_of(sample.path(sample.video.path)), heatmap=True)).encode(), None
    )
    assert status == 400 and "no heatmap decoder" in json.loads(answer)["error"]["message"]


def test_clips_are_sampled_as_in_training(scenes):
    path = load(scenes)[0].path("videos/test_00000.mp4")
    mine, theirs = sampled(path.read_bytes(), 2.0, 8), video.decode(path, 2.0, 8)
    assert np.array_equal(mine.images, theirs.images) and np.array_equal(mine.times, theirs.times)
    with pytest.raises(InputError):
        sampled(b"", 2.0, 8)


def jpegs(count: int, size=(48, 64)) -> list[str]:
    return [
        base64.b64encode(pictures.jpeg(np.full((*size, 3), 10 * n, np.uint8), 95)).decode()
        for n in range(count)
    ]


def test_a_list_of_pictures_is_sampled_on_its_own_clock():
    clip = sampled_pictures(",".join(jpegs(20)), 10.0, 2.0, 8)
    assert clip.times.tolist() == [0.0, 0.5, 1.0, 1.5] and clip.duration == 2.0
    assert clip.images.mean((1, 2, 3)).round().tolist() == [0, 50, 100, 150]
    assert len(sampled_pictures(",".join(jpegs(20)), 10.0, -1, -1).images) == 20
    for text, own, words in (
        (",".join(jpegs(4)), None, "needs its rate: media_io_kwargs.video.pictures_fps"),
        (",".join(jpegs(4)), float("nan"), "needs its rate"),
        ("a,b", 1.0, "number 0 is no picture in base64"),
        (",".join([*jpegs(2), *jpegs(2, (24, 32))]), 1.0, "must be of one size"),
    ):
        with pytest.raises(InputError, match=words):
            sampled_pictures(text, own, 10.0, 8)


def test_vllm_reads_files_and_lists_of_pictures_as_we_do(scenes):
    pytest.importorskip("vllm")
    from vllm.multimodal.media.image import ImageMediaIO
    from vllm.multimodal.media.video import VideoMediaIO

    register_loader()
    register_loader()

    def reader(**knobs):
        return VideoMediaIO(ImageMediaIO(), num_frames=8, video_backend=LOADER, fps=2.0, **knobs)

    images, metadata = reader(pictures_fps=10.0).load_base64("video/jpeg", ",".join(jpegs(20))).media
    assert images.shape == (4, 48, 64, 3) and metadata["fps"] == 2.0 and not metadata["do_sample_frames"]
    with pytest.raises(ValueError, match="needs its rate"):
        reader().load_base64("video/jpeg", ",".join(jpegs(20)))
    path = load(scenes)[0].path("videos/test_00000.mp4")
    data = base64.b64encode(path.read_bytes()).decode()
    assert np.array_equal(reader().load_base64("video/mp4", data).media[0], video.decode(path, 2.0, 8).images)
    with pytest.raises(ValueError, match="pictures_fps is for a list of pictures"):
        reader(pictures_fps=10.0).load_base64("video/mp4", data)


@pytest.mark.slow
def test_the_server_answers_as_transformers_does(server, scenes):
    from tvad.model.start import load as load_model
    from tvad.use.infer import ask, heatmaps_of

    sample = next(s for s in load(scenes) if s.anomalous)
    path = sample.path(sample.video.path)
    body = json.dumps(
        chat("When does the anomaly happen?", url_of(path), heatmap=True, model="tiny")
    ).encode()
    request = urllib.request.Request(f"{server}/chat/completions", body, {"Content-Type": "application/json"})
    answer = json.load(urllib.request.urlopen(request, timeout=120))
    model, processor = load_model(str(SHIPPED))
    clip = video.decode(path, 2.0, 8)
    assert (
        answer["choices"][0]["message"]["content"]
        == ask(model, processor, [clip], "When does the anomaly happen?", max_tokens=24)[0]
    )
    heat = heatmaps_of(model, processor, [clip])[0]
    assert [s["score"] for s in answer["heatmap"]["steps"]] == pytest.approx(
        heat.max((1, 2)).tolist(), abs=1e-4
    )


def test_frames_that_no_clip_can_have_are_refused_before_the_server_starts():
    for rate, most in ((0.0, 8), (-1.0, 8), (2.0, 1)):
        with pytest.raises(InputError, match="--rate must be positive and --max-frames at least 2"):
            serving.command("model", "127.0.0.1", 8000, rate, most, [])
    told = serving.command("model", "127.0.0.1", 8000, video.RATE, video.MAX_FRAMES, [])
    knobs = json.loads(told[told.index("--media-io-kwargs") + 1])["video"]
    assert (knobs["fps"], knobs["num_frames"]) == (2.0, 8)


def test_a_heatmap_is_of_the_frames_that_the_answer_is_about(scenes):
    body = chat("When?", url_of(load(scenes)[0].path("videos/test_00000.mp4")), heatmap=True)
    other = json.dumps(body | {"media_io_kwargs": {"video": {"num_frames": 4}}}).encode()
    status, answer, seen = through(other)
    assert status == 400 and "not with media_io_kwargs" in json.loads(answer)["error"]["message"] and not seen
    silent = types.SimpleNamespace(args=types.SimpleNamespace(media_io_kwargs=None), engine_client=None)
    with pytest.raises(InputError, match="must state fps and num_frames"):
        asyncio.run(serving._heatmap(silent, b""))
