"""Scores answers made elsewhere: lines {"id", "task", "response"}; id is a question's (sample#number) or, if one task asks it once, a sample's."""

import json
from pathlib import Path

from bench.metrics.stats import Interval
from bench.run import score_item, summarise, write_json
from bench.suite import Suite, load
from tvad.errors import InputError


def read_predictions(path: str | Path) -> list[dict]:
    """Lines of a predictions file. Raises InputError that names the line and the key."""
    found = []
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}:{n}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}:{n}: expected an object")
        for key in ("id", "task", "response"):
            if not isinstance(row.get(key), str):
                raise InputError(f"{path}:{n}: {key!r} must be text")
        found.append({**row, "line": n})
    return found


def score(predictions: str | Path, suite: Suite, out: str | Path) -> dict[str, Interval]:
    """Score a predictions file; questions without an answer count as wrong and are reported as `task.missing`."""
    rows = read_predictions(predictions)
    samples, items = load(suite)
    by_id = {item.id: item for item in items}
    by_sample: dict[tuple[str, str], list] = {}
    for item in items:
        by_sample.setdefault((item.sample.id, item.task), []).append(item)
    answers: dict[str, str] = {}
    for row in rows:
        candidates = [by_id[row["id"]]] if row["id"] in by_id else by_sample.get((row["id"], row["task"]), [])
        if len(candidates) != 1 or candidates[0].task != row["task"]:
            problem = "names several questions" if len(candidates) > 1 else "is no question of this suite"
            raise InputError(f"{predictions}:{row['line']}: id {row['id']!r} with task {row['task']!r} {problem}")
        if candidates[0].id in answers:
            raise InputError(f"{predictions}:{row['line']}: a second answer to {candidates[0].id!r}")
        answers[candidates[0].id] = row["response"]
    lines = []
    for item in items:
        response = answers.get(item.id, "")
        line = score_item(item, response)
        line["scores"]["missing"] = float(item.id not in answers)
        lines.append({"id": item.id, "task": item.task, "sample": item.sample.id, "attempt": 0, "response": response, **line})
    metrics = summarise(lines, suite)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    temporary = out / "samples.tmp"
    temporary.write_text("".join(json.dumps(line) + "\n" for line in lines))
    temporary.replace(out / "samples.jsonl")
    from dataclasses import asdict

    record = {"model": f"predictions:{predictions}", "suite": asdict(suite), "suite_hash": suite.digest(samples), "videos": len(samples)}
    write_json(out / "run.json", record)
    write_json(out / "metrics.json", {name: value.row() for name, value in metrics.items()})
    return metrics
