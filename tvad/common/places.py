"""Paths as they may be published: a page or a record tells what was used, not where a machine keeps it."""

import os
import re
from pathlib import Path

# Two names at least, so that a fraction or "and/or" is none; what stands before tells an address from a path.
_ABSOLUTE = re.compile(r"(?<![\w./~-])/(?:[\w.@+=~-]{1,255}/){1,64}[\w.@+=~-]{1,255}")


def public(text: str) -> str:
    """The text with every absolute path relative to the working folder where it lies below that, else as its
    last name ("hf:/home/me/models/mine" is "hf:mine")."""
    if os.path.isabs(text):
        return _of(text)
    return _ABSOLUTE.sub(lambda match: _of(match[0]), text)


def _of(path: str) -> str:
    here = Path(path)
    try:
        return str(here.relative_to(Path.cwd()))
    except ValueError:
        return here.name or "."
