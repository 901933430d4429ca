"""What a training run leaves for people: a line per step (log.jsonl), a readable line per completion
(rollouts.jsonl); and the reader of a reinforcement run's record."""

import json
import math
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback

from tvad.common.errors import InputError
from tvad.common.files import whole_folder, write_whole
from tvad.common.formats import Format
from tvad.data.video import name_of

# Version 2: what the settings were applied to, and which of them changed at which step (`rft.grpo.record`).
RUN = Format("grpo-run", 2, {1: lambda record: record | {"changes": []}})
RECORD = "grpo.json"
SHOWN = 16  # completions kept of every step, spread over its groups


def save_whole(target: Path, model, processor, dtype=None, **options) -> None:
    """`save_pretrained` of model (with `options`) and processor into `target`, through a temporary folder.
    dtype: what its configuration is to say of the weights' type, where that is not the first weight's."""
    with whole_folder(target) as temporary:
        model.save_pretrained(temporary, **options)
        if dtype is not None:
            model.config.dtype = dtype
            model.config.save_pretrained(temporary)
        processor.save_pretrained(temporary)


def _evaluates(row: dict[str, Any]) -> bool:
    return any(key.startswith("eval_") for key in row)


class RunLog(TrainerCallback):
    """Appends as training goes; a resumed run drops the steps that it does again."""

    def __init__(self, out: Path):
        self.out = out
        self.trainer: Any = None
        self.bar: tqdm | None = None

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = tqdm(
            total=state.max_steps, initial=state.global_step, unit="step", desc="train", disable=None
        )
        if not state.is_world_process_zero:
            return
        # A kill comes between a step's line and the next checkpoint: the steps since then are done again, and
        # their lines too; between an evaluation's line and its checkpoint's: it is made again.
        evaluated = {row["step"] for row in state.log_history if _evaluates(row)}
        for name in ("log.jsonl", "rollouts.jsonl"):
            path = self.out / name
            if not path.exists():
                continue
            kept = []
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # the line that a kill cut
                if row["step"] <= state.global_step and (not _evaluates(row) or row["step"] in evaluated):
                    kept.append(line + "\n")
            write_whole(path, "".join(kept))

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and (reward := logs.get("reward", logs.get("loss"))) is not None:
            self.bar.update(state.global_step - self.bar.n)
            self.bar.set_postfix_str(f"{'reward' if 'reward' in logs else 'loss'} {reward:.3f}")
        if not state.is_world_process_zero or not any(
            k in ("reward", "loss") or k.startswith("eval_") for k in logs or ()
        ):
            return
        numbers = {k: v for k, v in logs.items() if isinstance(v, (int, float)) and math.isfinite(v)}
        row = {"step": state.global_step, **numbers}
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(row, allow_nan=False) + "\n")
        table = self.trainer._logs if self.trainer is not None else None
        if not table or not table["prompt"] or any(key.startswith("eval_") for key in logs or ()):
            return  # what held-out prompts were answered is no rollout of training
        with (self.out / "rollouts.jsonl").open("a", encoding="utf-8", errors="backslashreplace") as out:
            count = len(table["prompt"])
            for i in range(0, count, max(1, count // SHOWN)):
                rewards = {
                    name: values[i] if math.isfinite(values[i]) else None
                    for name, values in table["rewards"].items()
                }
                parts = [p for m in table["prompt"][i] if m["role"] == "user" for p in m["content"]]
                question = next(p["text"] for p in parts if p["type"] == "text")
                clip = next((Path(name_of(p["video"])).stem for p in parts if p["type"] == "video"), None)
                text = table["completion"][i][0]["content"]
                share = table["advantages"][i]
                line = {
                    "step": state.global_step,
                    "clip": clip,
                    "question": question,
                    "completion": text,
                    "rewards": rewards,
                    "advantage": round(share, 3) if math.isfinite(share) else None,
                }
                out.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")


def read_log(folder: str | Path) -> list[dict]:
    """Rows of log.jsonl."""
    return [json.loads(line) for line in Path(folder, "log.jsonl").read_text(encoding="utf-8").splitlines()]


def reward_names(log: list[dict]) -> list[str]:
    """Rewards that occurred in any row."""
    keys = dict.fromkeys(key for row in log for key in row)
    return [key.split("/")[1] for key in keys if key.startswith("rewards/") and key.endswith("/mean")]


def read_record(folder: Path) -> dict[str, Any]:
    """The configuration that a run recorded. Raises InputError where it is damaged or newer."""
    file = folder / RECORD
    try:
        return RUN.check(json.loads(file.read_text(encoding="utf-8")), str(file))
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: no record of a run ({str(error)[:200]})") from error
