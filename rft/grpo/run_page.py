"""A page about a reinforcement run, made from its logs alone: rewards, signal, health, evaluations,
completions.

python -m rft.grpo.run_page runs/grpo        also while the run is going on, or after it died
"""

import json
import sys
from pathlib import Path

from bench.pages import Section, plots, render, settings
from rft.common.resume import told
from rft.common.run_log import RECORD, RUN, read_log, read_record
from tvad.common import cli
from tvad.common.errors import InputError
from tvad.common.files import write_whole

HEALTH = {
    "entropy": "entropy, nats",
    "kl": "KL to the reference, nats",
    "sampler_gap/mean": "trainer/sampler gap, mean, nats",
    "sampler_gap/max": "trainer/sampler gap, largest, nats",
    "clip_ratio/region_mean": "share of tokens clipped",
    "completions/mean_length": "completion length, tokens",
    "completions/clipped_ratio": "share of completions cut at their limit",
    "completions/cut_for_rewards": "share of completions cut for rewards",
    "parse/defective": "share of completions with a defect",
    "frac_reward_zero_std": "share of groups without signal",
    "clips/skipped": "share of completions whose clip was skipped",
    "dynamic/no_signal": "share of groups drawn again",
    "dynamic/replaced": "share of groups replaced",
    "reg/log_ratio": "log ratio of completions",
    "loss": "loss",
    "grad_norm": "gradient norm",
    "learning_rate": "learning rate",
    "step_time": "seconds a step",
}


def _series(log: list[dict], key: str) -> tuple[list[float], list[float]]:
    rows = [row for row in log if isinstance(row.get(key), (int, float))]
    return [row["step"] for row in rows], [row[key] for row in rows]


def _ends(values: list[float]) -> tuple[float, float]:
    """Means over the first and the last tenth."""
    part = max(1, len(values) // 10)
    return sum(values[:part]) / part, sum(values[-part:]) / part


def _curves(log: list[dict], names: dict[str, str]) -> list[tuple[dict, str]]:
    """(curve, what is said of it) for the keys of the log that `names` names, where they occur."""
    found = []
    for key, name in names.items():
        steps, values = _series(log, key)
        if values and (key != "kl" or any(values)):
            first, last = _ends(values)
            words = f"{first:.3g} in the first tenth of the steps, {last:.3g} in the last"
            found.append((plots.curve(steps, values, name), words))
    return found


MATTERS = {  # what says whether a run went well, beside its reward
    "frac_reward_zero_std": "share of groups without signal",
    "parse/defective": "share of completions with a defect",
    "completions/clipped_ratio": "share of completions cut at their limit",
    "completions/mean_length": "completion length, tokens",
    "sampler_gap/mean": "trainer/sampler gap, nats",
}


def _in_short(log: list[dict]) -> Section:
    """Whether the reward rose, and the few numbers that say at which price."""
    rows: list[list] = []
    for key, name in {"reward": "mean reward", **MATTERS}.items():
        if values := _series(log, key)[1]:
            rows.append([name, *_ends(values)])
    words = [f"{log[-1]['step']} steps."]
    if rewards := _series(log, "reward")[1]:
        first, last = _ends(rewards)
        words = [
            f"Mean reward {first:.3f} in the first tenth of {log[-1]['step']} steps, {last:.3f} in the last"
            f" ({last - first:+.3f})."
        ]
    columns = ["Means", "First tenth", "Last tenth"]
    table = {"label": "In short", "columns": columns, "rows": rows}
    return Section("In short", "words.html", {"lines": words, **table})


def _rollouts(lines: list[dict]) -> Section | None:
    steps = sorted({line["step"] for line in lines})
    if not steps:
        return None
    chosen = {steps[0], steps[len(steps) // 2], steps[-1]}
    rows = []
    for line in lines:
        if line["step"] in chosen:
            parts = (f"{name} {value:.2f}" for name, value in line["rewards"].items() if value is not None)
            advantage = f"{line['advantage']:+.2f}"
            rows.append([line["step"], line["question"], line["completion"], ", ".join(parts), advantage])
    title = "Completions of the first, middle and last step (all in rollouts.jsonl)"
    columns = ["Step", "Question", "Completion", "Rewards", "Advantage"]
    return Section(title, "table.html", {"label": "Completions", "columns": columns, "rows": rows})


def _lines(path: Path) -> list[dict]:
    """Lines of a log that may be written to right now."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _evaluations(folder: Path) -> list[dict]:
    """{"step", metric: value} of every evaluation, in the order of steps."""
    rows = []
    for file in folder.glob("evaluations/step-*/metrics.json"):
        values = {name: metric["value"] for name, metric in json.loads(file.read_text()).items()}
        rows.append({"step": int(file.parent.name.split("-")[1]), **values})
    return sorted(rows, key=lambda row: row["step"])


def reward_names(log: list[dict]) -> list[str]:
    """Rewards that occurred in any step."""
    keys = dict.fromkeys(key for row in log for key in row)
    return [key.split("/")[1] for key in keys if key.startswith("rewards/") and key.endswith("/mean")]


def sections(folder: Path) -> list[Section]:
    """What a page shows of a run's logs. Raises InputError where there are none."""
    try:
        log = read_log(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no reinforcement run (no readable log.jsonl)") from error
    if not log:
        raise InputError(f"{folder}: the log holds no step yet")
    names = reward_names(log)
    table = []
    for name in names:
        means, spreads = _series(log, f"rewards/{name}/mean")[1], _series(log, f"rewards/{name}/std")[1]
        if means:
            table.append([name, *_ends(means), *(_ends(spreads) if spreads else (None, None))])
    columns = ["Reward", "First", "Last", "Spread, first", "Spread, last"]
    keys = list(dict.fromkeys(key for row in log for key in row))
    unfinished = {
        k: f"unfinished {k.split('/')[1]}, completions" for k in keys if k.startswith("unfinished/")
    }
    defects = {k: k.split("/")[1] for k in keys if k.startswith("parse/") and k != "parse/defective"}
    held_out = {"eval_reward": "reward"} | {
        f"eval_rewards/{name}/mean": f"{name}, mean" for name in names if f"eval_rewards/{name}/mean" in keys
    }
    tasks = {k: k.split("/")[1] for k in keys if k.startswith("tasks/")}
    found = [
        _in_short(log),
        _drawn(
            "Mean reward of the training batches",
            _curves(log, {"reward": "reward", "reward_std": "spread of the reward"}),
        ),
        _drawn(
            "Every reward",
            _curves(log, {f"rewards/{name}/mean": f"{name}, mean" for name in names}),
            label="Every reward",
            note="Means over the first and the last tenth of the steps.",
            columns=columns,
            rows=table,
        ),
        _drawn("Reward by task", _curves(log, tasks)),
        _drawn("Held-out prompts", _curves(log, held_out)),
        _drawn("Health of the run", _curves(log, HEALTH | unfinished)),
        _drawn("What was wrong with completions, share of each defect", _curves(log, defects)),
    ]
    if rows := _evaluations(folder):
        best = folder / "best.json"
        note = f"kept in best/: step {json.loads(best.read_text())['step']}" if best.exists() else ""
        metrics = {name: name for name in rows[-1] if name != "step"}
        found.append(_drawn("Evaluations", _curves(rows, metrics), note=note))
    found.append(_rollouts(_lines(folder / "rollouts.jsonl")))
    return [section for section in found if section is not None]


def _drawn(title: str, curves: list[tuple[dict, str]], **values) -> Section | None:
    return Section(title, "curves.html", {"curves": curves, **values}) if curves else None


def write_run_page(folder: str | Path) -> Path:
    """Write FOLDER/run.html."""
    folder = Path(folder)
    found = sections(folder)
    run = read_record(folder) if (folder / RECORD).exists() else {}
    if run:
        known = {k: v for k, v in run.items() if k not in (*RUN.stamp(), "changes")}
        changed = {f"Changed {n}": line for n, line in enumerate(told(run, read_log(folder)[-1]["step"]), 1)}
        found.append(settings("Configuration", changed | known))
    subtitle = f"{run.get('model', folder)}, {read_log(folder)[-1]['step']} steps"
    return write_whole(folder / "run.html", render("Reinforcement fine-tuning", subtitle, found))


def show(run: str, /) -> int:
    """Write RUN/run.html.

    Args:
        run: Folder of the run.
    """
    print(write_run_page(run))
    return 0


def main(arguments: list[str] | None = None) -> int:
    return cli.run("python -m rft.grpo.run_page", show, __doc__ or "", arguments)


if __name__ == "__main__":
    sys.exit(cli.guard(main))
