"""Replies of a teacher, kept as they come in (OUT/replies/NAME.jsonl, a line each): what was answered is
never asked again, however the run that asked ended. What was on its way when a run was killed has no line and
is asked again; so is, by the next run, what has a line that its stage cannot read (`Ask.is_open`)."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tvad.annotate.teacher import Ask, Reply, Teacher
from tvad.common.errors import InputError
from tvad.common.files import made, parse_json, whole_lines
from tvad.common.text import whole

FOLDER = "replies"
FAILURES = 8  # requests in a row without a reply, after which the teacher is at fault


@dataclass
class Spent:
    """What a run's requests came to. asked: sent by this run; kept: answered earlier; failed: without a reply
    that is whole; tokens and cost of all replies, kept ones among them, where they are known."""

    asked: int = 0
    kept: int = 0
    failed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None

    def add(self, reply: Reply) -> None:
        self.failed += reply.failed is not None
        self.tokens_in += reply.tokens_in or 0
        self.tokens_out += reply.tokens_out or 0
        if reply.cost is not None:
            self.cost = (self.cost or 0.0) + reply.cost

    def __str__(self) -> str:
        money = "" if self.cost is None else f", cost {self.cost:.4g}"
        return (
            f"{self.asked} requests asked, {self.kept} answered earlier, {self.failed} without a whole reply;"
            f" {self.tokens_in} tokens in, {self.tokens_out} out{money}"
        )


@dataclass
class Replies:
    """Of one teacher in one folder; `name`: of this process's own file there."""

    folder: Path
    teacher: Teacher
    name: str = "0"
    spent: Spent = field(default_factory=Spent)

    def __post_init__(self) -> None:
        self.path = made(self.folder / FOLDER) / f"{self.name}.jsonl"
        if self.path.exists():
            whole_lines(self.path)
        self.kept: dict[str, list[Reply]] = {}  # of earlier runs
        self.known: dict[str, Reply] = {}  # of this one
        for file in sorted(self.path.parent.glob("*.jsonl")):
            for row in _rows(file):
                self.kept.setdefault(str(row.pop("key")), []).append(_reply(row, file))

    def ask(self, asks: Sequence[Ask], bar: Any = None) -> list[Reply]:
        """The replies in order; equal requests are one. Raises InputError where the teacher fails FAILURES
        times in a row, or has failed with a request at the end: the next run asks again."""
        keys = [ask.key(self.teacher.name) for ask in asks]
        waiting: dict[str, Ask] = {}
        for key, ask in zip(keys, asks, strict=True):
            if key not in self.known and (kept := self._answer(key, ask)) is not None:
                self.known[key] = kept
            if key in self.known:
                self.spent.kept += 1
            else:
                waiting.setdefault(key, ask)
        names, row, error = list(waiting), 0, None
        with self.path.open("a", encoding="utf-8") as out:
            for n, reply in self.teacher.answers(list(waiting.values())):
                if isinstance(reply, Exception):
                    row, error = row + 1, reply
                    if row >= FAILURES:
                        break
                    continue
                row = 0
                self.known[names[n]] = reply
                out.write(json.dumps(_row(names[n], reply), allow_nan=False) + "\n")
                out.flush()
                self.spent.asked += 1
                self.spent.add(reply)
                if bar is not None:
                    said = f"{self.spent.asked} asked, {self.spent.tokens_out} tokens out{_money(self.spent)}"
                    bar.set_postfix_str(said)
        if missing := [key for key in names if key not in self.known]:
            why = f": {error}" if error is not None else ""
            raise InputError(
                f"{self.teacher.name}: {len(missing)} of {len(names)} requests have no reply; the same"
                f" command goes on from here{why}"
            )
        return [self.known[key] for key in keys]

    def _answer(self, key: str, ask: Ask) -> Reply | None:
        """What an earlier run kept, unless it is to be asked for again."""
        return next((reply for reply in self.kept.get(key, ()) if not ask.is_open(reply)), None)


def _money(spent: Spent) -> str:
    return "" if spent.cost is None else f", cost {spent.cost:.3g}"


def progress(total: int, done: int) -> tqdm:
    """A bar of videos, with requests' tokens and cost behind it."""
    return tqdm(total=total, initial=done, unit="video", desc="annotate", disable=None, file=sys.stderr)


def _row(key: str, reply: Reply) -> dict[str, Any]:
    return (
        {"key": key} | {k: v for k, v in asdict(reply).items() if v is not None} | {"text": whole(reply.text)}
    )


def _reply(row: dict[str, Any], file: Path) -> Reply:
    try:
        return Reply(**row)
    except TypeError as error:
        raise InputError(f"{file}: no reply of a teacher ({error})") from error


def _rows(file: Path) -> list[dict[str, Any]]:
    found = []
    for n, line in enumerate(file.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            continue  # of another process, being written
        try:
            row = parse_json(line)
            row["key"]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{file}:{n}: not a kept reply ({error})") from error
        found.append(row)
    return found
