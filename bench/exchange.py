"""Samples for other tools and from them: a log that Inspect's viewer opens, and the sample logs of
lmms-eval."""

import json
import time
from pathlib import Path

from bench.run_folder import open_run
from bench.score import Answers
from bench.suite import Suite, load
from bench.tasks import TASKS
from tvad.common import config
from tvad.common.errors import InputError
from tvad.common.files import parse_json, write_whole
from tvad.common.places import public
from tvad.data.check import Problem
from tvad.prompts import question_text

INSPECT_VERSION = 2  # of the log format (inspect_ai.log.EvalLog)


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))


def to_inspect(run: str | Path, out: str | Path) -> Path:
    """Write a run as an Inspect log (.json): a sample per answer with its scores, and the run's metrics with
    their intervals."""
    run = Path(run)
    record, lines, metrics = open_run(run)
    suite = config.build(Suite, record["suite"], str(run / "run.json"))
    by_id = {item.id: item for item in load(suite)[1]}
    created = record.get("started", _iso(run.joinpath("run.json").stat().st_mtime)).replace("Z", "+00:00")
    samples = []
    for line in lines:
        item = by_id[line["id"]]
        question = item.question
        output = {
            "model": public(record["model"]),
            "completion": line["response"],
            "choices": [
                {
                    "message": {"role": "assistant", "content": line["response"], "source": "generate"},
                    "stop_reason": "stop",
                }
            ],
        }
        samples.append(
            {
                "id": line["id"],
                "epoch": line["attempt"] + 1,
                "input": question_text(question),
                "choices": list(question.options or ()) or None,
                "target": question.solution(),
                "messages": [
                    {"role": "user", "content": question_text(question), "source": "input"},
                    {"role": "assistant", "content": line["response"], "source": "generate"},
                ],
                "output": output,
                "scores": {
                    name: {"value": value, "explanation": ", ".join(line["defects"]) or None}
                    for name, value in line["scores"].items()
                },
                "metadata": {
                    "task": line["task"],
                    "video": line["sample"],
                    "parsed": line["parsed"],
                    "category": item.sample.category,
                },
                "store": {},
                "events": [],
                "model_usage": {},
                "attachments": {},
            }
        )
    scores = []
    for name, m in metrics.items():
        values = {"value": m["value"], "low": m["low"], "high": m["high"]}
        found = {
            key: {"name": key, "value": value, "params": {}}
            for key, value in values.items()
            if value is not None
        }
        scores.append({"name": name, "scorer": name, "params": {}, "metrics": found})
    plan, asked = record["suite"], len({line["id"] for line in lines})
    spec = {
        "created": created,
        "task": plan["name"],
        "task_id": record["suite_hash"],
        "run_id": record["suite_hash"],
        "task_version": 0,
        "task_attribs": {},
        "task_args": {},
        "model": public(record["model"]),
        "model_args": {},
        "config": {},
        "packages": record.get("versions", {}),
        "dataset": {
            "name": plan["name"],
            "location": public(plan["data"]),
            "samples": asked,
            "shuffled": False,
        },
    }
    log = {
        "version": INSPECT_VERSION,
        "status": "success",
        "eval": spec,
        "plan": {"name": "plan", "steps": [], "config": {}},
        "results": {"total_samples": len(samples), "completed_samples": len(samples), "scores": scores},
        "stats": {"started_at": created, "completed_at": created, "model_usage": {}},
        "samples": samples,
    }
    return write_whole(out, json.dumps(log, ensure_ascii=True, allow_nan=False))


def _response(row: dict) -> str | None:
    """The model's text in a line of lmms-eval's samples_*.jsonl, whose place depends on its version."""
    for key in ("filtered_resps", "resps", "response"):
        value = row.get(key)
        while isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, str):
            return value
    return None


def from_lmms_eval(
    log: str | Path, suite: Suite, task: str, out: str | Path, key: str = "doc_id"
) -> tuple[int, list[Problem]]:
    """Turn lmms-eval's sample log into a predictions file for `bench score`: line by line the answers to the
    suite's questions of `task`.

    A line belongs to the question whose number (in the suite's order) is its `doc_id`; with `key` another
    field, also inside "doc", that holds our question's id, or the id of a video that the task asks once.
    Returns how many lines were used, and those that were not.
    """
    if task not in TASKS:
        raise InputError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
    items = [item for item in load(suite)[1] if item.task == task]
    names = {name for item in items for name in (item.id, item.sample.id)}
    problems: list[Problem] = []
    answers = Answers(log, items, problems)
    try:
        raw = Path(log).read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"{log}: cannot be read ({error.strerror})") from error
    for n, line in enumerate(raw, 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
        except (ValueError, RecursionError) as error:
            problems.append(Problem(f"{log}:{n}", f"not a JSON object ({error})"))
            continue
        document = row.get("doc")
        name = row.get(key, document.get(key) if isinstance(document, dict) else None)
        if key == "doc_id" and type(name) is int and 0 <= name < len(items):
            name = items[name].id
        elif isinstance(name, str) and name not in names:
            name = name.removesuffix(".mp4")
        text = _response(row)
        if not isinstance(name, str):
            problems.append(Problem(f"{log}:{n}", f"{key} {name!r:.80} is no question of this suite"))
        elif text is None:
            reason = "no response in filtered_resps, resps or response"
            problems.append(Problem(f"{log}:{n}", reason))
        else:
            answers.add(n, {"id": name, "task": task, "response": text})
    found = {i.id: text for i, text in zip(items, answers.found, strict=True) if text is not None}
    if not found:
        raise InputError(
            f"{log}: no line could be used" + (f"; the first: {problems[0]}" if problems else "")
        )
    write_whole(
        out,
        "".join(
            json.dumps({"id": i, "task": task, "response": t}, allow_nan=False) + "\n"
            for i, t in found.items()
        ),
    )
    return len(found), problems
