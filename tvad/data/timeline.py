"""The file of a timeline, `timeline.json`: scores of a long video over time (`tvad.use.timeline` makes
it)."""

import math
import os
from pathlib import Path
from typing import Any

from tvad.common.errors import InputError
from tvad.common.files import parse_json
from tvad.common.formats import Format

FORMAT, RESULT = Format("tvad-timeline"), "timeline.json"


def read(path: str | os.PathLike) -> dict[str, Any]:
    """A timeline's JSON, by its file or folder. Raises InputError, also for scores, times and thresholds that
    are no numbers, and for a span that ends before it begins."""
    file = Path(path, RESULT) if os.path.isdir(path) else Path(path)
    try:
        found = FORMAT.check(parse_json(file.read_text(encoding="utf-8")), str(file))
        _check(found)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    except InputError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: is no timeline ({error})") from error
    return found


def _check(found: dict[str, Any]) -> None:
    edges, scores = found["steps"]["from"], found["steps"]["score"]
    if len(edges) != len(scores) or not len(edges):
        raise ValueError(f"{len(edges)} steps with {len(scores)} scores")
    spans = [(span["start"], span["end"]) for span in found["spans"]]
    given = {"steps.from": edges, "steps.score": scores, "settings.on": [found["settings"]["on"]]}
    for name, values in (given | {"spans": [t for span in spans for t in span]}).items():
        for value in values:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"{name} holds {value!r}, expected finite numbers")
    if wrong := [span for span in spans if span[0] >= span[1]]:
        raise ValueError(f"a span from {wrong[0][0]:g} to {wrong[0][1]:g} s does not end after it begins")
    if not isinstance(found["video"], str):
        raise ValueError(f"video is {found['video']!r}, expected a path")
