"""The benchmark's pages: `tvad.pages` with templates, filters and scripts for metrics and answers."""

import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

import tvad.pages
from bench.wording import metric_in_words, metric_parts
from tvad.pages import MOST, STYLE, Section, cell, number, plain, script, settings

__all__ = [
    "MOST",
    "STYLE",
    "Section",
    "breakable",
    "cell",
    "environment",
    "interval",
    "number",
    "plain",
    "render",
    "settings",
]
TEMPLATES = Path(__file__).parent / "templates"
PLOTLY = "plotly"
# What a section's template needs to be run, in this order.
SCRIPTS = {"samples.html": ("filter.js",), "curves.html": (PLOTLY, "curves.js")}


def breakable(name: str) -> Any:
    """A metric's name (task.metric_part) that a narrow table may break behind its dots and underscores; any
    other text as it is."""
    if not re.fullmatch(r"[\w@.]{1,80}", name):
        return name
    return Markup("<wbr>").join(re.split(r"(?<=[._])(?=[^\W\d])", name))


@cache
def _interval() -> str:
    return (TEMPLATES / "interval.txt").read_text(encoding="utf-8")


def interval(metric: dict[str, Any]) -> Markup | str:
    """A metric's value over a bar of its 95 % interval on 0 to 1; a dash for what is undefined. A table has
    thousands of them: numbers are put into a text, which takes a tenth of a macro's time."""
    value, low, high = metric.get("value"), metric.get("low"), metric.get("high")
    if value is None or low is None or high is None:
        return number(value)
    x, width = min(99.0, 100 * low), max(1.0, 100 * (high - low))
    return Markup(_interval().format(value=value, low=low, high=high, x=x, width=width))


def environment(*folders: Path) -> Environment:
    """The environment of all pages; templates of `folders` stand before this package's."""
    filters: dict[str, Callable] = {
        "interval": interval,
        "breakable": breakable,
        "in_words": metric_in_words,
        "in_parts": metric_parts,
    }
    return tvad.pages.environment(*folders, TEMPLATES, filters=filters)


@cache
def _environment() -> Environment:
    return environment()


@cache
def _script(name: str) -> tuple[Markup, str]:
    """(text, its hash for the page's policy) of a script of this package, or of plotly's bundled one."""
    if name == PLOTLY:
        from plotly.offline import get_plotlyjs

        return script(get_plotlyjs())
    folder = Path(__file__).parent
    return script((folder / name if (folder / name).exists() else tvad.pages.HERE / name).read_text("utf-8"))


def render(title: str, subtitle: str, sections: Iterable[Section]) -> str:
    """The page, from first to last section; no absolute path in its titles."""
    return tvad.pages.render(title, subtitle, sections, _environment(), SCRIPTS, _script)
