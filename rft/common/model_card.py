"""Model cards, made from what was recorded: of a curriculum's result, which the command below ships, and of a
reinforcement run's.

    python -m rft.common.model_card runs/tiny/model --bench runs/tiny/bench --out assets/tvad-tiny \
        --made-by "make tiny" --setting core
"""

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

from rft.common import stage_record
from rft.common.resume import told
from tvad.common import cli
from tvad.common.errors import InputError
from tvad.common.files import whole_folder
from tvad.common.places import public


def card(
    name: str,
    stages: list[dict],
    record: dict,
    metrics: dict,
    made_by: str,
    setting: str,
    start: str | None,
    parameters: int,
) -> str:
    """The card as Markdown. stages: records as `rft.common.stage_record` gives them; record, metrics: of the
    benchmark run; setting: of the scenes; start: the checkpoint that the first stage began with, None for
    random weights."""
    rows = []
    for metric, m in metrics.items():
        value = "--" if m["value"] is None else f"{m['value']:.3f}"
        interval = "--" if m["low"] is None else f"[{m['low']:.3f}, {m['high']:.3f}]"
        rows.append(f"| {metric} | {value} | {interval} | {m['n']} |")
    steps: list[str] = []
    changed: list[str] = []  # the table's settings are those of a stage's last step
    for record_of in stages:
        stage, optimiser = record_of["stage"], record_of["stage"]["optimiser"]
        last = [row["loss"] for row in record_of["history"] if "loss" in row][-1]
        steps.append(
            f"| {stage['name']} | {stage['data']['train']} | {', '.join(stage['trains'])} |"
            f" {record_of['steps']} x {optimiser['batch']} | {optimiser['lr']:g} | {last:.3f} |"
        )
        changed += [f"Stage {stage['name']}, {line}." for line in told(record_of, record_of["steps"])]
    versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
    return "\n".join(
        [
            "---",
            "license: apache-2.0",
            "pipeline_tag: video-text-to-text",
            "library_name: transformers",
            "---",
            "",
            f"# {name}",
            "",
            (
                f"T-VAD's architecture (arXiv 2511.00524) at {parameters / 1e6:.2f} M parameters, trained"
                f" from {f'`{start}`' if start else 'nothing'} on generated surveillance scenes"
            ),
            (
                f"(`tvad data scenes --setting {setting}`). It shows that the pieces work together; it knows"
                " nothing of real video."
            ),
            "",
            f"Made by `{made_by}` (seed {stages[0]['seed']}). Stages:",
            "",
            "| stage | data | trains | steps x batch | learning rate | last loss |",
            "|---|---|---|---|---|---|",
            *steps,
            "",
            *(line for text in changed for line in (text, "")),
            (
                f"Scores, greedy, on {record['videos']} unseen clips, {record['suite']['rate']:g} frames a"
                f" second, at most {record['suite']['max_frames']} (suite {record['suite']['name']},"
                f" {record['suite_hash']}); 95 % intervals over videos:"
            ),
            "",
            "| metric | value | interval | n |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Versions: {versions}.",
            "",
        ]
    )


def rft_card(run, out: Path, command: list[str]) -> str:
    """The card of a reinforcement run's result, from its configuration (`GrpoRun`) and logs: data, rewards,
    the last metrics, the command."""
    from bench.run_folder import versions
    from rft.common.run_log import RECORD, read_log, read_record, reward_names

    log = read_log(out)
    changed = told(read_record(out), log[-1]["step"]) if (out / RECORD).exists() else []
    values = {
        name: [row[f"rewards/{name}/mean"] for row in log if f"rewards/{name}/mean" in row]
        for name in reward_names(log)
    }
    rows = [f"| {name} | {found[0]:.3f} | {found[-1]:.3f} |" for name, found in values.items()]
    tasks = ", ".join(
        f"{name} {plan if isinstance(plan, (int, float)) else plan.get('share', 1)}"
        for name, plan in run.tasks.items()
    )
    settings = ", ".join(f"{key} {value}" for key, value in run.training.items())
    best = out / "best.json"
    method = "Reg-GRPO" if run.method == "reg_grpo" else "GRPO"
    adapted = f", LoRA {dataclasses.asdict(run.lora)}" if run.lora else ""
    evaluated = []
    if best.exists():
        kept = json.loads(best.read_text())
        evaluated = [
            "",
            (
                f"Best by {kept['metric']} on `{run.evaluate.suite}`: step {kept['step']},"
                f" {kept['value']:.3f} (`best/`)."
            ),
        ]
    return "\n".join(
        [
            "---",
            "pipeline_tag: video-text-to-text",
            "library_name: transformers",
            f"base_model: {public(run.model)}",
            "tags: [grpo, video]",
            "---",
            "",
            f"# {out.name}",
            "",
            (
                f"`{public(run.model)}` after {log[-1]['step']} steps of {method} (seed {run.seed}) on"
                f" `{public(run.data)}`."
            ),
            "",
            f"Tasks (shares of the prompts): {tasks}. Trains: {', '.join(run.trains)}{adapted}.",
            "",
            f"Training: {settings}.",
            "",
            *(["These are the settings of the last step. They changed in the run:", ""] if changed else []),
            *(f"- {line}" for line in changed),
            *([""] if changed else []),
            "| reward | first step | last step |",
            "|---|---|---|",
            *rows,
            *evaluated,
            "",
            f"Command: `{' '.join(public(word) for word in command)}`",
            "",
            "Versions: " + ", ".join(f"{k} {v}" for k, v in versions().items()) + ".",
            "",
        ]
    )


def ship(
    model: str,
    /,
    bench: str,
    out: Annotated[str, cli.FOLDER],
    made_by: str,
    setting: str,
    start: str | None = None,
) -> int:
    """Copy a trained checkpoint and write its model card.

    Args:
        model: Folder of the curriculum's result, beside its stages' folders.
        bench: A finished benchmark run of it.
        out: Folder of the shipped checkpoint, replaced as a whole.
        made_by: The command that made it.
        setting: Setting of the scenes that it was trained on.
        start: The checkpoint that the first stage began with; random weights without.
    """
    from safetensors import safe_open

    from bench.run_folder import open_run

    source, target = Path(model), Path(out)
    files = sorted(source.parent.glob("[0-9]*-*/model/stage.json"))
    if not files or not (source / "model.safetensors").is_file():
        raise InputError(f"{source}: no trained checkpoint with its stages beside it")
    record, _, metrics = open_run(bench)
    with safe_open(source / "model.safetensors", "pt") as tensors:
        parameters = sum(tensors.get_tensor(key).numel() for key in tensors.keys())  # noqa: SIM118
    with whole_folder(target) as temporary:
        shutil.copytree(source, temporary, ignore=shutil.ignore_patterns("stage.json"), dirs_exist_ok=True)
        stages = [stage_record.read_record(f) for f in files]
        text = card(target.name, stages, record, metrics, made_by, setting, start, parameters)
        (temporary / "README.md").write_text(text, encoding="utf-8")
    print(f"{target}: {sum(f.stat().st_size for f in target.iterdir()) / 1e6:.1f} MB")
    return 0


def main(arguments: list[str] | None = None) -> int:
    return cli.run("python -m rft.common.model_card", ship, __doc__ or "", arguments)


if __name__ == "__main__":
    sys.exit(cli.guard(main))
