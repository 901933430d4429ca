"""GRPO with video: the only place that extends TRL's GRPOTrainer (1.16; `tests/rft/test_video_grpo.py` fails
loudly when it moves).

What is taken over from TRL, and how:
- rollouts: TRL's `rollout_func` hook calls `VideoGRPOTrainer.rollout`, which samples whole groups from a
  `bench.models` engine or from rollout servers (`rft.grpo.server`);
- log-probs: `_get_per_token_logps_and_entropies` is replaced. TRL knows images and encodes them once per
  completion; here every completion carries the index of its group (`group_index`, a tensor that survives
  TRL's shuffling and splitting), the group's clip is encoded once and its prompt is computed once
  (`tvad.model.packing`);
- groups without signal may be drawn again (`_generate_and_score_completions`), rates of parse defects are
  logged (`_calculate_rewards`), Reg-GRPO replaces the loss (`_compute_loss`), checkpoints are whole or absent
  (`_save_checkpoint`);
- the trainer/sampler gap: log-probs of the engine against those of the first pass, logged at every step.
"""

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch.nn import functional as F
from trl import GRPOTrainer
from trl.models import prepare_deepspeed, prepare_fsdp
from trl.models.utils import unwrap_model_for_generation

from bench.models.base import Request, Sampling
from bench.models.hf import batches
from rft.common.run_log import save_whole
from rft.grpo.features import FeatureCache, clip_hash
from rft.rewards import completion_text
from tvad.answer import parse
from tvad.common.errors import InputError
from tvad.data.dataset import ClipStore
from tvad.data.sample import DIALOGUE_TURN
from tvad.model.clips import SeenClip
from tvad.model.modeling import TvadForConditionalGeneration
from tvad.model.packing import pack
from tvad.model.processing import TvadProcessor

VISION = ("pixel_values_videos", "video_grid_thw", "second_per_grid_ts")
TOKENS = 1 << 16


def group_logprobs(
    model,
    core: TvadForConditionalGeneration,
    prompts: list[torch.Tensor],
    completions: list[list[torch.Tensor]],
    vision: dict[str, torch.Tensor],
    temperature: float,
    pad_id: int,
    seen: list[SeenClip] | None = None,
) -> tuple[list[list[torch.Tensor]], list[list[torch.Tensor]]]:
    """Log-probs and entropies of groups: every clip encoded and every prompt computed once.

    prompts: ids (P_g,) of each group; completions: ids of its completions; vision: the groups' clips in
    order; seen: what the vision tower made of them, where that is known. Returns two nested lists of (n,)
    tensors in the order of `completions`.
    """
    # The last prompt token predicts the first token of every completion, so it belongs to the branches.
    branches = [
        [torch.cat([prompt[-1:], c]) for c in group]
        for prompt, group in zip(prompts, completions, strict=True)
    ]
    packed = pack([prompt[:-1] for prompt in prompts], branches, pad_id)
    length = max(len(prompt) - 1 for prompt in prompts)
    index = torch.arange(len(prompts), device=packed.input_ids.device)
    positions, _ = core.model.get_rope_index(
        packed.input_ids[:, :length],
        video_grid_thw=vision["video_grid_thw"],
        second_per_grid_ts=vision["second_per_grid_ts"],
        attention_mask=packed.segment[:, :length] == 0,
        clip_index=index,
    )
    # A position is needed if it and its successor belong to the same branch.
    same = (packed.segment[:, 1:] == packed.segment[:, :-1]) & (packed.segment[:, 1:] > 0)
    keep = F.pad(same, (0, 1))
    device = core.device
    clips = {"seen": seen} if seen is not None else {k: v.to(device) for k, v in vision.items()}
    logits = (
        model(
            input_ids=packed.input_ids.to(device),
            attention_mask=packed.attention_mask().to(device),
            position_ids=packed.position_ids(positions).to(device),
            clip_index=index.to(device),
            logits_to_keep=keep.to(device),
            use_cache=False,
            **clips,
        ).logits.float()
        / temperature
    )
    log_p = logits.log_softmax(-1)
    targets = packed.input_ids[:, 1:][same].to(device)
    values = log_p.gather(-1, targets[:, None])[:, 0]
    entropy = -(log_p.detach().exp() * log_p.detach()).sum(-1)
    sizes = [len(c) for group in completions for c in group]
    flat = [values.split(sizes), entropy.split(sizes)]
    nested: list[list[list[torch.Tensor]]] = [[], []]
    for which, parts in enumerate(flat):
        at = 0
        for group in completions:
            nested[which].append(list(parts[at : at + len(group)]))
            at += len(group)
    return nested[0], nested[1]


def predicted_advantages(log_ratio: torch.Tensor, groups: torch.Tensor, scale: float) -> torch.Tensor:
    """Reg-GRPO's prediction (DeepVideo-R1, arXiv 2506.07464): the KL-regularised optimum has r = beta log(pi
    / pi_old) + beta log Z(x), so that a group's normalised advantage is (beta / sigma_r) (rho_i - mean rho),
    rho = log pi(y_i) / pi_old(y_i); log Z cancels.

    log_ratio (B,) rho of whole completions, groups (B,), scale beta / sigma_r, a constant here (ours) ->
    (B,).
    """
    _, place = groups.unique(return_inverse=True)
    count = torch.zeros(int(place.max()) + 1, device=log_ratio.device).index_add_(
        0, place, torch.ones_like(log_ratio)
    )
    total = torch.zeros_like(count).index_add(0, place, log_ratio)
    return scale * (log_ratio - (total / count)[place])


class VideoGRPOTrainer(GRPOTrainer):
    """GRPOTrainer for a T-VAD policy. Rows of the data set: see `rft.grpo.mixture.row_of`.

    engine: a `bench.models` engine. store: sampled clips. once_per_group: encode a clip and its prompt once
    per group (False: once per completion, as TRL does; kept for comparison). method: grpo (TRL's losses) or
    reg_grpo with `reg_scale`. redraws: how often groups whose completions all earn the same are replaced by
    other prompts in a step (dynamic sampling, as DAPO's; 0 never). features: where to keep what a frozen
    vision tower makes of clips. tuner: PEFT's LoraModel around the policy, where LoRA trains. tokens: of a
    log-prob pass; groups of similar length share one. reference: the model that `beta` keeps the policy near.
    """

    def __init__(
        self,
        *args,
        engine,
        store: ClipStore,
        once_per_group: bool = True,
        method: str = "grpo",
        reg_scale: float = 1.0,
        redraws: int = 0,
        features: FeatureCache | None = None,
        tuner=None,
        tokens: int = TOKENS,
        reference=None,
        **kwargs,
    ):
        self.engine, self.store, self.once_per_group, self.method, self.reg_scale = (
            engine,
            store,
            once_per_group,
            method,
            reg_scale,
        )
        self.redraws, self.features, self.tuner, self.tokens = redraws, features, tuner, tokens
        self._rows: torch.Tensor | None = None
        self._vision: dict[str, torch.Tensor] = {}
        self._keys: list[str] = []
        if getattr(kwargs.get("args"), "use_vllm", False):
            raise InputError("use_vllm belongs to TRL's own engine; set `engine` instead")
        # TRL would open the reference by a class name of transformers' own, and take a language model for one
        # that it does not know.
        beta, kwargs["args"].beta = kwargs["args"].beta, 0.0
        super().__init__(*args, rollout_func=lambda prompts, trainer: trainer.rollout(prompts), **kwargs)
        self.beta = self.args.beta = beta
        if beta:
            if reference is None:
                raise InputError("beta is above 0: give the reference model")
            prepare = (
                prepare_deepspeed
                if self.is_deepspeed_enabled
                else prepare_fsdp
                if self.is_fsdp_enabled
                else None
            )
            reference = reference.eval().requires_grad_(False)
            self.ref_model = (
                prepare(reference, self.accelerator)
                if prepare
                else self.accelerator.prepare_model(reference, evaluation_mode=True)
            )
        if method == "reg_grpo" and self.args.steps_per_generation > 1:
            raise InputError(
                "method reg_grpo compares whole groups: set gradient_accumulation_steps and"
                " steps_per_generation to 1"
            )
        self._synced_step = -1

    @property
    def core(self) -> TvadForConditionalGeneration:
        model = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def gathered(self):
        """A context in which parameters that ZeRO-3 has sharded are whole."""
        if self.is_deepspeed_enabled and self.accelerator.state.deepspeed_plugin.zero_stage == 3:
            import deepspeed

            return deepspeed.zero.GatheredParameters(list(self.core.parameters()))
        return nullcontext()

    @contextmanager
    def _whole_weights(self) -> Iterator[list[tuple[str, torch.Tensor]]]:
        """The policy's weights as an engine takes them: gathered where they are sharded (ZeRO-3, FSDP2), LoRA
        merged into them."""
        with self.gathered():
            if self.tuner is not None:
                self.tuner.merge_adapter()
            try:
                yield [
                    (
                        name.replace(".base_layer", ""),
                        tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor,
                    )
                    for name, tensor in self.core.engine_weights()
                    if "lora_" not in name
                ]
            finally:
                if self.tuner is not None:
                    self.tuner.unmerge_adapter()

    def sync_weights(self) -> None:
        """Give the engine the current weights, once per optimiser step. A shared engine gets them from the
        first process."""
        if self.state.global_step == self._synced_step:
            return
        with self._whole_weights() as weights:
            if self.accelerator.is_main_process or not getattr(self.engine, "shared", False):
                self.engine.sync(weights)
        self.accelerator.wait_for_everyone()
        self._synced_step = self.state.global_step

    @contextmanager
    def engine_ready(self) -> Iterator[None]:
        """The engine awake and with the current weights; it sleeps again afterwards, if it can. generate gets
        the policy, gathered."""
        if hasattr(self.engine, "wake"):
            self.engine.wake()
        self.sync_weights()
        policy = (
            unwrap_model_for_generation(self.model_wrapped, self.accelerator)
            if self.engine.name == "hf"
            else nullcontext()
        )
        with policy as model:
            if model is not None:
                self.engine.model = model
            yield
        if hasattr(self.engine, "sleep"):
            self.engine.sleep()

    def rollout(self, prompts: list) -> dict:
        """TRL's hook: prompts repeated per completion -> prompt ids, completion ids, engine log-probs, group
        index."""
        processor: TvadProcessor = self.processing_class
        mode = "train" if self.model.training else "eval"
        size = self.num_generations if mode == "train" else self.num_generations_eval
        keys = [
            (
                _video_of(prompt),
                processor.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True),
            )
            for prompt in prompts
        ]
        # TRL repeats every prompt `size` times in a row; the same prompt drawn twice makes two groups.
        groups: list[tuple[str, str]] = []
        starts: list[int] = []
        for i, key in enumerate(keys):
            if not groups or key != groups[-1] or i - starts[-1] == size:
                groups.append(key)
                starts.append(i)
        counts = np.diff([*starts, len(keys)])
        rows = np.repeat(np.arange(len(groups)), counts).tolist()
        clips = [self.store.load(path) for path, _ in groups]
        seed = self.args.seed * 1_000_003 + self.state.global_step if mode == "train" else self.args.seed
        sampling = Sampling(
            int(counts.max()),
            self.temperature,
            self.top_p,
            self.max_completion_length,
            seed + 7919 * self.accelerator.process_index,
        )
        with self.engine_ready():
            found = self.engine.sample(
                [Request(prompts[start], clip) for start, clip in zip(starts, clips, strict=True)], sampling
            )
            maps = (
                (self.engine.heatmaps(clips) or [None] * len(clips))
                if "evidence" in self.reward_func_names
                else None
            )
        vision = processor.vision_inputs(clips)
        texts = [
            processor.expand(text, grid, clip)
            for (_, text), grid, clip in zip(groups, vision["video_grid_thw"], clips, strict=True)
        ]
        prompt_ids = [processor.tokenizer(text)["input_ids"] for text in texts]
        if getattr(self.engine, "prompt_ids", prompt_ids) != prompt_ids:
            raise RuntimeError("the engine and the processor expand the prompt differently")
        self._vision, self._keys = (
            vision,
            [clip_hash(clip) for clip in clips] if self.features is not None else [],
        )
        completions = [
            completion for group, count in zip(found, counts, strict=True) for completion in group[:count]
        ]
        self._rows = torch.tensor(rows)
        output = {
            "prompt_ids": [prompt_ids[row] for row in rows],
            "completion_ids": [c.ids for c in completions],
            "logprobs": [c.logprobs for c in completions],
        }
        if maps is not None:
            output |= {"heat": [maps[row] for row in rows], "times": [clips[row].times for row in rows]}
        return output

    def save_policy(self, folder: Path) -> None:
        """A self-contained checkpoint of the policy, sharded weights gathered, LoRA merged; training goes on
        as before."""
        with self._whole_weights() as weights:
            state = {name: tensor.detach().cpu().clone() for name, tensor in weights}
        if self.accelerator.is_main_process:
            save_whole(folder, self.core, self.processing_class, state_dict=state)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """TRL's, and what was wrong with the completions: the share with any defect and with each, and the
        reward of every task."""
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        defects = [
            parse(completion_text(completion), "strict").defects
            for completion, row in zip(completions, inputs, strict=True)
            if row["task"] != DIALOGUE_TURN
        ]
        if defects:
            self._log_metric("parse/defective", sum(map(bool, defects)) / len(defects))
            for name in sorted({name for found in defects for name in found}):
                self._log_metric(f"parse/{name}", sum(name in found for found in defects) / len(defects))
        start = self.accelerator.process_index * len(prompts)
        own = (rewards[start : start + len(prompts)] * self.reward_weights.to(rewards.device)).nansum(1)
        for task in sorted({row["task"] for row in inputs}):
            self._log_metric(f"tasks/{task}", float(own[[row["task"] == task for row in inputs]].mean()))
        return rewards

    def _generate_and_score_completions(self, inputs):
        output = self._drawn(inputs)
        if self.redraws and self.model.training:
            output = self._redrawn(output)
        return output

    def _drawn(self, inputs) -> dict:
        output = super()._generate_and_score_completions(inputs)
        output["group_index"] = self._rows.to(output["completion_ids"].device)
        return output

    def _redrawn(self, output: dict) -> dict:
        """Replace groups without signal (all advantages 0) by other prompts, as long as there are some and
        `redraws` allows."""
        size, replaced = self.num_generations, 0
        count = len(output["advantages"]) // size
        if len(output["advantages"]) % size:
            raise InputError(
                "dynamic sampling needs whole groups in every process: per_device_train_batch_size must be a"
                " multiple of num_generations"
            )
        rng = np.random.default_rng([self.args.seed, self.state.global_step, self.accelerator.process_index])

        def dull(found: dict) -> list[int]:
            return (found["advantages"].reshape(-1, size) == 0).all(1).nonzero().flatten().tolist()

        first = empty = dull(output)
        for _ in range(self.redraws):
            # Every process draws as many as the one that lacks most: drawing is a common affair.
            wanted = int(
                self.accelerator.gather(torch.tensor([len(empty)], device=self.accelerator.device)).max()
            )
            if not wanted:
                break
            vision, keys = self._vision, self._keys
            chosen = rng.choice(len(self.train_dataset), wanted, replace=len(self.train_dataset) < wanted)
            fresh = self._drawn([dict(self.train_dataset[int(i)]) for i in chosen for _ in range(size)])
            fresh["group_index"] = fresh["group_index"] + len(vision["video_grid_thw"])
            self._vision = {k: torch.cat([vision[k], self._vision[k]]) for k in vision}
            self._keys = keys + self._keys
            good = [g for g in range(wanted) if g not in set(dull(fresh))][: len(empty)]
            output = _replaced(output, empty[: len(good)], fresh, good, size, self._tokenizer.pad_token_id)
            replaced += len(good)
            empty = empty[len(good) :]
        output["num_items_in_batch"] = self.accelerator.gather(output["completion_mask"].sum()).sum()
        self._metrics["train"]["dynamic/no_signal"].append(len(first) / count)
        self._metrics["train"]["dynamic/replaced"].append(replaced / count)
        return output

    @contextmanager
    def _rows_of(self, index: torch.Tensor):
        before, self._rows = self._rows, index
        try:
            yield
        finally:
            self._rows = before

    def _compute_loss(self, model, inputs):
        self._sampled = inputs.get("sampling_per_token_logps")
        self._completion_mask = inputs["completion_mask"]
        with self._rows_of(inputs["group_index"]):
            return (
                self._regression_loss(model, inputs)
                if self.method == "reg_grpo"
                else super()._compute_loss(model, inputs)
            )

    def _regression_loss(self, model, inputs) -> torch.Tensor:
        """Reg-GRPO: mean over completions of (predicted advantage - advantage)^2, without clipping and
        without a ratio."""
        mask = inputs["completion_mask"]
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        attention = torch.cat([inputs["prompt_mask"], mask], 1)
        logps, entropies, _ = self._get_per_token_logps_and_entropies(
            model, ids, attention, mask.shape[1], compute_entropy=True
        )
        old = inputs.get("old_per_token_logps")
        rho = ((logps - (logps.detach() if old is None else old)) * mask).sum(1)
        predicted = predicted_advantages(rho, inputs["group_index"], self.reg_scale)
        mode = "train" if self.model.training else "eval"
        self._metrics[mode]["entropy"].append(float((entropies * mask).sum() / mask.sum().clamp(min=1)))
        self._metrics[mode]["reg/log_ratio"].append(float(rho.detach().abs().mean()))
        return F.mse_loss(predicted, inputs["advantages"].to(predicted.dtype))

    def _seen(self, groups: list[int]) -> list[SeenClip] | None:
        """What the frozen tower makes of the clips of `groups`, from the cache as far as it goes; None
        without a cache."""
        if self.features is None:
            return None
        device = self.core.device
        found = {g: self.features.get(self._keys[g], device) for g in dict.fromkeys(groups)}
        missing = [g for g, clip in found.items() if clip is None]
        if missing:
            vision = _clips(self._vision, missing)
            with torch.no_grad():
                fresh = self.core.model.see_clips(
                    vision["pixel_values_videos"].to(device), vision["video_grid_thw"].to(device)
                )
            for g, clip in zip(missing, fresh, strict=True):
                self.features.put(self._keys[g], clip)
                found[g] = clip
        return [clip for g in groups if (clip := found[g]) is not None]

    def _get_per_token_logps_and_entropies(
        self,
        model,
        input_ids,
        attention_mask,
        logits_to_keep,
        batch_size=None,
        compute_entropy=False,
        compute_aux_loss=False,
        **_,
    ):
        assert self._rows is not None
        rows = self._rows.tolist()
        device = input_ids.device
        lengths = attention_mask.sum(1).tolist()
        completed = attention_mask[:, -logits_to_keep:].sum(1).tolist()
        begin = input_ids.shape[1] - logits_to_keep
        ids = input_ids.cpu()
        members: dict[Any, list[int]] = {}
        for i, group in enumerate(rows):
            members.setdefault(group if self.once_per_group else (group, i), []).append(i)
        keys = list(members)
        prompts = {
            key: ids[m[0], begin - (lengths[m[0]] - completed[m[0]]) : begin] for key, m in members.items()
        }
        sizes = [len(prompts[key]) + sum(completed[i] + 1 for i in members[key]) for key in keys]
        filled: list[Any] = [None] * len(rows)
        spread: list[Any] = [None] * len(rows)
        with self.accelerator.autocast():
            for part in batches(sizes, self.tokens):
                chosen = [keys[n] for n in part]
                completions = [[ids[i, begin : begin + completed[i]] for i in members[key]] for key in chosen]
                groups = chosen if self.once_per_group else [key[0] for key in chosen]
                found, entropy = group_logprobs(
                    model,
                    self.core,
                    [prompts[key] for key in chosen],
                    completions,
                    _clips(self._vision, groups),
                    self.temperature,
                    self._tokenizer.pad_token_id,
                    self._seen(groups),
                )
                for key, values, entropies in zip(chosen, found, entropy, strict=True):
                    for i, v, e in zip(members[key], values, entropies, strict=True):
                        filled[i], spread[i] = v, e
        logps = torch.stack([F.pad(v, (0, logits_to_keep - len(v))) for v in filled])
        entropies = torch.stack([F.pad(e, (0, logits_to_keep - len(e))) for e in spread])
        if torch.is_grad_enabled() and self._sampled is not None:
            gap = ((logps.detach() - self._sampled.to(device)).abs() * self._completion_mask)[
                self._completion_mask.bool()
            ]
            mode = "train" if self.model.training else "eval"
            self._metrics[mode]["sampler_gap/mean"].append(float(gap.mean()) if len(gap) else 0.0)
            self._metrics[mode]["sampler_gap/max"].append(float(gap.max()) if len(gap) else 0.0)
        return logps, entropies if compute_entropy else None, None

    def log(self, logs, start_time=None):
        """TRL's, without what is undefined at this step (a reward whose task did not occur)."""
        mode = "train" if self.model.training else "eval"
        for name, values in list(self._metrics[mode].items()):
            self._metrics[mode][name] = [
                value for value in values if value is not None and not math.isnan(value)
            ]
            if not self._metrics[mode][name]:
                del self._metrics[mode][name]
        super().log(logs, start_time)

    def _save_checkpoint(self, model, trial):
        """TRL's; where it fails, the half-written folder is removed and the error says what to do."""
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            folder = Path(self.args.output_dir, f"checkpoint-{self.state.global_step}")
            if self.accelerator.is_main_process:
                shutil.rmtree(folder, ignore_errors=True)
            raise InputError(
                f"{folder}: cannot be written ({' '.join(str(error).split())[:200]}); earlier checkpoints are"
                " whole: make room, then start again"
            ) from error


def _replaced(output: dict, slots: list[int], fresh: dict, groups: list[int], size: int, pad_id: int) -> dict:
    """`output` with the groups `slots` replaced by `groups` of `fresh`; tensors of tokens are padded to a
    common width, prompts at their left, all else at their right."""
    if not slots:
        return output
    to = [g * size + i for g in slots for i in range(size)]
    source = [g * size + i for g in groups for i in range(size)]
    merged = dict(output)
    for name, value in output.items():
        if not isinstance(value, torch.Tensor) or value.dim() == 0 or len(value) != len(output["advantages"]):
            continue
        other = fresh[name]
        if value.dim() == 2:
            width = max(value.shape[1], other.shape[1])
            fill = pad_id if name.endswith("_ids") else 0
            left = name.startswith("prompt")
            value, other = (
                F.pad(t, (width - t.shape[1], 0) if left else (0, width - t.shape[1]), value=fill)
                for t in (value, other)
            )
        value = value.clone()
        value[to] = other[source]
        merged[name] = value
    return merged


def _clips(vision: dict[str, torch.Tensor], which: list[int]) -> dict[str, torch.Tensor]:
    """The vision inputs of some clips, in the given order."""
    sizes = vision["video_grid_thw"].prod(-1).tolist()
    pixels = vision["pixel_values_videos"].split(sizes)
    return {
        "pixel_values_videos": torch.cat([pixels[i] for i in which]),
        "video_grid_thw": vision["video_grid_thw"][which],
        "second_per_grid_ts": vision["second_per_grid_ts"][which],
    }


def _video_of(prompt: list[dict]) -> str:
    """The video file of chat messages."""
    for message in prompt:
        for part in message["content"] if isinstance(message["content"], list) else []:
            if part.get("type") == "video":
                return part["video"]
    raise InputError("a prompt has no video part")
