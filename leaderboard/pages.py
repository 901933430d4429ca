"""The pages: rendered from the store, for the server and, with other addresses, for static hosting."""

import threading
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from bench import blind as blinds
from bench.answers import kind_of, reference
from bench.compare import lower_is_better
from bench.pages import STYLE, environment
from bench.suite import Item, Suite
from bench.tasks import PRIMARIES, TASKS
from leaderboard import evidence, ranking
from leaderboard.board import Board
from leaderboard.store import DONE, Filter, Store
from tvad.data.sample import Sample

TEMPLATES = Path(__file__).parent / "templates"
PUBLISHED = [
    {"note": None, **part}
    for part in yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8"))
]
FILES = {STYLE: "text/css", TEMPLATES / "icon.svg": "image/svg+xml"}
SIZES = [
    ("", "any size"),
    ("4e9", "4 billion parameters"),
    ("9e9", "9 billion"),
    ("4e10", "40 billion"),
    ("1e11", "100 billion"),
]
ROWS, CARDS = 100, 12  # a page
MOST_COLUMNS = 12
MOST_KEPT = 64  # orders of tables that are kept between requests


def count(value: float | None) -> str:
    if value is None:
        return "–"
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}"


def moment(value: datetime) -> str:
    return value.strftime("%Y-%m-%d %H:%M UTC")


def turned(rows: list[Any], page: int, size: int) -> tuple[list[Any], int, int]:
    """(rows of a page, its number, how many there are); a page that does not exist is the nearest one."""
    pages = max(1, -(-len(rows) // size))
    page = min(max(1, page), pages)
    return rows[(page - 1) * size : page * size], page, pages


class Links:
    """Addresses of the server's pages."""

    static = False

    def file(self, name: str) -> str:
        return f"/{name}"

    def start(self) -> str:
        return "/"

    def table(self, suite: str, **query: Any) -> str:
        chosen = {key: value for key, value in query.items() if value}
        return f"/suites/{suite}" + (f"?{urlencode(chosen, doseq=True)}" if chosen else "")

    def versions(self, suite: str) -> str:
        return f"/suites/{suite}/versions"

    def model(self, name_hash: str) -> str:
        return f"/models/{name_hash}"

    def named(self, page: str) -> str:
        return f"/{page}"


class StaticLinks(Links):
    """Addresses of the exported files, relative to a page `depth` folders deep."""

    static = True

    def __init__(self, depth: int):
        self.root = "../" * depth

    def file(self, name: str) -> str:
        return f"{self.root}{name}"

    def start(self) -> str:
        return f"{self.root}index.html"

    def table(self, suite: str, **query: Any) -> str:
        return self.root + table_file(
            suite, query.get("split") or "public", query.get("sort") or "", int(query.get("page") or 1)
        )

    def versions(self, suite: str) -> str:
        return f"{self.root}suites/{suite}/versions.html"

    def model(self, name_hash: str) -> str:
        return f"{self.root}models/{name_hash}.html"

    def named(self, page: str) -> str:
        return f"{self.root}{page}.html"


def table_file(suite: str, split: str, sort: str, page: int) -> str:
    """Where the export puts a page of a table; without `sort` its first metric."""
    return f"suites/{suite}/{split}{f'-{sort}' if sort else ''}{f'-{page}' if page > 1 else ''}.html"


class Pages:
    """HTML from a board, its store and its opened suites (`Board.open`)."""

    def __init__(self, board: Board, store: Store, opened: dict[str, tuple[Suite, list[Sample], list[Item]]]):
        self.board, self.store, self.opened = board, store, opened
        self.versions = {}
        for name, (suite, samples, items) in opened.items():
            table, split = board.table_of(name), board.suites[name].split
            self.versions[table, split] = suite.digest(samples)
            store.note_version(
                table, split, self.versions[table, split], len(samples), len(items), board.suites[name].note
            )
        self._lock = threading.Lock()
        self._kept: tuple[Any, dict[Any, tuple[list[tuple[int, int]], int]]] = (None, {})
        self.places = {
            name: {item.id: n for n, item in enumerate(items)} for name, (_, _, items) in opened.items()
        }
        self.pictures = {name: evidence.Pictures(suite) for name, (suite, _, _) in opened.items()}
        self.environment = environment(TEMPLATES)
        self.environment.filters |= {"count": count, "moment": moment}
        self.environment.globals |= {"board": board, "lower_is_better": lower_is_better, "sizes": SIZES}

    def render(self, template: str, at: Links | None = None, **values: Any) -> str:
        return self.environment.get_template(template).render(
            {"at": at or Links(), "suite": None, "page": "", **values}
        )

    def splits(self, table: str) -> list[str]:
        return [split for split in ("public", "private") if (table, split) in self.versions]

    def _ranked(
        self, table: str, split: str, version: str, sort: str, wanted: Filter
    ) -> tuple[list[tuple[int, int]], int]:
        """(rank, result) of what a filter shows from best to worst, and of how many; kept until something
        changes."""
        key, revision = (table, split, version, sort, wanted), self.store.revision()
        with self._lock:
            if self._kept[0] != revision:
                self._kept = (revision, {})
            known = self._kept[1].get(key)
        if known is None:
            standings = self.store.standings(table, split, version, sort, wanted)
            ranks, order = ranking.ordered(standings, sort)
            keep = standings.shown[order]
            known = (
                list(zip(ranks[keep].tolist(), standings.results[order][keep].tolist(), strict=True)),
                len(order),
            )
            with self._lock:
                if self._kept[0] == revision and len(self._kept[1]) < MOST_KEPT:
                    self._kept[1][key] = known
        return known

    def columns(self, table: str, split: str) -> list[str]:
        """The metrics that the current version's table shows."""
        return ranking.columns(self.store.metrics(table, split, self.versions[table, split]))

    def table(
        self,
        table: str,
        split: str = "public",
        version: str = "",
        sort: str = "",
        chosen: list[str] | None = None,
        wanted: Filter | None = None,
        page: int = 1,
        at: Links | None = None,
    ) -> tuple[str, int]:
        """A page of a suite's table, and how many pages there are."""
        wanted = wanted or Filter()
        if not version or version not in [known["hash"] for known in self.store.versions(table, split)]:
            version = self.versions[table, split]
        metrics = self.store.metrics(table, split, version)
        columns = [name for name in metrics if name in (chosen or ())][:MOST_COLUMNS] or ranking.columns(
            metrics
        )
        sort = sort if sort in metrics else (columns[0] if columns else "")
        shown, total = self._ranked(table, split, version, sort, wanted)
        part, page, pages = turned(shown, page, ROWS)
        rows = self.store.rows([result for _, result in part], columns)
        blind = self.store.blind(table, split, version)
        baselines: dict[str, dict[str, float]] = {}
        for task, row in blind.items():
            for name, value in row["baselines"].items():
                baselines.setdefault(name, {})[f"{task}.accuracy"] = value
        query = {
            "split": split if split != "public" else "",
            "version": version if version != self.versions[table, split] else "",
            "q": wanted.words,
            "most": next((text for text, _ in SIZES if text and float(text) == wanted.most), ""),
            "open": "1" if wanted.open_weights else "",
            "video": "1" if wanted.uses_video else "",
            "no_baselines": "1" if wanted.no_baselines else "",
            "older": "1" if wanted.older else "",
            "col": columns if chosen else [],
        }
        name = self.board.suite_in(table, split)
        titles = self.board.suites[name].published if name else []
        text = self.render(
            "table.html",
            at,
            suite=table,
            split=split,
            splits=self.splits(table),
            version=version,
            old=version != self.versions[table, split],
            sort=sort,
            columns=columns,
            metrics=metrics,
            rows=[(rank, rows[result]) for rank, result in part],
            shown=len(shown),
            total=total,
            page_number=page,
            pages=pages,
            query=query,
            warnings=blinds.warnings(blind),
            blind=list(baselines.items()),
            inputs=name if name and self.board.suites[name].render else None,
            published=[part for part in PUBLISHED if part["what"] in titles],
        )
        return text, pages

    def data(self, table: str, split: str, sort: str, limit: int, offset: int) -> dict[str, Any]:
        """A part of a table as plain data."""
        version = self.versions[table, split]
        metrics = self.store.metrics(table, split, version)
        sort = sort if sort in metrics else next(iter(ranking.columns(metrics)), "")
        ranked, total = self._ranked(table, split, version, sort, Filter())
        part = ranked[offset : offset + limit]
        rows = self.store.rows([result for _, result in part], metrics)
        return {
            "suite": table,
            "split": split,
            "version": version,
            "sort": sort,
            "total": total,
            "models": [{"rank": rank, **rows[result]} for rank, result in part],
        }

    def model(self, name_hash: str, at: Links | None = None) -> str | None:
        """A model's page; None for an unknown hash."""
        found = self.store.status(name_hash)
        if found is None:
            return None
        results = self.store.results(name_hash) if found["state"] == DONE else []
        for result in results:
            result["old"] = self.versions.get((result["suite"], result["split"])) != result["suite_hash"]
            result["browse"] = (
                not result["old"] and result["split"] == "public" and result["folder"] is not None
            )
            result["primaries"] = {
                task: TASKS[task].PRIMARY for task in result["summary"].get("by_class", {})
            }
        history = self.store.history(found["account"], found["name"])
        shown = [
            (suite, name)
            for suite in self.board.tables
            for name in PRIMARIES
            if any(name in row["scores"].get(suite, {}) for row in history)
        ]
        return self.render(
            "model.html",
            at,
            model=found,
            results=results,
            flags=self.store.flags(name_hash),
            history=history,
            shown=shown,
            waiting=found["state"] in ("queued", "running"),
        )

    def result(self, name_hash: str, table: str) -> dict[str, Any] | None:
        """The public result of a finished submission in a table, with its scored run; None where there is
        none."""
        found = self.store.status(name_hash)
        if found is None or found["state"] != DONE:
            return None
        rows = [
            r
            for r in self.store.results(name_hash)
            if r["suite"] == table and r["split"] == "public" and r["folder"] is not None
        ]
        return {**rows[0], "model": found, "run": self.board.scored(rows[0]["folder"])} if rows else None

    def _current(self, result: dict[str, Any], table: str) -> tuple[str, list[dict]] | None:
        """(suite, lines) of a result that was scored on the version that is served now."""
        name = self.board.suite_in(table, "public")
        if name is None or self.versions[table, "public"] != result["suite_hash"]:
            return None
        return name, evidence.answers(result["run"])

    def samples(
        self, name_hash: str, table: str, task: str = "", kind: str = "", order: str = "worst", page: int = 1
    ) -> str | None:
        """Answers of a model one by one; None where there are none to be shown."""
        result = self.result(name_hash, table)
        opened = self._current(result, table) if result else None
        if result is None or opened is None:
            return None
        name, lines = opened
        _, samples, items = self.opened[name]
        kinds = {s.id: kind_of(s) for s in samples}
        chosen = [
            (line["scores"].get(TASKS[line["task"]].PRIMARY, 0.0), self.places[name][line["id"]], line)
            for line in lines
            if (not task or line["task"] == task) and (not kind or kinds[line["sample"]] == kind)
        ]
        if order in ("worst", "best"):
            chosen.sort(key=lambda row: (row[0] if order == "worst" else -row[0], row[1]))
        part, page, pages = turned(chosen, page, CARDS)
        cards = [
            {
                "place": place,
                "line": line,
                "score": score,
                "item": items[place],
                "kind": kinds[line["sample"]],
                "reference": reference(items[place]),
                "primary": TASKS[line["task"]].PRIMARY,
            }
            for score, place, line in part
        ]
        query = {key: value for key, value in (("task", task), ("kind", kind), ("order", order)) if value}
        return self.render(
            "samples.html",
            suite=table,
            model=result["model"],
            cards=cards,
            tasks=list(dict.fromkeys(line["task"] for line in lines)),
            kinds=sorted(set(kinds.values())),
            task=task,
            kind=kind,
            order=order,
            page_number=page,
            pages=pages,
            found=len(chosen),
            more=f"?{urlencode(query)}&page=",
        )

    def frames(self, name_hash: str, table: str, place: int) -> bytes | None:
        """The picture of one answer, a JPEG; None where there is none."""
        result = self.result(name_hash, table)
        opened = self._current(result, table) if result else None
        if opened is None:
            return None
        name, lines = opened
        items = self.opened[name][2]
        if not 0 <= place < min(len(items), len(lines)) or lines[place]["id"] != items[place].id:
            return None
        return self.pictures[name].of(
            items[place].sample, lines[place], self.board.submission(name_hash) / name
        )

    def compare(self, table: str, names: list[str]) -> str | None:
        """The paired comparison of two models; None where one of them cannot be compared."""
        found = [self.result(name, table) for name in names]
        if len(found) != 2 or any(row is None for row in found):
            return None
        before, after = (row for row in found if row is not None)
        if before["suite_hash"] != after["suite_hash"]:
            return self.render(
                "compare.html", suite=table, before=before["model"], after=after["model"], rows=None
            )
        rows = sorted(
            evidence.differences(before["run"], after["run"]),
            key=lambda row: PRIMARIES.index(row.metric) if row.metric in PRIMARIES else len(PRIMARIES),
        )
        return self.render(
            "compare.html", suite=table, before=before["model"], after=after["model"], rows=rows
        )

    def changelog(self, table: str, at: Links | None = None) -> str:
        """Versions of a suite."""
        versions = [(split, self.store.versions(table, split)) for split in self.splits(table)]
        return self.render("versions.html", at, suite=table, versions=versions, current=self.versions)

    def published(self, at: Links | None = None) -> str:
        return self.render("published.html", at, page="published", parts=PUBLISHED)

    def submit(self, url: str, at: Links | None = None, **values: Any) -> str:
        return self.render(
            "submit.html",
            at,
            page="submit",
            suites=list(self.board.suites),
            url=url,
            **{"error": None, "token": None, "account": "", **values},
        )

    def api(self, description: dict[str, Any], at: Links | None = None) -> str:
        """The API's description as a page."""
        calls = [
            {
                "method": method.upper(),
                "path": path,
                "what": operation.get("description") or operation.get("summary", ""),
                "parameters": [(p["name"], p["in"], p["required"]) for p in operation.get("parameters", [])],
            }
            for path, methods in description["paths"].items()
            for method, operation in methods.items()
        ]
        return self.render("api.html", at, page="api", calls=calls)
