"""Which file below a folder a table's cell names: by its path, by its name alone, without its suffix; never
one outside the folder, never one of two."""

import difflib
import os
import re
import unicodedata
from pathlib import Path
from typing import Any

from tvad.common.errors import InputError
from tvad.data.table.cells import short
from tvad.data.video.pictures import TIMES, pictures_in

SUFFIXES = (  # what a name without its suffix is looked for with; a name with one may have any
    *(
        ".mp4",
        ".m4v",
        ".mov",
        ".avi",
        ".mkv",
        ".webm",
        ".gif",
        ".apng",
        ".mpg",
        ".mpeg",
        ".m2v",
        ".vob",
        ".ts",
    ),
    *(
        ".mts",
        ".m2ts",
        ".wmv",
        ".asf",
        ".flv",
        ".f4v",
        ".3gp",
        ".3g2",
        ".ogv",
        ".ogg",
        ".mxf",
        ".y4m",
        ".divx",
    ),
    *(".rm", ".rmvb", ".dv", ".nut", ".h264", ".264", ".h265", ".hevc"),
)
MOST_FILES = 1_000_000
HINTS, HINTED = 20, 2000  # the nearest name is looked for so often, among so many files at most


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


class Clips:
    """The files below `root`, hidden ones and those below `but` left out; a folder of pictures that states
    their times is one. Raises InputError where there is no such folder, or none in it."""

    def __init__(self, root: str | os.PathLike, but: str | os.PathLike | None = None):
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"--videos: {self.root}: no such folder")
        self.files: list[str] = []
        self._folders: set[str] = set()
        left_out = Path(but).resolve() if but is not None else None
        for folder, below, files in os.walk(self.root):
            below[:] = sorted(
                name
                for name in below
                if not name.startswith(".") and Path(folder, name).resolve() != left_out
            )
            place = Path(folder).relative_to(self.root)
            if place.parts and set(TIMES) & set(files) and pictures_in(Path(folder)):
                self.files.append(place.as_posix())
                self._folders.add(place.as_posix())
                below.clear()
                continue
            for name in sorted(files):
                if not name.startswith("."):
                    self.files.append((place / name).as_posix())
            if len(self.files) > MOST_FILES:
                raise InputError(f"--videos: {self.root}: more than {MOST_FILES} files below it")
        if not self.files:
            raise InputError(f"--videos: {self.root}: no file below it")
        self._asked = 0
        # Ways to name a file, the surest first; each as it stands, then whatever case and form of accents.
        self._ways: list[dict[str, list[str]]] = [{} for _ in range(8)]
        self.videos: list[str] = []  # by their suffix
        for file in self.files:
            path = Path(file)
            is_video = path.suffix.lower() in SUFFIXES or file in self._folders
            stem = path.with_suffix("").as_posix() if is_video else None
            self.videos += [file] if is_video else []
            called = (file, path.name, stem, path.stem if is_video else None)
            for way, named in enumerate(called):
                if named is not None:
                    self._ways[way].setdefault(named, []).append(file)
                    self._ways[way + 4].setdefault(_folded(named), []).append(file)

    def find(self, cell: str) -> str:
        """The file's path below the root. Raises ValueError with the reason."""
        name = cell.strip().replace("\\", "/")
        if len(name) > 1000:
            raise ValueError(f"is {short(cell)}; expected a file's name")
        if re.match(r"[A-Za-z][A-Za-z0-9+.\-]{1,20}:/", name):
            raise ValueError(f"is {short(cell)}, an address; expected a file below {self.root}")
        if name.startswith("/") or re.match(r"[A-Za-z]:/", name):
            roots = [f"{root.as_posix()}/" for root in (self.root.absolute(), self.root.resolve())]
            inside = [name.removeprefix(root) for root in roots if name.startswith(root)]
            if not inside:
                raise ValueError(f"is {short(cell)}, an absolute path; expected one below {self.root}")
            name = inside[0]
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise ValueError(
                f"is {short(cell)}, a path that leaves its folder; expected a file below {self.root}"
            )
        whole = "/".join(parts)
        tries = [whole]
        if len(parts) > 1 and parts[0] == self.root.resolve().name:
            tries.append("/".join(parts[1:]))
        for way, ways in enumerate(self._ways):
            if way % 2 and len(parts) > 1:
                continue  # a name alone is looked for anywhere, a path is not
            for one in tries:
                found = ways.get(one if way < 4 else _folded(one), [])
                if len(found) > 1:
                    raise ValueError(
                        f"is {short(cell)}, but {len(found)} files are called so, {found[0]!r} and"
                        f" {found[1]!r} among them; expected a path that names one"
                    )
                if found:
                    return self._inside(found[0], cell)
        raise ValueError(f"is {short(cell)}: no such file below {self.root}{self._hint(whole)}")

    def _inside(self, file: str, cell: str) -> str:
        path = self.root / file
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ValueError(
                f"is {short(cell)}, a link that leaves the folder; expected a file in {self.root}"
            )
        if not path.is_file() and file not in self._folders:
            raise ValueError(f"is {short(cell)}, which is no file")
        return file

    def _hint(self, name: str) -> str:
        if os.path.isdir(self.root / name):
            return f"; it is a folder, expected a video file, or pictures and {TIMES[0]} in it"
        self._asked += 1
        if self._asked > HINTS or len(self.files) > HINTED:
            return ""
        near = [file for file in self.files if Path(file).stem == Path(name).stem]
        near = near or difflib.get_close_matches(name, self.files, 1)
        return f"; there is {near[0]!r}" if near else f"; there is, for example, {self.files[0]!r}"

    def names(self, cell: Any, row: Any = None) -> bool:
        """Whether a cell names a file."""
        try:
            return isinstance(cell, str) and bool(cell.strip()) and bool(self.find(cell))
        except ValueError:
            return False
