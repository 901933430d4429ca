"""Does reinforcement fine-tuning beat supervised fine-tuning on the same prompts? VAU-R1's claim, tested on
open data, with ablations.

    python -m rft.studies.experiment --config configs/grpo/experiment.yaml                 all arms and seeds
    python -m rft.studies.experiment --config configs/grpo/experiment.yaml --seeds '[0]'   one seed

Every arm starts from the same checkpoint and sees the same prompts in the same order: `sft` learns their
references, presented once (`epochs` times), `grpo` draws answers to them and learns from rewards. All are
asked the same unseen clips, greedily and drawn, of known classes (closed set) and of classes that no stage
has seen (open set). A killed run continues.
"""

import json
import shutil
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from rft.grpo.config import GrpoRun
from rft.studies.common import RUNS, TASKS, give, in_process, interval, open_for, suites_on
from tvad.common import cli, config
from tvad.common.errors import InputError
from tvad.common.files import check_folder, write_whole

SHOWN = {
    "mcq.accuracy": "QA accuracy",
    "temporal.miou": "temporal mIoU",
    "temporal.r@0.5": "temporal R@0.5",
    "spatial.miou": "box IoU",
    "judgement.accuracy": "judgement",
    "temporal.false_alarm": "false alarms",
}
PRIMARY = ("mcq.accuracy", "temporal.miou", "spatial.miou", "judgement.accuracy")
START = "start"


@dataclass
class Arm:
    """One way of fine-tuning."""

    method: str = "grpo"
    """grpo or sft."""
    start: str | None = None
    """A checkpoint folder, where not the experiment's."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Keys of the GRPO configuration that differ (grpo)."""
    epochs: int = 1
    """How often each prompt's reference is presented (sft)."""
    against: str | None = None
    """The arm that this one is an ablation of; by default it is compared with the start and all sft arms."""


@dataclass
class Experiment:
    """Arms that are compared, seed by seed and together."""

    FOLDER: ClassVar[str] = "grpo"

    out: str
    """Folder of data, runs and the table."""
    grpo: str
    """A GRPO configuration, or the name of a shipped one; its model is the start."""
    arms: dict[str, Arm]
    """Name: arm."""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """One run of every arm for each."""
    sft_rates: list[float] = field(default_factory=lambda: [3e-5, 1.2e-4, 5e-4])
    """Learning rates of which the best on validation clips (first seed) is taken for all sft arms."""
    train_clips: int = 800
    """Generated clips of the training split."""
    test_clips: int = 120
    """Generated clips of the validation split and of each test split."""

    def grpo_run(self, arm: Arm, seed: int) -> GrpoRun:
        """The GRPO run of an arm and a seed."""
        given = [
            word
            for key, value in arm.overrides.items()
            for word in (f"--{key}", json.dumps(value, allow_nan=False))
        ]
        run = config.read(GrpoRun, self.grpo, given)
        return replace(
            run, model=arm.start or run.model, data=str(Path(self.out) / "data" / "train"), seed=seed
        )


def make_data(plan: Experiment) -> None:
    """Clips that no stage of the start has seen; the open-set test keeps only classes that it does not
    know."""
    from tvad.data import load, save
    from tvad.data.scenes.dataset import ScenesConfig, generate
    from tvad.data.scenes.script import CORE

    data = Path(plan.out) / "data"
    for split, clips in (("train", plan.train_clips), ("val", plan.test_clips), ("test", plan.test_clips)):
        generate(
            ScenesConfig(split=split, setting="core", clips=clips, seed=1, normal=0.35, max_crowd=2),
            data / split,
            workers=2,
        )
    # One class in four of the open test split is known from `core`: it is left out, so more are made than are
    # kept.
    samples = generate(
        ScenesConfig(
            split="test", setting="open", clips=plan.test_clips * 4 // 3, seed=1, normal=0.35, max_crowd=2
        ),
        data / "open",
        workers=2,
    )
    unknown = [s for s in samples if s.category not in CORE]
    if len(load(data / "open")) != len(unknown):
        save(unknown, data / "open")


def suites_of(plan: Experiment) -> dict[tuple[str, str], Any]:
    """(split, decoding) -> suite."""
    data = Path(plan.out) / "data"
    return {
        (split, name): suite
        for split in ("test", "open", "val")
        for name, suite in suites_on(data / split, TASKS).items()
    }


class Bench:
    """One engine for all checkpoints of a start: weights are exchanged, nothing is loaded twice."""

    def __init__(self, plan: Experiment, start: str):
        from transformers import AutoProcessor

        from tvad.model import TvadProcessor  # registers T-VAD with the Auto classes, too
        from tvad.model.start import opened_whole

        self.suites = suites_of(plan)
        self.processor: TvadProcessor = AutoProcessor.from_pretrained(start)
        run = replace(plan.grpo_run(Arm(), plan.seeds[0]), model=start)
        self.engine = open_for(run, opened_whole(start), self.processor)

    def measure(self, checkpoint: str | Path, out: Path, splits: tuple[str, ...] = ("test", "open")) -> None:
        """Runs of `checkpoint` on every split and decoding, where they are missing."""
        from bench.run import run

        wanted = [(key, out / f"{key[0]}-{key[1]}") for key in self.suites if key[0] in splits]
        if all((folder / "metrics.json").exists() for _, folder in wanted):
            return
        give(self.engine, checkpoint)
        for key, folder in wanted:
            run(self.engine, f"{self.engine.name}:{checkpoint}", self.suites[key], folder)


def prompts_file(plan: Experiment, arm: Arm, seed: int) -> Path:
    """The very questions that the GRPO arm of this seed asks, as a data set of one question a row."""
    from rft.grpo import mixture
    from tvad.data import load, save

    run = plan.grpo_run(replace(arm, overrides={}), seed)
    training = run.training
    count = (
        training["max_steps"]
        * training["per_device_train_batch_size"]
        * training.get("gradient_accumulation_steps", 1)
        // training["num_generations"]
    )
    samples = load(Path(plan.out) / "data" / "train")
    drawn = mixture.draw(samples, mixture.tasks_of(run.tasks), count, seed, run.topics)
    folder = Path(plan.out) / "data" / "train"
    temporary = folder / f"prompts-{seed}"
    rows = [
        replace(sample, id=f"{sample.id}-{n}", questions=(question,), dialogue=None)
        for n, (sample, question, _) in enumerate(drawn)
    ]
    written = save(rows, temporary)
    target = folder / f"prompts-{seed}.jsonl"
    written.replace(target)
    shutil.rmtree(temporary)
    return target


def train_sft(plan: Experiment, arm: Arm, seed: int, rate: float, out: Path, model, processor) -> Path:
    """Supervised fine-tuning on the prompts of `seed`; as many prompts a step as GRPO asks."""
    from rft.curriculum import stage as stages
    from rft.curriculum.config import Data, Optimiser, Selection, Stage

    run = plan.grpo_run(arm, seed)
    groups = run.training["per_device_train_batch_size"] // run.training["num_generations"]
    steps = run.training["max_steps"] * arm.epochs
    stage = Stage(
        name="sft",
        trains=run.trains,
        data=Data(str(prompts_file(plan, arm, seed))),
        optimiser=Optimiser(lr=rate, lr_floor=0.1, steps=steps, batch=groups),
        selection=Selection(save_steps=max(50, steps // 3)),
        options={"max_grad_norm": 0.5},
    )
    stages.run(stage, model, processor, out, seed, run.rate, run.max_frames, log=lambda text: None)
    return out / "model"


def best_rate(plan: Experiment, arm: Arm, start: str, bench: Bench) -> float:
    """The learning rate of the sft arms: the best of `sft_rates` on validation clips, by the sum of
    `PRIMARY`."""
    from tvad.model.start import opened_whole

    out = Path(plan.out) / "sft-rates"
    scores = {}
    for rate in plan.sft_rates:
        folder = out / f"{rate:g}"
        model = opened_whole(start, dtype="float32")
        checkpoint = train_sft(plan, arm, plan.seeds[0], rate, folder, model, bench.processor)
        bench.measure(checkpoint, folder, ("val",))
        metrics = json.loads((folder / "val-sampled" / "metrics.json").read_text())
        scores[rate] = sum(metrics[name]["value"] for name in PRIMARY)
    best = max(scores, key=lambda rate: scores[rate])
    write_whole(out / "rates.json", json.dumps({"scores": scores, "chosen": best}, indent=1, allow_nan=False))
    return best


def run_start(plan: Experiment, start: str) -> None:
    """All arms of one start, in one process."""
    from rft.grpo.train import train
    from tvad.model.start import opened_whole

    out = Path(plan.out)
    arms = {name: arm for name, arm in plan.arms.items() if start_of(plan, arm) == start}
    bench = Bench(plan, start)
    bench.measure(start, out / folder_of_start(plan, start))
    supervised = [arm for arm in arms.values() if arm.method == "sft"]
    rate = best_rate(plan, supervised[0], start, bench) if supervised else 0.0
    for seed in plan.seeds:
        for name, arm in arms.items():
            folder = out / f"{name}-{seed}"
            began = time.time()
            if not (folder / "model" / "config.json").exists():
                print(f"== {name}, seed {seed}", flush=True)
                if arm.method == "sft":
                    model = opened_whole(start, dtype="float32")
                    train_sft(plan, arm, seed, rate, folder, model, bench.processor)
                else:
                    give(bench.engine, start)
                    train(replace(plan.grpo_run(arm, seed), out=str(folder)), bench.engine)
                write_whole(folder / "seconds.json", json.dumps(time.time() - began, allow_nan=False))
            bench.measure(folder / "model", folder)


def start_of(plan: Experiment, arm: Arm) -> str:
    return plan.grpo_run(arm, 0).model


def folder_of_start(plan: Experiment, start: str) -> str:
    return START if start == plan.grpo_run(Arm(), 0).model else f"{START}-{Path(start).parent.name}"


def comparisons(plan: Experiment) -> list[tuple[str, str]]:
    """(before, after) arms of the table."""
    found = []
    for name, arm in plan.arms.items():
        if arm.against is not None:
            found.append((name, arm.against))  # what the full arm gains over its ablation
            found.append((folder_of_start(plan, start_of(plan, arm)), name))
        elif arm.method == "grpo":
            found += [
                (folder_of_start(plan, start_of(plan, arm)), name),
                *((other, name) for other, sft in plan.arms.items() if sft.method == "sft"),
            ]
        else:
            found.append((START, name))
    return found


def write_table(plan: Experiment) -> Path:
    """experiment.md and experiment.json: means over seeds, paired differences over seeds together (answers of
    seeds averaged by question, intervals over videos) and how many seeds by themselves say the same."""
    from bench.compare import compare
    from bench.run_folder import open_run

    out = Path(plan.out)

    def folders(name: str, kind: str) -> list[Path]:
        return (
            [out / name / kind]
            if name.startswith(START)
            else [out / f"{name}-{seed}" / kind for seed in plan.seeds]
        )

    lines, record = [], []
    for split, title in (("test", "closed set"), ("open", "open set")):
        for decoding in RUNS:
            kind = f"{split}-{decoding}"
            lines += [
                f"### {title}, {decoding}",
                "",
                "| arm | " + " | ".join(SHOWN.values()) + " |",
                "|---" * (len(SHOWN) + 1) + "|",
            ]
            starts = dict.fromkeys(
                [START, *(folder_of_start(plan, start_of(plan, arm)) for arm in plan.arms.values())]
            )
            for name in [*starts, *plan.arms]:
                metrics = [open_run(folder)[2] for folder in folders(name, kind)]
                cells = []
                for metric in SHOWN:
                    values = [
                        m[metric]["value"] for m in metrics if metric in m and m[metric]["value"] is not None
                    ]
                    cells.append("--" if not values else f"{sum(values) / len(values):.3f}")
                lines.append(f"| {name} | " + " | ".join(cells) + " |")
            lines += [
                "",
                (
                    "| from | to | metric | change | 95 % interval | verdict | seeds alone: better, same,"
                    " worse |"
                ),
                "|---" * 7 + "|",
            ]
            for before, after in comparisons(plan):
                together = {d.metric: d for d in compare(folders(before, kind), folders(after, kind))}
                alone = []
                for n in range(len(plan.seeds)):
                    one, other = (
                        f[n] if len(f) > 1 else f[0] for f in (folders(before, kind), folders(after, kind))
                    )
                    alone.append({d.metric: d.verdict for d in compare(one, other)})
                for metric, title_of in SHOWN.items():
                    if (d := together.get(metric)) is None or d.change.value is None:
                        continue
                    counts = [
                        sum(v.get(metric) == verdict for v in alone)
                        for verdict in ("better", "same", "worse")
                    ]
                    lines.append(
                        f"| {before} | {after} | {title_of} | {d.change.value:+.3f} | {interval(d.change)} |"
                        f" {d.verdict} | {', '.join(map(str, counts))} |"
                    )
                    record.append(
                        {
                            "split": split,
                            "decoding": decoding,
                            "before": before,
                            "after": after,
                            "metric": metric,
                            "change": d.change.row(),
                            "verdict": d.verdict,
                            "seeds": counts,
                        }
                    )
            lines.append("")
    seconds = {f.parent.name: json.loads(f.read_text()) for f in sorted(out.glob("*/seconds.json"))}
    lines.append(
        "Training time, minutes: " + ", ".join(f"{name} {value / 60:.1f}" for name, value in seconds.items())
    )
    write_whole(out / "experiment.json", json.dumps(record, indent=1, allow_nan=False))
    return write_whole(out / "experiment.md", "\n".join(lines) + "\n")


def check(plan: Experiment) -> None:
    """Raise InputError for an arm that cannot be run."""
    for name, arm in plan.arms.items():
        if arm.method not in ("grpo", "sft"):
            raise InputError(f"arms: {name}: method is {arm.method!r}, expected grpo or sft")
        if arm.against is not None and arm.against not in plan.arms:
            raise InputError(f"arms: {name}: against names {arm.against!r}, which is no arm")
        if not Path(start_of(plan, arm), "config.json").is_file():
            raise InputError(f"arms: {name}: {start_of(plan, arm)} is not a checkpoint folder")


def experiment(
    config: Annotated[Experiment, cli.FromFile("experiment")], only_start: str | None = None
) -> int:
    """Run every arm on every seed, write the table.

    Args:
        only_start: The arms of one start, without the table; the experiment calls itself so.
    """
    check(config)
    check_folder(config.out)
    if only_start:
        run_start(config, only_start)
        return 0
    make_data(config)
    for start in dict.fromkeys(start_of(config, arm) for arm in config.arms.values()):
        written = Path(config.out) / "experiment.yaml"
        write_whole(written, json.dumps(asdict(config), allow_nan=False))  # JSON is YAML
        command = ["-m", "rft.studies.experiment", "--config", str(written), "--only_start", start]
        in_process(command, f"the arms of {start}")
    table = write_table(config)
    print(table.read_text())
    print(f"written to {table}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    return cli.run("python -m rft.studies.experiment", experiment, __doc__ or "", arguments)


if __name__ == "__main__":
    sys.exit(cli.guard(main))
