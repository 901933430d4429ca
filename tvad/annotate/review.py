"""Decisions of a person about what verification left open, and their audit trail: OUT/review.jsonl, a line a
decision, only ever appended to."""

import json
import os
from pathlib import Path
from types import NoneType
from typing import Any

from tvad.annotate.schema import LOOKS, look_of, word
from tvad.common.errors import InputError
from tvad.common.files import parse_json
from tvad.data.sample import id_fault

TRAIL = "review.jsonl"
DECISIONS = ("accept", "edit", "reject")


def trail_in(out: Path) -> list[dict[str, Any]]:
    """All decisions, the oldest first, without half a line that a kill left at the end. Raises InputError for
    a line that is none."""
    path, found = out / TRAIL, []
    for n, line in enumerate(path.read_bytes().splitlines(keepends=True) if path.exists() else (), 1):
        try:
            found.append(_decision(parse_json(line)))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if line.endswith(b"\n"):
                raise InputError(f"{path}:{n}: not a decision ({error})") from error
    return found


def _decision(row: Any) -> dict[str, Any]:
    """A line with its words as they may stand in a narrative. Raises ValueError, TypeError or KeyError."""
    if row["decision"] not in DECISIONS or type(row["target"]) is not int:
        raise ValueError("no decision")
    if fault := id_fault(row["id"]):
        raise ValueError(fault)
    if not isinstance(row["look"], dict) or not isinstance(row["action"], (str, NoneType)):
        raise ValueError("look or action is none")
    if strange := [name for name, said in row["look"].items() if name in LOOKS and not isinstance(said, str)]:
        raise ValueError(f"{strange[0]} is no word")
    return {**row, "look": look_of(row["look"]), "action": word(row["action"])}


def decisions_in(out: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Video -> target -> the last decision about it."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for row in trail_in(out):
        found.setdefault(row["id"], {})[row["target"]] = row
    return found


def append(out: Path, row: dict[str, Any]) -> None:
    """Add a decision to the trail, and have it on the disk before it is answered."""
    _whole_lines(out / TRAIL)
    with (out / TRAIL).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _whole_lines(path: Path) -> None:
    """End the last line of a trail: a decision that lacks but its end is kept, half of one goes."""
    data = path.read_bytes() if path.exists() else b""
    if not data or data.endswith(b"\n"):
        return
    start = data.rfind(b"\n") + 1
    try:
        _decision(parse_json(data[start:]))
        end = b"\n"
    except (ValueError, TypeError, KeyError, RecursionError):
        data, end = data[:start], b""
    with path.open("r+b") as file:
        file.truncate(len(data))
        file.seek(len(data))
        file.write(end)
