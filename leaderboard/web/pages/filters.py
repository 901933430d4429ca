"""What the board's templates write values with, beside what all pages have (`bench.pages`)."""

from datetime import datetime


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


FILTERS = {"count": count, "moment": moment}
