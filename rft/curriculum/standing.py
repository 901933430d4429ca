"""Where a stage stands: not begun, begun (stage.json in its folder, and a checkpoint) or finished (stage.json
in its model's folder), with these settings or with others."""

import dataclasses
import json
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from rft.common import resume
from rft.common.checkpoints import last_checkpoint
from rft.common.stage_record import NAME, read_record, write_record
from rft.curriculum.arguments import clips_a_step
from rft.curriculum.config import SYMBOLS, Stage
from tvad.common.errors import InputError
from tvad.common.files import json_text, made
from tvad.data import load_checked
from tvad.data.digest import data_hash
from tvad.data.sample import Sample
from tvad.data.video.budget import KEYS, Budget

# What may differ in a stage that goes on: it changes no result. Data is compared by what it is.
FREE = (
    *(
        "data.train",
        "data.also*",
        "data.validation",
        "options.log*",
        "options.save_*",
        "options.dataloader_*",
    ),
    *("options.gradient_checkpointing*", "options.ddp_*"),
)
# What cannot be applied to a stage that has begun: what is in the model, and what its best was chosen by.
FIXED = (
    *("trains", "lora", "load_in_4bit", "special_tokens", "text_features", "read_outs", "start", "prompts"),
    *("selection.select", "options.optim*", "options.bf16", "options.fp16", "options.fsdp*"),
    *("options.deepspeed", "options.use_cpu", "dtype", "use_ahd", "use_rae", "use_classifier"),
)


YOUNGER = {"use_classifier": False}  # facts that older records lack, and what held of these


@dataclasses.dataclass(frozen=True)
class Plan:
    """What decides a stage beside its own settings. start: hash of the weights that it begins with, where
    they lie in a folder; pixels: bounds of a clip where not the start's; attention: what the curriculum
    names, None for the library's choice; made: what else it makes of the start (dtype, use_ahd, use_rae,
    use_classifier)."""

    seed: int
    rate: float
    max_frames: int
    prompts: dict[str, list[str]] | None = None
    start: str | None = None
    pixels: Budget = Budget()  # noqa: RUF009  frozen
    attention: str | None = None
    made: dict[str, Any] = dataclasses.field(default_factory=dict)


class Joined(Sequence[Sample]):
    """Clips of several data sets, one behind the other, each read where it is asked for."""

    def __init__(self, parts: list[Sequence[Sample]]):
        self.parts = parts
        self.ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, number):
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        number = range(len(self))[number]  # raises IndexError, as a list
        part = bisect_right(self.ends, number)
        return self.parts[part][number - (self.ends[part] - len(self.parts[part]))]


def training_clips(stage: Stage) -> Sequence[Sample]:
    """The clips that a stage learns from. Raises InputError for bad rows."""
    folders = (stage.data.train, *(stage.data.also or ()))
    parts = [load_checked(folder, drop=stage.data.drop_bad_rows) for folder in folders]
    return parts[0] if len(parts) == 1 else Joined(parts)


def validation_clips(stage: Stage) -> Sequence[Sample] | None:
    """Those that it is evaluated on, None without. Raises InputError for bad rows."""
    folder = stage.data.validation
    return load_checked(folder, drop=stage.data.drop_bad_rows) if folder else None


def facts_of(stage: Stage, plan: Plan) -> dict[str, Any]:
    """What a stage's settings name without saying what it is. Raises InputError for data that cannot be read,
    and for fewer clips than a step takes."""
    train = None if stage.data.train == SYMBOLS else training_clips(stage)
    validation = validation_clips(stage)
    if train is not None:
        check_clips(stage, len(train))
    return {
        "train": SYMBOLS if train is None else data_hash(train),
        "validation": None if validation is None else data_hash(validation),
        "prompts": plan.prompts if stage.text_features else None,
        "start": plan.start,
        "attention": plan.attention,
        "versions": resume.deciding_versions(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        **plan.made,
    }


def check_clips(stage: Stage, clips: int) -> None:
    """Raise InputError where clips do not fill a step: it would be smaller than it says."""
    if clips < (wanted := clips_a_step(stage)):
        raise InputError(
            f"stage {stage.name}: {clips} clips, a step takes {wanted} (optimiser.batch"
            f" {stage.optimiser.batch} x optimiser.accumulate {stage.optimiser.accumulate} x processes)"
        )


def _settings(stage: Stage, plan: Plan) -> dict[str, Any]:
    own = {key: getattr(plan, key) for key in ("seed", "rate", "max_frames")}
    own |= dataclasses.asdict(plan.pixels)
    return json.loads(json_text(own | {"stage": dataclasses.asdict(stage)}, f"stage {stage.name}"))


def _compared(record: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """The settings of a record in one mapping, with those facts that are `known` on both sides: older records
    have none."""
    facts = {k: v for k, v in (YOUNGER | record.get("made_of", {})).items() if k in known}
    own = {key: record[key] for key in ("seed", "rate", "max_frames", *KEYS) if key in record}
    return own | record["stage"] | facts


@dataclasses.dataclass(frozen=True)
class Standing:
    """finished; the checkpoint to go on from, None where there is none; what changes from there on; the
    record of a stage that trains."""

    finished: bool
    checkpoint: str | None
    changes: list[resume.Change]
    record: dict[str, Any]


def standing(
    stage: Stage, plan: Plan, facts: dict[str, Any], folder: Path, resume_with: resume.With
) -> Standing:
    """Where a stage stands in its folder. Raises InputError where it is finished or has begun with other
    settings, unless they are to be applied and can be."""
    record = _settings(stage, plan) | {"made_of": facts, "changes": []}
    free = FREE if stage.selection.select else (*FREE, "selection.save_steps")

    def differing(before: dict[str, Any], but: tuple[str, ...] = ()) -> list[resume.Change]:
        known = (set(facts) & {*before.get("made_of", {}), *YOUNGER}) - {*but}
        found = resume.changes(_compared(before, known), _compared(record, known), free)
        # A key that the record does not know is younger than the record, but for those of a library.
        return [c for c in found if c.was != resume.UNSET or c.key.startswith("options.")]

    done = folder / "model" / NAME
    if done.exists():
        # What is finished stays what it is, whatever is installed since.
        if found := differing(read_record(done), ("versions", "processes", "attention")):
            listed = "; ".join(map(str, found[:8]))
            raise InputError(
                f"{folder}: stage {stage.name} is finished, with other settings ({listed}); give another"
                " `out`, or remove the folder and those of later stages to train them again"
            )
        return Standing(True, None, [], record)
    before = read_record(folder / NAME) if (folder / NAME).exists() else None
    checkpoint = last_checkpoint(folder, resume.processes_of(before, facts))
    if checkpoint is None or before is None:
        return Standing(False, checkpoint, [], record)
    step = int(Path(checkpoint).name.split("-")[1])
    found = resume.allowed(differing(before), resume_with, FIXED, folder, step)
    if found and (stage.optimiser.steps or step + 1) <= step:
        raise InputError(f"{folder}: optimiser.steps is {stage.optimiser.steps}, but {step} steps are done")
    return Standing(False, checkpoint, found, record | {"changes": resume.kept(before, found, step)})


def begin(found: Standing, folder: Path) -> None:
    """Record what a stage is about to be trained with."""
    write_record(made(folder), found.record)
