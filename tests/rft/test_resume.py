"""What a training is told before it goes on, or begins: settings that differ, checkpoints that are not whole,
prompts that do not fill a step, tasks that earn nothing."""

import json
import shutil
import zipfile
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import SHIPPED
from grpo_runs import run_of
from safetensors.torch import save_file

from bench.suite import Suite
from rft.common import resume
from rft.common.checkpoints import lacks, last_checkpoint
from rft.curriculum.config import Data, Optimiser, Selection, Stage
from rft.curriculum.standing import Plan, begin, facts_of, standing
from rft.grpo import record, steps
from rft.grpo.config import check, settings_of
from rft.grpo.mixture import Task, counts, row_of
from tvad.common.errors import InputError
from tvad.data import Sample, Video, load, masks
from tvad.data.digest import MASKS, data_hash


def checkpoint_in(folder, state=True):
    """A checkpoint with the files that transformers writes, tiny."""
    folder.mkdir(parents=True)
    save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"a": 1}, folder / name)
    if state:
        (folder / "trainer_state.json").write_text("{}")
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
@pytest.mark.parametrize("damage", ["gone", "cut", "empty"])
def test_a_checkpoint_that_is_not_whole_is_passed_over_and_named(tmp_path, capsys, name, damage):
    for n in (1, 2, 10):
        checkpoint_in(tmp_path / f"checkpoint-{n}")
    file = tmp_path / "checkpoint-10" / name
    content = file.read_bytes()
    file.unlink()
    if damage != "gone":
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    what = "whole weights" if name == "model.safetensors" else name
    assert f"checkpoint-10 has no {what}: going on from checkpoint-2" in capsys.readouterr().err
    assert (tmp_path / "checkpoint-10").is_dir()


def test_where_no_checkpoint_is_whole_a_run_is_refused_and_what_a_kill_left_is_removed(tmp_path):
    assert last_checkpoint(tmp_path) is None
    checkpoint_in(tmp_path / "checkpoint-1", state=False)
    assert last_checkpoint(tmp_path) is None and not (tmp_path / "checkpoint-1").exists()
    (checkpoint_in(tmp_path / "checkpoint-2") / "optimizer.pt").unlink()
    with pytest.raises(InputError, match=r"checkpoint-2: no optimizer\.pt, so that training cannot go on"):
        last_checkpoint(tmp_path)


def test_what_other_launchers_write_is_whole_too(tmp_path):
    shards = checkpoint_in(tmp_path / "checkpoint-1")
    (shards / "model.safetensors").rename(shards / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (shards / "model.safetensors.index.json").write_text(json.dumps(index))
    assert lacks(shards) == "whole weights"
    save_file({"b": torch.zeros(1)}, shards / "model-2.safetensors")
    assert lacks(shards) is None
    assert lacks(shards, processes=2) == "rng_state_0.pth"
    sharded = tmp_path / "checkpoint-2"
    (sharded / "global_step2").mkdir(parents=True)
    (sharded / "global_step2" / "mp_rank_00_model_states.pt").write_bytes(b"x")
    torch.save({}, sharded / "rng_state.pth")
    assert lacks(sharded) is None and zipfile.is_zipfile(sharded / "rng_state.pth")


def test_settings_that_differ_are_found_by_their_place():
    was = {"a": 1, "group": {"x": 1.0, "y": [1]}, "log": {"every": 1}, "lora": None}
    now = {"a": 1, "group": {"x": 2.0, "y": [1], "z": True}, "log": {"every": 5}, "lora": {"r": 4}}
    found = resume.changes(was, now, ["log"])
    assert [str(c) for c in found] == ["group.x 1.0 -> 2.0", "group.z unset -> true", 'lora null -> {"r": 4}']
    with pytest.raises(InputError, match=r"out: has done 3 steps with other settings \(group.x 1.0 -> 2.0"):
        resume.allowed(found, "same", [], "out", 3)
    with pytest.raises(InputError, match="cannot be applied to a run that has done 3 steps: lora null"):
        resume.allowed(found, "new", ["lora"], "out", 3)
    assert resume.allowed(found[:2], "new", ["lora"], "out", 3) == found[:2]
    assert resume.allowed([], "same", ["lora"], "out", 3) == []


def test_a_record_tells_since_when_settings_hold_and_forgets_steps_that_are_done_again():
    change = resume.Change("rate", 1, 2)
    record = {"changes": resume.kept({}, [change], 5)}
    record = {"changes": resume.kept(record, [resume.Change("rate", 2, 3)], 8)}
    assert resume.told(record, 9) == ["from step 6 on: rate 1 -> 2", "from step 9 on: rate 2 -> 3"]
    assert resume.told(record, 8) == ["from step 6 on: rate 1 -> 2"], "no step was done with the last ones"
    assert [entry["step"] for entry in resume.kept(record, [], 4)] == [4, 4]


def begun(run, tmp_path):
    """What a run that has done two steps by `run` was applied to."""
    facts = record.made_of(run, load(run.data), 1)
    record.standing(run, settings_of(run, [1.0]), facts, "same").write(tmp_path)
    checkpoint_in(tmp_path / "checkpoint-2")
    return facts


def stands(run, facts, resume_with="same"):
    return record.standing(run, settings_of(run, [1.0]), facts, resume_with)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "seed 0 -> 1"),
        ({"rewards": {"format": 1.0}}, "rewards.format 0.5 -> 1.0"),
        ({"tasks": {"mcq": 1}}, "tasks.temporal"),
        ({"rate": 4.0}, "rate 2.0 -> 4.0"),
        ({"redraws": 2}, "redraws 0 -> 2"),
        ({"trains": ["*"]}, "trains "),
        ({"engine": "vllm"}, "engine hf -> vllm"),
        ({"training": {"beta": 0.04}}, "training.beta"),
    ],
)
def test_a_grpo_run_goes_on_only_as_it_was(scenes, tmp_path, change, words):
    run = run_of(scenes, SHIPPED, tmp_path)
    facts = begun(run, tmp_path)
    change = {k: run.training | v if k == "training" else v for k, v in change.items()}
    other = run.__class__(**{**run.__dict__, **change})
    with pytest.raises(InputError, match=words):
        stands(other, facts | {"engine": record.engine_name(other)})


def test_what_changes_no_result_may_differ_and_a_default_may_be_written_out(scenes, tmp_path):
    run = run_of(scenes, SHIPPED, tmp_path)
    facts = begun(run, tmp_path)
    free = {"save_steps": 7, "logging_steps": 2, "beta": 0.0, "num_iterations": 1, "bf16": False}
    other = run.__class__(
        **{**run.__dict__, "loggers": ["tensorboard"], "decoders": 3, "training": run.training | free}
    )
    found = stands(other, facts)
    assert found.changes == [] and found.step == 2


@pytest.mark.parametrize("name", ["data", "model", "versions", "processes"])
def test_what_settings_only_name_is_compared_by_what_it_is(scenes, tmp_path, name):
    run = run_of(scenes, SHIPPED, tmp_path, max_steps=9)
    facts = begun(run, tmp_path)
    other = {"versions": facts["versions"] | {"torch": "0.1"}, "processes": 2}.get(name, "0123")
    with pytest.raises(InputError, match=name):
        stands(run, facts | {name: other})
    if name == "model":
        with pytest.raises(InputError, match="cannot be applied to a run that has done 2 steps: model"):
            stands(run, facts | {name: other}, "new")
    else:
        (change,) = stands(run, facts | {name: other}, "new").changes
        assert change.key.startswith(name)


def test_a_record_of_the_version_before_is_compared_by_its_names(scenes, tmp_path):
    run = run_of(scenes, SHIPPED, tmp_path, max_steps=9)
    facts = record.made_of(run, load(run.data), 1)
    (tmp_path / "grpo.json").write_text(json.dumps({"format": "grpo-run", "version": 1} | asdict(run)))
    checkpoint_in(tmp_path / "checkpoint-2")
    assert stands(run, facts).changes == []
    moved = run.__class__(
        **{**run.__dict__, "data": "elsewhere", "training": run.training | {"max_steps": 8}}
    )
    with pytest.raises(InputError, match=r"training.max_steps 9 -> 8; data .*-> elsewhere"):
        stands(moved, facts)
    assert len(stands(moved, facts, "new").record["changes"][0]["settings"]) == 2


def test_a_record_from_before_the_unit_of_boxes_could_be_left_open_is_continued(scenes, tmp_path):
    run = run_of(scenes, SHIPPED, tmp_path, max_steps=9)
    facts = begun(run, tmp_path)
    written = json.loads((tmp_path / "grpo.json").read_text())
    assert written["reading"]["boxes"] is None
    written["reading"]["boxes"] = "permille"
    (tmp_path / "grpo.json").write_text(json.dumps(written))
    assert stands(run, facts).changes == []
    other = run.__class__(**{**run.__dict__, "reading": replace(run.reading, boxes="unit")})
    with pytest.raises(InputError, match=r"reading\.boxes permille -> unit"):
        stands(other, facts)


def test_fewer_steps_than_are_done_are_refused(scenes, tmp_path):
    run = run_of(scenes, SHIPPED, tmp_path, max_steps=9)
    facts = begun(run, tmp_path)
    less = run.__class__(**{**run.__dict__, "training": run.training | {"max_steps": 2}})
    with pytest.raises(InputError, match="max_steps: 2, but"):
        stands(less, facts, "new")


def test_data_is_the_same_wherever_it_lies_and_another_when_a_word_is(scenes, tmp_path):
    copy = shutil.copytree(scenes, tmp_path / "copy")
    before = data_hash(load(scenes))
    assert data_hash(load(copy)) == before
    rows = (copy / "samples.jsonl").read_text()
    (copy / "samples.jsonl").write_text(rows.replace("Is there an anomaly", "Is there any anomaly", 1))
    assert data_hash(load(copy)) != before


def test_data_is_another_when_a_mask_is_however_it_was_packed(scenes, tmp_path):
    copy = shutil.copytree(scenes, tmp_path / "copy")
    plan = Suite("s", str(copy))

    def hashes():
        return data_hash(load(copy)), plan.digest(load(copy))

    before = hashes()
    file = next(s.path(s.mask) for s in load(copy) if s.mask)
    lit = masks.read(file)
    shape, runs = masks.encode(lit)
    np.savez(file, runs=runs.astype(np.int64), shape=shape.astype(np.int64))
    assert hashes() == before
    masks.write(file, ~lit)
    changed = hashes()
    file.write_bytes(b"no mask")
    broken = hashes()
    file.unlink()
    assert len({before, changed, broken}) == 3 and hashes() == broken
    assert all(a != b for a, b in zip(before, changed, strict=True))


def test_hashes_of_data_without_masks_are_what_they_were():
    samples = [Sample("x", "s", "test", Video("v.mp4"), "normal")]
    assert data_hash(samples) == "07f0f5f20a042fb9"
    assert Suite("s", "d").digest(samples) == "d5b6ce873936d5cb"


def test_what_was_recorded_before_masks_counted_is_one_line(scenes, tmp_path, capsys):
    run = run_of(scenes, SHIPPED, tmp_path, max_steps=9)
    facts = begun(run, tmp_path)
    rows, _, lit = facts["data"].partition(MASKS)
    assert len(rows) == len(lit) == 16 and stands(run, facts).changes == []
    file = tmp_path / "grpo.json"
    file.write_text(file.read_text().replace(facts["data"], rows))
    assert stands(run, facts).changes == []
    assert capsys.readouterr().err == "data: begun before masks counted; they are taken to be the same\n"
    with pytest.raises(InputError, match=f"data {rows} -> elsewhere"):
        stands(run, facts | {"data": f"elsewhere{MASKS}{lit}"})


@pytest.mark.parametrize(
    ("knobs", "count", "words"),
    [
        ({}, 1, "data: 1 prompts, a step takes 2"),
        ({"gradient_accumulation_steps": 4, "steps_per_generation": 1}, 7, "a step takes 8"),
        ({"gradient_accumulation_steps": 2}, 3, "a step takes 4"),
        ({"generation_batch_size": 32}, 7, "a step takes 8"),
    ],
)
def test_prompts_that_do_not_fill_a_step_are_refused(scenes, tmp_path, knobs, count, words):
    arguments = settings_of(run_of(scenes, SHIPPED, tmp_path, **knobs), [1.0])
    with pytest.raises(InputError, match=words):
        steps.check_steps(count, arguments)
    steps.check_steps(count + 1, arguments)


def test_prompts_that_an_epoch_leaves_out_are_said(scenes, tmp_path, capsys):
    arguments = settings_of(run_of(scenes, SHIPPED, tmp_path), [1.0])
    steps.check_steps(5, arguments)
    assert "prompts: 1 of 5 are left out of every epoch" in capsys.readouterr().err
    half = settings_of(
        run_of(scenes, SHIPPED, tmp_path, gradient_accumulation_steps=2, steps_per_generation=1), [1.0]
    )
    steps.check_steps(6, half)
    assert "the last step of an epoch has 1 of 2 passes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("knobs", "wanted"),
    [
        ({}, 6),
        ({"num_iterations": 2}, 4),
        ({"gradient_accumulation_steps": 4}, 24),
        ({"gradient_accumulation_steps": 4, "steps_per_generation": 1}, 24),
        ({"steps_per_generation": 3}, 6),
    ],
)
def test_as_many_prompts_are_drawn_as_the_steps_take(scenes, tmp_path, knobs, wanted):
    arguments = settings_of(run_of(scenes, SHIPPED, tmp_path, max_steps=3, **knobs), [1.0])
    assert steps.prompts_wanted(arguments) == wanted


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"num_generations": 1}, "training: GRPO requires at least 2"),
        ({"num_generations": 3}, "training: generation_batch_size"),
        ({"num_generations": 0}, "training: "),
        ({"generation_batch_size": 12}, "training: generation_batch_size"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps: 0, expected at least 1"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size: 0, expected at least 1"),
        ({"max_steps": 0}, "nothing to do"),
        ({"max_steps": -1, "num_train_epochs": 0}, "nothing to do"),
        ({"learning_rate": -1.0}, "learning_rate: -1.0, expected at least"),
        ({"learning_rate": float("nan")}, "learning_rate: nan"),
        ({"temperature": 0.0}, "temperature: 0.0, expected above 0"),
        ({"top_p": 0.9}, "'top_p' belongs to the run: leave it out"),
        ({"eval_strategy": "steps"}, "'eval_strategy' belongs to the run: set `evaluate`"),
        ({"top_k": 5}, "'top_k' belongs to the run: leave it out"),
        ({"sync_ref_model": True}, "'sync_ref_model' belongs to the run"),
    ],
)
def test_numbers_and_keys_that_cannot_work_are_refused_before_anything_is_loaded(
    scenes, tmp_path, knobs, words
):
    run = run_of(scenes, SHIPPED, tmp_path, **knobs)
    with pytest.raises(InputError, match=words):
        check(run)
        steps.check_numbers(run, settings_of(run, [1.0]))


def rows_of(scenes, task):
    found = [(s, q) for s in load(scenes) for q in s.questions if q.kind == task][:6]
    return [row_of(s, q) for s, q in found]


@pytest.mark.parametrize(
    ("task", "rewards", "words"),
    [
        ("judgement", {"temporal_iou": 1.0, "box": 1.0, "words": 1.0}, "no reward applies to 'judgement'"),
        ("judgement", {}, "rewards: none for task 'judgement'"),
        ("judgement", {"answer": 0.0}, "none for task 'judgement', all weights are 0"),
        ("judgement", {"answer": float("nan")}, "answer: weight nan"),
        ("spatial", {"box": 1.0}, None),
        ("spatial", {"evidence": 1.0}, None),  # it wants the model's heatmap: the run will have one
        ("judgement", {"mine:reward": 1.0}, None),
    ],
)
def test_a_task_must_earn_something(scenes, task, rewards, words):
    if words is None:
        steps.check_paid(rows_of(scenes, task), {task: Task()}, rewards)
    else:
        with pytest.raises(InputError, match=words):
            steps.check_paid(rows_of(scenes, task), {task: Task()}, rewards)
        own = {task: Task(rewards=rewards or {"answer": 0.0})}
        with pytest.raises(InputError):
            steps.check_paid(rows_of(scenes, task), own, {"answer": 1.0})


def test_questions_that_earn_nothing_are_counted(scenes, capsys):
    turns = [
        {**rows_of(scenes, "judgement")[0], "task": "dialogue", "solution": text, "prompt": text}
        for text in ("Yes.", "A person in red.", "It falls.")
    ]
    steps.check_paid(turns, {"dialogue": Task()}, {"answer": 1.0})
    assert "2 of 3 questions of task 'dialogue' earn nothing" in capsys.readouterr().err


def test_shares_come_to_the_number_of_prompts():
    tasks = {
        name: Task(share)
        for name, share in (("mcq", 1), ("temporal", 1.25), ("spatial", 1), ("judgement", 0.5))
    }
    assert counts(tasks, 2400) == {"mcq": 640, "temporal": 800, "spatial": 640, "judgement": 320}
    for wanted in range(4, 60):
        found = counts(tasks, wanted)
        assert sum(found.values()) == wanted and min(found.values()) >= 1
    thirds = counts({name: Task() for name in ("mcq", "temporal", "spatial")}, 16)
    assert sorted(thirds.values()) == [5, 5, 6]
    assert set(counts(tasks, 3).values()) == {1}


def stage_of(scenes, **changes) -> Stage:
    plan = {
        "name": "x",
        "trains": ["model.rae.*"],
        "data": Data(str(scenes)),
        "optimiser": Optimiser(1e-3, 4, batch=2),
    }
    return Stage(**(plan | changes))


def test_a_stage_goes_on_only_as_it_was_and_is_skipped_only_as_it_was(scenes, tmp_path):
    plan, stage = Plan(0, 2.0, 8, None, "w"), stage_of(scenes)
    facts = facts_of(stage, plan)
    begin(standing(stage, plan, facts, tmp_path, "same"), tmp_path)
    checkpoint_in(tmp_path / "checkpoint-2")
    assert standing(stage, plan, facts, tmp_path, "same").changes == []
    faster = stage_of(scenes, optimiser=Optimiser(1e-2, 4, batch=2), selection=Selection(save_steps=3))
    with pytest.raises(InputError, match=r"other settings \(optimiser.lr 0.001 -> 0.01\)"):
        standing(faster, plan, facts, tmp_path, "same")
    found = standing(faster, plan, facts, tmp_path, "new")
    assert found.record["changes"] == [{"step": 2, "settings": {"optimiser.lr": [0.001, 0.01]}}]
    for other, words in (
        (stage_of(scenes, trains=["*"]), "trains"),
        (stage_of(scenes, options={"bf16": True}), "options.bf16 unset -> true"),
    ):
        with pytest.raises(InputError, match=rf"cannot be applied .*{words}"):
            standing(other, plan, facts, tmp_path, "new")
    with pytest.raises(InputError, match="start w -> v"):
        standing(stage, plan, facts | {"start": "v"}, tmp_path, "new")
    (tmp_path / "model").mkdir()
    (tmp_path / "stage.json").rename(tmp_path / "model" / "stage.json")
    assert standing(stage, plan, facts | {"versions": {}}, tmp_path, "same").finished
    for how in ("same", "new"):
        with pytest.raises(InputError, match=r"stage x is finished, with other settings \(optimiser.lr"):
            standing(faster, plan, facts, tmp_path, how)


def test_a_stage_with_fewer_clips_than_a_step_takes_is_refused(scenes):
    big = stage_of(scenes, optimiser=Optimiser(1e-3, 4, batch=8, accumulate=3))
    with pytest.raises(InputError, match="16 clips, a step takes 24"):
        facts_of(big, Plan(0, 2.0, 8))


def test_a_schedule_is_placed_at_its_step_with_the_new_rate(tmp_path):
    """As `GoesOn` has it, on a torch optimiser with what a checkpoint of another run brings."""
    from rft.common.restored import GoesOn

    def parts(rate, decay):
        weights = torch.nn.Parameter(torch.zeros(2))
        optimizer = torch.optim.AdamW([{"params": [weights], "weight_decay": decay}], lr=rate)
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 10)

    optimizer, schedule = parts(1.0, 0.1)
    for _ in range(4):
        optimizer.param_groups[0]["params"][0].grad = torch.ones(2)
        optimizer.step()
        schedule.step()
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    torch.save(schedule.state_dict(), tmp_path / "scheduler.pt")
    for new, rate, decay in ((False, 0.6, 0.1), (True, 0.06, 0.0)):
        trainer = object.__new__(GoesOn)
        trainer.optimizer, trainer.lr_scheduler = parts(0.1, 0.0)
        trainer.state = SimpleNamespace(compute_steps=lambda *given: None, max_steps=10)
        trainer.args = SimpleNamespace(world_size=1)
        trainer.is_deepspeed_enabled = trainer.is_fsdp_enabled = trainer.is_fsdp_xla_v1_enabled = False
        trainer.new_settings = new
        trainer._load_optimizer_and_scheduler(str(tmp_path))
        (group,) = trainer.optimizer.param_groups
        assert group["lr"] == pytest.approx(rate) == trainer.lr_scheduler.get_last_lr()[0]
        assert group["weight_decay"] == decay
        moments = trainer.optimizer.state[group["params"][0]]
        assert float(moments["step"]) == 4 and bool(moments["exp_avg"].any())


def test_half_an_emoji_in_a_question_can_be_trained_on(scenes):
    from datasets import Dataset

    sample = load(scenes)[0]
    question = sample.questions[0].__class__("judgement", "Is it \ud83d?", "Yes", rationale="so \ude00")
    (row,) = Dataset.from_list([row_of(sample, question)])
    assert "Is it \ufffd?" in str(row["prompt"]) and "so \ufffd" in row["solution"]


def test_a_setting_that_json_has_not_is_one_line_and_leaves_no_record(tmp_path):
    run = record.Standing(None, 0, [], {"training": {"max_grad_norm": float("inf")}})
    with pytest.raises(InputError, match=r"grpo\.json: a number is NaN or infinite"):
        run.write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_optimiser_is_read_onto_a_cpu_that_accelerate_has_counted(tmp_path):
    """cpu:0 is what it calls the device of several processes without a GPU under configs/accelerate/ddp.yaml;
    transformers gives that to torch.load."""
    import rft.common.restored  # noqa: F401

    torch.save({"moment": torch.ones(3)}, tmp_path / "optimizer.pt")
    found = torch.load(tmp_path / "optimizer.pt", map_location=torch.device("cpu:0"), weights_only=True)
    assert torch.equal(found["moment"], torch.ones(3))
