"""A supervised stage is data: what trains, which losses, which data, what selects. `run` carries one out and
leaves a self-contained checkpoint and a report."""

import copy
import fnmatch
import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraModel
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText, PrinterCallback, ProgressCallback, TrainingArguments

from rft.common.run_log import RunLog, last_checkpoint, save_whole
from rft.curriculum.data import OBJECTS, Branches, ClipCollator, TextCollator, check_readable
from rft.curriculum.report import write_stage_report
from rft.curriculum.trainer import AttributeHeads, Draws, ObjectHeads, StageTrainer, Weights
from tvad.common.errors import InputError
from tvad.common.files import whole_folder, write_whole
from tvad.data import load_checked
from tvad.data.dataset import ClipStore
from tvad.data.sample import Sample
from tvad.data.scenes.actors import COLOURS
from tvad.data.scenes.script import ANOMALIES

HEATMAP_METRICS = ("micro_auc", "macro_auc", "pixel_auc", "rbdc", "tbdc")
LORA_TARGETS = ("q_proj", "v_proj")


@dataclass
class LoraSpec:
    """LoRA on q_proj and v_proj of the last `layers` decoder layers (spec: r 16, alpha 32, dropout 0.05, four
    layers)."""

    layers: int = 4
    r: int = 16
    alpha: int = 32
    dropout: float = 0.05


@dataclass
class Stage:
    """One stage.

    data: "symbols" (text only) or a data set folder; drop_bad_rows: leave bad rows out and say which, instead
    of refusing. trains: name patterns of parameters ("*" all). attributes, objects: read-outs on video
    tokens, on patches (stage 0 of a tiny model). crop, mirror: a batch shows a random run of so many sampled
    frames of a clip, half of the time left for right; only without words. kinds, dialogue, narratives: which
    texts are learned (None: all questions; narratives: T-VAU's phase A). special_tokens: also the three
    anomaly tokens' embeddings. lora: merged into the weights at the end. steps or epochs, batch, accumulate:
    optimiser steps or passes over the data, clips (rows) a pass, passes a step. lr: cosine to lr_floor * lr
    after warmup (share of steps). muon: Muon's learning rate for the layers' matrices, on the same schedule.
    heatmap_loss, frame_loss, text_loss: weights of the losses per patch, per step's strongest patch, per
    token. validation: a data set folder, evaluated every `save_steps`; select: what decides which checkpoint
    is kept, "loss" (least) or a heatmap metric (most); None keeps the last. options: further
    TrainingArguments, such as bf16 or gradient_checkpointing.
    """

    name: str
    data: str
    trains: list[str]
    steps: int | None = None
    lr: float = 1e-4
    muon: float | None = None
    epochs: float | None = None
    batch: int = 8
    accumulate: int = 1
    text_loss: float = 1.0
    heatmap_loss: float = 0.0
    frame_loss: float = 0.0
    anomalous_weight: float = 1.0
    answer_weight: float = 1.0
    kinds: list[str] | None = None
    dialogue: bool = False
    narratives: bool = False
    attributes: bool = False
    objects: bool = False
    crop: int | None = None
    mirror: bool = False
    special_tokens: bool = False
    text_features: bool = False
    lora: LoraSpec | None = None
    warmup: float = 0.05
    lr_floor: float = 0.05
    weight_decay: float = 0.01
    validation: str | None = None
    validation_clips: int = 120
    select: str | None = None
    save_steps: int = 200
    drop_bad_rows: bool = False
    options: dict = field(default_factory=dict)

    def check(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise InputError(f"stage {self.name}: give either steps or epochs")
        if self.steps is None and self.data == "symbols":
            raise InputError(f"stage {self.name}: symbols have no epochs, give steps")
        known = ("loss", *HEATMAP_METRICS)
        if self.select is not None and self.select not in known:
            raise InputError(
                f"stage {self.name}: select is {self.select!r}, expected one of {', '.join(known)}"
            )
        if self.select is not None and self.validation is None:
            raise InputError(f"stage {self.name}: select needs validation data")
        if self.select in HEATMAP_METRICS and not self.heatmap_loss:
            raise InputError(f"stage {self.name}: select {self.select} needs heatmap_loss")
        if self.frame_loss and not self.heatmap_loss:
            raise InputError(f"stage {self.name}: frame_loss needs heatmap_loss")
        if (self.crop is not None or self.mirror) and (self.text_loss or self.attributes):
            raise InputError(
                f"stage {self.name}: crop and mirror need text_loss 0 and no attributes: words would tell of"
                " the whole clip"
            )
        if self.crop is not None and self.crop < 1:
            raise InputError(f"stage {self.name}: crop is {self.crop}, expected at least 1 frame")


def select_trainable(model: torch.nn.Module, patterns: list[str]) -> list[str]:
    """Freeze everything but the parameters that match a pattern; returns their names. InputError for a
    pattern without a match."""
    names = []
    for pattern in patterns:
        if not any(fnmatch.fnmatch(name, pattern) for name, _ in model.named_parameters()):
            raise InputError(f"trains: no parameter matches {pattern!r}")
    for name, parameter in model.named_parameters():
        wanted = any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
        parameter.requires_grad_(wanted)
        if wanted:
            names.append(name)
    return names


def lora_pattern(layers: int, total: int) -> str:
    """Regular expression of the modules that LoRA adapts: the last `layers` of `total` decoder layers."""
    wanted = "|".join(str(i) for i in range(max(0, total - layers), total))
    return rf".*language_model\.layers\.({wanted})\.self_attn\.({'|'.join(LORA_TARGETS)})"


def add_lora(model: torch.nn.Module, spec: LoraSpec) -> LoraModel:
    """Put LoRA into `model` in place, leaving what trains otherwise as it was. `.merge_and_unload()` of the
    result undoes it.

    In place and not as a PeftModel, whose checkpoints hold adapters only: RAE trains beside them and must be
    resumed with them.
    """
    training = {name for name, p in model.named_parameters() if p.requires_grad}
    total = model.config.text_config.num_hidden_layers
    config = LoraConfig(
        r=spec.r,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=lora_pattern(spec.layers, total),
    )
    tuner = LoraModel(model, {"default": config}, "default")
    for name, parameter in model.named_parameters():
        if "lora_" in name or name in training:
            parameter.requires_grad_(True)
    return tuner


def save_adapter(tuner: LoraModel, folder: Path, base: str) -> None:
    """The adapters by themselves, as PEFT's `PeftModel.from_pretrained(base model, folder)` reads them; whole
    or absent."""
    state = {
        f"base_model.model.{name.replace('.default', '')}": tensor.detach().cpu().contiguous()
        for name, tensor in tuner.model.named_parameters()
        if "lora_" in name
    }
    config = copy.copy(tuner.peft_config["default"])
    config.base_model_name_or_path = base
    with whole_folder(folder) as temporary:
        save_file(state, temporary / "adapter_model.safetensors")
        config.save_pretrained(str(temporary))


class TokenRows(torch.nn.Module):
    """A few rows of an embedding that learn while the table stays frozen: at 7B the whole table's gradient
    and moments are 8 GiB."""

    def __init__(self, embedding: torch.nn.Embedding, ids: list[int]):
        super().__init__()
        self.ids = ids
        self.weight = torch.nn.Parameter(embedding.weight.detach()[ids].float())
        self._hook = embedding.register_forward_hook(self._put)

    def _put(self, embedding, inputs, output):
        for row, token in zip(self.weight, self.ids, strict=True):
            output = torch.where((inputs[0] == token)[..., None], row.to(output.dtype), output)
        return output

    @torch.no_grad()
    def merge(self, embedding: torch.nn.Embedding) -> None:
        """Write the rows into the table and let go of it."""
        self._hook.remove()
        embedding.weight[self.ids] = self.weight.to(embedding.weight.dtype)


def summary(model: torch.nn.Module) -> list[tuple[str, int, int]]:
    """What trains, by module: (module, parameters, of these training)."""
    groups: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        group = ".".join(parts[:2]) if parts[0] == "model" else parts[0]
        counts = groups.setdefault(group + (" (LoRA)" if "lora_" in name else ""), [0, 0])
        counts[0] += parameter.numel()
        counts[1] += parameter.numel() if parameter.requires_grad else 0
    return [(group, total, training) for group, (total, training) in groups.items()]


def _table(rows: list[tuple[str, int, int]]) -> str:
    lines = [f"  {'module':34s} {'parameters':>14s} {'training':>14s}"]
    return "\n".join(
        [*lines, *(f"  {group:34s} {total:14,d} {training:14,d}" for group, total, training in rows)]
    )


def steps_of(stage: Stage, clips: int) -> int:
    """Optimiser steps of a stage over `clips` clips, over all processes."""
    if stage.steps is not None:
        return stage.steps
    assert stage.epochs is not None
    return max(
        1,
        round(
            stage.epochs * clips / (stage.batch * stage.accumulate * int(os.environ.get("WORLD_SIZE", "1")))
        ),
    )


def arguments_of(stage: Stage, steps: int, out: Path, seed: int, evaluates: bool) -> TrainingArguments:
    select = None if stage.select is None else f"eval_{stage.select}"
    return TrainingArguments(
        **{
            "output_dir": str(out),
            "max_steps": steps,
            "per_device_train_batch_size": stage.batch,
            "per_device_eval_batch_size": stage.batch,
            "gradient_accumulation_steps": stage.accumulate,
            "learning_rate": stage.lr,
            "warmup_steps": max(1, round(stage.warmup * steps)),
            "lr_scheduler_type": "cosine_with_min_lr",
            "lr_scheduler_kwargs": {"min_lr_rate": stage.lr_floor},
            "weight_decay": stage.weight_decay,
            "adam_beta2": 0.98,
            "max_grad_norm": 1.0,
            "logging_steps": max(1, min(25, steps // 4)),
            "save_steps": stage.save_steps,
            "save_total_limit": 2 if select else 1,
            "seed": seed,
            "data_seed": seed,
            "report_to": "none",
            "remove_unused_columns": False,
            "eval_strategy": "steps" if evaluates else "no",
            "eval_steps": stage.save_steps if evaluates else None,
            "use_cpu": not torch.cuda.is_available(),
            "disable_tqdm": True,
            "label_names": ["weights"],
            "load_best_model_at_end": select is not None,
            "metric_for_best_model": select,
            "greater_is_better": None if select is None else stage.select != "loss",
            **stage.options,
        }
    )


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
):
    """Train `model` by `stage`, resuming from checkpoints in `out`; the merged model is saved there as
    `model/`, with a report.

    Frozen weights keep the model's type; what trains is kept in float32 meanwhile. Raises InputError for a
    bad stage, RuntimeError where something changed that was not to be trained.
    """
    done = out / "model"
    if (done / "stage.json").exists():
        log(f"stage {stage.name}: already done in {done}")
        return AutoModelForImageTextToText.from_pretrained(done, dtype="auto").to(model.device)
    stage.check()
    torch.manual_seed(seed)  # LoRA and the read-outs start random, before the trainer seeds itself
    dtype = model.dtype
    if stage.text_features:
        if prompts is None:
            raise InputError(
                f"stage {stage.name}: text_features needs normal_prompts and abnormal_prompts in the"
                " configuration"
            )
        model.set_text_features(processor, prompts)
    frozen = {n: b.clone() for n, b in model.named_buffers() if n.endswith("text_features")}
    if stage.attributes:
        model.attribute_heads = AttributeHeads(
            model.config.text_config.hidden_size, len(ANOMALIES), len(COLOURS)
        ).to(model.device)
    if stage.objects:
        model.object_heads = ObjectHeads(
            model.config.vision_config.hidden_size, len(ANOMALIES), len(OBJECTS)
        ).to(model.device)
    heads = [
        f"{name}.*"
        for name, used in (("attribute_heads", stage.attributes), ("object_heads", stage.objects))
        if used
    ]
    select_trainable(model, [*stage.trains, *heads])
    before = {n: p.detach().to("cpu", copy=True) for n, p in model.named_parameters() if not p.requires_grad}
    tuner = add_lora(model, stage.lora) if stage.lora is not None else None
    rows: list[int] = []
    if stage.special_tokens:
        config = model.config
        rows = [config.anomaly_start_token_id, config.anomaly_pad_token_id, config.anomaly_end_token_id]
        model.special_rows = TokenRows(model.get_input_embeddings(), rows)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    parts = summary(model)
    log(f"stage {stage.name}\n{_table(parts)}")

    branches = Branches(processor, stage.answer_weight)
    evaluation: list[Sample] | None = None
    eval_collator = None
    dataset: list[Any]
    store = ClipStore(rate, max_frames)
    if stage.data == "symbols":
        dataset, collator = (
            list(range(steps_of(stage, 0) * stage.batch * stage.accumulate)),
            TextCollator(branches, seed),
        )
    else:
        dataset = load_checked(stage.data, drop=stage.drop_bad_rows)
        if stage.attributes or stage.objects:
            check_readable(dataset, stage.objects)
        shown = (
            branches,
            store,
            stage.kinds,
            stage.dialogue,
            stage.heatmap_loss > 0,
            stage.attributes,
            stage.narratives,
            stage.objects,
        )
        collator, eval_collator = ClipCollator(*shown, stage.crop, stage.mirror, seed), ClipCollator(*shown)
        if stage.validation:
            evaluation = load_checked(stage.validation, drop=stage.drop_bad_rows)
        if stage.text_loss:
            dataset, evaluation = (
                _with_words(dataset, collator, stage, log),
                evaluation and _with_words(evaluation, collator, stage, log),
            )
        evaluation = evaluation and evaluation[: stage.validation_clips]
    steps = steps_of(stage, len(dataset))
    trainer = StageTrainer(
        model=model,
        args=arguments_of(stage, steps, out, seed, bool(evaluation)),
        train_dataset=dataset,
        eval_dataset=evaluation,
        data_collator=collator,
        weights=Weights(stage.text_loss, stage.heatmap_loss, stage.anomalous_weight, stage.frame_loss),
        eval_collator=eval_collator,
        muon=stage.muon,
        heatmap_eval=(processor, store) if stage.select in HEATMAP_METRICS else None,
        callbacks=[RunLog(out), Draws(collator)],
    )
    trainer.remove_callback(PrinterCallback if trainer.args.disable_tqdm else ProgressCallback)
    trainer.train(resume_from_checkpoint=last_checkpoint(out))
    if not trainer.is_world_process_zero():
        return model
    if tuner is not None:
        model = tuner.merge_and_unload()
    if rows:
        model.special_rows.merge(model.get_input_embeddings())
        del model.special_rows
    if stage.attributes:
        del model.attribute_heads
    if stage.objects:
        del model.object_heads
    _check_frozen(stage, model, before, rows, frozen)
    model.to(dtype)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    save_whole(done, model, processor)
    history = trainer.state.log_history
    record = {
        "stage": asdict(stage),
        "seed": seed,
        "steps": steps,
        "parameters": parts,
        "best": trainer.state.best_metric,
        "history": history,
    }
    write_stage_report(out / "report.html", record, model.eval(), processor, evaluation or [], store)
    write_whole(done / "stage.json", json.dumps(record, indent=1))  # last: what marks the stage as done
    return model


def _with_words(samples: list[Sample], collator: ClipCollator, stage: Stage, log) -> list[Sample]:
    """The samples that this stage has something to say about."""
    kept = [sample for sample in samples if collator.conversations(sample)]
    if len(kept) < len(samples):
        log(
            f"stage {stage.name}: {len(samples) - len(kept)} of {len(samples)} clips have no text for it and"
            " are left out"
        )
    if not kept:
        raise InputError(f"stage {stage.name}: no clip has text for it")
    return kept


def _check_frozen(stage, model, before, rows, buffers) -> None:
    """Raise RuntimeError where something outside the stage changed."""
    lora = (
        re.compile(lora_pattern(stage.lora.layers, model.config.text_config.num_hidden_layers) + r"\.weight")
        if stage.lora
        else None
    )
    for name, parameter in model.named_parameters():
        if name not in before or (lora is not None and lora.fullmatch(name)):
            continue
        same = parameter.detach().cpu() == before[name]
        if name.endswith("embed_tokens.weight") and rows:
            same[rows] = True
        if not bool(same.all()):
            raise RuntimeError(
                f"stage {stage.name}: {name} changed, but it is not among what this stage trains"
            )
    for name, value in model.named_buffers():
        if name in buffers and not torch.equal(value.cpu(), buffers[name].cpu()):
            raise RuntimeError(f"stage {stage.name}: the text features changed during training")
