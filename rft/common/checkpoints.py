"""From which checkpoint a training goes on: the newest that holds all that going on takes, weights, the
optimiser's state, the schedule's and the generators'. Without them the next steps would be another run's."""

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tvad.common.errors import InputError
from tvad.common.quiet import note

STATE = "trainer_state.json"


def _readable(path: Path) -> bool:
    """Whether a file of torch or of safetensors is there from its beginning to its end, its content unread.
    A folder (FSDP, DeepSpeed) is taken at its word."""
    if path.is_dir():
        return any(path.iterdir())
    if path.suffix != ".safetensors":
        return zipfile.is_zipfile(path)
    try:
        with safe_open(path, "pt"):
            return True
    except (OSError, SafetensorError):
        return False


def _weights(folder: Path) -> bool:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError):
            return False
        return all(_readable(folder / name) for name in names)
    patterns = ("model.safetensors", "pytorch_model*", "global_step*")
    return any(_readable(path) for pattern in patterns for path in folder.glob(pattern))


def _missing(folder: Path, processes: int) -> Iterator[str]:
    sharded = any(folder.glob("global_step*"))  # DeepSpeed's: its optimiser and, with it, its schedule
    if not _weights(folder):
        yield "whole weights"
    if not sharded and not any(_readable(path) for path in folder.glob("optimizer*")):
        yield "optimizer.pt"
    if not sharded and not _readable(folder / "scheduler.pt"):
        yield "scheduler.pt"
    own = [f"rng_state_{n}.pth" for n in range(processes)] if processes > 1 else ["rng_state.pth"]
    yield from (name for name in own if not _readable(folder / name))


def lacks(folder: Path, processes: int = 1) -> str | None:
    """What of a checkpoint is missing or cut for a run of so many processes to go on from it; None where
    nothing is."""
    return next(_missing(folder, processes), None)


def last_checkpoint(out: Path, processes: int = 1) -> str | None:
    """The newest checkpoint of a run to go on from, None where it has none; one that is passed over is named
    on stderr. What a kill left half-written is removed: the trainer's state is written last. processes: how
    many wrote it.

    Raises InputError where there are checkpoints and none holds all that it takes.
    """
    folders = sorted(out.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]), reverse=True)
    passed: list[tuple[Path, str]] = []
    for folder in folders:
        try:
            json.loads((folder / STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(folder, ignore_errors=True)
            continue
        found = lacks(folder, processes)
        if found is None:
            for other, missing in passed:
                note(f"{other} has no {missing}: going on from {folder.name}")
            return str(folder)
        passed.append((folder, found))
    if passed:
        folder, missing = passed[0]
        raise InputError(
            f"{folder}: no {missing}, so that training cannot go on from it; start a run of its own from its"
            f" weights (with another --out), or remove the checkpoints in {out} to begin anew"
        )
    return None
