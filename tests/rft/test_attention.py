"""The key `attention`: what it names is what attends, in every stage, after a resumption, in GRPO."""

from dataclasses import replace

import pytest
from conftest import ROOT
from grpo_runs import run_of

from rft.curriculum.config import Curriculum, Data, Losses, Optimiser, Stage, Texts
from rft.curriculum.train import train as train_stages
from rft.curriculum.trainer import StageTrainer
from rft.grpo.train import train as train_grpo
from tvad.common.errors import InputError

PROMPTS = str(ROOT / "configs/prompts/surveillance.yaml")


def attentions(model):
    """Of the whole, the language model, the vision tower."""
    parts = (model, model.model.language_model, model.model.visual)
    return {part.config._attn_implementation for part in parts}


def heat(name, scenes):
    silent, losses = Texts(kinds=[]), Losses(text=0.0, heatmap=1.0)
    plan = Optimiser(steps=1, batch=2)
    return Stage(name, ["model.ahd.*"], Data(str(scenes)), silent, losses, optimiser=plan, text_features=True)


def test_a_curriculum_that_goes_on_attends_as_before(checkpoint, scenes, tmp_path, monkeypatch):
    step, seen = StageTrainer.training_step, []

    def watched(self, model, *args, **kwargs):
        seen.append(attentions(self.accelerator.unwrap_model(model)))
        return step(self, model, *args, **kwargs)

    monkeypatch.setattr(StageTrainer, "training_step", watched)
    plan = Curriculum(str(tmp_path), str(checkpoint), [heat("a", scenes)], attention="eager", prompts=PROMPTS)
    train_stages(plan, log=lambda text: None)
    words = Stage("b", ["model.rae.*"], Data(str(scenes)), optimiser=Optimiser(steps=1, batch=2))
    train_stages(replace(plan, stages=[*plan.stages, words]), log=lambda text: None)
    assert seen == [{"eager"}] * 2


def test_flash_attention_is_refused_where_branches_are_packed(checkpoint, scenes, tmp_path):
    words = Stage("b", ["model.rae.*"], Data(str(scenes)), optimiser=Optimiser(steps=1, batch=2))
    plan = Curriculum(str(tmp_path), str(checkpoint), [words], attention="flash_attention_2")
    run = replace(run_of(scenes, checkpoint, tmp_path), attention="flash_attention_2")
    for trained in (lambda: train_stages(plan), lambda: train_grpo(run)):
        with pytest.raises(InputError, match=r"attention: flash_attention_2 takes no mask.*eager, sdpa"):
            trained()


def test_grpo_attends_as_it_is_told(checkpoint, scenes, tmp_path):
    run = run_of(scenes, checkpoint, tmp_path, max_steps=1, beta=0.1)
    trainer = train_grpo(replace(run, tasks={"mcq": 1}, attention="eager"))
    assert attentions(trainer.core) == attentions(trainer.ref_model) == {"eager"}
    row = trainer.state.log_history[0]
    # In the first step the policy is still its reference, and the engine's log-probs are its own.
    assert abs(row["kl"]) < 1e-5 and row["sampler_gap/max"] < 1e-3
