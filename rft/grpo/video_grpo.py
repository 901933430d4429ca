"""GRPO with video: the only place that extends TRL's GRPOTrainer (1.16; `tests/rft/test_video_grpo.py` fails
loudly when it moves).

What is taken over from TRL, and how:
- rollouts: TRL's `rollout_func` hook calls `VideoGRPOTrainer.rollout`, which samples whole groups from a
  `bench.models` engine or from rollout servers (`rft.grpo.servers`);
- log-probs: `_get_per_token_logps_and_entropies` is replaced. TRL knows images and encodes them once per
  completion; here every completion carries the index of its group (`group_index`, a tensor that survives
  TRL's shuffling and splitting), the group's clip is encoded once and its prompt is computed once
  (`rft.grpo.logprobs`);
- groups without signal may be drawn again (`_generate_and_score_completions`), rates of parse defects are
  logged (`_calculate_rewards`), Reg-GRPO replaces the loss (`_compute_loss`);
- a rollout that serves several passes keeps its groups whole (`_prepare_inputs`), and lies beside a
  checkpoint that is written in between (`_save_rng_state`, `_load_optimizer_and_scheduler`);
- the trainer/sampler gap: log-probs of the engine against those of the first pass, logged at every step, and
  the loss corrected for it (`rft.grpo.importance`).
"""

import math
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
from trl.models import prepare_deepspeed, prepare_fsdp
from trl.trainer.utils import split_tensor_dict

from bench.models.base import Completion, KeepsPrompts, Request, Sampling, SharesTower
from rft.common.restored import GoesOn
from rft.grpo import buffered, steps
from rft.grpo.ahead import DrawsAhead
from rft.grpo.config import TOKENS
from rft.grpo.features import FeatureCache, clip_keys, kept_by, seen_clips, shared_precision
from rft.grpo.held_out import Watches
from rft.grpo.importance import Pooled, compared, correction_of
from rft.grpo.logprobs import group_logprobs, groups_in, padded
from rft.grpo.passes import passes
from rft.grpo.pictures import LogsPictures
from rft.grpo.redraw import redrawn, without_signal
from rft.grpo.reg_grpo import regression_loss
from rft.grpo.rollout import MicroBatch, Rollout, group_starts, prompt_ids_of, video_of
from rft.grpo.served import Served
from rft.grpo.servers import RolloutServers
from rft.grpo.skipping import BadClips
from rft.rewards.base import defect_shares, needs_of
from rft.rewards.mix import total, unpaid
from tvad.common.errors import InputError
from tvad.data.dataset import ClipStore
from tvad.data.video import Frames
from tvad.model.processing import TvadProcessor


class VideoGRPOTrainer(DrawsAhead, Served, Watches, GoesOn, LogsPictures, GRPOTrainer):
    """GRPOTrainer for a T-VAD policy. Rows of the data set: see `rft.grpo.mixture.row_of`.

    engine: a `bench.models` engine. store: sampled clips. once_per_group: encode a clip and its prompt once
    per group (False: once per completion, as TRL does; kept for comparison). method: grpo (TRL's losses) or
    reg_grpo with `reg_scale`. redraws: how often groups whose completions all earn the same are replaced by
    other prompts in a step (dynamic sampling, as DAPO's; 0 never). features: where to keep what a frozen
    vision tower makes of clips. tuner: PEFT's LoraModel around the policy, where LoRA trains. held: the
    weights that the policy has in four bits, as they were. tokens: of a log-prob pass; groups of similar
    length share one. bad_clips: where clips that cannot be decoded are skipped. reference: the model that
    `beta` keeps the policy near. dtype: of the policy where engines and checkpoints get it, None as it
    trains. staleness: optimiser steps that completions may be older than the weights that they train
    (`rft.grpo.ahead`).

    Raises InputError for settings that cannot work together.
    """

    args: GRPOConfig
    model: Any
    ref_model: Any
    processing_class: TvadProcessor
    train_dataset: Dataset
    num_generations: int
    num_generations_eval: int
    max_completion_length: int

    def __init__(
        self,
        *,
        args: GRPOConfig,
        engine,
        store: ClipStore,
        once_per_group: bool = True,
        method: str = "grpo",
        reg_scale: float = 1.0,
        redraws: int = 0,
        features: FeatureCache | None = None,
        tuner=None,
        held: dict[str, torch.Tensor] | None = None,
        tokens: int = TOKENS,
        reference=None,
        dtype: torch.dtype | None = None,
        bad_clips: BadClips | None = None,
        staleness: int = 0,
        **kwargs,
    ):
        self.engine, self.store, self.features, self.tuner = engine, store, features, tuner
        self.once_per_group, self.method, self.reg_scale = once_per_group, method, reg_scale
        self.redraws, self.tokens, self.dtype, self.bad_clips = redraws, tokens, dtype, bad_clips
        self.held, self.staleness = held or {}, staleness
        self.begin_ahead()
        if isinstance(engine, RolloutServers):
            engine.maps = self.own_heatmaps
        self._pooled = Pooled()
        self._rollout: Rollout | None = None  # the clips that the buffered rows are about
        self._micro: MicroBatch | None = (
            None  # what the loss at hand is about; None while rollouts are scored
        )
        self._drawing = 0  # 0 for a rollout, counted up when some of its groups are drawn again
        if args.use_vllm:
            raise InputError("use_vllm belongs to TRL's own engine; set `engine` instead")
        if args.beta and reference is None:
            raise InputError("beta is above 0: give the reference model")
        # TRL would open the reference by a class name of transformers' own, and take a language model for one
        # that it does not know: it is told that there is no KL term until its own part is done.
        beta, args.beta = args.beta, 0.0
        self.correction = correction_of(args) if method == "grpo" else None
        super().__init__(args=args, rollout_func=lambda prompts, _: self.rollout(prompts), **kwargs)
        self.beta = self.args.beta = beta
        if self.held and (self.is_deepspeed_enabled or self.is_fsdp_enabled):
            raise InputError(
                "load_in_4bit: what is in four bits is not sharded; leave out DeepSpeed and FSDP"
            )
        if beta:
            self.ref_model = self._prepared(reference.eval().requires_grad_(False))

    def _prepared(self, reference):
        """The reference as the policy is wrapped: by DeepSpeed, FSDP or plainly."""
        if self.is_deepspeed_enabled:
            return prepare_deepspeed(reference, self.accelerator)
        if self.is_fsdp_enabled:
            return prepare_fsdp(reference, self.accelerator)
        return self.accelerator.prepare_model(reference, evaluation_mode=True)

    @property
    def _mode(self) -> str:
        """How TRL files metrics."""
        return "train" if self.model.training else "eval"

    def rollout(self, prompts: list) -> dict:
        """TRL's hook: prompts repeated per completion -> prompt ids, completion ids, engine log-probs
        and ends of the prompts, each a list of B; for rewards that need them also `heat` and `times`."""
        size = self.num_generations if self.model.training else self.num_generations_eval
        starts = group_starts(prompts, size)
        counts = np.diff([*starts, len(prompts)])
        group_index = np.repeat(np.arange(len(starts)), counts).tolist()
        asked = [prompts[start] for start in starts]
        clips = [self.store.load(video_of(prompt)) for prompt in asked]
        vision = self.processing_class.vision_inputs(clips)
        self._rollout = self._of_clips([video_of(prompt) for prompt in asked], vision, group_index)
        with self._one_tower(clips):
            found, maps = self._answers(asked, clips, int(counts.max()))
        prompt_ids, ends = prompt_ids_of(self.processing_class, asked, clips, vision["video_grid_thw"])
        if isinstance(self.engine, KeepsPrompts) and self.engine.prompt_ids != prompt_ids:
            raise RuntimeError("the engine and the processor expand the prompt differently")
        completions = [c for group, count in zip(found, counts, strict=True) for c in group[:count]]
        output = {
            "prompt_ids": [prompt_ids[g] for g in group_index],
            "completion_ids": [c.ids for c in completions],
            "logprobs": [c.logprobs for c in completions],
            "prompt_ends": [ends[g] for g in group_index],
            "max_completion_length": self.max_completion_length,
        }
        if maps is not None:
            output |= {
                "heat": [maps[g] for g in group_index],
                "times": [clips[g].moments for g in group_index],
            }
        return output

    @cached_property
    def _shared(self) -> str | None:
        """Under which precision an engine keeps what its tower, which is the policy's, makes of clips."""
        with self.accelerator.autocast():
            return shared_precision(self.engine, self.core)

    def _one_tower(self, clips: list[Frames]) -> AbstractContextManager[None]:
        """Within it an engine that shares its tower keeps its features of the last rollout's `clips`."""
        if self.features is None or self._shared is None or not isinstance(self.engine, SharesTower):
            return nullcontext()
        keys = [f"{key}-{self._shared}" for key in self._last_rollout().keys]
        return kept_by(self.engine, self.features, clips, keys, self.processing_class)

    def _of_clips(
        self, videos: list[str], vision: dict[str, torch.Tensor], group_index: list[int]
    ) -> Rollout:
        keys = clip_keys(vision) if self.features is not None else []
        return Rollout(vision, videos, keys, torch.tensor(group_index))

    def _answers(
        self, prompts: list, clips: list[Frames], count: int
    ) -> tuple[list[list[Completion]], list[np.ndarray] | list[None] | None]:
        """`count` completions of every prompt, and where a reward needs them the clips' heatmaps (None each
        from a model that has none)."""
        drawn, own = None, self.model.training and not self._drawing
        if self.staleness and own:
            drawn = self.drawn_ahead(prompts)
        if drawn is not None:
            found, maps = self.engine.keep(drawn), self._maps(clips)
        else:
            asked, sampling = self._questions(prompts, clips, self._step, count)
            found, maps = self._with_engine(lambda: (self.engine.sample(asked, sampling), self._maps(clips)))
        if isinstance(self.engine, RolloutServers):
            for name, value in self.engine.figures.items():
                self._log_metric(name, value)
        if self.staleness and own:
            self.draw_ahead()
        return found, maps

    def _questions(
        self, prompts: list, clips: list[Frames], place: int, count: int
    ) -> tuple[list[Request], Sampling]:
        """What the engine is asked at pass `place`, which may be a later one."""
        # Seeded by step, so that a resumed run draws what the uninterrupted one would have drawn; by rollout
        # within a step, and by the number of its drawing, so that a prompt drawn again draws anew.
        later = (place - self._step) // self.args.gradient_accumulation_steps
        now = self.state.global_step + later
        step = self.args.seed * 1_000_003 + now if self.model.training else self.args.seed
        seed = step + 7919 * self.accelerator.process_index
        sampling = Sampling(count, self.temperature, self.top_p, self.max_completion_length, seed)
        asked = [
            Request(prompt, clip, key=f"{place}.{self._drawing}.{n}")
            for n, (prompt, clip) in enumerate(zip(prompts, clips, strict=True))
        ]
        return asked, sampling

    def _maps(self, clips: list[Frames]) -> list[np.ndarray] | list[None] | None:
        if not any("heat" in needs_of(reward) for reward in self.reward_funcs):
            return None
        return self.engine.heatmaps(clips) or [None] * len(clips)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """TRL's (B of all processes, R), and what was wrong with the completions: the share with any defect
        and with each, and the reward of every task."""
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        # TRL would take a row that is watched alone (weight 0) for one that earned 0.
        rewards[unpaid(rewards, self.reward_weights.to(rewards.device))] = math.nan
        if bool(rewards.isnan().all()):
            raise InputError(f"rewards: none applies to any of the {len(rewards)} completions of a rollout")
        size = self.num_generations if self.model.training else self.num_generations_eval
        apart = self.multi_objective_aggregation == "normalize_then_sum"
        self._flat = without_signal(rewards, self.reward_weights.to(rewards.device), size, apart)
        for name, share in defect_shares(completions, inputs).items():
            self._log_metric(f"parse/{name}", share)
        start = self.accelerator.process_index * len(prompts)
        own = total(rewards[start : start + len(prompts)], self.reward_weights.to(rewards.device))
        for task in sorted({row["task"] for row in inputs}):
            earned = own[[row["task"] == task for row in inputs]]
            self._log_metric(f"tasks/{task}", float(earned[~earned.isnan()].mean()))
        return rewards

    def _generate_and_score_completions(self, inputs):
        self._drawing = 0
        output = self._drawn(inputs)
        if self.redraws and self.model.training:
            output = self._redrawn(output)
        return output

    def _last_rollout(self) -> Rollout:
        if self._rollout is None:
            raise RuntimeError("log-probs are asked for before anything was drawn")
        return self._rollout

    def _prepare_inputs(self, generation_batch):
        """TRL's, but for the order of a rollout's rows: its groups stay whole."""
        if not self.model.training:
            return super()._prepare_inputs(generation_batch)
        count = self.args.steps_per_generation
        if self._step % (count * self.num_iterations) == 0 or self._buffered_inputs is None:
            output = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = split_tensor_dict(buffered.by_groups(output), count)
        return self._buffered_inputs[self._step % count]

    def _get_train_sampler(self, dataset=None):
        self._sampler = super()._get_train_sampler(dataset)
        return self._sampler

    def _save_rng_state(self, output_dir):
        if self._step % (self.args.steps_per_generation * self.num_iterations):
            buffered.save(output_dir, self.accelerator, self._buffered_inputs, self._last_rollout().videos)
        super()._save_rng_state(output_dir)  # which waits for all: last

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        # TRL counts passes from 0 again, and would make rollouts at other steps than an uninterrupted run;
        # its sampler would repeat the order of the first epoch.
        epochs, self._step = steps.passes_done(self.state.global_step, len(self.train_dataset), self.args)
        for _ in range(epochs):
            torch.randperm(len(self.train_dataset), generator=self._sampler.generator)
        inside = self._step % (self.args.steps_per_generation * self.num_iterations)
        if inside and not self.new_settings and buffered.lies_in(checkpoint, self.accelerator.num_processes):
            self._buffered_inputs, videos = buffered.load(checkpoint, self.accelerator)
            vision = self.processing_class.vision_inputs([self.store.load(video) for video in videos])
            self._rollout = self._of_clips(videos, vision, [])

    def _drawn(self, inputs) -> dict:
        """TRL's rollout, rewards and advantages, and which clip each row is about."""
        if self.bad_clips is not None:
            inputs = self.bad_clips.replaced(self, inputs)
        output = super()._generate_and_score_completions(inputs)
        rollout = self._last_rollout()
        output["group_index"] = rollout.group_index.to(output["completion_ids"].device)
        self.keep_pictures([rollout.videos[i] for i in rollout.group_index.tolist()])
        # TRL decides by deviations, which rounding keeps from 0.
        self._metrics[self._mode]["frac_reward_zero_std"][-1] = float(self._flat.float().mean())
        return output

    def _without_signal(self, count: int) -> list[int]:
        """Which of this process's `count` groups of those just drawn teach nothing."""
        start = self.accelerator.process_index * count
        return self._flat[start : start + count].nonzero().flatten().tolist()

    def _redrawn(self, output: dict) -> dict:
        """Replace groups without signal by other prompts, as long as there are some and `redraws` allows."""
        size, pad_id = self.num_generations, self._tokenizer.pad_token_id
        count = len(output["advantages"]) // size
        # By pass and not by step, which may have several rollouts.
        rng = np.random.default_rng([self.args.seed, self._step, self.accelerator.process_index])

        def draw(drawing: int, wanted: int) -> tuple[dict, list[int]]:
            kept, self._drawing = self._last_rollout(), drawing
            chosen = rng.choice(len(self.train_dataset), wanted, replace=len(self.train_dataset) < wanted)
            fresh = self._drawn([dict(self.train_dataset[int(i)]) for i in chosen for _ in range(size)])
            # The new clips come behind the old ones, which stay though some are no longer asked about: the
            # rows keep their indices, the new rows' grow by the number of old clips.
            fresh["group_index"] = fresh["group_index"] + len(kept)
            self._rollout = kept.joined(self._last_rollout())
            return fresh, self._without_signal(wanted)

        empty, share = self._without_signal(count), float(self._flat.float().mean())
        output, found = redrawn(output, empty, self.redraws, size, pad_id, self.accelerator, draw)
        # TRL divides token losses by this; the new completions have other lengths.
        output["num_items_in_batch"] = self.accelerator.gather(output["completion_mask"].sum()).sum()
        found = self.accelerator.gather(output["advantages"].new_tensor([found / count])).mean()
        self._metrics["train"]["dynamic/no_signal"].append(share)
        self._metrics["train"]["dynamic/replaced"].append(float(found))
        return output

    def _compute_loss(self, model, inputs):
        self._micro = MicroBatch(dict(inputs))
        # TRL multiplies by the ratio, which `compared` adds, for an engine of its own alone.
        self.use_vllm = self.correction is not None and torch.is_grad_enabled()  # an evaluation's is watched
        try:
            if self.method == "reg_grpo":
                return self._regression_loss(model, self._micro.inputs)
            return super()._compute_loss(model, self._micro.inputs)
        finally:
            self._micro, self.use_vllm = None, False

    def _regression_loss(self, model, inputs) -> torch.Tensor:
        """Reg-GRPO's loss (`rft.grpo.reg_grpo`); rho is summed over a completion's tokens."""
        mask = inputs["completion_mask"]
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        attention = torch.cat([inputs["prompt_mask"], mask], 1)
        logps, entropies, _ = self._get_per_token_logps_and_entropies(
            model, ids, attention, mask.shape[1], compute_entropy=True
        )
        # Without old log-probs the policy is the one that drew: rho is 0, its gradient is not.
        old = inputs.get("old_per_token_logps")
        rho = ((logps - (logps.detach() if old is None else old)) * mask).sum(1)
        spread = (entropies * mask).sum() / mask.sum().clamp(min=1)
        for name, value in (("entropy", spread), ("reg/log_ratio", rho.detach().abs().mean())):
            self._metrics[self._mode][name].append(float(self.accelerator.gather(value).mean()))
        return regression_loss(rho, inputs["group_index"], inputs["advantages"], self.reg_scale)

    def _get_per_token_logps_and_entropies(
        self,
        model,
        input_ids,
        attention_mask,
        logits_to_keep,
        batch_size=None,
        compute_entropy=False,
        compute_aux_loss=False,
        **images,
    ):
        """TRL's, for clips: log-probs (B, C) of the completions' tokens, entropies (B, C) or None, and None.
        `batch_size`, TRL's rows a pass, gives way to `tokens`. Raises NotImplementedError for an auxiliary
        loss of experts and for images."""
        if compute_aux_loss or any(value is not None for value in images.values()):
            raise NotImplementedError("T-VAD's log-probs know no auxiliary loss and no images, only clips")
        rollout = self._last_rollout()
        # In a loss the rows are a part of the buffered ones; else they are those just drawn.
        group_index = (self._micro or rollout).group_index.tolist()
        groups = groups_in(input_ids, attention_mask, logits_to_keep, group_index, self.once_per_group)
        logps, entropies = ([input_ids.new_empty(0)] * len(input_ids) for _ in range(2))
        with self.accelerator.autocast():
            for chosen in passes(groups, self.tokens, self.accelerator):
                clips = [group.clip for group in chosen]
                found = group_logprobs(
                    model,
                    self.core,
                    [group.prompt for group in chosen],
                    [group.completions for group in chosen],
                    rollout.clips(clips),
                    self.temperature,
                    self._tokenizer.pad_token_id,
                    (
                        seen_clips(self.features, self.core, rollout, clips, self.accelerator, self._shared)
                        if self.features
                        else None
                    ),
                    compute_entropy and self._entropy_bonus_enabled,
                )
                for group, values, spreads in zip(chosen, *found, strict=True):
                    for row, value, spread in zip(group.members, values, spreads, strict=True):
                        logps[row], entropies[row] = value, spread
        per_token = padded(logps, logits_to_keep)
        if torch.is_grad_enabled() and self._micro is not None:
            for name, values in compared(self._micro, per_token.detach(), self.correction).items():
                self._pooled.add(name, values, self.accelerator)
        return per_token, padded(entropies, logits_to_keep) if compute_entropy else None, None

    def log(self, logs, start_time=None):
        """TRL's, without what is undefined at this step (a reward whose task did not occur)."""
        metrics = self._metrics[self._mode]
        if self.model.training:
            metrics.update({name: [value] for name, value in self._pooled.taken().items()})
        for name, values in list(metrics.items()):
            metrics[name] = [value for value in values if value is not None and not math.isnan(value)]
            if not metrics[name]:
                del metrics[name]
        super().log(logs, start_time)
