"""A regression gate: which metrics may drop by how much between two runs, and how sure one must be that they
did.

    confidence: 0.95
    metrics:
      mcq.accuracy: 0.02        # may fall by 0.02
      temporal.miou: 0.01
      temporal.false_alarm: 0   # lower is better: may not rise
      mcq.accuracy[light=night]: 0.05   # of a slice, where the runs' suite asks for slices

A metric regresses where "it fell by no more than the tolerated drop" is refuted at the confidence, by
bootstrap over videos, after Holm's correction over the gate's metrics.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

from bench import by_slice, compare, usage
from bench.compare import Pairs, pairs
from bench.families import POWER, seen
from bench.metrics.paired import CHANGED, holm, paired_interval, share_beyond
from bench.metrics.stats import Interval
from bench.tasks import lower_is_better
from tvad.common import config
from tvad.common.errors import InputError
from tvad.common.files import json_text, write_whole


@dataclass
class Gate:
    """Which metrics may drop by how much, and how sure one must be that they did."""

    FOLDER: ClassVar[str] = "gate"

    metrics: dict[str, float]
    """Name -> tolerated drop, at least 0, in the metric's unit."""
    confidence: float = 0.95
    """0.5 to 1."""
    unscored: int = 0
    """Questions of its tasks that may be unscored in either run; the verdict is over the others."""
    resamples: int = 4000
    """Of the bootstrap over videos."""
    seed: int = 0
    """Of the bootstrap."""

    def check(self, where: str) -> None:
        if not self.metrics:
            raise InputError(f"{where}: metrics: no metric is named")
        if not 0.5 <= self.confidence < 1:
            raise InputError(f"{where}: confidence is {self.confidence}, expected 0.5 to 1")
        for key, value, least in (
            ("resamples", self.resamples, 1),
            ("seed", self.seed, 0),
            ("unscored", self.unscored, 0),
        ):
            if value < least:
                raise InputError(f"{where}: {key} is {value}, expected {least} or more")
        for name, drop in self.metrics.items():
            if isinstance(drop, bool) or not isinstance(drop, (int, float)) or not 0 <= drop < float("inf"):
                raise InputError(
                    f"{where}: metrics.{name}: the tolerated drop is {drop!r}, expected a number of at"
                    " least 0"
                )


@dataclass(frozen=True)
class Verdict:
    """drop: tolerated; change: after - before with its interval; p: adjusted p-value of "no regression";
    sees: the smallest fall that is found in four of five comparisons."""

    metric: str
    drop: float
    before: float
    after: float
    change: Interval
    p: float
    regressed: bool
    sees: float | None


def read(path: str | Path) -> Gate:
    gate = config.read(Gate, path)
    gate.check(str(path))
    return gate


def judge(before: str | Path, after: str | Path, gate: Gate) -> list[Verdict]:
    """A verdict for every metric of the gate. Raises InputError where the runs cannot be compared, lack a
    metric or were asked other questions: a run must not pass by those that it left out."""
    shared = pairs(before, after)
    tasks = {name.partition(".")[0] for name in gate.metrics}
    for counts in (shared.before_unscored, shared.after_unscored):
        if sum(counts[task] for task in tasks) > gate.unscored:
            raise InputError(
                f"gate: {shared.told}; `bench retry` asks them again, `unscored: {gate.unscored}` of the gate"
                " lets no more pass"
            )
    if tasks & {*shared.before_alone, *shared.after_alone}:
        raise InputError(f"gate: {shared.told}; a gate judges runs on the same questions")
    for task in sorted(tasks & shared.unlike.keys()):
        raise InputError(f"gate: {shared.unlike[task]}; `bench read` has one judge read both, or none")
    found: dict[str, Pairs] = {}
    for name in gate.metrics:
        if (p := shared.of(name)) is None:
            known = ", ".join([*shared.metrics, *shared.sliced()])
            raise InputError(f"gate: metric {name!r} is not in both runs; they have {known}")
        if (videos := len(set(p.videos.tolist()))) < CHANGED and by_slice.parts(name):
            raise InputError(
                f"gate: {name!r} is over {videos} videos; of fewer than {CHANGED} a regression is not told"
                " from chance"
            )
        found[name] = p
    raw = []
    for name, drop in gate.metrics.items():
        gain = (
            (found[name].before - found[name].after)
            if lower_is_better(name)
            else (found[name].after - found[name].before)
        )
        raw.append(share_beyond(gain, found[name].videos, -float(drop), gate.resamples, gate.seed))
    adjusted = holm(raw)
    return [_verdict(name, gate, found[name], p) for name, p in zip(gate.metrics, adjusted, strict=True)]


def _verdict(name: str, gate: Gate, p: Pairs, probability: float) -> Verdict:
    change = paired_interval(p.before, p.after, p.videos, gate.confidence)
    found = seen(change, len(gate.metrics), gate.confidence, alpha=2 * (1 - gate.confidence))
    return Verdict(
        name,
        float(gate.metrics[name]),
        float(p.before.mean()),
        float(p.after.mean()),
        change,
        probability,
        probability < 1 - gate.confidence,
        None if found is None else found + float(gate.metrics[name]),
    )


def table(verdicts: list[Verdict]) -> str:
    """Markdown."""
    lines = [
        "| metric | before | after | change | interval | tolerated drop | sees | p | verdict |",
        "|---" * 9 + "|",
    ]
    for v in verdicts:
        interval = "--" if v.change.low is None else f"[{v.change.low:+.3f}, {v.change.high:+.3f}]"
        verdict = "**regressed**" if v.regressed else "ok"
        sees = "--" if v.sees is None else f"{v.sees:.3f}"
        lines.append(
            f"| {v.metric} | {v.before:.3f} | {v.after:.3f} | {v.change.value:+.3f} | {interval} | {v.drop:g}"
            f" | {sees} | {v.p:.3g} | {verdict} |"
        )
    why: dict[str, list[str]] = {}
    for v in verdicts:
        if v.change.withheld:
            why.setdefault(v.change.withheld, []).append(v.metric)
    notes = [f"{', '.join(names)}: no interval: {reason}" for reason, names in why.items()]
    sliced = sum(by_slice.parts(v.metric) is not None for v in verdicts)
    words = f"p adjusted for {len(verdicts)} metrics" + (f", {sliced} of them of slices" if sliced else "")
    sees = f"sees: the smallest fall that is found in {POWER:.0%} of such comparisons"
    return "\n".join([*lines, "", "  \n".join([*notes, f"{words}; {sees}"])])


def junit(verdicts: list[Verdict], name: str = "reasoning gate") -> str:
    """JUnit XML: one test case a metric."""
    failed = [v for v in verdicts if v.regressed]
    suite = ElementTree.Element(
        "testsuite", name=name, tests=str(len(verdicts)), failures=str(len(failed)), errors="0"
    )
    for v in verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname="bench.gate", name=v.metric)
        if v.regressed:
            text = (
                f"{v.before:.3f} -> {v.after:.3f} ({v.change.value:+.3f}, tolerated drop {v.drop:g}, p"
                f" {v.p:.3g})"
            )
            ElementTree.SubElement(case, "failure", message=text)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def compare_runs(
    before: str | Path,
    after: str | Path,
    gate_file: str | None,
    junit_file: str | None,
    markdown: str | None,
    json_file: str | None = None,
) -> int:
    """Print the comparison of two runs, and with a gate its verdicts; exit status 1 on a regression. Raises
    InputError."""
    if junit_file and not gate_file:
        raise InputError("--junit needs --gate")
    shared = compare.pairs(before, after)
    differences = compare.compare(before, after, shared=shared)
    text, failed = compare.table(differences), False
    text += "".join(f"\n{told}" for told in (shared.told, shared.difference, *shared.unlike.values()) if told)
    text += f"\n{cost}" if (cost := usage.beside(before, after)) else ""
    page = f"```\n{text}\n```\n"
    if gate_file:
        verdicts = judge(before, after, read(gate_file))
        failed = any(v.regressed for v in verdicts)
        text += f"\n\n{table(verdicts)}\n{'regressed' if failed else 'passed'}"
        page = f"{table(verdicts)}\n\n{page}"
        if junit_file:
            write_whole(junit_file, junit(verdicts))
    if markdown:
        write_whole(markdown, page)
    if json_file:
        write_whole(json_file, json_text(compare.rows(differences), json_file, indent=1))
    print(text)
    return 1 if failed else 0
