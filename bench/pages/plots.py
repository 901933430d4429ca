"""Plots of pages: matplotlib's SVG in the colours of the style sheet, light and dark, each value to be read
by pointing at it; and the data of curves that plotly draws (`curves.js`). Needs no display; the same values
give the same bytes."""

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup

from bench.pages import number, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 360  # pixels: a card of a page, also on a phone
MOST_BARS = 24
MOST_POINTS = 400  # of a curve that plotly draws
HOVERED = 40  # points of a curve that say their values
# Colours that nothing else has, each standing for a variable of the style sheet.
INK, DIM, LINE, BAR = "#000001", "#000002", "#000003", "#000004"
VARIABLES = {INK: "var(--ink)", DIM: "var(--dim)", LINE: "var(--line)", BAR: "var(--bar)"}
RC: dict[Any, Any] = {
    "svg.hashsalt": "tvad",  # ids of clips and markers are then the same in every run
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class may be called $x$
    "font.size": 10,
    "text.color": DIM,
    "axes.labelcolor": DIM,
    "xtick.labelcolor": DIM,
    "ytick.labelcolor": DIM,
    "axes.edgecolor": LINE,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 6,
}


@dataclass(frozen=True)
class Bar:
    """A row of a bar chart on 0..1: a value with its interval, and a paler one from before."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    old: float | None = None


def _words(text: str) -> str:
    """Text that may stand in XML, which has no control characters."""
    return "".join(c if c.isprintable() else "�" for c in plain(text))


@contextmanager
def _figure(height: float) -> Iterator[tuple["Figure", "Axes"]]:
    """An empty plot, WIDTH by `height` pixels."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC), warnings.catch_warnings():
        # The browser has the glyphs that matplotlib measures without.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, layout="constrained")
        yield figure, figure.subplots()


def _svg(figure: "Figure", label: str, titles: Mapping[str, Sequence[str]]) -> Markup:
    """The figure as an SVG element to stand in a page. titles: for a group of marks, by its gid, what each
    says when pointed at."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(out.getvalue())
    for element in root.iter():
        element.tag = element.tag.partition("}")[2]
        for key in [key for key in element.attrib if key.startswith("{")]:
            element.set(key.partition("}")[2], element.attrib.pop(key))
        if not (element.text or "").strip():
            element.text = None
        element.tail = None
    for parent in list(root.iter()):
        for child in list(parent):
            # The style element would hold for the whole page.
            if child.tag == "metadata" or (child.tag == "defs" and child.find("style") is not None):
                parent.remove(child)
    for group in root.iter("g"):
        if group.get("id") in titles:
            inside = {e for part in group.iter("defs") for e in part.iter()}
            marks = [e for e in group.iter() if e.tag in ("path", "use") and e not in inside]
            for mark, title in zip(marks, titles[str(group.get("id"))], strict=True):
                ElementTree.SubElement(mark, "title").text = _words(title)
    used = "".join(value for e in root.iter() for value in e.attrib.values() if "#" in value)
    for element in root.iter():
        if "id" in element.attrib and f"#{element.get('id')}" not in used:
            del element.attrib["id"]
        if "style" in element.attrib:
            style = [s for s in element.attrib["style"].split("; ") if not s.startswith("font-family")]
            text = "; ".join(style)
            for colour, variable in VARIABLES.items():
                text = text.replace(colour, variable)
            element.set("style", text)
        if element.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]
    root.attrib = {"viewBox": root.get("viewBox", ""), "class": "plot", "role": "img"}
    root.set("aria-label", _words(label))
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def bars(rows: Sequence[Bar], label: str) -> Markup:
    """Horizontal bars on 0..1, the first row on top; at most MOST_BARS of them."""
    rows = rows[:MOST_BARS]
    paired = any(row.old is not None for row in rows)
    thick = 0.36 if paired else 0.55
    titles = {}
    with _figure(26 + (28 if paired else 22) * len(rows)) as (figure, axes):
        for n, row in enumerate(rows):
            for value, place, alpha, what in (
                (row.old, n - 0.2, 0.45, "before"),
                (row.value, n + 0.2 if paired else n, 1.0, "after" if paired else "value"),
            ):
                if value is None:
                    continue
                (drawn,) = axes.barh(place, value, thick, color=BAR, alpha=alpha)
                drawn.set_gid(f"bar-{n}-{what}")
                said = f"{row.name}: {what} {value:.3f}"
                if row.low is not None and what != "before":
                    said += f", 95 % interval {row.low:.3f} to {number(row.high)}"
                titles[f"bar-{n}-{what}"] = [said]
            if row.value is None:
                continue
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [n, n], color=INK, linewidth=1.2, marker="|", markersize=7)
            axes.text(1.03, n + 0.2 if paired else n, f"{row.value:.3f}", va="center", color=INK)
        axes.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
        axes.set_yticks(range(len(rows)), [_short(row.name) for row in rows])
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        return _svg(figure, label, titles)


def _short(text: str, most: int = 26) -> str:
    text = _words(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def histogram(values: np.ndarray, name: str) -> Markup:
    """Counts of values (n,) in twenty bins of 0..1."""
    from matplotlib.ticker import MaxNLocator

    counts, edges = np.histogram(values, bins=20, range=(0, 1))
    with _figure(170) as (figure, axes):
        drawn = axes.bar(edges[:-1] + 0.025, counts, 0.042, color=BAR)
        titles = {}
        for n, (mark, count) in enumerate(zip(drawn, counts, strict=True)):
            mark.set_gid(f"bin-{n}")
            titles[f"bin-{n}"] = [f"{edges[n]:.2f} to {edges[n + 1]:.2f}: {count}"]
        axes.set(xlim=(0, 1), xlabel=_words(name), ylabel="answers")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        return _svg(figure, f"histogram of {name}", titles)


def line(x: np.ndarray, y: np.ndarray, x_name: str, y_name: str, label: str) -> Markup:
    """A curve through points x, y (n,), HOVERED of which say their values."""
    said = np.unique(np.linspace(0, len(x) - 1, HOVERED).round().astype(int))
    with _figure(230) as (figure, axes):
        axes.plot(x, y, color=BAR, linewidth=1.8)
        axes.scatter(x[said], y[said], s=60, color=BAR, alpha=0, linewidths=0, gid="points")
        axes.set(xlabel=_words(x_name), ylabel=_words(y_name), xlim=(0, 1), ylim=(0, 1.02))
        axes.grid()
        titles = [f"{x_name} {a:.3f}, {y_name} {b:.3f}" for a, b in zip(x[said], y[said], strict=True)]
        return _svg(figure, label, {"points": titles})


def curve(steps: Sequence[float], values: Sequence[float], name: str, smooth: bool = True) -> dict[str, Any]:
    """The data of one training curve: the values at their steps and, with `smooth`, their running mean over a
    twentieth of them; more than MOST_POINTS are thinned evenly after that."""
    points = [(s, v) for s, v in zip(steps, values, strict=True) if math.isfinite(v)]
    x, y = [s for s, _ in points], [v for _, v in points]
    window = max(1, len(y) // 20)
    sums = np.cumsum([0.0, *y])
    mean = [float(sums[i + 1] - sums[max(0, i + 1 - window)]) / min(window, i + 1) for i in range(len(y))]
    kept = np.unique(np.linspace(0, len(x) - 1, MOST_POINTS).round().astype(int)).tolist() if x else []
    found = {"name": plain(name), "x": [x[i] for i in kept], "y": [y[i] for i in kept]}
    return {**found, "mean": [mean[i] for i in kept]} if smooth and window > 1 else found
