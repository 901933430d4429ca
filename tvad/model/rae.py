"""Region-aware Anomaly Encoder: heatmaps -> soft prompts for the language model (arXiv 2511.00524, section
3.3).

    X[t] = H[t+1] - H[t];  P[t] = [base; regions(conv(X[t])); global(conv(X[t]))]     t = 0 .. T'-2

Plain torch without the backbone, so that transformers and vLLM run the same code. Channels and MLP width are
(ours); with them the 7B model has the paper's 7.54 M parameters. H here is the anomalous class's probability
(one channel); the paper differences both class maps before the softmax.
"""

import itertools

import torch
from torch import nn
from torch.nn import functional as F


class RegionAwareAnomalyEncoder(nn.Module):
    def __init__(self, dim: int, base: int = 10, grid: int = 3, channels: int = 64, hidden: int = 1024):
        super().__init__()
        sizes = [1, channels // 4, channels // 2, channels]
        self.convs = nn.Sequential(
            *[m for a, b in itertools.pairwise(sizes) for m in (nn.Conv2d(a, b, 3, padding=1), nn.GELU())]
        )
        self.region = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.overall = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.base = nn.Parameter(torch.zeros(base, dim))
        self.grid = grid

    def forward(self, heat: torch.Tensor) -> torch.Tensor:
        """Heatmap (T', h, w) in [0, 1] -> prompts ((T'-1) * (base + grid^2 + 1), dim): per step [base;
        regions; global].

        A clip of one temporal step has no difference and gives no prompts: (0, dim).
        """
        if len(heat) < 2:
            return self.base.new_zeros(0, self.base.shape[1])
        # (T'-1, 1, h, w); all that follows treats the steps as a batch.
        difference = (heat[1:] - heat[:-1])[:, None].to(self.base.dtype)
        f = self.convs(difference)
        region = self.region(F.adaptive_avg_pool2d(f, self.grid).flatten(2).transpose(1, 2))
        overall = self.overall(f.mean((2, 3)))[:, None]
        return torch.cat([self.base.expand(len(f), -1, -1), region, overall], 1).flatten(0, 1)
