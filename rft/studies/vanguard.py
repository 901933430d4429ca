"""VANGUARD's claims as one command, on generated scenes: stages against all losses at once, classification
alone against classification with reasoning, with and without T-VAD's AHD and RAE.

    python -m rft.studies.vanguard --config vanguard/study

Every variant is a shipped curriculum, trained once a seed; all answer the same suites. The table has every
seed's value with its interval over videos, and every variant against the first, seed by seed. A killed run
continues.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from rft.curriculum.config import Curriculum
from rft.studies.common import in_process, interval, trained
from tvad.common import cli, config
from tvad.common.errors import InputError
from tvad.common.files import made, write_whole

COLUMNS = (
    "heatmap.micro_auc",
    "heatmap.micro_ap",
    "threshold.video.auc",
    "threshold.video.f1",
    "threshold.video.precision",
    "threshold.video.recall",
    "threshold.video.precision_normal",
    "threshold.video.recall_normal",
    "judgement.sensitivity",
    "judgement.specificity",
    "judgement.balanced_accuracy",
    "classification.accuracy",
    "mcq.accuracy",
    "spatial.miou",
    "spatial.parse_failure",
    "temporal.miou",
)


@dataclass
class Study:
    """Which curricula are compared, and on what."""

    FOLDER: ClassVar[str] = "stage"

    out: str
    """Folder of the runs and of the table."""
    variants: dict[str, str]
    """Name -> curriculum; the first is what the others are compared with."""
    tests: dict[str, str]
    """Name -> data set folder that `suite` is asked of: held-out scenes, other classes, real videos."""
    validation: str
    """Data set folder on which the thresholds of F1 are chosen."""
    suite: str
    """A benchmark configuration with frame scores."""
    engine: str = "hf"
    """Who answers it; VANGUARD's classifier needs hf."""
    train: str | None = None
    """Data set folder that the stages learn from, and `validation` the one that they watch, in place of the
    curricula's own: other classes, other cameras."""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """One run of all variants for each."""


def folder_of(out: Path, variant: str, seed: int) -> Path:
    return out / f"{variant}-{seed}"


def curriculum_of(plan: Study, variant: str, seed: int) -> Curriculum:
    """What a variant is with a seed, on the study's data."""
    found = config.read(Curriculum, plan.variants[variant], [])
    stages = found.stages
    if plan.train is not None:
        stages = [
            dataclasses.replace(
                stage,
                data=dataclasses.replace(stage.data, train=plan.train, validation=plan.validation),
            )
            for stage in stages
        ]
    return dataclasses.replace(
        found, out=str(folder_of(Path(plan.out), variant, seed)), seed=seed, stages=stages
    )


def run(plan: Study) -> Path:
    """Train and measure what is missing; write vanguard.md and vanguard.json and return the former. Raises
    InputError for a test on the videos on which thresholds are chosen."""
    for test, data in plan.tests.items():
        if Path(data).resolve() == Path(plan.validation).resolve():
            raise InputError(f"tests.{test}: {data} is `validation`; a threshold has to be chosen on others")
    out = made(plan.out)
    for seed in plan.seeds:
        for variant in plan.variants:
            target = folder_of(out, variant, seed)
            trained(f"{variant}, seed {seed}", curriculum_of(plan, variant, seed))
            for test, data in {"validation": plan.validation, **plan.tests}.items():
                folder = target / test
                if (folder / "metrics.json").exists():
                    continue
                asked = ["--model", f"{plan.engine}:{target / 'model'}", "--suite", plan.suite]
                tasks = ["--tasks", '["heatmap"]'] if test == "validation" else []
                told = [*asked, "--data", data, *tasks, "--out", str(folder)]
                in_process(["-m", "bench", "run", *told], f"bench run {' '.join(told)}")
    return write_table(plan)


def _measured(folder: Path, validation: Path) -> dict[str, tuple[float | None, str]]:
    """{column: value, its interval} of a run, frame scores at the validation run's thresholds. Raises
    InputError for one that cannot be carried."""
    from bench import threshold
    from bench.run_folder import open_run

    threshold.check_alike(str(folder), str(validation))
    metrics = open_run(folder)[2]
    rows = {name: (row["value"], row.get("low"), row.get("high")) for name, row in metrics.items()}
    carried = threshold.figures(
        threshold.read(str(folder)), threshold.thresholds(threshold.read(str(validation)))
    )
    rows |= {f"threshold.{name}": (value.value, value.low, value.high) for name, value in carried.items()}
    return {
        name: (value, "" if low is None else f" [{low:.3f}, {high:.3f}]")
        for name, (value, low, high) in rows.items()
        if name in COLUMNS
    }


def write_table(plan: Study) -> Path:
    """Every seed's values with intervals over videos, and the differences from the first variant."""
    from bench.compare import compare

    out, names = Path(plan.out), [*plan.variants]
    lines: list[str] = []
    record: dict = {"values": {}, "differences": []}
    for test in plan.tests:
        lines += [f"## {test}", "", "| figure | seed | " + " | ".join(names) + " |"]
        lines.append("|---" * (len(names) + 2) + "|")
        found = {
            (name, seed): _measured(
                folder_of(out, name, seed) / test, folder_of(out, name, seed) / "validation"
            )
            for name in names
            for seed in plan.seeds
        }
        for column in COLUMNS:
            if not any(column in row for row in found.values()):
                continue
            for seed in plan.seeds:
                cells = []
                for name in names:
                    value, bounds = found[name, seed].get(column, (None, ""))
                    cells.append("--" if value is None else f"{value:.3f}{bounds}")
                    record["values"].setdefault(test, {}).setdefault(column, {}).setdefault(name, []).append(
                        value
                    )
                lines.append(f"| {column} | {seed} | " + " | ".join(cells) + " |")
        lines += ["", f"Against {names[0]}, paired over videos, 95 % intervals:", ""]
        lines += ["| variant | seed | metric | change | interval | verdict |", "|---" * 6 + "|"]
        for name in names[1:]:
            for seed in plan.seeds:
                before, after = (folder_of(out, each, seed) / test for each in (names[0], name))
                for d in compare(before, after):
                    if d.metric in COLUMNS and d.change.value is not None:
                        lines.append(
                            f"| {name} | {seed} | {d.metric} | {d.change.value:+.3f} | {interval(d.change)} |"
                            f" {d.verdict} |"
                        )
                        record["differences"].append([test, name, seed, d.metric, d.change.value, d.verdict])
        lines.append("")
    target = out / "vanguard.md"
    write_whole(out / "vanguard.json", json.dumps(record, indent=1, allow_nan=False))
    write_whole(target, "\n".join(lines))
    print("\n".join(lines))
    return target


def study(config: Annotated[Study, cli.FromFile("vanguard/study")]) -> int:
    """Train and measure every variant, write the table."""
    print(f"written to {run(config)}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    return cli.run("python -m rft.studies.vanguard", study, __doc__ or "", arguments)


if __name__ == "__main__":
    sys.exit(cli.guard(main))
