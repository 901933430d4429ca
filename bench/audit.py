"""What a suite can be answered with without looking: blind baselines, biases of the options, duplicates,
leaks, contradictions.

Stated cleaning: rows that the reader refuses are listed and left out; of a repeated question only the first
row counts. A zero is only said where one has looked: what could not be looked at is said instead.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bench import copying, windows
from bench.blind import MARGIN, by_question, chance, multiple_choice, read
from bench.metrics.stats import Interval, mean_interval
from bench.suite import class_table
from tvad.answer.classes import is_normal, key_of, read_classes, rows_of
from tvad.common.errors import InputError
from tvad.common.files import file_hash, write_whole
from tvad.common.places import public
from tvad.data.check import Problem, doubts_of
from tvad.data.faults import names_others
from tvad.data.sample import Sample
from tvad.data.vau_bench import is_table


@dataclass(frozen=True)
class Finding:
    """One line of the audit. `flag`: something that a reader of this suite's figures must know."""

    what: str
    result: str
    flag: bool = False
    rows: tuple[str, ...] = ()


@dataclass
class Audit:
    source: str
    samples: int
    questions: int
    refused: list[Problem]
    findings: list[Finding] = field(default_factory=list)

    @property
    def flagged(self) -> bool:
        return any(finding.flag for finding in self.findings)


def _share(hits: list[bool], videos: list[str]) -> Interval:
    return mean_interval(np.array(hits, float), np.array(videos))


def bounded(interval: Interval) -> str:
    bounds = "" if interval.low is None else f" [{interval.low:.3f}, {interval.high:.3f}]"
    return f"{interval.value:.3f}{bounds}"


def _line(interval: Interval, hits: int) -> str:
    return f"{hits}/{interval.n} = {bounded(interval)}"


def _found(what: str, rows: list[str], looked: int, unlooked: int, why: str, flag: bool = True) -> Finding:
    """Rows found where one has looked, and how many things one could not look at, and why."""
    left = f"not looked at in {unlooked}, {why}" if unlooked else ""
    count = [str(len(rows))] if looked or rows else []
    return Finding(
        what,
        "; ".join([*count, *([left] if left else [])]) or f"not looked: {why}",
        flag and bool(rows),
        tuple(rows),
    )


def _hash_of(sample: Sample) -> str | None:
    """Of a clip's file or pictures; None where there are none."""
    hashes = [file_hash(path) for path in sample.files() if path.is_file()]
    return "+".join(hashes) or None


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _key(name: str) -> str:
    return "normal" if is_normal(name) else key_of(name)


def contradictions(samples: Sequence[Sample]) -> list[str]:
    """Rows whose rationale names other classes of this data set and not their own, or says normal where the
    row is anomalous."""
    table = rows_of(class_table(samples, "tvad", {}))
    found = []
    for sample in samples:
        if not sample.categories or not sample.rationale:
            continue
        named = read_classes(sample.rationale, table).keys
        own, others = ({_key(name) for name in names} for names in (sample.categories, named))
        if named and not own & others:
            is_of = "normal" if own == {"normal"} else ", ".join(sample.categories)
            found.append(f"{sample.id}: class {is_of}, the rationale speaks of {', '.join(sorted(named))}")
    return found


def _windows(
    add: Callable[[Finding], None], samples: Sequence[Sample], known: Sequence[Sample], files: bool, seed: int
) -> None:
    """What of the train split's source videos is asked about here, and what copying it would score."""
    seen: tuple[dict, dict] = ({}, {})
    if files:
        seen = windows.small_frames(samples, "videos"), windows.small_frames(known, "the train split")
    pairs = windows.nearest(samples, known, seen)
    rows = [f"{p.test.id}: {p.train.id} (by {p.by})" for p in pairs]
    unseen = len(samples) - len(seen[0]) if seen[1] else len(samples)
    why = "no file that moves, by the videos' names alone"
    if files and (left := len(known) - len(seen[1])):
        why += f"; nor in {left} of {len(known)} of the train split"
    add(_found("windows of the train split's videos", rows, len(samples), unseen, why))
    if (copied := windows.copied(pairs, known, seed)) is not None:
        near, far, count = copied
        line = f"BLEU-4 {near:.3f} over {count}; a random one's {far:.3f}"
        add(Finding("text of the nearest train window", line, near > far + MARGIN))


def _dialogues(
    add: Callable[[Finding], None], samples: Sequence[Sample], train: str | None, seed: int
) -> None:
    """A line for each metric of the dialogues' turns: what copying earns, and the references."""
    for metric, rows in copying.earned(samples, train, seed).items():
        if metric != "yes_no" and not metric.endswith("_bleu4"):
            continue
        told = [f"{what} {bounded(interval)}" for what, interval in rows.items()]
        near, far = (
            rows[copying.COPIED[which]].value if train else None for which in ("neighbour", "window")
        )
        flag = near is not None and far is not None and near > far + MARGIN
        count = max(interval.n for interval in rows.values())
        add(Finding(f"dialogue, {metric}", f"{', '.join(told)}; over {count}", flag))


def audit(source: str, train: str | None = None, seed: int = 0) -> Audit:
    """Audit a data set folder or a VAU-Bench CSV; `train`: another one, for the prior, the text-only baseline
    and leaks."""
    samples, refused = read(source)
    if not samples:
        raise InputError(f"{source}: no readable row" + (f"; the first: {refused[0]}" if refused else ""))
    rows = multiple_choice(samples)
    found = Audit(source, len(samples), len(rows), refused)
    add = found.findings.append
    known = read(train)[0] if train else []
    if rows:
        videos = [sample.id for sample, _ in rows]
        drawn = chance(rows)
        counts = Counter(question.answer for _, question in rows)
        add(
            Finding(
                "right letters",
                ", ".join(f"{letter} {counts[letter]}" for letter in sorted(counts))
                + f"; chance {drawn:.3f}",
            )
        )

        def blind(what: str, letters: list[str], **more) -> None:
            hits = [given == question.answer for given, (_, question) in zip(letters, rows, strict=True)]
            interval = _share(hits, videos)
            add(
                Finding(
                    what,
                    _line(interval, sum(hits)),
                    bool(interval.value and interval.value > drawn + MARGIN),
                    **more,
                )
            )

        for letter in sorted(counts):
            blind(f'always "{letter}"', [letter] * len(rows))
        if known and (earlier := multiple_choice(known)):
            prior = Counter(question.answer for _, question in earlier).most_common(1)[0][0]
            blind(f'prior of the train split ("{prior}")', [prior] * len(rows))
        for what, letters in by_question(rows, multiple_choice(known), seed):
            blind(what, letters)
    labels = Counter(sample.label or "unknown" for sample in samples)
    top, count = labels.most_common(1)[0]
    share = count / len(samples)
    add(
        Finding(
            "labels",
            ", ".join(f"{k} {v}" for k, v in sorted(labels.items()))
            + (f'; always "{top}" is right for {share:.3f}' if top != "unknown" else ""),
            top != "unknown" and share > 0.5 + MARGIN,
        )
    )
    classes = Counter(sample.category for sample in samples if sample.category)
    if classes:
        name, count = classes.most_common(1)[0]
        add(
            Finding(
                "classes",
                f'{len(classes)}; always "{name}" is right for {count}/{sum(classes.values())} ='
                f" {count / sum(classes.values()):.3f}",
            )
        )

    groups: dict[str, list[str]] = defaultdict(list)
    moving: list[str] = []
    asked = 0
    for sample in samples:
        for n, question in enumerate(sample.questions):
            if question.kind == "mcq":
                asked += 1
                groups[_words(f"{question.text} {' '.join(question.options or ())}")].append(sample.id)
                moving += [
                    f"{sample.id}: question {n}: {option}"
                    for option in question.options or ()
                    if names_others(option)
                ]
    same = [", ".join(ids) for ids in groups.values() if len(ids) > 1]
    none = "there is no multiple-choice question"
    add(_found("questions that occur more than once, options included", same, asked, 0, none))
    vague = [str(doubt) for sample in samples for doubt in doubts_of(sample)]
    add(_found("options that are the same, or letters of others", vague, asked, 0, none))
    add(_found("options that speak of others, which rotation breaks", moving, asked, 0, none, flag=False))
    hashes: dict[str, list[str]] = defaultdict(list)
    absent, gone = 0, "no file is there"
    if not is_table(source):
        for sample in samples:
            if digest := _hash_of(sample):
                hashes[digest].append(sample.id)
            else:
                absent += 1
        twins = [", ".join(ids) for ids in hashes.values() if len(ids) > 1]
        add(_found("videos that are the same file", twins, len(hashes), absent, gone))
    if known:
        theirs = {s.id for s in known}
        leaked = [s.id for s in samples if s.id in theirs]
        described = {_words(s.description) for s in known if s.description}
        leaked += [
            f"{s.id} (same description)"
            for s in samples
            if s.id not in theirs and s.description and _words(s.description) in described
        ]
        unseen, why = len(samples), "no files to compare, by name and description alone"
        if not is_table(source) and not is_table(train or ""):
            kept = {digest for s in known if (digest := _hash_of(s))}
            leaked += [f"{', '.join(ids)} (same file)" for digest, ids in hashes.items() if digest in kept]
            unseen = absent if kept else len(samples)
        add(_found("leaks from the train split", leaked, len(samples), unseen, why))
        tables = is_table(source) or is_table(train or "")
        _windows(add, samples, known, not tables, seed)
    _dialogues(add, samples, train, seed)
    told = sum(bool(sample.categories and sample.rationale) for sample in samples)
    add(
        _found(
            "rows whose class contradicts the rationale",
            contradictions(samples),
            told,
            len(samples) - told,
            "no class or no rationale",
        )
    )
    outside = [f"{p.where}: {p.reason}" for p in refused if "span" in p.reason]
    timed = [sample for sample in samples if sample.spans]
    unknown = sum(sample.video.duration is None for sample in timed)
    why = "their length is not stated (`tvad data check` opens them)" if timed else "no video has spans"
    add(_found("spans outside the video", outside, len(timed) - unknown, unknown, why))
    add(_found("rows refused by the reader", [str(p) for p in refused], len(samples), 0, ""))
    return found


def table(found: Audit, rows: int = 3) -> str:
    """Text; up to `rows` examples a finding."""
    lines = [f"{found.source}: {found.samples} videos, {found.questions} multiple-choice questions"]
    for finding in found.findings:
        lines.append(f"{'!' if finding.flag else ' '} {finding.what:52s} {finding.result}")
        lines += [f"      {row[:150]}" for row in finding.rows[:rows]]
        if len(finding.rows) > rows:
            lines.append(f"      and {len(finding.rows) - rows} more")
    flags = sum(f.flag for f in found.findings)
    lines.append(
        f"flagged: {flags} findings; figures on this suite need the blind baselines beside them"
        if flags
        else "nothing flagged"
    )
    return "\n".join(lines)


def write_page(found: Audit, path: str | Path) -> Path:
    """The audit as one self-contained page."""
    from bench.pages import Section, render

    title = f"{found.samples} videos, {found.questions} multiple-choice questions" + (
        "; flagged" if found.flagged else ""
    )
    shown = [
        replace(f, what=public(f.what), rows=tuple(public(row) for row in f.rows)) for f in found.findings
    ]
    section = Section("What can be answered without looking", "audit.html", {"findings": shown})
    return write_whole(path, render(f"Audit of {found.source}", title, [section]))
