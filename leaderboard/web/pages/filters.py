"""What the templates write values with."""

from datetime import datetime
from typing import Any

from markupsafe import Markup


def count(value: float | None) -> str:
    """Parameters, in three digits."""
    if value is None:
        return "–"
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}"


def number(value: float | None, sign: bool = False) -> str:
    """A score."""
    return "–" if value is None else f"{value:+.3f}" if sign else f"{value:.3f}"


def interval(metric: dict[str, Any]) -> Markup:
    """A value with its 95 % interval as a bar on 0 to 1. Made here and not by a template: a table has
    thousands."""
    value, low, high = metric.get("value"), metric.get("low"), metric.get("high")
    if value is None:
        return Markup("–")
    text = f'<span class="value">{value:.3f}</span>'
    if low is not None and high is not None:
        text += (
            f'\n<svg class="bar" viewBox="0 0 100 10" role="img" aria-label="95 % interval {low:.3f} to'
            f' {high:.3f}"><rect class="rail" x="0" y="4" width="100" height="2"/><rect class="span"'
            f' x="{100 * low:.1f}" y="2" width="{max(1.0, 100 * (high - low)):.1f}" height="6"/></svg>'
        )
    return Markup(text)


def moment(value: datetime) -> str:
    """A time of the store, which is in UTC."""
    return value.strftime("%Y-%m-%d %H:%M UTC")


def plain(text: str, most: int = 1500) -> str:
    """A model's words, lone surrogates spelt out, cut."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= most else text[:most] + " …"


FILTERS = {"count": count, "number": number, "interval": interval, "moment": moment, "plain": plain}
