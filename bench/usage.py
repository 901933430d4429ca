"""What answers cost: tokens in and out, seconds, why each ended, money. Nothing of it is guessed: what is not
known is left out.

    usage.jsonl  a line an answer: {"id", "attempt"} and what is known of it (`bench.models.base.Usage`)
    usage.json   their sums, each with how many answers it is known of

It stands beside samples.jsonl, whose lines are the same in every run of one seed, and never without its
answer.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.models.base import Completion
from bench.run_folder import (
    SUMS,
    USAGE,
    Shard,
    join_lines,
    parts,
    read_json,
    read_lines,
    write_json,
    write_lines,
)
from bench.tasks import UNSCORED
from tvad.common.errors import InputError

# What is summed: its words, and how a sum and a mean are written.
COUNTED = {
    "tokens_in": ("tokens in", ",.0f", ",.1f"),
    "tokens_out": ("tokens out", ",.0f", ",.1f"),
    "seconds": ("seconds", ",.1f", ",.3f"),
    "cost": ("cost", ",.6g", ",.3g"),
}
NAMED = 6  # reasons of ending that a table names
CACHED = "from the cache"


def _is_amount(value: Any) -> bool:
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return known and 0 <= value < float("inf")


def _checked(line: Mapping[str, Any], where: str) -> tuple[str, int]:
    """(id, attempt) of a line of usage.jsonl. Raises InputError for one that is none."""
    name, attempt = line.get("id"), line.get("attempt")
    if not isinstance(name, str) or not isinstance(attempt, int):
        raise InputError(f"{where}: not what an answer cost (expected a text 'id' and a number 'attempt')")
    for key in COUNTED:
        if key in line and not _is_amount(line[key]):
            raise InputError(f"{where}: {key} is {str(line[key])[:80]!r}, expected a number of 0 or more")
    finish = line.get("finish", "")
    if not isinstance(finish, str) or not finish.isprintable():
        raise InputError(f"{where}: finish is {str(finish)[:80]!r}, expected a word")
    return name, attempt


class Spending:
    """usage.jsonl of a run in `folder`, as this process writes it. What an earlier process has left is read
    when this is made. Raises InputError for a line that is none."""

    def __init__(self, folder: Path, shard: Shard):
        self.whole, self.path = folder / USAGE, shard.file(folder / USAGE)
        self._left: dict[tuple[str, int], dict[str, Any]] = {}
        for file in (self.whole, *parts(self.whole)):
            for n, line in enumerate(read_lines(file), 1):
                self._left[_checked(line, f"{file}:{n}")] = line

    def go_on(self, kept: Iterable[Mapping[str, Any]]) -> None:
        """Keep what is known of the answers in the lines `kept` of samples.jsonl, before more is added. What
        a kill has parted from its answer goes: that question is asked again."""
        places = [(line["id"], line["attempt"]) for line in kept if UNSCORED not in line]
        lines = [self._left[place] for place in places if place in self._left]
        self._left = {}
        if lines or self.path.exists():
            write_lines(self.path, lines)

    def add(self, name: str, completions: Iterable[Completion]) -> None:
        """What the answers to an item cost. Written, before the answers are, to the end: a kill leaves none
        without it."""
        lines = [
            {"id": name, "attempt": attempt, **known}
            for attempt, completion in enumerate(completions)
            if (known := completion.usage.known)
        ]
        if lines:
            with self.path.open("a") as out:
                out.write("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines))

    def join(self, shard: Shard, order: Iterable[str], answers: int) -> None:
        """One file of all processes', in the order of the items, and the sums over so many answers; neither
        where nothing is known. For the first process, when all are done."""
        lines = join_lines(self.whole, shard, order)
        if lines:
            write_json(self.whole.with_name(SUMS), asdict(sums(lines, answers)))
        else:
            self.whole.unlink()


@dataclass(frozen=True)
class Sum:
    """Over the answers that it is known of: their sum, a prompt being one however often it is answered, the
    mean of one answer, and how many they are."""

    sum: float
    mean: float
    answers: int


@dataclass(frozen=True)
class Sums:
    """What a run's answers cost: `of` by COUNTED, `finish` how many ended by which reason, `cached` how many
    were not asked for."""

    answers: int
    of: dict[str, Sum]
    finish: dict[str, int]
    cached: int

    def ended(self, reason: str) -> tuple[int, int]:
        """How many answers ended so, and of how many it is known why they did."""
        return self.finish.get(reason, 0), sum(self.finish.values())


def sums(lines: Iterable[Mapping[str, Any]], answers: int) -> Sums:
    """Of the lines of usage.jsonl, what came from a cache apart: it cost nothing here; answers: how many the
    run has."""
    lines = list(lines)
    found = {}
    for key in COUNTED:
        known = [line for line in lines if key in line and "cached" not in line]
        if not known:
            continue
        once = {line["id"]: line for line in known}.values() if key == "tokens_in" else known
        whole, each = ([line[key] for line in some] for some in (once, known))
        found[key] = Sum(sum(whole), sum(each) / len(each), len(each))
    finish = Counter(line["finish"] for line in lines if "finish" in line)
    ranked = sorted(finish.items(), key=lambda reason: (-reason[1], reason[0]))
    return Sums(answers, found, dict(ranked), sum("cached" in line for line in lines))


def read(folder: str | Path) -> Sums | None:
    """Of a run; None where it has none. Raises InputError for a damaged file."""
    file = Path(folder, SUMS)
    if not file.exists():
        return None
    data = read_json(file)
    try:
        of = {key: Sum(**data["of"][key]) for key in COUNTED if key in data["of"]}
        found = Sums(data["answers"], of, data["finish"], data["cached"])
        amounts = [value for one in of.values() for value in vars(one).values()]
        if (
            all(map(_is_amount, [found.answers, found.cached, *amounts]))
            and found.cached <= found.answers
            and all(_is_amount(count) and count > 0 for count in found.finish.values())
        ):
            return found
    except (TypeError, KeyError, AttributeError):
        pass
    raise InputError(f"{file}: not the sums of a run")


def rows(found: Sums) -> list[list[str]]:
    """What, its sum, its mean, and of how many answers it is known; the reasons of ending with their
    shares."""
    lines = [
        [words, f"{one.sum:{whole}}", f"{one.mean:{each}}", f"{one.answers} of {found.answers}"]
        for key, (words, whole, each) in COUNTED.items()
        if (one := found.of.get(key)) is not None
    ]
    counts = {f"ended by {reason}": found.ended(reason) for reason in [*found.finish][:NAMED]}
    if more := [*found.finish.values()][NAMED:]:
        counts[f"ended by {len(more)} reasons more"] = sum(more), sum(found.finish.values())
    counts |= {CACHED: (found.cached, found.answers)} if found.cached else {}
    for words, (count, known) in counts.items():
        lines.append([words, str(count), f"{count / known:.1%}", f"{known} of {found.answers}"])
    return lines


COLUMNS = ("what answers cost", "sum", "per answer", "known of")


def rows_beside(before: Sums | None, after: Sums | None) -> list[list[str]]:
    """What, its mean (of a reason its share) over the answers of each of two runs, and of how many it is
    known in each; "--" where of none."""
    runs, found = [run for run in (before, after) if run is not None], []
    for key, (words, _, each) in COUNTED.items():
        both = [None if run is None else run.of.get(key) for run in (before, after)]
        if any(both):
            means = ["--" if one is None else f"{one.mean:{each}}" for one in both]
            found.append([words, *means, ", ".join("0" if one is None else str(one.answers) for one in both)])
    counts = {
        f"ended by {reason}": [None if run is None else run.ended(reason) for run in (before, after)]
        for reason in dict.fromkeys(reason for run in runs for reason in [*run.finish][:NAMED])
    }
    if any(run.cached for run in runs):
        counts[CACHED] = [None if run is None else (run.cached, run.answers) for run in (before, after)]
    for words, pair in counts.items():
        of_both = [(0, 0) if one is None else one for one in pair]
        shares = [f"{count / known:.1%}" if known else "--" for count, known in of_both]
        found.append([words, *shares, ", ".join(str(known) for _, known in of_both)])
    return found


COLUMNS_BESIDE = ("cost, mean of an answer", "before", "after", "known of")


def _aligned(lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"{a:28s} {b:>12s} {c:>12s}  {d}" for a, b, c, d in lines)


def table(found: Sums) -> str:
    """As aligned text."""
    return _aligned([COLUMNS, *rows(found)])


def beside(before: str | Path, after: str | Path) -> str:
    """Two runs' means side by side, as aligned text, not tested; "" where neither has any."""
    found = rows_beside(read(before), read(after))
    return _aligned([COLUMNS_BESIDE, *found]) if found else ""
