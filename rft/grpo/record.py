"""grpo.json, what a reinforcement run is and has been: its settings as they are now, what they were applied
to (data, start, versions), and which of them changed at which step."""

import dataclasses
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cache import content
from bench.models import ALIASES, AUTO
from rft.common import resume
from rft.common.checkpoints import last_checkpoint
from rft.common.run_log import RECORD, RUN, read_record
from rft.grpo.config import DEFAULTS, GrpoRun
from tvad.answer import Reading
from tvad.common.config import fields_of
from tvad.common.errors import InputError
from tvad.common.files import json_text, write_whole
from tvad.data.digest import data_hash
from tvad.data.sample import Sample

# What may differ in a run that goes on: it changes no result. The data, the start and the engine are compared
# by what they are (`made_of`), wherever they lie now.
FREE = (
    *("out", "model", "data", "engine", "loggers", "decoders", "watch", "prompt_tokens", "tokens"),
    *("features", "evaluate.every", "held_out*"),
    *(f"engine_options.{name}" for name in ("sleep", "memory", "max_num_seqs", "max_model_len", "budget")),
    *("training.log*", "training.save_*", "training.run_name", "training.project", "training.trackio_*"),
    *("training.disable_tqdm", "training.num_completions_to_print", "training.dataloader_*"),
    *("training.gradient_checkpointing*", "training.torch_empty_cache_steps", "training.skip_memory_metrics"),
    *("training.hub_*", "training.push_to_hub", "training.include_*", "training.ddp_*", "training.debug"),
)
# What cannot be applied to a run that has begun: other parameters than its optimiser knows, another start or
# precision than its weights have, another measure than `best/` was chosen by.
FIXED = (
    *("model", "trains", "lora", "load_in_4bit", "evaluate.*"),
    *(f"training.{name}" for name in ("optim*", "bf16", "fp16", "tf32", "fsdp*", "deepspeed", "use_cpu")),
)
SCHEDULE = tuple(  # DeepSpeed restores these by itself
    f"training.{name}"
    for name in ("learning_rate", "lr_*", "warmup_*", "weight_decay", "adam_*", "max_steps", "num_train_*")
)
UNPLACED = ("reduce_lr_on_plateau", "greedy")  # schedules that no step number places


def engine_name(run: GrpoRun) -> str:
    """The kind of engine that a run's draws come from."""
    if run.engine == AUTO:
        return "vllm" if importlib.util.find_spec("vllm") is not None else "hf"
    kind = run.engine.partition(":")[0]
    return ALIASES.get(kind, kind)


def made_of(run: GrpoRun, samples: Sequence[Sample], processes: int) -> dict[str, Any]:
    """What settings name without saying what it is."""
    return {
        "data": data_hash(samples),
        "model": content(run.model),
        "engine": engine_name(run),
        "versions": resume.deciding_versions(),
        "processes": processes,
    }


def _filled(settings: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    """Settings with what they leave to its default: of the run, and TRL's of its arguments `keys`."""
    from trl import GRPOConfig

    def default(field: dataclasses.Field) -> Any:
        made: Any = field.default
        if field.default_factory is not dataclasses.MISSING:
            made = field.default_factory()
        if dataclasses.is_dataclass(made) and not isinstance(made, type):
            return dataclasses.asdict(made)
        return None if made is dataclasses.MISSING else made

    known = fields_of(GRPOConfig)
    training = {key: DEFAULTS.get(key, default(known[key])) for key in keys if key in known}
    own = {name: default(field) for name, field in fields_of(GrpoRun).items()}
    own["reading"]["boxes"] = Reading().unit
    if "classes" in settings:  # of a record from before `reading` held them
        own["reading"]["classes"] = settings["classes"]
    kept = {key: value for key, value in settings.items() if key != "classes"}
    if kept.get("reading"):  # of a record from before the unit of boxes could be left open
        kept["reading"] = {**kept["reading"], "boxes": kept["reading"].get("boxes") or Reading().unit}
    if kept.get("lora"):  # of a record from before LoRA had targets
        kept["lora"] = {"targets": [], **kept["lora"]}
    return own | kept | {"training": training | settings.get("training", {})}


def _comparable(settings: dict[str, Any], facts: dict[str, Any] | None, keys: set[str]) -> dict[str, Any]:
    filled = json.loads(json_text(_filled(settings, keys), RECORD, default=str))
    kept = {k: v for k, v in filled.items() if k not in ("data", "model", "engine")}
    return kept | (facts or {})


@dataclasses.dataclass(frozen=True)
class Standing:
    """Where a run stands: the checkpoint that it goes on from and its step, None and 0 for a new one; what
    changes from there on; its whole record."""

    checkpoint: str | None
    step: int
    changes: list[resume.Change]
    record: dict[str, Any]

    def write(self, out: Path) -> None:
        write_whole(out / RECORD, json_text(self.record, str(out / RECORD), indent=1, default=str))


def standing(run: GrpoRun, arguments: Any, facts: dict[str, Any], resume_with: resume.With) -> Standing:
    """Where the run in `out` stands, by its record and its checkpoints. arguments: TRL's of this run; facts:
    its `made_of`. Raises InputError where it cannot go on, or not with these settings."""
    out, settings = Path(run.out), dataclasses.asdict(run)
    before = read_record(out) if (out / RECORD).exists() else None  # one of a newer format is not continued
    checkpoint = last_checkpoint(out, resume.processes_of(before, facts))
    record = RUN.stamp() | settings | {"made_of": facts, "changes": []}
    if checkpoint is None or before is None:
        return Standing(checkpoint, 0 if checkpoint is None else _step(checkpoint), [], record)
    step = _step(checkpoint)
    keys = {*before.get("training", {}), *run.training}
    was, now = (
        {k: v for k, v in one.items() if k not in (*RUN.stamp(), "made_of", "changes")}
        for one in (before, settings)
    )
    theirs = before.get("made_of")
    found = resume.changes(
        _comparable(was, theirs, keys),
        _comparable(now, facts if theirs is not None else None, keys),
        FREE if theirs is None else [name for name in FREE if name not in facts],
    )
    if theirs is None:  # a record of before this was kept: the names are all there is to compare
        found += [
            resume.Change(k, was.get(k), now[k])
            for k in ("data", "model")
            if Path(str(was.get(k))).resolve() != Path(str(now[k])).resolve()
        ]
    fixed = (*FIXED, *(SCHEDULE if getattr(arguments, "deepspeed_plugin", None) is not None else ()))
    found = resume.allowed(found, resume_with, fixed, out, step)
    if found and arguments.lr_scheduler_type in UNPLACED:
        raise InputError(
            f"training.lr_scheduler_type: {arguments.lr_scheduler_type.value} has no place for step {step} of"
            " a run with new settings; start a run of its own with another --out"
        )
    if found and 0 < arguments.max_steps <= step:
        raise InputError(
            f"training.max_steps: {arguments.max_steps}, but {out} has done {step} steps: none is left to do"
        )
    return Standing(checkpoint, step, found, record | {"changes": resume.kept(before, found, step)})


def _step(checkpoint: str) -> int:
    return int(Path(checkpoint).name.split("-")[1])
