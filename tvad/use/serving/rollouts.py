"""vLLM's server as a trainer's rollout server (`tvad serve --rollouts`): its development endpoints on, clips
as the trainer packs them, weights in files that both see, and a guard before all of it."""

import contextlib
import hmac
import ipaddress
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any

from tvad.common.errors import InputError
from tvad.common.lock import is_gone, own_name
from tvad.data.vllm_clips import EXACT
from tvad.model.vllm_plugin import FOLDER, TRANSFER, compiling_on_cpu
from tvad.use.serving.options import refuse

TOKEN = "ROLLOUT_TOKEN"
PIXELS = "TVAD_ROLLOUT_PIXELS"  # environment: bounds of a clip, as the server was told
INFO, WEIGHTS = "/rollouts", "/rollouts/weights"
GUARD = "tvad.use.serving.rollouts.RolloutGuard"
OPEN = "/health"  # the one path without a token
# What a rollout server promises, and the option that would undo it. Of clips' bounds it tells the trainer.
TAKEN = {
    "--api-key": f"it leaves pausing and weights open; set {TOKEN}",
    "--media-io-kwargs": "clips come as the trainer has them",
    "--served-model-name": "the trainer knows the model by a name of its own",
    "--generation-config": "the trainer says how completions are drawn",
    "--override-generation-config": "the trainer says how completions are drawn",
    "--reasoning-parser": "the trainer reads completions whole",
    "--mm-processor-kwargs": "give --min-pixels, --max-pixels and --total-pixels, which the trainer is told",
    "--config": "its options would not be looked at; give them here",
    "--logprobs-mode": "the trainer reads log-probs after temperature",
    "--allowed-local-media-path": "the server reads no file for a client",
    "--allowed-media-domains": "the server fetches nothing",
}
SPREADING = ("--distributed-executor-backend", "--nnodes")  # options of a server on several machines
# Where nothing else is said.
USUAL = {"--max-model-len": "1024", "--max-num-seqs": "128"}


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine's own address, which no other reaches."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host or "").is_loopback
    return False


def token() -> str | None:
    """The token that both sides were given; None without. Raises InputError for one that no header holds."""
    given = os.environ.get(TOKEN)
    if given and not all("!" <= char <= "~" for char in given):
        raise InputError(f"{TOKEN}: expected ASCII without blanks (a line's end among them)")
    return given or None


def check_open(host: str | None) -> None:
    """Raise InputError where others could reach a server that asks for no token."""
    if not token() and not is_loopback(host):
        raise InputError(
            f"--host {host}: set {TOKEN}: whoever reaches a rollout server can change its weights"
        )


def command(
    model: str, host: str, port: int, extra: list[str], on_gpu: bool, pixels: dict[str, Any] | None = None
) -> list[str]:
    """Options of vLLM's server for a checkpoint folder. pixels: fields of the video processor
    (`tvad.model.budget.fields_of`) where not the checkpoint's. Raises InputError for an address beyond this
    machine without a token, for an option of vLLM's in `extra` that cannot be honoured, and for a server on
    several machines whose weights have no folder."""
    check_open(host)
    named = refuse(extra, TAKEN, " with --rollouts")
    if (spreads := [name for name in named if name in SPREADING]) and not os.environ.get(FOLDER):
        raise InputError(
            f"{spreads[0]}: set {FOLDER} to a folder that all of the server's machines see, for weights"
        )
    usual = USUAL | {"--weight-transfer-config": json.dumps({"backend": TRANSFER}, allow_nan=False)}
    plain = []
    if not on_gpu:
        usual["--dtype"] = "float32"  # bfloat16 would cost agreement for nothing
        # A prompt that is computed in parts turns its request's generator back, which torch's on the CPU
        # cannot.
        plain = ["--enforce-eager", "--no-enable-chunked-prefill"]
    options = {
        "--model": model,
        "--host": host,
        "--port": str(port),
        "--served-model-name": "policy",
        "--limit-mm-per-prompt": '{"video": 1, "image": 0}',
        "--media-io-kwargs": json.dumps({"video": {"video_backend": EXACT}}, allow_nan=False),
        "--allowed-media-domains": "nowhere.invalid",  # where none is named, vLLM fetches from all
        "--logprobs-mode": "processed_logprobs",
        # Else the checkpoint's own sampling (top_k, a repetition penalty) would be applied in silence.
        "--generation-config": "vllm",
        "--middleware": GUARD,
        **{name: value for name, value in usual.items() if name not in named},
        **({"--mm-processor-kwargs": json.dumps(pixels, allow_nan=False)} if pixels else {}),
    }
    return [*(part for pair in options.items() for part in pair), "--enable-prefix-caching", *plain, *extra]


def environment(given: dict[str, int], on_gpu: bool) -> dict[str, str]:
    """What the server's processes are told beside their options. given: bounds of a clip
    (`tvad.data.video.Budget.given`). Raises InputError for a folder of weights that is somebody else's."""
    return {
        "VLLM_SERVER_DEV_MODE": "1",
        **({} if on_gpu else compiling_on_cpu()),
        PIXELS: json.dumps(given, allow_nan=False),
        FOLDER: str(own_folder()),
        "VLLM_RAY_EXTRA_ENV_VARS_TO_COPY": ",".join(
            filter(None, [os.environ.get("VLLM_RAY_EXTRA_ENV_VARS_TO_COPY"), FOLDER])
        ),
        "VLLM_CPU_KVCACHE_SPACE": os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"),  # GiB
    }


def own_folder() -> Path:
    """Where weights travel: the named folder, or one in memory that only this user reads."""
    memory = Path("/dev/shm")
    base = memory if memory.is_dir() else Path(os.environ.get("TMPDIR", "/tmp"))
    folder = Path(os.environ.get(FOLDER) or base / f"tvad-weights-{os.getuid()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise InputError(f"{folder}: expected a folder that only this user can write to; set {FOLDER}")
    return folder


class Folder:
    """Where a server's weights come: written by a trainer that sees the folder, as the mark in it tells, else
    sent (`WEIGHTS`)."""

    def __init__(self, path: Path):
        self.path = path
        for mark in path.glob("*.here"):
            if is_gone(mark.name.rpartition("-")[0]):
                mark.unlink(missing_ok=True)  # of a server that is no more
        self.mark = f"{own_name()}-{secrets.token_hex(8)}.here"
        (path / self.mark).touch(0o600)
        self._sent = path / f"sent-{self.mark.removesuffix('.here')}.safetensors"

    async def take(self, receive) -> str | None:
        """Write a request's body; the file's name, None for a client that hung up."""
        self.drop()
        with self._sent.open("xb") as out:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                out.write(message.get("body", b""))
                if not message.get("more_body"):
                    return self._sent.name

    def drop(self) -> None:
        self._sent.unlink(missing_ok=True)


class RolloutGuard:
    """ASGI middleware, the outermost: the token before anything is read, on every path but health. (vLLM's
    own key guards the paths of answers only: pausing, weights and calls of the workers stay open.) Tells the
    trainer what it must know (`INFO`)."""

    def __init__(self, app: Any):
        self.app = app
        given = token()
        self._wanted = f"Bearer {given}".encode() if given else None
        self._folder = Folder(own_folder())

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            check_open(scope["app"].state.args.host)
            return await self.app(scope, receive, send)
        if scope["path"] != OPEN and not self._has_token(scope):
            return await _reply(send, 401, {"error": f"wrong or missing token; set {TOKEN}"})
        if scope["path"] == INFO:
            return await _reply(send, 200, self._told(scope["app"].state))
        if scope["path"] == WEIGHTS:
            if scope["method"] not in ("POST", "DELETE"):
                return await _reply(send, 405, {"error": "weights are sent (POST) or dropped (DELETE)"})
            if scope["method"] == "POST":
                return await _reply(send, 200, {"file": await self._folder.take(receive)})
            self._folder.drop()
            return await _reply(send, 200, {})
        return await self.app(scope, receive, send)

    def _has_token(self, scope) -> bool:
        given = dict(scope.get("headers") or ()).get(b"authorization", b"")
        return self._wanted is None or hmac.compare_digest(given, self._wanted)

    def _told(self, state: Any) -> dict[str, Any]:
        config = state.args.weight_transfer_config
        return {
            "backend": config["backend"] if isinstance(config, dict) else getattr(config, "backend", None),
            "folder": str(self._folder.path),
            "mark": self._folder.mark,
            "max_model_len": state.engine_client.model_config.max_model_len,
            "pixels": json.loads(os.environ.get(PIXELS, "{}")),
        }


async def _reply(send, status: int, content: dict[str, Any]) -> None:
    body = json.dumps(content, allow_nan=False).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
