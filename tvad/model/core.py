"""What T-VAD adds to a Qwen-VL backbone: [anomaly prompts; video tokens; dialogue] (arXiv 2511.00524, eq.
13).

Mixins, used by `modeling` for each backbone family: the video part of the prompt starts with RAE's soft
tokens (`_embed`), position ids follow the original Qwen code and vLLM instead of transformers
(`get_rope_index`), one encoded clip may serve many rows (`clip_index`), and tokens that stand for pixels
cannot be generated.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn
from transformers.utils import ModelOutput

from tvad.model.ahd import LOG_SCALE, AnomalyHeatmapDecoder, heatmap
from tvad.model.rae import RegionAwareAnomalyEncoder
from tvad.model.vision_attention import attend_by_length

NEVER = (
    -1e4
)  # logit of a token that must not be generated: exp() is 0 in every dtype, and 0 * NEVER is not NaN


@dataclass
class SeenClip:
    """One clip after the vision tower, before AHD and RAE: all of it fixed while the tower is frozen.

    video (m, D); layers: what AHD reads, per layer (t*h*w, d) row by row of the grid (t, h, w) in patches;
    deep: DeepStack features.
    """

    video: torch.Tensor
    layers: list[torch.Tensor]
    grid: tuple[int, int, int]
    deep: list[torch.Tensor] = field(default_factory=list)


@dataclass
class EncodedClip:
    """One clip after the vision side.

    prompts (n, D); video (m, D); deep: DeepStack features (m, D) for the first decoder layers (Qwen3-VL);
    heat_logits (t*h*w, 2), None without AHD; grid (t, h, w) in patches.
    """

    prompts: torch.Tensor
    video: torch.Tensor
    heat_logits: torch.Tensor | None
    grid: tuple[int, int, int]
    deep: list[torch.Tensor] = field(default_factory=list)

    @property
    def heat(self) -> torch.Tensor | None:
        """(t, h, w) in [0, 1]."""
        return None if self.heat_logits is None else heatmap(self.heat_logits, *self.grid)


@dataclass
class TvadModelOutput(ModelOutput):
    """Hidden states (B, L, D), and `clips`, what the vision side made of the videos."""

    last_hidden_state: torch.Tensor | None = None
    past_key_values: object | None = None
    hidden_states: tuple | None = None
    attentions: tuple | None = None
    rope_deltas: torch.Tensor | None = None
    clips: list[EncodedClip] | None = None


@dataclass
class TvadOutput(ModelOutput):
    """The backbone's output and `clips`, what the vision side made of the videos (heatmaps included)."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    past_key_values: object | None = None
    hidden_states: tuple | None = None
    attentions: tuple | None = None
    rope_deltas: torch.Tensor | None = None
    clips: list[EncodedClip] | None = None


@contextmanager
def outputs_of(blocks: nn.ModuleList, wanted: list[int]) -> Iterator[dict[int, torch.Tensor]]:
    """Collects what the blocks `wanted` return, and only that: all hidden states of a 7B tower would be eight
    times the memory."""
    kept: dict[int, torch.Tensor] = {}

    def keep(i):
        return lambda module, inputs, output: kept.__setitem__(
            i, output[0] if isinstance(output, tuple) else output
        )

    handles = [blocks[i].register_forward_hook(keep(i)) for i in dict.fromkeys(wanted)]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def anomaly_modules(config) -> tuple[AnomalyHeatmapDecoder | None, RegionAwareAnomalyEncoder | None]:
    """AHD and RAE of a configuration; None for what it goes without. Both engines build them here."""
    vision, text = config.vision_config.hidden_size, config.text_config.hidden_size
    ahd = AnomalyHeatmapDecoder(vision, text, len(config.ahd_layers)) if config.use_ahd else None
    sizes = (config.rae_base_prompts, config.rae_region_grid, config.rae_channels, config.rae_hidden)
    return ahd, RegionAwareAnomalyEncoder(text, *sizes) if config.use_rae else None


def anomaly_prompts(
    rae: RegionAwareAnomalyEncoder | None,
    logits: torch.Tensor | None,
    grid: tuple[int, int, int],
    like: torch.Tensor,
) -> torch.Tensor:
    """AHD's logits (t*h*w, 2) of one clip -> soft prompts (n, D), none without RAE. Without AHD (None), RAE
    sees a constant map.

    `like`: the clip's video tokens, for the width and type of an empty result."""
    if rae is None:
        return like.new_zeros(0, like.shape[-1])
    return rae(like.new_full(grid, 0.5) if logits is None else heatmap(logits, *grid))


class TvadModelMixin:
    """For a backbone's `…Model`. A family gives `raster` and `blocks_of`."""

    def _add_anomaly_modules(self, config) -> None:
        self.ahd, self.rae = anomaly_modules(config)
        attend_by_length(self.visual)
        self.post_init()

    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, AnomalyHeatmapDecoder):
            nn.init.constant_(module.layer_weights, 1.0 / len(module.layer_weights))
            nn.init.constant_(module.log_scale, LOG_SCALE)
            nn.init.zeros_(module.text_features)
        if isinstance(module, RegionAwareAnomalyEncoder):
            nn.init.normal_(module.base, std=self.config.text_config.initializer_range)
            # The backbone's 0.02 would let three convolutions shrink a heatmap's change a thousandfold; these
            # keep its size.
            for conv in (m for m in module.convs if isinstance(m, nn.Conv2d)):
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
                nn.init.zeros_(conv.bias)

    def raster(self, features: torch.Tensor, grid: tuple[int, int, int]) -> torch.Tensor:
        """Vision features (t*h*w, d) of one clip in the tower's order -> row by row of the (t, h, w) grid."""
        raise NotImplementedError

    def raster_order(self, grids: list[tuple[int, int, int]]) -> torch.Tensor:
        """Where the tower puts the patches of clips of these grids, clip by clip and row by row: (sum
        t*h*w,)."""
        orders, start = [], 0
        own = {
            grid: self.raster(torch.arange(grid[0] * grid[1] * grid[2])[:, None], grid)[:, 0]
            for grid in set(grids)
        }
        for grid in grids:
            orders.append(own[grid] + start)
            start += len(own[grid])
        return torch.cat(orders)

    def blocks_of(self, grid: list[int], seconds: float) -> list[tuple[int, int, int, float]]:
        """The runs of video tokens of a clip of `grid` patches: (t, h, w) in merged patches and position step
        in time of each."""
        raise NotImplementedError

    def see_clips(self, pixel_values_videos: torch.Tensor, video_grid_thw: torch.Tensor) -> list[SeenClip]:
        """The vision tower. pixel_values_videos (sum t*h*w, patch values), video_grid_thw (clips, 3)."""
        tower = self.visual
        wanted = self.config.ahd_layers if self.ahd is not None else []
        with outputs_of(tower.blocks, wanted) as kept:
            out = tower(pixel_values_videos.type(tower.dtype), grid_thw=video_grid_thw)
        grids: list[tuple[int, int, int]] = [tuple(grid) for grid in video_grid_thw.tolist()]
        patches = [t * h * w for t, h, w in grids]
        tokens = [count // tower.spatial_merge_size**2 for count in patches]
        order = self.raster_order(grids).to(out.pooler_output.device) if wanted else None
        rasters = {i: kept[i][order].split(patches) for i in kept}
        levels = [level.split(tokens) for level in getattr(out, "deepstack_features", None) or []]
        return [
            SeenClip(video, [rasters[i][n] for i in wanted], grids[n], [level[n] for level in levels])
            for n, video in enumerate(out.pooler_output.split(tokens))
        ]

    def understand_clips(self, seen: list[SeenClip]) -> list[EncodedClip]:
        """AHD, over all clips at once, and RAE over what the tower has seen."""
        logits: list[torch.Tensor | None] = [None] * len(seen)
        if self.ahd is not None and seen:
            layers = (
                seen[0].layers
                if len(seen) == 1
                else [torch.cat(level) for level in zip(*(clip.layers for clip in seen), strict=True)]
            )
            logits = list(self.ahd(layers).split([len(clip.layers[0]) for clip in seen]))
        return [
            EncodedClip(
                anomaly_prompts(self.rae, found, clip.grid, clip.video),
                clip.video,
                found,
                clip.grid,
                clip.deep,
            )
            for clip, found in zip(seen, logits, strict=True)
        ]

    def encode_clips(
        self, pixel_values_videos: torch.Tensor, video_grid_thw: torch.Tensor
    ) -> list[EncodedClip]:
        """Vision tower, AHD and RAE, once per clip."""
        return self.understand_clips(self.see_clips(pixel_values_videos, video_grid_thw))

    def get_rope_index(
        self,
        input_ids: torch.LongTensor,
        image_grid_thw: torch.LongTensor | None = None,
        video_grid_thw: torch.LongTensor | None = None,
        second_per_grid_ts: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        clip_index: torch.Tensor | None = None,
        **_,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions (3, B, L) and deltas (B, 1): text counts on, a run of video tokens spans its (t, h, w)
        grid, and what follows starts at the largest position so far + 1 (the original code's and vLLM's rule;
        transformers adds max(h, w) instead).

        Tokens beyond what the grids call for count as text, so a stray video token in a completion moves
        nothing.
        """
        video, image = self.config.video_token_id, self.config.image_token_id
        merge = self.config.vision_config.spatial_merge_size
        clips = []
        for i, grid in enumerate(video_grid_thw.tolist() if video_grid_thw is not None else []):
            clips.append(
                self.blocks_of(grid, float(second_per_grid_ts[i]) if second_per_grid_ts is not None else 1.0)
            )
        images = [
            (t, h // merge, w // merge, 1.0)
            for t, h, w in (image_grid_thw.tolist() if image_grid_thw is not None else [])
        ]
        positions = torch.zeros(3, *input_ids.shape, dtype=torch.long)
        deltas = []
        pending = [block for clip in clips for block in clip]
        for b, row in enumerate(input_ids.cpu()):
            keep = (
                torch.ones_like(row, dtype=torch.bool)
                if attention_mask is None
                else attention_mask[b].bool().cpu()
            )
            ids = row[keep]
            if clip_index is not None:
                pending = list(clips[int(clip_index[b])]) if int(clip_index[b]) >= 0 else []
            parts: list[torch.Tensor] = []
            at = done = 0
            for start in ((ids == video) | (ids == image)).nonzero().flatten().tolist():
                queue = pending if int(ids[start]) == video else images
                if start < done or not queue:
                    continue
                t, h, w, step = queue.pop(0)
                mesh = torch.meshgrid(torch.arange(t), torch.arange(h), torch.arange(w), indexing="ij")
                grid = torch.stack(mesh).reshape(3, -1)
                grid[0] = (grid[0] * step).long()
                parts.append(torch.arange(start - done).expand(3, -1) + at)
                at += start - done
                parts.append(grid + at)
                at, done = int(grid.max()) + at + 1, start + grid.shape[1]
            parts.append(torch.arange(max(0, len(ids) - done)).expand(3, -1) + at)
            found = torch.cat(parts, 1)
            if found.shape[1] != len(ids):
                raise ValueError(f"row {b}: its video tokens do not match the clip's grid")
            positions[:, b, keep] = found
            deltas.append(int(found.max()) + 1 - len(ids) if len(ids) else 0)
        device = input_ids.device
        return positions.to(device), torch.tensor(deltas, device=device).unsqueeze(1)

    def compute_3d_position_ids(self, input_ids, mm_token_type_ids=None, **kwargs):
        # The backbone asks for token types to find the clips; `get_rope_index` finds them by id.
        if input_ids is not None and mm_token_type_ids is None:
            mm_token_type_ids = torch.zeros_like(input_ids)
        return super().compute_3d_position_ids(
            input_ids=input_ids, mm_token_type_ids=mm_token_type_ids, **kwargs
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
        parts = []  # token, sizes per clip, index, features, DeepStack levels
        if clips:
            parts.append(
                (
                    config.anomaly_pad_token_id,
                    [len(c.prompts) for c in clips],
                    clip_index,
                    [c.prompts for c in used],
                    [],
                )
            )
            levels = [torch.cat(level) for level in zip(*(c.deep for c in used), strict=True)]
            parts.append(
                (
                    config.video_token_id,
                    [len(c.video) for c in clips],
                    clip_index,
                    [c.video for c in used],
                    levels,
                )
            )
        if images is not None:
            parts.append((config.image_token_id, [len(images[0])], None, [images[0]], images[1]))
        pixels = torch.zeros_like(input_ids, dtype=torch.bool)
        deep: list[torch.Tensor] = []
        for token, sizes, index, features, levels in parts:
            if not features or not any(len(f) for f in features):
                continue
            places = self._places(input_ids == token, sizes, index)
            embeds = embeds.masked_scatter(places[..., None], torch.cat(features).to(embeds.dtype))
            if token != config.anomaly_pad_token_id:
                pixels = pixels | places
                deep = deep or [torch.zeros_like(embeds) for _ in levels]
                deep = [
                    whole.masked_scatter(places[..., None], level.to(embeds.dtype))
                    for whole, level in zip(deep, levels, strict=True)
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
            images = torch.cat(found.pooler_output), getattr(found, "deepstack_features", None) or []
        if inputs_embeds is None:
            inputs_embeds, pixels, deep = self._embed(input_ids, clips or [], clip_index, images)
            if deep:
                kwargs |= {"visual_pos_masks": pixels, "deepstack_visual_embeds": deep}
        if position_ids is None:
            grids = video_grid_thw is not None or image_grid_thw is not None
            if grids and past_key_values is None:
                position_ids, self.rope_deltas = self.get_rope_index(
                    input_ids, image_grid_thw, video_grid_thw, second_per_grid_ts, attention_mask, clip_index
                )
            else:
                position_ids = self.compute_3d_position_ids(
                    input_ids=input_ids,
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
        )


class TvadLMMixin:
    """For a backbone's `…ForConditionalGeneration`."""

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
        logits_to_keep=0,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        use_cache=None,
        **kwargs,
    ) -> TvadOutput:
        """As the backbone's forward; logits of tokens that stand for pixels or heatmaps are `NEVER`.

        `logits_to_keep` as there; also a (B, L) bool mask, then logits are (N, V) for the marked positions.
        """
        kwargs.pop("return_dict", None)
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
        logits = self.lm_head(hidden)
        never = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
        never[self.config.forbidden_token_ids] = True
        logits = logits.masked_fill(never, NEVER)
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
        )

    @torch.no_grad()
    def set_text_features(self, processor, prompts: dict[str, list[str]]) -> bool:
        """Make AHD's class features from `prompts` {"normal": [...], "abnormal": [...]} with the frozen
        language model: mean over tokens, then over prompts (section 3.1). Stored with the weights and the
        prompt set; False where they were made before from the same prompts and kept."""
        if self.model.ahd is None or (
            self.config.text_prompts == prompts and bool(self.model.ahd.text_features.any())
        ):
            return False
        pooled = []
        for name in ("normal", "abnormal"):
            features = []
            for text in prompts[name]:
                ids = torch.tensor([processor.tokenizer(text)["input_ids"]], device=self.device)
                features.append(self.model.language_model(input_ids=ids).last_hidden_state[0].float().mean(0))
            pooled.append(torch.stack(features).mean(0))
        self.model.ahd.text_features.copy_(torch.stack(pooled))
        self.config.text_prompts = prompts
        return True

    def engine_weights(self) -> list[tuple[str, torch.Tensor]]:
        """What a rollout engine must be given: all parameters, and AHD's text features, which are a
        buffer."""
        buffers = [(n, b) for n, b in self.named_buffers() if n.endswith("text_features")]
        return [*self.named_parameters(), *buffers]
