"""What T-VAD adds to a Qwen-VL backbone: [video tokens; anomaly prompts; dialogue], as in the authors' talk
on the workshop version, or [anomaly prompts; video tokens; dialogue] (arXiv 2511.00524, eq. 13), as the
processor writes them.

Mixins, used by `modeling` for each backbone family: RAE's soft tokens take their places in the text by their
ids, in either order (`_embed`), position ids follow the original Qwen code and vLLM instead of transformers
(`positions`), one encoded clip may serve many rows (`clip_index`), and tokens that stand for pixels cannot be
generated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from tvad.control import plain, tokens_of
from tvad.model.classifier import pooled_features
from tvad.model.clips import EncodedClip, SeenClip, VisionMixin
from tvad.model.configuration import CLASSIFIER, NEVER, TvadConfig, TvadQwen3Config
from tvad.model.positions import Block, rope_index
from tvad.model.scored import score


@dataclass
class TvadModelOutput(ModelOutput):
    """Hidden states (B, L, D); `clips`, what the vision side made of the videos; `pooled` (B, 2 D), what the
    classifier reads of each row's clip."""

    last_hidden_state: torch.Tensor | None = None
    past_key_values: object | None = None
    hidden_states: tuple | None = None
    attentions: tuple | None = None
    rope_deltas: torch.Tensor | None = None
    clips: list[EncodedClip] | None = None
    pooled: torch.Tensor | None = None


@dataclass
class TvadOutput(ModelOutput):
    """The backbone's output; `clips`, what the vision side made of the videos (heatmaps included); with a
    classifier `pooled` (B, 2 D), what it reads, and `anomaly_logits` (B,); with `targets`, for the logits,
    `logprobs` and `entropies` (N,)."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    past_key_values: object | None = None
    hidden_states: tuple | None = None
    attentions: tuple | None = None
    rope_deltas: torch.Tensor | None = None
    clips: list[EncodedClip] | None = None
    pooled: torch.Tensor | None = None
    anomaly_logits: torch.Tensor | None = None
    logprobs: torch.Tensor | None = None
    entropies: torch.Tensor | None = None


@dataclass
class Features:
    """What takes the place of one kind of placeholder token.

    token: its id; sizes: how many of them each clip has; clip_index (B,): the clip of every row, None where
    clips follow the rows' order; values: features (n, D), concatenated in the order of the rows; deep:
    DeepStack features of the same, per level.
    """

    token: int
    sizes: list[int]
    clip_index: torch.Tensor | None
    values: list[torch.Tensor]
    deep: list[torch.Tensor]


class TvadModelMixin(VisionMixin):
    """For a backbone's `…Model`. A family gives `raster` and `blocks_of`."""

    language_model: PreTrainedModel
    rope_deltas: torch.Tensor | None
    compute_3d_position_ids: Callable[..., torch.Tensor | None]
    get_image_features: Callable[..., Any]

    def blocks_of(self, grid: list[int], seconds: float) -> list[Block]:
        """The runs of video tokens of a clip of `grid` patches, `seconds` from one time step to the next."""
        raise NotImplementedError

    def get_rope_index(
        self,
        input_ids: torch.Tensor,
        mm_token_type_ids: torch.Tensor | None = None,
        image_grid_thw: torch.Tensor | None = None,
        video_grid_thw: torch.Tensor | None = None,
        second_per_grid_ts: Sequence[float] | torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        clip_index: torch.Tensor | None = None,
        **_,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions (3, B, L) and deltas (B, 1), see `positions`. second_per_grid_ts (clips,): seconds from
        one time step to the next, 1 where not given; mm_token_type_ids is not read, tokens tell by their
        ids."""
        merge = self.config.vision_config.spatial_merge_size
        grids = video_grid_thw.tolist() if video_grid_thw is not None else []
        given = [1.0] * len(grids) if second_per_grid_ts is None else second_per_grid_ts
        images = [
            (t, h // merge, w // merge, 1.0)
            for t, h, w in (image_grid_thw.tolist() if image_grid_thw is not None else [])
        ]
        return rope_index(
            input_ids,
            self.config.video_token_id,
            self.config.image_token_id,
            [self.blocks_of(grid, float(step)) for grid, step in zip(grids, given, strict=True)],
            images,
            attention_mask,
            clip_index,
        )

    def _places(self, found: torch.Tensor, sizes: list[int], clip_index: torch.Tensor | None) -> torch.Tensor:
        """Where features go among the placeholders `found` (B, L): as many as the row's clip (or all clips in
        the rows' order) gives, first come, first served; further ones are stray tokens of completions, left
        as text."""
        if clip_index is None:
            if int(found.sum()) < sum(sizes):
                raise ValueError(
                    f"the text has {int(found.sum())} placeholder tokens, the clips give {sum(sizes)}"
                )
            rank = found.flatten().cumsum(0).reshape(found.shape)
            return found & (rank <= sum(sizes))
        # cumsum ranks each row's placeholders 1, 2, …: those up to its clip's size are the clip's.
        wanted = torch.tensor([*sizes, 0], device=found.device)[clip_index]  # index -1 is the appended 0
        if bool((found.sum(1) < wanted).any()):
            raise ValueError("a row has fewer placeholder tokens than its clip gives")
        return found & (found.cumsum(1) <= wanted[:, None])

    def _embed(
        self,
        input_ids: torch.Tensor,
        clips: list[EncodedClip],
        clip_index: torch.Tensor | None,
        images: tuple | None,
    ) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """Token embeddings (B, L, D) with prompts and pixels in their places, the mask (B, L) of the tokens
        that stand for pixels, and the DeepStack features of those, per level.

        clip_index (B,): the clip of every row, -1 for none; without it, clips follow the rows' order. images:
        features (n, D) and DeepStack features of all images, in the rows' order.
        """
        config = self.config
        embeds = self.get_input_embeddings()(input_ids)
        used = clips if clip_index is None or not clips else [clips[i] for i in clip_index.tolist() if i >= 0]
        parts: list[Features] = []
        if clips and self.rae is not None:
            if config.anomaly_pad_token_id is None:
                raise ValueError("the configuration has RAE and no anomaly_pad_token_id")
            sizes = [len(c.prompts) for c in clips]
            prompts = [c.prompts for c in used]
            parts.append(Features(config.anomaly_pad_token_id, sizes, clip_index, prompts, []))
        if clips:
            sizes = [len(c.video) for c in clips]
            levels = [torch.cat(level) for level in zip(*(c.deep for c in used), strict=True)]
            parts.append(Features(config.video_token_id, sizes, clip_index, [c.video for c in used], levels))
        if images is not None:
            values, levels = images
            parts.append(Features(config.image_token_id, [len(values)], None, [values], levels))
        pixels = torch.zeros_like(input_ids, dtype=torch.bool)
        deep: list[torch.Tensor] = []
        for part in parts:
            if not any(len(values) for values in part.values):
                continue
            places = self._places(input_ids == part.token, part.sizes, part.clip_index)
            embeds = embeds.masked_scatter(places[..., None], torch.cat(part.values).to(embeds.dtype))
            if part.token != config.anomaly_pad_token_id:
                pixels = pixels | places
                # DeepStack adds its levels at the tokens of pixels only, images and clips alike.
                deep = deep or [torch.zeros_like(embeds) for _ in part.deep]
                deep = [
                    whole.masked_scatter(places[..., None], level.to(embeds.dtype))
                    for whole, level in zip(deep, part.deep, strict=True)
                ]
        return embeds, pixels, [level[pixels] for level in deep]

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        pixel_values=None,
        pixel_values_videos=None,
        image_grid_thw=None,
        video_grid_thw=None,
        mm_token_type_ids=None,
        second_per_grid_ts=None,
        clip_index=None,
        clips: list[EncodedClip] | None = None,
        seen: list[SeenClip] | None = None,
        **kwargs,
    ) -> TvadModelOutput:
        """As the backbone's forward, and: `clip_index` (B,) lets rows share clips; `clips` gives clips
        already encoded, `seen` what the vision tower made of them; without any text only the vision side
        runs."""
        if seen is not None and clips is None:
            clips = self.understand_clips(seen)
        if pixel_values_videos is not None and clips is None:
            clips = self.encode_clips(pixel_values_videos, video_grid_thw)
        if input_ids is None and inputs_embeds is None:
            return TvadModelOutput(clips=clips)
        images = None
        if pixel_values is not None:
            found = self.get_image_features(pixel_values, image_grid_thw)
            levels = getattr(found, "deepstack_features", None) or []
            # A level is one tensor of all images, in later transformers (5.21) a tuple of one an image.
            levels = [torch.cat(level) if isinstance(level, tuple) else level for level in levels]
            images = torch.cat(found.pooler_output), levels
        if inputs_embeds is None:
            inputs_embeds, pixels, deep = self._embed(input_ids, clips or [], clip_index, images)
            if deep:
                kwargs |= {"visual_pos_masks": pixels, "deepstack_visual_embeds": deep}
        if position_ids is None:
            grids = video_grid_thw is not None or image_grid_thw is not None
            if grids and past_key_values is None:
                position_ids, self.rope_deltas = self.get_rope_index(
                    input_ids,
                    image_grid_thw=image_grid_thw,
                    video_grid_thw=video_grid_thw,
                    second_per_grid_ts=second_per_grid_ts,
                    attention_mask=attention_mask,
                    clip_index=clip_index,
                )
            else:
                # The backbone asks for token types where there are clips; `get_rope_index` reads ids.
                position_ids = self.compute_3d_position_ids(
                    input_ids=input_ids,
                    mm_token_type_ids=None if input_ids is None else torch.zeros_like(input_ids),
                    inputs_embeds=inputs_embeds,
                    attention_mask=attention_mask,
                    past_key_values=past_key_values,
                    image_grid_thw=image_grid_thw,
                    video_grid_thw=video_grid_thw,
                )
        out = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **kwargs,
        )
        return TvadModelOutput(
            out.last_hidden_state,
            out.past_key_values,
            out.hidden_states,
            out.attentions,
            self.rope_deltas,
            clips,
            self._pooled(input_ids, out.last_hidden_state),
        )

    def _pooled(self, input_ids: torch.Tensor | None, states: torch.Tensor) -> torch.Tensor | None:
        """What the classifier reads; None without one, and where a row shows no clip: words alone, or those
        that follow while a model writes."""
        if self.classifier is None or input_ids is None:
            return None
        shows = (input_ids == self.config.video_token_id) | (input_ids == self.config.anomaly_pad_token_id)
        return pooled_features(states, shows) if bool(shows.any(1).all()) else None


class TvadLMMixin(PreTrainedModel):
    """For a backbone's `…ForConditionalGeneration`."""

    config: TvadConfig | TvadQwen3Config
    model: TvadModelMixin
    lm_head: nn.Linear

    def _prepare_position_ids_for_generation(self, inputs_tensor, model_kwargs):
        # The backbone asks for token types to find the clips; `get_rope_index` finds them by id.
        if model_kwargs.get("video_grid_thw") is not None and model_kwargs.get("mm_token_type_ids") is None:
            model_kwargs = {**model_kwargs, "mm_token_type_ids": True}
        return super()._prepare_position_ids_for_generation(inputs_tensor, model_kwargs)

    def forward(
        self,
        input_ids=None,
        labels=None,
        pixel_values=None,
        pixel_values_videos=None,
        image_grid_thw=None,
        video_grid_thw=None,
        mm_token_type_ids=None,
        second_per_grid_ts=None,
        clip_index=None,
        clips=None,
        seen=None,
        pooled=None,
        logits_to_keep=0,
        targets=None,
        temperature=1.0,
        learns_entropy=False,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        use_cache=None,
        **kwargs,
    ) -> TvadOutput:
        """As the backbone's forward; logits of tokens that stand for pixels or heatmaps are `NEVER`.

        `logits_to_keep` as there; also a (B, L) bool mask, then logits are (N, V) for the marked positions.
        `targets` (N,): tokens that follow these, whose log-probs at `temperature` are wanted and no logits
        (`scored.score`). `pooled` (B, 2 D): the classifier's features in place of all else.
        """
        kwargs.pop("return_dict", None)
        if pooled is not None:
            return TvadOutput(pooled=pooled, anomaly_logits=self.classified(pooled))
        out = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            pixel_values=pixel_values,
            pixel_values_videos=pixel_values_videos,
            image_grid_thw=image_grid_thw,
            video_grid_thw=video_grid_thw,
            mm_token_type_ids=mm_token_type_ids,
            second_per_grid_ts=second_per_grid_ts,
            clip_index=clip_index,
            clips=clips,
            seen=seen,
            **kwargs,
        )
        hidden = out.last_hidden_state
        if hidden is None:
            return TvadOutput(clips=out.clips)
        if isinstance(logits_to_keep, torch.Tensor) and logits_to_keep.dtype == torch.bool:
            hidden = hidden[logits_to_keep]
        else:
            hidden = hidden[
                :, slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            ]
        if targets is not None:
            # In one part under ZeRO-3: every call of the head is a common affair, and each process has its
            # own number of parts.
            shared_out = any(hasattr(weight, "ds_id") for weight in self.lm_head.parameters())
            vocabulary = None if shared_out else self.config.text_config.vocab_size
            scored = score(self._logits, hidden, targets, vocabulary, temperature, learns_entropy)
            return TvadOutput(logprobs=scored[0], entropies=scored[1], clips=out.clips)
        # A slice of several rows that is not contiguous would be multiplied by one copy of the weights a row.
        logits = self._logits(hidden.contiguous())
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.text_config.vocab_size
            )
        return TvadOutput(
            loss=loss,
            logits=logits,
            past_key_values=out.past_key_values,
            hidden_states=out.hidden_states,
            attentions=out.attentions,
            rope_deltas=out.rope_deltas,
            clips=out.clips,
            pooled=out.pooled,
            anomaly_logits=self.classified(out.pooled),
        )

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = self.lm_head(hidden)
        # Not -inf: a sampler's softmax and GRPO's ratio stay finite, also where a prompt holds such a token.
        never = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
        never[self.config.forbidden_token_ids] = True
        return logits.masked_fill(never, NEVER)

    def classified(self, pooled: torch.Tensor | None) -> torch.Tensor | None:
        """Logits (B,) of "anomalous" of `pooled` (B, 2 D); None without a classifier, or without features."""
        if self.model.classifier is None or pooled is None:
            return None
        return self.model.classifier(pooled)

    @torch.no_grad()
    def see_clips(self, pixel_values_videos: torch.Tensor, video_grid_thw: torch.Tensor) -> list[SeenClip]:
        """`model.see_clips`, of the whole model, which alone can gather weights that are shared out."""
        return self.model.see_clips(pixel_values_videos, video_grid_thw)

    def own_text_features(self, processor, prompts: dict[str, list[str]]) -> torch.Tensor:
        """Features (2, D) of `prompts` {"normal": [...], "abnormal": [...]} by the language model as it is:
        mean over tokens, then over prompts (section 3.1), of its hidden states or, as the precursor has it,
        of its input embeddings (`prompt_features`)."""
        pooled = []
        for name in ("normal", "abnormal"):
            features = []
            for text in prompts[name]:
                text = plain(text, tokens_of(processor))
                ids = torch.tensor([processor.tokenizer(text)["input_ids"]], device=self.device)
                if self.config.prompt_features == "embeddings":
                    states = self.get_input_embeddings()(ids)
                else:
                    states = self.model.language_model(input_ids=ids).last_hidden_state
                features.append(states[0].float().mean(0))
            pooled.append(torch.stack(features).mean(0))
        return torch.stack(pooled)

    @torch.no_grad()
    def set_text_features(self, processor, prompts: dict[str, list[str]]) -> bool:
        """Make AHD's class features from `prompts` with the frozen language model. Stored with the weights
        and the prompt set; False where the same ones are there already, or there is no AHD."""
        ahd = self.model.ahd
        if ahd is None:
            return False
        # Always anew: prompts that are the same say nothing of the language model that read them.
        made = self.own_text_features(processor, prompts).to(ahd.text_features)
        if self.config.text_prompts == prompts and torch.equal(made, ahd.text_features):
            return False
        ahd.text_features.copy_(made)
        self.config.text_prompts = prompts
        return True

    def engine_weights(self) -> list[tuple[str, torch.Tensor]]:
        """What a rollout engine must be given: all parameters but the classifier's, which it has not, and
        AHD's text features, which are a buffer."""
        buffers = [(n, b) for n, b in self.named_buffers() if n.endswith("text_features")]
        return [*((n, p) for n, p in self.named_parameters() if not n.startswith(CLASSIFIER)), *buffers]
