"""The paper's ablation table as one command: without AHD, without RAE, without both, and the full T-VAD, on
one backbone.

    python -m rft.studies.ablation --config configs/stage/ablation.yaml

The backbone is trained once, without AHD and RAE, or taken as it is published where its curriculum has no
stages; every variant starts from it, goes through the same stages with what it has, and answers the same
suite. Metrics that a variant cannot have print as "--". A killed run continues.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from rft.curriculum.config import Curriculum, Stage
from rft.studies.common import in_process, interval, trained
from tvad.common import cli
from tvad.common.files import check_folder, made, write_whole

VARIANTS = {
    "without AHD and RAE": {"use_ahd": False, "use_rae": False},
    "without AHD": {"use_ahd": False, "use_rae": True},
    "without RAE": {"use_ahd": True, "use_rae": False},
    "T-VAD": {"use_ahd": True, "use_rae": True},
}
FULL = "T-VAD"
COLUMNS = {
    "heatmap.micro_auc": "micro AUC",
    "heatmap.macro_auc": "macro AUC",
    "heatmap.pixel_auc": "pixel AUC",
    "heatmap.rbdc": "RBDC",
    "heatmap.tbdc": "TBDC",
    "dialogue.target_bleu4": "target",
    "dialogue.trajectory_bleu4": "trajectory",
    "dialogue.yes_no": "yes/no",
    "mcq.accuracy": "QA",
    "temporal.miou": "time mIoU",
    "spatial.miou": "box mIoU",
}


@dataclass
class Ablation:
    """Which stages every variant goes through, and what all are measured on."""

    FOLDER: ClassVar[str] = "stage"

    out: str
    """Folder of the variants' runs and of the table."""
    backbone: Curriculum
    """The curriculum before the variants part, trained without RAE (its own `out` and `start`). Without
    stages the variants begin with its start; its other keys are theirs."""
    stages: list[Stage]
    """What every variant goes through."""
    suite: str
    """A benchmark configuration."""
    engine: str = "vllm"
    """Who answers it: hf or vllm."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """One run of all variants for each."""


def folder_of(out: Path, variant: str, seed: int) -> Path:
    return out / f"{variant.replace(' ', '-').lower()}-{seed}"


def run(plan: Ablation) -> Path:
    """Train and measure what is missing; write ablation.md, ablation.json and return the former."""
    out = made(plan.out)
    start = plan.backbone.start
    if plan.backbone.stages:
        check_folder(plan.backbone.out)
        trained("backbone", plan.backbone)
        start = str(Path(plan.backbone.out) / "model")
    for seed in plan.seeds:
        for variant, switches in VARIANTS.items():
            curriculum = dataclasses.replace(
                plan.backbone,
                out=str(folder_of(out, variant, seed)),
                start=start,
                stages=plan.stages,
                seed=seed,
                use_ahd=switches["use_ahd"],
                use_rae=switches["use_rae"],
            )
            trained(f"{variant}, seed {seed}", curriculum)
            target = Path(curriculum.out)
            if not (target / "bench" / "metrics.json").exists():
                model = f"{plan.engine}:{target / 'model'}"
                asked = ["--model", model, "--suite", plan.suite, "--out", str(target / "bench")]
                in_process(["-m", "bench", "run", *asked], f"bench run --model {model}")
    return write_table(plan)


def _cell(values: list[float | None]) -> str:
    known = [v for v in values if v is not None]
    return "--" if not known else f"{100 * sum(known) / len(known):.1f}"


def parameters_of(plan: Ablation, variant: str) -> int:
    """Parameters of a variant's model, as its configuration gives them."""
    from transformers import AutoConfig

    from tvad.model import count_parameters

    model = folder_of(Path(plan.out), variant, plan.seeds[0]) / "model"
    return count_parameters(AutoConfig.from_pretrained(model))["total"]


def write_table(plan: Ablation) -> Path:
    """The table (percent, mean over seeds; millions of parameters) and the paired differences of the full
    model from each ablation, seed by seed."""
    from bench.compare import compare
    from bench.run_folder import open_run

    out = Path(plan.out)
    head = [*COLUMNS.values(), "parameters"]
    lines = ["| variant | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    record: dict = {"rows": {}, "parameters": {}, "differences": {}}
    for variant in VARIANTS:
        metrics = [open_run(folder_of(out, variant, seed) / "bench")[2] for seed in plan.seeds]
        row = {column: [m.get(column, {}).get("value") for m in metrics] for column in COLUMNS}
        record["rows"][variant] = row
        count = record["parameters"][variant] = parameters_of(plan, variant)
        cells = [*map(_cell, row.values()), f"{count / 1e6:.2f} M"]
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    lines += ["", "T-VAD minus each ablation, paired over videos, 95 % intervals:", ""]
    lines += [
        "| against | seed | metric | ablation | T-VAD | change | interval | verdict |",
        "|---" * 8 + "|",
    ]
    for variant in [v for v in VARIANTS if v != FULL]:
        for seed in plan.seeds:
            found = compare(folder_of(out, variant, seed) / "bench", folder_of(out, FULL, seed) / "bench")
            for d in found:
                if d.metric in COLUMNS:
                    lines.append(
                        f"| {variant} | {seed} | {d.metric} | {d.before:.3f} | {d.after:.3f} |"
                        f" {d.change.value:+.3f} | {interval(d.change)} | {d.verdict} |"
                    )
                    record["differences"].setdefault(variant, {}).setdefault(d.metric, []).append(
                        [d.change.value, d.change.low, d.change.high, d.verdict]
                    )
    target = out / "ablation.md"
    write_whole(out / "ablation.json", json.dumps(record, indent=1, allow_nan=False))
    write_whole(target, "\n".join(lines) + "\n")
    print("\n".join(lines))
    return target


def ablate(config: Annotated[Ablation, cli.FromFile("ablation")]) -> int:
    """Train and measure every variant, write the table."""
    for stage in [*config.backbone.stages, *config.stages]:
        stage.check()
    print(f"written to {run(config)}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    return cli.run("python -m rft.studies.ablation", ablate, __doc__ or "", arguments)


if __name__ == "__main__":
    sys.exit(cli.guard(main))
