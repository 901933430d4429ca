"""GRPO from stock checkpoints: what TRL's data set gives back is what went in, and every published template
of a Qwen-VL backbone puts the video where it is, once."""

import json

import pytest
import torch
from conftest import SHIPPED
from grpo_runs import run_of
from stock_checkpoint import FITTING, TINY, build_stock, template

from bench.models.base import Request
from bench.models.clips import given_to
from bench.models.hf import HfModel
from bench.models.vllm import VllmModel
from rft.curriculum.data import Branches
from rft.grpo import mixture
from rft.grpo.train import train, train_set
from tvad.__main__ import main
from tvad.control import chat
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.model import TvadProcessor
from tvad.prompts import messages

TASKS = {"mcq": 1, "temporal": 1, "judgement": 1, "dialogue": 1}


def rows_of(scenes, style: str = "tvad") -> list[dict]:
    return mixture.rows(load(scenes), mixture.tasks_of(TASKS), 8, 0, None, style)


@pytest.mark.parametrize("style", ["tvad", "vau_r1"])
def test_the_trainers_data_set_gives_back_the_rows_that_it_was_given(scenes, style):
    rows = rows_of(scenes, style)
    found = train_set(rows)
    assert [found[n] for n in range(len(rows))] == rows and list(found) == rows


def test_templates_that_fit_are_known():
    assert {"qwen2_5_vl", "qwen3_vl", "qwen2_5_vl_training", "qwen3_vl_training"} <= set(FITTING)


@pytest.mark.parametrize("name", FITTING)
def test_every_published_template_writes_the_video_once_wherever_prompts_are_made(name, scenes):
    """The trainer's rows, the benchmark's engines, the supervised stages and a question of one's own."""
    found = TvadProcessor.from_pretrained(SHIPPED)
    found.chat_template = template(name)
    rows = rows_of(scenes)
    prompts = [row["prompt"] for row in train_set(rows)]
    assert any(len(prompt) > 2 for prompt in prompts)  # a dialogue's later turns
    prompts.append(messages("What happens?", "clip"))
    clip = ClipStore(2.0, 8).frames(load(scenes)[0])
    engines = [object.__new__(kind) for kind in (VllmModel, HfModel)]
    for engine in engines:
        engine.processor, engine.given = found, given_to(found, name)
    grid = found.vision_inputs([clip])["video_grid_thw"][0]
    video = found.tokenizer.convert_tokens_to_ids("<|video_pad|>")
    for prompt in prompts:
        text = chat(found, prompt)
        assert text.count("<|video_pad|>") == 1, text
        for part in prompt[-1]["content"]:
            assert part.get("text", "") in text
        assert [engine.rendered(Request(prompt, clip)) for engine in engines] == [text, text]
        tokens = found.tokenizer(found.expand(text, grid, clip))["input_ids"]
        assert tokens.count(video) == int(grid.prod()) // 4
    branches = Branches(found)
    assert found.tokenizer.decode(branches.opening()).startswith("<|im_start|>system")
    assert branches.prefix(grid, clip).tolist().count(video) == int(grid.prod()) // 4


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_a_stock_checkpoint_with_its_published_template_does_a_step(name, scenes, tmp_path):
    build_stock(tmp_path / "stock", TINY, name, torch.float32)
    start = tmp_path / "start"
    assert main(["start", "--backbone", str(tmp_path / "stock"), "--out", str(start)]) == 0
    trainer = train(
        run_of(scenes, start, tmp_path / "run", max_steps=1, learning_rate=1e-3, max_completion_length=6)
    )
    assert trainer.state.global_step == 1
    row = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[0])
    assert row["sampler_gap/max"] < 1e-3 and torch.isfinite(torch.tensor(row["loss"]))
