"""The vLLM model classes of T-VAD, one per backbone family; imported by vLLM only (see `vllm_plugin`)."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import nn
from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VisionTransformer,
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.model_executor.models.qwen3_vl import (
    Qwen3_VisionTransformer,
    Qwen3VLDummyInputsBuilder,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMultiModalProcessor,
    Qwen3VLProcessingInfo,
)
from vllm.model_executor.models.utils import WeightsMapper
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.processing import PromptReplacement, PromptUpdateDetails

from tvad.model.ahd import heatmap, to_raster
from tvad.model.clips import SeenClip, anomaly_modules, anomaly_prompts
from tvad.model.configuration import CLASSIFIER, NEVER, TvadConfig, TvadQwen3Config
from tvad.model.positions import step_seconds

BUFFER = "ahd.text_features"
MAPPER = WeightsMapper(
    orig_to_new_prefix={
        "model.language_model.": "language_model.model.",
        "model.visual.": "visual.",
        "lm_head.": "language_model.lm_head.",
        "model.ahd.": "ahd.",
        "model.rae.": "rae.",
        "model.": "language_model.model.",
    }
)


class TvadPromptUpdates:
    """For a backbone's multimodal processor: the anomaly prompts' placeholders beside every clip's own."""

    def _get_prompt_updates(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs):
        updates = super()._get_prompt_updates(mm_items, hf_processor_mm_kwargs, out_mm_kwargs)
        config = self.info.get_hf_config()
        pad, video = config.anomaly_pad_token_id, config.video_token_id
        backbone = next(update for update in updates if update.modality == "video")

        # One <|video_pad|> in the text becomes [start, prompts, end] and the backbone's own expansion of it,
        # which Qwen3-VL fills with timestamps; where the video comes first, <|video_pad|><|vision_end|>
        # becomes the expansion, <|vision_end|> and [start, prompts, end].
        video_first = config.use_rae and config.prompt_order == "video_first"
        target = [video, config.vision_end_token_id] if video_first else [video]

        def replacement(index):
            found = backbone.replacement(index) if callable(backbone.replacement) else backbone.replacement
            ids = list(found.full if isinstance(found, PromptUpdateDetails) else found)
            if config.use_rae:
                steps = int(out_mm_kwargs["video"][index]["video_grid_thw"].data[0])
                prompts = [
                    config.anomaly_start_token_id,
                    *[pad] * ((steps - 1) * config.prompts_per_step),
                    config.anomaly_end_token_id,
                ]
                ids = [*ids, target[-1], *prompts] if video_first else [*prompts, *ids]
            # The item's embeddings, prompts and video features in the order in which `_encode` gives them, go
            # to these tokens in order; the start and end tokens between them keep their own.
            wanted = torch.tensor([pad, video] if config.use_rae else [video])
            return PromptUpdateDetails(
                full=ids, is_embed=lambda full: torch.isin(torch.as_tensor(full), wanted)
            )

        kept = [update for update in updates if update.modality != "video"]
        return [*kept, PromptReplacement(modality="video", target=target, replacement=replacement)]


class TvadEngineMixin(nn.Module):
    """For a backbone's vLLM model. A family gives `raster` and `raw_pixels`."""

    config: TvadConfig | TvadQwen3Config
    visual: Qwen2_5_VisionTransformer | Qwen3_VisionTransformer
    keep: Callable[[torch.Tensor, list[int], Callable[[], SeenClip]], SeenClip] | None = None
    """Patches of a clip, as the tower is given them, their grid and the tower -> what it makes of them: of a
    trainer in this process, which keeps that. None: the tower itself is asked, every time."""

    @property
    def raw_pixels(self) -> bool:
        """Whether the tower takes pixels 0..255 and normalises them itself."""
        raise NotImplementedError

    def raster(self, features: torch.Tensor, grid: list[int]) -> torch.Tensor:
        """Vision features (t*h*w, d) of one clip in the tower's order -> row by row of the (t, h, w) grid."""
        raise NotImplementedError

    def _add_anomaly_modules(self) -> None:
        self.ahd, self.rae = anomaly_modules(self.config)
        self.captured: dict[int, torch.Tensor] = {}
        # Forward hooks do not fire on vLLM's compilable blocks, so their forward is wrapped.
        for layer in dict.fromkeys(self.config.ahd_layers or ()) if self.ahd is not None else ():
            self._keep_output(layer)

    def _keep_output(self, layer: int) -> None:
        block = self.visual.blocks[layer]
        forward = block.forward

        def kept(*args, **kwargs):
            self.captured[layer] = out = forward(*args, **kwargs)
            return out

        block.forward = kept

    def load_weights(self, weights):
        """As the backbone's; AHD's text features are a buffer, which vLLM's loader leaves out, and what
        writes words has no classifier."""
        weights = list(weights)  # an iterator, read twice
        self.load_buffers(weights)
        return super().load_weights(
            (name, tensor)
            for name, tensor in weights
            if not name.endswith(BUFFER) and not name.startswith(CLASSIFIER)
        )

    def load_buffers(self, weights):
        for name, tensor in weights:
            if name.endswith(BUFFER):
                self.ahd.text_features.copy_(tensor)

    def _see(self, pixels: torch.Tensor, grid: list[int]) -> SeenClip:
        """The vision tower."""
        # vLLM's blocks give (t*h*w, 1, d); what an earlier run was captured of must not be read.
        self.captured.clear()
        video, *deep = self.visual(pixels, grid_thw=[grid]).split(self.config.text_config.hidden_size, 1)
        wanted = (self.config.ahd_layers or ()) if self.ahd is not None else ()
        layers = [self.raster(self.captured[i][:, 0], grid) for i in wanted]
        self.captured.clear()
        t, h, w = grid
        return SeenClip(video, layers, (t, h, w), deep)

    def _encode(self, pixels: torch.Tensor, grid: list[int]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Pixels of one clip -> prompts and video features (n + m, width) in the order of `prompt_order`,
        heatmap (t, h, w) or None."""
        see = partial(self._see, pixels, grid)
        seen = self.keep(pixels, grid, see) if self.keep else see()
        embeds = torch.cat([seen.video, *seen.deep], 1)
        dim = self.config.text_config.hidden_size
        t, h, w = grid
        found = self.ahd(seen.layers, [(t, h, w)]) if self.ahd is not None else None
        prompts = anomaly_prompts(self.rae, found, (t, h, w), embeds[:, :dim])
        # DeepStack levels lie behind the features; prompts have none.
        prompts = torch.nn.functional.pad(prompts.to(embeds.dtype), (0, embeds.shape[1] - dim))
        parts = [embeds, prompts] if self.config.prompt_order == "video_first" else [prompts, embeds]
        return torch.cat(parts), None if found is None else heatmap(found.logits, t, h, w)

    def _process_video_input(self, video_input):
        grids = video_input["video_grid_thw"].tolist()
        pixels = video_input["pixel_values_videos"].split([t * h * w for t, h, w in grids])
        return tuple(self._encode(part, grid)[0] for part, grid in zip(pixels, grids, strict=True))

    @torch.no_grad()
    def heatmaps(self, processor, clips) -> list[torch.Tensor]:
        """Heatmap (t, h, w) of every clip (`tvad.data.video.Frames`), with the engine's weights; only with
        AHD."""
        vision = processor.vision_inputs(clips, raw=self.raw_pixels)
        grids = vision["video_grid_thw"].tolist()
        pixels = vision["pixel_values_videos"].split([t * h * w for t, h, w in grids])
        return [self.heatmap_of(part, grid) for part, grid in zip(pixels, grids, strict=True)]

    @torch.no_grad()
    def heatmap_of(self, pixels: torch.Tensor, grid: list[int]) -> torch.Tensor:
        """Heatmap (t, h, w) of the processor's patches (t * h * w, d) of one clip; only with AHD."""
        heat = self._encode(pixels.to(next(self.visual.parameters()).device), grid)[1]
        assert heat is not None
        return heat

    def compute_logits(self, hidden_states):
        logits = super().compute_logits(hidden_states)
        if logits is not None:
            logits[..., self.config.forbidden_token_ids] = NEVER
        return logits


class TimedProcessor(Qwen2_5_VLMultiModalProcessor):
    """Qwen2.5-VL's, with a clip's seconds as exact as transformers has them (`tvad.model.stock`)."""

    def _postprocess_hf_mm_data(self, mm_inputs, hf_processor_mm_kwargs, processed_data):
        found = super()._postprocess_hf_mm_data(mm_inputs, hf_processor_mm_kwargs, processed_data)
        # vLLM has cast all that the processor gave to the model's type, the seconds too.
        if clips := mm_inputs.get("video_metadata"):
            frames = self.info.get_hf_processor().video_processor.temporal_patch_size
            found["second_per_grid_ts"] = step_seconds(frames, (clip.sampled_fps for clip in clips))
        return found


class TvadMultiModalProcessor(TvadPromptUpdates, TimedProcessor):
    pass


@MULTIMODAL_REGISTRY.register_processor(
    TvadMultiModalProcessor, info=Qwen2_5_VLProcessingInfo, dummy_inputs=Qwen2_5_VLDummyInputsBuilder
)
class TvadForConditionalGeneration(TvadEngineMixin, Qwen2_5_VLForConditionalGeneration):
    config: TvadConfig
    visual: Qwen2_5_VisionTransformer
    hf_to_vllm_mapper = MAPPER

    def __init__(self, *, vllm_config, prefix=""):
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self._add_anomaly_modules()

    @property
    def raw_pixels(self) -> bool:
        return cast(Any, self.visual.input_norm).input_dtype == torch.uint8

    def raster(self, features, grid):
        window = self.visual.get_window_index_thw(*grid)[0]
        return to_raster(features, window, *grid, self.visual.spatial_merge_size)

    def iter_mm_grid_thw(self, mm_features):
        # The backbone counts from where the item begins. Where the anomaly prompts stand there, which are
        # text to it (start, (t - 1) * prompts_per_step, end), the clip begins so many tokens later.
        shifted = self.config.use_rae and self.config.prompt_order == "anomaly_first"
        ordered = sorted(mm_features, key=lambda f: f.mm_position.offset)
        for (offset, t, h, w, factor), feature in zip(
            super().iter_mm_grid_thw(mm_features), ordered, strict=True
        ):
            before = (
                (t - 1) * self.config.prompts_per_step + 2 if feature.modality == "video" and shifted else 0
            )
            yield offset + before, t, h, w, factor


class TvadQwen3MultiModalProcessor(TvadPromptUpdates, Qwen3VLMultiModalProcessor):
    pass


@MULTIMODAL_REGISTRY.register_processor(
    TvadQwen3MultiModalProcessor, info=Qwen3VLProcessingInfo, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class TvadQwen3ForConditionalGeneration(TvadEngineMixin, Qwen3VLForConditionalGeneration):
    """Needs no shift of positions: vLLM looks for this family's video tokens in the prompt, and so finds them
    also behind the anomaly prompts, where Qwen2.5-VL counts from where the item begins."""

    config: TvadQwen3Config
    visual: Qwen3_VisionTransformer
    hf_to_vllm_mapper = MAPPER
    raw_pixels = False

    def __init__(self, *, vllm_config, prefix="model"):
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self._add_anomaly_modules()

    def raster(self, features, grid):
        return to_raster(features, None, *grid, self.visual.spatial_merge_size)
