"""The shipped configurations: all are readable, and VAU-R1's recipes run over a VAU-Bench file and a folder
of videos."""

import csv
import json
from dataclasses import replace

import pytest
from conftest import ROOT, SHIPPED
from grpo_runs import run_of

from rft.grpo import mixture
from rft.grpo.config import GrpoRun, settings_of
from rft.grpo.train import train
from rft.rewards.mix import named, rewards_of
from rft.studies.experiment import Experiment, comparisons
from tvad.__main__ import main
from tvad.common import config
from tvad.data import load
from tvad.data.vau_bench import COLUMNS
from tvad.prompts import VAU_R1_CLASSES

EXPERIMENTS = ("experiment", "ablation")
RUNS = sorted(p for p in (ROOT / "configs/grpo").glob("*.yaml") if p.stem not in EXPERIMENTS)


@pytest.fixture(scope="module")
def vau_bench(scenes, tmp_path_factory):
    """A VAU-Bench annotation file over generated videos, read as a user reads the real one."""
    folder = tmp_path_factory.mktemp("vau")
    rows = []
    for n, sample in enumerate(load(scenes)[:6]):
        start, end = sample.spans[0] if sample.spans else (0, 0)
        rows.append(
            {
                "Video Name": f"MSAD_{n}.mp4",
                "Start Time": start,
                "End Time": end,
                "Anomaly Class": "Fire" if sample.anomalous else "Normal",
                "Question": "What happens?",
                "Option 1": "a fire",
                "Option 2": "a fight",
                "Option 3": "a theft",
                "Option 4": "nothing",
                "Correct Option": "A" if sample.anomalous else "D",
                "Reasoning": "Something burns.",
                "Description": "A place.",
                "Key Object": "fire",
            }
        )
        (folder / "videos").mkdir(exist_ok=True)
        (folder / "videos" / f"MSAD_{n}.mp4").write_bytes(sample.path(sample.video.path).read_bytes())
    with (folder / "train.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows({k: v for k, v in row.items() if k in COLUMNS} for row in rows)
    assert (
        main(
            [
                "data",
                "vau-bench",
                str(folder / "train.csv"),
                "--videos",
                str(folder / "videos"),
                "--split",
                "train",
                "--out",
                str(folder / "data"),
            ]
        )
        == 0
    )
    return folder / "data"


@pytest.mark.parametrize("path", RUNS, ids=[p.stem for p in RUNS])
def test_shipped_configurations_are_whole(path, monkeypatch):
    run = config.build(GrpoRun, config.read_yaml(path), str(path))
    own = {name: task.rewards for name, task in mixture.tasks_of(run.tasks).items()}
    functions, weights = rewards_of(run.rewards, own)
    arguments = settings_of(replace(run, training=run.training | {"bf16": False}, loggers=[]), weights)
    assert len(functions) == len(weights) and arguments.num_generations >= 4
    if path.stem.startswith("vau_r1"):  # the published values
        assert (
            arguments.num_generations,
            arguments.max_completion_length,
            arguments.temperature,
            arguments.beta,
        ) == (4, 1024, 1.0, 0.04)
        assert arguments.learning_rate == (2e-6 if path.stem.endswith("cls") else 1e-6)
        assert (
            run.prompt == "vau_r1"
            and all(name.startswith("vau_r1.") for name in run.rewards)
            and set(weights) == {1.0}
        )


@pytest.mark.parametrize("name", ["qa", "tag", "cls"])
def test_vau_r1s_recipes_run(name, vau_bench, tmp_path):
    path = ROOT / f"configs/grpo/vau_r1_{name}.yaml"
    run = config.build(GrpoRun, config.read_yaml(path), str(path))
    small = {
        "per_device_train_batch_size": 8,
        "max_completion_length": 12,
        "bf16": False,
        "gradient_checkpointing": False,
    }
    here = {
        "model": str(SHIPPED),
        "data": str(vau_bench),
        "out": str(tmp_path),
        "engine": "transformers",
        "max_frames": 8,
    }
    trainer = train(replace(run, **here, training=run.training | small))
    assert trainer.state.global_step == 3  # six videos, two groups a step, one epoch
    line = json.loads((tmp_path / "rollouts.jsonl").read_text().splitlines()[0])
    assert "<answer> </answer>" in line["question"] and ("glue" in line["question"]) == (name == "tag")
    assert all(name in VAU_R1_CLASSES for name in ("Fire", "Normal"))
    log = [json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert "kl" in log[0] and "rewards/vau_r1_answer/mean" in log[0]


def test_published_rewards_read_this_projects_references():
    iou, answer = named("vau_r1.temporal.iou"), named("vau_r1.qa.answer")
    text = "<think>t</think> <answer>Anomaly</answer><glue>[1.0, 3.0]</glue>"
    solution = "<think>x</think><answer>Anomaly</answer><glue>[1.00, 5.00]</glue>"
    assert iou([text], solution=[solution], task=["temporal"]) == [0.5]
    assert iou(
        ["<glue>[-1.0, -1.0]</glue>"],
        solution=["<answer>Normal</answer><glue>none</glue>"],
        task=["temporal"],
    ) == [1.0]
    assert answer(["<answer>B</answer>"], solution=["<think>x</think><answer>B</answer>"], task=["mcq"]) == [
        1.0
    ]


def test_experiments_pair_their_arms():
    plans = {
        name: config.build(Experiment, config.read_yaml(ROOT / f"configs/grpo/{name}.yaml"), name)
        for name in EXPERIMENTS
    }
    found = {name: comparisons(plan) for name, plan in plans.items()}
    assert ("start", "grpo") in found["experiment"] and ("sft", "grpo") in found["experiment"]
    assert ("without-box", "grpo") in found["ablation"] and (
        "start-without-ahd-and-rae-0",
        "without-ahd-and-rae",
    ) in found["ablation"]
    for name, plan in plans.items():
        assert len(found[name]) == len(set(found[name]))
        for arm in plan.arms.values():
            if arm.method == "grpo":  # an arm's changes are changes of known keys
                run = plan.grpo_run(arm, 1)
                assert run.seed == 1 and all(
                    run.rewards[key] == value for key, value in arm.overrides.get("rewards", {}).items()
                )


def test_a_backbone_becomes_a_start(tmp_path, scenes):
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

    from tvad.model import TvadForConditionalGeneration, TvadProcessor

    source, processor = (
        TvadForConditionalGeneration.from_pretrained(SHIPPED),
        TvadProcessor.from_pretrained(SHIPPED),
    )
    plain = Qwen2_5_VLForConditionalGeneration(_plain_config(source.config))
    plain.save_pretrained(tmp_path / "backbone")
    Qwen2_5_VLProcessor(
        processor.image_processor,
        processor.tokenizer,
        processor.video_processor,
        chat_template=processor.chat_template,
    ).save_pretrained(tmp_path / "backbone")
    arguments = [
        "start",
        "--backbone",
        str(tmp_path / "backbone"),
        "--out",
        str(tmp_path / "start"),
        "--without-ahd",
        "--without-rae",
    ]
    assert main(arguments) == 0
    model = TvadForConditionalGeneration.from_pretrained(tmp_path / "start")
    assert model.model.ahd is None and model.model.rae is None
    run = replace(
        run_of(scenes, tmp_path / "start", tmp_path / "run", max_steps=1), tasks={"mcq": 1}, trains=["*"]
    )
    assert train(run).state.global_step == 1


def _plain_config(found):
    from transformers import Qwen2_5_VLConfig

    return Qwen2_5_VLConfig(
        vision_config=found.vision_config.to_dict(),
        text_config=found.text_config.to_dict(),
        video_token_id=found.video_token_id,
        image_token_id=found.image_token_id,
        vision_start_token_id=found.vision_start_token_id,
        vision_end_token_id=found.vision_end_token_id,
    )
