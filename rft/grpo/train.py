"""Carries out a reinforcement run: data, policy, engine and trainer from a `GrpoRun`, training, what it
leaves."""

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault(
    "TRL_EXPERIMENTAL_SILENCE", "1"
)  # TRL notes at every start that rollouts are experimental

from datasets import Dataset
from transformers import PrinterCallback, set_seed

from bench.models.base import HoldsModel
from bench.suite import check_pixels, resolved
from rft.common import resume
from rft.common.adapter import adapter_of, save_adapter
from rft.common.model_card import rft_card
from rft.common.run_log import RunLog
from rft.grpo import difficulty, mixture, record, steps, weights
from rft.grpo.ahead import check_staleness
from rft.grpo.buffered import lies_in
from rft.grpo.callbacks import BenchEvaluation, CollapseStop, Terminator
from rft.grpo.config import GrpoRun, check, settings_of
from rft.grpo.engines import engine_of
from rft.grpo.features import FeatureCache, tower_hash
from rft.grpo.held_out import held_out_of, refuse_trained
from rft.grpo.idle import check_idle
from rft.grpo.room import processor_of, room_for
from rft.grpo.run_page import write_run_page
from rft.grpo.skipping import BadClips
from rft.grpo.video_grpo import (
    VideoGRPOTrainer,
)  # brings tvad.model, which registers T-VAD with the Auto classes
from rft.rewards.bounded import BoundedRewards
from rft.rewards.mix import rewards_of
from tvad.common.errors import InputError, Stopped
from tvad.common.files import made, write_whole
from tvad.common.hub import folder
from tvad.common.quiet import note
from tvad.data import load_checked
from tvad.data.dataset import ClipStore
from tvad.data.sample import Sample
from tvad.data.video import Budget
from tvad.model.generation import plain_config
from tvad.model.packing import check_attention


def prompts_of(
    run: GrpoRun, samples: Sequence[Sample], tasks: dict[str, mixture.Task], arguments
) -> list[dict[str, Any]]:
    """The rows that a run asks: as many as its steps need, else every question once. Raises InputError where
    they do not fill a step or a task earns nothing."""
    every = sum(len(mixture.pool_of(samples, name, run.topics)) for name in tasks)
    count = run.prompts or (steps.prompts_wanted(arguments) if arguments.max_steps > 0 else every)
    chances = (
        difficulty.weights(difficulty.pass_rates(run.difficulty.run), run.difficulty.floor)
        if run.difficulty
        else None
    )
    reading = resolved(run.reading, samples, run.prompt, tasks)
    rows = mixture.rows(samples, tasks, count, run.seed, run.topics, run.prompt, chances, reading)
    steps.check_steps(len(rows), arguments)
    steps.check_paid(rows, tasks, run.rewards)
    return rows


def train_set(rows: list[dict[str, Any]]) -> Dataset:
    """Rows as TRL takes them, each as it was: by itself `datasets` gives every part of a message the keys of
    all, a text `video: None`, and published chat templates ask whether a key is there."""
    return Dataset.from_list(rows, on_mixed_types="use_json")


def features_of(run: GrpoRun, model) -> FeatureCache | None:
    """The cache of vision features; InputError where the tower trains, by itself or by LoRA: its features
    would change."""
    if run.features is None:
        return None
    if any(p.requires_grad for p in model.model.visual.parameters()):
        raise InputError(
            "features: the vision tower trains, so its features change; leave it out of `trains` and of"
            " `lora.targets`, or leave out `features`"
        )
    return FeatureCache(run.features.folder, run.features.gigabytes, tower_hash(run.model))


def train(run: GrpoRun, engine=None, resume_with: resume.With = "same") -> VideoGRPOTrainer:
    """Carry out a run; returns the trainer. The result is in `out`/model (and `out`/adapter with LoRA), logs
    in `out`/log.jsonl and `out`/rollouts.jsonl, a page in `out`/run.html. `engine`: an open one, where not
    the run's own is to be opened. resume_with: whether a run that has done steps goes on with other settings
    than it did them (new) or refuses to (same).

    Raises Stopped where SIGTERM or a collapse ended it early; the same call goes on. InputError for a bad
    run, and for one that cannot go on.
    """
    run = dataclasses.replace(run, model=folder(run.model))
    check(run)
    check_attention(run.attention)
    with BoundedRewards(**dataclasses.asdict(run.reward_limits)) as bounded:
        return _train(run, engine, resume_with, bounded)


def _train(run: GrpoRun, engine, resume_with: resume.With, bounded: BoundedRewards) -> VideoGRPOTrainer:
    tasks = mixture.tasks_of(run.tasks)
    own = {name: task.rewards for name, task in tasks.items()}
    functions, shares = rewards_of(run.rewards, own, bounded.named)
    arguments: Any = settings_of(run, shares)  # Any: TRL types as optional what it has filled in
    steps.check_numbers(run, arguments)
    check_staleness(run.staleness, run.engine, run.method, arguments)
    check_idle(run, arguments)
    samples = load_checked(run.data, drop=run.drop_bad_rows)
    rows = prompts_of(run, samples, tasks, arguments)
    held_out, others = held_out_of(run, tasks, arguments)
    refuse_trained(held_out, others, samples)
    standing = _standing(run, arguments, samples, len(rows), resume_with)
    evaluation = BenchEvaluation(run.evaluate, Path(run.out)) if run.evaluate else None
    if evaluation:
        check_pixels(evaluation.suite, run.model, Budget.of(run))
    processor, completion = processor_of(run), arguments.max_completion_length
    watched = (evaluation.suite, evaluation.items) if evaluation else None
    room = room_for(run, processor, rows, samples, completion, watched)
    if held_out:
        room = max(room, room_for(run, processor, held_out, others, completion))
    set_seed(run.seed)  # LoRA starts random, before the trainer seeds itself
    model = weights.loaded(run.model, arguments, run.attention)
    model.generation_config = plain_config(model.generation_config, processor.tokenizer)
    dtype = model.dtype
    tuner, held = weights.made_trainable(model, run, arguments)
    features = features_of(run, model)
    out = made(run.out)
    if engine is None:
        engine = engine_of(run, model, processor, arguments.generation_batch_size, room, completion)
    elif isinstance(engine, HoldsModel):
        engine.model = model
    log, collapse, store = RunLog(out), CollapseStop(run.watch), ClipStore(run.rate, run.max_frames)
    bad_clips = BadClips(store) if run.skip_bad_clips else None
    with Terminator() as terminator:
        trainer = VideoGRPOTrainer(
            model=model,
            reward_funcs=functions,
            args=arguments,
            train_dataset=train_set(rows),
            eval_dataset=train_set(held_out) if held_out else None,
            processing_class=processor,
            engine=engine,
            store=store,
            once_per_group=run.once_per_group,
            method=run.method,
            reg_scale=run.reg_scale,
            redraws=run.redraws,
            features=features,
            tuner=tuner,
            held=held,
            tokens=run.tokens,
            dtype=dtype,
            bad_clips=bad_clips,
            staleness=run.staleness,
            # Opened here and not by TRL: see `VideoGRPOTrainer.__init__`.
            reference=weights.reference(run, arguments, model) if arguments.beta else None,
            callbacks=[log, collapse, terminator, *([evaluation] if evaluation else [])],
        )
        log.trainer, trainer.new_settings = trainer, bool(standing.changes)
        if evaluation:
            evaluation.trainer = trainer
        trainer.remove_callback(PrinterCallback)
        if run.decoders:
            # The sampler tells the order in which prompts come, so that clips are decoded just ahead of it.
            order = dict.fromkeys(rows[i]["video"] for i in trainer._get_train_sampler())
            store.prefetch(order, run.decoders)
        try:
            # A checkpoint brings back optimiser, schedule, step and the sampler's place; rollouts are seeded
            # by step: a resumed run equals one that was not interrupted.
            trainer.accelerator.wait_for_everyone()  # all have read what stood there
            if trainer.accelerator.is_main_process:
                standing.write(out)
            trainer.train(resume_from_checkpoint=standing.checkpoint)
        finally:
            store.stop_prefetch()
            trainer.end_ahead()
    if bad_clips and bad_clips.found:
        note(bad_clips.told())
    if trainer.accelerator.is_main_process:
        write_run_page(out)
    if terminator.caught:
        goes_on = (
            "it cannot be resumed" if arguments.save_only_model else "the same command goes on from there"
        )
        raise Stopped(f"stopped by SIGTERM after step {trainer.state.global_step}; {goes_on}", 143)
    _keep(run, trainer, out)
    if collapse.reason:
        raise Stopped(f"stopped early: {collapse.reason}; see {out / 'run.html'}", 3)
    return trainer


def _standing(
    run: GrpoRun, arguments, samples: Sequence[Sample], prompts: int, resume_with: resume.With
) -> record.Standing:
    """Where the run over so many prompts stands; what will not be able to go on is said on stderr."""
    if arguments.save_only_model or arguments.save_strategy == "no":
        kept = "hold weights alone" if arguments.save_only_model else "are not written"
        note(f"training: checkpoints {kept}: this run cannot be resumed")
    processes = arguments.world_size
    facts = record.made_of(run, samples, processes)
    standing = record.standing(run, arguments, facts, resume_with)
    cycle = arguments.steps_per_generation * arguments.num_iterations
    inside = steps.passes_done(standing.step, prompts, arguments)[1] % cycle
    if standing.checkpoint and inside and (standing.changes or not lies_in(standing.checkpoint, processes)):
        note(f"{standing.checkpoint}: lies inside a rollout, which serves {cycle} passes: it is drawn anew")
    if standing.changes:
        told = "; ".join(map(str, standing.changes))
        note(f"from step {standing.step + 1} on: {told}")
    return standing


def _keep(run: GrpoRun, trainer: VideoGRPOTrainer, out: Path) -> None:
    """Write the trained model with its card, and the adapters by themselves where LoRA trained."""
    trainer.save_policy(out / "model")
    if trainer.accelerator.is_main_process:
        write_whole(out / "model" / "README.md", rft_card(run, out, sys.argv))
    if trainer.tuner is not None:
        found = adapter_of(trainer.tuner, trainer._gather)
        if trainer.accelerator.is_main_process:
            save_adapter(found, out / "adapter", run.model)
