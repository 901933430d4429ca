"""Dynamic sampling (DAPO, arXiv 2503.14476): groups whose completions all earn the same teach nothing and
give way to others. Differs from DAPO in that the batch keeps its size where no better group is found."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from rft.grpo.passes import most
from rft.rewards.mix import total

# What rounding makes of equal sums, per unit of reward. TRL adds 1e-4 to a group's deviation: what differs by
# less would earn an advantage below a hundredth.
EQUAL = 1e-6


def without_signal(values: torch.Tensor, weights: torch.Tensor, size: int, apart: bool) -> torch.Tensor:
    """Which groups (G,) of `size` completions in a row teach nothing: all of one earn the same, or nothing
    applies to any. By the rewards, since rounding keeps the advantages of equal ones from 0.

    values (G x size, R): every reward, NaN where it does not apply; weights (R,); apart: rewards are
    normalised one by one (GDPO), so that equal sums of different rewards teach something.
    """
    earned = values[:, weights != 0] * weights[weights != 0] if apart else total(values, weights)[:, None]
    earned = earned.reshape(-1, size, earned.shape[1])
    highest = earned.nan_to_num(nan=-torch.inf).amax(1)
    spread = highest - earned.nan_to_num(nan=torch.inf).amin(1)
    return (spread <= EQUAL * earned.abs().nan_to_num().amax(1).clamp(min=1)).all(1)


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


def redrawn(
    output: dict,
    empty: list[int],
    rounds: int,
    size: int,
    pad_id: int,
    accelerator: Any,
    draw: Callable[[int, int], tuple[dict, list[int]]],
) -> tuple[dict, int]:
    """TRL's rollout `output` with its groups `empty` replaced as far as `rounds` drawings go, and how many
    were. draw(drawing, n): n other groups, as a rollout, and which of them are without signal too."""
    count = 0
    for drawing in range(1, rounds + 1):
        # Every process draws as many as the one that lacks most: drawing is a common affair.
        wanted = most(accelerator, len(empty))
        if not wanted:
            break
        fresh, dull = draw(drawing, wanted)
        good = [g for g in range(wanted) if g not in dull][: len(empty)]
        output = replaced(output, empty[: len(good)], fresh, good, size, pad_id)
        empty = empty[len(good) :]
        count += len(good)
    return output, count
