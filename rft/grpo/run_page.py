"""A page about a reinforcement run, made from its logs alone: rewards, signal, health, evaluations,
completions.

python -m rft.grpo.run_page runs/grpo        also while the run is going on, or after it died
"""

import argparse
import json
import sys
from pathlib import Path

from bench.report import esc, line_plot, number, page
from rft.common.run_log import read_log
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
    "parse/defective": "share of completions with a defect",
    "frac_reward_zero_std": "share of groups without signal",
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


def _smooth(values: list[float]) -> list[float]:
    window = max(1, len(values) // 20)
    return [
        sum(values[max(0, i - window + 1) : i + 1]) / len(values[max(0, i - window + 1) : i + 1])
        for i in range(len(values))
    ]


def _ends(values: list[float]) -> tuple[float, float]:
    """Means over the first and the last tenth."""
    part = max(1, len(values) // 10)
    return sum(values[:part]) / part, sum(values[-part:]) / part


def _card(log: list[dict], key: str, name: str) -> str:
    steps, values = _series(log, key)
    if not values or (key == "kl" and not any(values)):
        return ""
    plot = line_plot({"step": (steps, values), "mean": (steps, _smooth(values))}, "step", name, dots=True)
    first, last = _ends(values)
    return (
        f"<div class=card>{plot}<p class=note>{esc(name)}: {first:.3g} in the first tenth of the steps,"
        f" {last:.3g} in the last</p></div>"
    )


def _cards(cards: list[str]) -> str:
    return f"<div class=cards>{''.join(cards)}</div>" if any(cards) else ""


def _rollouts(lines: list[dict]) -> str:
    steps = sorted({line["step"] for line in lines})
    if not steps:
        return ""
    chosen = {steps[0], steps[len(steps) // 2], steps[-1]}
    rows = "".join(
        f"<tr><td>{line['step']}<td class=left>{esc(line['question'])}<td"
        f" class=left>{esc(line['completion'])}"
        f"<td class=left>{esc(', '.join(f'{name} {value:.2f}' for name, value in line['rewards'].items() if value is not None))}<td>{line['advantage']:+.2f}"
        for line in lines
        if line["step"] in chosen
    )
    head = (
        "<tr><th>step<th class=left>question<th class=left>completion<th class=left>rewards<th>advantage</tr>"
    )
    return f"<div class=wide><table>{head}{rows}</table></div>"


def _lines(path: Path) -> list[dict]:
    """Lines of a log that may be written to right now."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def reward_names(log: list[dict]) -> list[str]:
    """Rewards that occurred in any step."""
    keys = dict.fromkeys(key for row in log for key in row)
    return [key.split("/")[1] for key in keys if key.startswith("rewards/") and key.endswith("/mean")]


def sections(folder: Path) -> list[tuple[str, str]]:
    """(title, HTML) of a run's logs. Raises InputError where there are none."""
    try:
        log = read_log(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no reinforcement run (no readable log.jsonl)") from error
    if not log:
        raise InputError(f"{folder}: the log holds no step yet")
    names = reward_names(log)
    tables = []
    for name in names:
        means, spreads = _series(log, f"rewards/{name}/mean")[1], _series(log, f"rewards/{name}/std")[1]
        if means:
            cells = "".join(
                f"<td>{number(value)}"
                for series in (means, spreads)
                for value in (_ends(series) if series else (None, None))
            )
            tables.append(f"<tr><td>{esc(name)}{cells}")
    head = (
        "<tr><th>reward<th>mean, first tenth<th>mean, last tenth<th>spread, first tenth<th>spread, last"
        " tenth</tr>"
    )
    table = f"<div class=wide><table>{head}{''.join(tables)}</table></div>"
    rewards = _cards([_card(log, f"rewards/{name}/mean", f"{name}, mean") for name in names])
    defects = [
        key
        for key in dict.fromkeys(k for row in log for k in row)
        if key.startswith("parse/") and key != "parse/defective"
    ]
    tasks = [key for key in dict.fromkeys(k for row in log for k in row) if key.startswith("tasks/")]
    found = [
        (
            "Mean reward of the training batches",
            _cards([_card(log, "reward", "reward"), _card(log, "reward_std", "spread of the reward")]),
        ),
        ("Every reward", table + rewards),
        ("Reward by task", _cards([_card(log, key, key.split("/")[1]) for key in tasks])),
        ("Health of the run", _cards([_card(log, key, name) for key, name in HEALTH.items()])),
        (
            "What was wrong with completions, share of each defect",
            _cards([_card(log, key, key.split("/")[1]) for key in defects]),
        ),
    ]
    best = folder / "best.json"
    rows = []
    for file in sorted(
        folder.glob("evaluations/step-*/metrics.json"), key=lambda f: int(f.parent.name.split("-")[1])
    ):
        metrics = json.loads(file.read_text())
        rows.append(
            {"step": int(file.parent.name.split("-")[1]), **{name: m["value"] for name, m in metrics.items()}}
        )
    if rows:
        note = (
            f"<p class=note>kept in best/: step {json.loads(best.read_text())['step']}</p>"
            if best.exists()
            else ""
        )
        found.append(
            ("Evaluations", note + _cards([_card(rows, name, name) for name in rows[-1] if name != "step"]))
        )
    found.append(
        (
            "Completions of the first, middle and last step (all in rollouts.jsonl)",
            _rollouts(_lines(folder / "rollouts.jsonl")),
        )
    )
    return [section for section in found if section[1]]


def write_run_page(folder: str | Path) -> Path:
    """Write FOLDER/run.html."""
    folder = Path(folder)
    log = sections(folder)
    record = folder / "grpo.json"
    run = json.loads(record.read_text()) if record.exists() else {}
    settings = "".join(
        f"<tr><td>{esc(k)}<td class=left>{esc(v)}" for k, v in run.items() if v not in (None, {}, [], False)
    )
    if settings:
        log.append(("Configuration", f"<div class=wide><table>{settings}</table></div>"))
    subtitle = f"{run.get('model', folder)}, {read_log(folder)[-1]['step']} steps"
    return write_whole(folder / "run.html", page("Reinforcement fine-tuning", subtitle, log))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m rft.grpo.run_page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", help="folder of the run")
    print(write_run_page(parser.parse_args(arguments).run))
    return 0


if __name__ == "__main__":
    sys.exit(cli.guard(main))
