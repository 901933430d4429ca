"""The reward about length: DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13)."""

from collections.abc import Sequence
from typing import Any

from rft.rewards.base import Reward, needing
from tvad.common.errors import InputError


def cache_of(name: str) -> int | None:
    """The cache of a reward overlong.TOKENS, None for another one."""
    kind, _, tokens = name.partition(".")
    return int(tokens) if kind == "overlong" and tokens.isascii() and tokens.isdigit() else None


def overlong(tokens: str) -> Reward:
    """0 up to `tokens` (L_cache) before the completion's limit (L_max), from there on falling evenly to -1 at
    the limit. Raises InputError for a cache that is no number of tokens."""
    cache = cache_of(f"overlong.{tokens}")
    if not cache:
        raise InputError(f"rewards: overlong.{tokens}: expected overlong.TOKENS, e.g. overlong.256")

    @needing("max_completion_length")
    def reward(
        completions: Sequence[Any],
        *,
        completion_ids: Sequence[Sequence[int]],
        max_completion_length: Sequence[int],
        **columns: Any,
    ) -> list[float | None]:
        return [
            max(-1.0, min(0.0, (most - cache - len(ids)) / cache))
            for ids, most in zip(completion_ids, max_completion_length, strict=True)
        ]

    reward.__name__ = "overlong"
    return reward
