"""Groups that teach nothing: found by their rewards, replaced by other prompts, logged and watched."""

import json
from dataclasses import replace

import pytest
import torch
from grpo_runs import run_of
from trl.trainer.utils import nanstd

from rft.grpo.redraw import without_signal
from rft.grpo.train import train
from rft.grpo.video_grpo import VideoGRPOTrainer

NONE = float("nan")


def test_rounding_hides_no_group_without_signal():
    """TRL's own test, of the deviation, and one of the advantages miss groups whose completions all earn the
    same, and none is missed here."""
    generator = torch.Generator().manual_seed(0)
    size, weights = 6, torch.tensor([0.5, 1.0, 0.3])
    values = torch.rand(500, 1, 3, generator=generator).expand(500, size, 3).reshape(-1, 3)
    rewards = (values * weights).nansum(1).reshape(500, size)
    advantages = rewards - rewards.nanmean(1, keepdim=True)
    by_deviation = torch.isclose(nanstd(rewards, dim=1), torch.zeros(500))
    assert (advantages == 0).all(1).float().mean() < 0.7 and by_deviation.float().mean() < 0.9
    for apart in (False, True):
        assert without_signal(values, weights, size, apart).all()
    # The same sum in two ways, which rounding makes two.
    values = torch.tensor([[0.1, 0.2, NONE], [0.3, 0.0, 0.0]]) * 7
    assert torch.equal(without_signal(values, torch.ones(3), 2, False), torch.tensor([True]))


@pytest.mark.parametrize(
    ("values", "weights", "flat", "apart"),
    [
        ([[1.0, 0.0], [1.0, 0.0]], [1.0, 1.0], True, True),
        ([[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0], True, False),  # GDPO normalises one by one
        ([[1.0, 0.0], [1.0, 1.0]], [1.0, 0.0], True, True),  # what has no weight is only watched
        ([[1.0, 0.0], [1.0, 1e-3]], [1.0, 1.0], False, False),
        ([[NONE, NONE], [NONE, NONE]], [1.0, 1.0], True, True),
        ([[NONE, NONE], [0.5, NONE]], [1.0, 1.0], True, True),  # one alone has nothing beside it
        ([[NONE, 1.0], [0.5, NONE]], [1.0, 1.0], False, True),
        ([[-2.0, 0.0], [-1.0, 0.0]], [1.0, 1.0], False, False),
    ],
)  # fmt: skip
def test_a_group_teaches_what_its_rewards_tell_apart(values, weights, flat, apart):
    found = [
        bool(without_signal(torch.tensor(values), torch.tensor(weights), 2, together)[0])
        for together in (False, True)
    ]
    assert found == [flat, apart]


def test_what_is_flat_is_logged_and_drawn_again_by_other_prompts_in_every_rollout(
    scenes, checkpoint, tmp_path, monkeypatch
):
    """A reward of 0.7 for every completion, in groups of six: by deviation and advantages they would pass for
    signal. Two rollouts a step: each draws other prompts."""
    (tmp_path / "flat_rewards.py").write_text(
        "def flat(completions, **columns):\n    return [0.7] * len(completions)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    asked = []
    inner = VideoGRPOTrainer._answers

    def noted(self, prompts, *rest):
        asked.append([json.dumps(prompt, default=str) for prompt in prompts])
        return inner(self, prompts, *rest)

    monkeypatch.setattr(VideoGRPOTrainer, "_answers", noted)
    run = run_of(
        scenes,
        checkpoint,
        tmp_path / "run",
        max_steps=1,
        num_generations=6,
        per_device_train_batch_size=12,
        gradient_accumulation_steps=2,
        steps_per_generation=1,
        max_completion_length=4,
        save_strategy="no",
    )
    train(replace(run, rewards={"flat_rewards:flat": 1.0}, redraws=1, prompts=40))
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert row["frac_reward_zero_std"] == row["dynamic/no_signal"] == 1 and row["dynamic/replaced"] == 0
    first, first_again, second, second_again = asked
    assert len(first) == len(first_again) == len(second) == len(second_again) == 2
    assert first_again != second_again
