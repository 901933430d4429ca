"""A reinforcement run from end to end: what it writes, how it ends badly, how it goes on."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import replace

import pytest
import torch
from conftest import ROOT, SHIPPED
from grpo_runs import run_of
from peft import PeftModel
from safetensors.torch import load_file
from stock_checkpoint import build_stock
from transformers import AutoModelForImageTextToText, TrainerControl

from rft.common.checkpoints import last_checkpoint
from rft.common.trainable import LoraSpec
from rft.grpo import difficulty, mixture
from rft.grpo.callbacks import CollapseStop
from rft.grpo.config import Difficulty, Evaluate, Features, Watch
from rft.grpo.difficulty import pass_rates
from rft.grpo.features import FeatureCache, clip_keys, tower_hash
from rft.grpo.redraw import replaced
from rft.grpo.reg_grpo import predicted_advantages
from rft.grpo.train import train
from tvad.__main__ import main as tvad
from tvad.common import cli
from tvad.common.errors import InputError, Stopped
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.model import TvadForConditionalGeneration, TvadProcessor


def steps_of(folder) -> list[dict]:
    return [
        row for row in map(json.loads, (folder / "log.jsonl").read_text().splitlines()) if "reward" in row
    ]


def plain(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in ("step_time", "epoch")} for row in rows]


def test_a_run_leaves_a_model_an_adapter_a_card_and_a_page(scenes, tmp_path):
    run = replace(
        run_of(scenes, SHIPPED, tmp_path, max_completion_length=40, learning_rate=1e-3),
        trains=["model.rae.*"],
        lora=LoraSpec(2, 4, 8, 0.0),
        tasks={"mcq": 1, "spatial": {"share": 1, "rewards": {"box": 1.0, "evidence": 0.5}}, "dialogue": 1},
        rewards={"format": 0.5, "answer": 1.0, "words": 1.0, "consistency": 0.1},
        loggers=["tensorboard"],
    )
    train(run)
    assert {"log.jsonl", "rollouts.jsonl", "run.html", "grpo.json"} <= {p.name for p in tmp_path.iterdir()}
    card = (tmp_path / "model" / "README.md").read_text()
    for words in ("after 2 steps of GRPO (seed 0)", scenes.name, "| evidence |", "LoRA", "Command:"):
        assert words in card
    assert str(scenes) not in card  # where a machine keeps its data is nobody's
    page = (tmp_path / "run.html").read_text()
    for words in (
        "Every reward",
        "evidence, mean",
        "Reward by task",
        "share of groups without signal",
        "Completions of the first",
    ):
        assert words in page
    assert list((tmp_path / "runs").rglob("events*")), "TensorBoard's file"
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".tmp")]
    row = {key for row in steps_of(tmp_path) for key in row}
    assert {
        "parse/defective",
        "tasks/spatial",
        "frac_reward_zero_std",
        "rewards/evidence/mean",
        "completions/clipped_ratio",
    } <= row

    merged = TvadForConditionalGeneration.from_pretrained(tmp_path / "model")
    base = TvadForConditionalGeneration.from_pretrained(SHIPPED)
    name = "model.language_model.layers.3.self_attn.q_proj.weight"
    assert not torch.equal(merged.state_dict()[name], base.state_dict()[name])
    adapted = PeftModel.from_pretrained(base, tmp_path / "adapter").merge_and_unload()
    assert torch.allclose(adapted.state_dict()[name], merged.state_dict()[name], atol=1e-6)


@pytest.mark.parametrize(
    ("knobs", "prompts"),
    [
        ({}, None),
        # Step 7 of 8: in the second epoch, whose order is another, at the second of a rollout's four passes.
        ({"max_steps": 8, "save_steps": 7, "num_iterations": 2, "steps_per_generation": 2}, 7),
    ],
)
def test_a_resumed_run_equals_one_that_was_not_interrupted(scenes, tmp_path, capsys, knobs, prompts):
    knobs = {"max_steps": 4, "save_steps": 2, "learning_rate": 1e-3, "max_completion_length": 24} | knobs
    last = knobs["max_steps"]
    whole, part = (
        replace(run_of(scenes, SHIPPED, tmp_path / name, **knobs), prompts=prompts)
        for name in ("whole", "part")
    )
    train(whole)
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    for name in (f"checkpoint-{last}", "model"):
        shutil.rmtree(tmp_path / "part" / name)
    train(part)
    assert "drawn anew" not in capsys.readouterr().err
    assert plain(steps_of(tmp_path / "whole")) == plain(steps_of(tmp_path / "part"))
    one, other = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "part"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_run_killed_while_its_model_is_written_does_no_step_more(scenes, tmp_path):
    """More prompts than its steps take: an epoch would go on."""
    run = replace(run_of(scenes, SHIPPED, tmp_path, learning_rate=1e-3), prompts=9)
    train(run)
    log, trained = (tmp_path / "log.jsonl").read_text(), load_file(tmp_path / "model/model.safetensors")
    shutil.rmtree(tmp_path / "model")
    assert train(run).state.global_step == 2 and (tmp_path / "log.jsonl").read_text() == log
    again = load_file(tmp_path / "model/model.safetensors")
    assert all(torch.equal(trained[key], again[key]) for key in trained)


@pytest.mark.slow
def test_sigterm_ends_a_run_with_a_checkpoint_and_it_goes_on(scenes, tmp_path):
    command = [
        sys.executable,
        str(ROOT / "rft/train_grpo.py"),
        "--config",
        str(ROOT / "configs/grpo/demo.yaml"),
        "--model",
        str(SHIPPED),
        "--data",
        str(scenes),
        "--out",
        str(tmp_path),
        "--engine",
        "transformers",
        "--training.max_steps",
        "40",
        "--training.save_steps",
        "1000",
        "--training.per_device_train_batch_size",
        "8",
        "--training.num_generations",
        "4",
        "--training.max_completion_length",
        "16",
    ]
    with open(tmp_path / "out.txt", "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 240
        while not (tmp_path / "log.jsonl").exists():
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "out.txt").read_text()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 143
    assert "stopped by SIGTERM after step" in (tmp_path / "out.txt").read_text()
    done = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["step"]
    assert (
        0 < done < 40
        and last_checkpoint(tmp_path) == str(tmp_path / f"checkpoint-{done}")
        and not (tmp_path / "model").exists()
    )
    command[command.index("40")] = str(done + 1)
    again = subprocess.run([*command, "--resume-with", "new"], capture_output=True, text=True, timeout=240)
    assert again.returncode == 0 and f"{done + 1} steps done" in again.stdout, again.stderr


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_checkpoint(scenes, tmp_path):
    """Files may not grow beyond 3 MB: the first checkpoint cannot be written, as on a full disk."""
    code = (
        "import resource, signal, sys; sys.path.insert(0, sys.argv[1]); signal.signal(signal.SIGXFSZ,"
        " signal.SIG_IGN)\nfrom rft.train_grpo import main; from tvad.common"
        " import cli\nresource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY));"
        " sys.exit(cli.guard(main, sys.argv[2:]))"
    )
    command = [
        sys.executable,
        "-c",
        code,
        str(ROOT),
        "--config",
        str(ROOT / "configs/grpo/demo.yaml"),
        "--model",
        str(SHIPPED),
        "--data",
        str(scenes),
        "--out",
        str(tmp_path),
        "--engine",
        "transformers",
        "--training.max_steps",
        "2",
        "--training.save_steps",
        "1",
        "--training.per_device_train_batch_size",
        "8",
        "--training.num_generations",
        "4",
        "--training.max_completion_length",
        "8",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "checkpoint-1: cannot be written" in lines[0] and "start again" in lines[0]
    assert not (tmp_path / "checkpoint-1").exists() and "Traceback" not in done.stderr


def test_a_corrupt_video_is_named_and_the_run_goes_on_once_it_is_mended(scenes, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(scenes, data)
    broken = data / load(data)[0].video.path
    whole = broken.read_bytes()
    run = replace(run_of(data, SHIPPED, tmp_path / "run", max_steps=12, save_steps=1), tasks={"judgement": 1})
    broken.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(InputError, match=broken.name):
        train(run)
    before = last_checkpoint(tmp_path / "run")
    broken.write_bytes(whole)
    assert train(run).state.global_step == 12
    assert before is None or int(before.rpartition("-")[2]) < 12


def test_a_reward_that_raises_names_itself_and_the_completion(scenes, tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text(
        "def length(completions, **columns):\n    return [len(c[0]['content']) / 100 for c in"
        " completions]\n\ndef broken(completions, **columns):\n    raise ValueError('no such column')\n\ndef"
        " closed(completions):\n    return []\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run = run_of(scenes, SHIPPED, tmp_path / "run", max_steps=1)
    train(replace(run, rewards={"my_rewards:length": 1.0}))
    assert steps_of(tmp_path / "run")[0]["rewards/length/mean"] > 0
    with pytest.raises(ValueError, match="no such column"):
        train(replace(run, rewards={"my_rewards:broken": 1.0}, out=str(tmp_path / "other")))
    for name in ("my_rewards:missing", "my_rewards:closed", "nowhere:reward", "vau_r1.qa.style"):
        with pytest.raises(InputError, match="rewards: "):
            train(replace(run, rewards={name: 1.0}, out=str(tmp_path / "third")))


@pytest.mark.slow
def test_features_of_a_frozen_tower_change_nothing_and_stay_within_bounds(scenes, tmp_path):
    folder = tmp_path / "features"
    run = replace(run_of(scenes, SHIPPED, tmp_path / "a", learning_rate=1e-3), trains=["model.rae.*"])
    train(run)
    kept = replace(run, out=str(tmp_path / "b"), features=Features(str(folder), 0.01))
    train(kept)
    assert sorted(folder.rglob("*.safetensors"))
    train(replace(kept, out=str(tmp_path / "c")))  # all from the cache
    losses = [[row["loss"] for row in steps_of(tmp_path / name)] for name in "abc"]
    assert losses[1] == losses[2] and losses[0] == pytest.approx(losses[1], abs=1e-6)
    with pytest.raises(InputError, match="the vision tower trains"):
        train(replace(kept, trains=["*"], out=str(tmp_path / "d")))


def test_the_feature_cache_drops_the_longest_unused_and_reads_around_damage(scenes, tmp_path):
    model, processor = (
        TvadForConditionalGeneration.from_pretrained(SHIPPED),
        TvadProcessor.from_pretrained(SHIPPED),
    )
    clip = ClipStore(2.0, 8).frames(load(scenes)[0])
    vision = processor.vision_inputs([clip])
    with torch.no_grad():
        seen = model.model.see_clips(vision["pixel_values_videos"], vision["video_grid_thw"])[0]
    (key,) = clip_keys(vision)
    size = FeatureCache(tmp_path / "one", 1.0, "w")
    size.put(key, seen)
    bytes_of_one = size._size
    cache = FeatureCache(tmp_path / "few", 3.5 * bytes_of_one / 1e9, tower_hash(SHIPPED))
    for n in range(6):
        cache.put(f"{key}{n}", seen)
        time.sleep(0.01)
    left = sorted(p.name for p in cache.folder.iterdir())
    assert 2 <= len(left) <= 3 and left[-1] == f"{key}5.safetensors"
    again = cache.get(f"{key}5")
    assert (
        torch.equal(again.video, seen.video)
        and all(torch.equal(a, b) for a, b in zip(again.layers, seen.layers, strict=True))
        and again.grid == seen.grid
    )
    (cache.folder / f"{key}5.safetensors").write_bytes(b"cut")
    assert cache.get(f"{key}5") is None


def test_groups_without_signal_are_replaced_and_counted(scenes, tmp_path):
    run = replace(
        run_of(scenes, SHIPPED, tmp_path, max_steps=2, max_completion_length=32),
        redraws=3,
        tasks={"mcq": 1, "judgement": 1},
    )
    train(run)
    for row in steps_of(tmp_path):
        assert row["dynamic/no_signal"] >= row["dynamic/replaced"] >= 0
    assert any(row["dynamic/replaced"] > 0 for row in steps_of(tmp_path))


def test_replacing_groups_pads_both_sides():
    def batch(value, prompt, length):
        return {
            "advantages": torch.full((4,), float(value)),
            "prompt_ids": torch.full((4, prompt), value),
            "completion_ids": torch.full((4, length), value),
            "prompt_mask": torch.ones(4, prompt),
            "completion_mask": torch.ones(4, length),
            "num_items_in_batch": torch.tensor(9),
        }

    merged = replaced(batch(1, 2, 5), [1], batch(7, 3, 4), [0], 2, pad_id=0)
    assert merged["prompt_ids"].tolist() == [[0, 1, 1]] * 2 + [[7, 7, 7]] * 2
    assert merged["completion_ids"].tolist() == [[1] * 5] * 2 + [[7, 7, 7, 7, 0]] * 2
    assert merged["completion_mask"].sum(1).tolist() == [5, 5, 4, 4]
    assert merged["advantages"].tolist() == [1, 1, 7, 7]


def test_reg_grpo_predicts_advantages_within_groups(scenes, tmp_path):
    rho = torch.tensor([0.1, 0.3, -1.0, 2.0], requires_grad=True)
    found = predicted_advantages(rho, torch.tensor([5, 5, 2, 2]), 2.0)
    assert found.tolist() == pytest.approx([-0.2, 0.2, -3.0, 3.0])
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5])
    torch.nn.functional.mse_loss(found, advantages).backward()
    assert rho.grad[0] < 0 < rho.grad[1]  # towards more of what was better than expected
    run = replace(
        run_of(
            scenes,
            SHIPPED,
            tmp_path,
            max_completion_length=24,
            learning_rate=1e-3,
            num_iterations=2,
            max_steps=2,
        ),
        method="reg_grpo",
    )
    train(run)
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in steps_of(tmp_path))
    with pytest.raises(InputError, match="reg_grpo compares whole groups"):
        train(
            replace(run, out=str(tmp_path / "b"), training=run.training | {"gradient_accumulation_steps": 2})
        )


@pytest.mark.parametrize(
    "knobs",
    [
        {"loss_type": "dr_grpo", "scale_rewards": "none"},
        {"loss_type": "dapo", "epsilon_high": 0.28},
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
        {"multi_objective_aggregation": "normalize_then_sum", "beta": 0.04},
    ],
)
def test_methods_of_trl_by_configuration(scenes, tmp_path, knobs):
    train(run_of(scenes, SHIPPED, tmp_path, max_steps=1, **knobs))
    row = steps_of(tmp_path)[0]
    assert torch.isfinite(torch.tensor(row["loss"])) and ("kl" in row) == ("beta" in knobs)


def test_the_best_weights_by_the_benchmark_are_kept(scenes, tmp_path):
    plan = Evaluate(
        str(ROOT / "configs/bench/scenes.yaml"),
        "mcq.accuracy",
        1,
        overrides=["--data", str(scenes), "--tasks", "[mcq]", "--resamples", "20"],
    )
    train(replace(run_of(scenes, SHIPPED, tmp_path, learning_rate=1e-2), evaluate=plan))
    values = {
        n: json.loads((tmp_path / "evaluations" / f"step-{n}" / "metrics.json").read_text())["mcq.accuracy"][
            "value"
        ]
        for n in (1, 2)
    }
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["value"] == max(values.values()) == values[best["step"]]
    AutoModelForImageTextToText.from_pretrained(tmp_path / "best")
    assert "Evaluations" in (tmp_path / "run.html").read_text()
    with pytest.raises(InputError, match="gives no metric 'luck'"):
        train(
            replace(
                run_of(scenes, SHIPPED, tmp_path / "b"), evaluate=dataclasses.replace(plan, metric="luck")
            )
        )


def test_a_collapsed_run_stops_and_says_why(scenes, checkpoint, tmp_path):
    # Gibberish earns the same reward nearly everywhere, which would be a reason of its own.
    run = replace(run_of(scenes, checkpoint, tmp_path, max_steps=9), watch=Watch(patience=2, flat=1.0))
    with pytest.raises(Stopped, match="completions do not end, for 2 steps up to step 2") as stop:
        train(run)
    assert stop.value.status == 3 and len(steps_of(tmp_path)) == 2 and (tmp_path / "model").is_dir()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"entropy": 0.001}, "entropy is below"),
        ({"completions/clipped_ratio": 1.0}, "completions do not end"),
        ({"entropy": 0.5}, ""),
    ],
)
def test_what_counts_as_a_collapse(row, reason, capsys):
    stop, control = CollapseStop(Watch(patience=3, gap=0.01)), TrainerControl()
    state = type("State", (), {"global_step": 1})
    for _ in range(3):
        stop.on_log(None, state, control, logs={"reward": 1.0, "sampler_gap/mean": 0.2, **row})
    assert stop.reason.startswith(reason) and bool(stop.reason) == control.should_training_stop == bool(
        reason
    )
    assert "trainer and sampler disagree by 0.2 nats" in capsys.readouterr().out
    assert isinstance(stop._rows, deque)


def test_a_curriculum_prefers_what_is_sometimes_right(scenes, tmp_path):
    from bench import suite
    from bench.models.baseline import Baseline
    from bench.run import run as run_bench

    plan = suite.read(
        str(ROOT / "configs/bench/scenes.yaml"),
        ["--data", str(scenes), "--tasks", "[judgement]", "--resamples", "10"],
    )
    run_bench(
        Baseline("random"),
        "baseline:random",
        replace(plan, decode=suite.Decode(n=4, temperature=1.0)),
        tmp_path / "rates",
    )
    rates = pass_rates(tmp_path / "rates")
    chances = difficulty.weights(rates, 0.0)
    assert len(rates) == 16 and all(
        chances[key] == pytest.approx(4 * p * (1 - p)) for key, p in rates.items()
    )
    drawn = mixture.draw(load(scenes), mixture.tasks_of({"judgement": 1}), 200, 0, None, chances)
    assert all(chances[s.id, q.text] > 0 for s, q, _ in drawn)
    train(
        replace(
            run_of(scenes, SHIPPED, tmp_path / "run", max_steps=1),
            tasks={"judgement": 1},
            difficulty=Difficulty(str(tmp_path / "rates")),
        )
    )
    with pytest.raises(InputError, match="nothing to learn from"):
        mixture.draw(load(scenes), mixture.tasks_of({"judgement": 1}), 4, 0, None, dict.fromkeys(rates, 0.0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "luck"}, "method: 'luck'"),
        ({"loggers": ["paper"]}, "loggers: 'paper'"),
        ({"engine": "abacus"}, "engine: 'abacus'"),
        ({"engine": "server:ftp://x"}, "expected server:http"),
        ({"training": {"learning_rate": "much"}}, "training: learning_rate: expected float, found 'much'"),
        ({"training": {"luck": 1}}, "unknown key 'luck'"),
        ({"prompt": "verse"}, "unknown style 'verse'"),
        ({"model": "nowhere"}, "nowhere: not a model folder"),
    ],
)
def test_bad_configurations_are_one_line(scenes, tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        train(replace(run_of(scenes, SHIPPED, tmp_path), **change))


def test_a_stock_checkpoint_is_sent_to_where_it_becomes_ours(scenes, tmp_path, capsys):
    stock = str(build_stock(tmp_path / "stock"))
    words = (
        r"stock: a checkpoint of qwen2_5_vl, not of T-VAD; `tvad start --backbone .*stock --out FOLDER` makes"
    )
    with pytest.raises(InputError, match=words):
        train(replace(run_of(scenes, SHIPPED, tmp_path / "run"), model=stock))
    clip = load(scenes)[0]
    video = ["--video", str(clip.path(clip.video.path)), "--out", str(tmp_path / "out")]
    for command in (["infer", *video], ["serve"]):
        assert cli.guard(tvad, [*command, "--model", stock]) == 2
        assert "a checkpoint of qwen2_5_vl, not of T-VAD" in capsys.readouterr().err


def test_clips_are_decoded_ahead_in_order(scenes):
    samples = load(scenes)
    store = ClipStore(2.0, 8)
    paths = [str(s.path(s.video.path)) for s in samples]
    store.prefetch(paths, workers=2, ahead=4)
    plain = ClipStore(2.0, 8)
    for path in [paths[0], paths[5], *paths]:
        assert (store.load(path).images == plain.load(path).images).all()


@pytest.mark.slow
def test_a_run_with_an_engine_in_its_process_ends_in_silence(scenes, tmp_path):
    """vLLM's engine looks for its process groups when the interpreter goes: they must not be gone before."""
    command = [
        sys.executable,
        str(ROOT / "rft/train_grpo.py"),
        "--config",
        str(ROOT / "configs/grpo/demo.yaml"),
    ]
    command += ["--model", str(SHIPPED), "--data", str(scenes), "--out", str(tmp_path), "--engine", "vllm"]
    command += ["--training.max_steps", "1", "--training.per_device_train_batch_size", "8"]
    command += ["--training.num_generations", "4", "--training.max_completion_length", "8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0 and "1 steps done" in done.stdout, done.stderr
    assert "Traceback" not in done.stderr
