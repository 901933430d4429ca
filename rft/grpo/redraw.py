"""Dynamic sampling (DAPO, arXiv 2503.14476): groups whose completions all earn the same teach nothing and
give way to others. Differs from DAPO in that the batch keeps its size where no better group is found."""

import torch
from torch.nn import functional as F


def without_signal(advantages: torch.Tensor, size: int) -> list[int]:
    """Groups of `size` completions in a row whose advantages (B,) are all 0."""
    return (advantages.reshape(-1, size) == 0).all(1).nonzero().flatten().tolist()


def replaced(output: dict, slots: list[int], fresh: dict, groups: list[int], size: int, pad_id: int) -> dict:
    """`output` with the groups `slots` replaced by `groups` of `fresh`, both as TRL's rollout gives them:
    every tensor of B = groups x size rows. Tensors of tokens (B, n) are padded to a common width, prompts at
    their left, all else at their right."""
    if not slots:
        return output
    to = [g * size + i for g in slots for i in range(size)]
    source = [g * size + i for g in groups for i in range(size)]
    merged = dict(output)
    for name, value in output.items():
        if not isinstance(value, torch.Tensor) or value.dim() == 0 or len(value) != len(output["advantages"]):
            continue
        other = fresh[name]
        if value.dim() == 2:
            width = max(value.shape[1], other.shape[1])
            fill = pad_id if name.endswith("_ids") else 0
            left = name.startswith("prompt")
            value, other = (
                F.pad(t, (width - t.shape[1], 0) if left else (0, width - t.shape[1]), value=fill)
                for t in (value, other)
            )
        value = value.clone()
        value[to] = other[source]
        merged[name] = value
    return merged
