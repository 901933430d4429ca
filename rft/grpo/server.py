r"""Rollout servers: vLLM beside the trainer, in processes of their own, on this machine or others.

    python -m rft.grpo.server --model assets/tvad-tiny --port 8100
    accelerate launch rft/train_grpo.py --config configs/grpo/demo.yaml \
        --engine server:http://127.0.0.1:8100,http://127.0.0.1:8101

Several servers share the prompts (data parallel); `--tensor-parallel` splits one over GPUs. Bodies are
safetensors (clips, weights, heatmaps) and JSON, nothing is unpickled. Bound to loopback unless told
otherwise; ROLLOUT_TOKEN, where set, is asked for.
"""

import hmac
import json
import os
import sys
import threading
import traceback
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from bench.models.base import Completion, Request, Sampling
from tvad.common import cli
from tvad.common.errors import InputError
from tvad.common.hub import folder
from tvad.data.video import Budget, Frames

TOKEN = "ROLLOUT_TOKEN"
PART = 1 << 30  # bytes of weights sent at a time


def _packed(clips: list[Frames], **words: Any) -> bytes:
    """Clips, and a JSON text beside them, as one safetensors body; a clip that occurs several times travels
    once."""
    first: dict[int, int] = {}
    places = [first.setdefault(id(clip), len(first)) for clip in clips]
    arrays: dict[str, np.ndarray] = {}
    rates: list[list[float]] = []
    for place, clip in zip(places, clips, strict=True):
        if place == len(rates):
            arrays |= {
                f"images.{place}": np.ascontiguousarray(clip.images),
                f"times.{place}": clip.times,
                f"moments.{place}": clip.moments,
                f"indices.{place}": np.asarray(clip.indices),
            }
            rates.append([clip.fps, clip.total])
    return save_arrays(
        arrays, {"json": json.dumps({"places": places, "rates": rates, **words}, allow_nan=False)}
    )


def _words(body: bytes) -> dict[str, Any]:
    """The JSON text of a safetensors body."""
    size = int.from_bytes(body[:8], "little")
    return json.loads(json.loads(body[8 : 8 + size])["__metadata__"]["json"])


def _unpacked(body: bytes) -> tuple[list[Frames], dict[str, Any]]:
    words, arrays = _words(body), load_arrays(body)
    clips = [
        Frames(
            arrays[f"images.{n}"],
            arrays[f"times.{n}"],
            arrays[f"indices.{n}"],
            fps,
            total,
            arrays[f"moments.{n}"],
        )
        for n, (fps, total) in enumerate(words["rates"])
    ]
    return [clips[place] for place in words["places"]], words


class RolloutClient:
    """An engine over one or more servers. `shared`: all processes of a training use the same servers, the
    first one sends the weights."""

    name, shared = "server", True

    def __init__(self, urls: str, timeout: float = 1800.0):
        self.urls = [url.strip().rstrip("/") for url in urls.split(",") if url.strip()]
        if not self.urls or not all(url.startswith(("http://", "https://")) for url in self.urls):
            raise InputError(f"engine: server:{urls}: expected server:http://HOST:PORT, several with commas")
        headers = {"Authorization": f"Bearer {token}"} if (token := os.environ.get(TOKEN)) else {}
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout, connect=10.0), headers=headers, trust_env=False
        )
        self.pixels = Budget()
        self._health = {url: self._post(url, "health", b"").json() for url in self.urls}

    def check(self, length: int, pixels: Budget) -> None:
        """Keep to `pixels`. Raises InputError for a server that has not room for sequences of so many tokens,
        or makes clips of other sizes."""
        for url, found in self._health.items():
            if found["max_model_len"] < length:
                raise InputError(
                    f"rollout server {url} has room for {found['max_model_len']} tokens, a prompt and its"
                    f" completion take {length}: start it with --max-model-len {length}"
                )
            if (theirs := Budget(**found["pixels"])) != pixels:
                raise InputError(
                    f"rollout server {url} was started with {theirs.stated}, the run has {pixels.stated}"
                )
        self.pixels = pixels

    def _post(self, url: str, path: str, body: bytes, **query: Any) -> httpx.Response:
        try:
            answer = self._client.post(f"{url}/{path}", content=body, params=query)
        except httpx.TransportError as error:
            raise InputError(
                f"rollout server {url} does not answer ({type(error).__name__}); start it again and repeat"
                " the training command, which goes on from its last checkpoint"
            ) from error
        if answer.status_code != 200:
            raise InputError(
                f"rollout server {url} answered {answer.status_code} to {path}:"
                f" {' '.join(answer.text.split())[:300]}"
            )
        return answer

    def _spread(self, count: int) -> list[tuple[str, list[int]]]:
        """Which server takes which of `count` requests."""
        return [
            (url, part.tolist())
            for url, part in zip(self.urls, np.array_split(np.arange(count), len(self.urls)), strict=True)
            if len(part)
        ]

    def _together(self, call, work: list) -> list:
        with ThreadPoolExecutor(len(self.urls)) as pool:
            return list(pool.map(lambda item: call(*item), work))

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Send all weights to every server, in parts; they take effect together, with the last."""
        parts: list[dict[str, torch.Tensor]] = [{}]
        size = 0
        for name, tensor in weights:
            if parts[-1] and size + tensor.nbytes > PART:
                parts.append({})
                size = 0
            parts[-1][name] = tensor.detach().cpu().contiguous().clone()  # tied weights may share memory
            size += tensor.nbytes
        for n, part in enumerate(parts):
            body, ends = save_tensors(part), {"first": int(n == 0), "last": int(n + 1 == len(parts))}
            self._together(
                lambda url, body=body, ends=ends: self._post(url, "weights", body, **ends),
                [(url,) for url in self.urls],
            )

    def sample(self, requests: list[Request], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions of every request, in order. `prompt_ids` keeps the expanded prompts of the
        last call."""

        # A server sees a part of the requests: by its own count two would draw by the same numbers.
        keys = [str(n) if r.key is None else r.key for n, r in enumerate(requests)]

        def ask(url: str, part: list[int]) -> dict:
            chosen = [requests[i] for i in part]
            body = _packed(
                [r.frames for r in chosen],
                messages=[r.messages for r in chosen],
                keys=[keys[i] for i in part],
                sampling=asdict(sampling),
            )
            return self._post(url, "sample", body).json()

        found = self._together(ask, self._spread(len(requests)))
        self.prompt_ids = [ids for answer in found for ids in answer["prompt_ids"]]
        return [
            [Completion(c["text"], c["ids"], c["logprobs"]) for c in group]
            for answer in found
            for group in answer["groups"]
        ]

    def heatmaps(self, frames: list[Frames]) -> list[np.ndarray] | None:
        def ask(url: str, part: list[int]) -> dict:
            return load_arrays(self._post(url, "heatmaps", _packed([frames[i] for i in part])).content)

        found = self._together(ask, self._spread(len(frames)))
        if any("none" in maps for maps in found):
            return None
        return [maps[str(n)] for maps in found for n in range(len(maps))]


def build_app(engine):
    """The server's application over an engine: POST health, sample, heatmaps, weights. One call at a time."""
    from fastapi import FastAPI, HTTPException
    from fastapi import Request as HttpRequest
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import JSONResponse, Response

    app = FastAPI(title="Rollout server", docs_url=None, redoc_url=None, openapi_url=None)
    lock = threading.Lock()
    coming: list[tuple[str, torch.Tensor]] = []
    token = os.environ.get(TOKEN)

    async def body_of(request: HttpRequest) -> bytes:
        if token and not hmac.compare_digest(request.headers.get("authorization", ""), f"Bearer {token}"):
            raise HTTPException(401, f"wrong or missing token; set {TOKEN}")
        return await request.body()

    async def answered(call, *args):
        def guarded():
            with lock:
                return call(*args)

        try:
            return await run_in_threadpool(guarded)
        except (SafetensorError, KeyError, ValueError, TypeError, InputError) as error:
            raise HTTPException(400, f"{type(error).__name__}: {error}") from error
        except Exception as error:  # the engine's own: the trainer should see more than "internal error"
            traceback.print_exc()
            raise HTTPException(500, f"{type(error).__name__}: {error}") from error

    @app.post("/health")
    async def health(request: HttpRequest):
        await body_of(request)
        return {
            "engine": engine.name,
            "max_model_len": engine.max_model_len,
            "pixels": engine.pixels.given,
        }

    @app.post("/sample")
    async def sample(request: HttpRequest):
        def work(body: bytes) -> dict:
            clips, words = _unpacked(body)
            requests = [
                Request(messages, clip, key=key)
                for messages, clip, key in zip(words["messages"], clips, words["keys"], strict=True)
            ]
            groups = engine.sample(requests, Sampling(**words["sampling"]))
            return {
                "prompt_ids": engine.prompt_ids,
                "groups": [[asdict(c) for c in group] for group in groups],
            }

        return JSONResponse(await answered(work, await body_of(request)))

    @app.post("/heatmaps")
    async def heatmaps(request: HttpRequest):
        def work(body: bytes) -> bytes:
            maps = engine.heatmaps(_unpacked(body)[0])
            return save_arrays(
                {"none": np.zeros(1)} if maps is None else {str(n): m for n, m in enumerate(maps)}
            )

        return Response(await answered(work, await body_of(request)), media_type="application/octet-stream")

    @app.post("/weights")
    async def weights(request: HttpRequest, first: int, last: int):
        def work(body: bytes) -> dict:
            if first:
                coming.clear()
            coming.extend(load_tensors(body).items())
            if last:
                engine.sync(coming)
                coming.clear()
            return {"weights": len(coming)}

        return await answered(work, await body_of(request))

    return app


def serve(
    model: str,
    host: str = "127.0.0.1",
    port: int = 8100,
    max_model_len: int = 1024,
    max_num_seqs: int = 128,
    memory: float = 0.9,
    tensor_parallel: int = 1,
    dtype: str | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    total_pixels: int | None = None,
) -> int:
    """Serve rollouts until interrupted.

    Args:
        model: Checkpoint folder, or the name of a shipped one; the trainer replaces its weights.
        host: Address to listen on.
        port: Port to listen on.
        max_model_len: Tokens of a prompt and its completion.
        max_num_seqs: Completions drawn at a time.
        memory: Share of a GPU's memory.
        tensor_parallel: GPUs that one engine is split over.
        dtype: As vLLM names it.
        min_pixels: At least so many pixels of a frame, as in the run's configuration.
        max_pixels: At most so many pixels of a frame.
        total_pixels: At most so many pixels of a clip.
    """
    path = folder(model)
    if not Path(path, "config.json").is_file():
        raise InputError(f"--model: {model} is not a checkpoint folder (no config.json)")
    import uvicorn

    from bench.models.vllm import VllmModel

    bounds: dict[str, Any] = Budget(min_pixels, max_pixels, total_pixels).given
    engine = VllmModel(
        path, dtype, max_model_len, max_num_seqs, memory, tensor_parallel=tensor_parallel, **bounds
    )
    print(f"rollout server for {model} on http://{host}:{port}", flush=True)
    uvicorn.run(build_app(engine), host=host, port=port, log_level="warning")
    return 0


def main(arguments: list[str] | None = None) -> int:
    return cli.run("python -m rft.grpo.server", serve, __doc__ or "", arguments)


if __name__ == "__main__":
    sys.exit(cli.guard(main))
