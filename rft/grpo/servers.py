"""Rollouts from vLLM's servers, on as many GPUs as there are:

    tvad serve --rollouts --model assets/tvad-tiny --port 8100
    accelerate launch rft/train_grpo.py --config configs/grpo/demo.yaml \\
        --engine server:http://127.0.0.1:8100,http://127.0.0.1:8101

They share the prompts. One that dies in the middle of a step has its requests drawn by the others, by the
same seeds; one that is back, or new to the run, gets all weights at the next step and then takes part. Frames
travel as the model gets them, a clip once a server; bodies are JSON and safetensors, nothing is unpickled.
"""

import math
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import torch

from bench.models.base import Completion, Request, Sampling, Usage, seeds_of
from rft.grpo.server_client import Lost, Refused, Server
from rft.grpo.transfer import check_backend, each, send
from tvad.common.errors import InputError
from tvad.control import plain_messages, tokens_of
from tvad.data.video import Budget, Frames
from tvad.data.vllm_clips import address_of, packed

MODEL = "policy"  # as the servers call it
AT_ONCE = 64  # requests under way from one process
TRIES = 3  # of a request that a living server does not do
POLL = 1.0  # seconds between two looks at a server that may come back


@dataclass(frozen=True)
class Drawn:
    """Completions by request, the expanded prompts' ids, and `figures`: servers that drew, requests that were
    sent again, seconds of the quickest and the slowest server."""

    groups: list[list[Completion]]
    prompt_ids: list[list[int]]
    figures: dict[str, float]


class NoServer(InputError):
    """None is left that has this step's weights."""


class RolloutServers:
    """An engine over one or more servers. `shared`: all processes of a training use the same servers, the
    first one sends the weights, by `version`. maps: who makes heatmaps, which the servers do not. wait:
    seconds for which a step waits for a server where none is left; timeout: seconds of one request.
    `figures`: of the last `sample`: servers that drew, requests that were sent again, seconds of the quickest
    and the slowest."""

    name, shared = "server", True

    def __init__(self, urls: str, processor: Any, wait: float = 60.0, timeout: float = 1800.0):
        addresses = [url.strip().rstrip("/") for url in urls.split(",") if url.strip()]
        if not addresses or not all(map(_is_address, addresses)):
            known = ", ".join(url.rpartition("@")[2] for url in addresses)  # what is before @ is a secret
            raise InputError(
                f"engine: server:{known}: expected server:http://HOST:PORT, several with commas, no user and"
                " no query"
            )
        for name, value, least in (("wait", wait, "at least"), ("timeout", timeout, "above")):
            seconds = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not seconds or value < 0 or (least == "above" and value == 0):
                raise InputError(f"engine_options.{name}: {value!r}, expected seconds, {least} 0")
        self.wait, self.processor, self.pixels = wait, processor, Budget()
        self.maps: Callable[[list[Frames]], list[np.ndarray] | None] | None = None
        self.servers = [Server(url, timeout) for url in addresses]
        marks: dict[str, Server] = {}
        for server in self.servers:
            check_backend(server)
            if (first := marks.setdefault(server.told["mark"], server)) is not server:
                raise InputError(f"engine: {first.url} and {server.url} are one rollout server")
        self._length: int | None = None
        self.version: str | None = None
        self.prompt_ids: list[list[int]] = []
        self.figures: dict[str, float] = {}
        self._run, self._sent = secrets.token_hex(4), 0

    def check(self, length: int, pixels: Budget) -> None:
        """Keep to `pixels`. Raises InputError for a server that has not room for sequences of so many tokens,
        or makes clips of other sizes."""
        self._length, self.pixels = length, pixels
        for server in self.servers:
            self._check(server)

    def _check(self, server: Server) -> None:
        if self._length is None:
            return
        if (room := server.told["max_model_len"]) < self._length:
            raise InputError(
                f"rollout server {server.url} has room for {room} tokens, a prompt and its"
                f" completion take {self._length}: start it with --max-model-len {self._length}"
            )
        if (theirs := Budget(**server.told["pixels"])) != self.pixels:
            raise InputError(
                f"rollout server {server.url} was started with {theirs.stated}, the run has"
                f" {self.pixels.stated}"
            )

    def lacks_some(self) -> bool:
        """Whether a server that answers has not the weights that were sent last, so that all must travel."""
        return self.version is None or any(s.version() not in (None, self.version) for s in self.servers)

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]], whole: bool = True) -> None:
        """Send weights to every server that answers; they take effect together, at the end. Without `whole`
        to those that have the last ones: one that came back since `lacks_some` would have no others. Raises
        NoServer, and InputError for a server that was started again otherwise than `check` wants."""
        there = [s for s in self.servers if (v := s.version()) is not None and (whole or v == self.version)]
        if whole:
            there = each(there, Server.look)
            for server in there:
                check_backend(server)
                self._check(server)
        self._sent += 1
        version = f"{self._run}.{self._sent}"
        done = send(there, weights, version)
        for server in self.servers:
            if server not in done:
                server.clips.clear()
        if not done:
            raise NoServer(self._gone("took the weights"))
        self.version = version

    def _gone(self, what: str, why: str = "") -> str:
        urls = ", ".join(server.url for server in self.servers)
        return (
            f"no rollout server {what} ({urls}{why}): each does not answer; start one again and repeat the"
            " training command, which goes on from its last checkpoint"
        )

    def sample(self, requests: list[Request], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions of every request, in order. `prompt_ids` keeps the expanded prompts of the
        last call, `figures` what it took. Raises NoServer, and InputError for what a server refuses."""
        return self.keep(self.draw(requests, sampling))

    def keep(self, drawn: Drawn) -> list[list[Completion]]:
        """Its completions; the rest as that of the last `sample`."""
        self.prompt_ids, self.figures = drawn.prompt_ids, drawn.figures
        return drawn.groups

    def draw(self, requests: list[Request], sampling: Sampling) -> Drawn:
        """As `sample`, for a thread of its own."""
        draw = _Draw(self, requests, sampling)
        found: dict[int, tuple[list[int], list[Completion]]] = {}
        wanted = list(range(len(requests)))
        with ThreadPoolExecutor(max(1, min(AT_ONCE, len(requests)))) as pool:
            while wanted:
                found |= zip(wanted, pool.map(draw.one, wanted), strict=True)
                wanted = draw.by_others()
        in_order = [found[n] for n in range(len(requests))]
        return Drawn([group for _, group in in_order], [ids for ids, _ in in_order], draw.figures())

    def heatmaps(self, frames: list[Frames]) -> list[np.ndarray] | None:
        """By `maps`; None without."""
        return self.maps(frames) if self.maps is not None else None


class _Draw:
    """One call of `sample`: which server draws what."""

    def __init__(self, engine: RolloutServers, requests: list[Request], sampling: Sampling):
        self.engine, self.requests, self.sampling = engine, requests, sampling
        self.seeds = seeds_of(requests, sampling.seed)
        self.tokens = tokens_of(engine.processor)
        # One that was started anew has other weights: it draws nothing before it was sent these.
        said = {s: v for s in engine.servers if (v := s.version()) is not None}
        self.versions = {s: v for s, v in said.items() if engine.version in (None, v)}
        self.left = list(self.versions)
        self.answered: dict[int, Server] = {}
        self.began, self.again, self.lock = time.monotonic(), 0, threading.Lock()
        self.seconds: dict[str, float] = {}
        clips: dict[int, tuple[bytes, str]] = {}
        for request in requests:
            if id(request.frames) not in clips:
                clips[id(request.frames)] = packed(request.frames)
        self.clips = [clips[id(request.frames)] for request in requests]
        self.most = -(-len(requests) // max(1, len(self.left)))  # requests a server
        self.first = self._spread()

    def _spread(self) -> list[Server | None]:
        """Who is asked first: equally many each, the one that has seen the clip where it may have more."""
        load = dict.fromkeys(self.left, 0)
        found: list[Server | None] = []
        for _, key in self.clips:
            free = [s for s in self.left if load[s] < self.most]
            chosen = min(free, key=lambda s: (key not in s.clips, load[s]), default=None)
            if chosen is not None:
                load[chosen] += 1
            found.append(chosen)
        return found

    def one(self, n: int) -> tuple[list[int], list[Completion]]:
        """(prompt ids, completions) of a request, by whoever lives."""
        server, tries = self.first[n], 0
        while True:
            with self.lock:
                if server not in self.left:
                    server = min(self.left, key=lambda s: s.asked, default=None)
                    if server is None:
                        raise NoServer(self.engine._gone("is left"))
                server.asked += 1
            try:
                found = self._asked(server, n)
                self.seconds[server.url] = time.monotonic() - self.began
                self.answered[n] = server
                return found
            except Lost as error:
                self._drop(server, str(error))
            except Refused:
                tries += 1
                if tries == TRIES:
                    raise
            finally:
                with self.lock:
                    server.asked -= 1
            with self.lock:
                self.again += 1

    def by_others(self) -> list[int]:
        """Requests whose answers are by other weights than were asked: their server was started again after
        it had been found to have these, or another training has sent its own. It draws no more."""
        changed = {s for s in self.left if s.version() not in (None, self.versions[s])}
        for server in changed:
            self._drop(server, "its weights are others by now: started again, or another training's")
        found = [n for n, server in self.answered.items() if server in changed]
        self.again += len(found)
        return found

    def _drop(self, server: Server, error: str) -> None:
        with self.lock:
            if server not in self.left:
                return
            self.left.remove(server)
            server.clips.clear()
            others = f"{len(self.left)} draw on" if self.left else "none is left"
        print(f"rollout server {server.url} is lost ({error}); {others}", file=sys.stderr, flush=True)

    def _asked(self, server: Server, n: int) -> tuple[list[int], list[Completion]]:
        key = self.clips[n][1]
        known = key in server.clips
        try:
            answer = server.post("v1/chat/completions", json=self._body(n, known))
        except Refused as error:
            if not known:
                raise
            server.clips.discard(key)  # its caches are bounded: it may have forgotten the clip
            if "Cache miss" not in str(error):
                raise
            answer = server.post("v1/chat/completions", json=self._body(n, False))
        server.clips.add(key)
        try:
            told = answer.json()
            prompt, choices = told["prompt_token_ids"], told["choices"]
            if any(choice["finish_reason"] == "abort" for choice in choices):
                raise ValueError("it broke off what it was drawing")
            if len(choices) != self.sampling.n:
                raise ValueError(f"{len(choices)} completions, asked were {self.sampling.n}")
            return prompt, [_completion(choice, len(prompt)) for choice in choices]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(
                f"rollout server {server.url}: its answer is no rollout ({type(error).__name__}: {error})"
            ) from error

    def _body(self, n: int, known: bool) -> dict[str, Any]:
        request, sampling, (body, key) = self.requests[n], self.sampling, self.clips[n]
        clip = {
            "type": "video_url",
            "video_url": {"url": None if known else address_of(body)},
            "uuid": key,
        }
        turns = [
            {
                "role": turn["role"],
                "content": [clip if part.get("type") == "video" else part for part in turn["content"]]
                if isinstance(turn["content"], list)
                else turn["content"],
            }
            for turn in plain_messages(request.messages, self.tokens)
        ]
        wanted = {"structured_outputs": {"json": request.schema}} if request.schema else {}
        return wanted | {
            "model": MODEL,
            "messages": turns,
            "n": sampling.n,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_completion_tokens": sampling.max_tokens,
            "seed": self.seeds[n],
            "logprobs": True,
            "top_logprobs": 0,
            "return_token_ids": True,
        }

    def figures(self) -> dict[str, float]:
        return {
            "servers/drew": float(len(self.left)),
            "servers/sent_again": float(self.again),
            "servers/quickest": min(self.seconds.values(), default=0.0),
            "servers/slowest": max(self.seconds.values(), default=0.0),
        }


def _is_address(url: str) -> bool:
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    plain = not (found.userinfo or found.query or found.fragment)
    return found.scheme in ("http", "https") and bool(found.host) and plain


def _completion(choice: dict[str, Any], prompt: int) -> Completion:
    ids, ended = choice["token_ids"], choice["finish_reason"]
    logprobs = [token["logprob"] for token in choice["logprobs"]["content"]]
    if len(logprobs) != len(ids) or not all(map(math.isfinite, logprobs)):  # NaN would mean: not corrected
        raise ValueError(f"log-probs {logprobs[:4]} of {len(ids)} tokens")
    return Completion(
        choice["message"]["content"] or "",
        ids,
        logprobs,
        None if ended == "stop" else ended,
        Usage(prompt, len(ids), finish=ended),
    )
