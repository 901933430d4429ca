"""Truncated and masked importance sampling between trainer and sampler (Yao et al. 2025, "Your efficient RL
framework secretly brings you off-policy RL training"; TRL's `vllm_importance_sampling_…`), with the
log-probs that every engine gives.

TRL computes the trainer's log-probs of a rollout in a pass of its own. Here they are those that the loss is
off-policy to: kept ones where a rollout serves several steps, else the loss's own, which costs no pass.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch

from rft.grpo.rollout import MicroBatch
from tvad.common.errors import InputError

MODES = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")


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
    correction its ratios, by the names that they are logged under; NaN where a process has no token. The
    ratio is added to what the loss gets."""
    if micro.sampled is None:
        return {}
    sampled, chosen = micro.sampled.to(logps.device), micro.mask.bool()
    gap = (logps - sampled).abs()[chosen & ~sampled.isnan()]
    found = _figures("sampler_gap", gap, ("mean", "max"))
    if correction is None:
        return found
    ratio = correction.ratio(micro.inputs.get("old_per_token_logps", logps), sampled, micro.mask)
    micro.inputs["importance_sampling_ratio"] = ratio
    seen = ratio if ratio.shape[1] == 1 else ratio[chosen]
    return found | _figures("sampling/importance_sampling_ratio", seen, ("min", "mean", "max"))


def _figures(about: str, values: torch.Tensor, wanted: tuple[str, ...]) -> dict[str, torch.Tensor]:
    nothing = values.new_full((), math.nan)
    return {f"{about}/{name}": getattr(values, name)() if values.numel() else nothing for name in wanted}


def over_processes(name: str, value: torch.Tensor, accelerator: Any) -> float:
    """A figure of `compared` over all processes, as TRL has it: the least, the largest, or the mean of their
    means; NaN where none has one."""
    every = accelerator.gather(value)
    every = every[~every.isnan()]
    return float(getattr(every, name.rpartition("/")[2])()) if every.numel() else math.nan
