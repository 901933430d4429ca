"""What the board's templates write values with, beside what all pages have (`bench.pages`)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bench.pages import number
from bench.wording import task_in_words

TEMPLATES = Path(__file__).parent.parent / "templates"
# Cells of a table: a value over its interval, in figures and as a bar for the eye; a value without one.
SCORE, VALUE = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("score.txt", "value.txt"))


def count(value: float | None) -> str:
    """Parameters, in three digits."""
    if value is None:
        return "–"
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}"


def moment(value: datetime) -> str:
    """A time of the store, which is in UTC."""
    return value.strftime("%Y-%m-%d %H:%M UTC")


def second(value: datetime) -> str:
    """As `moment`, to the second."""
    return value.strftime("%Y-%m-%d %H:%M:%S UTC")


def between(low: float, high: float) -> str:
    """An interval in figures."""
    return f"{low:.3f}–{high:.3f}" if low >= 0 else f"{low:.3f} to {high:.3f}"


def scores(metrics: Mapping[str, Any], columns: Sequence[str], main: str) -> Markup:
    """The cells of a row, from {metric: {value, low, high} or a bare value}; main: by which the table is
    ordered. A table has thousands of them: putting numbers into a text takes a tenth of a macro's time."""
    cells = []
    for name in columns:
        metric = metrics.get(name)
        if isinstance(metric, dict):
            value, low, high = metric["value"], metric["low"], metric["high"]
        else:
            value, low, high = metric, None, None
        kind = "num score main" if name == main else "num score"
        if value is None or low is None or high is None:
            cells.append(VALUE.format(kind=kind, value=number(value)))
            continue
        x = 100 * min(0.99, max(0.0, low))  # the bar is of 0 to 1, whatever the figures say
        width = max(1.0, min(100.0, 100 * high) - x)
        cells.append(SCORE.format(kind=kind, value=value, bounds=between(low, high), x=x, width=width))
    return Markup("".join(cells))


def bounds(found: Any) -> str:
    """The interval of what has a `low` and a `high`, in figures; a dash where there is none."""
    low, high = (found.get(k) if isinstance(found, dict) else getattr(found, k) for k in ("low", "high"))
    return "–" if low is None or high is None else between(low, high)


FILTERS = {
    "bounds": bounds,
    "count": count,
    "moment": moment,
    "scores": scores,
    "second": second,
    "task_in_words": task_in_words,
}
