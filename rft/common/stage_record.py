"""stage.json: in a stage's folder what it is trained by (settings, seed, what its data and start are, which
settings changed at which step), beside its model the same with steps, what trained and the history of its
losses. The latter is written last: it marks the stage as done."""

import json
import math
from pathlib import Path
from typing import Any

from rft.common import moved
from tvad.common.errors import InputError
from tvad.common.files import write_whole
from tvad.common.formats import Format

NAME = "stage.json"


def _grouped(record: dict[str, Any]) -> dict[str, Any]:
    """Version 1 had a stage's settings flat."""
    return record | {"stage": moved.brought_over(record["stage"], moved.STAGE)}


RECORD = Format("stage", 2, {1: _grouped})


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write the record of a stage into its folder or its model's; a loss that is no number is null there."""
    write_whole(folder / NAME, json.dumps(RECORD.stamp() | _known(record), indent=1, allow_nan=False))


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _known(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_record(path: Path) -> dict[str, Any]:
    """A record in today's form. Raises InputError that names the file for one that is newer or cannot be
    read."""
    try:
        record = RECORD.check(json.loads(path.read_text(encoding="utf-8")), str(path))
        # Before there were forms of a dialogue, a stage told it as its data held it.
        record["stage"].get("texts", {}).setdefault("form", "stored")
        return record
    except InputError:
        raise
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no record of a stage ({type(error).__name__}: {error})") from error
