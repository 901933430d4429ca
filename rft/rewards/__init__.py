"""Verifiable rewards: the project's own (`REWARDS`, in `own`), VAU-R1's as published (`vau_r1`, in
`published`), what a reward is (`base`), how a run chooses and adds them (`mix`)."""

from rft.rewards.own import REWARDS
from rft.rewards.published import vau_r1

__all__ = ["REWARDS", "vau_r1"]
