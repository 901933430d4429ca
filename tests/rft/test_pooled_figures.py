"""What is logged of log-probs' gaps and ratios does not depend on how a step is parted."""

import math
from types import SimpleNamespace

import torch

from rft.grpo.importance import GAP, RATIO, Pooled

VALUES = torch.arange(2, 10) / 4  # exact in binary


def figures(parts):
    """Of values in parts, each of which is parted over processes."""
    pooled = Pooled()
    for own, *others in parts:
        beside = Pooled()
        for values in others:
            beside.add(RATIO, values, SimpleNamespace(gather=lambda one: one))
        theirs = beside._parts[RATIO]
        pooled.add(RATIO, own, SimpleNamespace(gather=lambda one, theirs=theirs: torch.cat([one, *theirs])))
    return pooled.taken()


def test_parts_of_unequal_sizes_give_the_figures_of_all():
    whole = figures([[VALUES]])
    assert whole == {f"{RATIO}/min": 0.5, f"{RATIO}/mean": 1.375, f"{RATIO}/max": 2.25}
    for parts in (
        [[VALUES[:1]], [VALUES[1:]]],
        [[VALUES[:7], VALUES[7:]]],
        [[VALUES[:2], VALUES[2:3]], [VALUES[3:3], VALUES[3:]]],
    ):
        found = figures(parts)
        assert found.keys() == whole.keys()
        assert all(math.isclose(found[name], whole[name], rel_tol=1e-6) for name in whole)


def test_nothing_has_no_figure_and_what_was_taken_is_gone():
    alone = SimpleNamespace(gather=lambda one: one)
    pooled = Pooled()
    pooled.add(GAP, VALUES[:0], alone)
    assert pooled.taken() == {}
    pooled.add(GAP, VALUES, alone)
    assert {*pooled.taken()} == {f"{GAP}/mean", f"{GAP}/max"} and pooled.taken() == {}
