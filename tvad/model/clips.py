"""One clip on the vision side: vision tower, AHD's heatmap, RAE's soft prompts (arXiv 2511.00524, section 3).

What the language model makes of it is in `core`. The modules of `anomaly_modules` are the same in both
engines; the classes here are transformers'.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from tvad.model.ahd import AnomalyHeatmapDecoder, Decoded, Grid, heatmap
from tvad.model.ahd_thesis import ThesisHeatmapDecoder
from tvad.model.classifier import AnomalyClassifier
from tvad.model.configuration import TvadConfig, TvadQwen3Config
from tvad.model.rae import RegionAwareAnomalyEncoder
from tvad.model.vision_attention import VisionTower, streamline

DECODERS = {"paper": AnomalyHeatmapDecoder, "thesis": ThesisHeatmapDecoder}  # by the key `ahd_layout`


@dataclass
class SeenClip:
    """One clip after the vision tower, before AHD and RAE: all of it fixed while the tower is frozen.

    video (m, D); layers: what AHD reads, per layer (t*h*w, d) row by row of the grid (t, h, w) in patches;
    deep: DeepStack features.
    """

    video: torch.Tensor
    layers: list[torch.Tensor]
    grid: Grid
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
    grid: Grid
    deep: list[torch.Tensor] = field(default_factory=list)

    @property
    def heat(self) -> torch.Tensor | None:
        """(t, h, w) in [0, 1]."""
        return None if self.heat_logits is None else heatmap(self.heat_logits, *self.grid)


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
    ahd = DECODERS[config.ahd_layout](vision, text, len(config.ahd_layers)) if config.use_ahd else None
    sizes = (config.rae_base_prompts, config.rae_region_grid, config.rae_channels, config.rae_hidden)
    return ahd, RegionAwareAnomalyEncoder(text, *sizes, config.heat_channels) if config.use_rae else None


def classifier_of(config) -> AnomalyClassifier | None:
    """VANGUARD's classifier of a configuration; None for one that goes without. Of transformers' engine
    alone: vLLM writes words."""
    if not config.use_classifier:
        return None
    return AnomalyClassifier(config.text_config.hidden_size, config.classifier_hidden)


def anomaly_prompts(
    rae: RegionAwareAnomalyEncoder | None, found: Decoded | None, grid: Grid, like: torch.Tensor
) -> torch.Tensor:
    """What AHD found in one clip (t*h*w, 2) -> soft prompts (n, D), none without RAE. Without AHD (None), RAE
    sees a constant map.

    `like`: the clip's video tokens, for the width and type of an empty result."""
    if rae is None:
        return like.new_zeros(0, like.shape[-1])
    if found is None:
        return rae(like.new_zeros(grid[0], rae.inputs, *grid[1:]))
    if rae.inputs == 1:
        return rae(heatmap(found.logits, *grid)[:, None])
    return rae(found.maps.float().reshape(*grid, 2).permute(0, 3, 1, 2))


class VisionMixin(PreTrainedModel):
    """For a backbone's `…Model`. A family gives `raster` and `blocks_of`."""

    config: TvadConfig | TvadQwen3Config
    visual: VisionTower
    ahd: AnomalyHeatmapDecoder | None
    rae: RegionAwareAnomalyEncoder | None
    classifier: AnomalyClassifier | None

    def _add_anomaly_modules(self, config: TvadConfig | TvadQwen3Config) -> None:
        self.ahd, self.rae = anomaly_modules(config)
        self.classifier = classifier_of(config)
        streamline(self.visual)
        self.post_init()

    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, AnomalyHeatmapDecoder):
            module.reset_parameters()
        if isinstance(module, RegionAwareAnomalyEncoder):
            nn.init.normal_(module.base, std=self.config.text_config.initializer_range)
            # The backbone's 0.02 would let three convolutions shrink a heatmap's change a thousandfold; these
            # keep its size.
            for conv in (m for m in module.convs if isinstance(m, nn.Conv2d)):
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
                nn.init.zeros_(conv.bias)

    def raster(self, features: torch.Tensor, grid: Grid) -> torch.Tensor:
        """Vision features (t*h*w, d) of one clip in the tower's order -> row by row of the (t, h, w) grid."""
        raise NotImplementedError

    def raster_order(self, grids: list[Grid]) -> torch.Tensor:
        """Where the tower puts the patches of clips of these grids, clip by clip and row by row: (sum
        t*h*w,)."""
        # The numbers 0, 1, 2, … go through `raster` once per size: where they come out is where to look.
        own = {
            grid: self.raster(torch.arange(grid[0] * grid[1] * grid[2])[:, None], grid)[:, 0]
            for grid in set(grids)
        }
        orders, start = [], 0
        for grid in grids:
            orders.append(own[grid] + start)
            start += len(own[grid])
        return torch.cat(orders)

    def see_clips(self, pixel_values_videos: torch.Tensor, video_grid_thw: torch.Tensor) -> list[SeenClip]:
        """The vision tower. pixel_values_videos (sum t*h*w, patch values), video_grid_thw (clips, 3)."""
        tower = self.visual
        wanted = (self.config.ahd_layers or []) if self.ahd is not None else []
        # Gradient checkpointing makes the embedding's output ask for gradients, of a frozen tower too: its
        # whole backward pass would be computed, and its activations held, for nothing.
        learns = pixel_values_videos.requires_grad or any(p.requires_grad for p in tower.parameters())
        with (
            torch.set_grad_enabled(torch.is_grad_enabled() and learns),
            outputs_of(tower.blocks, wanted) as kept,  # hooks: the tower itself returns its last layer only
        ):
            out = tower(pixel_values_videos.type(tower.dtype), grid_thw=video_grid_thw)
        grids = [cast(Grid, tuple(grid)) for grid in video_grid_thw.tolist()]
        # The blocks work on patches; the merger at the tower's end makes one token of merge x merge of them.
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
        found: list[Decoded | None] = [None] * len(seen)
        if self.ahd is not None and seen:
            layers = (
                seen[0].layers
                if len(seen) == 1
                else [torch.cat(level) for level in zip(*(clip.layers for clip in seen), strict=True)]
            )
            sizes = [len(clip.layers[0]) for clip in seen]
            parts = (whole.split(sizes) for whole in self.ahd(layers, [clip.grid for clip in seen]))
            found = [Decoded(*part) for part in zip(*parts, strict=True)]
        return [
            EncodedClip(
                anomaly_prompts(self.rae, decoded, clip.grid, clip.video),
                clip.video,
                None if decoded is None else decoded.logits,
                clip.grid,
                clip.deep,
            )
            for clip, decoded in zip(seen, found, strict=True)
        ]

    def encode_clips(
        self, pixel_values_videos: torch.Tensor, video_grid_thw: torch.Tensor
    ) -> list[EncodedClip]:
        """Vision tower, AHD and RAE, once per clip."""
        return self.understand_clips(self.see_clips(pixel_values_videos, video_grid_thw))
