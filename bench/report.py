"""The report of a benchmark run, or of a comparison of two: metrics, plots, and answers with their videos.
One page that stands alone; its templates are those of `bench.pages`."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bench import by_slice, readings, usage
from bench.answers import line_scores
from bench.blind import warnings
from bench.compare import compare, pairs
from bench.families import SLICES, Difference
from bench.metrics import frame
from bench.pages import Section, number, plots, render
from bench.pages.media import Reel
from bench.run_folder import MAPS, open_run, read_maps, unscored_lines
from bench.shown import class_means, in_words, kind_of, reference
from bench.suite import Item, Loaded, load_run
from bench.tasks import DIALOGUES, PRIMARIES, TASKS, heatmap
from bench.unscored import told
from tvad.common.files import write_whole
from tvad.data.sample import Sample

SHOWN = 6  # answers of a task


def in_short(record: dict, lines: list[dict], without: list[dict]) -> Section:
    """How much was asked and how much of it could be read: what every figure below stands on."""
    unread = [s["parse_failure"] for line in lines if "parse_failure" in (s := line_scores(line))]
    read = f"{1 - np.mean(unread):.1%} could be read" if unread else "none that must be read"
    words = [
        f"{len(lines):,d} answers about {record['videos']} videos; {read}.",
        *warnings(record.get("blind", {})),
    ]
    words += [f"Read by a judge model: {judged}."] if (judged := readings.told(lines)) else []
    if without:
        asked = len({line["id"] for line in (*lines, *without)})
        words.insert(
            1, f"{len(without)} of {asked} questions are unscored, and in no figure: {told(without)}."
        )
    return Section("In short", "words.html", {"lines": words})


def changes(rows: list[Difference], notes: Iterable[str] = ()) -> Section:
    """What a comparison comes to, the bad with the good, and what the runs were not given or read alike."""

    def told(what: str) -> str:
        found = [f"{row.metric} {number(row.change.value, True)}" for row in rows if row.verdict == what]
        return ", ".join(found) or "nothing"

    same = sum(row.verdict == "same" for row in rows)
    words = [f"Better, p adjusted by family: {told('better')}.", f"Worse: {told('worse')}."]
    words.append(f"Not told apart: {same} of {len(rows)} metrics.")
    words += [f"{note[0].upper()}{note[1:]}." for note in notes if note]
    return Section("In short", "words.html", {"lines": words})


def headline(metrics: dict[str, dict], old: dict[str, dict] | None = None) -> Section | None:
    """The primary metric of every task as a bar: with its interval, or beside an `old` run's."""
    rows = [
        plots.Bar(name, m["value"], m["low"], m["high"])
        if old is None
        else plots.Bar(name, m["value"], old=old.get(name, {}).get("value"))
        for name in PRIMARIES
        if (m := metrics.get(name)) and m["value"] is not None
    ]
    title, label = (
        ("At a glance", "primary metrics with 95 % intervals")
        if old is None
        else ("Before (pale) and after", "primary metrics before and after")
    )
    return Section(title, "plots.html", {"plots": [(plots.bars(rows, label), "")]}) if rows else None


def without_looking(found: dict[str, dict]) -> Section | None:
    """What blind baselines score on the run's questions (`bench.blind`)."""
    rows = [
        [task, row["chance"], ", ".join(f"{name} {value:.3f}" for name, value in row["baselines"].items())]
        for task, row in found.items()
    ]
    title = "What can be answered without looking"
    values = {
        "label": title,
        "columns": ["Task", "Chance", "Accuracy of blind baselines"],
        "rows": rows,
        "warnings": warnings(found),
    }
    return Section(title, "table.html", values) if rows else None


def _rates(counts: Counter, answers: int) -> str:
    return ", ".join(f"{name} {count / answers:.1%}" for name, count in counts.most_common(6)) or "none"


def by_slices(run: Path) -> Section | None:
    """The first metrics of the tasks by slice, where the suite asks for slices."""
    if (sliced := by_slice.read(run)) is None:
        return None
    values = {"label": "By slice", "metrics": sliced.metrics, "words": sliced.told}
    return Section("By slice", "metrics.html", values)


def costs(run: Path, against: Path | None = None) -> Section | None:
    """What the answers cost; with `against` beside those of that earlier run."""
    found = usage.read(run)
    if against:
        columns, rows = usage.COLUMNS_BESIDE, usage.rows_beside(usage.read(against), found)
    else:
        columns, rows = usage.COLUMNS, usage.rows(found) if found else []
    title = "What the answers cost"
    names = [name[0].upper() + name[1:] for name in columns]
    return Section(title, "table.html", {"label": title, "columns": names, "rows": rows}) if rows else None


def parsing(lines: list[dict]) -> Section:
    """How reliably answers could be read: share of answers that were not, by reason, and with each defect, by
    task."""
    rows = []
    for task in dict.fromkeys(line["task"] for line in lines):
        of_task = [line for line in lines if line["task"] == task]
        if task in DIALOGUES:
            continue
        counts = Counter(defect for line in of_task for defect in line["defects"])
        clean = sum(line_scores(line)["well_formed"] for line in of_task) / len(of_task)
        reasons = Counter(line["unread"] for line in of_task if "unread" in line)
        rows.append([task, len(of_task), clean, _rates(reasons, len(of_task)), _rates(counts, len(of_task))])
    title = "How reliably answers could be read"
    columns = ["Task", "Answers", "Well formed", "Not read", "Defects"]
    return Section(title, "table.html", {"label": title, "columns": columns, "rows": rows})


def grounding(lines: list[dict]) -> Section | None:
    """How the overlap of spans and of boxes is spread."""
    found = []
    for task in ("temporal", "spatial"):
        ious = [s["miou"] for line in lines if line["task"] == task and "miou" in (s := line["scores"])]
        if ious:
            found.append((plots.histogram(np.array(ious), f"IoU, {task} grounding"), ""))
    return Section("Grounding", "plots.html", {"plots": found}) if found else None


def by_class(lines: list[dict], samples: list[Sample]) -> Section | None:
    """The primary metric of every task by class."""
    found = []
    for task, values in class_means(lines, samples).items():
        if len(values) > 1:
            what = f"{task}, {TASKS[task].PRIMARY} by class (answers)"
            rows = [plots.Bar(f"{kind} ({count})", mean) for kind, (mean, count) in values.items()]
            found.append((plots.bars(rows, what), what))
    return Section("By class", "plots.html", {"plots": found}) if found else None


def confusions(lines: list[dict]) -> Section | None:
    """Truth by prediction, for tasks with classes."""
    tables = []
    for task in dict.fromkeys(line["task"] for line in lines if "labels" in line):
        pairs = [line["labels"] for line in lines if line["task"] == task]
        classes = sorted({truth for truth, _ in pairs})
        counts = Counter((truth, given if given in classes else "other") for truth, given in pairs)
        totals = Counter(truth for truth, _ in pairs)
        names = [*classes, "other"] if "other" not in classes else classes
        rows = [(c, [(counts[c, name], counts[c, name] / totals[c]) for name in names]) for c in classes]
        tables.append((task, names, rows))
    return Section("Confusion", "confusion.html", {"tables": tables}) if tables else None


def curves(run: Path) -> Section | None:
    """Frame ROC, and the curves below which RBDC and TBDC are areas."""
    file = run / heatmap.VIDEOS
    if not file.exists():
        return None
    videos = list(heatmap.load_videos(file).values())
    known = [v for v in videos if not v.lacks[heatmap.FRAMES]]
    x, y = frame.roc_curve(
        np.concatenate([np.zeros(0), *(v.labels for v in known)]),
        np.concatenate([np.zeros(0), *(v.scores for v in known)]),
    )
    found = []
    if len(x):
        drawn = plots.line(x, y, "false positive rate", "true positive rate", "frame ROC")
        found.append((drawn, "Frames of all videos whose truth is known in one ROC."))
    points = heatmap.detection_curves(videos)
    for name, area, what in (("rbdr", "RBDC", "regions found"), ("tbdr", "TBDC", "tracks found")):
        # Not a number where no region is anomalous: the metric cannot be had either, and says so in its row.
        keep = (points["fpr"] <= 1) & np.isfinite(points[name])
        if keep.sum() > 1:
            chosen = np.unique(np.linspace(0, keep.sum() - 1, 200).round().astype(int))
            x, y = points["fpr"][keep][chosen], points[name][keep][chosen]
            drawn = plots.line(x, y, "false positives per frame", what, f"{what} by false positives")
            found.append((drawn, f"{area} is the area below."))
    return Section("Heatmaps", "plots.html", {"plots": found}) if found else None


def extremes(lines: list[dict], task: str) -> list[dict]:
    """The worst and the best first answers of a task, SHOWN of them at most."""
    primary = TASKS[task].PRIMARY
    rows = [ln for ln in lines if ln["task"] == task and ln["attempt"] == 0 and primary in ln["scores"]]
    rows.sort(key=lambda line: (line["scores"][primary], line["id"]))
    return rows if len(rows) <= SHOWN else rows[: SHOWN // 2] + rows[-(SHOWN - SHOWN // 2) :]


def answers(run: Path, items: list[Item], lines: list[dict]) -> Section | None:
    """The worst and the best answers of every task, to be filtered and searched."""
    by_id = {item.id: item for item in items}
    maps = read_maps(run / MAPS)
    reel, cards = Reel(), []
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    for task in tasks:
        primary = TASKS[task].PRIMARY
        for line in extremes(lines, task):
            item = by_id[line["id"]]
            kind = kind_of(item.sample)
            cards.append(
                {
                    "label": item.sample.id,
                    "task": task,
                    "kind": kind,
                    "tags": (task, kind, f"{primary} {line['scores'][primary]:.2f}"),
                    "shown": reel.show(item.sample, line, maps.get(item.sample.id)),
                    "question": item.question,
                    "response": line["response"],
                    "reference": reference(item),
                    "spans": in_words(line["parsed"].get("spans")) if task == "temporal" else "",
                }
            )
    values = {"cards": cards, "tasks": tasks, "kinds": sorted({card["kind"] for card in cards})}
    title = "Samples: green true, red predicted, glow the heatmap"
    return Section(title, "samples.html", values) if cards else None


def run_sections(run: Path, against: Path | None = None, loaded: Loaded | None = None) -> list[Section]:
    """What a page shows of a run; with `against`, compared with that earlier run. loaded: its suite's samples
    and items, where they are at hand. Raises InputError where its data set has changed since."""
    record, lines, metrics = open_run(run)
    found: list[Section | None] = []
    if against:
        shared = pairs(against, run)
        rows = compare(against, run, shared=shared)
        title = "Before and after, paired" + (f", {shared.told}" if shared.told else "")
        found.append(changes(rows, (shared.difference, *shared.unlike.values())))
        whole = [row for row in rows if row.family != SLICES]
        found.append(Section(title, "differences.html", {"rows": whole}))
        if sliced := rows[len(whole) :]:  # the last family
            tested = sum(row.p is not None for row in sliced)
            title = f"By slice, p adjusted for {tested} metrics of slices"
            found.append(Section(title, "differences.html", {"rows": sliced}))
    else:
        found.append(in_short(record, lines, unscored_lines(run)))
    found.append(headline(metrics, open_run(against)[2] if against else None))
    found.append(Section("Metrics", "metrics.html", {"metrics": metrics}))
    found.append(None if against else by_slices(run))
    found.append(costs(run, against))
    found += [without_looking(record.get("blind", {})), parsing(lines), grounding(lines)]
    samples, items = loaded or load_run(run, record)[1]
    found += [by_class(lines, samples), confusions(lines), curves(run), answers(run, items, lines)]
    return [section for section in found if section is not None]


def write_report(run: str | Path, against: str | Path | None = None, loaded: Loaded | None = None) -> Path:
    """Write RUN/report.html, as `run_sections` has it. Raises InputError for an unfinished run,
    and for one whose data set has changed since."""
    run = Path(run)
    record, _, _ = open_run(run)
    subtitle = (
        f"{record['model']} on {record['suite']['name']} ({record['videos']} videos, suite"
        f" {record['suite_hash']})"
    )
    sections = run_sections(run, Path(against) if against else None, loaded)
    return write_whole(run / "report.html", render("Benchmark report", subtitle, sections))
