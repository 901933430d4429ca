"""How a batch's groups are shared out over forward passes: as many passes in every process, because sharded
weights are gathered, and a copy's buffers sent round, by all processes together in each."""

from typing import Any

import torch

from bench.models.base import batches
from rft.grpo.logprobs import Group


def most(accelerator: Any, count: int) -> int:
    """The largest of all processes' counts."""
    return int(accelerator.gather(torch.tensor([count], device=accelerator.device)).max())


def passes(groups: list[Group], tokens: int, accelerator: Any) -> list[list[Group]]:
    """Groups of similar length together, at most `tokens` a pass, padding included (a longer group goes
    alone). A process with fewer passes than another, whose clips are longer, parts its own further, a group
    of several completions too."""
    parts = [[groups[n] for n in part] for part in batches([group.tokens for group in groups], tokens)]
    for _ in range(most(accelerator, len(parts)) - len(parts)):
        fullest = max(range(len(parts)), key=lambda n: sum(len(group.members) for group in parts[n]))
        parts[fullest : fullest + 1] = _halves(parts[fullest])
    return parts


def _halves(part: list[Group]) -> list[list[Group]]:
    """A pass of two completions or more as two passes."""
    if len(part) > 1:
        return [part[: len(part) // 2], part[len(part) // 2 :]]
    (group,) = part
    half = len(group.members) // 2
    return [
        [Group(group.clip, group.members[some], group.prompt, group.completions[some])]
        for some in (slice(half), slice(half, None))
    ]
