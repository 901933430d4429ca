"""What watches over a reinforcement run: warnings, early stop on collapse, evaluation by the benchmark, an
orderly end on SIGTERM."""

import json
import shutil
import signal
import threading
from collections import deque
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather
from tqdm import tqdm
from transformers import TrainerCallback

from rft.grpo.config import Evaluate, Watch
from tvad.common.errors import InputError
from tvad.common.files import write_whole


class CollapseStop(TrainerCallback):
    """Warns and stops by `Watch`: no group with signal, no entropy left, or completions that do not end, for
    `patience` steps in a row. `reason` says why it stopped; `train` then raises Stopped, exit status 3."""

    def __init__(self, watch: Watch):
        self.watch, self.reason = watch, ""
        self._rows: deque[dict[str, Any]] = deque(maxlen=watch.patience)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not logs or "reward" not in logs:
            return
        # Between what was drawn ahead and the trainer lies training, too.
        if not logs.get("staleness/age") and (gap := logs.get("sampler_gap/mean", 0.0)) > self.watch.gap:
            tqdm.write(
                f"WARNING: step {state.global_step}: trainer and sampler disagree by {gap:.3g} nats a token"
                f" (more than {self.watch.gap:g})"
            )
        self._rows.append(logs)
        if len(self._rows) < self.watch.patience:
            return

        # A collapse lasts: one good step in `patience`, or a step without the figure, and it is none.
        def always(name: str, wrong) -> bool:
            values = [row.get(name) for row in self._rows]
            return all(v is not None and wrong(v) for v in values)

        reasons = {
            "no group of completions has differing rewards": always(
                "frac_reward_zero_std", lambda v: v > self.watch.flat
            ),
            f"entropy is below {self.watch.entropy:g} nats": always(
                "entropy", lambda v: v < self.watch.entropy
            ),
            "completions do not end": always("completions/clipped_ratio", lambda v: v > self.watch.clipped),
        }
        for reason, holds in reasons.items():
            if holds and not self.reason:
                self.reason = f"{reason}, for {self.watch.patience} steps up to step {state.global_step}"
                tqdm.write(f"WARNING: stopping: {self.reason}")
                control.should_save = control.should_training_stop = True


class Terminator(TrainerCallback):
    """On SIGTERM: finish the step, write a checkpoint, stop, all processes behind the same one. `caught` says
    that it happened. A context manager: handlers are restored."""

    def __init__(self):
        self.caught = False

    def __enter__(self):
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *error):
        if self._main:
            signal.signal(signal.SIGTERM, self._before)

    # Only noted: a checkpoint out of the middle of a step would not be one that a run can go on from.
    def _note(self, number, frame):
        self.caught = True

    def on_step_end(self, args, state, control, **kwargs):
        if args.world_size > 1:  # the signal reaches processes at different moments, some behind this step
            self.caught = bool(gather(torch.tensor([int(self.caught)], device=args.device)).any())
        if self.caught:
            control.should_save = control.should_training_stop = True


class BenchEvaluation(TrainerCallback):
    """Runs the benchmark with the rollout engine every so many steps; the best weights by the named metric go
    to `out`/best."""

    def __init__(self, plan: Evaluate, out: Path):
        from bench import suite

        self.plan, self.out = plan, out
        self.suite = suite.read(plan.suite, list(plan.overrides or []))
        self.items = suite.load(self.suite)[1]  # bad data is refused before training
        self.trainer: Any = None

    def on_train_begin(self, args, state, control, **kwargs):
        # The steps behind the checkpoint are done again, perhaps with other settings: what was found and kept
        # there is about weights that are no more.
        if self.trainer.accelerator.is_main_process:
            for folder in (self.out / "evaluations").glob("step-*"):
                if int(folder.name.split("-")[1]) > state.global_step:
                    shutil.rmtree(folder)
            record = self.out / "best.json"
            if record.exists() and json.loads(record.read_text())["step"] > state.global_step:
                record.unlink()
                shutil.rmtree(self.out / "best", ignore_errors=True)
        self.trainer.accelerator.wait_for_everyone()

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % self.plan.every and state.global_step != state.max_steps:
            return
        from bench.run import run
        from bench.run_folder import Shard

        trainer = self.trainer
        folder = self.out / "evaluations" / f"step-{state.global_step}"
        with trainer.engine_ready():
            if trainer.accelerator.is_main_process:  # one folder, one benchmark; the others wait for it
                name = f"{trainer.engine.name}:{self.out}@{state.global_step}"
                run(trainer.engine, name, self.suite, folder, shard=Shard())  # of all videos
            trainer.accelerator.wait_for_everyone()
        metrics = json.loads((folder / "metrics.json").read_text())
        if self.plan.metric not in metrics:
            raise InputError(
                f"evaluate: {self.plan.suite} gives no metric {self.plan.metric!r}; it gives"
                f" {', '.join(metrics)}"
            )
        value = metrics[self.plan.metric]["value"]
        if value is None:
            why = metrics[self.plan.metric].get("note", "undefined")
            tqdm.write(f"step {state.global_step}: {self.plan.metric}: {why}")
            return
        tqdm.write(f"step {state.global_step}: {self.plan.metric} {value:.3f}")
        record = self.out / "best.json"
        best = json.loads(record.read_text()) if record.exists() else None
        trainer.accelerator.wait_for_everyone()  # all have read before the first writes
        # Better in the metric's own direction; an equal value leaves the earlier weights.
        if best is None or ((value < best["value"]) == self.plan.lower and value != best["value"]):
            trainer.save_policy(self.out / "best")
            if trainer.accelerator.is_main_process:
                write_whole(
                    record,
                    json.dumps(
                        {"step": state.global_step, "metric": self.plan.metric, "value": value},
                        allow_nan=False,
                    ),
                )
