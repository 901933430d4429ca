"""Region-aware Anomaly Encoder: heatmaps -> soft prompts for the language model (arXiv 2511.00524, section
3.3).

    X[t] = H_c[t+1] - H_c[t];  P[t] = [base; regions(conv(X[t])); global(conv(X[t]))]     t = 0 .. T'-2

Plain torch without the backbone, so that transformers and vLLM run the same code. Channels and MLP width are
(ours); with them the 7B model has the paper's 7.54 M parameters. Two channels are H_c, both class heatmaps
before the softmax; one is the abnormal class's probability, as in the first checkpoints.
"""

import itertools

import torch
from torch import nn
from torch.nn import functional as F


class RegionAwareAnomalyEncoder(nn.Module):
    def __init__(
        self,
        dim: int,
        base: int = 10,
        grid: int = 3,
        channels: int = 64,
        hidden: int = 1024,
        inputs: int = 2,
    ):
        super().__init__()
        sizes = [inputs, channels // 4, channels // 2, channels]
        self.convs = nn.Sequential(
            *[m for a, b in itertools.pairwise(sizes) for m in (nn.Conv2d(a, b, 3, padding=1), nn.GELU())]
        )
        self.region = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.overall = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.base = nn.Parameter(torch.zeros(base, dim))
        self.grid, self.inputs = grid, inputs

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps (T', inputs, h, w) -> prompts ((T'-1) * (base + grid^2 + 1), dim): per step [base; regions;
        global].

        A clip of one temporal step has no difference and gives no prompts: (0, dim).
        """
        if len(maps) < 2:
            return self.base.new_zeros(0, self.base.shape[1])
        # (T'-1, inputs, h, w); all that follows treats the steps as a batch.
        f = self.convs((maps[1:] - maps[:-1]).to(self.base.dtype))
        region = self.region(F.adaptive_avg_pool2d(f, self.grid).flatten(2).transpose(1, 2))
        overall = self.overall(f.mean((2, 3)))[:, None]
        return torch.cat([self.base.expand(len(f), -1, -1), region, overall], 1).flatten(0, 1)
