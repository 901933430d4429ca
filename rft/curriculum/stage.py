"""A supervised stage is data: what trains, which losses, which data. `run` carries one out and leaves a self-contained checkpoint."""

import fnmatch
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import TrainingArguments

from rft.curriculum.data import Branches, ClipCollator, TextCollator
from rft.curriculum.trainer import AttributeHeads, StageTrainer
from rft.run_log import RunLog, last_checkpoint, save_whole
from tvad.data.dataset import ClipStore
from tvad.data.sample import Sample, load
from tvad.data.scenes.actors import COLOURS
from tvad.data.scenes.script import ANOMALIES
from tvad.errors import InputError
from tvad.model.modeling import TvadForConditionalGeneration
from tvad.model.processing import TvadProcessor


@dataclass
class LoraSpec:
    """LoRA on q_proj and v_proj of the last `layers` decoder layers (spec: r 16, alpha 32, dropout 0.05, four layers)."""

    layers: int = 4
    r: int = 16
    alpha: int = 32
    dropout: float = 0.05


@dataclass
class Stage:
    """One stage.

    data: "symbols" (text only) or a data set folder. trains: name patterns of parameters ("*" all). attributes: read-outs on video
    tokens (stage 0 of a tiny model). special_tokens: also the three anomaly tokens' embeddings. lora: merged into the weights at the
    end. steps, batch: optimiser steps, and clips (rows) a step. lr: cosine to lr_floor * lr after warmup (share of steps).
    """

    name: str
    data: str
    trains: list[str]
    steps: int
    lr: float
    batch: int = 8
    text_loss: float = 1.0
    heatmap_loss: float = 0.0
    anomalous_weight: float = 1.0
    answer_weight: float = 1.0
    kinds: list[str] | None = None
    dialogue: bool = False
    attributes: bool = False
    special_tokens: bool = False
    text_features: bool = False
    lora: LoraSpec | None = None
    warmup: float = 0.05
    lr_floor: float = 0.05
    weight_decay: float = 0.01
    validation: str | None = None
    validation_clips: int = 120
    save_steps: int = 200
    options: dict = field(default_factory=dict)


def select_trainable(model: torch.nn.Module, patterns: list[str]) -> list[str]:
    """Freeze everything but the parameters that match a pattern; returns their names. InputError for a pattern without a match."""
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


def _train_rows(embedding: torch.nn.Embedding, rows: list[int]) -> None:
    """Let only these rows of an embedding learn."""
    embedding.weight.requires_grad_(True)
    keep = torch.zeros(embedding.weight.shape[0], 1)
    keep[rows] = 1
    embedding.weight.register_hook(lambda grad: grad * keep.to(grad))


def summary(model: torch.nn.Module) -> str:
    """A table of what trains, by module."""
    groups: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        parts = name.replace("base_model.model.", "").split(".")
        group = ".".join(parts[:2]) if parts[0] == "model" else parts[0]
        counts = groups.setdefault(group, [0, 0])
        counts[0] += parameter.numel()
        counts[1] += parameter.numel() if parameter.requires_grad else 0
    lines = [f"  {'module':28s} {'parameters':>12s} {'training':>12s}"]
    lines += [f"  {group:28s} {total:12,d} {training:12,d}" for group, (total, training) in groups.items()]
    return "\n".join(lines)


def run(
    stage: Stage, model: TvadForConditionalGeneration, processor: TvadProcessor, out: Path, seed: int, rate: float, max_frames: int,
    prompts: dict[str, list[str]] | None = None, log=print,
) -> TvadForConditionalGeneration:  # fmt: skip
    """Train `model` by `stage`, resuming from checkpoints in `out`; the merged model is saved there as `model/`."""
    done = out / "model"
    if (done / "stage.json").exists():
        log(f"stage {stage.name}: already done in {done}")
        return TvadForConditionalGeneration.from_pretrained(done)
    if stage.text_features:
        if prompts is None:
            raise InputError(f"stage {stage.name}: text_features needs normal_prompts and abnormal_prompts in the configuration")
        model.set_text_features(processor, prompts)
    frozen = {n: b.clone() for n, b in model.named_buffers() if n.endswith("text_features")}
    if stage.attributes:
        model.attribute_heads = AttributeHeads(model.config.text_config.hidden_size, len(ANOMALIES), len(COLOURS))
    select_trainable(model, [*stage.trains, *(["attribute_heads.*"] if stage.attributes else [])])
    before = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    if stage.lora is not None:
        layers = model.config.text_config.num_hidden_layers
        wanted = "|".join(str(i) for i in range(max(0, layers - stage.lora.layers), layers))
        kept = [n for n, p in model.named_parameters() if p.requires_grad]
        lora = LoraConfig(
            r=stage.lora.r, lora_alpha=stage.lora.alpha, lora_dropout=stage.lora.dropout,
            target_modules=rf".*language_model\.layers\.({wanted})\.self_attn\.(q_proj|v_proj)",
        )  # fmt: skip
        training_model = get_peft_model(model, lora)
        for name, parameter in model.named_parameters():
            if name in kept:
                parameter.requires_grad_(True)
    else:
        training_model = model
    rows: list[int] = []
    if stage.special_tokens:
        config = model.config
        rows = [config.anomaly_start_token_id, config.anomaly_pad_token_id, config.anomaly_end_token_id]
        _train_rows(model.get_input_embeddings(), rows)
    log(f"stage {stage.name}\n{summary(training_model)}")

    branches = Branches(processor, stage.answer_weight)
    evaluation: list[Sample] | None = None
    if stage.data == "symbols":
        dataset, collator = list(range(stage.steps * stage.batch)), TextCollator(branches, seed)
    else:
        dataset = load(stage.data)
        store = ClipStore(rate, max_frames)
        collator = ClipCollator(branches, store, stage.kinds, stage.dialogue, stage.heatmap_loss > 0, stage.attributes)
        if stage.validation:
            evaluation = load(stage.validation)[: stage.validation_clips]
    arguments = TrainingArguments(
        output_dir=str(out), max_steps=stage.steps, per_device_train_batch_size=stage.batch, per_device_eval_batch_size=stage.batch,
        learning_rate=stage.lr, warmup_steps=max(1, round(stage.warmup * stage.steps)), lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": stage.lr_floor}, weight_decay=stage.weight_decay, adam_beta2=0.98, max_grad_norm=1.0,
        logging_steps=25, save_steps=stage.save_steps, save_total_limit=1, seed=seed, data_seed=seed, report_to="none",
        remove_unused_columns=False, dataloader_num_workers=0, eval_strategy="steps" if evaluation else "no",
        eval_steps=stage.save_steps if evaluation else None, use_cpu=not torch.cuda.is_available(), disable_tqdm=True,
        label_names=["weights"], **stage.options,
    )  # fmt: skip
    trainer = StageTrainer(
        model=training_model, args=arguments, train_dataset=dataset, eval_dataset=evaluation, data_collator=collator,
        text_loss=stage.text_loss, heatmap_loss=stage.heatmap_loss, anomalous_weight=stage.anomalous_weight, callbacks=[RunLog(out)],
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=last_checkpoint(out))
    if stage.lora is not None:
        model = training_model.merge_and_unload()
    if stage.attributes:
        del model.attribute_heads
    _check_frozen(stage, model, before, rows, frozen)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    save_whole(done, model, processor)
    history = [h for h in trainer.state.log_history if "loss" in h or "eval_loss" in h]
    (done / "stage.json").write_text(json.dumps({"stage": asdict(stage), "seed": seed, "history": history}, indent=1))
    return model


def _check_frozen(stage, model, before, rows, buffers) -> None:
    """Raise RuntimeError where something outside the stage changed."""
    merged = {f"model.language_model.layers.{i}.self_attn.{p}.weight" for i in range(1000) for p in ("q_proj", "v_proj")}
    for name, parameter in model.named_parameters():
        if name not in before or (stage.lora is not None and name in merged):
            continue
        same = parameter.detach().cpu() == before[name].cpu()
        if name.endswith("embed_tokens.weight") and rows:
            same[rows] = True
        if not bool(same.all()):
            raise RuntimeError(f"stage {stage.name}: {name} changed, but it is not among what this stage trains")
    for name, value in model.named_buffers():
        if name in buffers and not torch.equal(value.cpu(), buffers[name].cpu()):
            raise RuntimeError(f"stage {stage.name}: the text features changed during training")
