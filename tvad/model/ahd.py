"""Anomaly Heatmap Decoder: which patches of a clip are anomalous (arXiv 2511.00524, section 3.2).

    H_c[t, y, x] = sum_i w_i cos(MLP_i(V_i[t, y, x]), s_c)     c in {normal, abnormal}, i over layers
    logits = scale * H_c

Plain torch without the backbone, so that transformers and vLLM run the same code. (ours) marks what the paper
leaves open.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import nn
from torch.nn import functional as F

Grid = tuple[int, int, int]  # (t, h, w) of a clip in patches: temporal steps, rows, columns

# (ours) Learned on a log scale as in CLIP (whose 1/0.07 this is): pooled prompt features lie close together,
# cosines alone stay flat. Not clamped, whereas CLIP bounds exp() at 100.
LOG_SCALE = 2.66
CHUNK = 1024  # patches projected at a time without gradients


def to_raster(
    features: torch.Tensor, window_index: torch.Tensor | None, t: int, h: int, w: int, merge: int
) -> torch.Tensor:
    """Undo the vision tower's order: groups of merge x merge patches, the groups in windows (Qwen2.5-VL) or
    in a row (Qwen3-VL).

    features (t*h*w, d) in the tower's order, window_index (t*h*w / merge^2,) or None -> (t*h*w, d), row by
    row of the (t, h, w) patch grid.
    """
    # The tower keeps the merge x merge patches of one later token together: (groups, merge * merge, d).
    # Groups back in order, then (t, rows of groups, columns of groups, merge, merge, d) -> rows and columns
    # of patches.
    d = features.shape[-1]
    groups = features.reshape(-1, merge * merge, d)
    if window_index is not None:
        groups = groups[torch.argsort(window_index).to(features.device)]
    return groups.reshape(t, h // merge, w // merge, merge, merge, d).transpose(2, 3).reshape(t * h * w, d)


class Decoded(NamedTuple):
    """maps: H_c (N, 2), normal and anomalous; logits (N, 2): maps times the scale, for the softmax."""

    maps: torch.Tensor
    logits: torch.Tensor


class AnomalyHeatmapDecoder(nn.Module):
    """Per layer an MLP into the language model's space, cosine similarity with the class prompts' features,
    weighted sum.

    `text_features` (2, D): pooled features of the normal and abnormal prompts, fixed for a prompt set and
    stored with the weights.
    """

    text_features: torch.Tensor

    def __init__(self, vision_dim: int, text_dim: int, layers: int):
        super().__init__()
        self._build(vision_dim, text_dim, layers)
        self.register_buffer("text_features", torch.empty(2, text_dim))
        self.reset_parameters()

    def _build(self, vision_dim: int, text_dim: int, layers: int) -> None:
        self.mlps = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(vision_dim),
                nn.Linear(vision_dim, vision_dim),
                nn.GELU(),
                nn.Linear(vision_dim, text_dim),
                nn.LayerNorm(text_dim),
            )
            for _ in range(layers)
        )
        self.layer_weights = nn.Parameter(torch.empty(layers))
        self.log_scale = nn.Parameter(torch.empty(1))  # one-dimensional: sharded training takes no scalars

    def reset_parameters(self) -> None:
        """The start of what is not one of the MLPs; `VisionMixin._init_weights` calls it for what a
        checkpoint lacks."""
        nn.init.constant_(self.layer_weights, 1.0 / len(self.layer_weights))
        nn.init.constant_(self.log_scale, LOG_SCALE)
        nn.init.zeros_(self.text_features)

    def forward(self, features: list[torch.Tensor], grids: Sequence[Grid]) -> Decoded:
        """features: per layer (N, d) of clips of these grids, of any type, one behind the other and in raster
        order.

        Both results come from here: sharded weights are whole only while their own module runs."""
        # The decoder's own type: while it trains it is float32 behind a frozen tower in bfloat16.
        own = self.layer_weights.dtype
        s = F.normalize(self.text_features, dim=-1).to(own)
        # Without gradients nothing of the wide projections need stay: in parts they take a tenth of the
        # memory.
        parts = CHUNK if not torch.is_grad_enabled() else max(1, len(features[0]))
        fused = cast(
            torch.Tensor,
            sum(
                w * torch.cat([F.normalize(mlp(part.to(own)), dim=-1) @ s.T for part in f.split(parts)])
                for w, mlp, f in zip(self.layer_weights, self.mlps, features, strict=True)
            ),
        )
        return Decoded(fused, self.log_scale.exp() * fused)


def heatmap(logits: torch.Tensor, t: int, h: int, w: int) -> torch.Tensor:
    """Logits (t*h*w, 2) -> probability of the anomalous class (t, h, w)."""
    return logits.float().softmax(-1)[:, 1].reshape(t, h, w)


def upsample(heat: torch.Tensor, frames: int, height: int, width: int) -> torch.Tensor:
    """Heatmap (t, h, w) -> (frames, height, width) by linear interpolation in space; a step's frames share
    its map."""
    maps = F.interpolate(heat[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]
    steps = torch.div(torch.arange(frames, device=heat.device) * heat.shape[0], frames, rounding_mode="floor")
    return maps[steps]


def patch_targets(
    masks: torch.Tensor, h: int, w: int, temporal: int = 2, share: float = 0.05
) -> torch.Tensor:
    """Masks (T, H, W) bool -> class of every patch (ceil(T/temporal), h, w) int64.

    A step is anomalous where any of its frames is (pairwise merging as in the vision encoder); a patch is,
    where at least `share` of its pixels are (ours: thin limbs would vanish by majority). The last frame is
    repeated where T is not a multiple.
    """
    if missing := -len(masks) % temporal:
        masks = torch.cat([masks, masks[-1:].expand(missing, -1, -1)])
    covered = F.adaptive_avg_pool2d(masks.float()[:, None], (h, w))[:, 0]
    return (covered.reshape(-1, temporal, h, w).amax(1) >= share).long()
