"""Plots of the board's pages: what stands where, as shares of a plot's width and pixels of its height;
`plots.html` writes them as SVG. Not by matplotlib, as `bench.pages.plots`: it writes style attributes,
which the pages' policy refuses, its words shrink with the width of a phone, and a plot takes a tenth of a
second."""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from bench import by_slice
from bench.families import SLICES, Difference
from bench.pages import number
from bench.wording import metric_in_words, metric_parts

HEIGHT = 220  # pixels of a plot of points
ROW = 40  # pixels of a row of a dot plot: its name over its interval
MOST_ROWS = 40  # of a dot plot
APART = 15  # pixels between two labels
PHONE, LETTER = 286, 6.6  # pixels of a plot's width on a phone, and of a letter
MARGIN = 0.06  # of an axis, free at both ends


@dataclass(frozen=True)
class Point:
    """A model in a plot. at: its place on the axis below, a size or a time."""

    name: str
    link: str  # hash
    at: float
    value: float
    low: float
    high: float
    said: str  # what `at` is, in words
    kind: str = ""  # class of its mark: dim, best, this


@dataclass(frozen=True)
class Mark:
    """A mark with its interval from top to bottom: x in percent, else pixels; label: (words, shift in pixels,
    text-anchor, y)."""

    x: float
    y: float
    top: float
    bottom: float
    kind: str
    title: str
    label: tuple[str, int, str, float] | None = None


@dataclass(frozen=True)
class Row:
    """A row of a dot plot; other: a second value, marked by a tick."""

    name: str
    said: str
    value: float | None
    low: float | None
    high: float | None
    kind: str = ""
    title: str = ""
    other: float | None = None


@dataclass(frozen=True)
class Plot:
    """A plot to be written. across: lines (y in pixels, words), along: lines (x in percent, words)."""

    height: float
    across: list[tuple[float, str]] = field(default_factory=list)
    along: list[tuple[float, str]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    lines: list[tuple[float, float, float, float]] = field(default_factory=list)  # x1, y1, x2, y2
    rows: list[dict[str, Any]] = field(default_factory=list)
    zero: float | None = None  # percent


def short(text: str, most: int) -> str:
    """A text cut to a width, a Chinese letter taking two."""
    width = 0
    for n, letter in enumerate(text):
        width += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if width > most:
            return text[: max(1, n - 1)].rstrip() + "…"
    return text


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two, `most` or fewer, 1, 2 or 5 times a power of ten apart."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    by = next(k * power for k in (1, 2, 5, 10, 20) if span / (k * power) <= most)
    return [round(n * by, 10) for n in range(math.ceil(low / by - 1e-9), math.floor(high / by + 1e-9) + 1)]


def _plain(value: float) -> str:
    return f"{value:.10f}".rstrip("0").rstrip(".") or "0"


def _heights(points: Sequence[Point], height: float) -> tuple[float, float, list[tuple[float, str]]]:
    """(lowest, highest value of the upright axis, its lines)."""
    low, high = min(p.low for p in points), max(p.high for p in points)
    room = max(high - low, 0.02) * MARGIN
    low, high = low - room, high + room
    across = [((high - v) / (high - low) * height, _plain(v)) for v in ticks(low, high)]
    return low, high, across


def _marks(
    points: Sequence[Point],
    place: Sequence[float],
    height: float,
    axis: tuple[float, float],
    up: bool,
    names: bool = True,
    line: bool = False,
) -> list[Mark]:
    """Points as marks, the best ones with names: left of what is best up to there nothing is better, so that
    their names stand free; one that would lie on another point is left out. axis: lowest and highest value;
    up: whether more is better; line: the best are on one."""
    low, high = axis

    def y(value: float) -> float:
        return round((high - value) / (high - low) * height, 1)

    found: list[Mark] = []
    taken: list[float] = []
    named = {"best", "this"}
    order = sorted(range(len(points)), key=lambda n: (points[n].kind in named, points[n].kind == "this"))
    for n in reversed(order):  # the most important names first
        p, x = points[n], round(place[n], 2)
        label = None
        left = x < 40
        # Of a line that rises to the right both sides are free: above on the left, below on the right.
        at = y(p.value) + (15 if up == (left and line) else -7)
        name = short(p.name, 24)
        begin = PHONE * x / 100 + (7 if left else -7 - LETTER * len(name))
        free = all(abs(at - other) >= APART for other in taken) and not any(
            begin - 6 < PHONE * place[k] / 100 < begin + LETTER * len(name) + 6
            and at - 16 < y(points[k].value) < at + 7
            for k in range(len(points))
            if k != n
        )
        if names and p.kind in named and free:
            taken.append(at)
            label = (name, 7 if left else -7, "start" if left else "end", round(at, 1))
        title = f"{p.name}: {number(p.value)} ({number(p.low)} to {number(p.high)}), {p.said}"
        found.append(Mark(x, y(p.value), y(p.high), y(p.low), p.kind, title, label))
    return found[::-1]  # what is marked stands above the others


def leading(points: Iterable[Point], less: bool) -> set[str]:
    """Links of those that are better than all that stand before them on the axis below."""
    best, found = math.inf, set()
    for p in sorted(points, key=lambda p: (p.at, p.value if less else -p.value)):
        value = p.value if less else -p.value
        if p.kind != "dim" and value < best:
            best = value
            found.add(p.link)
    return found


def _count(value: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{_plain(value / size)} {letter}"
    return _plain(value)


def sizes(
    points: Sequence[Point], less: bool, height: float = HEIGHT, this: Point | None = None
) -> Plot | None:
    """Score against the number of parameters, which is drawn by its logarithm; None for nothing. this: one
    that is drawn before all others."""
    if not points:
        return None
    best = leading(points, less)
    kinds = [
        replace(p, kind="dim" if this else p.kind or ("best" if p.link in best else ""))
        for p in points
        if this is None or p.link != this.link
    ]
    if this:
        kinds.append(replace(this, kind="this"))
    low, high, across = _heights(kinds, height)
    first = math.log10(min(p.at for p in kinds)) - 0.15
    last = math.log10(max(p.at for p in kinds)) + 0.15

    def x(size: float) -> float:
        return 100 * (math.log10(size) - first) / (last - first)

    steps = (1, 2, 5) if last - first < 1.2 else (1, 3) if last - first < 2.2 else (1,)
    values = [k * 10.0**n for n in range(math.floor(first), math.ceil(last) + 1) for k in steps]
    values = [v for v in values if v > 0 and first <= math.log10(v) <= last]  # 10 ** -324 is 0
    values = values[:: math.ceil(len(values) / 5)] if values else []
    along = [(round(x(v), 2), _count(v)) for v in values]
    marks = _marks(kinds, [x(p.at) for p in kinds], height, (low, high), not less, this is None)
    return Plot(height, across, along, marks)


def history(points: Sequence[Point], end: float, less: bool, height: float = HEIGHT) -> Plot | None:
    """The best of its time, a line with a step where something better came; at: seconds; end: the time of the
    newest. None for nothing."""
    if not points:
        return None
    best = leading(points, less)
    steps = sorted((replace(p, kind="best") for p in points if p.link in best), key=lambda p: p.at)
    low, high, across = _heights(steps, height)
    first, span = steps[0].at, max(end - steps[0].at, 1.0)

    def x(time: float) -> float:
        return 3 + 94 * (time - first) / span

    def y(value: float) -> float:
        return round((high - value) / (high - low) * height, 1)

    lines = []
    for p, following in zip(steps, [*steps[1:], None], strict=True):
        until = round(x(following.at if following else first + span), 2)
        lines.append((round(x(p.at), 2), y(p.value), until, y(p.value)))
        if following:
            lines.append((until, y(p.value), until, y(following.value)))
    form = "%Y-%m-%d" if span >= 2 * 86400 else "%d %b %H:%M"
    shown = (first, first + span / 2, first + span)
    along = [(round(x(t), 2), datetime.fromtimestamp(t, UTC).strftime(form)) for t in shown]
    marks = _marks(steps, [x(p.at) for p in steps], height, (low, high), not less, line=True)
    return Plot(height, across, along, marks, lines)


def dots(rows: Sequence[Row], low: float, high: float, zero: bool = False) -> Plot | None:
    """Values with their intervals, a row each, on an axis from `low` to `high`; None for nothing."""
    rows = [row for row in rows if row.value is not None][:MOST_ROWS]
    if not rows:
        return None
    span = max(high - low, 1e-9)

    def x(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - low) / span)), 2)

    found = []
    for n, row in enumerate(rows):
        bounded = row.low is not None and row.high is not None
        found.append(
            {
                "name": short(row.name, 36),
                "said": row.said,
                "title": row.title or f"{row.name}: {row.said}",
                "kind": row.kind,
                "text": n * ROW + 14,
                "y": n * ROW + 27,
                "x": x(row.value or 0.0),
                "low": x(row.low) if row.low is not None and bounded else None,
                "high": x(row.high) if row.high is not None and bounded else None,
                "other": None if row.other is None else x(row.other),
            }
        )
    along = [(x(v), f"{v:+g}" if zero and v else _plain(v)) for v in ticks(low, high)]
    return Plot(len(rows) * ROW, along=along, rows=found, zero=x(0.0) if zero else None)


def span_of(differences: Iterable[Difference]) -> tuple[float, float]:
    """The axis on which differences are drawn, with zero inside."""
    ends = [0.0]
    for d in differences:
        ends += [v for v in (d.change.value, d.change.low, d.change.high) if v is not None]
    room = max(max(ends) - min(ends), 0.02) * MARGIN
    return min(ends) - room, max(ends) + room


def changes(differences: Sequence[Difference], low: float, high: float) -> Plot | None:
    """Paired differences with their intervals, a line at no change; without what has not changed at all and
    the slices that are too small to be tested."""
    rows = []
    for d in differences:
        if (d.change.low is None and not d.change.value) or (d.family == SLICES and d.p is None):
            continue
        name, said = metric_in_words(d.metric), number(d.change.value, True)
        sliced = by_slice.parts(d.metric)
        interval = "" if d.change.low is None else f" ({number(d.change.low, True)} to {d.change.high:+.3f})"
        title = f"{name}: {said}{interval}, {'not told apart' if d.verdict == 'same' else d.verdict}"
        said = said if d.verdict == "same" else f"{said} {d.verdict}"
        if sliced:  # what tells the rows apart stands first
            name = f"{sliced[1]} {sliced[2]}: {metric_parts(sliced[0])[0]}"
        rows.append(Row(name, said, d.change.value, d.change.low, d.change.high, d.verdict, title))
    return dots(rows, low, high, zero=True)
