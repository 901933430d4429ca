import hashlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pytest
import torch
from conftest import ROOT
from grpo_runs import run_of
from safetensors.torch import save_file
from transformers import Trainer
from trl import GRPOTrainer

from rft.grpo import mixture
from rft.grpo.logprobs import group_logprobs, groups_in
from rft.grpo.rollout import Rollout
from rft.grpo.train import train
from rft.grpo.video_grpo import VideoGRPOTrainer
from tvad.common.errors import InputError
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.model import TvadForConditionalGeneration, TvadProcessor
from tvad.prompts import messages


def digest(*functions) -> str:
    return hashlib.sha256("".join(inspect.getsource(f) for f in functions).encode()).hexdigest()[:12]


def test_trl_has_not_moved():
    """What rft/grpo/video_grpo.py relies on. If this fails, read the changed methods of TRL, adapt that
    file, then this test."""
    assert version("trl").startswith("1.16."), "pyproject pins trl to 1.16"
    arguments = list(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)
    assert arguments[:8] == [
        "self",
        "model",
        "input_ids",
        "attention_mask",
        "logits_to_keep",
        "batch_size",
        "compute_entropy",
        "compute_aux_loss",
    ]
    assert "rollout_func" in inspect.signature(GRPOTrainer.__init__).parameters
    source = inspect.getsource(GRPOTrainer._compute_loss)
    for piece in (
        'inputs["completion_mask"]',
        "self._get_per_token_logps_and_entropies(",
        'inputs.get("old_per_token_logps")',
    ):
        assert piece in source
    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    for piece in (
        '"sampling_per_token_logps"',
        "self._calculate_rewards(",
        "self._generate(prompts)",
        # rft.rewards.mix.total follows these two.
        "(rewards_per_func * self.reward_weights.to(device).unsqueeze(0)).nansum(dim=1)",
        "rewards[unscorable_mask] = torch.nan",
    ):
        assert piece in source
    assert "self.rollout_func(prompts, self)" in inspect.getsource(GRPOTrainer._generate)
    assert list(inspect.signature(GRPOTrainer._calculate_rewards).parameters) == [
        "self",
        "inputs",
        "prompts",
        "completions",
        "completion_ids_list",
    ]
    assert "self._pending_metrics" in inspect.getsource(
        GRPOTrainer._log_metric
    ) and "self._metrics[mode]" in inspect.getsource(GRPOTrainer.log)
    assert "RepeatSampler(" in inspect.getsource(GRPOTrainer._get_train_sampler)
    # What `_prepare_inputs` here does in another order of rows, and when.
    source = inspect.getsource(GRPOTrainer._prepare_inputs)
    for piece in (
        "generate_every = self.args.steps_per_generation * self.num_iterations",
        "if self._step % generate_every == 0 or self._buffered_inputs is None:",
        "shuffle_sequence_dict(generation_batch)",
        "split_tensor_dict(generation_batch, self.args.steps_per_generation)",
        "self._buffered_inputs[self._step % self.args.steps_per_generation]",
    ):
        assert piece in source
    # The last thing that a checkpoint gets says that it is whole.
    saving = inspect.getsource(Trainer._save_checkpoint)
    assert saving.index("self._save_rng_state(") < saving.index("TRAINER_STATE_NAME")


def test_once_per_group_equals_once_per_completion(scenes, checkpoint):
    model, processor = (
        TvadForConditionalGeneration.from_pretrained(checkpoint).eval(),
        TvadProcessor.from_pretrained(checkpoint),
    )
    store, samples = ClipStore(2.0, 8), load(scenes)[:2]
    clips = [store.frames(s) for s in samples]
    vision = processor.vision_inputs(clips)
    text = processor.apply_chat_template(
        messages("What happens?"), tokenize=False, add_generation_prompt=True
    )
    prompts = [
        torch.tensor(processor.tokenizer(processor.expand(text, grid, clip))["input_ids"])
        for grid, clip in zip(vision["video_grid_thw"], clips, strict=True)
    ]
    generator = torch.Generator().manual_seed(0)
    completions = [
        [torch.randint(20, 300, (n,), generator=generator) for n in sizes] for sizes in ((3, 7, 1), (5, 2, 6))
    ]
    with torch.no_grad():
        together, entropy = group_logprobs(model, model, prompts, completions, vision, 1.0, 0)
        for g in range(2):
            one = {
                k: (
                    v.split(vision["video_grid_thw"].prod(-1).tolist())[g]
                    if k == "pixel_values_videos"
                    else v[g : g + 1]
                )
                for k, v in vision.items()
            }
            for i, completion in enumerate(completions[g]):
                ids = torch.cat([prompts[g], completion])[None]
                log_p = model(input_ids=ids, **one).logits[0].log_softmax(-1)
                alone = log_p[len(prompts[g]) - 1 : -1]
                assert torch.allclose(together[g][i], alone.gather(-1, completion[:, None])[:, 0], atol=2e-4)
                assert torch.allclose(entropy[g][i], -(alone.exp() * alone).sum(-1), atol=2e-3)


class Sleeper:
    """An engine that notes when it is woken and put to sleep; `fails`: what it cannot do."""

    name, shared = "sleeper", False

    def __init__(self, fails: str = ""):
        self.fails, self.seen = fails, []

    def wake(self):
        self.seen.append("wake")

    def sleep(self):
        self.seen.append("sleep")

    def sync(self, weights):
        if self.fails == "sync":
            raise OSError("no memory")


@pytest.mark.parametrize("fails", ["sync", "sample"])
def test_an_engine_sleeps_again_after_an_error(fails, monkeypatch):
    trainer = object.__new__(VideoGRPOTrainer)
    trainer.engine = Sleeper(fails)
    monkeypatch.setattr(VideoGRPOTrainer, "sync_weights", lambda self: self.engine.sync([]))
    with pytest.raises(OSError, match="no memory"), trainer.engine_ready():
        raise OSError("no memory")
    assert trainer.engine.seen == ["wake", "sleep"]


def test_log_probs_of_images_and_experts_are_refused_and_not_ignored():
    trainer = object.__new__(VideoGRPOTrainer)
    for knobs in ({"compute_aux_loss": True}, {"pixel_values": torch.zeros(1)}):
        with pytest.raises(NotImplementedError, match="no auxiliary loss and no images"):
            trainer._get_per_token_logps_and_entropies(None, None, None, 1, **knobs)


def test_a_padded_batch_comes_apart_into_groups():
    """Two prompts of 2 and 3 tokens, completions of 1 to 3: the second group's rows first."""
    ids = torch.tensor([[3, 4, 5, 9, 0, 0], [0, 1, 2, 7, 8, 0], [0, 1, 2, 6, 6, 6]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1]])
    found = groups_in(ids, mask, 3, [4, 2, 2], together=True)
    assert [(g.clip, g.members, g.prompt.tolist()) for g in found] == [
        (4, [0], [3, 4, 5]),
        (2, [1, 2], [1, 2]),
    ]
    assert [c.tolist() for c in found[1].completions] == [[7, 8], [6, 6, 6]]
    assert [g.tokens for g in found] == [3 + 2, 2 + 3 + 4]
    apart = groups_in(ids, mask, 3, [4, 2, 2], together=False)
    assert [(g.clip, g.members) for g in apart] == [(4, [0]), (2, [1]), (2, [2])]


def test_joined_rollouts_keep_the_clips_of_their_rows():
    def rollout(*marks):
        grids = torch.tensor([[1, 1, n + 1] for n in range(len(marks))])
        pixels = torch.cat([torch.full((n + 1, 2), mark) for n, mark in enumerate(marks)])
        vision = {
            "pixel_values_videos": pixels,
            "video_grid_thw": grids,
            "second_per_grid_ts": torch.ones(len(marks)),
        }
        keys = [str(mark) for mark in marks]
        return Rollout(vision, [f"{key}.mp4" for key in keys], keys, torch.arange(len(marks)))

    both = rollout(5.0, 6.0).joined(rollout(7.0))
    assert len(both) == 3 and both.keys == ["5.0", "6.0", "7.0"] and both.videos[2] == "7.0.mp4"
    assert both.group_index.tolist() == [0, 1, 2]
    chosen = both.clips([2, 1])
    assert chosen["pixel_values_videos"][:, 0].tolist() == [7.0, 6.0, 6.0]
    assert chosen["video_grid_thw"].tolist() == [[1, 1, 1], [1, 1, 2]]


def test_training_steps_run_change_weights_and_leave_readable_logs(scenes, checkpoint, tmp_path):
    trainer = train(run_of(scenes, checkpoint, tmp_path, learning_rate=1e-3))
    assert trainer.state.global_step == 2
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["sampler_gap/max"] < 1e-3 for row in rows)
    rollouts = [json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text().splitlines()]
    assert {"clip", "question", "completion", "rewards", "advantage"} <= set(rollouts[0])
    TvadForConditionalGeneration.from_pretrained(tmp_path / "model")


def test_equal_rewards_give_zero_advantage_and_leave_the_weights(scenes, checkpoint, tmp_path):
    run = replace(
        run_of(scenes, checkpoint, tmp_path, max_steps=1, weight_decay=0.0),
        rewards={"format": 1.0},  # which gibberish never earns
        tasks={"judgement": 1.0},
    )
    before = TvadForConditionalGeneration.from_pretrained(checkpoint).state_dict()
    trainer = train(run)
    after = TvadForConditionalGeneration.from_pretrained(tmp_path / "model").state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert np.isfinite(trainer.state.log_history[0]["loss"])


def test_two_runs_with_one_seed_agree(scenes, checkpoint, tmp_path):
    losses = []
    for name in ("a", "b"):
        trainer = train(run_of(scenes, checkpoint, tmp_path / name, learning_rate=1e-3))
        losses.append(
            [(h["loss"], h["reward"], h["entropy"]) for h in trainer.state.log_history if "reward" in h]
        )
    assert losses[0] == losses[1]


def test_vllm_rollouts_drive_the_same_trainer(scenes, checkpoint, tmp_path, engine):
    engine.sync(TvadForConditionalGeneration.from_pretrained(checkpoint).engine_weights())
    try:
        train(run_of(scenes, checkpoint, tmp_path, learning_rate=1e-3), engine)
        rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert all(row["sampler_gap/max"] < 1e-3 for row in rows)
    finally:
        engine.sync(TvadForConditionalGeneration.from_pretrained(checkpoint).engine_weights())


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_checkpoint(scenes, checkpoint, tmp_path):
    command = [
        sys.executable,
        str(ROOT / "rft/train_grpo.py"),
        "--config",
        str(ROOT / "configs/grpo/demo.yaml"),
        "--model",
        str(checkpoint),
        "--data",
        str(scenes),
        "--out",
        str(tmp_path),
        "--engine",
        "transformers",
        "--training.max_steps",
        "5",
        "--training.save_steps",
        "2",
        "--training.per_device_train_batch_size",
        "8",
        "--training.num_generations",
        "4",
        "--training.max_completion_length",
        "8",
    ]
    with open(tmp_path / "first.txt", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        deadline = time.monotonic() + 240
        while not (tmp_path / "checkpoint-2" / "trainer_state.json").exists():
            assert process.poll() is None and time.monotonic() < deadline, (
                tmp_path / "first.txt"
            ).read_text()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "model").exists()
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "5 steps done" in done.stdout
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5]
    state = json.loads((tmp_path / "checkpoint-5" / "trainer_state.json").read_text())
    assert state["global_step"] == 5


def test_prompts_keep_the_shares_and_use_every_question_once_first(scenes):
    samples = load(scenes)
    tasks = mixture.tasks_of({"mcq": 1, "temporal": {"share": 1}})
    rows = mixture.rows(samples, tasks, 16, 0, ["event"])
    assert [sum(r["task"] == t for r in rows) for t in ("mcq", "temporal")] == [8, 8]
    assert len({r["sample_id"] for r in rows if r["task"] == "temporal"}) == 8
    assert rows == mixture.rows(samples, tasks, 16, 0, ["event"])


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ({"poem": 1}, "unknown task 'poem'"),
        ({"mcq": 0}, "share must be above 0"),
        ({"mcq": {"luck": 1}}, "luck"),
    ],
)
def test_bad_mixtures_are_refused(tasks, words):
    with pytest.raises(InputError, match=words):
        mixture.tasks_of(tasks)


def test_a_half_written_checkpoint_is_passed_over(tmp_path):
    from rft.common.checkpoints import last_checkpoint

    for step, state in ((9, '{"global_step": 9}'), (10, '{"global_st'), (12, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            torch.save({}, folder / name)
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-9"]
    assert last_checkpoint(tmp_path / "checkpoint-9") is None


def test_the_same_prompt_drawn_twice_makes_two_groups(scenes, checkpoint, tmp_path, monkeypatch):
    drawn = mixture.rows
    monkeypatch.setattr(mixture, "rows", lambda *a: [drawn(*a)[0]] * 2)
    trainer = train(run_of(scenes, checkpoint, tmp_path, max_steps=1))
    assert trainer.state.global_step == 1
    assert len((tmp_path / "rollouts.jsonl").read_text().splitlines()) == 8
