"""Checkpoints by their name at a hub (`Qwen/Qwen2.5-VL-3B-Instruct`, with `@REVISION`: a branch, a tag or a
commit), brought into the hub's own cache. HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN are huggingface_hub's."""

import hashlib
import os
import re
from functools import cache
from pathlib import Path

from tvad.common.errors import InputError
from tvad.common.files import file_hash
from tvad.common.shipped import checkpoint

NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
# Weights as safetensors only; .py: code that runs where it is asked for (`trust_remote_code`).
FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.py"]
COMMIT = re.compile(r"[0-9a-f]{40}")
# What decides a checkpoint's answers, the code among it that --model.trust_remote_code runs. Pickled weights
# (.bin) are not: no engine opens them.
WEIGHTS = (".safetensors", ".json", ".txt", ".jinja", ".model", ".py")


@cache
def folder(name: str) -> str:
    """The folder of a checkpoint given by path, by the name of a shipped one, or by its name at the hub.
    Raises InputError where a name is of neither; a path that is none is left as it is."""
    path = checkpoint(name)
    found = NAME.fullmatch(name)
    if os.path.exists(path) or found is None:
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return snapshot_download(found["repo"], revision=found["revision"], allow_patterns=FILES)
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"{name}: no such folder, nor in the hub's cache, and the hub is not reached"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise InputError(f"{name}: no such folder, nor a model of the hub ({_first(error)})") from error


def content(path: str | Path) -> str | None:
    """Hash of a checkpoint folder's files, or of one file; None where there is neither."""
    path = Path(path)
    if path.is_file():
        return file_hash(path)[:16]
    files = sorted(f for f in path.glob("*") if f.suffix in WEIGHTS and f.is_file())
    found = hashlib.sha256("".join(f"{f.name} {file_hash(f)}\n" for f in files).encode())
    return found.hexdigest()[:16] if files else None


def commit(path: str) -> str | None:
    """The commit that a folder of `folder` is of; None for one that is not from the hub."""
    place = Path(path)
    inside = place.parent.name == "snapshots" and COMMIT.fullmatch(place.name)
    return place.name if inside else None


def _first(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
