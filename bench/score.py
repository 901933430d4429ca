"""Scores answers made elsewhere: lines {"id", "task", "response"}; id is a question's (sample#number) or, if one task asks it once, a sample's.

A line that cannot be used is rejected by number with its reason, the rest is scored; a question without an answer counts as wrong and is
counted as `task.missing`.
"""

import json
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from bench.metrics.stats import Interval
from bench.run import Columns, score_item, write_json
from bench.suite import Item, Suite, load
from tvad.data.check import Problem
from tvad.errors import InputError

MOST_LINE = 4 << 20  # bytes of a line
KEYS = ("id", "task", "response")


def _row(line: bytes) -> dict:
    """One line. Raises ValueError with the reason."""
    if len(line) > MOST_LINE:
        raise ValueError(f"{len(line)} bytes, at most {MOST_LINE} are read")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 ({error.reason} at byte {error.start})") from None
    try:
        row = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(row, dict):
        raise ValueError(f"expected an object, found {type(row).__name__}")
    for key in KEYS:
        if key not in row:
            raise ValueError(f"missing key {key!r}")
        if not isinstance(row[key], str):
            raise ValueError(f"{key!r} must be text, found {type(row[key]).__name__}")
    return row


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def read_predictions(path: str | Path) -> tuple[list[tuple[int, dict]], list[Problem]]:
    """Numbered rows of a predictions file, and the lines rejected. Raises InputError for a file that cannot be read."""
    rows, rejected = [], []
    try:
        with Path(path).open("rb") as file:
            for n, line in enumerate(file, 1):
                if line.strip():
                    try:
                        rows.append((n, _row(line)))
                    except ValueError as error:
                        rejected.append(Problem(f"{path}:{n}", str(error)))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return rows, rejected


def match(path: str | Path, items: list[Item]) -> tuple[dict[str, str], list[Problem]]:
    """Item id -> response, and the lines rejected: unreadable, unknown, ambiguous or repeated."""
    rows, rejected = read_predictions(path)
    by_id = {item.id: item for item in items}
    by_sample: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        by_sample.setdefault((item.sample.id, item.task), []).append(item)
    answers: dict[str, str] = {}
    for n, row in rows:
        name, task = row["id"], row["task"]
        candidates = [by_id[name]] if name in by_id else by_sample.get((name, task), [])
        reason = None
        if len(candidates) > 1:
            reason = f"id {name[:80]!r} with task {task[:40]!r} names several questions"
        elif not candidates or candidates[0].task != task:
            reason = f"id {name[:80]!r} with task {task[:40]!r} is no question of this suite"
        elif candidates[0].id in answers:
            reason = f"a second answer to {candidates[0].id!r}"
        if reason:
            rejected.append(Problem(f"{path}:{n}", reason))
        else:
            answers[candidates[0].id] = row["response"]
    rejected.sort(key=lambda problem: int(problem.where.rpartition(":")[2]))
    return answers, rejected


def score(predictions: str | Path, suite: Suite, out: str | Path) -> tuple[dict[str, Interval], list[Problem]]:
    """Score a predictions file; returns the metrics and the lines rejected. Raises InputError where no line could be used."""
    samples, items = load(suite)
    answers, rejected = match(predictions, items)
    if not answers:
        raise InputError(f"{predictions}: no line could be used" + (f"; the first: {rejected[0]}" if rejected else ""))
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    columns, temporary = Columns(), out / "samples.tmp"
    with temporary.open("w") as file:
        for item in tqdm(items, unit="answer", desc="score", disable=None):
            response = answers.get(item.id, "")
            line = {"id": item.id, "task": item.task, "sample": item.sample.id, "attempt": 0, "response": response, **score_item(item, response, suite.parse)}
            line["scores"]["missing"] = float(item.id not in answers)
            columns.add(line)
            file.write(json.dumps(line) + "\n")
    temporary.replace(out / "samples.jsonl")
    metrics = columns.intervals(suite)
    record = {"model": f"predictions:{predictions}", "suite": asdict(suite), "suite_hash": suite.digest(samples), "videos": len(samples),
              "answered": len(answers), "questions": len(items), "rejected": len(rejected)}  # fmt: skip
    write_json(out / "run.json", record)
    write_json(out / "metrics.json", {name: value.row() for name, value in metrics.items()})
    return metrics, rejected
