"""T-VAD on transformers' Qwen2.5-VL: [anomaly prompts; video tokens; dialogue] (arXiv 2511.00524, eq. 13).

What differs from the backbone, and where: the video part of the prompt starts with RAE's soft tokens (`_embed`), position ids
follow the original Qwen2.5-VL code and vLLM instead of transformers (`get_rope_index`), one encoded clip may serve many rows
(`clip_index`), and tokens that stand for pixels cannot be generated (`forward`).
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLModel
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VLCausalLMOutputWithPast,
    Qwen2_5_VLModelOutputWithPast,
)
from transformers.vision_utils import get_vision_window_index

from tvad.model.ahd import AnomalyHeatmapDecoder, heatmap, to_raster
from tvad.model.configuration import TvadConfig
from tvad.model.rae import RegionAwareAnomalyEncoder

NEVER = -1e4  # logit of a token that must not be generated: exp() is 0 in every dtype, and 0 * NEVER is not NaN


@dataclass
class EncodedClip:
    """One clip after the vision side: prompts (n, D), video (m, D), heat_logits (t*h*w, 2), grid (t, h, w) in patches."""

    prompts: torch.Tensor
    video: torch.Tensor
    heat_logits: torch.Tensor
    grid: tuple[int, int, int]

    @property
    def heat(self) -> torch.Tensor:
        """(t, h, w) in [0, 1]."""
        return heatmap(self.heat_logits, *self.grid)


@dataclass
class TvadModelOutput(Qwen2_5_VLModelOutputWithPast):
    clips: list[EncodedClip] | None = None


@dataclass
class TvadOutput(Qwen2_5_VLCausalLMOutputWithPast):
    """The backbone's output and `clips`, what the vision side made of the videos (heatmaps included)."""

    clips: list[EncodedClip] | None = None


class TvadModel(Qwen2_5_VLModel):
    config_class = TvadConfig

    def __init__(self, config: TvadConfig):
        super().__init__(config)
        vision, text = config.vision_config.hidden_size, config.text_config.hidden_size
        self.ahd = AnomalyHeatmapDecoder(vision, text, len(config.ahd_layers))
        self.rae = RegionAwareAnomalyEncoder(
            text, config.rae_base_prompts, config.rae_region_grid, config.rae_channels, config.rae_hidden
        )
        self.post_init()

    def encode_clips(self, pixel_values_videos: torch.Tensor, video_grid_thw: torch.Tensor) -> list[EncodedClip]:
        """Vision tower, AHD and RAE, once per clip. pixel_values_videos (sum t*h*w, patch values), video_grid_thw (clips, 3)."""
        tower = self.visual
        out = tower(pixel_values_videos.type(tower.dtype), grid_thw=video_grid_thw, output_hidden_states=True)
        layers = [out.hidden_states[i + 1] for i in self.config.ahd_layers]
        merge = tower.spatial_merge_size
        clips, start = [], 0
        for grid in video_grid_thw.tolist():
            t, h, w = grid
            rows = slice(start, start + t * h * w)
            window, _ = get_vision_window_index(
                video_grid_thw.new_tensor([grid]), spatial_merge_size=merge, window_size=tower.window_size, patch_size=tower.patch_size, kwargs={}
            )  # fmt: skip
            logits = self.ahd([to_raster(layer[rows], window, t, h, w, merge) for layer in layers])
            tokens = slice(rows.start // merge**2, rows.stop // merge**2)
            clips.append(EncodedClip(self.rae(heatmap(logits, t, h, w)), out.pooler_output[tokens], logits, (t, h, w)))
            start = rows.stop
        return clips

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
        """Positions (3, B, L) and deltas (B, 1): text counts on, a clip spans its (t, h, w) grid, and what follows starts at the
        largest position so far + 1 (the original code's and vLLM's rule; transformers adds max(h, w) instead).

        Tokens beyond what the grids call for count as text, so a stray video token in a completion moves nothing.
        """
        video, image = self.config.video_token_id, self.config.image_token_id
        merge, rate = self.config.vision_config.spatial_merge_size, self.config.vision_config.tokens_per_second
        positions = torch.zeros(3, *input_ids.shape, dtype=torch.long)
        deltas = []
        next_video = next_image = 0
        ids_of_rows = input_ids.cpu()
        for b, row in enumerate(ids_of_rows):
            keep = torch.ones_like(row, dtype=torch.bool) if attention_mask is None else attention_mask[b].bool().cpu()
            ids = row[keep]
            starts = _runs(ids, video, image)
            if clip_index is not None:
                next_video = int(clip_index[b])
            parts: list[torch.Tensor] = []
            at = done = used_videos = 0
            for start, kind in starts:
                if start < done:
                    continue
                if kind == video:
                    if video_grid_thw is None or next_video >= len(video_grid_thw) or (clip_index is not None and used_videos):
                        continue
                    t, h, w = (int(x) for x in video_grid_thw[next_video])
                    step = rate * (float(second_per_grid_ts[next_video]) if second_per_grid_ts is not None else 1.0)
                    next_video, used_videos = next_video + 1, used_videos + 1
                else:
                    if image_grid_thw is None or next_image >= len(image_grid_thw):
                        continue
                    (t, h, w), step = (int(x) for x in image_grid_thw[next_image]), 1.0
                    next_image += 1
                text = torch.arange(start - done).expand(3, -1) + at
                at += start - done
                mesh = torch.meshgrid(torch.arange(t), torch.arange(h // merge), torch.arange(w // merge), indexing="ij")
                grid = torch.stack(mesh).reshape(3, -1)
                grid[0] = (grid[0] * step).long()
                parts += [text, grid + at]
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
        return super().compute_3d_position_ids(input_ids=input_ids, mm_token_type_ids=mm_token_type_ids, **kwargs)

    def _embed(self, input_ids: torch.Tensor, clips: list[EncodedClip], clip_index: torch.Tensor | None) -> torch.Tensor:
        """Token embeddings (B, L, D) with prompts and video features in their places, first come, first served.

        clip_index (B,): the clip of every row, -1 for none. Without it, clips follow the rows' order.
        """
        embeds = self.get_input_embeddings()(input_ids)
        for token, kind in ((self.config.anomaly_pad_token_id, "prompts"), (self.config.video_token_id, "video")):
            found = input_ids == token
            if clip_index is None:
                features = torch.cat([getattr(clip, kind) for clip in clips])
                if int(found.sum()) < len(features):
                    raise ValueError(f"the text has {int(found.sum())} {kind} tokens, the clips give {len(features)}")
                # Ranks beyond the features' number are stray tokens of completions; left as text.
                rank = found.flatten().cumsum(0).reshape(found.shape)
                found = found & (rank <= len(features))
            else:
                sizes = torch.tensor([len(getattr(clip, kind)) for clip in clips] + [0], device=input_ids.device)
                wanted = sizes[clip_index]  # index -1 is the appended 0
                if bool((found.sum(1) < wanted).any()):
                    raise ValueError(f"a row has fewer {kind} tokens than its clip gives")
                found = found & (found.cumsum(1) <= wanted[:, None])
                rows = [getattr(clips[i], kind) for i in clip_index.tolist() if i >= 0]
                if not rows:
                    continue
                features = torch.cat(rows)
            embeds = embeds.masked_scatter(found[..., None], features.to(embeds.dtype))
        return embeds

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        use_cache=None,
        pixel_values=None,
        pixel_values_videos=None,
        image_grid_thw=None,
        video_grid_thw=None,
        mm_token_type_ids=None,
        second_per_grid_ts=None,
        clip_index=None,
        clips: list[EncodedClip] | None = None,
        **kwargs,
    ) -> TvadModelOutput:
        """As the backbone's forward, and: `clip_index` (B,) lets rows share clips; `clips` gives clips already encoded; without
        any text only the vision side runs."""
        if pixel_values_videos is not None and clips is None:
            clips = self.encode_clips(pixel_values_videos, video_grid_thw)
        if input_ids is None and inputs_embeds is None:
            return TvadModelOutput(clips=clips)
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids) if clips is None else self._embed(input_ids, clips, clip_index)
        if position_ids is None and video_grid_thw is not None and past_key_values is None:
            position_ids, self.rope_deltas = self.get_rope_index(
                input_ids, image_grid_thw, video_grid_thw, second_per_grid_ts, attention_mask, clip_index
            )
        out = super().forward(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, past_key_values=past_key_values,
            inputs_embeds=inputs_embeds, use_cache=use_cache, pixel_values=pixel_values, image_grid_thw=image_grid_thw,
            video_grid_thw=video_grid_thw, mm_token_type_ids=mm_token_type_ids, second_per_grid_ts=second_per_grid_ts, **kwargs,
        )  # fmt: skip
        return TvadModelOutput(
            last_hidden_state=out.last_hidden_state, past_key_values=out.past_key_values, hidden_states=out.hidden_states,
            attentions=out.attentions, rope_deltas=self.rope_deltas, clips=clips,
        )  # fmt: skip


def _runs(ids: torch.Tensor, *tokens: int) -> list[tuple[int, int]]:
    """(start, token) of every place where one of `tokens` stands, in order."""
    found = torch.stack([ids == token for token in tokens]).any(0)
    return [(int(i), int(ids[i])) for i in found.nonzero().flatten()]


class TvadForConditionalGeneration(Qwen2_5_VLForConditionalGeneration):
    config_class = TvadConfig
    config: TvadConfig

    def __init__(self, config: TvadConfig):
        super().__init__(config)
        self.model = TvadModel(config)
        self.post_init()

    def _prepare_position_ids_for_generation(self, inputs_tensor, model_kwargs):
        # The backbone asks for token types to find the clips; `get_rope_index` finds them by id.
        if model_kwargs.get("video_grid_thw") is not None and model_kwargs.get("mm_token_type_ids") is None:
            model_kwargs = {**model_kwargs, "mm_token_type_ids": True}
        return super()._prepare_position_ids_for_generation(inputs_tensor, model_kwargs)

    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, AnomalyHeatmapDecoder):
            nn.init.constant_(module.layer_weights, 1.0 / len(module.layer_weights))
            nn.init.constant_(module.log_scale, 2.66)
            nn.init.zeros_(module.text_features)
        if isinstance(module, RegionAwareAnomalyEncoder):
            nn.init.normal_(module.base, std=self.config.text_config.initializer_range)

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        labels=None,
        use_cache=None,
        pixel_values=None,
        pixel_values_videos=None,
        image_grid_thw=None,
        video_grid_thw=None,
        mm_token_type_ids=None,
        second_per_grid_ts=None,
        clip_index=None,
        clips=None,
        logits_to_keep=0,
        **kwargs,
    ) -> TvadOutput:
        """As the backbone's forward; logits of tokens that stand for pixels or heatmaps are `NEVER`.

        `logits_to_keep` as there; also a (B, L) bool mask, then logits are (N, V) for the marked positions.
        """
        kwargs.pop("return_dict", None)
        out = self.model(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, past_key_values=past_key_values,
            inputs_embeds=inputs_embeds, use_cache=use_cache, pixel_values=pixel_values, pixel_values_videos=pixel_values_videos,
            image_grid_thw=image_grid_thw, video_grid_thw=video_grid_thw, mm_token_type_ids=mm_token_type_ids,
            second_per_grid_ts=second_per_grid_ts, clip_index=clip_index, clips=clips, **kwargs,
        )  # fmt: skip
        hidden = out.last_hidden_state
        if hidden is None:
            return TvadOutput(clips=out.clips)
        if isinstance(logits_to_keep, torch.Tensor) and logits_to_keep.dtype == torch.bool:
            hidden = hidden[logits_to_keep]
        else:
            hidden = hidden[:, slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep]
        logits = self.lm_head(hidden)
        never = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
        never[self.config.forbidden_token_ids] = True
        logits = logits.masked_fill(never, NEVER)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.text_config.vocab_size)
        return TvadOutput(
            loss=loss, logits=logits, past_key_values=out.past_key_values, hidden_states=out.hidden_states,
            attentions=out.attentions, rope_deltas=out.rope_deltas, clips=out.clips,
        )  # fmt: skip

    @torch.no_grad()
    def set_text_features(self, processor, prompts: dict[str, list[str]]) -> None:
        """Recompute AHD's class features from `prompts` {"normal": [...], "abnormal": [...]} with the frozen language model:
        mean over tokens, then over prompts (section 3.1)."""
        pooled = []
        for name in ("normal", "abnormal"):
            features = []
            for text in prompts[name]:
                ids = torch.tensor([processor.tokenizer(text)["input_ids"]], device=self.device)
                features.append(self.model.language_model(input_ids=ids).last_hidden_state[0].float().mean(0))
            pooled.append(torch.stack(features).mean(0))
        self.model.ahd.text_features.copy_(torch.stack(pooled))


def count_parameters(backbone_config) -> dict[str, int]:
    """Parameters of T-VAD on a backbone configuration, counted on the meta device: {"ahd", "rae", "base", "total"}."""
    values = {k: v for k, v in backbone_config.to_dict().items() if k not in ("model_type", "architectures")}
    with torch.device("meta"):
        model = TvadForConditionalGeneration(TvadConfig(**values))
    counts = {name: sum(p.numel() for p in getattr(model.model, name).parameters()) for name in ("ahd", "rae")}
    total = sum(p.numel() for p in model.parameters())
    return {**counts, "base": total - sum(counts.values()), "total": total}
