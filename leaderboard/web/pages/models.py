"""Pages of a model: its scores and card, its answers one by one with their pictures, itself beside
another."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench import by_slice
from bench.families import OTHER, PRIMARY, SLICES, Difference
from bench.metrics.paired import CHANGED
from bench.pages import number as figure
from bench.shown import in_words, kind_of, reference
from bench.tasks import PRIMARIES, TASKS
from bench.wording import metric_in_words
from leaderboard.board.config import Board
from leaderboard.intake import objects
from leaderboard.scoring import evidence
from leaderboard.store import Store
from leaderboard.store.standings import UNANSWERED
from leaderboard.store.tables import DONE, QUEUED, RUNNING, WITHDRAWN
from leaderboard.web.pages import plots
from leaderboard.web.pages.base import Opened, turned
from leaderboard.web.pages.charts import PlotPages
from leaderboard.web.pages.filters import between
from leaderboard.web.pages.links import Links

CARDS = 12  # answers a page
FAMILIES = {
    PRIMARY: "First metrics of the tasks",
    OTHER: "Other metrics",
    SLICES: "First metrics by slice",
}


class ModelPages(PlotPages):
    """Pages of submissions."""

    def __init__(self, board: Board, store: Store, opened: Opened):
        super().__init__(board, store, opened)
        self.places = {
            name: {item.id: n for n, item in enumerate(items)} for name, (_, _, items) in opened.items()
        }

    def model(self, name_hash: str, at: Links | None = None) -> str | None:
        """A model's page; None for an unknown hash."""
        found = self.store.status(name_hash)
        if found is None:
            return None
        if found["state"] == WITHDRAWN:
            return self.render("withdrawn.html", at, model=found)
        if not found["approved"]:
            return self.render("held.html", at, model=found, waiting=found["state"] in (QUEUED, RUNNING))
        results = self.store.results(name_hash) if found["state"] == DONE else []
        for result in results:
            result["old"] = self.versions.get((result["suite"], result["split"])) != result["suite_hash"]
            result["browse"] = (
                not result["old"] and result["split"] == "public" and result["folder"] is not None
            ) and self._is_kept(result["folder"])
            private, until = self.ranked_by(result["suite"], result["split"])
            ranked = not private or (until is not None and found["created"] >= until)
            result["unranked"] = "" if ranked or self.store.ranks(name_hash, result["suite"]) else UNANSWERED
            result["primaries"] = {
                task: TASKS[task].PRIMARY for task in result["summary"].get("by_class", {})
            }
            result["sliced"] = _sliced(result["summary"].get("slices"))
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
            places=self._places(found, results),
            few=CHANGED,
            reruns=self.store.reruns(name_hash),
            history=history,
            shown=shown,
            waiting=found["state"] in (QUEUED, RUNNING),
        )

    def _places(self, model: dict[str, Any], results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """A model's place by every result that is given out, in the order of the board's tables, the public
        split first: rank and figure of the table's first metric; of the first one its plots too."""
        found: list[dict[str, Any]] = []
        for result in sorted(results, key=lambda r: (self._order(r["suite"]), r["split"] != "public")):
            table, split, metrics = result["suite"], result["split"], result["metrics"]
            if result["held"] or table not in self.board.tables or split not in self.splits(table):
                continue
            sort = next(iter(self.columns(table, split)), "")
            number = self.store.result_number(model["hash"], table, split)
            if sort not in metrics or number is None:
                continue
            rank, total = self.place_of(table, split, sort, number)
            place = {"suite": table, "split": split, "metric": sort, "rank": rank, "total": total}
            place |= {"score": metrics[sort], "old": result["suite_hash"] != self.shown_version(table, split)}
            if not found:
                place["sizes"] = (
                    None if place["old"] else self.small(table, split, sort, model, metrics[sort])
                )
                place["scores"] = plots.dots(_rows(metrics, result["blind"]), 0.0, 1.0)
            found.append(place)
        return found

    def _order(self, table: str) -> int:
        return self.board.tables.index(table) if table in self.board.tables else len(self.board.tables)

    def _is_kept(self, folder: str) -> bool:
        """Whether a scored run's answers can be looked at; what lies in an object store is not fetched for
        that."""
        run = self.board.scored(folder)
        return (run / evidence.INDEX).is_file() if run.is_dir() else bool(self.board.storage)

    def result(self, name_hash: str, table: str) -> dict[str, Any] | None:
        """The public result of a finished submission in a table, with its scored run; None where there is
        none. Through here goes all that shows single answers: those on private labels are never shown."""
        found = self.store.status(name_hash)
        if found is None or found["state"] != DONE:
            return None
        for row in self.store.results(name_hash):
            if row["suite"] == table and row["split"] == "public" and row["folder"] is not None:
                return {**row, "model": found, "run": objects.present(self.board, "scored", row["folder"])}
        return None

    def _current(self, result: dict[str, Any], table: str) -> tuple[str, evidence.Answers] | None:
        """(suite, answers) of a result that was scored on the version that is served now."""
        name = self.board.suite_in(table, "public")
        if name is None or self.versions[table, "public"] != result["suite_hash"]:
            return None
        return name, evidence.Answers(result["run"])

    def samples(
        self, name_hash: str, table: str, task: str = "", kind: str = "", order: str = "worst", page: int = 1
    ) -> str | None:
        """Answers of a model one by one; None where there are none to be shown. Raises InputError where they
        are too many."""
        result = self.result(name_hash, table)
        opened = self._current(result, table) if result else None
        if result is None or opened is None:
            return None
        name, answers = opened
        samples = self.opened[name][1]
        kinds = {s.id: kind_of(s) for s in samples}
        chosen = [
            (place.score, number)
            for number, place in enumerate(answers.places)
            if (not task or place.task == task) and (not kind or kinds[place.sample] == kind)
        ]
        if order in ("worst", "best"):
            chosen.sort(key=lambda row: (row[0] if order == "worst" else -row[0], row[1]))
        part, page, pages = turned(chosen, page, CARDS)
        cards = [self._card(name, answers, number, kinds) for _, number in part]
        query = {key: value for key, value in (("task", task), ("kind", kind), ("order", order)) if value}
        return self.render(
            "samples.html",
            suite=table,
            model=result["model"],
            blurred=evidence.is_blurred(result["run"]),
            cards=cards,
            tasks=list(dict.fromkeys(place.task for place in answers.places)),
            kinds=sorted(set(kinds.values())),
            task=task,
            kind=kind,
            order=order,
            page_number=page,
            pages=pages,
            found=len(chosen),
            more=f"?{urlencode(query)}&page=",
        )

    def _card(
        self, name: str, answers: evidence.Answers, number: int, kinds: dict[str, str]
    ) -> dict[str, Any]:
        """What a page shows of one answer."""
        place, line = answers.places[number], answers.line(number)
        item = self.opened[name][2][self.places[name][place.id]]
        return {
            "place": number,
            "line": line,
            "score": place.score,
            "item": item,
            "kind": kinds[place.sample],
            "reference": reference(item),
            "spans": in_words(line["parsed"].get("spans")) if place.task == "temporal" else "",
            "primary": TASKS[place.task].PRIMARY,
            "picture": answers.picture(number) is not None,
        }

    def frames(self, name_hash: str, table: str, number: int) -> Path | None:
        """The picture of one answer, a JPEG; None where none is kept."""
        result = self.result(name_hash, table)
        if result is None or number < 0 or self.versions.get((table, "public")) != result["suite_hash"]:
            return None
        return evidence.kept_picture(result["run"], number)

    def two(self, table: str, names: list[str]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The public results of two models; None where one of them has none."""
        found = [row for name in names if (row := self.result(name, table)) is not None]
        return (found[0], found[1]) if len(found) == 2 else None

    def compare(
        self, table: str, before: dict[str, Any], after: dict[str, Any], rows: list[Difference] | None
    ) -> str:
        """The paired comparison of two models; rows None: of different versions."""
        return self.render(
            "compare.html",
            suite=table,
            before=before["model"],
            after=after["model"],
            families=None if rows is None else _families(rows),
            few=CHANGED,
        )


def _sliced(slices: dict[str, Any] | None) -> dict[str, Any]:
    """The metrics that are given by slice, and {(metric, kind, slice): its name}."""
    named = {name: found for name in (slices or {}).get("metrics", ()) if (found := by_slice.parts(name))}
    metrics = list(dict.fromkeys(metric for metric, _, _ in named.values()))
    return {"metrics": metrics, "names": {place: name for name, place in named.items()}}


def _rows(metrics: dict[str, Any], blind: dict[str, Any]) -> list[plots.Row]:
    """The first metrics of the tasks as rows of a plot, with the best blind baselines."""
    found = []
    for name in PRIMARIES:
        if (m := metrics.get(name)) is None or m["value"] is None:
            continue
        task, _, measure = name.partition(".")
        of_task = blind.get(task) if measure == "accuracy" else None
        other = of_task["baselines"][of_task["best"]] if of_task else None
        words = metric_in_words(name)
        interval = f", 95 % interval {between(m['low'], m['high'])}" if m["low"] is not None else ""
        beside = f", best blind baseline {figure(other)}" if other is not None else ""
        title = f"{words}: {figure(m['value'])}{interval}{beside}"
        found.append(plots.Row(words, figure(m["value"]), m["value"], m["low"], m["high"], "", title, other))
    return found


def _families(rows: list[Difference]) -> list[dict[str, Any]]:
    """Differences family by family: which metrics are judged together, for how many their p-values are
    adjusted, and a plot of them; all plots on one axis but that of slices, which has its own."""
    known = {name: n for n, name in enumerate(PRIMARIES)}
    found = []
    for family in dict.fromkeys(d.family for d in rows):
        own = [d for d in rows if d.family == family]
        own.sort(key=lambda d: known.get(d.metric, len(known)))
        axis = plots.span_of(d for d in rows if (d.family == SLICES) == (family == SLICES))
        found.append(
            {
                "name": family,
                "title": FAMILIES.get(family, family),
                "rows": own,
                "tested": sum(d.p is not None for d in own),
                "verdicts": {
                    word: sum(d.verdict == word for d in own) for word in ("better", "worse", "same")
                },
                "plot": plots.changes(own, *axis),
            }
        )
    return found
