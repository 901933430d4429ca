"""Classes that an answer gives with its spans: JSON objects with a label each, or lists of spans by class."""

import json
import re
from typing import Any

KEYS = ("label", "category", "class", "event", "type", "anomaly")
MOST = 40_000  # characters of JSON that are read
_FENCE = re.compile(r"```(?:json)?\s{0,9}|\s{0,9}```")


def read_labels(text: str, spans: int) -> tuple[str | None, ...] | None:
    """The class of each of the `spans` spans that `text` is known to give, in their order; None where it has
    no classes or where they cannot be told apart."""
    if len(text) > MOST or not ("{" in text and ":" in text):
        return None
    try:
        data = json.loads(_FENCE.sub("", text))
    except (ValueError, RecursionError):
        return None
    labels = _by_class(data) if isinstance(data, dict) and not {*KEYS} & data.keys() else None
    if labels is None:
        rows = [data] if isinstance(data, dict) else data if isinstance(data, list) else []
        labels = [_label(row) for row in rows]
    return tuple(labels) if len(labels) == spans and any(labels) else None


def _label(row: Any) -> str | None:
    said = [row[key] for key in KEYS if isinstance(row, dict) and isinstance(row.get(key), str)]
    return said[0] if said else None


def _by_class(data: dict) -> list[str | None] | None:
    """{"fighting": [[1, 2], [5, 7]], "fire": [9, 12]}: a label for every pair of numbers."""
    labels: list[str | None] = []
    for name, value in data.items():
        rows = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
        if not all(isinstance(row, list) and len(row) == 2 for row in rows):
            return None
        labels += [name] * len(rows)
    return labels
