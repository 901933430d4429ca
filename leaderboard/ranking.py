"""The table of a suite: which columns, which order, who shares a rank."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from bench.compare import lower_is_better
from bench.tasks import PRIMARIES


@dataclass(frozen=True)
class Row:
    """One model in the table. rank: 1 + the number of models whose interval lies wholly on the better side of this one's; models whose
    intervals overlap with the leader's share its rank."""

    rank: int
    entry: dict[str, Any]

    def metric(self, name: str) -> dict[str, Any]:
        return self.entry["metrics"].get(name, {"value": None, "low": None, "high": None, "n": 0})


def columns(entries: list[dict[str, Any]]) -> list[str]:
    """Primary metrics that any entry has, in the order of the tasks."""
    have = {name for entry in entries for name, metric in entry["metrics"].items() if metric["value"] is not None}
    return [name for name in PRIMARIES if name in have]


def ordered(entries: list[dict[str, Any]], by: str) -> list[Row]:
    """Entries from best to worst by a metric; those without it last."""
    sign = 1 if lower_is_better(by) else -1

    def value(entry: dict[str, Any]) -> float | None:
        return entry["metrics"].get(by, {}).get("value")

    def bounds(entry: dict[str, Any]) -> tuple[float, float]:
        metric = entry["metrics"][by]
        low, high = (metric["value"] if metric[key] is None else metric[key] for key in ("low", "high"))
        return (low, high) if sign < 0 else (-high, -low)

    known = [entry for entry in entries if value(entry) is not None]
    known.sort(key=lambda entry: (sign * (value(entry) or 0.0), entry["hash"]))
    lows = sorted(bounds(entry)[0] for entry in known)
    rows = []
    for entry in known:
        high = bounds(entry)[1]
        rows.append(Row(1 + _above(lows, high), entry))
    return rows + [Row(len(known) + 1, entry) for entry in entries if value(entry) is None]


def _above(lows: list[float], high: float) -> int:
    """How many of the sorted `lows` are above `high`."""
    return len(lows) - bisect_right(lows, high)


def filtered(
    entries: list[dict[str, Any]], words: str = "", open_weights: bool = False, uses_video: bool = False, most: float | None = None
) -> list[dict[str, Any]]:
    """Entries whose name or organisation has `words`, of open weights, that look at the video, of at most `most` parameters."""
    found = []
    for entry in entries:
        card = entry["card"]
        text = f"{card['name']} {card['organisation']}".lower()
        small = most is None or (card["parameters"] is not None and card["parameters"] <= most)
        if words.lower() in text and (card["open_weights"] or not open_weights) and (card["uses_video"] or not uses_video) and small:
            found.append(entry)
    return found
