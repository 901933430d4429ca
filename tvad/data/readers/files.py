"""Videos that a distribution keeps in folders below one, found by their names."""

import os
from collections.abc import Mapping
from pathlib import Path

from tvad.common.errors import InputError

Files = Mapping[str, list[Path]]


def below(root: str | os.PathLike) -> dict[str, list[Path]]:
    """The .mp4 files in and below a folder, by their names without the suffix. Raises InputError where there
    is none."""
    found: dict[str, list[Path]] = {}
    for path in sorted(Path(root).rglob("*.mp4")):
        if not path.name.startswith("."):  # "._a.mp4", which a Mac's archive holds beside a.mp4
            found.setdefault(path.stem, []).append(path)
    if not found:
        raise InputError(f"{root}: no .mp4 in it or below it")
    return found


def only(files: Files, name: str) -> Path:
    """The video of this name; of copies the first. Raises InputError for a name that is a path, one that is
    not there, and where two of the name differ in size: nobody knows which is meant."""
    if name != Path(name).name or "\\" in name:
        raise InputError(f"{name[:80]!r} is no plain file name")
    if not (found := files.get(name)):
        raise InputError(f"{name}.mp4: not among the videos")
    for other in found[1:]:
        if found[0].stat().st_size != other.stat().st_size:
            raise InputError(f"{found[0]} and {other} have one name and another size")
    return found[0]
