"""What a data set holds, counted: labels, classes, durations, spans, mask areas, questions and their letters;
as lines, as JSON and as a page. Samples are looked at one by one, numbers alone are kept."""

import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tvad.common.errors import InputError
from tvad.common.files import json_text, write_whole
from tvad.data import masks
from tvad.data.questions import LETTERS
from tvad.data.sample import Sample
from tvad.pages import Section, render

BINS = 10
UNKNOWN = "unknown"
# Key: what it is, in which unit.
SPREADS = {
    "duration": ("Durations", "s"),
    "span": ("Lengths of spans", "s"),
    "mask_area": ("Mask areas where anything is lit", "% of the picture"),
}
COUNTS = {
    "labels": "Labels",
    "classes": "Classes",
    "splits": "Splits",
    "sources": "Sources",
    "sizes": "Sizes in pixels",
    "spans": "Spans a clip",
    "questions": "Questions by kind",
}


def _spread(values: array) -> dict[str, Any] | None:
    """Least, quartiles, most and mean, and counts in BINS bins of one width; None of nothing."""
    if not len(values):
        return None
    found = np.frombuffer(values, np.float64)
    counts, edges = np.histogram(found, BINS)
    least, low, median, high, most = np.quantile(found, (0, 0.25, 0.5, 0.75, 1)).round(4).tolist()
    return {
        "n": len(found),
        "least": least,
        "quarter": low,
        "median": median,
        "three_quarters": high,
        "most": most,
        "mean": round(float(found.mean()), 4),
        "bins": [[round(float(a), 4), round(float(b), 4), int(n)] for a, b, n in _bins(edges, counts)],
    }


def _bins(edges: np.ndarray, counts: np.ndarray) -> Iterator[tuple[float, float, int]]:
    return zip(edges[:-1], edges[1:], counts, strict=True)


def stats_of(samples: Iterable[Sample], files: bool = True) -> dict[str, Any]:
    """Everything counted, of rows without problems; the others are counted as such. files: open the masks;
    one that cannot be read is counted as such. A clip of several classes counts in each; a normal clip
    without one is `normal`."""
    counts: dict[str, Counter] = {name: Counter() for name in COUNTS}
    spreads = {name: array("d") for name in SPREADS}
    letters: dict[str, Counter] = {}
    clips = bad = unread = without = 0
    for sample in tqdm(samples, unit="clip", desc="stats", disable=None):
        if sample.problems():
            bad += 1
            continue
        clips += 1
        video = sample.video
        counts["labels"][sample.label or UNKNOWN] += 1
        counts["splits"][sample.split] += 1
        counts["sources"][sample.source] += 1
        counts["sizes"][f"{video.width} x {video.height}" if video.width else UNKNOWN] += 1
        plain = ("normal",) if sample.label == "normal" else (UNKNOWN,)
        counts["classes"].update({*(sample.categories or plain)})
        counts["spans"][UNKNOWN if sample.spans is None else str(len(sample.spans))] += 1
        spreads["span"].extend(end - start for start, end in sample.spans or ())
        if video.duration is not None:
            spreads["duration"].append(video.duration)
        for question in sample.questions:
            counts["questions"][question.kind] += 1
            if question.kind == "mcq":
                by = letters.setdefault(str(len(question.options or ())), Counter())
                by[question.answer] += 1
        if sample.mask is None:
            without += 1
        elif files:
            try:
                area = masks.opened(sample.path(sample.mask)).area()
            except InputError:
                unread += 1
            else:
                spreads["mask_area"].extend(() if area is None else (100 * area,))
    return {
        "clips": clips,
        "bad_rows": bad,
        "hours": round(sum(spreads["duration"]) / 3600, 4),
        "without_duration": clips - len(spreads["duration"]),
        "without_mask": without,
        "masks_that_cannot_be_read": unread,
        **{name: _counted(name, found) for name, found in counts.items()},
        "letters": {n: {k: by[k] for k in sorted(by, key=_place)} for n, by in sorted(letters.items())},
        **{name: _spread(values) for name, values in spreads.items()},
    }


def _counted(name: str, found: Counter) -> dict[str, int]:
    if name == "spans":
        return {key: found[key] for key in sorted(found, key=lambda k: (not k.isdecimal(), k.zfill(9)))}
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _place(letter: str) -> tuple[int, str]:
    return (LETTERS.index(letter) if letter in LETTERS else len(LETTERS)), letter


def _notes(stats: Mapping[str, Any]) -> dict[str, str]:
    """What a distribution leaves out."""
    missing, without = stats["without_duration"], stats["without_mask"]
    unread = stats["masks_that_cannot_be_read"]
    found = {"duration": f"{missing} clips state none" if missing else ""}
    told = [f"{without} clips have no mask" if without else "", f"{unread} cannot be read" if unread else ""]
    return found | {"mask_area": "; ".join(filter(None, told))}


def lines(stats: Mapping[str, Any]) -> list[str]:
    """The table for a terminal."""
    found = [_head(stats)]
    for name, title in COUNTS.items():
        rows = list(stats[name].items())
        more = f", and {len(rows) - 12} more" if len(rows) > 12 else ""
        found.append(f"{title}: " + ", ".join(f"{_line(key)} {n:,}" for key, n in rows[:12]) + more)
    for options, by in stats["letters"].items():
        total = sum(by.values())
        shares = ", ".join(f"{_line(letter)} {n:,} ({n / total:.0%})" for letter, n in by.items())
        found.append(f"Letters of {options} options: {shares}")
    heads = ("least", "25 %", "median", "75 %", "most", "mean")
    found.append(f"{'':34} {'n':>8} " + " ".join(f"{head:>9}" for head in heads))
    notes = _notes(stats)
    for name, (title, unit) in SPREADS.items():
        spread, note = stats[name], f"  {notes.get(name)}" if notes.get(name) else ""
        keys = ("least", "quarter", "median", "three_quarters", "most", "mean")
        cells = " ".join(f"{spread[key]:9.2f}" for key in keys) if spread else f"{'–':>9}"
        found.append(f"{title + ', ' + unit:34.34} {spread['n'] if spread else 0:8,} {cells}{note}")
    return found


def _line(text: str) -> str:
    """On one line, whatever a file holds: no control character reaches a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)[:60]


def page(folder: str, stats: Mapping[str, Any]) -> str:
    """The page: a section a distribution."""
    sections = []
    for name, title in COUNTS.items():
        if rows := list(stats[name].items()):
            sections.append(_shares(title, (title.partition(" ")[0], "Clips"), rows[:60], _more(rows)))
    for options, by in stats["letters"].items():
        sections.append(_shares(f"Letters of {options} options", ("Letter", "Questions"), list(by.items())))
    notes = _notes(stats)
    for name, (title, unit) in SPREADS.items():
        if spread := stats[name]:
            rows = [(f"{a:,.2f} to {b:,.2f}", n) for a, b, n in spread["bins"]]
            said = f"Median {spread['median']:,.2f}, mean {spread['mean']:,.2f}"
            note = "; ".join(filter(None, (said, notes.get(name))))
            sections.append(_shares(f"{title}, {unit}", (unit, "Number"), rows, note))
    return render(f"Data set {folder}", _head(stats), sections)


def _head(stats: Mapping[str, Any]) -> str:
    bad = f"; {stats['bad_rows']:,} bad rows are not counted" if stats["bad_rows"] else ""
    return f"{stats['clips']:,} clips, {stats['hours']:.2f} hours{bad}"


def _shares(title: str, columns: tuple[str, str], rows: list, note: str = "") -> Section:
    return Section(title, "shares.html", {"label": title, "columns": columns, "rows": rows, "note": note})


def _more(rows: list) -> str:
    return f"{len(rows) - 60} more are not shown." if len(rows) > 60 else ""


def write(folder: str, stats: Mapping[str, Any], out: str | os.PathLike) -> None:
    """stats.json and stats.html into the folder `out`."""
    write_whole(Path(out) / "stats.json", json_text(stats, "stats", indent=1, ensure_ascii=False) + "\n")
    write_whole(Path(out) / "stats.html", page(folder, stats))
