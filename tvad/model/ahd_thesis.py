"""AHD as its precursor has it, the decoder of the first author's thesis (momiji-bit/PG-Thesis-PGADV at
4363079, August 2025), written anew; equal to values of the published code (`tests/golden/ahd_thesis`).

    H_c[t, y, x] = sum_i softmax(w)_i <MLP_i(V_i[t, y, x]) / n_i[t, x], s_c>     logits = 100 H_c

Five blocks, an MLP of width 1024 with ReLU. What is meant as a cosine is none: the norm n_i runs over the
rows y of a column, feature by feature, where a cosine's runs over the features.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from tvad.model.ahd import CHUNK, AnomalyHeatmapDecoder, Decoded, Grid

HIDDEN = 1024
SCALE = 100.0
PREFIX = "anomaly_maps_decoder."  # of its names in the published weights


class ThesisHeatmapDecoder(AnomalyHeatmapDecoder):
    """Takes the place of the paper's decoder; 24,926,725 parameters at 7B."""

    def _build(self, vision_dim: int, text_dim: int, layers: int) -> None:
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(vision_dim, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, text_dim))
            for _ in range(layers)
        )
        self.layer_weights = nn.Parameter(torch.empty(layers))

    def reset_parameters(self) -> None:
        nn.init.ones_(self.layer_weights)
        nn.init.zeros_(self.text_features)

    def forward(self, features: list[torch.Tensor], grids: Sequence[Grid]) -> Decoded:
        s = F.normalize(self.text_features, dim=-1).to(features[0].dtype)
        patches = [t * h * w for t, h, w in grids]
        fused = features[0].new_zeros(())
        for weight, mlp, layer in zip(self.layer_weights.softmax(0), self.mlps, features, strict=True):
            maps = []
            for (t, h, w), clip in zip(grids, layer.split(patches), strict=True):
                # A column's norm needs all its rows: whole steps are taken at a time, not patches.
                steps = clip.reshape(t, h, w, -1).split(max(1, CHUNK // (h * w)))
                maps += [(F.normalize(mlp(part), dim=1) @ s.T).reshape(-1, 2) for part in steps]
            fused = fused + weight * torch.cat(maps)
        return Decoded(fused, SCALE * fused)


def ours(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The decoder's weights by our names, from weights that hold them by the published ones
    (`model.anomaly_maps_decoder.mlps.0.model.0.weight`), whatever stands before; {} where they hold none."""
    found = {}
    for name, tensor in weights.items():
        _, marker, rest = name.rpartition(PREFIX)
        if marker:
            found[rest.replace(".model.", ".").replace("fuse_weights", "layer_weights")] = tensor
    return found
