"""One rule each: which rewards there are, which columns they may read, how they add up."""

import inspect
import re

import torch
from conftest import ROOT

from rft.grpo.mixture import row_of
from rft.rewards import REWARDS, mix, own
from rft.rewards.base import COLUMNS, FROM_DATA, FROM_ENGINE, needs_of
from rft.rewards.mix import rewards_of
from tvad.data import load


def is_reward(found) -> bool:
    """Takes completions, or a text as what `per_completion` lifts to that."""
    return inspect.isfunction(found) and list(inspect.signature(found).parameters)[:1] in (
        ["completions"],
        ["text"],
    )


def test_every_reward_of_the_file_is_in_the_list():
    written = {name: f for name, f in vars(own).items() if is_reward(f) and f.__module__ == own.__name__}
    assert written == REWARDS


def test_columns_are_the_same_in_rows_rewards_and_documents(scenes):
    sample = load(scenes)[0]
    assert set(row_of(sample, sample.questions[0])) == {"prompt", *FROM_DATA}
    assert all(set(needs_of(reward)) <= set(FROM_ENGINE) for reward in REWARDS.values())
    text = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    promised = text[text.index("Own rewards have TRL's signature") :].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", promised)) - set(REWARDS) == set(COLUMNS)
    listed = text[text.index("- `rewards`: ") :].partition("\n- ")[0]
    assert all(f"`{name}`" in listed for name in REWARDS)


def test_a_reward_says_what_it_needs_of_the_engine_with_weights_by_task_too():
    functions, _ = rewards_of({"format": 1.0}, {"spatial": {"evidence": 0.5}, "mcq": {}})
    assert [needs_of(f) for f in functions] == [("heat", "times"), ()]
    assert needs_of(lambda completions, **columns: [None]) == ()


def test_rewards_add_up_as_trl_adds_them():
    """What does not apply is left out; where nothing applies there is no reward, which is not 0."""
    nan = float("nan")
    values = torch.tensor([[1.0, nan, 0.5], [nan, nan, nan], [0.0, 0.0, 0.0]])
    found = mix.total(values, torch.tensor([0.5, 1.0, 2.0]))
    assert found[0] == 1.5 and found[1].isnan() and found[2] == 0.0
    watched = mix.total(torch.tensor([[nan, 1.0], [0.5, 1.0]]), torch.tensor([1.0, 0.0]))
    assert watched[0].isnan() and watched[1] == 0.5, "what is only watched is not earned"
