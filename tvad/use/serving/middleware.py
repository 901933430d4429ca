"""ASGI middleware of vLLM's server (`--middleware`), the outermost: the key before the body, the body within
bounds, what cannot be honoured refused, heatmaps beside answers, and after SIGTERM nothing new."""

import asyncio
import json
import os
import signal
from typing import Any

from tvad.common.errors import InputError
from tvad.control import tokens_of
from tvad.use.serving.heatmaps import SEEN, Heatmaps
from tvad.use.serving.pool import Busy
from tvad.use.serving.requests import Sampling, check

MOST_BYTES = 128 << 20  # of a request's body: a video of 96 MiB as base64
HEATMAPS = 16  # requests with a heatmap at a time
RETRY = 5  # seconds, of Retry-After
SAFE = ("GET", "HEAD", "OPTIONS")
PROBE = "/ping"  # the one POST without a key


class ServingMiddleware:
    """One instance a server."""

    def __init__(self, app: Any):
        self.app = app
        self._running = 0
        self._heatmaps_running = 0
        self._idle = asyncio.Event()
        self._draining: asyncio.Task | None = None
        self._heatmaps: Heatmaps | None = None
        self._tokens: tuple[str, ...] | None = None

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            _start(scope["app"].state)
            loop = asyncio.get_running_loop()
            # vLLM's own handler stops the engine first: a request whose video is still being decoded fails.
            loop.add_signal_handler(signal.SIGTERM, self._stop, scope["app"].state)
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if self._draining is not None and scope["path"] != "/metrics":
            return await _refuse(send, 503, "the server is shutting down")
        if scope["method"] not in SAFE and scope["path"] != PROBE and not self._has_key(scope):
            return await _reply(send, 401, {"error": "Unauthorized"})
        self._running += 1
        try:
            await self._answer(scope, receive, _with_retry(send))
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def _answer(self, scope, receive, send) -> None:
        if scope["method"] in SAFE:
            return await self.app(scope, receive, send)
        body = await _body(scope, receive)
        if body is None:
            return await _refuse(send, 413, f"the request has more than {MOST_BYTES >> 20} MiB")
        state = scope["app"].state
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            request = None  # vLLM's to refuse
        try:
            wanted = isinstance(request, dict) and check(
                scope["path"],
                request,
                Sampling.of_server(state.args),
                bool(getattr(state.args, "trust_request_mm_kwargs", False)),
                self._control_tokens(state),
            )
        except InputError as error:
            return await _refuse(send, 400, str(error))
        del request
        if not wanted:
            return await self.app(scope, _replay(body, receive), send)
        if self._heatmaps_running >= HEATMAPS:
            return await _refuse(send, 503, "too many heatmaps at once; ask again in a few seconds")
        self._heatmaps_running += 1
        try:
            status, answer = await self._with_heatmap(scope, _replay(body, receive))
        finally:
            self._heatmaps_running -= 1
        await _reply(send, status, answer)

    async def _with_heatmap(self, scope, receive) -> tuple[int, Any]:
        """Status and content of the answer with the heatmap beside it. vLLM comes first: the model's name,
        the video and the question are refused there, before the heatmap costs anything."""
        if self._heatmaps is None:
            self._heatmaps = Heatmaps(scope["app"].state)
        token = SEEN.set([])
        try:
            status, answer = await _collect(self.app, scope, receive)
            seen = SEEN.get() or []
        finally:
            SEEN.reset(token)
        if status != 200:
            return status, answer
        try:
            if len(seen) != 1:
                raise InputError(f"heatmap: expected one video_url with a video, found {len(seen)}")
            return status, json.loads(answer) | {"heatmap": await self._heatmaps.of(seen[0])}
        except InputError as error:
            return 400, _error(400, str(error))
        except Busy as error:
            return 503, _error(503, str(error))

    def _has_key(self, scope: dict) -> bool:
        """By vLLM's own check, which compares in constant time. vLLM guards some of its paths only, and
        others decode videos as well (/tokenize, /invocations)."""
        given = getattr(scope["app"].state.args, "api_key", None)
        tokens = [key for key in given or [os.environ.get("VLLM_API_KEY")] if key]
        if not tokens:
            return True
        from starlette.datastructures import Headers
        from vllm.entrypoints.serve.middleware.authenticate import AuthenticationMiddleware

        return AuthenticationMiddleware(self.app, tokens).verify_token(Headers(scope=scope))

    def _control_tokens(self, state) -> tuple[str, ...]:
        if self._tokens is None:
            self._tokens = tokens_of(state.engine_client.get_tokenizer())
        return self._tokens

    def _stop(self, state) -> None:
        """At SIGTERM: what runs is finished, for at most `--shutdown-timeout` seconds; then the server ends
        in its own way, status 0. At the second: now."""
        if self._draining is not None:
            state.server.should_exit = state.server.force_exit = True
            return
        self._draining = asyncio.get_running_loop().create_task(self._drain(state))

    async def _drain(self, state) -> None:
        if self._running:
            self._idle.clear()
            try:
                await asyncio.wait_for(self._idle.wait(), state.args.shutdown_timeout)
            except TimeoutError:
                state.server.force_exit = True
        state.server.should_exit = True


def _start(state: Any) -> None:
    from tvad.use.serving import media

    media.register(Sampling.of_server(state.args))
    os.environ["VLLM_MEDIA_CONNECTOR"] = media.CONNECTOR  # vLLM reads it a request


async def _body(scope, receive) -> bytes | None:
    """A request's whole body, b"" of a client that hung up; None for one beyond the bound, which is not read
    to its end."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > MOST_BYTES:
            return None
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BYTES:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


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


def _with_retry(send):
    """A send that says to every 503 when to ask again."""

    async def told(message):
        if message["type"] == "http.response.start" and message["status"] == 503:
            names = {name for name, _ in message.get("headers", ())}
            if b"retry-after" not in names:
                headers = [*message.get("headers", ()), (b"retry-after", b"%d" % RETRY)]
                message = message | {"headers": headers}
        await send(message)

    return told


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


def _error(status: int, message: str) -> dict[str, Any]:
    """An error as OpenAI's clients expect one."""
    kind = {400: "BadRequestError", 413: "ContentTooLarge", 503: "ServiceUnavailable"}[status]
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


async def _refuse(send, status: int, message: str) -> None:
    await _reply(_with_retry(send), status, _error(status, " ".join(message.split())))


async def _reply(send, status: int, content: dict | bytes) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
