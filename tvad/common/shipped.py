"""What comes with the project: configurations and small checkpoints, found by name. They lie in `configs/`
and `assets/` of a checkout, and inside the package `tvad` of an installed wheel."""

import difflib
import json
import os
from pathlib import Path
from typing import Any

from tvad.common.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
TVAD = ("tvad", "tvad_qwen3")  # model types
MADE_BY = {"tvad-tiny": "make tiny", "tvad-tiny-closed": "make closed"}  # checkpoints, and how they are made


def folder(name: str) -> Path:
    """`configs` or `assets`."""
    return ROOT / name if (ROOT / "pyproject.toml").is_file() else ROOT / "tvad" / name


def configurations(kind: str = "*") -> dict[str, Path]:
    """Shipped configurations of a folder of `configs/` by name, those of a folder within it as GROUP/NAME; of
    all folders as FOLDER/NAME."""
    root = folder("configs")
    start = root if kind == "*" else root / kind
    files = sorted(p for pattern in ("*.yaml", "*/*.yaml") for p in root.glob(f"{kind}/{pattern}"))
    return {p.relative_to(start).with_suffix("").as_posix(): p for p in files}


def configuration(name: str | Path, kind: str) -> Path:
    """The file of a configuration given by path, or by name (NAME of `configs/KIND`, or KIND/NAME). Raises
    InputError."""
    path = Path(name)
    if os.path.isfile(path):  # a folder of this name, such as a data set's, does not hide a configuration
        return path
    known = configurations(kind) if kind else {}
    if str(path) in known:
        return known[str(path)]
    if path.parts[:1] == (kind,) and "/".join(path.parts[1:]) in known:
        return known["/".join(path.parts[1:])]
    if path.suffix or len(path.parts) > 1:
        # Documents name shipped files by their path in the repository: outside of it they are found as well.
        inside = folder("configs").joinpath(*path.parts[1:])
        return inside if path.parts[0] == "configs" and os.path.isfile(inside) else path
    near = difflib.get_close_matches(path.name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"shipped are {', '.join(known) or 'none'}"
    raise InputError(f"{name!s:.100}: no such configuration file, nor the name of a shipped one; {hint}")


def checkpoint(name: str | Path) -> str:
    """The folder of a checkpoint given by path or by the name of a shipped one; other names are left as they
    are. Raises InputError, with the way to make it, for a shipped one that this installation lacks."""
    path = Path(name)
    here = os.path.isfile(path / "config.json")
    if here or path.name not in MADE_BY or path.parts[:-1] not in ((), ("assets",)):
        return str(name)
    inside = folder("assets") / path.name
    if (inside / "config.json").is_file():
        return str(inside)
    raise InputError(
        f"{name}: this checkpoint is not part of the installation; a checkout of the repository holds it in"
        f" assets/, and `{MADE_BY[path.name]}` makes it there"
    )


def tvad_config(path: str | Path) -> dict[str, Any]:
    """config.json of a T-VAD checkpoint's folder. Raises InputError where there is none, and for the
    checkpoint of another model."""
    file = Path(path, "config.json")
    if not file.is_file():
        raise InputError(f"{path}: not a model folder (no config.json)")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        kind = found.get("model_type")
    except (ValueError, AttributeError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error
    if kind not in TVAD:
        raise InputError(
            f"{path}: a checkpoint of {kind}, not of T-VAD; `tvad start --backbone {path} --out FOLDER` makes"
            " one of a Qwen-VL"
        )
    return found


def checkpoints() -> list[str]:
    """Names of the shipped checkpoints that are here."""
    return [name for name in MADE_BY if (folder("assets") / name / "config.json").is_file()]
