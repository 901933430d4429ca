"""Samples for other tools and from them: a log that Inspect's viewer opens, results for a model's page at the
hub, and predictions made of the logs that `bench.logs` reads."""

import json
import time
from pathlib import Path

import yaml

from bench import logs
from bench.run_folder import USAGE, open_run, read_lines, unscored_lines
from bench.score import Answers
from bench.suite import Suite, load, load_run
from bench.tasks import MISSING, PRIMARIES, READ_BY_JUDGE, UNSCORED
from tvad.common.errors import InputError
from tvad.common.files import write_whole
from tvad.common.places import public
from tvad.data.check import Problem
from tvad.prompts import question_text

# What a figure must not be read without.
LACKS = {MISSING: "missing", UNSCORED: "unscored", READ_BY_JUDGE: "read by a judge model"}
# `finish_reason` of a cut answer as Inspect names it; else "stop".
STOPS = {"length": "max_tokens", "max_tokens": "max_tokens", "max_output_tokens": "max_tokens"}
STOPS |= {"model_length": "model_length", "content_filter": "content_filter", "safety": "content_filter"}
TOKENS = {"tokens_in": "input_tokens", "tokens_out": "output_tokens"}
INSPECT_VERSION = 2  # of the log format (inspect_ai.log.EvalLog)


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))


def to_inspect(run: str | Path, out: str | Path) -> Path:
    """Write a run as an Inspect log (.json): a sample per answer with its scores, and the run's metrics with
    their intervals."""
    run = Path(run)
    record, lines, metrics = open_run(run)
    by_id = {item.id: item for item in load_run(run, record)[1][1]}
    created = record.get("started", _iso(run.joinpath("run.json").stat().st_mtime)).replace("Z", "+00:00")
    left, samples = len(unscored_lines(run)), []
    spent = {(line["id"], line["attempt"]): line for line in read_lines(run / USAGE)}
    for line in lines:
        item = by_id[line["id"]]
        question = item.question
        cost = spent.get((line["id"], line["attempt"]), {})
        counted = {ours: cost[key] for key, ours in TOKENS.items() if key in cost}
        usage = {public(record["model"]): counted} if {*counted} == {*TOKENS.values()} else {}
        output = {
            "model": public(record["model"]),
            "completion": line["response"],
            "choices": [
                {
                    "message": {"role": "assistant", "content": line["response"], "source": "generate"},
                    "stop_reason": STOPS.get(line.get("cut", ""), "stop"),
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
                    **({"read_by": line["read_by"]} if "read_by" in line else {}),
                    "category": item.sample.category,
                },
                "store": {},
                "events": [],
                "model_usage": {name: {**of, "total_tokens": sum(of.values())} for name, of in usage.items()},
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
        note = {"metadata": {"note": m["note"]}} if m.get("note") else {}
        scores.append({"name": name, "scorer": name, "params": {}, "metrics": found} | note)
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
        "status": "error" if left else "success",
        "eval": spec,
        "plan": {"name": "plan", "steps": [], "config": {}},
        "results": {
            "total_samples": len(samples) + left,
            "completed_samples": len(samples),
            "scores": scores,
        },
        "stats": {"started_at": created, "completed_at": created, "model_usage": {}},
        "samples": samples,
    }
    return write_whole(out, json.dumps(log, ensure_ascii=True, allow_nan=False))


def to_hub(
    run: str | Path, out: str | Path, dataset: str, source: str | None = None
) -> tuple[Path, list[str]]:
    """Write a run's first metrics as a file of `.eval_results/` in a model's repository at the hub
    (`huggingface_hub.EvalResultEntry`): an entry a task under the benchmark's data set `dataset` (ORG/NAME),
    with the interval, n and the suite's hash as its notes. Returns the file, and the first metrics that have
    no value. Raises InputError where none has one, and for no name of a data set."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if Path(out).suffix not in (".yaml", ".yml"):
        raise InputError(f"{out}: expected a name that ends in .yaml")
    try:
        validate_repo_id(dataset)
    except HFValidationError as error:
        raise InputError(f"--dataset {dataset}: {error}") from error
    if dataset.count("/") != 1:
        raise InputError(f"--dataset {dataset}: expected ORG/NAME")
    if source is not None and not source.startswith(("http://", "https://")):
        raise InputError(f"--source {source}: expected an address, http:// or https://")
    record, _, metrics = open_run(run)
    entries, left = [], []
    for name in PRIMARIES:
        if (m := metrics.get(name)) is None:
            continue
        if m["value"] is None:
            left.append(name)
            continue
        task, _, metric = name.partition(".")
        bounds = (
            f"no interval ({m.get('withheld') or 'too few videos'})"
            if m["low"] is None
            else f"95 % interval {m['low']:.4f} to {m['high']:.4f}"
        )
        told = f"{metric}, {bounds}, n {m['n']}, suite {record['suite']['name']} {record['suite_hash']}"
        for lack, words in LACKS.items():
            if share := (metrics.get(f"{task}.{lack}") or {}).get("value"):
                told += f", {share:.1%} of the answers {words}"
        entries.append(
            EvalResultEntry(
                dataset,
                task,
                m["value"],
                date=record.get("started"),
                source_url=source,
                notes=f"{told}; {m['note']}" if m.get("note") else told,
            )
        )
    if not entries:
        raise InputError(f"{run}: none of its tasks has a first metric with a value")
    text = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)
    return write_whole(out, text), left


def from_log(
    log: str | Path, suite: Suite, form: str, task: str | None, out: str | Path
) -> tuple[int, list[Problem]]:
    """Turn another tool's log (`bench.logs.FORMATS`) into a predictions file for `bench score`. Returns how
    many of its answers were used, and those that were not with their reasons. Raises InputError where none
    could be."""
    task = logs.task_of(log, form, task)
    items = load(suite)[1]
    problems: list[Problem] = []
    answers = Answers(log, items, problems)
    for n, row in logs.rows_of(log, items, task, form, problems):
        answers.add(n, row)
    found = {i.id: text for i, text in zip(items, answers.found, strict=True) if text is not None}
    if not found:
        raise InputError(
            f"{log}: no answer could be used" + (f"; the first: {problems[0]}" if problems else "")
        )
    rows = ({"id": i, "task": task, "response": text} for i, text in found.items())
    write_whole(out, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
    return len(found), problems
