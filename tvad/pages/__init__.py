"""Self-contained pages: sections of values, rendered by Jinja templates under one style sheet. What the pages
of data sets (`tvad.data.look`), of the benchmark (`bench.pages`) and of the leaderboard have in common.

A page fetches nothing and runs nothing but scripts that its own policy (CSP) names by hash. Whatever a
template shows is cut, spelt out and escaped here, so a section may hold a model's words as they are.
"""

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tvad.common.places import public
from tvad.data.questions import LETTERS

HERE = Path(__file__).parent
STYLE = HERE / "style.css"
MOST = 1500  # characters of a text that a page shows
# What a section's template needs to be run, in this order.
SCRIPTS = {"data.html": ("filter.js",), "timeline.html": ("timeline.js",)}


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


def environment(*folders: Path, filters: Mapping[str, Callable] | None = None) -> Environment:
    """An environment of pages; templates of `folders` stand before this package's."""
    found = Environment(
        loader=FileSystemLoader([*folders, HERE / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(number=number, cell=cell, **(filters or {}))
    found.globals["letters"] = LETTERS
    return found


@cache
def _environment() -> Environment:
    return environment()


def script(text: str) -> tuple[Markup, str]:
    """(text, its hash for the page's policy) of a script."""
    # A parser reads CR LF as LF, and the hash is of what it read.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return Markup(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _own(name: str) -> tuple[Markup, str]:
    return script((HERE / name).read_text(encoding="utf-8"))


def render(
    title: str,
    subtitle: str,
    sections: Iterable[Section],
    templates: Environment | None = None,
    needs: Mapping[str, Sequence[str]] = SCRIPTS,
    script_of: Callable[[str], tuple[Markup, str]] = _own,
) -> str:
    """The page, from first to last section; no absolute path in its titles. templates: where they are not
    this package's; needs: names of scripts that a template needs; script_of: gives one by its name."""
    sections = list(sections)
    title, subtitle = public(title), public(subtitle)
    names = dict.fromkeys(name for section in sections for name in needs.get(section.template, ()))
    templates = templates or _environment()
    parts = [(public(s.title), Markup(templates.get_template(s.template).render(s.values))) for s in sections]
    return templates.get_template("page.html").render(
        title=title,
        subtitle=subtitle,
        parts=parts,
        style=Markup(STYLE.read_text(encoding="utf-8")),
        scripts=[script_of(name) for name in names],
    )
