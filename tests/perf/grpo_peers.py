"""Seconds of a GRPO step beside peers, in one run: this project's trainer, TRL's own (frames as images),
ms-swift's (video), on one stock Qwen2.5-VL, the same clips, prompts, rewards and lengths.

    python tests/perf/grpo_peers.py --swift runs/peers/swift/bin/python --out runs/peers
    python tests/perf/grpo_peers.py --ways ours "trl, generate" --shape groups=2,size=32

Every way and shape is a process of its own, and one at a time makes a generation and the steps on it, in
turns, so that noise hits all alike. Threads that wait do not spin. Ratios are to the first way, turn by turn.
`make peers` makes the environment of ms-swift and runs the shapes of the measurement.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from tests.perf.peer_steps.turns import TASKS, TOPICS, Gate, Plan, Shape  # noqa: E402
from tvad.common.files import json_text, write_whole  # noqa: E402

WAYS = ("ours", "ours, compiled", "tvad", "trl, generate", "trl, vLLM", "swift")
QUIET = {
    **{"TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
    **{"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1"},
    **{"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"},
    **{"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1", "PYTHONWARNINGS": "ignore"},
}


def work(way: str, plan: Plan, gate: Gate) -> None:
    """What a worker's process does."""
    gate.wait()
    if way == "swift":
        from tests.perf.peer_steps import swift as worker
    elif way.startswith("trl"):
        from tests.perf.peer_steps import trl as worker
    else:
        from tests.perf.peer_steps import ours as worker
    worker.run(way, plan, gate)


class Worker:
    """A way's process, and the pipes to it. Raises EOFError where it has died."""

    def __init__(self, way: str, plan: Plan, python: str, files: ExitStack):
        (reads, self._give), (self._take, writes) = os.pipe(), os.pipe()
        self.log = Path(plan.out, f"{way.replace(', ', '-')}-{plan.number}.txt")
        log = files.enter_context(self.log.open("w"))
        told = json.dumps(dataclasses.asdict(plan))
        command = [python, __file__, "--worker", way, "--told", told, "--pipes", str(reads), str(writes)]
        self.process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=ROOT, env=os.environ | QUIET, pass_fds=(reads, writes)
        )
        files.callback(self.process.wait)
        files.callback(self.process.kill)
        os.close(reads), os.close(writes)
        self._reader = files.enter_context(os.fdopen(self._take))

    def turn(self) -> dict[str, float]:
        try:
            os.write(self._give, b"go\n")
        except BrokenPipeError:
            raise EOFError from None
        line = self._reader.readline()
        if not line:
            raise EOFError
        return json.loads(line)


def measured(plan: Plan, pythons: dict[str, str]) -> dict[str, list[dict]]:
    """Of every way the turns that count; one that dies has none, and is told of. pythons: of the ways."""
    with ExitStack() as files:
        workers = {way: Worker(way, plan, python, files) for way, python in pythons.items()}
        rows: dict[str, list[dict]] = {way: [] for way in workers}
        for turn in range(plan.warm + plan.turns):
            for way in list(workers):
                try:
                    rows[way].append(workers[way].turn())
                except EOFError:
                    log = workers.pop(way).log
                    print(f"{way}: ended in turn {turn} of {plan.shape}, see {log}", file=sys.stderr)
                    del rows[way]
    return {way: turns[plan.warm :] for way, turns in rows.items()}


def table(shape: Shape, rows: dict[str, list[dict]]) -> list[str]:
    """Lines of a Markdown table: medians over turns, and quartiles of the wall seconds."""
    lines = [
        f"\n{shape}\n",
        "| way | wall, s | quartiles | times the first | processor, s | times the first | clips | MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    first = next(iter(rows.values()), [])
    for way, turns in rows.items():
        cells = [way]
        for key in ("seconds", "processor"):
            values = [row[key] for row in turns]
            cells.append(f"{statistics.median(values):.2f}")
            if key == "seconds":
                low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
                cells.append(f"{low:.2f} to {high:.2f}")
            ratios = [mine[key] / theirs[key] for mine, theirs in zip(turns, first, strict=True)]
            cells.append(f"{statistics.median(ratios):.2f}")
        cells.append(f"{statistics.mean(row.get('clips', 0) for row in turns):.0f}")
        cells.append(f"{max(row['mib'] for row in turns):.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def prepared(known) -> list[Plan]:
    """A plan a shape; data and checkpoint are made where they are not there."""
    from stock_checkpoint import build_stock

    from rft.grpo import mixture
    from tvad.data import load
    from tvad.data.scenes.dataset import ScenesConfig, generate
    from tvad.model.start import start_from

    out = Path(known.out)
    out.mkdir(parents=True, exist_ok=True)
    stock, ours, data = out / "stock", out / "ours", out / "data"
    if not (stock / "config.json").exists():
        build_stock(stock)
    if not (ours / "config.json").exists():
        for part in start_from(str(stock), use_ahd=False, use_rae=False):
            part.save_pretrained(ours)
    if not (data / "samples.jsonl").exists():
        generate(ScenesConfig(setting="core", clips=48, seed=11, normal=0.35, max_crowd=2, frames=64), data)
    shapes = [Shape.of(text) for text in known.shape or [""]]
    plans = []
    for number, shape in enumerate(shapes):
        plan = Plan(
            *(str(out.resolve()), str(ROOT / "assets/tvad-tiny")), number, shape, known.turns, known.warm
        )
        count = (plan.warm + plan.turns) * shape.groups
        rows = mixture.rows(load(data), mixture.tasks_of(TASKS), count, 0, TOPICS)
        plan.prompts.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        plans.append(plan)
    return plans


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=[w for w in WAYS if w != "swift"])
    parser.add_argument("--shape", action="append", help="KEY=NUMBER,… of groups, size, tokens, frames, …")
    parser.add_argument("--turns", type=int, default=8, help="of each shape and way, that count")
    parser.add_argument("--warm", type=int, default=2, help="turns before them")
    parser.add_argument("--swift", help="python of an environment with ms-swift; adds the way swift")
    parser.add_argument("--out", default="runs/peers")
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--told", help=argparse.SUPPRESS)
    parser.add_argument("--pipes", type=int, nargs=2, help=argparse.SUPPRESS)
    known = parser.parse_args()
    if known.worker:
        plan = Plan.read(known.told)
        work(known.worker, plan, Gate(*known.pipes, plan.shape))
        return 0
    plans, record = prepared(known), []
    pythons = dict.fromkeys(known.ways, sys.executable) | ({"swift": known.swift} if known.swift else {})
    for plan in plans:
        found = measured(plan, pythons)
        print("\n".join(table(plan.shape, found)), flush=True)
        record.append({"shape": dataclasses.asdict(plan.shape), "turns": found})
        write_whole(Path(known.out, "peers.json"), json_text(record, "peers.json"))
    return 0 if all(len(row["turns"]) == len(pythons) for row in record) else 1


if __name__ == "__main__":
    sys.exit(main())
