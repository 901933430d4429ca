"""Truncated and masked importance sampling between trainer and sampler (Yao et al. 2025, "Your efficient RL
framework secretly brings you off-policy RL training"; TRL's `vllm_importance_sampling_…`), with the
log-probs that every engine gives.

TRL computes the trainer's log-probs of a rollout in a pass of its own. Here they are those that the loss is
off-policy to: kept ones where a rollout serves several steps, else the loss's own, which costs no pass.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch

from rft.grpo.rollout import MicroBatch
from tvad.common.errors import InputError

MODES = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")
GAP, RATIO = "sampler_gap", "sampling/importance_sampling_ratio"
FIGURES = {GAP: ("mean", "max"), RATIO: ("min", "mean", "max")}  # what is logged of each


@dataclass(frozen=True)
class Correction:
    """Ratios outside `low` to `high` (None: no bound) are clipped (truncate) or count 0 (mask), a token's or
    a sequence's."""

    mode: str
    low: float | None
    high: float | None

    def ratio(self, logps: torch.Tensor, sampled: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """What a token's loss is multiplied by: (B, C), by sequence (B, 1). logps: of the trainer, sampled:
        of the engine (NaN where it has none: no correction), mask: of the completions' tokens, all (B, C)."""
        difference = torch.nan_to_num((logps - sampled) * mask, nan=0.0)
        if self.mode.startswith("sequence"):
            difference = difference.sum(-1, keepdim=True)
        ratio = difference.exp()
        if self.mode.endswith("truncate"):
            return ratio if self.low is self.high is None else ratio.clamp(self.low, self.high)
        outside = torch.zeros_like(ratio, dtype=torch.bool)
        if self.low is not None:
            outside |= ratio < self.low
        if self.high is not None:
            outside |= ratio > self.high
        return ratio.masked_fill(outside, 0.0)


def correction_of(arguments: Any) -> Correction | None:
    """What TRL's arguments ask for. Raises InputError for what cannot work."""
    if not arguments.vllm_importance_sampling_correction:
        return None
    mode = arguments.vllm_importance_sampling_mode
    if mode not in MODES:
        raise InputError(f"training.vllm_importance_sampling_mode: {mode!r} is none of {', '.join(MODES)}")
    if arguments.loss_type == "vespo" and mode.startswith("sequence"):
        raise InputError(
            "training.loss_type: vespo weighs sequences itself: set vllm_importance_sampling_mode to"
            " token_truncate or token_mask, or vllm_importance_sampling_correction to false"
        )
    return Correction(
        mode, arguments.vllm_importance_sampling_clip_min, arguments.vllm_importance_sampling_clip_max
    )


def compared(
    micro: MicroBatch, logps: torch.Tensor, correction: Correction | None
) -> dict[str, torch.Tensor]:
    """How far the engine's log-probs of a loss's tokens are from the trainer's (B, C), in nats, and with a
    correction its ratios, of tokens or completions: values (n,) by the names of `FIGURES`. The ratio is added
    to what the loss gets."""
    if micro.sampled is None:
        return {}
    sampled, chosen = micro.sampled.to(logps.device), micro.mask.bool()
    gap = (logps - sampled).abs()[chosen & ~sampled.isnan()]
    if correction is None:
        return {GAP: gap}
    ratio = correction.ratio(micro.inputs.get("old_per_token_logps", logps), sampled, micro.mask)
    micro.inputs["importance_sampling_ratio"] = ratio
    return {GAP: gap, RATIO: ratio.flatten() if ratio.shape[1] == 1 else ratio[chosen]}


class Pooled:
    """Figures of values that come in parts, of micro-batches and of processes: the least and the largest of
    all, and the mean over all (TRL's is of the processes' means, which depends on how they were parted)."""

    def __init__(self) -> None:
        self._parts: dict[str, list[torch.Tensor]] = defaultdict(list)

    def add(self, name: str, values: torch.Tensor, accelerator: Any) -> None:
        """values (n,), n of 0 or more, of this process; all processes add together."""
        values = values.double()
        none = values.new_tensor([math.inf, 0.0, -math.inf])
        own = torch.stack([values.min(), values.sum(), values.max()]) if len(values) else none
        self._parts[name].append(accelerator.gather(torch.cat([own, own.new_tensor([len(values)])])[None]))

    def taken(self) -> dict[str, float]:
        """{NAME/FIGURE: value} of all that was added since the last time, as `FIGURES` has it."""
        found: dict[str, float] = {}
        for name, parts in self._parts.items():
            least, total, largest, count = torch.cat(parts).unbind(1)
            if held := float(count.sum()):
                every = {"min": least.min(), "mean": total.sum() / held, "max": largest.max()}
                found |= {f"{name}/{figure}": float(every[figure]) for figure in FIGURES[name]}
        self._parts.clear()
        return found
