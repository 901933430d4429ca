"""Where a request's video comes from: vLLM's media connector of this server (`VLLM_MEDIA_CONNECTOR`).

A `data:` URL, of a video or of pictures with their rate; over http(s) only from the domains that
`--allowed-media-domains` names, never from an address inside the network, never by a redirect. One rule for
every path that takes media. The video is decoded once, in a thread, for the answer and for its heatmap.
"""

import base64
import binascii
import hashlib
import ipaddress
import socket
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver
from vllm import envs
from vllm.exceptions import GracefulHTTPError
from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector, MediaWithBytes
from yarl import URL

from tvad.common.errors import InputError
from tvad.data.video import Frames
from tvad.data.vllm_clips import as_video, of_pictures, sampled
from tvad.use.serving.heatmaps import SEEN
from tvad.use.serving.pool import DECODING, Busy
from tvad.use.serving.requests import Sampling

CONNECTOR = "tvad"
MOST_BYTES = 128 << 20  # of a fetched video; one in a request is bounded with the request
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class ClipConnector(MediaConnector):
    """Of one request. `server`: the sampling that the server was started with."""

    server = Sampling()

    async def fetch_video_async(self, video_url: str, **_: Any) -> MediaWithBytes:
        """The clip that a request's `video_url` is. Raises InputError (vLLM answers 400), and 503 where too
        many are being decoded."""
        # vLLM drops the server's own number where a request names the other one; here it stays.
        merged = self.media_io_kwargs.get("video", {})
        sampling = self.server.asked({k: v for k, v in merged.items() if k != "video_backend"})
        source = video_url if video_url[:5].lower() == "data:" else await self._fetched(video_url)
        try:
            clip, digest = await DECODING.run(_clip, source, sampling)
        except Busy as error:
            raise GracefulHTTPError(str(error), HTTPStatus.SERVICE_UNAVAILABLE) from error
        if (seen := SEEN.get()) is not None:
            seen.append(clip)
        # vLLM's caches know a video by these bytes: the same file sampled otherwise is another.
        return MediaWithBytes(as_video(clip), digest)

    async def load_from_url_async(self, url: str, media_io: Any, **_: Any) -> Any:
        """Of pictures and sound."""
        raise InputError("only videos are taken (video_url)")

    async def _fetched(self, address: str) -> bytes:
        """Raises InputError in words that are the same for whatever is behind the address."""
        try:
            url = URL(address)
        except ValueError as error:
            raise InputError("video_url: not an address") from error
        if url.scheme not in ("http", "https"):
            raise InputError("video_url: expected a data:video/...;base64, URL")
        if not self.allowed_media_domains:
            raise InputError(
                "video_url: this server fetches nothing; expected a data:video/...;base64, URL"
                " (domains are named by --allowed-media-domains)"
            )
        # yarl's host is what aiohttp connects to: lower case, no brackets, beside it as ASCII.
        named = {domain.lower().strip("[]") for domain in self.allowed_media_domains}
        if not named & {url.host, url.raw_host}:
            raise InputError("video_url: not from a domain that this server fetches from")
        timeout = aiohttp.ClientTimeout(total=envs.VLLM_VIDEO_FETCH_TIMEOUT)
        connector = aiohttp.TCPConnector(resolver=PublicResolver(), use_dns_cache=False)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.get(url, allow_redirects=False) as answer,
            ):
                if answer.status != HTTPStatus.OK:
                    raise InputError(f"video_url: the address answers {answer.status}, expected 200")
                data = bytearray()
                async for piece in answer.content.iter_chunked(1 << 20):
                    data += piece
                    if len(data) > MOST_BYTES:
                        raise InputError(f"video_url: more than {MOST_BYTES >> 20} MiB")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise InputError("video_url: cannot be fetched") from error
        return bytes(data)


class PublicResolver(AbstractResolver):
    """Names to public addresses: the connection goes to the very address that was looked at, so that a name
    cannot lead elsewhere the second time. An address that the operator wrote into `--allowed-media-domains`
    itself needs no resolving, and is taken at his word."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC):
        found = [a for a in await self._inner.resolve(host, port, family) if is_public(a["host"])]
        if not found:
            raise OSError(None, "no public address")
        return found

    async def close(self) -> None:
        await self._inner.close()


def is_public(address: str) -> bool:
    """Whether an IP address lies in the public internet; one that carries an IPv4 address (mapped, 6to4,
    Teredo, NAT64) is as public as that."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1]
        if ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def _clip(source: str | bytes, sampling: Sampling) -> tuple[Frames, bytes]:
    """A `data:` URL or a file's bytes -> its clip, and what tells it from others. Raises InputError."""
    if isinstance(source, bytes):
        return _sampled(source, sampling)
    head, comma, data = source.partition(",")
    kind, *parameters = head[5:].lower().split(";")
    if not comma or "base64" not in parameters or not kind.startswith("video/"):
        raise InputError("video_url: expected a data:video/...;base64, URL")
    if kind != "video/jpeg":
        return _sampled(_decoded(data), sampling)
    rates = [p.removeprefix("fps=") for p in parameters if p.startswith("fps=")]
    try:
        fps = float(rates[-1]) if rates else None
    except ValueError:
        fps = None
    if fps is None:  # not guessed: every time in the answer depends on it
        raise InputError("video_url: a list of pictures says its rate: data:video/jpeg;fps=4;base64,...,...")
    files = [_decoded(part) for part in data.split(",")]
    clip = of_pictures(files, fps, sampling.rate, sampling.frames)
    return clip, hashlib.sha256(source.encode()).digest() + repr(sampling).encode()


def _sampled(data: bytes, sampling: Sampling) -> tuple[Frames, bytes]:
    clip = sampled(data, sampling.rate, sampling.frames)
    return clip, hashlib.sha256(data).digest() + repr(sampling).encode()


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("video_url: what follows base64, is not base64") from error


def register(server: Sampling) -> None:
    """Make this vLLM's connector."""
    ClipConnector.server = server
    if CONNECTOR not in MEDIA_CONNECTOR_REGISTRY.name2class:
        MEDIA_CONNECTOR_REGISTRY.register(CONNECTOR)(ClipConnector)
