"""A GRPO step with a rollout server that is late on purpose: one after the other (staleness 0) against drawn
while the step before trains (staleness 1), on the same prompts in one run.

    python tests/perf/late_server.py --groups 4 --steps 8

The server's answers are scripted: its time is spent asleep, so that one machine shows what two would.
"""

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/rft")]


def seconds(data: str, steps: int, groups: int, staleness: int, late: float) -> float:
    """Median seconds of the steps after the second."""
    from conftest import SHIPPED
    from grpo_runs import run_of
    from late_server import Late

    from rft.grpo.room import processor_of
    from rft.grpo.train import train

    with tempfile.TemporaryDirectory() as out:
        batch = {"per_device_train_batch_size": 8 * groups, "num_generations": 8, "save_strategy": "no"}
        run = run_of(data, SHIPPED, out, max_steps=steps, max_completion_length=40, **batch)
        run = replace(run, tasks={"mcq": 1}, topics=None, rewards={"format": 0.5, "answer": 1.0})
        run = replace(run, engine="server:http://late", staleness=staleness)
        engine = Late(processor_of(run))
        engine.slow = late
        train(run, engine)
        rows = [json.loads(line) for line in Path(out, "log.jsonl").read_text().splitlines()]
        return statistics.median(row["step_time"] for row in rows[2:] if "step_time" in row)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--groups", type=int, default=4, help="groups of 8 completions a step")
    parser.add_argument("--steps", type=int, default=8, help="of each run, at least 3")
    known = parser.parse_args()
    if known.steps < 3:
        parser.error("--steps: expected at least 3")

    from tvad.data.scenes.dataset import ScenesConfig, generate

    with tempfile.TemporaryDirectory() as data:
        generate(ScenesConfig(split="train", clips=24, seed=0, max_crowd=2), Path(data))
        own = seconds(data, known.steps, known.groups, 0, 0.0)
        rows = [
            "| server, s | trainer, s | larger | sum | staleness 0, s | staleness 1, s | ratio |",
            "|---" * 7 + "|",
        ]
        for part in (0.5, 1.0, 2.0):
            late = part * own
            one, other = (seconds(data, known.steps, known.groups, s, late) for s in (0, 1))
            told = (late, own, max(late, own), late + own, one, other, one / other)
            rows.append("| " + " | ".join(f"{value:.2f}" for value in told) + " |")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
