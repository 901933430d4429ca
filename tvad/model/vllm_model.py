"""The vLLM model class of T-VAD; imported by vLLM only (see `vllm_plugin`)."""

import torch
from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.model_executor.models.utils import WeightsMapper
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.processing import PromptReplacement, PromptUpdateDetails

from tvad.model.ahd import AnomalyHeatmapDecoder, heatmap, to_raster
from tvad.model.modeling import NEVER
from tvad.model.rae import RegionAwareAnomalyEncoder

BUFFER = "ahd.text_features"


class TvadMultiModalProcessor(Qwen2_5_VLMultiModalProcessor):
    def _get_prompt_updates(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs):
        updates = super()._get_prompt_updates(mm_items, hf_processor_mm_kwargs, out_mm_kwargs)
        config = self.info.get_hf_config()
        merge = config.vision_config.spatial_merge_size
        pad, video = config.anomaly_pad_token_id, config.video_token_id

        def replacement(index):
            t, h, w = out_mm_kwargs["video"][index]["video_grid_thw"].data.tolist()
            ids = [config.anomaly_start_token_id, *[pad] * ((t - 1) * config.prompts_per_step), config.anomaly_end_token_id]
            ids += [video] * (t * h * w // merge**2)
            wanted = torch.tensor([pad, video])
            return PromptUpdateDetails(full=ids, is_embed=lambda full: torch.isin(torch.as_tensor(full), wanted))

        kept = [update for update in updates if update.modality != "video"]
        return [*kept, PromptReplacement(modality="video", target=[video], replacement=replacement)]


@MULTIMODAL_REGISTRY.register_processor(
    TvadMultiModalProcessor, info=Qwen2_5_VLProcessingInfo, dummy_inputs=Qwen2_5_VLDummyInputsBuilder
)
class TvadForConditionalGeneration(Qwen2_5_VLForConditionalGeneration):
    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={
            "model.language_model.": "language_model.model.", "model.visual.": "visual.", "lm_head.": "language_model.lm_head.",
            "model.ahd.": "ahd.", "model.rae.": "rae.", "model.": "language_model.model.",
        }
    )  # fmt: skip

    def __init__(self, *, vllm_config, prefix=""):
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        config = self.config
        vision, text = config.vision_config.hidden_size, config.text_config.hidden_size
        self.ahd = AnomalyHeatmapDecoder(vision, text, len(config.ahd_layers))
        self.rae = RegionAwareAnomalyEncoder(
            text, config.rae_base_prompts, config.rae_region_grid, config.rae_channels, config.rae_hidden
        )
        self.captured: dict[int, torch.Tensor] = {}
        # Forward hooks do not fire on vLLM's compilable blocks, so their forward is wrapped.
        for layer in config.ahd_layers:
            self._keep_output(layer)

    def _keep_output(self, layer: int) -> None:
        block = self.visual.blocks[layer]
        forward = block.forward

        def kept(*args, **kwargs):
            self.captured[layer] = out = forward(*args, **kwargs)
            return out

        block.forward = kept

    def load_weights(self, weights):
        """As the backbone's; AHD's text features are a buffer, which vLLM's loader leaves out."""
        weights = list(weights)
        self.load_buffers(weights)
        return super().load_weights((name, tensor) for name, tensor in weights if not name.endswith(BUFFER))

    def load_buffers(self, weights):
        for name, tensor in weights:
            if name.endswith(BUFFER):
                self.ahd.text_features.copy_(tensor)

    def _encode(self, pixels: torch.Tensor, grid: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels of one clip -> video features (m, D), heatmap (t, h, w)."""
        t, h, w = grid
        embeds = self.visual(pixels, grid_thw=[grid])
        window = self.visual.get_window_index_thw(t, h, w)[0].to(embeds.device)
        merge = self.visual.spatial_merge_size
        layers = [to_raster(self.captured[i][:, 0], window, t, h, w, merge) for i in self.config.ahd_layers]
        self.captured.clear()
        return embeds, heatmap(self.ahd(layers), t, h, w)

    def _process_video_input(self, video_input):
        grids = video_input["video_grid_thw"].tolist()
        out = []
        for pixels, grid in zip(video_input["pixel_values_videos"].split([t * h * w for t, h, w in grids]), grids):
            embeds, heat = self._encode(pixels, grid)
            out.append(torch.cat([self.rae(heat).to(embeds.dtype), embeds]))
        return tuple(out)

    @torch.no_grad()
    def heatmaps(self, processor, clips, fps) -> list[torch.Tensor]:
        """Heatmap (t, h, w) of every clip (T, H, W, 3) uint8, with the engine's weights."""
        vision = processor.vision_inputs(clips, fps, raw=self.visual.input_norm.input_dtype == torch.uint8)
        grids = vision["video_grid_thw"].tolist()
        device = next(self.visual.parameters()).device
        pixels = vision["pixel_values_videos"].to(device).split([t * h * w for t, h, w in grids])
        return [self._encode(part, grid)[1] for part, grid in zip(pixels, grids)]

    def iter_mm_grid_thw(self, mm_features):
        ordered = sorted(mm_features, key=lambda f: f.mm_position.offset)
        for (offset, t, h, w, factor), feature in zip(super().iter_mm_grid_thw(mm_features), ordered):
            skip = (t - 1) * self.config.prompts_per_step + 2 if feature.modality == "video" else 0
            yield offset + skip, t, h, w, factor

    def compute_logits(self, hidden_states):
        logits = super().compute_logits(hidden_states)
        if logits is not None:
            logits[..., self.config.forbidden_token_ids] = NEVER
        return logits
