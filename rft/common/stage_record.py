"""stage.json, what a finished stage recorded beside its model: its settings, seed, steps, what trained, the
history of its losses. Written last: it marks the stage as done."""

import json
from pathlib import Path
from typing import Any

from rft.common import moved
from tvad.common.errors import InputError
from tvad.common.files import write_whole

NAME = "stage.json"
FORMAT = 2  # 1 had no number and flat settings


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write the record of a stage into its model's folder."""
    write_whole(folder / NAME, json.dumps({"format": FORMAT} | record, indent=1))


def read_record(path: Path) -> dict[str, Any]:
    """A record in today's form; format 1 is brought over. Raises InputError that names the file for any
    other, and for one that cannot be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        found = record.get("format", 1)
        if found == 1:
            record = record | {"format": FORMAT, "stage": moved.brought_over(record["stage"], moved.STAGE)}
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise InputError(f"{path}: no record of a stage ({type(error).__name__}: {error})") from error
    if found not in (1, FORMAT):
        raise InputError(f"{path}: format {found!r}, this version reads 1 and {FORMAT}")
    return record
