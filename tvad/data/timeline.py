"""The file of a timeline, `timeline.json`: scores of a long video over time (`tvad.use.timeline` makes
it)."""

import os
from pathlib import Path
from typing import Any

from tvad.common.errors import InputError
from tvad.common.files import parse_json
from tvad.common.formats import Format

FORMAT, RESULT = Format("tvad-timeline"), "timeline.json"


def read(path: str | os.PathLike) -> dict[str, Any]:
    """A timeline's JSON, by its file or folder. Raises InputError."""
    file = Path(path, RESULT) if os.path.isdir(path) else Path(path)
    try:
        found = FORMAT.check(parse_json(file.read_text(encoding="utf-8")), str(file))
        edges, scores = found["steps"]["from"], found["steps"]["score"]
        if len(edges) != len(scores) or not all(isinstance(s["start"], (int, float)) for s in found["spans"]):
            raise ValueError(f"{len(edges)} steps with {len(scores)} scores")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    except InputError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: is no timeline ({error})") from error
    return found
