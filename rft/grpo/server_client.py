"""One rollout server as a trainer asks it (`tvad serve --rollouts`)."""

import os
from pathlib import Path
from typing import Any

import httpx

from tvad.common.errors import InputError
from tvad.use.serving.rollouts import token

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
        headers = {"Authorization": f"Bearer {given}"} if (given := token()) else {}
        # A new connection a request: after an error vLLM's server drops the one that it came by.
        self._client = httpx.Client(
            base_url=url,
            timeout=httpx.Timeout(timeout, connect=CONNECT),
            headers=headers,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        try:
            self.look()
        except Lost as error:
            raise InputError(
                f"rollout server {url} does not answer ({error}); start it again and repeat the training"
                " command, which goes on from its last checkpoint"
            ) from error

    def look(self) -> None:
        """Ask what it says of itself; one that was started again may say something else. Raises Lost, and
        InputError for a server of another kind."""
        answer = self.get("rollouts")
        try:
            told = answer.json()
            folder, mark = Path(told["folder"]), told["mark"]
            if lacking := {"backend", "max_model_len", "pixels"} - told.keys():
                raise KeyError(*lacking)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{self.url}: expected a server started by `tvad serve --rollouts`") from error
        self.told: dict[str, Any] = told
        # Another machine may have a folder of the same name, without the mark.
        self.near = (folder / mark).exists() and os.access(folder, os.W_OK | os.X_OK)

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
        except httpx.RequestError as error:
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
        except httpx.RequestError:
            return False

    def version(self) -> str | None:
        """Of its weights; None where nobody answers, or nobody who knows."""
        try:
            return str(self.get("weight_info").json()["weight_version"])
        except (Lost, Refused, ValueError, KeyError, TypeError):
            return None
