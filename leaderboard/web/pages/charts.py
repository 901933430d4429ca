"""The plots of a table: score against size, the best of its time. Their figures come by the way of the
table's page (`Scoreboard.standings`): what is held back there is in no plot."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.tasks import lower_is_better
from leaderboard.store import ranking
from leaderboard.store.standings import Filter, Standings
from leaderboard.web.pages import plots
from leaderboard.web.pages.filters import count, moment
from leaderboard.web.pages.links import Links
from leaderboard.web.pages.plots import Plot, Point
from leaderboard.web.pages.tables import TablePages

MOST_POINTS = 60  # models of a plot of sizes
MOST_SMALL = 30  # … of a small one
MOST_STEPS = 40  # of the history of the best, the newest
MOST_NAMED = 12  # models that are named in a sentence


@dataclass(frozen=True)
class Drawn:
    """What is drawn of a table. sizes: of the first models by rank that state one; unsized: (name, hash,
    value) of those that state none; steps: whatever was better than all before it; the counts: of what is
    left out."""

    sizes: list[Point]
    more_sizes: int
    unsized: list[tuple[str, str, float]]
    more_unsized: int
    steps: list[Point]
    more_steps: int
    end: float  # when the newest was submitted, seconds
    unranked: int  # without an interval, or without a rank for another reason


class PlotPages(TablePages):
    """Plots of tables."""

    def drawn(self, table: str, split: str, sort: str) -> Drawn:
        """What is drawn of the table that is shown."""
        version = self.shown_version(table, split)
        revision = self.store.revision()
        key = ("drawn", table, split, version, sort)
        return self._once(revision, key, lambda: self._drawn(table, split, version, sort))

    def _drawn(self, table: str, split: str, version: str, sort: str) -> Drawn:
        of = self.ranked_by(table, split)
        less = lower_is_better(sort)
        now = self.store.standings(table, split, version, sort, Filter(), *of)
        ever = self.store.standings(table, split, version, sort, Filter(older=True), *of)
        _, order = ranking.ordered(now, sort)
        order = order[_ranked(now)[order]]
        sized = np.isfinite(now.parameters[order])
        with_size, without = order[sized], order[~sized]
        first = with_size[:MOST_POINTS]
        steps = _steps(ever, less)
        newest = steps[-MOST_STEPS:]
        named = without[:MOST_NAMED]
        numbers = {
            int(s.results[n]) for s, rows in ((now, first), (ever, newest), (now, named)) for n in rows
        }
        rows = self.store.rows(sorted(numbers), [])

        def points(of: Standings, places: np.ndarray, by_size: bool) -> list[Point]:
            found = []
            for n in places:
                if (row := rows.get(int(of.results[n]))) is None:  # withdrawn meanwhile
                    continue
                at = float(of.parameters[n]) if by_size else _seconds(of.created[n])
                said = f"{count(at)} parameters" if by_size else moment(row["created"])
                figures = (float(of.value[n]), float(of.low[n]), float(of.high[n]))
                kind = "dim" if of.baseline[n] else ""
                found.append(Point(row["card"]["name"], row["hash"], at, *figures, said, kind))
            return found

        ranked_ever = ever.created[_ranked(ever)]
        return Drawn(
            points(now, first, True),
            len(with_size) - len(first),
            [(p.name, p.link, p.value) for p in points(now, named, False)],
            len(without) - len(named),
            points(ever, newest, False),
            len(steps) - len(newest),
            _seconds(ranked_ever.max()) if len(ranked_ever) else 0.0,
            len(now.value) - len(order),
        )

    def plots(self, table: str, split: str = "public", sort: str = "", at: Links | None = None) -> str:
        """A table as plots, each with its figures as a table. An unknown metric is passed over."""
        version = self.shown_version(table, split)
        metrics = self._metrics(self.store.revision(), table, split, version)
        columns = ranking.columns(metrics)
        sort = sort if sort in metrics else (columns[0] if columns else "")
        drawn = self.drawn(table, split, sort) if sort else None
        less = bool(sort) and lower_is_better(sort)
        return self.render(
            "charts.html",
            at,
            suite=table,
            split=split,
            splits=self.splits(table),
            version=version,
            told=self._told(table, split, version),
            sort=sort,
            less=less,
            columns=columns,
            drawn=drawn,
            leading=plots.leading(drawn.sizes, less) if drawn else set(),
            sizes=plots.sizes(drawn.sizes, less) if drawn else None,
            history=plots.history(drawn.steps, drawn.end, less) if drawn else None,
        )

    def small(
        self, table: str, split: str, sort: str, model: dict[str, Any], value: dict[str, Any]
    ) -> Plot | None:
        """Where a model stands among the first by size; None where it states no size or has no interval."""
        size = model["card"]["parameters"]
        if size is None or None in (value["value"], value["low"], value["high"]):
            return None
        figures = (value["value"], value["low"], value["high"])
        this = Point(model["card"]["name"], model["hash"], size, *figures, f"{count(size)} parameters")
        others = self.drawn(table, split, sort).sizes[:MOST_SMALL]
        return plots.sizes(others or [this], lower_is_better(sort), 150, this)


def _ranked(of: Standings) -> np.ndarray:
    """Which have a value, an interval and a rank, (n,)."""
    counted = np.ones(len(of.value), bool) if of.counted is None else of.counted
    return counted & np.isfinite(of.value) & np.isfinite(of.low) & np.isfinite(of.high)


def _steps(of: Standings, less: bool) -> np.ndarray:
    """Places of what was better than all before it, by time; baselines are no contenders."""
    places = np.flatnonzero(_ranked(of) & ~of.baseline)
    if not len(places):
        return places
    value = -of.value[places] if less else of.value[places]
    order = np.lexsort((-value, of.created[places]))
    before = np.concatenate([[-np.inf], np.maximum.accumulate(value[order])[:-1]])
    return places[order][value[order] > before]


def _seconds(time: np.datetime64) -> float:
    return float(time.astype("datetime64[us]").astype(np.int64)) / 1e6
