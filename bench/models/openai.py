"""`openai:NAME@URL` any endpoint that speaks the OpenAI chat protocol
(`openai:tiny@http://127.0.0.1:8000/v1`).

The key comes from OPENAI_API_KEY and goes nowhere but into the request. Videos travel as an mp4 (`video_url`,
as vLLM's server takes them) or as JPEG frames with their times (`image_url`, for endpoints that take pictures
only).
"""

import base64
import io
import math
import os
import random
import re
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

from bench.models.base import Busy, Completion, Down, Request, Sampling, seeds_of, times_of
from bench.models.families import known
from bench.models.reply import MOST_COST, completion_of, excerpt, failure, is_json, json_of, with_usage
from tvad.common.errors import InputError, at_least
from tvad.control import plain_shape
from tvad.data.video import Budget, Frames
from tvad.pictures import data_url

REFUSED = (400, 422)
RETRIED = (408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529)  # from 520 on: proxies, "overloaded"
LOCKED = (401, 403)  # of every request alike
MOST_BYTES = 64 << 20  # of a reply
KEY = "OPENAI_API_KEY"
OURS = ("model", "messages", "n", "stream")  # no keys of `extra_body`; of these only null
DECODED = {
    "temperature": " (decode.temperature)",
    "seed": " (decode.seed)",
    **dict.fromkeys(("max_tokens", "max_completion_tokens"), " (decode.max_tokens)"),
}
FORMS = ("file", "frames", "images")  # of a clip
TOLD = {"temperature": 0, "max_tokens": 1024}  # how a text is replied to (`ask_texts`)
# What an endpoint may not know and is then asked without: words of its refusal, and what that means.
OPTIONAL = {
    "seed": (("seed",), "takes no seed: what it draws differs from run to run"),
    "response_format": (
        ("response_format", "json_schema"),
        "takes no JSON schema: its replies are read as they are written",
    ),
}


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
    """The parts that stand for a clip, in one of FORMS."""
    if video == "file":
        return [
            {
                "type": "video_url",
                "video_url": {"url": "data:video/mp4;base64," + base64.b64encode(as_mp4(clip)).decode()},
            }
        ]
    pictures = [{"type": "image_url", "image_url": {"url": data_url(image, 90)}} for image in clip.images]
    if video == "images":
        return [*pictures, {"type": "text", "text": f"{times_of(clip)}\n"}]
    times = [{"type": "text", "text": f"Frame at {seconds:.2f} s:"} for seconds in clip.moments]
    return [part for pair in zip(times, pictures, strict=True) for part in pair]


def _prices(price_in: float | None, price_out: float | None) -> tuple[float, float] | None:
    """Of a million tokens in and out. Raises InputError for one without the other, or what is no price."""
    for name, value in (("price_in", price_in), ("price_out", price_out)):
        if value is not None and not 0 <= value <= MOST_COST:
            raise InputError(f"openai: {name} is {value:g}, expected 0 to {MOST_COST:g} a million tokens")
    if price_in is not None and price_out is not None:
        return price_in, price_out
    if price_in is None and price_out is None:
        return None
    given, lacking = ("price_out", "price_in") if price_in is None else ("price_in", "price_out")
    raise InputError(f"openai: {given} without {lacking}: a cost is of the tokens in and of those out")


def _form(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The `response_format` that holds a reply to a JSON schema."""
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}


class OpenAiModel:
    """concurrency: requests in flight. video: of FORMS, by default as its family takes clips. retries: of a
    request that failed for the moment (busy, timed out, broken connection), with doubling waits; timeout:
    seconds of one. max_completion_tokens, extra_body: as `ModelOptions` has them. A reply that is no JSON is
    asked for once more."""

    name = "openai"

    def __init__(
        self,
        spec: str,
        concurrency: int = 8,
        video: str | None = None,
        timeout: float = 120.0,
        retries: int = 6,
        wait: float = 0.5,
        max_completion_tokens: bool = False,
        extra_body: dict[str, Any] | None = None,
        family: str | None = None,
        price_in: float | None = None,
        price_out: float | None = None,
    ):
        self.known = known(family)
        self.prices = _prices(price_in, price_out)
        video = video or self.known.family.sent_as
        self.pixels = Budget()  # an endpoint is sent a clip as it is, and resizes as it will
        self.model, at, self.url = spec.partition("@")
        self.url = self.url if at else os.environ.get("OPENAI_BASE_URL", "")
        if not self.model or not self.url.startswith(("http://", "https://")):
            raise InputError(f"openai:{spec}: expected NAME@URL, or NAME with OPENAI_BASE_URL set")
        if video not in FORMS:
            raise InputError(f"openai: video is {video!r}, expected one of {', '.join(FORMS)}")
        for name, value, least in (("concurrency", concurrency, 1), ("retries", retries, 0)):
            at_least(f"openai: {name}", value, least)
        if not 0 < timeout < math.inf:
            raise InputError(f"openai: timeout is {timeout:g}, expected seconds above 0")
        if not 0 <= wait < math.inf:
            raise InputError(f"openai: wait is {wait:g}, expected seconds, 0 or more")
        self.concurrency, self.video, self.retries, self.wait = concurrency, video, retries, wait
        self.timeout = timeout
        try:
            httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise InputError(f"openai:{spec}: {self.url!r} is no address ({error})") from error
        self.limit = "max_completion_tokens" if max_completion_tokens else "max_tokens"
        self.extra_body = extra_body or {}
        for name, value in self.extra_body.items():
            if name in OURS or (name in DECODED and value is not None):
                raise InputError(f"openai: extra_body: {name!r} belongs to the run{DECODED.get(name, '')}")
        self._without: set[str] = set()  # of OPTIONAL, what the endpoint has refused
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
        if request.schema is not None:
            body["response_format"] = _form("reply", request.schema)
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
                first = json_of(self._answered(body))["choices"][0]["logprobs"]["content"][0]
                found.append({entry["token"]: float(entry["logprob"]) for entry in first["top_logprobs"]})
            except (InputError, ValueError, KeyError, TypeError, IndexError):
                return None
            if not found[-1]:
                return None
        return found

    def _post(self, body: dict[str, Any]) -> list[Completion]:
        began = time.monotonic()
        answer = self._answered(body)
        if not is_json(answer):  # cut on its way; what is so again is how this endpoint answers
            self._pause(0, None)
            answer = self._answered(body)
        return self._read(answer, body["n"], time.monotonic() - began)

    def _answered(self, body: dict[str, Any]) -> httpx.Response:
        """The endpoint's answer, status 200. Raises InputError where it refuses or cannot be reached."""
        attempt = 0
        while True:
            last = attempt == self.retries
            body = {key: value for key, value in body.items() if key not in self._without}
            body = {key: value for key, value in {**body, **self.extra_body}.items() if value is not None}
            if "max_tokens" in body and self.limit != "max_tokens":
                body[self.limit] = body.pop("max_tokens")
            try:
                answer = self._sent(body)
            except httpx.RequestError as error:
                if last:
                    raise Down(
                        f"openai: {self.url} cannot be reached ({type(error).__name__}), {self.retries + 1}"
                        " attempts"
                    ) from error
                self._pause(attempt, None)
                attempt += 1
                continue
            status = failure(answer)
            if status == 200:
                return answer
            refused = answer.text if status in REFUSED else ""
            if refused and (self._leave_out(body, refused) or self._rename(body, refused)):
                continue
            if status not in RETRIED or last:
                kind = Down if status in LOCKED else Busy if status in RETRIED else InputError
                raise kind(f"openai: {self.url} answered {status}: {excerpt(answer)}")
            self._pause(attempt, answer.headers.get("retry-after"))
            attempt += 1

    def _sent(self, body: dict[str, Any]) -> httpx.Response:
        """The reply to one request, whole. Raises httpx.RequestError where there is none in time, InputError
        where it has no end."""
        began, parts, size = time.monotonic(), [], 0
        with self._client.stream("POST", f"{self.url.rstrip('/')}/chat/completions", json=body) as answer:
            for part in answer.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > MOST_BYTES:
                    raise InputError(f"openai: {self.url} answered more than {MOST_BYTES >> 20} MiB")
                # The client's own limit is of each piece: a reply that drips would never reach it.
                if time.monotonic() - began > self.timeout:
                    raise httpx.ReadTimeout("the reply is not whole in time", request=answer.request)
        told = (b"content-type", b"retry-after")  # not the encoding, which is undone
        kept = [(key, value) for key, value in answer.headers.raw if key.lower() in told]
        return httpx.Response(answer.status_code, headers=kept, content=b"".join(parts))

    def _leave_out(self, body: dict[str, Any], refusal: str) -> bool:
        """Whether the endpoint has refused something that it can be asked without."""
        for key, (words, meaning) in OPTIONAL.items():
            # What the run was told to send is sent.
            if key in body and key not in self.extra_body and any(word in refusal.lower() for word in words):
                if key not in self._without:
                    print(f"openai: {self.url} {meaning}", file=sys.stderr)
                self._without.add(key)
                return True
        return False

    def _rename(self, body: dict[str, Any], refusal: str) -> bool:
        """Whether the endpoint wants the answer's limit by its newer name, as reasoning models do."""
        if "max_tokens" not in body or "max_completion_tokens" not in refusal:
            return False
        if self.limit == "max_tokens":
            print(f"openai: {self.url} is told max_completion_tokens, not max_tokens", file=sys.stderr)
            self.limit = "max_completion_tokens"
        return True

    def _pause(self, attempt: int, wanted: str | None) -> None:
        # Doubling, with up to a quarter more, so that requests refused together do not come back together.
        seconds = min(60.0, self.wait * 2**attempt) * (1 + random.random() / 4)
        # Retry-After in seconds is honoured up to two minutes; its other form, a date, is not read.
        if wanted and re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", wanted):
            seconds = max(seconds, min(120.0, float(wanted)))
        time.sleep(seconds)

    def _read(self, answer: httpx.Response, n: int, seconds: float) -> list[Completion]:
        """The n answers of a reply. seconds: what the request took, with everything that was tried again."""
        try:
            data = json_of(answer)
            found = [completion_of(choice) for choice in data["choices"]]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            why = str(error) if type(error) is TypeError else type(error).__name__
            raise InputError(
                f"openai: {self.url} answered no chat completion ({why}): {excerpt(answer)}"
            ) from error
        if len(found) != n:
            raise InputError(f"openai: {self.url} gave {len(found)} completions, {n} were asked for")
        return with_usage(found, data, seconds, self.prices)

    def stream(
        self, requests: list[Request], sampling: Sampling
    ) -> Iterator[tuple[int, list[Completion] | Exception]]:
        """(number of the request, its completions, or why it has none) as they come in."""
        seeds = seeds_of(requests, sampling.seed)
        return self._together(
            [
                partial(self._ask, request, sampling, seed)
                for request, seed in zip(requests, seeds, strict=True)
            ]
        )

    def ask_texts(
        self, prompts: list[str], schema: dict, name: str
    ) -> Iterator[tuple[int, Completion | Exception]]:
        """(number of the prompt, reply or why there is none) as they come in: one user turn each, temperature
        0, by a JSON schema where the endpoint has it."""
        form = _form(name, schema)
        bodies = [
            {
                "model": self.model,
                "messages": [{"role": "user", "content": plain_shape(prompt)}],
                "n": 1,
                **TOLD,
                "response_format": form,
            }
            for prompt in prompts
        ]
        for n, found in self._together([partial(self._post, body) for body in bodies]):
            yield n, found if isinstance(found, Exception) else found[0]

    def _together(
        self, calls: list[Callable[[], list[Completion]]]
    ) -> Iterator[tuple[int, list[Completion] | Exception]]:
        with ThreadPoolExecutor(self.concurrency) as pool:
            waiting = {pool.submit(call): n for n, call in enumerate(calls)}
            try:
                for done in as_completed(waiting):
                    failed = done.exception()  # whatever it is, it is what came of this one request
                    yield waiting[done], failed if isinstance(failed, Exception) else done.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def sample(self, requests: list[Request], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions of every request, in order. What is drawn repeats as far as the endpoint
        honours `seed`."""
        found: dict[int, list[Completion]] = {}
        for n, completions in self.stream(requests, sampling):
            if isinstance(completions, Exception):
                raise completions
            found[n] = completions
        return [found[n] for n in range(len(requests))]

    def heatmaps(self, frames: list[Frames]) -> None:
        return None

    def picture(self, count: int, height: int, width: int) -> None:
        """Not known: the endpoint resizes."""
        return None
