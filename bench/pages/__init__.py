"""Self-contained pages: sections of values, rendered by the Jinja templates beside this file under one style
sheet.

A page fetches nothing and runs nothing but this package's scripts: its own policy (CSP) names them by hash.
Whatever a template shows is cut, spelt out and escaped here, so a section may hold a model's words as they
are.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.wording import metric_in_words, metric_parts
from tvad.common.places import public
from tvad.data.questions import LETTERS

TEMPLATES = Path(__file__).parent / "templates"
STYLE = Path(__file__).parent / "style.css"
MOST = 1500  # characters of a text that a page shows
PLOTLY = "plotly"
# What a section's template needs to be run, in this order.
SCRIPTS = {"samples.html": ("filter.js",), "curves.html": (PLOTLY, "curves.js")}


@dataclass(frozen=True)
class Section:
    """A part of a page: its title, its template (one of `templates/`) and the values that it shows."""

    title: str
    template: str
    values: dict[str, Any]


def plain(value: Any) -> Any:
    """A text as a page can show it: cut at MOST characters, lone surrogates spelt out; markup and everything
    else as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text = value if len(value) <= MOST else value[:MOST] + " …"
    return text.encode("utf-8", "backslashreplace").decode()


def number(value: float | None, sign: bool = False) -> str:
    """Three decimals; a dash for what is undefined."""
    return "–" if value is None else f"{value:+.3f}" if sign else f"{value:.3f}"


def cell(value: Any) -> Any:
    """A cell of a table: floats by `number`, counts with their thousands, texts as they are."""
    if value is None or isinstance(value, float):
        return number(value)
    return f"{value:,}" if isinstance(value, int) else value


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


def settings(title: str, values: dict[str, Any]) -> Section:
    """A configuration's keys and values, without those that are off or empty, and without absolute paths."""
    rows = []
    for key, value in values.items():
        if value is None or value is False or value in ({}, []):
            continue
        if isinstance(value, dict):
            text = "\n".join(f"{name}: {part}" for name, part in value.items())
        else:
            text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        rows.append([key, public(text)])
    return Section(title, "table.html", {"label": title, "columns": ["Key", "Value"], "rows": rows})


def environment(*folders: Path) -> Environment:
    """The environment of all pages; templates of `folders` stand before this package's."""
    found = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(
        number=number,
        cell=cell,
        interval=interval,
        breakable=breakable,
        in_words=metric_in_words,
        in_parts=metric_parts,
    )
    found.globals["letters"] = LETTERS
    return found


@cache
def _environment() -> Environment:
    return environment()


@cache
def _script(name: str) -> tuple[Markup, str]:
    """(text, its hash for the page's policy) of a script of this package, or of plotly's bundled one."""
    if name == PLOTLY:
        from plotly.offline import get_plotlyjs

        text = get_plotlyjs()
    else:
        text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    # A parser reads CR LF as LF, and the hash is of what it read.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return Markup(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def render(title: str, subtitle: str, sections: Iterable[Section]) -> str:
    """The page, from first to last section; no absolute path in its titles."""
    sections = list(sections)
    title, subtitle = public(title), public(subtitle)
    names = dict.fromkeys(name for section in sections for name in SCRIPTS.get(section.template, ()))
    templates = _environment()
    parts = [(public(s.title), Markup(templates.get_template(s.template).render(s.values))) for s in sections]
    return templates.get_template("page.html").render(
        title=title,
        subtitle=subtitle,
        parts=parts,
        style=Markup(STYLE.read_text(encoding="utf-8")),
        scripts=[_script(name) for name in names],
    )
