"""What is said of a table before its videos are opened: what each column was taken for, what is asked, what
is not known."""

from collections import Counter

from tvad.data.table import times
from tvad.data.table.columns import TIMES, Column
from tvad.data.table.facts import Clip
from tvad.data.table.understand import Understood

RULES = (
    "empty, -1, nan, null, n/a, none, unknown and ? are not known; of questions, options and answers only"
    " empty, nan and null are",
    "a label is what its column says, else what the class says, else a span says anomalous; one that is not"
    " known is never normal",
    'a span that is "none" or [] says that there is no anomaly; an empty one says nothing',
)


def _meaning(name: str, column: Column) -> str:
    if name in TIMES:
        return f" ({times.SAID[column.unit]})"
    if name == "answer":
        return "" if column.first is None else f" (numbers, the first option is {column.first})"
    if name == "box":
        return f" ({column.order}, {'pixels' if column.scale == 'px' else f'0 to {column.scale}'})"
    return " (yes means normal)" if column.inverted else ""


def _some(what: str, entries: list[str]) -> list[str]:
    """A line that counts the entries and shows the first; none where there are none."""
    more = ", …" if len(entries) > 3 else ""
    return [f"{what}: {len(entries)}; {', '.join(entries[:3])}{more}"] if entries else []


def kinds_of(clip: Clip) -> Counter[str]:
    """How many questions of each kind a clip asks."""
    found = Counter(question.kind for question in clip.questions)
    found["temporal"] = int(clip.spans is not None)
    found["classification"] = int(bool(clip.categories))
    found["judgement"] = int(clip.label is not None)
    found["spatial"], found["dialogue"] = len(clip.boxes), len(clip.dialogue)
    return found


def lines(understood: Understood) -> list[str]:
    """The report, a line a string."""
    rows, clips = understood.rows, list(understood.clips.values())
    used = {column.name for some in understood.fields.values() for column in some}
    unused = [name for name in rows.columns if name not in used]
    found = [f"{rows.path}: {len(rows.rows) + len(rows.refused)} rows, {rows.form}"]
    for name, some in understood.fields.items():
        columns = ", ".join(f"{column.name!r:.60}" for column in some)
        found.append(f"  {name:14s} {columns}{_meaning(name, some[0])}")
    found.append(f"  {'unused':14s} {', '.join(f'{name!r:.60}' for name in unused[:40]) or 'no column'}")
    labels = Counter(clip.label for clip in clips)
    spans = sum(len(clip.spans) for clip in clips if isinstance(clip.spans, list))
    found.append(
        f"videos: {len(clips)}; anomalous {labels[True]}, normal {labels[False]}, label not known"
        f" {labels[None]}; spans {spans}"
    )
    asked: Counter[str] = Counter()
    for clip in clips:
        asked += kinds_of(clip)
    found.append(f"questions: {', '.join(f'{kind} {count}' for kind, count in asked.items()) or 'none'}")
    silent = {
        "without a label": labels[None],
        "anomalous without a span": sum(c.label is True and not isinstance(c.spans, list) for c in clips),
        "anomalous without a class": sum(c.label is True and not c.categories for c in clips),
    }
    if missing := [f"{count} {what}" for what, count in silent.items() if count]:
        found.append(f"missing: {', '.join(missing)}")
    if any(clip.label is None and clip.categories for clip in clips):
        found.append(
            'a class says nothing of a label here: no class is "Normal" and the column is not called anomaly'
            " class; add a column is_anomaly"
        )
    if judged := sum(clip.judged for clip in clips):
        found.append(f'question "Is there an anomaly?" and the like is read as the label: {judged}')
    names = sorted({name for clip in clips for name in clip.categories if "," in name})
    found += _some("one class with a comma in its name", [f"{name!r:.60}" for name in names])
    apart = Counter(name for clip in clips for name in clip.apart)
    for name, count in apart.items():
        found.append(f"{name} differs between the rows of a video, and is left out: {count}")
    others = {name: file for name, file in understood.named.items() if name != file}
    shown = [f"{name!r:.60} is {file!r:.60}" for name, file in others.items()]
    found += _some("names that are no file's path", shown)
    silent_files = sorted(set(understood.files.videos) - set(understood.named.values()))
    found += _some("videos that no row names", [f"{file!r:.60}" for file in silent_files])
    return [*found, *(f"rule: {rule}" for rule in RULES)]
