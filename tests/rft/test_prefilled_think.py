"""Templates that open the reasoning in the prompt: the trainer tells the rewards how its prompts end."""

import json
import shutil
from dataclasses import replace

import numpy as np
from conftest import SHIPPED
from grpo_runs import run_of
from transformers import AutoTokenizer

from bench.models.base import Completion
from rft.grpo.train import train

SAID = "Yes.</think><answer>Yes</answer>"  # closes what the prompt has opened


class Says:
    """An engine that always says the same."""

    name = "says"

    def __init__(self, path, text):
        tokenizer = AutoTokenizer.from_pretrained(path)
        self.ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        self.text = tokenizer.decode(self.ids, skip_special_tokens=True)

    def sample(self, requests, sampling):
        return [[Completion(self.text, self.ids, [0.0] * len(self.ids))] * sampling.n for _ in requests]

    def heatmaps(self, frames):
        return [np.zeros((1, 1, 1)) for _ in frames]

    def sync(self, weights):
        pass


def test_a_completion_that_closes_the_prompts_reasoning_is_well_formed(scenes, tmp_path):
    start = tmp_path / "start"
    shutil.copytree(SHIPPED, start)
    template = start / "chat_template.jinja"
    opened = template.read_text().replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    template.write_text(opened)
    assert "<think>" in opened
    run = replace(
        run_of(scenes, start, tmp_path / "run", max_steps=1, max_completion_length=64, save_steps=10),
        tasks={"judgement": 1},
        rewards={"format": 1.0},
    )
    train(run, Says(start, SAID))
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    logged = {key: value for row in rows for key, value in row.items()}
    assert logged["rewards/format/mean"] == 1.0 and logged["parse/defective"] == 0.0
