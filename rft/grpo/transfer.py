"""A trainer's weights on their way to rollout servers, part by part: no more than PART bytes of them are held
beside the model, and a server swaps them in together at the end (`tvad.model.vllm_weights`)."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save, save_file

from rft.grpo.server_client import Lost, Refused, Server
from tvad.common.errors import InputError
from tvad.common.lock import is_gone, own_name
from tvad.model.vllm_plugin import TRANSFER

PART = 1 << 28  # bytes
SEEN = ("model.visual.", "model.ahd.", "model.rae.")  # what a clip becomes depends on these


def parts_of(
    weights: Iterable[tuple[str, torch.Tensor]], size: int = PART
) -> Iterator[dict[str, torch.Tensor]]:
    """(name, tensor) pairs as parts of at most `size` bytes, one tensor at least, in the host's memory."""
    part: dict[str, torch.Tensor] = {}
    held = 0
    for name, tensor in weights:
        if part and held + tensor.nbytes > size:
            yield part
            part, held = {}, 0
        part[name] = tensor.detach().cpu().contiguous().clone()  # a file takes no two that share memory
        held += tensor.nbytes
    if part:
        yield part


def each(servers: list[Server], call: Callable[[Server], object]) -> list[Server]:
    """Call all of them at once; those that are not lost. Raises InputError where one refuses."""
    if not servers:
        return []

    def tried(server: Server) -> bool:
        try:
            call(server)
        except Lost:
            return False
        return True

    with ThreadPoolExecutor(len(servers)) as pool:
        return [server for server, kept in zip(servers, pool.map(tried, servers), strict=True) if kept]


def send(servers: list[Server], weights: Iterable[tuple[str, torch.Tensor]], version: str) -> list[Server]:
    """Give all of them the weights as `version`; those that have them. What a clip became stays known where
    nothing travels that it depends on. Raises InputError where one refuses them: it keeps its old ones."""
    paused, sees = servers, False
    try:
        paused = each(servers, _pause)
        left = each(paused, _begin)
        for part in parts_of(weights):
            sees = sees or any(name.startswith(SEEN) for name in part)
            left = _sent(left, part)
        return each(left, lambda server: _finish(server, version, sees))
    finally:
        each(paused, lambda server: server.post("resume"))  # a paused server would let every request wait


def _pause(server: Server) -> None:
    # What runs is finished by the weights that it began with. Clips stay known; what was made of them is
    # dropped before the end.
    server.post("pause", params={"mode": "wait", "clear_cache": "false"})


def _begin(server: Server) -> None:
    try:
        server.post("start_weight_update")
    except Refused:
        _give_up(server)
        server.post("start_weight_update")


def _give_up(server: Server) -> None:
    """An update that did not end is ended by a part that is none."""
    with suppress(Refused):
        server.post("update_weights", json={"update_info": {}})


def _finish(server: Server, version: str, sees: bool) -> None:
    # Nothing runs: what is forgotten now is not made again before the end. Were it forgotten after the end, a
    # server that is lost in between would be taken for one that has the weights, with the old ones' results.
    if server.post("reset_prefix_cache").json().get("success") is not True:
        raise InputError(f"rollout server {server.url} keeps what it computed with its old weights")
    if sees:
        server.post("reset_encoder_cache")
    try:
        server.post("finish_weight_update", json={"weight_version": version})
    except Refused:
        _give_up(server)
        raise


def _sent(servers: list[Server], part: dict[str, torch.Tensor]) -> list[Server]:
    """Those that have read the part: out of their folder, or as it was sent where that is on another
    machine."""
    left: list[Server] = []
    if far := [server for server in servers if not server.near]:
        body = save(part)
        left += each(far, lambda server: _sent_over(server, body))
    for folder in dict.fromkeys(server.told["folder"] for server in servers if server.near):
        clear(Path(folder))
        file = Path(folder, f"{own_name()}.safetensors")
        here = [server for server in servers if server.near and server.told["folder"] == folder]
        try:
            save_file(part, file)
            told = {"update_info": {"file": file.name}}
            left += each(here, partial(_tell, told=told))
        finally:
            file.unlink(missing_ok=True)
    return [server for server in servers if server in left]


def _tell(server: Server, told: dict[str, Any]) -> None:
    server.post("update_weights", json=told)


def _sent_over(server: Server, body: bytes) -> None:
    file = server.post("rollouts/weights", content=body).json()["file"]
    try:
        server.post("update_weights", json={"update_info": {"file": file}})
    finally:
        server.delete("rollouts/weights")


def clear(folder: Path) -> None:
    """Remove what trainers of this machine that are no more have left in a folder."""
    for file in folder.glob("*.safetensors"):
        if is_gone(file.stem):
            file.unlink(missing_ok=True)


def check_backend(server: Server) -> None:
    """Raise InputError for a server that takes its weights otherwise."""
    if server.told["backend"] != TRANSFER:
        raise InputError(
            f"rollout server {server.url} takes weights by {server.told['backend']!r}, this trainer sends"
            f" them by {TRANSFER}: leave --weight-transfer-config out"
        )
