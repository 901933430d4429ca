"""Serving with vLLM's OpenAI-compatible server: `tvad serve`, or `vllm serve` with the options that `command`
gives.

Three things on top of the plug-in: clips are sampled as in training (`tvad.data.vllm_clips`), a worker gives
heatmaps (`HeatmapWorker`), and a chat request with `"heatmap": true` beside its messages gets the heatmap's
statistics beside the answer (`HeatmapMiddleware`).
"""

import base64
import binascii
import json
from typing import Any

import numpy as np

from tvad.common.errors import InputError
from tvad.data.video import Frames, check_sampling
from tvad.data.vllm_clips import LOADER, sampled
from tvad.detections import objects_of

CHAT = "/v1/chat/completions"
MOST_BYTES = 512 << 20  # of a video in a request
MIDDLEWARE, WORKER = "tvad.use.serving.HeatmapMiddleware", "tvad.use.serving.HeatmapWorker"


def command(model: str, host: str, port: int, rate: float, max_frames: int, extra: list[str]) -> list[str]:
    """Options of vLLM's server for a checkpoint folder with all three (after `vllm serve MODEL` they are the
    same). Clips: `rate` frames a second, longer videos thinned out evenly to `max_frames`. Raises InputError
    for a rate or a number of frames that gives none."""
    check_sampling(rate, max_frames)
    sampling = {"video": {"video_backend": LOADER, "fps": rate, "num_frames": max_frames}}
    return [
        "--model",
        model,
        "--host",
        host,
        "--port",
        str(port),
        "--limit-mm-per-prompt",
        '{"video": 1, "image": 0}',
        "--media-io-kwargs",
        json.dumps(sampling),
        "--middleware",
        MIDDLEWARE,
        "--worker-extension-cls",
        WORKER,
        *extra,
    ]


class HeatmapWorker:
    """Mixed into vLLM's workers (`--worker-extension-cls`)."""

    model_runner: Any  # the worker's own

    def tvad_heatmap(self, pixels: bytes, shape: list[int], times: list[float], fps: float) -> dict | None:
        """Heatmap of one clip with the worker's weights: {"shape": (t, h, w), "values": [...]}; None for a
        model without AHD."""
        from transformers import AutoProcessor

        model = self.model_runner.model
        if getattr(model, "ahd", None) is None:
            return None
        if not hasattr(self, "_tvad_processor"):
            self._tvad_processor = AutoProcessor.from_pretrained(self.model_runner.model_config.model)
        images = np.frombuffer(pixels, np.uint8).reshape(shape)
        clip = Frames(images, np.array(times), np.arange(len(images)), fps, len(images))
        heat = model.heatmaps(self._tvad_processor, [clip])[0].float().cpu()
        return {"shape": list(heat.shape), "values": heat.flatten().tolist()}


def statistics(heat: np.ndarray, clip: Frames) -> dict[str, Any]:
    """What a client gets: per step its time, score and share of hot patches; the objects with their boxes in
    the video's pixels."""
    height, width = clip.images.shape[1:3]
    per_step = -(-len(clip.moments) // len(heat))
    times = [
        round(float(clip.moments[i * per_step : (i + 1) * per_step].mean()), 3) for i in range(len(heat))
    ]
    objects = [
        {
            "score": round(path.score, 4),
            "boxes": [{"t": times[s], "box": [int(c) for c in box[:4]]} for s, box in path.boxes.items()],
        }
        for path in objects_of(heat, height, width)
    ]
    steps = [
        {"t": t, "score": round(float(m.max()), 4), "hot": round(float((m >= 0.5).mean()), 4)}
        for t, m in zip(times, heat, strict=True)
    ]
    return {
        "peak": round(float(heat.max()), 4),
        "steps": steps,
        "objects": objects,
        "width": width,
        "height": height,
    }


def video_of(body: dict) -> bytes:
    """The one video of a chat request. Raises InputError: only data: URLs are taken, nothing is fetched."""
    found = []
    for message in body.get("messages") or ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if (
                isinstance(part, dict)
                and part.get("type") == "video_url"
                and isinstance(part.get("video_url"), dict)
            ):
                found.append(part["video_url"].get("url"))
    if len(found) != 1:
        raise InputError(f"heatmap: expected one video_url, found {len(found)}")
    head, _, data = str(found[0]).partition(";base64,")
    if not head.startswith("data:video/") or not data:
        raise InputError("heatmap: the video must be a data:video/...;base64 URL")
    if len(data) * 3 // 4 > MOST_BYTES:
        raise InputError(f"heatmap: the video has more than {MOST_BYTES >> 20} MiB")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"heatmap: the video is not base64 ({error})") from error


class HeatmapMiddleware:
    """ASGI middleware of vLLM's server (`--middleware`): answers chat requests with `"heatmap": true` with
    both."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != CHAT:
            return await self.app(scope, receive, send)
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict) or "heatmap" not in request:
            return await self.app(scope, _replay(body, receive), send)
        # vLLM knows no such key and must not see it; without it the body has another length.
        wanted = request.pop("heatmap")
        trimmed = json.dumps(request).encode()
        scope = scope | {
            "headers": [(k, v) for k, v in scope["headers"] if k != b"content-length"]
            + [(b"content-length", b"%d" % len(trimmed))]
        }
        if not wanted:
            return await self.app(scope, _replay(trimmed, receive), send)
        try:
            if request.get("stream"):
                raise InputError("heatmap: not with stream")
            if request.get("media_io_kwargs"):
                raise InputError("heatmap: not with media_io_kwargs, the frames are those of the server")
            found = await _heatmap(scope["app"].state, video_of(request))
        except InputError as error:
            return await _reply(
                send, 400, {"error": {"message": str(error), "type": "BadRequestError", "code": 400}}
            )
        status, answer = await _collect(self.app, scope, _replay(trimmed, receive))
        if status == 200:
            answer = json.dumps(json.loads(answer) | {"heatmap": found}).encode()
        return await _reply(send, status, answer)


async def _heatmap(state, data: bytes) -> dict:
    """Statistics of the heatmap over the frames that the answer is about: those that the server was told to
    take."""
    knobs = (getattr(state.args, "media_io_kwargs", None) or {}).get("video", {})
    if not {"fps", "num_frames"} <= knobs.keys():
        raise InputError("heatmap: the server's --media-io-kwargs must state fps and num_frames of video")
    clip = sampled(data, float(knobs["fps"]), int(knobs["num_frames"]))
    # Bytes and lists: the engine's workers may be other processes, and only plain values travel there.
    arguments = (clip.images.tobytes(), list(clip.images.shape), clip.moments.tolist(), clip.fps)
    found = (await state.engine_client.collective_rpc("tvad_heatmap", args=arguments))[0]
    if found is None:
        raise InputError("heatmap: this model has no heatmap decoder")
    return statistics(np.array(found["values"], np.float32).reshape(found["shape"]), clip)


def _replay(body: bytes, receive):
    """A receive that gives `body` once and then what comes after it."""
    sent = False

    async def again():
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _collect(app, scope, receive) -> tuple[int, bytes]:
    status, parts = 500, []

    async def keep(message):
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    await app(scope, receive, keep)
    return status, b"".join(parts)


async def _reply(send, status: int, content: dict | bytes) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
