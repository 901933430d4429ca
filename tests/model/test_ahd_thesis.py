"""The heatmap decoder of T-VAD's precursor (its first author's thesis), computed with our order of patches
and our softmax: equal to the values of its published code. AnomalyHeatmapDecoder has the paper's layers."""

import numpy as np
import pytest
import torch
from conftest import golden
from torch.nn import functional as F

from tvad.model.ahd import heatmap, to_raster

BLOCKS = (0, 7, 15, 23, 31)


@pytest.mark.parametrize("name", ["a", "b"])
def test_the_order_of_patches_is_the_authors(name):
    with np.load(golden("ahd_thesis/ahd.npz")) as file:
        case = {k.removeprefix(f"{name}/"): torch.from_numpy(file[k]) for k in file if k[0] == name}
    weights = {k.removeprefix("weights/anomaly_maps_decoder."): v for k, v in case.items() if "/" in k}
    t, h, w = case["grid_thw"].tolist()
    text = F.normalize(case["text"][0], dim=-1)
    logits = torch.zeros(t, h, w, 2)
    for i, block in enumerate(BLOCKS):
        inner, outer = (f"mlps.{i}.model.{j}" for j in (0, 2))
        x = F.relu(F.linear(case[f"block_{block}"], weights[f"{inner}.weight"], weights[f"{inner}.bias"]))
        x = F.linear(x, weights[f"{outer}.weight"], weights[f"{outer}.bias"])
        x = to_raster(x, case["window_index"], t, h, w, merge=2).reshape(t, h, w, -1)
        # No cosine: the published code divides by the norm over the h rows of a column, not over features.
        logits += weights["fuse_weights"].softmax(0)[i] * 100 * F.normalize(x, dim=1) @ text.T
    torch.testing.assert_close(logits.permute(0, 3, 1, 2), case["logits"], rtol=1e-4, atol=1e-4)
    ours = heatmap(logits.reshape(-1, 2), t, h, w)
    torch.testing.assert_close(ours, case["heatmap"], rtol=1e-4, atol=1e-5)
