"""Files that are whole or absent."""

import os
from pathlib import Path


def write_whole(path: str | os.PathLike, text: str) -> Path:
    """Write UTF-8 text to a temporary name beside `path`, then rename; returns the path."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return path
