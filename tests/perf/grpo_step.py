"""A GRPO step and its parts, two ways of each on the same prompts in one run: one encoding per group against
one per completion, vLLM against generate, in this process against vLLM's own server on loopback.

    python tests/perf/grpo_step.py             # the shipped checkpoint: 16 groups of 8, all ways in turn
    python tests/perf/grpo_step.py --ways fast plain --rounds 6

The ways take turns, so that a noisy machine disturbs all alike; in each turn the second of two steps counts.
"""

import argparse
import contextlib
import copy
import dataclasses
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

WAYS = {  # engine, once per group
    "fast": ("vllm", True),
    "vllm, per completion": ("vllm", False),
    "generate, per group": ("transformers", True),
    "plain": ("transformers", False),
    "features": ("vllm", True),  # kept, in a folder that is empty at first: one tower for both
    "server": ("server", True),  # vLLM's own, on the same cores
}
PARTS = ("decode", "rollout", "encode", "log-probs", "update", "rest")


class Clock:
    """Seconds by part; a part that runs inside another is counted once, in its own."""

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside: list[float] = []

    def wrap(self, owner, method: str, part: str) -> None:
        inner = getattr(owner, method)

        def timed(*args, **kwargs):
            self._inside.append(0.0)
            began = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                took = time.perf_counter() - began
                self.seconds[part] += took - self._inside.pop()
                if self._inside:
                    self._inside[-1] += took

        setattr(owner, method, timed)


def trainer_of(way: str, known, data: str, folder: str, engine, address: str, turn: int):
    """A trainer of one way, for two steps on the prompts of a turn. address: of the server."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor, PrinterCallback

    import tvad.model  # noqa: F401
    from bench.models.hf import HfModel
    from rft.common.trainable import select_trainable
    from rft.grpo import mixture
    from rft.grpo.config import GrpoRun, settings_of
    from rft.grpo.features import FeatureCache
    from rft.grpo.servers import RolloutServers
    from rft.grpo.train import train_set
    from rft.grpo.video_grpo import VideoGRPOTrainer
    from rft.rewards.mix import rewards_of
    from tvad.common import config
    from tvad.data import load
    from tvad.data.dataset import ClipStore

    path = str(ROOT / "configs/grpo/demo.yaml")
    run = config.build(GrpoRun, config.read_yaml(path), path)
    training = run.training | {
        "max_steps": 2,
        "per_device_train_batch_size": known.groups * known.group_size,
        "num_generations": known.group_size,
        "save_strategy": "no",
        "max_completion_length": known.tokens,
        "learning_rate": 1e-6,
    }
    run = dataclasses.replace(run, model=known.model, out=folder, training=training)
    tasks = mixture.tasks_of(run.tasks)
    functions, weights = rewards_of(run.rewards, {name: task.rewards for name, task in tasks.items()})
    torch.manual_seed(0)
    model, processor = (
        AutoModelForImageTextToText.from_pretrained(known.model, dtype="float32"),
        AutoProcessor.from_pretrained(known.model),
    )
    select_trainable(model, run.trains)
    kind, once = WAYS[way]
    # Its own, to be timed; what it stands for is shared.
    engine = RolloutServers(address, processor) if kind == "server" else copy.copy(engine)
    if kind == "transformers":
        engine = HfModel(model, processor)
        if not once:
            together = engine.sample

            def one_by_one(requests, sampling):
                """Every completion its own request, which encodes the clip and computes the prompt again."""
                found = together(
                    [r for r in requests for _ in range(sampling.n)], dataclasses.replace(sampling, n=1)
                )
                return [
                    [c for group in found[i : i + sampling.n] for c in group]
                    for i in range(0, len(found), sampling.n)
                ]

            engine.sample = one_by_one
    rows = mixture.rows(load(data), tasks, known.groups * 2, turn, run.topics)
    trainer = VideoGRPOTrainer(
        model=model,
        reward_funcs=functions,
        args=settings_of(run, weights),
        train_dataset=train_set(rows),
        processing_class=processor,
        engine=engine,
        store=ClipStore(run.rate, run.max_frames, max_bytes=0),
        once_per_group=once,
        features=FeatureCache(tempfile.mkdtemp(dir=folder), 1.0, "tower") if way == "features" else None,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


@contextlib.contextmanager
def served(model: str, sequences: int, folder: str) -> Iterator[str]:
    """The address of vLLM's server for rollouts, for as long as the block lasts."""
    from ports import free_port, until_up

    log, address = Path(folder, "server.txt"), f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "tvad", "serve", "--rollouts", "--model", model, "--port", str(port)]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "--max-num-seqs", str(sequences)],
            stdout=out,
            stderr=out,
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        until_up(process, f"{address}/health", log)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the engine outlives its server
        process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="assets/tvad-tiny")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--groups", type=int, default=16)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=56, help="of a completion, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--frames", type=int, default=16, help="of a generated clip; the model sees every second"
    )
    known = parser.parse_args()
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    import torch
    from transformers import TrainerCallback

    from bench.models.vllm import VllmModel
    from tvad.data.scenes.dataset import ScenesConfig, generate

    class Steps(TrainerCallback):
        """Seconds of every step and its parts."""

        def __init__(self, clock: Clock):
            self.clock, self.rows = clock, []

        def on_step_begin(self, args, state, control, **kwargs):
            self.clock.seconds.clear()
            self.began = time.perf_counter()

        def on_step_end(self, args, state, control, **kwargs):
            self.rows.append({"step": time.perf_counter() - self.began, **self.clock.seconds})

    measured: dict[str, list[dict]] = {way: [] for way in known.ways}
    sequences = known.groups * known.group_size
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as open_until:
        generate(
            ScenesConfig(
                setting="core", clips=known.groups * 4, seed=11, normal=0.35, max_crowd=2, frames=known.frames
            ),
            f"{folder}/data",
        )
        vllm = (
            VllmModel(known.model, max_num_seqs=sequences)
            if any(WAYS[w][0] == "vllm" for w in known.ways)
            else None
        )
        address = (
            open_until.enter_context(served(known.model, sequences, folder)) if "server" in known.ways else ""
        )
        for turn in range(known.rounds):
            for way in known.ways:
                Path(folder, "out").mkdir(exist_ok=True)
                trainer = trainer_of(way, known, f"{folder}/data", f"{folder}/out", vllm, address, turn)
                clock = Clock()
                steps = Steps(clock)
                trainer.add_callback(steps)
                clock.wrap(trainer.store, "decode", "decode")
                clock.wrap(trainer.engine, "sample", "rollout")
                clock.wrap(trainer, "sync_weights", "update")
                clock.wrap(trainer.model.model, "see_clips", "encode")
                clock.wrap(trainer, "_get_per_token_logps_and_entropies", "log-probs")
                clock.wrap(trainer.accelerator, "backward", "update")
                trainer.train()
                measured[way].append(steps.rows[-1])
    print(
        f"{torch.get_num_threads()} threads, {known.groups} groups of {known.group_size}, at most"
        f" {known.tokens} tokens; seconds, medians of {known.rounds}"
    )
    print(f"{'way':24s} {'step':>7s} " + " ".join(f"{part:>9s}" for part in PARTS))
    totals = {}
    for way, rows in measured.items():
        totals[way] = statistics.median(row["step"] for row in rows)
        parts = {part: statistics.median(row.get(part, 0.0) for row in rows) for part in PARTS[:-1]}
        parts["rest"] = max(0.0, totals[way] - sum(parts.values()))
        print(f"{way:24s} {totals[way]:7.2f} " + " ".join(f"{parts[part]:9.3f}" for part in PARTS))
    for way, total in totals.items():
        if way != "fast" and "fast" in totals:
            print(f"whole step, {way} / fast = {total / totals['fast']:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
