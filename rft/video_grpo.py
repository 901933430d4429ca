"""GRPO with video: the only place that extends TRL's GRPOTrainer (1.16; `tests/rft/test_video_grpo.py` fails loudly when it moves).

What is taken over from TRL, and how:
- rollouts: TRL's `rollout_func` hook calls `VideoGRPOTrainer.rollout`, which samples whole groups from a `bench.models` engine;
- log-probs: `_get_per_token_logps_and_entropies` is replaced. TRL knows images and encodes them once per completion; here every
  completion carries the index of its group (`group_index`, a tensor that survives TRL's shuffling and splitting), the group's clip
  is encoded once and its prompt is computed once (`tvad.model.packing`);
- the trainer/sampler gap: log-probs of the engine against those of the first pass, logged at every step.
"""

from contextlib import contextmanager

import numpy as np
import torch
from trl import GRPOTrainer

from bench.models.base import Request, Sampling
from tvad.data.dataset import ClipStore
from tvad.errors import InputError
from tvad.model.modeling import TvadForConditionalGeneration
from tvad.model.packing import pack
from tvad.model.processing import TvadProcessor

VISION = ("pixel_values_videos", "video_grid_thw", "second_per_grid_ts")


def group_logprobs(
    model, core: TvadForConditionalGeneration, prompts: list[torch.Tensor], completions: list[list[torch.Tensor]],
    vision: dict[str, torch.Tensor], temperature: float, pad_id: int,
) -> tuple[list[list[torch.Tensor]], list[list[torch.Tensor]]]:  # fmt: skip
    """Log-probs and entropies of groups: every clip encoded and every prompt computed once.

    prompts: ids (P_g,) of each group; completions: ids of its completions; vision: the groups' clips in order. Returns two nested
    lists of (n,) tensors in the order of `completions`.
    """
    # The last prompt token predicts the first token of every completion, so it belongs to the branches.
    branches = [[torch.cat([prompt[-1:], c]) for c in group] for prompt, group in zip(prompts, completions, strict=True)]
    packed = pack([prompt[:-1] for prompt in prompts], branches, pad_id)
    length = max(len(prompt) - 1 for prompt in prompts)
    index = torch.arange(len(prompts), device=packed.input_ids.device)
    positions, _ = core.model.get_rope_index(
        packed.input_ids[:, :length], video_grid_thw=vision["video_grid_thw"], second_per_grid_ts=vision["second_per_grid_ts"],
        attention_mask=packed.segment[:, :length] == 0, clip_index=index,
    )  # fmt: skip
    # A position is needed if it and its successor belong to the same branch.
    same = (packed.segment[:, 1:] == packed.segment[:, :-1]) & (packed.segment[:, 1:] > 0)
    keep = torch.nn.functional.pad(same, (0, 1))
    device = core.device
    logits = model(
        input_ids=packed.input_ids.to(device), attention_mask=packed.attention_mask().to(device),
        position_ids=packed.position_ids(positions).to(device), clip_index=index.to(device), logits_to_keep=keep.to(device), use_cache=False,
        **{k: v.to(device) for k, v in vision.items()},
    ).logits.float() / temperature  # fmt: skip
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


class VideoGRPOTrainer(GRPOTrainer):
    """GRPOTrainer for a T-VAD policy. Rows of the data set: prompt (chat messages with one video part), video (file), solution, task,
    options, sample_id.

    engine: a `bench.models` engine. store: sampled clips. once_per_group: encode a clip and its prompt once per group (False: once
    per completion, as TRL does; kept for comparison).
    """

    def __init__(self, *args, engine, store: ClipStore, once_per_group: bool = True, **kwargs):
        self.engine, self.store, self.once_per_group = engine, store, once_per_group
        self._rows: torch.Tensor | None = None
        self._vision: dict[str, torch.Tensor] = {}
        if getattr(kwargs.get("args"), "use_vllm", False):
            raise InputError("use_vllm belongs to TRL's own engine; set `engine` instead")
        super().__init__(*args, rollout_func=lambda prompts, trainer: trainer.rollout(prompts), **kwargs)
        self._synced_step = -1

    @property
    def core(self) -> TvadForConditionalGeneration:
        model = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def sync_weights(self) -> None:
        """Give the engine the current weights, once per optimiser step."""
        if self.state.global_step != self._synced_step:
            self.engine.sync(self.core.engine_weights())
            self._synced_step = self.state.global_step

    def rollout(self, prompts: list) -> dict:
        """TRL's hook: prompts repeated per completion -> prompt ids, completion ids, engine log-probs, group index."""
        processor: TvadProcessor = self.processing_class
        self.sync_weights()
        mode = "train" if self.model.training else "eval"
        size = self.num_generations if mode == "train" else self.num_generations_eval
        keys = [(_video_of(prompt), processor.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)) for prompt in prompts]
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
        sampling = Sampling(int(counts.max()), self.temperature, self.top_p, self.max_completion_length, seed)
        found = self.engine.sample([Request(prompts[start], clip) for start, clip in zip(starts, clips)], sampling)
        vision = processor.vision_inputs(clips)
        texts = [processor.expand(text, grid, clip) for (_, text), grid, clip in zip(groups, vision["video_grid_thw"], clips)]
        prompt_ids = [processor.tokenizer(text)["input_ids"] for text in texts]
        if getattr(self.engine, "prompt_ids", prompt_ids) != prompt_ids:
            raise RuntimeError("the engine and the processor expand the prompt differently")
        self._vision = vision
        completions = [completion for group, count in zip(found, counts) for completion in group[:count]]
        self._rows = torch.tensor(rows)
        output = {
            "prompt_ids": [prompt_ids[row] for row in rows],
            "completion_ids": [c.ids for c in completions],
            "logprobs": [c.logprobs for c in completions],
        }
        if "evidence" in self.reward_func_names:
            maps = self.engine.heatmaps(clips) or [None] * len(clips)
            output |= {"heat": [maps[row] for row in rows], "times": [clips[row].times for row in rows]}
        return output

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        output["group_index"] = self._rows.to(output["completion_ids"].device)
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
            return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, compute_aux_loss=False, **_
    ):
        rows = self._rows.tolist()
        device = input_ids.device
        lengths = attention_mask.sum(1).tolist()
        completed = attention_mask[:, -logits_to_keep:].sum(1).tolist()
        total = input_ids.shape[1]
        ids = input_ids.cpu()
        members: dict[int, list[int]] = {}
        for i, group in enumerate(rows):
            members.setdefault(group if self.once_per_group else (group, i), []).append(i)
        chunk = max(1, (batch_size or len(rows)) // max(len(m) for m in members.values()))
        keys = list(members)
        logps = torch.zeros(len(rows), logits_to_keep, device=device)
        entropies = torch.zeros_like(logps)
        filled, filled_entropy = [None] * len(rows), [None] * len(rows)
        with self.accelerator.autocast():
            for start in range(0, len(keys), chunk):
                part = keys[start : start + chunk]
                prompts, completions = [], []
                for key in part:
                    first = members[key][0]
                    prompt_length = lengths[first] - completed[first]
                    begin = total - logits_to_keep
                    prompts.append(ids[first, begin - prompt_length : begin])
                    completions.append([ids[i, begin : begin + completed[i]] for i in members[key]])
                which = [key if self.once_per_group else key[0] for key in part]
                found, entropy = group_logprobs(
                    model, self.core, prompts, completions, _clips(self._vision, which), self.temperature, self._tokenizer.pad_token_id
                )
                for key, values, spread in zip(part, found, entropy):
                    for i, v, e in zip(members[key], values, spread):
                        filled[i], filled_entropy[i] = v, e
        width = logits_to_keep
        logps = torch.stack([torch.nn.functional.pad(v, (0, width - len(v))) for v in filled])
        entropies = torch.stack([torch.nn.functional.pad(e, (0, width - len(e))) for e in filled_entropy])
        if torch.is_grad_enabled() and self._sampled is not None:
            gap = ((logps.detach() - self._sampled.to(device)).abs() * self._completion_mask)[self._completion_mask.bool()]
            mode = "train" if self.model.training else "eval"
            self._metrics[mode]["sampler_gap/mean"].append(float(gap.mean()))
            self._metrics[mode]["sampler_gap/max"].append(float(gap.max()))
        return logps, entropies if compute_entropy else None, None


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
