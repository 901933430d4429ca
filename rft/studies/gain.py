"""What a run of reinforcement fine-tuning changed: the model that it began from and the one that it made
answer the same unseen questions, greedily and drawn.

    python -m rft.studies.gain runs/vanguard/grpo --suite vanguard --data data/closed/test --out runs/gain

The first row is what the run itself pays, by its record (`grpo.json`); differences are paired over videos.
Where the questions have blind baselines, both models stand beside the best of them. A killed command goes on.
"""

import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rft.studies.common import RUNS, in_process
from tvad.common import cli, config
from tvad.common.errors import InputError
from tvad.common.files import json_text, made, write_whole

if TYPE_CHECKING:
    from bench.families import Difference
    from bench.suite import Item
    from rft.grpo.config import GrpoRun

BLIND = "above_blind"


def rewards_by_item(run_folder: Path, items, functions: list, weights: list[float]) -> dict[str, float]:
    """Mean reward of every item over its answers in a benchmark run, as the trainer would pay it: {item id:
    reward}, without items that no reward applies to."""
    import torch

    from bench.run_folder import read_lines
    from rft.grpo.mixture import row_of
    from rft.rewards.base import FROM_DATA
    from rft.rewards.mix import total

    by_id = {item.id: item for item in items}
    lines = read_lines(run_folder / "samples.jsonl")
    answered = [by_id[line["id"]] for line in lines]
    rows = [row_of(item.sample, item.question, reading=item.reading) for item in answered]
    columns = {name: [row[name] for row in rows] for name in FROM_DATA}
    responses = [line["response"] for line in lines]
    values = [
        [math.nan if value is None else value for value in function(responses, **columns)]
        for function in functions
    ]
    earned = total(torch.tensor(values, dtype=torch.float64).T, torch.tensor(weights, dtype=torch.float64))
    grouped: dict[str, list[float]] = {}
    for line, value in zip(lines, earned.tolist(), strict=True):
        if not math.isnan(value):
            grouped.setdefault(line["id"], []).append(value)
    return {key: sum(values) / len(values) for key, values in grouped.items()}


def reward_difference(before: Path, after: Path, items: "list[Item]", run: "GrpoRun") -> "Difference":
    """The mean reward that the run pays, its tasks' own included, of two benchmark runs on `items`."""
    import numpy as np

    from bench.families import Difference
    from bench.metrics.paired import change_interval, sign_flip
    from bench.metrics.stats import cluster_sums
    from rft.grpo.mixture import tasks_of
    from rft.rewards.base import needs_of
    from rft.rewards.mix import rewards_of

    own = {name: task.rewards for name, task in tasks_of(run.tasks).items()}
    # A benchmark run keeps answers, not what an engine adds to them: a reward that needs such a column is
    # left out.
    paid = [(f, w) for f, w in zip(*rewards_of(run.rewards, own), strict=True) if not needs_of(f)]
    functions, weights = [f for f, _ in paid], [w for _, w in paid]
    old, new = (rewards_by_item(folder, items, functions, weights) for folder in (before, after))
    keys = [key for key in old if key in new]
    if not keys:
        raise InputError(f"{before}, {after}: no answer to a question that the run pays")
    video = {item.id: item.sample.id for item in items}
    left, right = (np.array([r[k] for k in keys]) for r in (old, new))
    videos = np.array([video[k] for k in keys])
    change, p = change_interval(right - left, videos), sign_flip(cluster_sums(right - left, videos)[0])
    return Difference("mean reward", float(left.mean()), float(right.mean()), change, p, "reward", p)


def run_in(folder: Path) -> "GrpoRun":
    """What a folder's run is, by its record. Raises InputError where there is no record, no finished
    model, or the start is another by now."""
    from bench.cache import content
    from rft.common.run_log import read_record
    from rft.grpo.config import GrpoRun

    record = read_record(folder)
    keys = config.fields_of(GrpoRun)
    run = config.build(GrpoRun, {k: v for k, v in record.items() if k in keys}, str(folder / "grpo.json"))
    if not (folder / "model" / "config.json").exists():
        raise InputError(f"{folder}: no model/, expected a run of rft/train_grpo.py that has ended")
    began = (record.get("made_of") or {}).get("model")
    if began != content(run.model):
        raise InputError(f"{run.model}: not what {folder} began from (its grpo.json: {began})")
    return run


def blind_rows(before: Path, after: Path) -> list[tuple[str, dict, dict]]:
    """Metrics that say how far accuracy is above the best blind baseline: (name, before, after)."""
    from bench.run_folder import open_run

    old, new = (open_run(folder)[2] for folder in (before, after))
    return [(name, old[name], new[name]) for name in old if name.endswith(BLIND) and name in new]


def _bounds(row: dict) -> str:
    if row["value"] is None:
        return "--"
    if row.get("low") is None:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def gain(
    run: str,
    /,
    suite: str,
    data: str,
    out: Annotated[str, cli.FOLDER],
    engine: str = "vllm",
    seed: int = 7,
) -> int:
    """Benchmark a run's start and its result, and compare them.

    Args:
        run: Folder of a run of rft/train_grpo.py that has ended.
        suite: A benchmark configuration, or the name of a shipped one; no frame scores, no heatmaps.
        data: Data set folder that nothing was trained on.
        out: Folder of the benchmark runs and of gain.md.
        engine: Who answers: hf or vllm.
        seed: Of the draws.
    """
    from bench import suite as suites
    from bench.compare import compare, table

    plan = run_in(Path(run))
    target = made(out)
    _, every = suites.load(suites.read(suite, ["--data", data]))
    tasks = json_text(sorted({item.task for item in every}), suite)
    lines, record = [f"# {run} against {plan.model}", ""], {}
    options = {"suite": suite, "data": data, "tasks": tasks, "subclips": "null", "dense": "null"}
    for name, (n, temperature) in RUNS.items():
        folders = []
        for when, model in (("before", plan.model), ("after", str(Path(run, "model")))):
            folders.append(target / f"{when}-{name}")
            asked = options | {"model": f"{engine}:{model}", "out": str(folders[-1]), "decode.n": str(n)}
            asked |= {"decode.temperature": str(temperature), "decode.seed": str(seed)}
            told = [word for key, value in asked.items() for word in (f"--{key}", value)]
            in_process(["-m", "bench", "run", *told], f"bench run {' '.join(told)}")
        before, after = folders
        rows = [reward_difference(before, after, every, plan), *compare(before, after)]
        drawn = f"mean of {n} at temperature {temperature:g}" if temperature else "greedy"
        lines += [f"## {name} ({drawn})", "", "```", table(rows), "```", ""]
        blind = blind_rows(before, after)
        if blind:
            lines += ["| accuracy above the best blind baseline | before | after |", "|---|---|---|"]
        lines += [f"| {key} | {_bounds(old)} | {_bounds(new)} |" for key, old, new in blind] + [""]
        record[name] = {"differences": [asdict(row) for row in rows], BLIND: {k: [o, a] for k, o, a in blind}}
    write_whole(target / "gain.json", json_text(record, "gain.json", indent=1, default=str))
    print(write_whole(target / "gain.md", "\n".join(lines)).read_text(encoding="utf-8"))
    return 0


def main(arguments: list[str] | None = None) -> int:
    return cli.run("python -m rft.studies.gain", gain, __doc__ or "", arguments)


if __name__ == "__main__":
    sys.exit(cli.guard(main))
