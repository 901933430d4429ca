"""Pages of a model: its scores and card, its answers one by one with their pictures, itself beside
another."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.families import Difference
from bench.shown import in_words, kind_of, reference
from bench.tasks import PRIMARIES, TASKS
from leaderboard.board.config import Board
from leaderboard.scoring import evidence
from leaderboard.store import Store
from leaderboard.store.disclosure import PRIVATE
from leaderboard.store.standings import UNANSWERED
from leaderboard.store.tables import DONE, QUEUED, RUNNING, WITHDRAWN
from leaderboard.web.pages.base import Opened, Rendering, turned
from leaderboard.web.pages.links import Links

CARDS = 12  # answers a page


class ModelPages(Rendering):
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
            ) and (self.board.scored(result["folder"]) / evidence.INDEX).is_file()
            ranked = result["split"] == PRIVATE or PRIVATE not in self.splits(result["suite"])
            result["unranked"] = "" if ranked or self.store.ranks(name_hash, result["suite"]) else UNANSWERED
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
            waiting=found["state"] in (QUEUED, RUNNING),
        )

    def result(self, name_hash: str, table: str) -> dict[str, Any] | None:
        """The public result of a finished submission in a table, with its scored run; None where there is
        none. Through here goes all that shows single answers: those on private labels are never shown."""
        found = self.store.status(name_hash)
        if found is None or found["state"] != DONE:
            return None
        for row in self.store.results(name_hash):
            if row["suite"] == table and row["split"] == "public" and row["folder"] is not None:
                return {**row, "model": found, "run": self.board.scored(row["folder"])}
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
        opened = self._current(result, table) if result else None
        if opened is None or number < 0:
            return None
        return opened[1].picture(number)

    def two(self, table: str, names: list[str]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The public results of two models; None where one of them has none."""
        found = [row for name in names if (row := self.result(name, table)) is not None]
        return (found[0], found[1]) if len(found) == 2 else None

    def compare(
        self, table: str, before: dict[str, Any], after: dict[str, Any], rows: list[Difference] | None
    ) -> str:
        """The paired comparison of two models; rows None: of different versions."""
        if rows is not None:  # primary metrics first
            rows = sorted(
                rows, key=lambda d: PRIMARIES.index(d.metric) if d.metric in PRIMARIES else len(PRIMARIES)
            )
        return self.render(
            "compare.html", suite=table, before=before["model"], after=after["model"], rows=rows
        )
