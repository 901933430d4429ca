"""A folder as a .zip while it is being sent: the archive is nowhere as a whole."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class _Pipe(io.RawIOBase):
    """Keeps what is written until it is taken; it cannot be sought in, so the archive is written in one
    go."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.pieces.append(bytes(data))
        return len(data)


def zipped(folder: Path) -> Iterator[bytes]:
    """The files of a folder, not those of folders in it, as a .zip in pieces."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            entry = zipfile.ZipInfo(path.name, (2026, 1, 1, 0, 0, 0))
            # ZIP64 from the start: the size is not known before the last piece.
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as out:
                while piece := source.read(1 << 20):
                    out.write(piece)
                    yield from pipe.pieces
                    pipe.pieces.clear()
    yield from pipe.pieces  # the list of contents
