"""Reg-GRPO (DeepVideo-R1, arXiv 2506.07464): advantages are predicted and regressed, without clipping and
without a ratio. Left out: its difficulty-aware augmentation of clips."""

import torch
from torch.nn import functional as F


def predicted_advantages(log_ratio: torch.Tensor, groups: torch.Tensor, scale: float) -> torch.Tensor:
    """The KL-regularised optimum has r = beta log(pi / pi_old) + beta log Z(x), so that a group's normalised
    advantage is (beta / sigma_r) (rho_i - mean rho), rho = log pi(y_i) / pi_old(y_i); log Z cancels.

    log_ratio (B,) rho of whole completions, groups (B,), scale beta / sigma_r, a constant here (ours) ->
    (B,).
    """
    # place (B,) of each completion's group among the G that occur, count and added (G,).
    _, place = groups.unique(return_inverse=True)
    count = torch.zeros(int(place.max()) + 1, device=log_ratio.device).index_add_(
        0, place, torch.ones_like(log_ratio)
    )
    added = torch.zeros_like(count).index_add(0, place, log_ratio)
    return scale * (log_ratio - (added / count)[place])


def regression_loss(
    log_ratio: torch.Tensor, groups: torch.Tensor, advantages: torch.Tensor, scale: float
) -> torch.Tensor:
    """Mean over completions (B,) of (predicted advantage - advantage)^2."""
    predicted = predicted_advantages(log_ratio, groups, scale)
    return F.mse_loss(predicted, advantages.to(predicted.dtype))
