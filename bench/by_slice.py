"""The first metric of every task by slice (`bench.slices`): the same rule and the same interval as for the
whole suite, over the slice's videos. A run keeps them in slices.json, with the slices that its videos lie in,
so that two runs can be compared without the data."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.intervals import Columns
from bench.metrics.stats import Interval
from bench.readings import was_read
from bench.run_folder import SLICES, read_json, write_json
from bench.slices import BINS, in_order, places
from bench.suite import Suite
from bench.tasks import HEATMAP, PRIMARIES, UNSCORED, heatmap
from tvad.common.errors import InputError
from tvad.data.sample import Sample

_NAME = re.compile(r"([^\[\]]+)\[([^\[\]=]+)=(.+)\]", re.DOTALL)


def name_of(metric: str, kind: str, value: str) -> str:
    """mcq.accuracy[light=night]."""
    return f"{metric}[{kind}={value}]"


def parts(name: str) -> tuple[str, str, str] | None:
    """(metric, kind, value) of such a name; None for any other."""
    match = _NAME.fullmatch(name)
    return (match[1], match[2], match[3]) if match else None


class BySlice:
    """Scores of many answers, by the slices that their videos lie in."""

    def __init__(self, samples: Sequence[Sample], suite: Suite) -> None:
        self.suite = suite
        self.where = places(samples, suite.slices or ())
        self.columns = {place: Columns() for place in in_order(self.where.values())}
        self.unscored: Counter[tuple[tuple[str, str], str]] = Counter()
        self.judged: Counter[tuple[tuple[str, str], str]] = Counter()  # answers that a judge read

    def add(self, line: dict) -> None:
        for place in self.where[line["sample"]].items():
            self.columns[place].add(line)
            if UNSCORED in line:
                self.unscored[place, line["task"]] += 1
            self.judged[place, line["task"]] += was_read(line)

    def metrics(self, maps: Mapping[str, heatmap.VideoScores]) -> dict[str, Interval]:
        """{"task.metric[kind=value]": Interval}, first metrics alone; maps: videos that have heatmaps."""
        found = {}
        for (kind, value), columns in self.columns.items():
            whole = columns.intervals(self.suite)
            mapped = {name: video for name, video in maps.items() if self.where[name].get(kind) == value}
            if mapped:
                of_maps = heatmap.metrics(mapped, self.suite.resamples, self.suite.seed)
                whole |= {f"{HEATMAP}.{name}": m for name, m in of_maps.items()}
            for metric in PRIMARIES:
                if (m := whole.get(metric)) is None:
                    continue
                key = (kind, value), metric.partition(".")[0]
                left, read = self.unscored[key], self.judged[key]
                notes = [f"{left} unscored, and in no figure"] if left else []
                notes += [f"{read} answers read by a judge"] if read else []
                m = replace(m, note="; ".join(notes)) if notes else m
                found[name_of(metric, kind, value)] = m
        return found

    def write(self, folder: Path) -> None:
        """slices.json of a run whose other files are there; nothing for a suite without slices."""
        if not self.suite.slices:
            return
        file = folder / heatmap.VIDEOS
        maps = heatmap.load_videos(file) if file.exists() else {}
        metrics = {name: m.row() for name, m in self.metrics(maps).items()}
        kept = {"kinds": self.suite.slices, "videos": self.where, "metrics": metrics}
        write_json(folder / SLICES, kept)


@dataclass(frozen=True)
class Sliced:
    """What slices.json says: the kinds that were asked for, the slices of every video, the metrics' rows."""

    kinds: list[str]
    videos: dict[str, dict[str, str]]
    metrics: dict[str, dict[str, Any]]

    @property
    def told(self) -> list[str]:
        """What a figure below must be read with, in words."""
        lines = [
            f"{len(self.metrics)} figures by slice, each interval for itself: about one in twenty misses its"
            " truth. `bench compare` adjusts for how many slices it tests."
        ]
        for kind in self.kinds:
            said = sum(kind in of_video for of_video in self.videos.values())
            if said < len(self.videos):
                lines.append(
                    f"{kind}: said of {said} of {len(self.videos)} videos; the others are in no slice"
                )
        return [*lines, *(f"{kind}: {BINS[kind].told}" for kind in self.kinds if kind in BINS)]


def read(folder: str | Path) -> Sliced | None:
    """slices.json of a run, None where it has none. Raises InputError for a damaged one."""
    file = Path(folder, SLICES)
    if not file.exists():
        return None
    found = read_json(file)
    if not isinstance(found, dict) or {*found} < {"kinds", "videos", "metrics"}:
        raise InputError(f"{file}: no slices of a run (expected kinds, videos, metrics)")
    return Sliced(found["kinds"], found["videos"], found["metrics"])


def together(runs: Iterable[str | Path]) -> dict[str, dict[str, str]]:
    """The slices that the videos of runs on one suite lie in, of those runs that say so. Raises InputError
    where they say differently."""
    found: dict[str, dict[str, str]] = {}
    for run in runs:
        for name, of_video in (sliced.videos if (sliced := read(run)) else {}).items():
            mine = found.setdefault(name, {})
            for kind, value in of_video.items():
                if mine.setdefault(kind, value) != value:
                    raise InputError(
                        f"{run}: {name} is {kind}={value}, in another of the runs {mine[kind]}; make both"
                        " again with one version"
                    )
    return found


def table(sliced: Sliced) -> str:
    """As aligned text, with what it must be read with below."""
    counts = Counter(place for of_video in sliced.videos.values() for place in of_video.items())
    width = max([24, *(len(name) for name in sliced.metrics)])
    lines = [f"{'metric[slice]':{width}s} {'value':>8s}  {'95 % interval':18s} {'n':>6s} {'videos':>6s}"]
    bare: Counter[str] = Counter()
    for name, m in sliced.metrics.items():
        _, kind, value = parts(name) or ("", "", "")
        shown = "--" if m["value"] is None else f"{m['value']:.3f}"
        interval = "--" if m["low"] is None else f"[{m['low']:.3f}, {m['high']:.3f}]"
        lines.append(f"{name:{width}s} {shown:>8s}  {interval:18s} {m['n']:6d} {counts[kind, value]:6d}")
        if m.get("withheld"):
            bare[m["withheld"]] += 1
    lines += [f"{name}: {m['note']}" for name, m in sliced.metrics.items() if m.get("note")]
    lines += [f"{count} figures have no interval: {why}" for why, count in bare.items()]
    return "\n".join([*lines, *sliced.told])
