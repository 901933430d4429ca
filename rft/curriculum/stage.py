"""Carries out one supervised stage: what trains is put in, trained, merged and checked, and a self-contained
checkpoint is left with a report."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PrinterCallback

from rft.common import resume
from rft.common.four_bit import frozen_linear, quantise, restore
from rft.common.run_log import RunLog, save_whole
from rft.common.stage_record import NAME, read_record, write_record
from rft.common.trainable import add_lora, in_float32, select_trainable
from rft.curriculum import read_outs
from rft.curriculum.arguments import arguments_of, clips_a_step, steps_of
from rft.curriculum.config import HEATMAP_METRICS, SYMBOLS, Stage, Texts
from rft.curriculum.data import Branches, ClipCollator, DrawnSamples, TextCollator
from rft.curriculum.frozen import Frozen, summary, table
from rft.curriculum.pooled import Pooled, collate, pooled
from rft.curriculum.report import write_stage_report
from rft.curriculum.standing import (
    Plan,
    begin,
    check_clips,
    facts_of,
    standing,
    training_clips,
    validation_clips,
)
from rft.curriculum.token_rows import TokenRows, anomaly_tokens
from rft.curriculum.trainer import StageTrainer
from rft.curriculum.views import NO_MASK
from tvad.common.errors import InputError
from tvad.data.dataset import ClipStore
from tvad.data.questions import ASKED
from tvad.data.sample import Sample
from tvad.data.shards import chosen
from tvad.data.truth import pixels_known
from tvad.data.video import Budget
from tvad.model.modeling import in_type
from tvad.model.start import opened_whole


@dataclass
class Batches:
    """What a stage trains and is evaluated on: data sets, and the collators that make batches of them.
    samples: the clips that it is evaluated on."""

    train: list[Any] | DrawnSamples | Pooled
    collator: Callable[[Any], dict]
    validation: list[Sample] | Pooled
    eval_collator: ClipCollator | None
    samples: list[Sample]


def batches_of(
    stage: Stage,
    processor,
    store: ClipStore,
    seed: int,
    log=print,
    pool: Callable[[Sequence[Sample], str], Pooled] | None = None,
) -> Batches:
    """The batches of a stage; `pool` makes the features of clips of a name. Raises InputError for data that
    it cannot use."""
    wrong = stage.losses.geometry > 0
    branches = Branches(
        processor, stage.losses.answer_weight, reasoning=stage.texts.reasoning, geometry=wrong
    )
    data = stage.data
    if wrong:
        branches.boxes.digits  # noqa: B018  refuses a tokenizer
    if data.train == SYMBOLS:
        numbers = list(range(steps_of(stage, 0) * clips_a_step(stage)))
        return Batches(numbers, TextCollator(branches, seed), [], None, [])
    train = training_clips(stage)
    if stage.read_outs.attributes or stage.read_outs.objects:
        read_outs.check_readable(train, stage.read_outs.objects)
    classifies = stage.losses.classifier > 0
    texts = stage.texts if stage.losses.text else Texts(kinds=[])
    shown = (branches, store, texts, stage.losses.heatmap > 0, stage.read_outs, classifies)
    collator, eval_collator = ClipCollator(*shown, data, seed), ClipCollator(*shown)
    validation = validation_clips(stage) or []
    if collator.wants_masks:
        for sample in itertools.chain(train, validation):
            if not pixels_known(sample):
                raise InputError(f"stage {stage.name}: {sample.id}: {NO_MASK}")
    if stage.losses.text:
        train = _with_words(train, collator, stage.name, log)
        validation = validation and _with_words(validation, collator, stage.name, log)
    elif classifies:
        train = _labelled(train, stage.name, log)
        validation = validation and _labelled(validation, stage.name, log)
    if classifies:
        _check_both(train, stage.name)
    validation = list(shown_of(validation, data.validation_clips, seed))
    if stage.selection.select in HEATMAP_METRICS and not any(sample.anomalous for sample in validation):
        raise InputError(
            f"stage {stage.name}: selection.select is {stage.selection.select}, which the validation data do"
            " not give: no clip is anomalous"
        )
    if validation:
        counts = [f"{len(part)} {name}" for name, part in by_label(validation).items()]
        log(f"stage {stage.name}: evaluated on {len(validation)} clips ({', '.join(counts)})")
    if data.pooled and pool is not None:
        seen: list[Sample] | Pooled = pool(validation, "validation") if validation else []
        return Batches(pool(train, "train"), collate, seen, None, validation)
    return Batches(DrawnSamples(train), collator, validation, eval_collator, validation)


def by_label(samples: list[Sample]) -> dict[str, list[Sample]]:
    """Samples by what is known of them."""
    names = {True: "anomalous", False: "normal", None: "without a label"}
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(names[sample.anomalous], []).append(sample)
    return found


def shown_of(samples: Sequence[Sample], count: int, seed: int) -> Sequence[Sample]:
    """At most `count` of the samples, in their order: of every label its share (one at least, where there is
    room), drawn by the seed. Data often lies ordered by label, and its beginning alone would have one."""
    if len(samples) <= count:
        return samples
    labels: dict[bool | None, list[int]] = {}
    for place, sample in enumerate(samples):
        labels.setdefault(sample.anomalous, []).append(place)
    groups = sorted(labels.values(), key=len)
    rng, drawn, left = np.random.default_rng(seed), list[int](), count
    for n, group in enumerate(groups):  # the rarest first, so that what rounding gives it is there
        rest = sum(map(len, groups[n:]))
        take = min(left, max(1, round(left * len(group) / rest)))
        drawn += [group[i] for i in rng.choice(len(group), take, replace=False)]
        left -= take
    return chosen(samples, sorted(drawn))


def _with_words(samples: Sequence[Sample], collator: ClipCollator, stage: str, log) -> Sequence[Sample]:
    """The samples that this stage has something to say about: words, or for its classifier a label."""
    kept = chosen(samples, [n for n, sample in enumerate(samples) if collator.teaches(sample)])
    if len(kept) < len(samples):
        log(
            f"stage {stage}: {len(samples) - len(kept)} of {len(samples)} clips have no text for it and are"
            " left out"
        )
    if not kept:
        raise InputError(f"stage {stage}: no clip has text for it")
    return kept


def _labelled(samples: Sequence[Sample], stage: str, log) -> Sequence[Sample]:
    """The samples of which it is known whether they are anomalous."""
    kept = chosen(samples, [n for n, sample in enumerate(samples) if sample.anomalous is not None])
    if len(kept) < len(samples):
        log(f"stage {stage}: {len(samples) - len(kept)} of {len(samples)} clips have no label, left out")
    if not kept:
        raise InputError(f"stage {stage}: losses.classifier: no clip has a label")
    return kept


def _check_both(samples: Sequence[Sample], stage: str) -> None:
    """Raise InputError where clips have one label: a classifier would learn to say it of all."""
    labels = {sample.anomalous for sample in samples} - {None}
    if len(labels) == 1:
        name, other = ("anomalous", "normal") if True in labels else ("normal", "anomalous")
        raise InputError(
            f"stage {stage}: losses.classifier: every labelled clip is {name}; it needs {other} ones too"
            " (data.also), or set losses.classifier to 0"
        )


@dataclass
class PutIn:
    """What a stage has put into a model, to be taken out by `merged`. whole: the weights that are in four
    bits meanwhile, as they were."""

    tuner: Any
    rows: list[int]
    whole: dict[str, torch.Tensor]


def put_in(stage: Stage, model) -> tuple[PutIn, Frozen]:
    """Make a model ready for a stage: heads, what trains, four bits, LoRA, the special tokens' rows; and the
    proof of what must not change. What trains becomes float32, frozen weights keep their type."""
    heads = read_outs.attach(model, stage.read_outs)
    select_trainable(model, [*stage.trains, *heads])
    frozen = Frozen(model, blends=stage.selection.blend < 1)
    whole: dict[str, torch.Tensor] = {}
    if stage.load_in_4bit:
        whole = {f"{name}.weight": frozen.parameters[f"{name}.weight"] for name in frozen_linear(model)}
        quantise(model, torch.bfloat16 if stage.options.get("bf16") else model.dtype)
    tuner = add_lora(model, stage.lora) if stage.lora is not None else None
    rows: list[int] = []
    if stage.special_tokens:
        rows = anomaly_tokens(model.config)
        model.special_rows = TokenRows(model.get_input_embeddings(), rows)
    in_float32(model)
    return PutIn(tuner, rows, whole), frozen


def merged(stage: Stage, model, inside: PutIn):
    """The model with LoRA and rows in its weights, all of them whole, without the heads."""
    restore(model, inside.whole)
    if inside.tuner is not None:
        model = inside.tuner.merge_and_unload()
    if inside.rows:
        model.special_rows.merge(model.get_input_embeddings())
        del model.special_rows
    read_outs.detach(model, stage.read_outs)
    return model


def check_launch(stage: Stage, trainer) -> None:
    """Raise InputError for a launch in which a stage cannot train: its weights are merged where they are, and
    Muon takes matrices, which DeepSpeed lays flat."""
    stage_of_zero = (
        trainer.accelerator.state.deepspeed_plugin.zero_stage if trainer.is_deepspeed_enabled else 0
    )
    if trainer.is_fsdp_enabled or stage_of_zero == 3:
        raise InputError(
            f"stage {stage.name}: weights shared out over processes (FSDP, ZeRO-3) cannot be merged; launch"
            " with configs/accelerate/ddp.yaml or zero2.yaml"
        )
    if trainer.is_deepspeed_enabled and stage.optimiser.muon is not None:
        raise InputError(f"stage {stage.name}: optimiser.muon does not work under DeepSpeed; leave it out")


def run(
    stage: Stage,
    model,
    processor,
    out: Path,
    seed: int,
    rate: float,
    max_frames: int,
    prompts: dict[str, list[str]] | None = None,
    log=print,
    start: str | None = None,
    resume_with: resume.With = "same",
    pixels: Budget = Budget(),  # noqa: B008  frozen
    attention: str | None = None,
    made: dict[str, Any] | None = None,
):
    """Train `model` by `stage`, resuming from checkpoints in `out`; the merged model is saved there as
    `model/`, with a report. prompts: AHD's, for text_features; start: hash of the model's weights as they lie
    in a folder; resume_with: whether a stage that has begun goes on with other settings (new) or not (same);
    pixels: the bounds of a clip that `processor` keeps.
    attention, made: what the curriculum says of the start (`Plan`), for the record.

    Raises InputError for a bad stage and for one that cannot go on, RuntimeError where something changed that
    was not to be trained.
    """
    done = out / "model"
    if (done / NAME).exists():
        read_record(done / NAME)
        log(f"stage {stage.name}: already done in {done}")
        attend = model.config._attn_implementation
        return opened_whole(done, dtype="auto", attn_implementation=attend).to(model.device)
    stage.check()
    plan = Plan(seed, rate, max_frames, prompts, start, pixels, attention, made or {})
    found = standing(stage, plan, facts_of(stage, plan), out, resume_with)
    if stage.options.get("save_only_model") or stage.options.get("save_strategy") == "no":
        log(f"stage {stage.name}: without whole checkpoints (options) it cannot be resumed")
    torch.manual_seed(seed)  # LoRA and the read-outs start random, before the trainer seeds itself
    dtype = model.dtype
    if stage.text_features:
        if prompts is None:
            raise InputError(f"stage {stage.name}: text_features needs `prompts` in the configuration")
        model.set_text_features(processor, prompts)
    if stage.losses.classifier and model.model.classifier is None:
        raise InputError(
            f"stage {stage.name}: losses.classifier: the model has none; set use_classifier: true"
        )
    inside, frozen = put_in(stage, model)
    parts = summary(model)
    log(f"stage {stage.name}\n{table(parts)}")
    store = ClipStore(rate, max_frames)

    def pool(samples: Sequence[Sample], name: str) -> Pooled:
        # All that decides what the frozen model makes of them.
        facts = {key: value for key, value in found.record.items() if key not in ("stage", "changes")}
        facts |= {"load_in_4bit": stage.load_in_4bit, "bf16": bool(stage.options.get("bf16"))}
        return pooled(samples, model, processor, store, out / "features", facts, name)

    batches = batches_of(stage, processor, store, seed, log, pool)
    if stage.data.train != SYMBOLS:
        check_clips(stage, len(batches.train))
    steps = steps_of(stage, len(batches.train))
    evaluates = stage.data.validation is not None and bool(batches.validation)
    trainer = StageTrainer(
        model=model,
        args=arguments_of(stage, steps, out, seed, evaluates),
        train_dataset=batches.train,
        eval_dataset=batches.validation if evaluates else None,
        data_collator=batches.collator,
        weights=stage.losses,
        eval_collator=batches.eval_collator,
        muon=stage.optimiser.muon,
        heatmap_eval=(processor, store) if stage.selection.select in HEATMAP_METRICS else None,
        callbacks=[RunLog(out)],
    )
    check_launch(stage, trainer)
    trainer.remove_callback(PrinterCallback)
    if stage.load_in_4bit and (trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled):
        raise InputError(
            f"stage {stage.name}: load_in_4bit: what is in four bits is not sharded; leave out"
            " DeepSpeed and FSDP"
        )
    trainer.new_settings = bool(found.changes)
    trainer.accelerator.wait_for_everyone()  # all have read what stood there
    if trainer.is_world_process_zero():
        begin(found, out)
    if found.changes:
        log(f"stage {stage.name}: " + "; ".join(resume.told(found.record, steps)))
    trainer.train(resume_from_checkpoint=found.checkpoint)
    # Every process goes on with the next stage: each merges what it has, which is the same.
    model = merged(stage, model, inside)
    adapted = inside.tuner.targeted_module_names if inside.tuner is not None else []
    frozen.check(stage.name, model, adapted, inside.rows)
    if stage.selection.blend < 1:
        frozen.blend(model, stage.selection.blend)
    in_type(model, dtype)
    if stage.texts.dialogue and stage.losses.text:  # what data sets hold is the protocol
        model.config.dialogue = "protocol" if stage.texts.form == "stored" else stage.texts.form
        model.config.questions = None
    elif stage.losses.text and "judgement" in (
        kinds := [*ASKED] if stage.texts.kinds is None else stage.texts.kinds
    ):
        model.config.questions = list(kinds)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    if trainer.is_world_process_zero():
        record = found.record | {
            "steps": steps,
            "parameters": parts,
            "best": trainer.state.best_metric,
            "history": trainer.state.log_history,
        }
        _keep(stage, model, processor, out, record, batches.samples, store)
    trainer.accelerator.wait_for_everyone()  # the next stage asks what lies there
    return model


def _keep(stage: Stage, model, processor, out: Path, record: dict[str, Any], samples, store) -> None:
    """Write the model of a stage, its report and, last, its record: what marks the stage as done."""
    save_whole(out / "model", model, processor)
    changed = {f"changed {n}": line for n, line in enumerate(resume.told(record, record["steps"]), 1)}
    shown = record | {"stage": changed | _dotted(stage)}
    write_stage_report(out / "report.html", shown, model.eval(), processor, samples, store)
    write_record(out / "model", record)


def _dotted(stage: Stage) -> dict[str, Any]:
    """A stage's settings in a row, as the report lists them: `optimiser.lr`; and what it names in its
    title."""
    found: dict[str, Any] = {}
    for key, value in asdict(stage).items():
        if isinstance(value, dict) and key not in ("options", "lora"):
            found |= {f"{key}.{name}": inner for name, inner in value.items()}
        else:
            found[key] = value
    return found | {
        "data": ", ".join((stage.data.train, *(stage.data.also or ()))),
        "select": stage.selection.select,
    }
