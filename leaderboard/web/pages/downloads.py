"""A table as a file (CSV, Parquet, JSON), and one model's place in it as a badge. All figures are read as the
table's page reads them: what it does not show stands in no file."""

import csv
import io
import re
from typing import Any

from bench.wording import metric_in_words
from leaderboard.board.config import Board
from leaderboard.store import Store
from leaderboard.web.pages.base import Opened
from leaderboard.web.pages.charts import PlotPages
from leaderboard.web.pages.links import Links
from tvad.common.files import json_text

KINDS = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "json": "application/json",
}
PART = 1000  # rows read at a time: SQLite takes 32,766 values in a query
MOST_KEPT = 24  # files that are kept between requests
CARD = ("name", "organisation", "parameters", "open_weights", "uses_video", "baseline", "licence")
FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
PARTED = re.compile(f"([;|\\t\\r\\n][\"' ]*)([{re.escape(''.join(FORMULAS))}])")
LETTER = 6.6  # pixels that a letter of a badge takes, at most

Row = dict[str, Any]


def _cell(value: Any) -> Any:
    """A cell of a CSV. Spreadsheets take a text for a formula that begins so, behind spaces and control
    characters too, and behind what parts cells where a comma does not; an apostrophe before it makes it a
    text. Numbers are numbers."""
    if isinstance(value, str):
        value = PARTED.sub(r"\1'\2", value)
    if isinstance(value, str) and value.lstrip(" \t\r\n\v\f\0\ufeff").startswith(FORMULAS):
        return f"'{value}"
    if isinstance(value, str) and value[:1] in ("\t", "\r", "\n"):
        return f"'{value}"
    return value


def flat(rows: list[Row], metrics: list[str]) -> tuple[dict[str, type], list[Row]]:
    """({column: type}, rows) of `TablePages.data`: a metric becomes its value, bounds and number of
    questions."""
    columns: dict[str, type] = {"rank": int, "hash": str, "account": str, "submitted": str, "flagged": bool}
    columns |= {
        "name": str,
        "organisation": str,
        "organisation_verified": bool,
        "parameters": float,
        "open_weights": bool,
        "uses_video": bool,
        "baseline": bool,
        "licence": str,
        "unranked": str,
        "rerun": str,
    }
    parts = {"value": float, "low": float, "high": float, "n": int}
    for name in metrics:
        columns |= {name if part == "value" else f"{name}.{part}": kind for part, kind in parts.items()}
    found = []
    for row in rows:
        cells = {key: row[key] for key in ("rank", "hash", "account", "flagged", "unranked", "rerun")}
        cells["organisation_verified"] = row["verified"]
        cells["submitted"] = row["created"]
        cells |= {key: row["card"][key] for key in CARD}
        for name in metrics:
            metric = row["metrics"].get(name) or {}
            cells |= {name if p == "value" else f"{name}.{p}": metric.get(p) for p in parts}
        found.append({name: cells[name] for name in columns})
    return columns, found


def as_csv(columns: dict[str, type], rows: list[Row]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(map(_cell, columns))
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    return out.getvalue().encode()


def as_parquet(columns: dict[str, type], rows: list[Row]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
    out = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema), out)
    return out.getvalue()


class Downloads(PlotPages):
    """Files of tables, badges of models."""

    def __init__(self, board: Board, store: Store, opened: Opened):
        super().__init__(board, store, opened)
        self._files: tuple[Any, dict[Any, bytes]] = (None, {})  # the store's revision, files of that time

    def every_row(self, table: str, split: str) -> dict[str, Any]:
        """All of `data`."""
        found = self.data(table, split, "", PART, 0)
        while len(found["models"]) < found["total"]:
            more = self.data(table, split, "", PART, len(found["models"]))
            if not more["models"]:  # withdrawn meanwhile
                break
            found["models"] += more["models"]
        return found

    def download(self, table: str, split: str, kind: str) -> bytes:
        """A table as a file of one of KINDS; kept until something changes: anybody may ask at any time."""
        revision = self.store.revision()
        key = ("file", table, split, kind, self.ranked_by(table, split))
        with self._lock:
            if self._files[0] != revision:
                self._files = (revision, {})
            known = self._files[1].get(key)
        if known is None:
            found = self.every_row(table, split)
            if kind == "json":
                known = json_text(found, table).encode()
            else:
                metrics = self.store.metrics(table, split, found["version"])
                known = (as_csv if kind == "csv" else as_parquet)(*flat(found["models"], metrics))
            with self._lock:
                if self._files[0] == revision and len(self._files[1]) < MOST_KEPT:
                    self._files[1][key] = known
        return known

    def badge(self, name_hash: str, table: str) -> str | None:
        """A finished submission's place on a table's public labels as SVG; None for one that has none."""
        number = self.store.result_number(name_hash, table, "public")
        if number is None:
            return None
        sort = next(iter(self.columns(table, "public")), "")
        rank, total = self.place_of(table, "public", sort, number)
        label = f"{self.board.title}: {table}"
        if rank is None:
            value = "not in the current table"
        else:
            row = self.store.rows([number], [sort]).get(number)
            if row is None:  # withdrawn meanwhile
                return None
            metric = row["metrics"].get(sort)
            score = f"{metric['value']:.3f}" if metric else "–"
            place = f", rank {rank} of {total}" if rank else ", no rank"
            value = f"{metric_in_words(sort)} {score}{place}"
        widths = [round(LETTER * len(text)) + 16 for text in (label, value)]
        return self.render("badge.svg", Links(), label=label, value=value, widths=widths)
