"""Log-probs of given tokens without all their logits at once: at a vocabulary of 152,064 these are most of
what a step of GRPO holds beside the weights."""

from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

ENTRIES = 1 << 26  # logits at a time


def score(
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    hidden: torch.Tensor,
    targets: torch.Tensor,
    vocabulary: int | None,
    temperature: float,
    learns_entropy: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs (N,) of `targets` (N,) after `hidden` (N, D), and entropies (N,), which have a gradient where
    `learns_entropy`. logits_of: (n, D) -> (n, vocabulary), which is computed again for the gradient where
    there is more than `ENTRIES`. vocabulary: None for all at once, whatever they hold."""

    def part(hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        log_p = (logits_of(hidden).float() / temperature).log_softmax(-1)
        spread = log_p if learns_entropy else log_p.detach()
        return log_p.gather(-1, targets[:, None])[:, 0], -(spread.exp() * spread).sum(-1)

    rows = max(1, ENTRIES // vocabulary) if vocabulary else len(hidden)
    if len(hidden) <= rows:
        return part(hidden, targets)
    parts = zip(hidden.split(rows), targets.split(rows), strict=True)
    found = [checkpoint(part, *one, use_reentrant=False) for one in parts]
    values, entropies = (torch.cat(each) for each in zip(*found, strict=True))
    return values, entropies
