"""vLLM's server in small, behind the middleware of `tvad serve`: the same order (key, model's name, media
through the connector, answer), no engine. One process, one event loop."""

import base64
import json
import types
from http import HTTPStatus

import httpx
import numpy as np
import pytest

from tvad.prompts import messages
from tvad.use.serving import ServingMiddleware
from tvad.use.serving.requests import Sampling


class Tokenizer:
    """What `tvad.control` reads of one."""

    all_special_tokens = ("<|im_end|>",)

    def __init__(self):
        words = enumerate(("<|im_end|>", "<|video_pad|>"))
        self.added_tokens_decoder = {n: types.SimpleNamespace(content=w, special=True) for n, w in words}


class SmallServer:
    """`decoded`: clips that were decoded; `seen`: bodies that came through the middleware; `computed`: calls
    for heatmaps."""

    def __init__(self, heat: np.ndarray | None = None, **args):
        media = pytest.importorskip("tvad.use.serving.media", exc_type=ImportError)
        self.connector = media.ClipConnector
        given = {"media_io_kwargs": {"video": {"fps": 2.0, "num_frames": 8}}, "model": "", "api_key": None}
        self.heat, self.seen, self.computed, self.decoded = heat, [], [], []
        self.state = types.SimpleNamespace(
            args=types.SimpleNamespace(**given | {"trust_request_mm_kwargs": True} | args), engine_client=self
        )
        media.ClipConnector.server = Sampling.of_server(self.state.args)
        self.middleware = ServingMiddleware(self)

    def get_tokenizer(self):
        return Tokenizer()

    async def collective_rpc(self, method, args):
        if method == "tvad_takes":
            return [None if self.heat is None else {"raw": True}]
        self.computed.append(args)
        return [{"shape": list(self.heat.shape), "values": self.heat.flatten().tolist()}]

    async def __call__(self, scope, receive, send):
        """The inner application."""
        if scope["method"] == "GET":
            return await self.reply(send, 200, {"path": scope["path"]})
        body = (await receive())["body"]
        self.seen.append(body)
        try:
            request = json.loads(body)
        except ValueError:
            return await self.reply(send, 400, {"error": "no JSON"})
        if request.get("model", "tiny") != "tiny":
            return await self.reply(send, 404, {"error": "no such model"})
        knobs = self.state.args.media_io_kwargs | request.get("media_io_kwargs", {})
        try:
            for message in request.get("messages", ()):
                for part in message["content"] if isinstance(message["content"], list) else ():
                    if part["type"] == "video_url":
                        fetched = self.connector(
                            knobs,
                            allowed_media_domains=getattr(self.state.args, "allowed_media_domains", None),
                        ).fetch_video_async(part["video_url"]["url"])
                        self.decoded.append((await fetched).media[0])
        except ValueError as error:
            return await self.reply(send, 400, {"error": {"message": str(error)}})
        except Exception as error:  # vLLM's, that say their status
            return await self.reply(send, getattr(error, "http_status", 500), {"error": str(error)})
        return await self.reply(send, 200, {"choices": []})

    async def reply(self, send, status: HTTPStatus | int, content: dict):
        await send({"type": "http.response.start", "status": int(status), "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(content).encode()})

    def client(self) -> httpx.AsyncClient:
        async def app(scope, receive, send):
            await self.middleware(scope | {"app": types.SimpleNamespace(state=self.state)}, receive, send)

        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://small")


def url_of(data: bytes) -> str:
    return "data:video/mp4;base64," + base64.b64encode(data).decode()


def chat(text: str, url: str, **extra) -> dict:
    """A chat request as OpenAI's clients write one."""
    turns = messages(text, url)
    for turn in turns:
        turn["content"] = [
            {"type": "video_url", "video_url": {"url": p["video"]}} if p["type"] == "video" else p
            for p in turn["content"]
        ]
    return {"messages": turns, "temperature": 0, "max_tokens": 24, **extra}
