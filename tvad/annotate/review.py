"""Decisions of a person about what verification left open, and their audit trail: OUT/review.jsonl, a line a
decision, only ever appended to."""

import json
from pathlib import Path
from typing import Any

from tvad.common.errors import InputError
from tvad.common.files import parse_json

TRAIL = "review.jsonl"
DECISIONS = ("accept", "edit", "reject")


def trail_in(out: Path) -> list[dict[str, Any]]:
    """All decisions, the oldest first. Raises InputError for a line that is none."""
    path, found = out / TRAIL, []
    for n, line in enumerate(path.read_bytes().splitlines() if path.exists() else (), 1):
        try:
            row = parse_json(line)
            if row["decision"] not in DECISIONS or not isinstance(row["target"], int):
                raise ValueError("no decision")
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}:{n}: not a decision ({error})") from error
        found.append(row)
    return found


def decisions_in(out: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Video -> target -> the last decision about it."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for row in trail_in(out):
        found.setdefault(row["id"], {})[row["target"]] = row
    return found


def append(out: Path, row: dict[str, Any]) -> None:
    """Add a decision to the trail, and have it on the disk before it is answered."""
    import os

    with (out / TRAIL).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
