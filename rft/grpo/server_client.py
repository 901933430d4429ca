"""One rollout server as a trainer asks it (`tvad serve --rollouts`)."""

import os
from pathlib import Path
from typing import Any

import httpx

from tvad.common.errors import InputError
from tvad.use.serving.rollouts import TOKEN

CONNECT, HEALTH = 10.0, 60.0  # seconds


class Lost(Exception):
    """Nobody answers there, or an engine that has died."""


class Refused(InputError):
    """It lives, and does not do what was asked."""


class Server:
    """`told`: what it says of itself; `near`: whether this process can write into its folder of weights;
    `clips`: hashes of those that it has seen; `asked`: requests that run."""

    def __init__(self, url: str, timeout: float):
        self.url, self.clips, self.asked = url, set[str](), 0
        headers = {"Authorization": f"Bearer {token}"} if (token := os.environ.get(TOKEN)) else {}
        # A new connection a request: after an error vLLM's server drops the one that it came by.
        self._client = httpx.Client(
            base_url=url,
            timeout=httpx.Timeout(timeout, connect=CONNECT),
            headers=headers,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        try:
            answer = self.get("rollouts")
        except Lost as error:
            raise InputError(
                f"rollout server {url} does not answer ({error}); start it again and repeat the training"
                " command, which goes on from its last checkpoint"
            ) from error
        try:
            self.told: dict[str, Any] = answer.json()
        except ValueError as error:
            raise InputError(f"{url}: expected a server started by `tvad serve --rollouts`") from error
        folder = Path(self.told["folder"])  # another machine may have one of the same name, without the mark
        self.near = (folder / self.told["mark"]).exists() and os.access(folder, os.W_OK | os.X_OK)

    def get(self, path: str) -> httpx.Response:
        return self._call("GET", path)

    def post(self, path: str, **content: Any) -> httpx.Response:
        """content: as httpx takes it (json, params). Raises Lost, Refused."""
        return self._call("POST", path, **content)

    def delete(self, path: str) -> None:
        self._call("DELETE", path)

    def _call(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **content)
        except httpx.TransportError as error:
            raise Lost(type(error).__name__) from error
        if answer.status_code == 200:
            return answer
        words = f"answered {answer.status_code} to {path}: {' '.join(answer.text.split())[:300]}"
        if answer.status_code >= 500 and not self.lives():
            raise Lost(words)
        raise Refused(f"rollout server {self.url} {words}")

    def lives(self) -> bool:
        """Whether its engine does."""
        try:
            return self._client.get("health", timeout=HEALTH).status_code == 200
        except httpx.TransportError:
            return False

    def version(self) -> str | None:
        """Of its weights; None where nobody answers."""
        try:
            return str(self.get("weight_info").json()["weight_version"])
        except (Lost, Refused):
            return None
