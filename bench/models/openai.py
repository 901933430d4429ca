"""`openai:NAME@URL` any endpoint that speaks the OpenAI chat protocol
(`openai:tiny@http://127.0.0.1:8000/v1`).

The key comes from OPENAI_API_KEY and goes nowhere but into the request. Videos travel as an mp4 (`video_url`,
as vLLM's server takes them) or as JPEG frames with their times (`image_url`, for endpoints that take pictures
only).
"""

import base64
import io
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from fractions import Fraction
from functools import partial
from typing import Any

import av
import httpx
import numpy as np

from bench.models.base import Completion, Request, Sampling, seeds_of
from tvad.common.errors import InputError
from tvad.control import plain_shape
from tvad.data.video import Budget, Frames
from tvad.pictures import data_url

REFUSED = (400, 422)
RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)
KEY = "OPENAI_API_KEY"


def as_mp4(clip: Frames) -> bytes:
    """A sampled clip as an mp4 at its sampled rate, every frame kept as it is (lossless H.264)."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264rgb",
            rate=Fraction(clip.sampled_fps).limit_denominator(1001),
            options={"crf": "0", "preset": "veryfast"},
        )
        height, width = clip.images.shape[1:3]
        stream.height, stream.width, stream.pix_fmt = height, width, "rgb24"
        for image in clip.images:
            for packet in stream.encode(
                av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            ):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return out.getvalue()


def content_of(clip: Frames, video: str) -> list[dict]:
    """The parts that stand for a clip."""
    if video == "file":
        return [
            {
                "type": "video_url",
                "video_url": {"url": "data:video/mp4;base64," + base64.b64encode(as_mp4(clip)).decode()},
            }
        ]
    parts: list[dict] = []
    for image, seconds in zip(clip.images, clip.moments, strict=True):
        parts += [
            {"type": "text", "text": f"Frame at {seconds:.2f} s:"},
            {"type": "image_url", "image_url": {"url": data_url(image, 90)}},
        ]
    return parts


class OpenAiModel:
    """concurrency: requests in flight. video: "file" or "frames". retries: of a request that failed for the
    moment (busy, timed out, broken connection), with doubling waits. A request that the endpoint refuses
    stops the run with its reason."""

    name = "openai"

    def __init__(
        self,
        spec: str,
        concurrency: int = 8,
        video: str = "file",
        timeout: float = 120.0,
        retries: int = 6,
        wait: float = 0.5,
    ):
        self.pixels = Budget()  # an endpoint is sent a clip as it is, and resizes as it will
        self.model, at, self.url = spec.partition("@")
        self.url = self.url if at else os.environ.get("OPENAI_BASE_URL", "")
        if not self.model or not self.url.startswith(("http://", "https://")):
            raise InputError(f"openai:{spec}: expected NAME@URL, or NAME with OPENAI_BASE_URL set")
        if video not in ("file", "frames"):
            raise InputError(f"openai: video is {video!r}, expected file or frames")
        self.concurrency, self.video, self.retries, self.wait = concurrency, video, retries, wait
        self._seeds = True  # until the endpoint refuses them
        headers = {"Authorization": f"Bearer {key}"} if (key := os.environ.get(KEY)) else {}
        self._client = httpx.Client(
            timeout=timeout, headers=headers, limits=httpx.Limits(max_connections=concurrency)
        )

    def _body(self, request: Request, sampling: Sampling, seed: int) -> dict[str, Any]:
        turns = []
        for message in request.messages:
            content: Any = message["content"]
            if isinstance(content, list):
                content = [
                    part
                    for p in content
                    for part in (
                        content_of(request.frames, self.video)
                        if p["type"] == "video"
                        else [{**p, "text": plain_shape(p["text"])}]
                    )
                ]
                if all(part["type"] == "text" for part in content):
                    content = "".join(part["text"] for part in content)
            turns.append({"role": message["role"], "content": content})
        body = {
            "model": self.model,
            "messages": turns,
            "n": sampling.n,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        }
        return body | ({"seed": seed} if sampling.temperature else {})

    def _ask(self, request: Request, sampling: Sampling, seed: int) -> list[Completion]:
        return self._post(self._body(request, sampling, seed))

    def first_token(self, requests: list[Request]) -> list[dict[Any, float]] | None:
        """{token: log-prob} of the likeliest first tokens of the answer to each request; None where the
        endpoint refuses to give them or leaves them out."""
        found = []
        for request in requests:
            body = self._body(request, Sampling(max_tokens=1), 0) | {"logprobs": True, "top_logprobs": 5}
            try:
                first = self._answered(body).json()["choices"][0]["logprobs"]["content"][0]
                found.append({entry["token"]: float(entry["logprob"]) for entry in first["top_logprobs"]})
            except (InputError, ValueError, KeyError, TypeError, IndexError):
                return None
            if not found[-1]:
                return None
        return found

    def _post(self, body: dict[str, Any]) -> list[Completion]:
        return self._read(self._answered(body), body["n"])

    def _answered(self, body: dict[str, Any]) -> httpx.Response:
        """The endpoint's answer, status 200. Raises InputError where it refuses or cannot be reached."""
        for attempt in range(self.retries + 1):
            last = attempt == self.retries
            if not self._seeds:
                body.pop("seed", None)
            try:
                answer = self._client.post(f"{self.url.rstrip('/')}/chat/completions", json=body)
            except (httpx.TransportError, httpx.TimeoutException) as error:
                if last:
                    raise InputError(
                        f"openai: {self.url} cannot be reached ({type(error).__name__}), {self.retries + 1}"
                        " attempts"
                    ) from error
                self._pause(attempt, None)
                continue
            if answer.status_code == 200:
                return answer
            if answer.status_code in REFUSED and "seed" in body and "seed" in answer.text.lower():
                if self._seeds:
                    print(
                        f"openai: {self.url} takes no seed: what it draws differs from run to run",
                        file=sys.stderr,
                    )
                self._seeds = False
                continue
            if answer.status_code not in RETRIED or last:
                raise InputError(
                    f"openai: {self.url} answered {answer.status_code}: {' '.join(answer.text.split())[:200]}"
                )
            self._pause(attempt, answer.headers.get("retry-after"))
        raise AssertionError("unreachable")

    def _pause(self, attempt: int, wanted: str | None) -> None:
        # Doubling, with up to a quarter more, so that requests refused together do not come back together.
        seconds = min(60.0, self.wait * 2**attempt) * (1 + random.random() / 4)
        # Retry-After in seconds is honoured up to two minutes; its other form, a date, is not read.
        if wanted and wanted.replace(".", "", 1).isdigit():
            seconds = max(seconds, min(120.0, float(wanted)))
        time.sleep(seconds)

    def _read(self, answer: httpx.Response, n: int) -> list[Completion]:
        try:
            choices = answer.json()["choices"]
            texts = [choice["message"]["content"] or "" for choice in choices]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"openai: {self.url} answered no chat completion ({type(error).__name__})"
            ) from error
        if len(texts) != n:
            raise InputError(f"openai: {self.url} gave {len(texts)} completions, {n} were asked for")
        return [Completion(str(text)) for text in texts]

    def stream(self, requests: list[Request], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        """(number of the request, its completions) as they come in."""
        seeds = seeds_of(requests, sampling.seed)
        return self._together(
            [
                partial(self._ask, request, sampling, seed)
                for request, seed in zip(requests, seeds, strict=True)
            ]
        )

    def ask_texts(self, prompts: list[str], schema: dict, name: str) -> Iterator[tuple[int, str]]:
        """(number of the prompt, reply) as they come in: one user turn each, temperature 0, by a JSON schema
        where the endpoint has it."""
        form = {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}
        bodies = [
            {
                "model": self.model,
                "messages": [{"role": "user", "content": plain_shape(prompt)}],
                "n": 1,
                "temperature": 0,
                "max_tokens": 1024,
                "response_format": form,
            }
            for prompt in prompts
        ]
        for n, found in self._together([partial(self._post, body) for body in bodies]):
            yield n, found[0].text

    def _together(
        self, calls: list[Callable[[], list[Completion]]]
    ) -> Iterator[tuple[int, list[Completion]]]:
        with ThreadPoolExecutor(self.concurrency) as pool:
            waiting = {pool.submit(call): n for n, call in enumerate(calls)}
            try:
                for done in as_completed(waiting):
                    yield waiting[done], done.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def sample(self, requests: list[Request], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions of every request, in order. What is drawn repeats as far as the endpoint
        honours `seed`."""
        found = dict(self.stream(requests, sampling))
        return [found[n] for n in range(len(requests))]

    def heatmaps(self, frames: list[Frames]) -> None:
        return None
