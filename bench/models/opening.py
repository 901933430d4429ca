"""What both engines say of a checkpoint that they cannot open."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tvad.common.errors import InputError

DTYPES = ("auto", "float32", "bfloat16", "float16")


def check_dtype(kind: str, dtype: str) -> None:
    """Raise InputError for a type of weights that there is not."""
    if dtype not in DTYPES:
        raise InputError(f"{kind}: dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")


def check_weights(kind: str, path: str) -> None:
    """Raise InputError for a folder whose weights are pickled: they are never opened, and no digest of a run
    counts them (`tvad.common.hub.WEIGHTS`)."""
    pickled = sorted(file.name for end in ("bin", "pt", "pth") for file in Path(path).glob(f"*.{end}"))
    if pickled and not any(Path(path).glob("*.safetensors")):
        raise InputError(f"{kind}:{path}: its weights are pickled ({pickled[0]}), expected *.safetensors")


def check_code(kind: str, path: str) -> None:
    """Raise InputError for a folder of which a *.json names code elsewhere (`auto_map`): no digest of a run
    counts it, and who trusts a checkpoint has not seen it."""
    for file in sorted(Path(path).glob("*.json")):
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue  # who opens it says so; read like this it names nothing to them either
        for name, place in _mapped(told):
            if "--" in place or "/" in place:  # another repository; another folder
                raise InputError(
                    f"{kind}:{path}: {file.name}: {name}: its code is in another repository or folder"
                    f" ({place[:200]!r}); put its files into the folder"
                )


def _mapped(told: Any) -> Iterator[tuple[str, str]]:
    """(its place, what it names) of every entry of every auto_map, however deep; strings alone name code."""
    left: list[tuple[str, Any]] = [("", told)]
    while left:
        name, value = left.pop()
        if isinstance(value, str):
            if name.startswith("auto_map"):
                yield name[:200], value
        elif isinstance(value, list):
            left += [(name, inner) for inner in value]
        elif isinstance(value, dict):
            for key, inner in value.items():
                below = f"{name}.{key}" if name.startswith("auto_map") else key if key == "auto_map" else ""
                left.append((below, inner))


def brings_code(spec: str) -> InputError:
    """Why a checkpoint with Python files of its own is not opened."""
    return InputError(f"{spec}: brings code of its own, which --model.trust_remote_code true would run")


def not_loaded(spec: str, error: BaseException) -> InputError:
    """Why a library could not load a checkpoint, in one line."""
    text = str(error)
    if "trust_remote_code" in text:
        return brings_code(spec)
    if not isinstance(error, OSError | ValueError | ImportError):  # a KeyError says the key alone
        text = f"{type(error).__name__}: {text}"
    lines = [line for line in text.splitlines() if line.strip()] or [type(error).__name__]
    said = lines[1].strip() if " validation error for " in lines[0] and len(lines) > 1 else lines[0]
    return InputError(f"{spec}: cannot be loaded ({said[:300]})")
