"""The main job on one command: benchmark the shipped tiny T-VAD, improve it by GRPO on videos it has not
seen, benchmark it again.

    python -m rft.studies.demo --out runs/demo                 what `make demo` runs
    python -m rft.studies.demo --out runs/demo-1 --seed 1      another seed

Everything is the real thing, only small: mp4 files, TRL's GRPO, vLLM rollouts, the benchmark's paired
intervals. A killed demo goes on where it stopped.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from rft.grpo.config import GrpoRun
from rft.studies.common import RUNS, TASKS, give, open_for, suites_on
from rft.studies.gain import reward_difference
from tvad.common import cli
from tvad.common.config import build
from tvad.common.files import write_whole
from tvad.common.quiet import quiet


def verdict(sampled: list, greedy: list) -> str:
    """What the tables say, in words, the bad with the good."""

    def names(rows, what):
        return [d.metric for d in rows if d.verdict == what]

    lines = []
    for title, rows in (("sampled", sampled), ("greedy", greedy)):
        better, worse = names(rows, "better"), names(rows, "worse")
        lines.append(
            f"{title}: better beyond chance: {', '.join(better) or 'nothing'}; worse:"
            f" {', '.join(worse) or 'nothing'}"
        )
    if not names(greedy, "better"):
        lines.append(
            "greedy answers did not improve beyond chance in this short run; docs/measurements.md"
            " has a longer one"
        )
    return "\n".join(lines)


def write_report(out: Path, tables: dict[str, list], words: str, run, seconds: float) -> Path:
    """Write OUT/report.html: what changed, the training, and the run after it."""
    from bench.pages import Section, render
    from bench.report import run_sections
    from rft.common.run_log import read_log
    from rft.grpo.run_page import sections as of_training

    titles = {
        "sampled": "Sampled answers (mean of 4, temperature 1): before and after",
        "greedy": "Greedy answers: before and after",
    }
    sections = [
        Section("In words", "words.html", {"lines": words.splitlines()}),
        *(Section(title, "differences.html", {"rows": tables[name]}) for name, title in titles.items()),
        *of_training(out / "grpo"),
        *(replace(s, title=f"After, greedy: {s.title}") for s in run_sections(out / "after-greedy")),
    ]
    subtitle = (
        f"GRPO on {run.model}, seed {run.seed}, {read_log(out / 'grpo')[-1]['step']} steps,"
        f" {seconds / 60:.1f} minutes in all"
    )
    title = "Reinforcement fine-tuning of the tiny T-VAD"
    return write_whole(out / "report.html", render(title, subtitle, sections))


def demo(run: GrpoRun, out: Path, train_clips: int = 800, test_clips: int = 120) -> dict[str, list]:
    """Run everything into `out`; returns the difference tables."""
    from tvad.data.scenes.dataset import ScenesConfig, generate

    started = time.time()
    print(f"clips: {train_clips} to learn from, {test_clips} to be measured on", flush=True)
    for split, clips in (("train", train_clips), ("test", test_clips)):
        # Seed 1: none of these clips was among those that made the checkpoint (seed 0).
        generate(
            ScenesConfig(split=split, setting="core", clips=clips, seed=1, normal=0.35, max_crowd=2),
            out / "data" / split,
            workers=2,
        )

    from transformers import AutoProcessor

    from bench import suite as suites
    from bench.compare import compare, table
    from bench.run import run as run_suite
    from rft.grpo.train import train
    from tvad.model.start import opened_whole

    plans = suites_on(out / "data" / "test", TASKS)
    plans["greedy"] = replace(plans["greedy"], tasks=[*TASKS, "heatmap"])
    model = opened_whole(run.model)
    engine = open_for(run, model, AutoProcessor.from_pretrained(run.model))
    print(f"before: answers of {run.model}", flush=True)
    for name, plan in plans.items():
        run_suite(engine, f"{engine.name}:{run.model}", plan, out / f"before-{name}")
    steps = run.training.get("max_steps", "all")
    print(f"GRPO: {steps} steps, a page about them in {out / 'grpo' / 'run.html'}", flush=True)
    train(run, engine)
    print("after: answers to the same questions", flush=True)
    give(engine, out / "grpo" / "model")
    for name, plan in plans.items():
        run_suite(engine, f"{engine.name}:{out / 'grpo' / 'model'}", plan, out / f"after-{name}")

    _, items = suites.load(plans["greedy"])
    tables = {}
    for name in RUNS:
        before, after = out / f"before-{name}", out / f"after-{name}"
        tables[name] = [reward_difference(before, after, items, run), *compare(before, after)]
        print(
            f"\n{name} answers{' (mean of 4 at temperature 1)' if name == 'sampled' else ''},"
            " intervals over videos"
        )
        print(table(tables[name]))
    words = verdict(tables["sampled"], tables["greedy"])
    seconds = time.time() - started
    report = write_report(out, tables, words, run, seconds)
    print(
        f"\n{words}\n{seconds / 60:.1f} minutes; report: {report}; rollouts:"
        f" {out / 'grpo' / 'rollouts.jsonl'}"
    )
    return tables


def command(
    config: Annotated[dict[str, Any], cli.FromFile("demo", GrpoRun, owned=("out", "data", "seed"))],
    out: Annotated[str, cli.FOLDER] = "runs/demo",
    seed: int = 0,
    train_clips: int = 800,
    test_clips: int = 120,
) -> int:
    """Benchmark, fine-tune, benchmark again.

    Args:
        out: Folder for data, runs and report.
        seed: Of the run.
        train_clips: Generated clips to learn from.
        test_clips: Generated clips to be measured on.
    """
    folder = Path(out)
    own = {"out": str(folder / "grpo"), "data": str(folder / "data" / "train"), "seed": seed}
    run = build(GrpoRun, config | own, "--config")
    demo(run, folder, train_clips, test_clips)
    return 0


def main(arguments: list[str] | None = None) -> int:
    quiet()
    return cli.run("python -m rft.studies.demo", command, __doc__ or "", arguments)


if __name__ == "__main__":
    sys.exit(cli.guard(main))
