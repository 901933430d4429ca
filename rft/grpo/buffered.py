"""The completions of a rollout that serves several passes: the order in which these take them, and what is
kept of them beside a checkpoint that is written in between, so that a run goes on with the very completions
it stood among."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tvad.common.files import made


def by_groups(output: dict[str, Any]) -> dict[str, Any]:
    """A rollout as TRL makes it, all of B rows, with its groups (`group_index` (B,)) in a random order, each
    in one piece. (TRL shuffles rows: then every pass is about nearly every clip, and encodes it.)"""
    groups = output["group_index"].tolist()
    found = list(dict.fromkeys(groups))
    place = {found[n]: i for i, n in enumerate(torch.randperm(len(found)).tolist())}
    rows = sorted(range(len(groups)), key=lambda row: place[groups[row]])
    return {name: _taken(value, rows) for name, value in output.items()}


def _taken(value: Any, rows: list[int]) -> Any:
    if isinstance(value, list):
        return [value[row] for row in rows]
    return value[rows] if isinstance(value, torch.Tensor) and value.dim() else value


def _file(checkpoint: str | Path, process: int) -> Path:
    return Path(checkpoint, f"rollout_{process}.safetensors")


def save(checkpoint: str | Path, accelerator: Any, passes: list[dict[str, Any]], videos: list[str]) -> None:
    """Keep this process's part. passes: what each of a rollout's passes is given; videos: the files of its
    clips, in the order of `group_index`."""
    tensors = {
        f"{n}.{name}": value.detach().cpu().clone().contiguous()
        for n, given in enumerate(passes)
        for name, value in given.items()
        if value is not None
    }
    made(checkpoint)
    save_file(
        tensors, _file(checkpoint, accelerator.process_index), {"videos": json.dumps(videos, allow_nan=False)}
    )


def load(checkpoint: str | Path, accelerator: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """What `save` was given in this process. Raises OSError or SafetensorError where it is not there or
    cut."""
    path = _file(checkpoint, accelerator.process_index)
    with safe_open(path, "pt", device=str(accelerator.device)) as file:
        passes: dict[int, dict[str, Any]] = {}
        for key in file.keys():  # noqa: SIM118 (safe_open is no mapping)
            n, _, name = key.partition(".")
            passes.setdefault(int(n), {})[name] = file.get_tensor(key)
        return [passes[n] for n in sorted(passes)], json.loads(file.metadata()["videos"])


def lies_in(checkpoint: str | Path, processes: int) -> bool:
    """Whether a checkpoint holds the rollout that every process stood in."""
    try:
        for process in range(processes):
            with safe_open(_file(checkpoint, process), "pt"):
                pass
    except (OSError, SafetensorError):
        return False
    return True
